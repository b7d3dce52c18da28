// layers_shape.c - the shape that each kind makes of its inputs', and what fields cannot tell.

#include <string.h>

#include "checkpoint/layers_inside.h"

static int shape_fail(const struct pawl_layer *layer, const struct pawl_shape *in,
                      const char *wanted)
{
    char text[96];

    return pawl_layer_fail(layer, "its input is %s, but it takes %s",
                           pawl_shape_text(text, sizeof(text), in->rank, in->dim), wanted);
}

int layer_keep_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    layer->out = *in[0];
    return 0;
}

int layer_input_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    (void)in;
    if (layer->in.tokens && layer->in.shape.rank != 1)
        return shape_fail(layer, &layer->in.shape, "[time] when tokens is true");
    for (int d = layer->in.shape.rank; d < PAWL_SHAPE_MAX; d++)
        layer->in.shape.dim[d] = 1;
    layer->out = layer->in.shape;
    return 0;
}

static int no_softmax(const struct pawl_layer *layer, enum pawl_activation activation)
{
    if (activation != PAWL_SOFTMAX && activation != PAWL_LOG_SOFTMAX) return 0;
    return pawl_layer_fail(layer, "it cannot have a softmax inside");
}

int layer_dense_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    layer->out = *in[0];
    layer->out.dim[in[0]->rank - 1] = layer->dense.units;
    return 0;
}

// ---- windows

// [height, width, channels], or [time, channels] of a 1-d kind as a height of 1.
static int image_of(const struct pawl_layer *layer, const struct pawl_shape *in, int64_t image[3])
{
    const int rank = layer_is_1d(layer->kind) ? 2 : 3;

    if (in->rank != rank)
        return shape_fail(layer, in, rank == 2 ? "[time, channels]" : "[height, width, channels]");
    image[0] = rank == 3 ? in->dim[0] : 1;
    image[1] = in->dim[rank - 2];
    image[2] = in->dim[rank - 1];
    return 0;
}

static void set_out(struct pawl_layer *layer, const int64_t image[3])
{
    layer->out.rank = layer_is_1d(layer->kind) ? 2 : 3;
    for (int i = 0; i < layer->out.rank; i++)
        layer->out.dim[i] = image[3 - layer->out.rank + i];
}

static int no_pads_with_same(const struct pawl_layer *layer, const int64_t pads[4],
                             enum pawl_padding padding)
{
    if (padding != PAWL_SAME || !(pads[0] | pads[1] | pads[2] | pads[3])) return 0;
    return pawl_layer_fail(layer, "it has pads, so its padding must be valid");
}

struct slide {
    const int64_t *kernel, *stride, *dilation, *pads;
    enum pawl_padding padding;
};

// How many windows fit along each axis.
static int slide(const struct pawl_layer *layer, int64_t image[3], const struct slide *by)
{
    int rc = no_pads_with_same(layer, by->pads, by->padding);

    for (int axis = 0; axis < 2 && !rc; axis++) {
        const int64_t span = by->dilation[axis] * (by->kernel[axis] - 1) + 1;
        const int64_t size = image[axis] + by->pads[2 * axis] + by->pads[2 * axis + 1];
        const int64_t stride = by->stride[axis];
        if (by->padding == PAWL_SAME)
            image[axis] = (size + stride - 1) / stride;
        else if (size >= span)
            image[axis] = (size - span) / stride + 1;
        else
            rc = pawl_layer_fail(layer, "its window of %lld is larger than its input of %lld",
                                 (long long)span, (long long)size);
    }
    return rc;
}

static int check_conv(struct pawl_layer *layer, int64_t channels)
{
    const int64_t groups = layer->conv.groups;

    if (layer_is_1d(layer->kind)) layer->conv.kernel[0] = layer->conv.stride[0] = 1;
    if (layer_is_1d(layer->kind)) layer->conv.dilation[0] = 1;
    if (channels % groups || layer->conv.filters % groups)
        return pawl_layer_fail(layer, "groups %lld must divide its %lld channels and %lld filters",
                               (long long)groups, (long long)channels,
                               (long long)layer->conv.filters);
    return 0;
}

