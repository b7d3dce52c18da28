// layers.c - one row per layer kind: fields, shape, parameters.

#include "checkpoint/layers.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { HEAD_MAX = 65536 };

const char *const pawl_activation_names[PAWL_ACTIVATIONS] = {
    [PAWL_LINEAR] = "linear",         [PAWL_RELU] = "relu",   [PAWL_LEAKY_RELU] = "leaky_relu",
    [PAWL_ELU] = "elu",               [PAWL_GELU] = "gelu",   [PAWL_GELU_TANH] = "gelu_tanh",
    [PAWL_SILU] = "silu",             [PAWL_SIGMOID] = "sigmoid", [PAWL_TANH] = "tanh",
    [PAWL_SOFTPLUS] = "softplus",
};
const char *const pawl_padding_names[2] = { [PAWL_VALID] = "valid", [PAWL_SAME] = "same" };
const char *const pawl_loss_names[3] = { "cross-entropy", "mse", "binary-cross-entropy" };

int pawl_layer_fail(const struct pawl_layer *layer, const char *format, ...)
{
    char words[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_EINVAL, "layer '%s' (%s): %s", layer->name,
                     pawl_layer_rows[layer->kind].name, words);
}

// ---- shapes

static int shape_fail(const struct pawl_layer *layer, const struct pawl_shape *in,
                      const char *wanted)
{
    char text[96];

    return pawl_layer_fail(layer, "its input is %s, but it takes %s",
                           pawl_shape_text(text, sizeof(text), in->rank, in->dim), wanted);
}

static int keep_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    layer->out = *in[0];
    return 0;
}

static int input_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    (void)in;
    if (layer->in.tokens && layer->in.shape.rank != 1)
        return shape_fail(layer, &layer->in.shape, "[time] when tokens is true");
    for (int d = layer->in.shape.rank; d < PAWL_SHAPE_MAX; d++)
        layer->in.shape.dim[d] = 1;
    layer->out = layer->in.shape;
    return 0;
}

static int dense_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    layer->out = *in[0];
    layer->out.dim[in[0]->rank - 1] = layer->dense.units;
    return 0;
}

// How many windows fit along one axis, or less than 1 when the window is larger than the image.
static int64_t windows(int64_t size, int64_t kernel, int64_t stride, int64_t dilation,
                       enum pawl_padding padding)
{
    const int64_t span = dilation * (kernel - 1) + 1;

    if (padding == PAWL_SAME) return (size + stride - 1) / stride;
    return size < span ? 0 : (size - span) / stride + 1;
}

static int slide(struct pawl_layer *layer, const struct pawl_shape *in, const int64_t *kernel,
                 const int64_t *stride, const int64_t *dilation, enum pawl_padding padding)
{
    layer->out.rank = 3;
    for (int axis = 0; axis < 2; axis++) {
        layer->out.dim[axis] = windows(in->dim[axis], kernel[axis], stride[axis], dilation[axis],
                                       padding);
        if (layer->out.dim[axis] < 1)
            return pawl_layer_fail(layer, "its window of %lld is larger than its input of %lld",
                                   (long long)(dilation[axis] * (kernel[axis] - 1) + 1),
                                   (long long)in->dim[axis]);
    }
    return 0;
}

static int conv2d_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    const int64_t groups = layer->conv2d.groups;

    if (in[0]->rank != 3) return shape_fail(layer, in[0], "[height, width, channels]");
    if (in[0]->dim[2] % groups || layer->conv2d.filters % groups)
        return pawl_layer_fail(layer, "groups %lld must divide its %lld channels and %lld filters",
                               (long long)groups, (long long)in[0]->dim[2],
                               (long long)layer->conv2d.filters);
    layer->out.dim[2] = layer->conv2d.filters;
    return slide(layer, in[0], layer->conv2d.kernel, layer->conv2d.stride, layer->conv2d.dilation,
                 layer->conv2d.padding);
}

static int pool_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    if (in[0]->rank != 3) return shape_fail(layer, in[0], "[height, width, channels]");
    for (int axis = 0; axis < 2; axis++)
        if (!layer->pool.stride[axis]) layer->pool.stride[axis] = layer->pool.size[axis];
    layer->out.dim[2] = in[0]->dim[2];
    return slide(layer, in[0], layer->pool.size, layer->pool.stride, (const int64_t[]){ 1, 1 },
                 layer->pool.padding);
}

