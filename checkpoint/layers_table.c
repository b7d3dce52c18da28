// layers_table.c - one row per layer kind: fields, shape, parameters.

#include "checkpoint/layers_inside.h"

enum { HEAD_MAX = 65536, WINDOW_MAX = 65535, PAD_MAX = 65535 };

#define AT(member) offsetof(struct pawl_layer, member)
#define FIELDS(of) of, (int)(sizeof(of) / sizeof(*(of)))

enum {
    MUST = PAWL_FIELD_REQUIRED,
    QUIET = PAWL_FIELD_QUIET,
    LOOSE = PAWL_FIELD_LOOSE,
};

//    name, type, offset, flags, default, least, most
static const struct pawl_field input_fields[] = {
    { "shape", PAWL_FIELD_SHAPE, AT(in.shape), MUST, 0, 1, PAWL_DIMENSION_MAX },
    { "tokens", PAWL_FIELD_BOOL, AT(in.tokens), 0, false, 0, 0 },
};
static const struct pawl_field dense_fields[] = {
    { "units", PAWL_FIELD_COUNT, AT(dense.units), MUST, 0, 1, PAWL_DIMENSION_MAX },
    { "bias", PAWL_FIELD_BOOL, AT(dense.bias), 0, true, 0, 0 },
    { "activation", PAWL_FIELD_ACTIVATION, AT(dense.activation), 0, PAWL_LINEAR, 0, 0 },
    { "init_std", PAWL_FIELD_REAL, AT(dense.init_std), QUIET | LOOSE, 0, 0, 1000 },
    { "tied", PAWL_FIELD_NAME, AT(dense.tied), QUIET, 0, 0, 0 },
};

// One axis is a number, two are pairs.
#define CONV_FIELDS(type, i)                                                                       \
    { "filters", PAWL_FIELD_COUNT, AT(conv.filters), MUST, 0, 1, PAWL_DIMENSION_MAX },             \
    { "kernel", type, AT(conv.kernel[i]), MUST, 0, 1, WINDOW_MAX },                                \
    { "stride", type, AT(conv.stride[i]), 0, 1, 1, WINDOW_MAX },                                   \
    { "dilation", type, AT(conv.dilation[i]), 0, 1, 1, WINDOW_MAX },                               \
    { "groups", PAWL_FIELD_COUNT, AT(conv.groups), 0, 1, 1, PAWL_DIMENSION_MAX },                  \
    { "padding", PAWL_FIELD_PADDING, AT(conv.padding), 0, PAWL_VALID, 0, 0 },                      \
    { "bias", PAWL_FIELD_BOOL, AT(conv.bias), 0, true, 0, 0 },                                     \
    { "activation", PAWL_FIELD_ACTIVATION, AT(conv.activation), 0, PAWL_LINEAR, 0, 0 }
#define CONV1D_PADS { "pads", PAWL_FIELD_PAIR, AT(conv.pads[2]), QUIET, 0, 0, PAD_MAX }
#define CONV2D_PADS { "pads", PAWL_FIELD_PADS, AT(conv.pads), QUIET, 0, 0, PAD_MAX }

static const struct pawl_field conv1d_fields[] = {
    CONV_FIELDS(PAWL_FIELD_COUNT, 1), CONV1D_PADS,
};
static const struct pawl_field conv2d_fields[] = {
    CONV_FIELDS(PAWL_FIELD_PAIR, 0), CONV2D_PADS,
};
static const struct pawl_field conv1d_transpose_fields[] = {
    CONV_FIELDS(PAWL_FIELD_COUNT, 1), CONV1D_PADS,
    { "extra", PAWL_FIELD_COUNT, AT(conv.extra[1]), QUIET, 0, 0, PAD_MAX },
};
static const struct pawl_field conv2d_transpose_fields[] = {
    CONV_FIELDS(PAWL_FIELD_PAIR, 0), CONV2D_PADS,
    { "extra", PAWL_FIELD_PAIR, AT(conv.extra), QUIET, 0, 0, PAD_MAX },
};

