// savedmodel_emit_windows.c - dense layers, convolutions, pooling and norms as TensorFlow's.
//
// In one dimension a sequence is an image of height 1.

#include <float.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/savedmodel_emit.h"
#include "kernels/memory.h"

static const struct pawl_keras_variable *variable_of(const struct pawl_emit *e, int v)
{
    return &e->saved->file.keras.variables[v];
}

// The value of a vector, whatever shape Keras gives it.
static struct pawl_ref vector(struct pawl_emit *e, int v, int64_t count)
{
    const struct pawl_ref x = pawl_emit_read(e, v);

    return variable_of(e, v)->rank == 1 ? x : pawl_emit_reshape(e, x, 1, &count);
}

static void finish(struct pawl_emit *e, int i, struct pawl_ref x, enum pawl_activation activation)
{
    const int bias = pawl_emit_variable(e, i, "bias");

    if (bias >= 0) {
        const struct pawl_shape *out = &e->of->layers[i].out;
        const struct pawl_ref b = vector(e, bias, out->dim[out->rank - 1]);
        x = pawl_emit_plain(e, "BiasAdd", "output", x, &b);
    }
    e->values[i] = pawl_emit_activation(e, x, activation, 0);
}

// ---- dense

// The variable of another layer that is this one's weight; *across: it lies (units, inputs).
static int tied_to(const struct pawl_emit *e, int i, bool *across)
{
    const char *name = e->of->layers[i].dense.tied, *dot = strrchr(name, '.');

    for (int k = 0; dot && k < e->of->layer_count; k++) {
        const struct pawl_layer *owner = &e->of->layers[k];
        if (strlen(owner->name) != (size_t)(dot - name)
            || strncmp(owner->name, name, (size_t)(dot - name)))
            continue;
        *across = e->saved->generic || owner->kind != PAWL_DENSE;
        return pawl_emit_variable(e, k, dot + 1);
    }
    return -1;
}

int pawl_emit_dense(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    const struct pawl_shape *in = pawl_emit_in(e, i, 0);
    const int64_t inputs = in->dim[in->rank - 1], units = layer->dense.units;
    struct pawl_ref x = pawl_emit_value(e, i, 0);
    bool across = e->saved->generic;

    const int v = layer->dense.tied[0] ? tied_to(e, i, &across)
                                       : pawl_emit_variable(e, i, "weight");
    if (v < 0) return pawl_emit_unknown(e, i, "a weight of this kind of layer");
    struct pawl_ref kernel = pawl_emit_read(e, v);
    if (!across && variable_of(e, v)->rank != 2)
        kernel = pawl_emit_reshape(e, kernel, 2, (int64_t[]){ inputs, units });
    if (in->rank > 1) x = pawl_emit_reshape(e, x, 2, (int64_t[]){ -1, inputs });
    finish(e, i, pawl_emit_matmul(e, x, kernel, across), layer->dense.activation);
    if (in->rank > 1) e->values[i] = pawl_emit_shaped(e, e->values[i], &layer->out);
    return 0;
}

// ---- windows

static bool flat(enum pawl_layer_kind kind)
{
    return kind == PAWL_CONV1D || kind == PAWL_CONV1D_TRANSPOSE || kind == PAWL_MAX_POOL1D
           || kind == PAWL_AVG_POOL1D;
}

// The input as an image, with zeros (or another value) around it.
static struct pawl_ref image(struct pawl_emit *e, int i, const int64_t pads[4], double fill)
{
    const struct pawl_shape *in = pawl_emit_in(e, i, 0);
    const int64_t all[8] = { 0, 0, pads[0], pads[1], pads[2], pads[3], 0, 0 };
    struct pawl_ref x = pawl_emit_value(e, i, 0);

    if (flat(e->of->layers[i].kind))
        x = pawl_emit_reshape(e, x, 4, (int64_t[]){ -1, 1, in->dim[0], in->dim[1] });
    return pawl_emit_pad(e, x, 4, all, fill);
}

static struct pawl_ref kernel_of(struct pawl_emit *e, int i, int v)
{
    const int64_t *dim = variable_of(e, v)->dim;
    const bool one = flat(e->of->layers[i].kind), generic = e->saved->generic;
    struct pawl_ref kernel = pawl_emit_read(e, v);