static int flatten_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    layer->out.rank = 1;
    return pawl_shape_count(&layer->out.dim[0], in[0]->rank, in[0]->dim);
}

static int embedding_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    layer->out = (struct pawl_shape){ 2, { in[0]->dim[0], layer->embedding.width, 1, 1 } };
    return 0;
}

static int position_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    if (in[0]->rank != 2) return shape_fail(layer, in[0], "[time, channels]");
    if (in[0]->dim[0] > layer->position.positions)
        return pawl_layer_fail(layer, "positions %lld is less than the %lld steps of its input",
                               (long long)layer->position.positions, (long long)in[0]->dim[0]);
    layer->out = *in[0];
    return 0;
}

static int attention_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    const int64_t heads = layer->attention.heads;

    if (!layer->attention.kv_heads) layer->attention.kv_heads = heads;
    const int64_t kv_heads = layer->attention.kv_heads, slices = heads + 2 * kv_heads;
    if (in[0]->rank != 2) return shape_fail(layer, in[0], "[time, queries + keys + values]");
    if (heads % kv_heads)
        return pawl_layer_fail(layer, "kv_heads %lld must divide heads %lld", (long long)kv_heads,
                               (long long)heads);
    if (in[0]->dim[1] % slices)
        return pawl_layer_fail(layer, "its input of %lld channels does not divide into %lld "
                               "queries and %lld keys and values", (long long)in[0]->dim[1],
                               (long long)heads, (long long)kv_heads);
    layer->out = *in[0];
    layer->out.dim[1] = in[0]->dim[1] / slices * heads;
    return 0;
}

static int add_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    char a[96], b[96];

    if (in[0]->rank != in[1]->rank || memcmp(in[0]->dim, in[1]->dim, sizeof(in[0]->dim)))
        return pawl_layer_fail(layer, "its inputs differ: %s and %s",
                               pawl_shape_text(a, sizeof(a), in[0]->rank, in[0]->dim),
                               pawl_shape_text(b, sizeof(b), in[1]->rank, in[1]->dim));
    layer->out = *in[0];
    return 0;
}

// ---- parameters

static struct pawl_param vector(const char *suffix, int64_t n, enum pawl_init init, double scale)
{
    struct pawl_param param = { .rank = 1, .dim = { n, 1, 1, 1 }, .init = init, .scale = scale };

    snprintf(param.suffix, sizeof(param.suffix), "%s", suffix);
    return param;
}

static struct pawl_param table(int64_t rows, int64_t cols, enum pawl_init init, double scale)
{
    return (struct pawl_param){ .suffix = "weight", .rank = 2, .dim = { rows, cols, 1, 1 },
                                .init = init, .scale = scale, .decay = true };
}

static int dense_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                        struct pawl_param *out)
{
    const int64_t inputs = in->dim[in->rank - 1];
    const bool normal = layer->dense.init_std > 0;
    const double bound = 1 / sqrt((double)inputs);
    int count = 0;

    if (!layer->dense.tied[0])
        out[count++] = table(layer->dense.units, inputs,
                             normal ? PAWL_INIT_NORMAL : PAWL_INIT_UNIFORM,
                             normal ? layer->dense.init_std : bound);
    if (layer->dense.bias)
        out[count++] = vector("bias", layer->dense.units,
                              normal ? PAWL_INIT_ZERO : PAWL_INIT_UNIFORM, normal ? 0 : bound);
    return count;
}

static int conv2d_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                         struct pawl_param *out)
{
    const int64_t *kernel = layer->conv2d.kernel, channels = in->dim[2] / layer->conv2d.groups;
    const double bound = 1 / sqrt((double)kernel[0] * (double)kernel[1] * (double)channels);

    out[0] = (struct pawl_param){ .suffix = "weight", .rank = 4,
                                  .dim = { layer->conv2d.filters, kernel[0], kernel[1], channels },
                                  .init = PAWL_INIT_UNIFORM, .scale = bound, .decay = true };
    if (!layer->conv2d.bias) return 1;
    out[1] = vector("bias", layer->conv2d.filters, PAWL_INIT_UNIFORM, bound);
    return 2;
}

// Small, because a tied output layer reads the same rows: rows of variance 1 would start it off
// with logits in the tens.
static const double EMBEDDING_STD = 0.02;