#define POOL_FIELDS(type, i)                                                                       \
    { "size", type, AT(pool.size[i]), 0, 2, 1, WINDOW_MAX },                                       \
    { "stride", type, AT(pool.stride[i]), 0, 0, 0, WINDOW_MAX },                                   \
    { "padding", PAWL_FIELD_PADDING, AT(pool.padding), 0, PAWL_VALID, 0, 0 }
#define POOL1D_PADS { "pads", PAWL_FIELD_PAIR, AT(pool.pads[2]), QUIET, 0, 0, PAD_MAX }
#define POOL2D_PADS { "pads", PAWL_FIELD_PADS, AT(pool.pads), QUIET, 0, 0, PAD_MAX }
#define COUNT_PADS { "count_pads", PAWL_FIELD_BOOL, AT(pool.count_pads), QUIET, false, 0, 0 }

static const struct pawl_field max_pool1d_fields[] = {
    POOL_FIELDS(PAWL_FIELD_COUNT, 1), POOL1D_PADS,
};
static const struct pawl_field max_pool2d_fields[] = {
    POOL_FIELDS(PAWL_FIELD_PAIR, 0), POOL2D_PADS,
};
static const struct pawl_field avg_pool1d_fields[] = {
    POOL_FIELDS(PAWL_FIELD_COUNT, 1), POOL1D_PADS, COUNT_PADS,
};
static const struct pawl_field avg_pool2d_fields[] = {
    POOL_FIELDS(PAWL_FIELD_PAIR, 0), POOL2D_PADS, COUNT_PADS,
};
static const struct pawl_field global_fields[] = {
    { "keep", PAWL_FIELD_BOOL, AT(global.keep), QUIET, false, 0, 0 },
};

#define NORM_EPSILON { "epsilon", PAWL_FIELD_REAL, AT(norm.epsilon), 0, 1e-5, 0, 1 }
#define NORM_WEIGHT { "weight", PAWL_FIELD_BOOL, AT(norm.weight), QUIET, true, 0, 0 }
#define NORM_BIAS { "bias", PAWL_FIELD_BOOL, AT(norm.bias), QUIET, true, 0, 0 }

static const struct pawl_field batch_norm_fields[] = {
    NORM_EPSILON, NORM_WEIGHT, NORM_BIAS,
    { "momentum", PAWL_FIELD_REAL, AT(norm.momentum), LOOSE, 0.1, 0, 1 },
    { "unbiased", PAWL_FIELD_BOOL, AT(norm.unbiased), LOOSE, true, 0, 0 },
};
static const struct pawl_field layer_norm_fields[] = { NORM_EPSILON, NORM_WEIGHT, NORM_BIAS };
static const struct pawl_field group_norm_fields[] = {
    { "groups", PAWL_FIELD_COUNT, AT(norm.groups), MUST, 0, 1, PAWL_DIMENSION_MAX },
    NORM_EPSILON, NORM_WEIGHT, NORM_BIAS,
};
static const struct pawl_field rms_norm_fields[] = { NORM_EPSILON, NORM_WEIGHT };

static const struct pawl_field embedding_fields[] = {
    { "vocab", PAWL_FIELD_COUNT, AT(embedding.vocab), MUST, 0, 1, PAWL_DIMENSION_MAX },
    { "width", PAWL_FIELD_COUNT, AT(embedding.width), MUST, 0, 1, PAWL_DIMENSION_MAX },
};
static const struct pawl_field position_fields[] = {
    { "positions", PAWL_FIELD_COUNT, AT(position.positions), MUST, 0, 1, PAWL_DIMENSION_MAX },
};
static const struct pawl_field attention_fields[] = {
    { "heads", PAWL_FIELD_COUNT, AT(attention.heads), MUST, 0, 1, HEAD_MAX },
    { "kv_heads", PAWL_FIELD_COUNT, AT(attention.kv_heads), 0, 0, 0, HEAD_MAX },
    { "causal", PAWL_FIELD_BOOL, AT(attention.causal), 0, true, 0, 0 },
    { "theta", PAWL_FIELD_REAL, AT(attention.theta), QUIET, 0, 0, 1e12 },
    { "rotary", PAWL_FIELD_COUNT, AT(attention.rotary), QUIET, 0, 0, HEAD_MAX },
    { "interleaved", PAWL_FIELD_BOOL, AT(attention.interleaved), QUIET, false, 0, 0 },
};