    if (generic)  // (rows, kernel..., columns) -> (kernel..., columns, rows)
        kernel = pawl_emit_transpose(e, kernel, one ? 3 : 4,
                                     one ? (int64_t[]){ 1, 2, 0, 0 } : (int64_t[]){ 1, 2, 3, 0 });
    if (!one) return kernel;
    return pawl_emit_reshape(e, kernel, 4,
                             generic ? (int64_t[]){ 1, dim[1], dim[2], dim[0] }
                                     : (int64_t[]){ 1, dim[0], dim[1], dim[2] });
}

static void pair(struct pawl_emit *e, const char *key, const int64_t by[2])
{
    pawl_tf_ints(e->out, key, 4, (int64_t[]){ 1, by[0], by[1], 1 });
}

static void padding(struct pawl_emit *e, enum pawl_padding how)
{
    pawl_tf_string(e->out, "padding", how == PAWL_SAME ? "SAME" : "VALID");
}

// A kernel (height, width, a, b) with zeros between its elements: dilation, where TensorFlow's
// operation takes none.
static struct pawl_ref spread(struct pawl_emit *e, struct pawl_ref kernel, const int64_t dim[4],
                              const int64_t dilation[2])
{
    const int64_t h = dim[0], w = dim[1], dh = dilation[0], dw = dilation[1];
    const int64_t apart[6] = { h, 1, w, 1, dim[2], dim[3] };
    const int64_t between[12] = { 0, 0, 0, dh - 1, 0, 0, 0, dw - 1 };

    if (dh == 1 && dw == 1) return kernel;
    kernel = pawl_emit_reshape(e, kernel, 6, apart);
    kernel = pawl_emit_pad(e, kernel, 6, between, 0);
    kernel = pawl_emit_reshape(e, kernel, 4, (int64_t[]){ h * dh, w * dw, dim[2], dim[3] });
    return pawl_emit_slice(e, kernel, 4, (int64_t[]){ 0, 0, 0, 0 },
                           (int64_t[]){ (h - 1) * dh + 1, (w - 1) * dw + 1, dim[2], dim[3] });
}

static struct pawl_ref convolve(struct pawl_emit *e, const struct pawl_layer *layer,
                                struct pawl_ref x, struct pawl_ref kernel, bool depthwise)
{
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, depthwise ? "DepthwiseConv2dNative" : "Conv2D", &name);

    pawl_tf_input(e->out, x.text);
    pawl_tf_input(e->out, kernel.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pair(e, "strides", layer->conv.stride);
    if (!depthwise) pair(e, "dilations", layer->conv.dilation);
    padding(e, layer->conv.padding);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, "output", 0);
}

// TensorFlow's own convolution in groups fails on the processor once an activation is fused to it.
static int in_groups(struct pawl_emit *e, const struct pawl_layer *layer, struct pawl_ref *x,
                     struct pawl_ref kernel)
{
    const int groups = (int)layer->conv.groups;
    struct pawl_ref *parts = NULL;

    const int rc = pawl_alloc(&parts, sizeof(*parts) * (size_t)groups, "groups");
    if (rc) return rc;
    const struct pawl_ref from = pawl_emit_split(e, *x, 3, groups);
    const struct pawl_ref by = pawl_emit_split(e, kernel, 3, groups);
    for (int g = 0; g < groups; g++)
        parts[g] = convolve(e, layer, pawl_emit_output(&from, "output", g),
                            pawl_emit_output(&by, "output", g), false);
    *x = pawl_emit_concat(e, parts, groups, 3);
    pawl_free(parts);
    return 0;
}

int pawl_emit_conv(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    const struct pawl_shape *in = pawl_emit_in(e, i, 0);
    const int64_t *kernel_dim = layer->conv.kernel, channels = in->dim[in->rank - 1];
    const int64_t groups = layer->conv.groups, multiplier = layer->conv.filters / channels;
    const bool depthwise = groups == channels && groups > 1
                           && layer->conv.stride[0] == layer->conv.stride[1];
    const int64_t dim[4] = { kernel_dim[0], kernel_dim[1], channels, multiplier };
    struct pawl_ref kernel = kernel_of(e, i, pawl_emit_variable(e, i, "weight"));
    struct pawl_ref x = image(e, i, layer->conv.pads, 0);
    int rc = 0;

    if (depthwise) {
        kernel = spread(e, pawl_emit_reshape(e, kernel, 4, dim), dim, layer->conv.dilation);
        x = convolve(e, layer, x, kernel, true);
    } else if (groups > 1) {
        kernel = pawl_emit_reshape(e, kernel, 4,
                                   (int64_t[]){ kernel_dim[0], kernel_dim[1], channels / groups,
                                                layer->conv.filters });
        rc = in_groups(e, layer, &x, kernel);
    } else {
        x = convolve(e, layer, x, kernel, false);
    }
    if (flat(layer->kind)) x = pawl_emit_shaped(e, x, &layer->out);
    finish(e, i, x, layer->conv.activation);
    return rc;
}