int layer_conv_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    int64_t image[3];
    int rc = image_of(layer, in[0], image);

    if (!rc) rc = check_conv(layer, image[2]);
    if (!rc)
        rc = slide(layer, image, &(struct slide){ layer->conv.kernel, layer->conv.stride,
                                                  layer->conv.dilation, layer->conv.pads,
                                                  layer->conv.padding });
    image[2] = layer->conv.filters;
    if (!rc) set_out(layer, image);
    return rc;
}

// The image that the convolution of these fields makes this input of. SAME: stride times the
// input; VALID: the smallest such image, and `extra` more.
int layer_transpose_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    const int64_t *stride = layer->conv.stride, *pads = layer->conv.pads;
    int64_t image[3];
    int rc = image_of(layer, in[0], image);

    if (!rc) rc = check_conv(layer, image[2]);
    if (!rc) rc = no_pads_with_same(layer, pads, layer->conv.padding);
    if (rc) return rc;
    for (int axis = 0; axis < 2; axis++) {
        const int64_t span = layer->conv.dilation[axis] * (layer->conv.kernel[axis] - 1) + 1;
        const int64_t cut = pads[2 * axis] + pads[2 * axis + 1], more = layer->conv.extra[axis];
        if (layer->conv.padding == PAWL_SAME) {
            if (more) return pawl_layer_fail(layer, "it has extra, so its padding must be valid");
            image[axis] *= stride[axis];
            continue;
        }
        image[axis] = (image[axis] - 1) * stride[axis] + span - cut + more;
        if (image[axis] < 1)
            return pawl_layer_fail(layer, "its pads of %lld leave nothing of its output",
                                   (long long)cut);
    }
    image[2] = layer->conv.filters;
    set_out(layer, image);
    return 0;
}

int layer_pool_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    const int64_t *size = layer->pool.size, *pads = layer->pool.pads;
    int64_t image[3];
    int rc = image_of(layer, in[0], image);

    if (layer_is_1d(layer->kind)) layer->pool.size[0] = 1;
    for (int axis = 0; axis < 2; axis++)
        if (!layer->pool.stride[axis]) layer->pool.stride[axis] = size[axis];
    for (int i = 0; i < 4 && !rc; i++)
        if (pads[i] >= size[i / 2] && pads[i])
            rc = pawl_layer_fail(layer, "pads of %lld would let a window of %lld see padding only",
                                 (long long)pads[i], (long long)size[i / 2]);
    if (!rc)
        rc = slide(layer, image, &(struct slide){ size, layer->pool.stride, (int64_t[]){ 1, 1 },
                                                  pads, layer->pool.padding });
    if (!rc) set_out(layer, image);
    return rc;
}

int layer_global_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    const int rank = in[0]->rank;

    if (rank < 2) return shape_fail(layer, in[0], "at least [time, channels]");
    layer->out.rank = layer->global.keep ? rank : 1;
    for (int d = 0; d < layer->out.rank; d++)
        layer->out.dim[d] = 1;
    layer->out.dim[layer->out.rank - 1] = in[0]->dim[rank - 1];
    return 0;
}

int layer_zero_padding_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    const int64_t *pads = layer->zero_padding.pads;
    const int rank = in[0]->rank;

    if (rank != 2 && rank != 3)
        return shape_fail(layer, in[0], "[height, width, channels] or [time, channels]");
    if (rank == 2 && (pads[0] || pads[1]))
        return pawl_layer_fail(layer, "[time, channels] has no top and bottom to pad");
    layer->out = *in[0];
    if (rank == 3) layer->out.dim[0] += pads[0] + pads[1];
    layer->out.dim[rank - 2] += pads[2] + pads[3];
    return 0;
}