#define RNN_FIELDS                                                                                 \
    { "units", PAWL_FIELD_COUNT, AT(rnn.units), MUST, 0, 1, PAWL_DIMENSION_MAX },                  \
    { "sequences", PAWL_FIELD_BOOL, AT(rnn.sequences), 0, false, 0, 0 },                           \
    { "activation", PAWL_FIELD_ACTIVATION, AT(rnn.activation), QUIET, PAWL_TANH, 0, 0 },           \
    { "reverse", PAWL_FIELD_BOOL, AT(rnn.reverse), QUIET, false, 0, 0 },                           \
    { "bias", PAWL_FIELD_BOOL, AT(rnn.bias), QUIET, true, 0, 0 },                                  \
    { "recurrent_bias", PAWL_FIELD_BOOL, AT(rnn.recurrent_bias), QUIET, false, 0, 0 }
#define RNN_GATES                                                                                  \
    { "recurrent_activation", PAWL_FIELD_ACTIVATION, AT(rnn.recurrent_activation), QUIET,          \
      PAWL_SIGMOID, 0, 0 }

static const struct pawl_field lstm_fields[] = { RNN_FIELDS, RNN_GATES };
static const struct pawl_field gru_fields[] = {
    RNN_FIELDS, RNN_GATES,
    { "reset_after", PAWL_FIELD_BOOL, AT(rnn.reset_after), 0, true, 0, 0 },
};
static const struct pawl_field simple_rnn_fields[] = { RNN_FIELDS };

static const struct pawl_field activate_fields[] = {
    { "activation", PAWL_FIELD_ACTIVATION, AT(activate.activation), MUST, 0, 0, 0 },
    { "alpha", PAWL_FIELD_REAL, AT(activate.alpha), QUIET, 0, 0, 1000 },
};
static const struct pawl_field prelu_fields[] = {
    { "shared", PAWL_FIELD_BOOL, AT(prelu.shared), 0, false, 0, 0 },
};
static const struct pawl_field dropout_fields[] = {
    // The most is the double below 1: dropping everything leaves nothing to scale up.
    { "rate", PAWL_FIELD_REAL, AT(dropout.rate), MUST | LOOSE, 0, 0, 0x1.fffffep-1 },
};
static const struct pawl_field reshape_fields[] = {
    { "shape", PAWL_FIELD_SHAPE, AT(reshape.shape), MUST, 0, 1, PAWL_DIMENSION_MAX },
};
static const struct pawl_field permute_fields[] = {
    { "order", PAWL_FIELD_SHAPE, AT(permute.order), MUST, 0, 0, PAWL_SHAPE_MAX - 1 },
};
static const struct pawl_field zero_padding_fields[] = {
    { "pads", PAWL_FIELD_PADS, AT(zero_padding.pads), MUST, 0, 0, PAD_MAX },
};
static const struct pawl_field concatenate_fields[] = {
    { "axis", PAWL_FIELD_COUNT, AT(concatenate.axis), 0, -1, -PAWL_SHAPE_MAX, PAWL_SHAPE_MAX - 1 },
};