// [batch, height, width, channels]; the batch as it comes.
static struct pawl_ref sizes(struct pawl_emit *e, struct pawl_ref x, const int64_t dim[3])
{
    struct pawl_ref name, parts[4], ends[3];
    size_t node = pawl_emit_begin(e, "Shape", &name);

    pawl_tf_input(e->out, x.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_tf_type(e->out, "out_type", PAWL_TF_INT32);
    pawl_pb_end(e->out, node);
    const struct pawl_ref shape = pawl_emit_output(&name, "output", 0);
    for (int k = 0; k < 3; k++)
        ends[k] = pawl_emit_ints(e, 1, 1, (int64_t[]){ k > 0 });
    node = pawl_emit_begin(e, "StridedSlice", &name);
    pawl_tf_input(e->out, shape.text);
    for (int k = 0; k < 3; k++)
        pawl_tf_input(e->out, ends[k].text);
    pawl_tf_type(e->out, "T", PAWL_TF_INT32);
    pawl_tf_type(e->out, "Index", PAWL_TF_INT32);
    pawl_tf_int(e->out, "shrink_axis_mask", 1);
    pawl_pb_end(e->out, node);
    parts[0] = pawl_emit_output(&name, "output", 0);
    for (int k = 0; k < 3; k++)
        parts[k + 1] = pawl_emit_ints(e, 0, 1, &dim[k]);
    return pawl_emit_pack(e, parts, 4, 0, PAWL_TF_INT32);
}

// The convolution's gradient, of which pads cut and to which extra adds.
int pawl_emit_transposed(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    const struct pawl_shape *out = &layer->out;
    const int64_t *pads = layer->conv.pads, none[4] = { 0 };
    const bool one = flat(layer->kind);
    const int64_t dim[3] = { (one ? 1 : out->dim[0]) + pads[0] + pads[1],
                             out->dim[out->rank - 2] + pads[2] + pads[3], layer->conv.filters };
    struct pawl_ref name;

    if (layer->conv.groups != 1)
        return pawl_emit_unknown(e, i, "a transposed convolution with groups");
    for (int axis = 0; axis < 2; axis++)
        if (layer->conv.extra[axis] >= layer->conv.stride[axis] && layer->conv.extra[axis])
            return pawl_emit_unknown(e, i, "extra as large as the stride");
    const struct pawl_shape *in = pawl_emit_in(e, i, 0);
    const int64_t lies[4] = { layer->conv.kernel[0], layer->conv.kernel[1], layer->conv.filters,
                              in->dim[in->rank - 1] };
    const struct pawl_ref kernel = spread(e, kernel_of(e, i, pawl_emit_variable(e, i, "weight")),
                                          lies, layer->conv.dilation);
    const struct pawl_ref x = image(e, i, none, 0), shape = sizes(e, x, dim);
    const size_t node = pawl_emit_begin(e, "Conv2DBackpropInput", &name);
    pawl_tf_input(e->out, shape.text);
    pawl_tf_input(e->out, kernel.text);
    pawl_tf_input(e->out, x.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pair(e, "strides", layer->conv.stride);
    padding(e, layer->conv.padding);
    pawl_pb_end(e->out, node);
    struct pawl_ref y = pawl_emit_output(&name, "output", 0);
    if (pads[0] || pads[1] || pads[2] || pads[3])
        y = pawl_emit_slice(e, y, 4, (int64_t[]){ 0, pads[0], pads[2], 0 },
                            (int64_t[]){ -1, one ? 1 : out->dim[0], out->dim[out->rank - 2], -1 });
    // Also tells TensorFlow the size, which it cannot see through the batch's.
    finish(e, i, pawl_emit_shaped(e, y, out), layer->conv.activation);
    return 0;
}

static struct pawl_ref pool(struct pawl_emit *e, const struct pawl_layer *layer, const char *op,
                            struct pawl_ref x)
{
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, op, &name);

    pawl_tf_input(e->out, x.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pair(e, "ksize", layer->pool.size);
    pair(e, "strides", layer->pool.stride);
    padding(e, layer->pool.padding);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, "output", 0);
}

// Means divide by what lies inside the image: by the mean of ones that are padded alike.
int pawl_emit_pool(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    const int64_t *pads = layer->pool.pads;
    const bool most = layer->kind == PAWL_MAX_POOL1D || layer->kind == PAWL_MAX_POOL2D;
    const bool padded = pads[0] || pads[1] || pads[2] || pads[3];

    if (!most && layer->pool.count_pads && layer->pool.padding == PAWL_SAME)
        return pawl_emit_unknown(e, i, "a mean that counts padding 'same'");
    struct pawl_ref x = image(e, i, pads, most ? -FLT_MAX : 0);
    struct pawl_ref y = pool(e, layer, most ? "MaxPool" : "AvgPool", x);
    if (!most && padded && !layer->pool.count_pads) {
        const int64_t all[8] = { 0, 0, pads[0], pads[1], pads[2], pads[3], 0, 0 }, none[4] = { 0 };
        const struct pawl_ref inside = image(e, i, none, 0);
        x = pawl_emit_pad(e, pawl_emit_unary(e, "OnesLike", inside), 4, all, 0);
        y = pawl_emit_binary(e, "RealDiv", y, pool(e, layer, "AvgPool", x));
    }
    e->values[i] = flat(layer->kind) ? pawl_emit_shaped(e, y, &layer->out) : y;
    return 0;
}

// ---- norms

static struct pawl_ref inverse_root(struct pawl_emit *e, struct pawl_ref x, double epsilon)
{
    const struct pawl_ref sum = pawl_emit_binary(e, "AddV2", x, pawl_emit_float(e, epsilon));

