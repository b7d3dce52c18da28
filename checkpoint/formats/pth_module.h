// pth_module.h - modules of torch.nn as layers of pawl. Private to formats/pth_*.
//
// PyTorch keeps images as (channels, height, width), pawl as (height, width, channels). A model of
// torch takes what it took there: its input is channels first, a permute follows where the first
// convolution or pooling needs it, and another one before whatever flattens or ends. So a dense
// layer behind a flatten keeps its weights as they are.

#ifndef PAWL_PTH_MODULE_H
#define PAWL_PTH_MODULE_H

#include "checkpoint/architecture.h"
#include "checkpoint/formats/pth_state.h"

struct pawl_pth_build {
    struct pawl_architecture *out;
    char name[PAWL_NAME_MAX + 1];  // of the module at hand: "features.0"
    const char *why;               // what is not known, or NULL
    int spatial;                   // dimensions beside the channels that the value at hand has
    bool channels_last;            // it lies as pawl's images do
    bool guessed;                  // the input's height and width are not known
    bool dropped;                  // dropout inside of encoder layers, which is left out
    int permutes;
    int64_t inputs[PAWL_LAYERS_MAX];  // of each dense layer, to check the guess by
};

// Appends a layer called NAME, or NAME.suffix, fed by the one before.
int pawl_pth_layer(struct pawl_pth_build *b, enum pawl_layer_kind kind, const char *suffix_or_null,
                   struct pawl_layer **out);
// The first layer that has weights tells the input's shape; later calls do nothing.
int pawl_pth_input(struct pawl_pth_build *b, int rank, const int64_t *dim, bool tokens);
// The value at hand lies channels last (for windows), or as torch has it.
int pawl_pth_channels_last(struct pawl_pth_build *b, bool last);

// Attributes of a module.
int64_t pawl_pth_count(const struct pawl_py *module, const char *key, int64_t usual);
double pawl_pth_real(const struct pawl_py *module, const char *key, double usual);
bool pawl_pth_flag(const struct pawl_py *module, const char *key, bool usual);
// An integer, or one or two in a tuple, into two; false: neither.
bool pawl_pth_pair(const struct pawl_py *module, const char *key, int spatial, int64_t out[2]);
bool pawl_pth_has(const struct pawl_py *module, const char *parameter);  // and it is not None
const struct pawl_py *pawl_pth_child(const struct pawl_py *module, const char *name);

// Appends what stands for one module that is no container. b->why: set, and 0 returned, where there
// is nothing that does the same.
int pawl_pth_add_module(struct pawl_pth_build *b, const struct pawl_py *module);
// The same for TransformerEncoderLayer and MultiheadAttention (pth_module_attention.c).
int pawl_pth_add_encoder(struct pawl_pth_build *b, const struct pawl_py *module);

#endif
