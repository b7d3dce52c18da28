// pth_bind.h - how files of torch name and lay out weights. For binding.c.
//
//     dense                    LAYER.weight (out, in), as in pawl
//     convolutions             (out, in / groups, kernel...) -> kernel before channels
//     dense behind a flatten   columns channel by channel -> as pawl flattens, unless the model
//                              itself is torch's (its permute is a layer, see pth_module.h)
//     LAYER.in_proj            LAYER.in_proj_weight; q, k, v one below the other, as in pawl
//     lstm, gru, simple_rnn    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0
//     GPT-2 of Hugging Face    c_attn, c_proj, c_fc (in, out): swapped
//
// Prefixes (module., _orig_mod., model., transformer.) are looked through on both sides.

#ifndef PAWL_PTH_BIND_H
#define PAWL_PTH_BIND_H

#include "checkpoint/binding.h"

int pawl_pth_bind(struct pawl_bindings *out, const struct pawl_document *document, int *fit);

// Parameter i of layer l as torch lays it out: shape, and the relayout from there to pawl's
// (rank 0: the same). Shared with the writers.
void pawl_pth_layout(const struct pawl_architecture *architecture, int l,
                     const struct pawl_param *param, struct pawl_tensor *shape,
                     struct pawl_relayout *to_pawl);
// torch's name of it: "0.in_proj_weight". text has PAWL_NAME_MAX + 32 bytes.
void pawl_pth_name(char *text, const struct pawl_layer *layer, const char *suffix);
// Whether the architecture came from modules of torch: it takes channels first.
bool pawl_pth_is_native(const struct pawl_architecture *architecture);

#endif