static int embedding_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                            struct pawl_param *out)
{
    (void)in;
    out[0] = table(layer->embedding.vocab, layer->embedding.width, PAWL_INIT_NORMAL, EMBEDDING_STD);
    return 1;
}

static int position_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                           struct pawl_param *out)
{
    out[0] = table(layer->position.positions, in->dim[1], PAWL_INIT_NORMAL, EMBEDDING_STD);
    return 1;
}

static int norm_params(const struct pawl_layer *layer, const struct pawl_shape *in,
                       struct pawl_param *out)
{
    (void)layer;
    out[0] = vector("weight", in->dim[in->rank - 1], PAWL_INIT_ONE, 0);
    out[1] = vector("bias", in->dim[in->rank - 1], PAWL_INIT_ZERO, 0);
    return 2;
}

// ---- the table

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
static const struct pawl_field conv2d_fields[] = {
    { "filters", PAWL_FIELD_COUNT, AT(conv2d.filters), MUST, 0, 1, PAWL_DIMENSION_MAX },
    { "kernel", PAWL_FIELD_PAIR, AT(conv2d.kernel), MUST, 0, 1, 65535 },
    { "stride", PAWL_FIELD_PAIR, AT(conv2d.stride), 0, 1, 1, 65535 },
    { "dilation", PAWL_FIELD_PAIR, AT(conv2d.dilation), 0, 1, 1, 65535 },
    { "groups", PAWL_FIELD_COUNT, AT(conv2d.groups), 0, 1, 1, PAWL_DIMENSION_MAX },
    { "padding", PAWL_FIELD_PADDING, AT(conv2d.padding), 0, PAWL_VALID, 0, 0 },
    { "bias", PAWL_FIELD_BOOL, AT(conv2d.bias), 0, true, 0, 0 },
    { "activation", PAWL_FIELD_ACTIVATION, AT(conv2d.activation), 0, PAWL_LINEAR, 0, 0 },
};
static const struct pawl_field pool_fields[] = {
    { "size", PAWL_FIELD_PAIR, AT(pool.size), 0, 2, 1, 65535 },
    { "stride", PAWL_FIELD_PAIR, AT(pool.stride), 0, 0, 0, 65535 },
    { "padding", PAWL_FIELD_PADDING, AT(pool.padding), 0, PAWL_VALID, 0, 0 },
};
static const struct pawl_field embedding_fields[] = {
    { "vocab", PAWL_FIELD_COUNT, AT(embedding.vocab), MUST, 0, 1, PAWL_DIMENSION_MAX },
    { "width", PAWL_FIELD_COUNT, AT(embedding.width), MUST, 0, 1, PAWL_DIMENSION_MAX },
};
static const struct pawl_field position_fields[] = {
    { "positions", PAWL_FIELD_COUNT, AT(position.positions), MUST, 0, 1, PAWL_DIMENSION_MAX },
};
static const struct pawl_field norm_fields[] = {
    { "epsilon", PAWL_FIELD_REAL, AT(norm.epsilon), 0, 1e-5, 0, 1 },
};
static const struct pawl_field attention_fields[] = {
    { "heads", PAWL_FIELD_COUNT, AT(attention.heads), MUST, 0, 1, HEAD_MAX },
    { "kv_heads", PAWL_FIELD_COUNT, AT(attention.kv_heads), 0, 0, 0, HEAD_MAX },
    { "causal", PAWL_FIELD_BOOL, AT(attention.causal), 0, true, 0, 0 },
};
static const struct pawl_field activate_fields[] = {
    { "activation", PAWL_FIELD_ACTIVATION, AT(activate.activation), MUST, 0, 0, 0 },
};
static const struct pawl_field dropout_fields[] = {
    // The most is the double below 1: dropping everything leaves nothing to scale up.
    { "rate", PAWL_FIELD_REAL, AT(dropout.rate), MUST | LOOSE, 0, 0, 0x1.fffffep-1 },
};