//  kind, name, least and most inputs, fields, shape, params
#define ONE 1, 1
#define MANY 2, PAWL_INPUTS_MAX
const struct pawl_layer_row pawl_layer_rows[PAWL_LAYER_KINDS] = {
    [PAWL_INPUT] = { "input", 0, 0, FIELDS(input_fields), layer_input_shape, NULL },
    [PAWL_DENSE] = { "dense", ONE, FIELDS(dense_fields), layer_dense_shape, layer_dense_params },
    [PAWL_CONV1D] = { "conv1d", ONE, FIELDS(conv1d_fields), layer_conv_shape, layer_conv_params },
    [PAWL_CONV2D] = { "conv2d", ONE, FIELDS(conv2d_fields), layer_conv_shape, layer_conv_params },
    [PAWL_CONV1D_TRANSPOSE] = { "conv1d_transpose", ONE, FIELDS(conv1d_transpose_fields),
                                layer_transpose_shape, layer_conv_params },
    [PAWL_CONV2D_TRANSPOSE] = { "conv2d_transpose", ONE, FIELDS(conv2d_transpose_fields),
                                layer_transpose_shape, layer_conv_params },
    [PAWL_MAX_POOL1D] = { "max_pool1d", ONE, FIELDS(max_pool1d_fields), layer_pool_shape, NULL },
    [PAWL_MAX_POOL2D] = { "max_pool2d", ONE, FIELDS(max_pool2d_fields), layer_pool_shape, NULL },
    [PAWL_AVG_POOL1D] = { "avg_pool1d", ONE, FIELDS(avg_pool1d_fields), layer_pool_shape, NULL },
    [PAWL_AVG_POOL2D] = { "avg_pool2d", ONE, FIELDS(avg_pool2d_fields), layer_pool_shape, NULL },
    [PAWL_GLOBAL_MAX_POOL] = { "global_max_pool", ONE, FIELDS(global_fields), layer_global_shape,
                               NULL },
    [PAWL_GLOBAL_AVG_POOL] = { "global_avg_pool", ONE, FIELDS(global_fields), layer_global_shape,
                               NULL },
    [PAWL_BATCH_NORM] = { "batch_norm", ONE, FIELDS(batch_norm_fields), layer_norm_shape,
                          layer_norm_params },
    [PAWL_LAYER_NORM] = { "layer_norm", ONE, FIELDS(layer_norm_fields), layer_norm_shape,
                          layer_norm_params },
    [PAWL_GROUP_NORM] = { "group_norm", ONE, FIELDS(group_norm_fields), layer_norm_shape,
                          layer_norm_params },
    [PAWL_RMS_NORM] = { "rms_norm", ONE, FIELDS(rms_norm_fields), layer_norm_shape,
                        layer_norm_params },
    [PAWL_EMBEDDING] = { "embedding", ONE, FIELDS(embedding_fields), layer_embedding_shape,
                         layer_embedding_params },
    [PAWL_POSITION_EMBEDDING] = { "position_embedding", ONE, FIELDS(position_fields),
                                  layer_position_shape, layer_position_params },
    [PAWL_ATTENTION] = { "attention", 1, 3, FIELDS(attention_fields), layer_attention_shape,
                         NULL },
    [PAWL_LSTM] = { "lstm", ONE, FIELDS(lstm_fields), layer_rnn_shape, layer_rnn_params },
    [PAWL_GRU] = { "gru", ONE, FIELDS(gru_fields), layer_rnn_shape, layer_rnn_params },
    [PAWL_SIMPLE_RNN] = { "simple_rnn", ONE, FIELDS(simple_rnn_fields), layer_rnn_shape,
                          layer_rnn_params },
    [PAWL_ACTIVATE] = { "activate", ONE, FIELDS(activate_fields), layer_activate_shape, NULL },
    [PAWL_PRELU] = { "prelu", ONE, FIELDS(prelu_fields), layer_keep_shape, layer_prelu_params },
    [PAWL_DROPOUT] = { "dropout", ONE, FIELDS(dropout_fields), layer_keep_shape, NULL },
    [PAWL_FLATTEN] = { "flatten", ONE, NULL, 0, layer_flatten_shape, NULL },
    [PAWL_RESHAPE] = { "reshape", ONE, FIELDS(reshape_fields), layer_reshape_shape, NULL },
    [PAWL_PERMUTE] = { "permute", ONE, FIELDS(permute_fields), layer_permute_shape, NULL },
    [PAWL_ZERO_PADDING] = { "zero_padding", ONE, FIELDS(zero_padding_fields),
                            layer_zero_padding_shape, NULL },
    [PAWL_ADD] = { "add", MANY, NULL, 0, layer_same_shape, NULL },
    [PAWL_MULTIPLY] = { "multiply", MANY, NULL, 0, layer_same_shape, NULL },
    [PAWL_AVERAGE] = { "average", MANY, NULL, 0, layer_same_shape, NULL },
    [PAWL_MAXIMUM] = { "maximum", MANY, NULL, 0, layer_same_shape, NULL },
    [PAWL_CONCATENATE] = { "concatenate", MANY, FIELDS(concatenate_fields),
                           layer_concatenate_shape, NULL },
    [PAWL_SUBTRACT] = { "subtract", 2, 2, NULL, 0, layer_same_shape, NULL },
};