    return pawl_emit_unary(e, "Rsqrt", sum);
}

// (x - mean) / sqrt(variance + epsilon) over axes.
static struct pawl_ref normal(struct pawl_emit *e, struct pawl_ref x,
                              const struct pawl_shape *axes, double epsilon)
{
    const struct pawl_ref mean = pawl_emit_reduce(e, "Mean", x, axes, true);
    const struct pawl_ref square = pawl_emit_binary(e, "SquaredDifference", x, mean);
    const struct pawl_ref variance = pawl_emit_reduce(e, "Mean", square, axes, true);

    return pawl_emit_binary(e, "Mul", pawl_emit_binary(e, "Sub", x, mean),
                            inverse_root(e, variance, epsilon));
}

static struct pawl_ref batch_norm(struct pawl_emit *e, int i, struct pawl_ref x, double epsilon)
{
    const struct pawl_ref mean = pawl_emit_read(e, pawl_emit_variable(e, i, "running_mean"));
    const struct pawl_ref variance = pawl_emit_read(e, pawl_emit_variable(e, i, "running_var"));

    return pawl_emit_binary(e, "Mul", pawl_emit_binary(e, "Sub", x, mean),
                            inverse_root(e, variance, epsilon));
}

// Each group's channels together with all places.
static struct pawl_ref group_norm(struct pawl_emit *e, int i, struct pawl_ref x)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    const struct pawl_shape *shape = &layer->out;
    const int64_t channels = shape->dim[shape->rank - 1], groups = layer->norm.groups;
    int64_t places = 1;

    for (int d = 0; d + 1 < shape->rank; d++)
        places *= shape->dim[d];
    x = pawl_emit_reshape(e, x, 4, (int64_t[]){ -1, places, groups, channels / groups });
    x = normal(e, x, &(struct pawl_shape){ 2, { 1, 3, 1, 1 } }, layer->norm.epsilon);
    return pawl_emit_shaped(e, x, shape);
}

int pawl_emit_norm(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    const struct pawl_shape last = { 1, { layer->out.rank, 1, 1, 1 } };
    const int weight = pawl_emit_variable(e, i, "weight"), bias = pawl_emit_variable(e, i, "bias");
    struct pawl_ref x = pawl_emit_value(e, i, 0);

    if (layer->kind == PAWL_BATCH_NORM) {
        x = batch_norm(e, i, x, layer->norm.epsilon);
    } else if (layer->kind == PAWL_LAYER_NORM) {
        x = normal(e, x, &last, layer->norm.epsilon);
    } else if (layer->kind == PAWL_GROUP_NORM) {
        x = group_norm(e, i, x);
    } else {
        const struct pawl_ref square = pawl_emit_reduce(e, "Mean", pawl_emit_binary(e, "Mul", x, x),
                                                        &last, true);
        x = pawl_emit_binary(e, "Mul", x, inverse_root(e, square, layer->norm.epsilon));
    }
    if (weight >= 0) x = pawl_emit_binary(e, "Mul", x, pawl_emit_read(e, weight));
    if (bias >= 0) x = pawl_emit_binary(e, "AddV2", x, pawl_emit_read(e, bias));
    e->values[i] = x;
    return 0;
}
