// layers_params.c - the parameters that each kind owns, and how they start.

#include <math.h>
#include <stdio.h>

#include "checkpoint/layers_inside.h"

static struct pawl_param vector(const char *suffix, int64_t n, enum pawl_init init, double scale)
{
    struct pawl_param param = { .rank = 1, .dim = { n, 1, 1, 1 }, .init = init, .scale = scale,
                                .trainable = true };

    snprintf(param.suffix, sizeof(param.suffix), "%s", suffix);
    return param;
}

// What forward keeps and no optimizer touches.
static struct pawl_param state(const char *suffix, int64_t n, enum pawl_init init)
{
    struct pawl_param param = vector(suffix, n, init, 0);

    param.trainable = false;
    return param;
}

static struct pawl_param table(const char *suffix, int64_t rows, int64_t cols,
                               enum pawl_init init, double scale)
{
    struct pawl_param param = vector(suffix, rows, init, scale);

    param.rank = 2;
    param.dim[1] = cols;
    param.decay = true;
    return param;
}

static int64_t last(const struct pawl_shape *shape) { return shape->dim[shape->rank - 1]; }

int layer_dense_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                       struct pawl_param *out)
{
    const int64_t inputs = last(in);
    const bool normal = layer->dense.init_std > 0;
    const double bound = 1 / sqrt((double)inputs);
    int count = 0;

    if (!layer->dense.tied[0])
        out[count++] = table("weight", layer->dense.units, inputs,
                             normal ? PAWL_INIT_NORMAL : PAWL_INIT_UNIFORM,
                             normal ? layer->dense.init_std : bound);
    if (layer->dense.bias)
        out[count++] = vector("bias", layer->dense.units,
                              normal ? PAWL_INIT_ZERO : PAWL_INIT_UNIFORM, normal ? 0 : bound);
    return count;
}

int layer_conv_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                      struct pawl_param *out)
{
    const int64_t *kernel = layer->conv.kernel, filters = layer->conv.filters;
    const bool transposed = layer_is_transposed(layer->kind);
    const int64_t rows = transposed ? last(in) : filters;
    const int64_t cols = (transposed ? filters : last(in)) / layer->conv.groups;
    const double bound = 1 / sqrt((double)kernel[0] * (double)kernel[1] * (double)cols);

    out[0] = table("weight", rows, cols, PAWL_INIT_UNIFORM, bound);
    out[0].rank = layer_is_1d(layer->kind) ? 3 : 4;
    for (int d = 1; d < 4; d++)  // (rows, kernel_h, kernel_w, cols), without kernel_h in 1-d
        out[0].dim[d] = d == out[0].rank - 1 ? cols : d < out[0].rank ? kernel[d + 3 - out[0].rank]
                                                                      : 1;
    if (!layer->conv.bias) return 1;
    out[1] = vector("bias", filters, PAWL_INIT_UNIFORM, bound);
    return 2;
}

// Small, because a tied output layer reads the same rows: rows of variance 1 would start it off
// with logits in the tens.
static const double EMBEDDING_STD = 0.02;

int layer_embedding_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                           struct pawl_param *out)
{
    (void)in;
    out[0] = table("weight", layer->embedding.vocab, layer->embedding.width, PAWL_INIT_NORMAL,
                   EMBEDDING_STD);
    return 1;
}

int layer_position_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                          struct pawl_param *out)
{
    out[0] = table("weight", layer->position.positions, in->dim[1], PAWL_INIT_NORMAL,
                   EMBEDDING_STD);
    return 1;
}

int layer_norm_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                      struct pawl_param *out)
{
    const int64_t width = last(in);
    int count = 0;

    if (layer->norm.weight) out[count++] = vector("weight", width, PAWL_INIT_ONE, 0);
    if (layer->norm.bias) out[count++] = vector("bias", width, PAWL_INIT_ZERO, 0);
    if (layer->kind != PAWL_BATCH_NORM) return count;
    out[count++] = state("running_mean", width, PAWL_INIT_ZERO);
    out[count++] = state("running_var", width, PAWL_INIT_ONE);
    return count;
}

int layer_rnn_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                     struct pawl_param *out)
{
    const int64_t gates = layer->kind == PAWL_LSTM ? 4 : layer->kind == PAWL_GRU ? 3 : 1;
    const int64_t units = layer->rnn.units;
    const double bound = 1 / sqrt((double)units);
    int count = 0;

    out[count++] = table("weight", gates * units, last(in), PAWL_INIT_UNIFORM, bound);
    out[count++] = table("recurrent", gates * units, units, PAWL_INIT_UNIFORM, bound);
    if (layer->rnn.bias)
        out[count++] = vector("bias", gates * units, PAWL_INIT_UNIFORM, bound);
    if (layer->rnn.recurrent_bias)
        out[count++] = vector("recurrent_bias", gates * units, PAWL_INIT_UNIFORM, bound);
    return count;
}

static const double PRELU_SLOPE = 0.25;  // He and others, 2015

int layer_prelu_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                       struct pawl_param *out)
{
    out[0] = vector("weight", layer->prelu.shared ? 1 : last(in), PAWL_INIT_CONSTANT,
                    PRELU_SLOPE);
    return 1;
}
