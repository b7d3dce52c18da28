// layers_inside.h - what the files of the table of kinds share. Nobody else includes it.
//
//     layers.c         fields: defaults and checks
//     layers_table.c   the rows
//     layers_shape.c   the shape that each kind makes of its inputs'
//     layers_params.c  the parameters that each kind owns

#ifndef PAWL_LAYERS_INSIDE_H
#define PAWL_LAYERS_INSIDE_H

#include "checkpoint/layers.h"

typedef int layer_shape(struct pawl_layer *layer, const struct pawl_shape *const *in);
typedef int layer_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                         struct pawl_param *out);

layer_shape layer_input_shape, layer_dense_shape, layer_conv_shape, layer_transpose_shape,
    layer_pool_shape, layer_global_shape, layer_norm_shape, layer_embedding_shape,
    layer_position_shape, layer_attention_shape, layer_rnn_shape, layer_activate_shape,
    layer_keep_shape, layer_flatten_shape, layer_reshape_shape, layer_permute_shape,
    layer_zero_padding_shape, layer_same_shape, layer_concatenate_shape;

layer_params layer_dense_params, layer_conv_params, layer_norm_params, layer_embedding_params,
    layer_position_params, layer_rnn_params, layer_prelu_params;

// Whether a kind of convolution or pooling slides along one axis.
static inline bool layer_is_1d(enum pawl_layer_kind kind)
{
    return kind == PAWL_CONV1D || kind == PAWL_CONV1D_TRANSPOSE || kind == PAWL_MAX_POOL1D
           || kind == PAWL_AVG_POOL1D;
}

static inline bool layer_is_transposed(enum pawl_layer_kind kind)
{
    return kind == PAWL_CONV1D_TRANSPOSE || kind == PAWL_CONV2D_TRANSPOSE;
}

#endif