const struct pawl_layer_row pawl_layer_rows[PAWL_LAYER_KINDS] = {
    [PAWL_INPUT] = { "input", 0, FIELDS(input_fields), input_shape, NULL },
    [PAWL_DENSE] = { "dense", 1, FIELDS(dense_fields), dense_shape, dense_params },
    [PAWL_CONV2D] = { "conv2d", 1, FIELDS(conv2d_fields), conv2d_shape, conv2d_params },
    [PAWL_MAX_POOL2D] = { "max_pool2d", 1, FIELDS(pool_fields), pool_shape, NULL },
    [PAWL_AVG_POOL2D] = { "avg_pool2d", 1, FIELDS(pool_fields), pool_shape, NULL },
    [PAWL_FLATTEN] = { "flatten", 1, NULL, 0, flatten_shape, NULL },
    [PAWL_EMBEDDING] = { "embedding", 1, FIELDS(embedding_fields), embedding_shape,
                         embedding_params },
    [PAWL_POSITION_EMBEDDING] = { "position_embedding", 1, FIELDS(position_fields), position_shape,
                                  position_params },
    [PAWL_LAYER_NORM] = { "layer_norm", 1, FIELDS(norm_fields), keep_shape, norm_params },
    [PAWL_ATTENTION] = { "attention", 1, FIELDS(attention_fields), attention_shape, NULL },
    [PAWL_ACTIVATE] = { "activate", 1, FIELDS(activate_fields), keep_shape, NULL },
    [PAWL_ADD] = { "add", 2, NULL, 0, add_shape, NULL },
    [PAWL_DROPOUT] = { "dropout", 1, FIELDS(dropout_fields), keep_shape, NULL },
};

// ---- fields

void pawl_layer_defaults(struct pawl_layer *layer)
{
    const struct pawl_layer_row *row = &pawl_layer_rows[layer->kind];

    for (int i = 0; i < row->field_count; i++) {
        const struct pawl_field *field = &row->fields[i];
        void *at = (char *)layer + field->offset;

        switch (field->type) {
        case PAWL_FIELD_PAIR:
            ((int64_t *)at)[0] = ((int64_t *)at)[1] = (int64_t)field->standard;
            break;
        case PAWL_FIELD_COUNT: *(int64_t *)at = (int64_t)field->standard; break;
        case PAWL_FIELD_BOOL: *(bool *)at = field->standard != 0; break;
        case PAWL_FIELD_REAL: *(double *)at = field->standard; break;
        case PAWL_FIELD_ACTIVATION:
        case PAWL_FIELD_PADDING: *(unsigned *)at = (unsigned)field->standard; break;
        case PAWL_FIELD_NAME: *(char *)at = 0; break;
        case PAWL_FIELD_SHAPE: *(struct pawl_shape *)at = (struct pawl_shape){ 0 }; break;
        }
    }
}

static int check_counts(const struct pawl_layer *layer, const struct pawl_field *field,
                        const int64_t *value, int count)
{
    for (int i = 0; i < count; i++)
        if ((double)value[i] < field->least || (double)value[i] > field->most)
            return pawl_layer_fail(layer, "%s must be %.0f to %.0f, not %lld", field->name,
                                   field->least, field->most, (long long)value[i]);
    return 0;
}

static int check_field(const struct pawl_layer *layer, const struct pawl_field *field)
{
    const void *at = (const char *)layer + field->offset;
    const struct pawl_shape *shape = at;
    const double real = field->type == PAWL_FIELD_REAL ? *(const double *)at : 0;

    switch (field->type) {
    case PAWL_FIELD_COUNT: return check_counts(layer, field, at, 1);
    case PAWL_FIELD_PAIR: return check_counts(layer, field, at, 2);
    case PAWL_FIELD_SHAPE:
        if (shape->rank < 1 || shape->rank > PAWL_SHAPE_MAX)
            return pawl_layer_fail(layer, "%s must have 1 to %d dimensions, not %d", field->name,
                                   PAWL_SHAPE_MAX, shape->rank);
        return check_counts(layer, field, shape->dim, shape->rank);
    case PAWL_FIELD_REAL:
        if (!(real >= field->least && real <= field->most))
            return pawl_layer_fail(layer, "%s must be %g to %g, not %g", field->name, field->least,
                                   field->most, real);
        return 0;
    default: return 0;
    }
}

int pawl_layer_check_fields(const struct pawl_layer *layer)
{
    const struct pawl_layer_row *row = &pawl_layer_rows[layer->kind];

    for (int i = 0; i < row->field_count; i++) {
        const int rc = check_field(layer, &row->fields[i]);
        if (rc) return rc;
    }
    return 0;
}