// ---- norms, tokens, time

int layer_norm_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    const int64_t channels = in[0]->dim[in[0]->rank - 1], groups = layer->norm.groups;

    if (layer->kind == PAWL_GROUP_NORM && channels % groups)
        return pawl_layer_fail(layer, "groups %lld must divide its %lld channels",
                               (long long)groups, (long long)channels);
    layer->out = *in[0];
    return 0;
}

int layer_embedding_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    layer->out = (struct pawl_shape){ 2, { in[0]->dim[0], layer->embedding.width, 1, 1 } };
    return 0;
}

int layer_position_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    if (in[0]->rank != 2) return shape_fail(layer, in[0], "[time, channels]");
    if (in[0]->dim[0] > layer->position.positions)
        return pawl_layer_fail(layer, "positions %lld is less than the %lld steps of its input",
                               (long long)layer->position.positions, (long long)in[0]->dim[0]);
    layer->out = *in[0];
    return 0;
}

static int check_rotary(struct pawl_layer *layer, int64_t dim)
{
    int64_t *rotary = &layer->attention.rotary;

    if (!(layer->attention.theta > 0)) {
        if (!*rotary) return 0;
        return pawl_layer_fail(layer, "rotary %lld needs a theta", (long long)*rotary);
    }
    if (!*rotary) *rotary = dim;
    if (*rotary > dim || *rotary % 2)
        return pawl_layer_fail(layer, "rotary must be even and at most %lld, not %lld",
                               (long long)dim, (long long)*rotary);
    return 0;
}

// One input holds queries, keys and values side by side; three hold one each.
int layer_attention_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    const int64_t heads = layer->attention.heads;
    int64_t channels = in[0]->dim[1];

    if (!layer->attention.kv_heads) layer->attention.kv_heads = heads;
    const int64_t kv_heads = layer->attention.kv_heads, slices = heads + 2 * kv_heads;
    if (layer->input_count == 2)
        return pawl_layer_fail(layer, "it takes 1 input, or 3: queries, keys, values");
    for (int i = 0; i < layer->input_count; i++)
        if (in[i]->rank != 2 || in[i]->dim[0] != in[0]->dim[0])
            return shape_fail(layer, in[i], layer->input_count == 1
                              ? "[time, queries + keys + values]"
                              : "[time, queries], [time, keys], [time, values] of equal time");
    if (heads % kv_heads)
        return pawl_layer_fail(layer, "kv_heads %lld must divide heads %lld", (long long)kv_heads,
                               (long long)heads);
    if (layer->input_count == 3) {
        const int64_t dim = in[0]->dim[1] / heads;
        if (in[0]->dim[1] % heads || in[1]->dim[1] != dim * kv_heads
            || in[2]->dim[1] != dim * kv_heads)
            return pawl_layer_fail(layer, "its inputs of %lld, %lld and %lld channels are not %lld "
                                   "queries and %lld keys and values of one size",
                                   (long long)in[0]->dim[1], (long long)in[1]->dim[1],
                                   (long long)in[2]->dim[1], (long long)heads,
                                   (long long)kv_heads);
        channels = dim * slices;
    }
    if (channels % slices)
        return pawl_layer_fail(layer, "its input of %lld channels does not divide into %lld "
                               "queries and %lld keys and values", (long long)channels,
                               (long long)heads, (long long)kv_heads);
    layer->out = *in[0];
    layer->out.dim[1] = channels / slices * heads;
    return check_rotary(layer, channels / slices);
}

int layer_rnn_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    int rc = no_softmax(layer, layer->rnn.activation);

    if (!rc) rc = no_softmax(layer, layer->rnn.recurrent_activation);
    if (rc) return rc;
    if (in[0]->rank != 2) return shape_fail(layer, in[0], "[time, features]");
    layer->out.rank = layer->rnn.sequences ? 2 : 1;
    layer->out.dim[0] = in[0]->dim[0];
    layer->out.dim[layer->out.rank - 1] = layer->rnn.units;
    return 0;
}

int layer_activate_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    const enum pawl_activation activation = layer->activate.activation;
    double *alpha = &layer->activate.alpha;
    const double usual = activation == PAWL_LEAKY_RELU ? 0.01 : activation == PAWL_ELU ? 1 : 0;

    layer->out = *in[0];
    if (!(*alpha > 0)) *alpha = usual;
    if (*alpha > 0 && !(usual > 0)) return pawl_layer_fail(layer, "only leaky_relu and elu have an "
                                                           "alpha");
    return 0;
}

// ---- what only moves values

int layer_flatten_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    layer->out.rank = 1;
    return pawl_shape_count(&layer->out.dim[0], in[0]->rank, in[0]->dim);
}

int layer_reshape_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    struct pawl_shape *shape = &layer->reshape.shape;
    int64_t have, want;
    char a[96], b[96];
    int rc = pawl_shape_count(&have, in[0]->rank, in[0]->dim);

    if (!rc) rc = pawl_shape_count(&want, shape->rank, shape->dim);
    if (rc) return rc;
    if (have != want)
        return pawl_layer_fail(layer, "%s does not hold as many values as its input, %s",
                               pawl_shape_text(a, sizeof(a), shape->rank, shape->dim),
                               pawl_shape_text(b, sizeof(b), in[0]->rank, in[0]->dim));
    for (int d = shape->rank; d < PAWL_SHAPE_MAX; d++)
        shape->dim[d] = 1;
    layer->out = *shape;
    return 0;
}

int layer_permute_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    struct pawl_shape *order = &layer->permute.order;
    unsigned seen = 0;

    for (int d = 0; d < order->rank; d++)
        seen |= 1u << order->dim[d];
    if (order->rank != in[0]->rank || seen != (1u << order->rank) - 1)
        return pawl_layer_fail(layer, "order must name each of its input's %d axes once, from 0",
                               in[0]->rank);
    for (int d = order->rank; d < PAWL_SHAPE_MAX; d++)
        order->dim[d] = d;
    layer->out.rank = order->rank;
    for (int d = 0; d < order->rank; d++)
        layer->out.dim[d] = in[0]->dim[order->dim[d]];
    return 0;
}

int layer_same_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    char a[96], b[96];

    for (int i = 1; i < layer->input_count; i++)
        if (in[0]->rank != in[i]->rank || memcmp(in[0]->dim, in[i]->dim, sizeof(in[0]->dim)))
            return pawl_layer_fail(layer, "its inputs differ: %s and %s",
                                   pawl_shape_text(a, sizeof(a), in[0]->rank, in[0]->dim),
                                   pawl_shape_text(b, sizeof(b), in[i]->rank, in[i]->dim));
    layer->out = *in[0];
    return 0;
}

int layer_concatenate_shape(struct pawl_layer *layer, const struct pawl_shape *const *in)
{
    int64_t *axis = &layer->concatenate.axis;
    char a[96], b[96];

    if (*axis < 0) *axis += in[0]->rank;
    if (*axis < 0 || *axis >= in[0]->rank)
        return pawl_layer_fail(layer, "its inputs have no axis %lld", (long long)*axis);
    layer->out = *in[0];
    for (int i = 1; i < layer->input_count; i++) {
        bool same = in[i]->rank == in[0]->rank;
        for (int d = 0; d < in[0]->rank; d++)
            same = same && (d == *axis || in[i]->dim[d] == in[0]->dim[d]);
        if (!same)
            return pawl_layer_fail(layer, "its inputs differ beside axis %lld: %s and %s",
                                   (long long)*axis,
                                   pawl_shape_text(a, sizeof(a), in[0]->rank, in[0]->dim),
                                   pawl_shape_text(b, sizeof(b), in[i]->rank, in[i]->dim));
        layer->out.dim[*axis] += in[i]->dim[*axis];
    }
    return 0;
}
