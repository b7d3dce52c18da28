// keras_weighted.c - Keras' layers with variables, as pawl's kinds: kernels, norms, gates, heads.
//
//     Keras                               pawl
//     Dense kernel (in, units)            weight (units, in)
//     Conv2D kernel (h, w, in, out)       weight (out, h, w, in)
//     DepthwiseConv2D (h, w, c, m)        weight (c m, h, w, 1)
//     Conv2DTranspose (h, w, out, in)     weight (in, h, w, out)
//     LSTM kernel (in, 4u): i f c o       weight (4u, in), the same order
//     GRU kernel (in, 3u): z r h          weight (3u, in): r z n
//     MultiHeadAttention (e, heads, d)    three dense layers, attention, a dense layer

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_inside.h"
#include "checkpoint/layers.h"

static int64_t last_dim(const struct pawl_keras_build *b)
{
    const struct pawl_shape *shape = pawl_keras_shape(b, 0);

    return shape->dim[shape->rank ? shape->rank - 1 : 0];
}

static int tie_vector(struct pawl_keras_build *b, int param, const char *name, const char *store,
                      int64_t n)
{
    return pawl_keras_tie(b, param, &(struct pawl_keras_tie){ .name = name, .store = store,
                                                              .rank = 1, .dim = { n } });
}

// ---- dense

int pawl_keras_dense(struct pawl_keras_build *b)
{
    enum pawl_activation activation = PAWL_LINEAR;
    const int64_t inputs = last_dim(b);
    struct pawl_layer *layer;
    double alpha = 0;

    int rc = pawl_keras_activation(b, "activation", &activation, &alpha);
    if (!rc) rc = pawl_keras_add(b, PAWL_DENSE, NULL, &layer);
    if (!rc) rc = pawl_keras_count(b, "units", &layer->dense.units);
    if (!rc) rc = pawl_keras_bool(b, "use_bias", &layer->dense.bias);
    if (rc) return rc;
    const int64_t units = layer->dense.units;
    const bool bias = layer->dense.bias, apart = activation >= PAWL_SOFTMAX || alpha != 0;
    if (!apart) layer->dense.activation = activation;
    rc = pawl_keras_done(b);
    if (!rc)
        rc = pawl_keras_tie(b, 0, &(struct pawl_keras_tie){
            .name = "kernel", .store = "vars/0", .rank = 2, .dim = { inputs, units },
            .view_rank = 2, .view = { inputs, units }, .axis = { 1, 0 } });
    if (!rc && bias) rc = tie_vector(b, 1, "bias", "vars/1", units);
    if (!rc && apart) rc = pawl_keras_activate(b, "activation", activation, alpha);
    return rc;
}

// ---- convolutions

// How a kernel's axes go to (rows, kernel..., columns).
struct kernel {
    enum pawl_layer_kind kind;
    bool depthwise, transposed;
};

static int channels_last(const struct pawl_keras_build *b)
{
    const char *format = pawl_keras_text(b, "data_format");

    if (!format || !strcmp(format, "channels_last")) return 0;
    return pawl_keras_stop(b, "data_format '%.40s': pawl computes channels_last", format);
}

static int padding_of(const struct pawl_keras_build *b, struct pawl_layer *layer)
{
    const char *padding = pawl_keras_text(b, "padding");
    int64_t reach;

    if (!padding || !strcmp(padding, "valid")) return 0;
    if (!strcmp(padding, "same")) {
        layer->conv.padding = PAWL_SAME;
        return 0;
    }
    if (!strcmp(padding, "causal") && layer->kind == PAWL_CONV1D) {
        if (__builtin_sub_overflow(layer->conv.kernel[1], 1, &reach)
            || __builtin_mul_overflow(reach, layer->conv.dilation[1], &reach))
            return pawl_keras_fail(b, "kernel_size or dilation_rate is too large");
        layer->conv.pads[2] = reach;
        return 0;
    }
    return pawl_keras_stop(b, "padding '%.40s' is none that pawl computes", padding);
}

static int window_fields(const struct pawl_keras_build *b, struct pawl_layer *layer, bool flat)
{
    int rc = flat ? pawl_keras_count(b, "kernel_size", &layer->conv.kernel[1])
                  : pawl_keras_pair(b, "kernel_size", layer->conv.kernel);

    if (!rc)
        rc = flat ? pawl_keras_count(b, "strides", &layer->conv.stride[1])
                  : pawl_keras_pair(b, "strides", layer->conv.stride);
    if (!rc)
        rc = flat ? pawl_keras_count(b, "dilation_rate", &layer->conv.dilation[1])
                  : pawl_keras_pair(b, "dilation_rate", layer->conv.dilation);
    if (!rc) rc = padding_of(b, layer);
    return rc ? rc : channels_last(b);
}

// The kernel as Keras shapes it, from the layer's own fields.
static struct pawl_keras_tie kernel_tie(const struct kernel *of, const struct pawl_layer *layer,
                                        int64_t channels)
{
    const int spatial = of->kind == PAWL_CONV1D || of->kind == PAWL_CONV1D_TRANSPOSE ? 1 : 2;
    const int64_t filters = layer->conv.filters;
    struct pawl_keras_tie tie = { .name = of->depthwise ? "depthwise_kernel" : "kernel",
                                  .store = "vars/0", .rank = spatial + 2,
                                  .view_rank = spatial + 2 };

    for (int d = 0; d < spatial; d++)
        tie.dim[d] = layer->conv.kernel[2 - spatial + d];
    const int64_t a = of->transposed ? filters : of->depthwise ? channels
                                                               : channels / layer->conv.groups;
    const int64_t z = of->transposed ? channels : of->depthwise ? filters / channels : filters;
    tie.dim[spatial] = a;
    tie.dim[spatial + 1] = z;
    memcpy(tie.view, tie.dim, sizeof(tie.dim));
    if (of->depthwise) {  // (h, w, c, m) -> (c, m, h, w), which is (c m, h, w, 1)
        tie.axis[0] = spatial;
        tie.axis[1] = spatial + 1;
        for (int d = 0; d < spatial; d++) tie.axis[2 + d] = d;
    } else {  // (h, w, a, z) -> (z, h, w, a)
        tie.axis[0] = spatial + 1;
        for (int d = 0; d < spatial; d++) tie.axis[1 + d] = d;
        tie.axis[spatial + 1] = spatial;
    }
    return tie;
}

// Keras makes stride times the input and no less, also where the kernel does not reach so far.
void pawl_keras_extra(const struct pawl_layer *layer, int64_t extra[2])
{
    for (int axis = 0; axis < 2; axis++) {
        int64_t span, less;
        extra[axis] = 0;
        if (layer->conv.padding == PAWL_SAME
            || __builtin_mul_overflow(layer->conv.kernel[axis] - 1, layer->conv.dilation[axis],
                                      &span)
            || __builtin_sub_overflow(layer->conv.stride[axis], span + 1, &less))
            continue;
        extra[axis] = less > 0 ? less : 0;
    }
}

static int convolution(struct pawl_keras_build *b, const struct kernel *of)
{
    const bool flat = of->kind == PAWL_CONV1D || of->kind == PAWL_CONV1D_TRANSPOSE;
    enum pawl_activation activation = PAWL_LINEAR;
    const int64_t channels = last_dim(b);
    struct pawl_layer *layer;
    int64_t multiplier = 1;
    double alpha = 0;

    int rc = pawl_keras_activation(b, "activation", &activation, &alpha);
    if (!rc) rc = pawl_keras_add(b, of->kind, NULL, &layer);
    if (rc) return rc;
    rc = of->depthwise ? pawl_keras_count(b, "depth_multiplier", &multiplier)
                       : pawl_keras_count(b, "filters", &layer->conv.filters);
    if (!rc && of->depthwise) {
        layer->conv.groups = channels;
        if (multiplier < 1 || multiplier > PAWL_DIMENSION_MAX)
            return pawl_keras_fail(b, "depth_multiplier must be positive");
        layer->conv.filters = channels * multiplier;
    }
    if (!rc && !of->depthwise && !of->transposed)
        rc = pawl_keras_count(b, "groups", &layer->conv.groups);
    if (!rc) rc = pawl_keras_bool(b, "use_bias", &layer->conv.bias);
    if (!rc) rc = window_fields(b, layer, flat);
    if (!rc && of->transposed && json_is_array(json_object_get(b->config, "output_padding")))
        rc = pawl_keras_stop(b, "output_padding is not computed");
    if (!rc && of->transposed) pawl_keras_extra(layer, layer->conv.extra);
    if (rc) return rc;
    const bool apart = activation >= PAWL_SOFTMAX || alpha != 0;
    if (!apart) layer->conv.activation = activation;
    rc = pawl_keras_done(b);
    if (rc) return rc;
    layer = &b->made->layers[b->last];
    const struct pawl_keras_tie tie = kernel_tie(of, layer, channels);
    const int64_t filters = layer->conv.filters;
    const bool bias = layer->conv.bias;
    rc = pawl_keras_tie(b, 0, &tie);
    if (!rc && bias) rc = tie_vector(b, 1, "bias", "vars/1", filters);
    if (!rc && apart) rc = pawl_keras_activate(b, "activation", activation, alpha);
    return rc;
}

int pawl_keras_conv1d(struct pawl_keras_build *b)
{
    return convolution(b, &(struct kernel){ PAWL_CONV1D, false, false });
}

int pawl_keras_conv2d(struct pawl_keras_build *b)
{
    return convolution(b, &(struct kernel){ PAWL_CONV2D, false, false });
}

int pawl_keras_depthwise2d(struct pawl_keras_build *b)
{
    return convolution(b, &(struct kernel){ PAWL_CONV2D, true, false });
}

int pawl_keras_transpose1d(struct pawl_keras_build *b)
{
    return convolution(b, &(struct kernel){ PAWL_CONV1D_TRANSPOSE, false, true });
}

int pawl_keras_transpose2d(struct pawl_keras_build *b)
{
    return convolution(b, &(struct kernel){ PAWL_CONV2D_TRANSPOSE, false, true });
}

// A depthwise convolution, then one of size 1.
int pawl_keras_separable2d(struct pawl_keras_build *b)
{
    enum pawl_activation activation = PAWL_LINEAR;
    int64_t channels = last_dim(b), multiplier = 1, filters = 0;
    struct pawl_layer *layer;
    bool bias = true;
    double alpha = 0;

    int rc = pawl_keras_activation(b, "activation", &activation, &alpha);
    if (!rc) rc = pawl_keras_count(b, "depth_multiplier", &multiplier);
    if (!rc) rc = pawl_keras_count(b, "filters", &filters);
    if (!rc) rc = pawl_keras_bool(b, "use_bias", &bias);
    if (!rc && (multiplier < 1 || multiplier > 65536))
        rc = pawl_keras_fail(b, "depth_multiplier must be positive");
    if (!rc) rc = pawl_keras_add(b, PAWL_CONV2D, "depthwise", &layer);
    if (!rc) rc = window_fields(b, layer, false);
    if (rc) return rc;
    layer->conv.groups = channels;
    layer->conv.filters = channels * multiplier;
    layer->conv.bias = false;
    rc = pawl_keras_done(b);
    if (rc) return rc;
    struct pawl_keras_tie tie = kernel_tie(&(struct kernel){ PAWL_CONV2D, true, false },
                                           &b->made->layers[b->last], channels);
    rc = pawl_keras_tie(b, 0, &tie);
    if (!rc) rc = pawl_keras_add(b, PAWL_CONV2D, NULL, &layer);
    if (rc) return rc;
    channels *= multiplier;
    layer->conv.filters = filters;
    layer->conv.kernel[0] = layer->conv.kernel[1] = 1;
    layer->conv.bias = bias;
    if (activation < PAWL_SOFTMAX && alpha == 0) layer->conv.activation = activation;
    rc = pawl_keras_done(b);
    if (rc) return rc;
    tie = kernel_tie(&(struct kernel){ PAWL_CONV2D, false, false }, &b->made->layers[b->last],
                     channels);
    tie.name = "pointwise_kernel";
    tie.store = "vars/1";
    rc = pawl_keras_tie(b, 0, &tie);
    if (!rc && bias) rc = tie_vector(b, 1, "bias", "vars/2", filters);
    if (!rc && (activation >= PAWL_SOFTMAX || alpha != 0))
        rc = pawl_keras_activate(b, "activation", activation, alpha);
    return rc;
}

// ---- norms

// The axis that is normalised (or kept, in batch norm) must be the last.
static int last_axis(const struct pawl_keras_build *b)
{
    const json_t *axis = json_object_get(b->config, "axis");
    const int rank = pawl_keras_shape(b, 0)->rank;

    if (json_is_array(axis) && json_array_size(axis) == 1) axis = json_array_get(axis, 0);
    if (!axis || json_is_null(axis)) return 0;
    if (json_is_integer(axis)
        && (json_integer_value(axis) == -1 || json_integer_value(axis) == rank))
        return 0;
    return pawl_keras_stop(b, "axis: pawl normalises over the last axis");
}

static int norm(struct pawl_keras_build *b, enum pawl_layer_kind kind, struct pawl_layer **layer)
{
    int rc = last_axis(b);

    if (!rc) rc = pawl_keras_add(b, kind, NULL, layer);
    if (rc) return rc;
    (*layer)->norm.epsilon = 1e-3;  // Keras' default
    rc = pawl_keras_real(b, "epsilon", &(*layer)->norm.epsilon);
    if (!rc) rc = pawl_keras_bool(b, "scale", &(*layer)->norm.weight);
    return rc ? rc : pawl_keras_bool(b, "center", &(*layer)->norm.bias);
}

// gamma and beta, where they are; the next free store in *next.
static int tie_norm(struct pawl_keras_build *b, int *next)
{
    const struct pawl_layer *layer = &b->made->layers[b->last];
    const bool weight = layer->norm.weight, bias = layer->norm.bias;
    const int64_t width = layer->out.dim[layer->out.rank - 1];
    char store[24];
    int rc = 0;

    *next = 0;
    if (weight) {
        snprintf(store, sizeof(store), "vars/%d", *next);
        rc = tie_vector(b, (*next)++, "gamma", store, width);
    }
    if (!rc && bias) {
        snprintf(store, sizeof(store), "vars/%d", *next);
        rc = tie_vector(b, (*next)++, "beta", store, width);
    }
    return rc;
}

int pawl_keras_batch_norm(struct pawl_keras_build *b)
{
    static const char *const names[] = { "moving_mean", "moving_variance" };
    struct pawl_layer *layer;
    double momentum = 0.99;
    char store[24];
    int next;

    int rc = norm(b, PAWL_BATCH_NORM, &layer);
    if (!rc) rc = pawl_keras_real(b, "momentum", &momentum);
    if (rc) return rc;
    layer->norm.momentum = 1 - momentum;
    // Keras 2 takes TensorFlow's fused kernel for images, whose variance is of n - 1.
    layer->norm.unbiased = b->keras2 && pawl_keras_shape(b, 0)->rank == 3;
    rc = pawl_keras_done(b);
    if (!rc) rc = tie_norm(b, &next);
    for (int i = 0; !rc && i < 2; i++) {
        snprintf(store, sizeof(store), "vars/%d", next);
        rc = pawl_keras_tie(b, next++, &(struct pawl_keras_tie){
            .name = names[i], .store = store, .state = true, .rank = 1,
            .dim = { last_dim(b) } });
    }
    return rc;
}

int pawl_keras_layer_norm(struct pawl_keras_build *b)
{
    struct pawl_layer *layer;
    bool rms = false;
    int next;

    int rc = pawl_keras_bool(b, "rms_scaling", &rms);
    if (!rc && rms) rc = pawl_keras_stop(b, "rms_scaling is not computed");
    if (!rc) rc = norm(b, PAWL_LAYER_NORM, &layer);
    if (!rc) rc = pawl_keras_done(b);
    return rc ? rc : tie_norm(b, &next);
}

int pawl_keras_group_norm(struct pawl_keras_build *b)
{
    struct pawl_layer *layer;
    int next;

    int rc = norm(b, PAWL_GROUP_NORM, &layer);
    if (rc) return rc;
    layer->norm.groups = 32;
    rc = pawl_keras_count(b, "groups", &layer->norm.groups);
    if (!rc && layer->norm.groups == -1) layer->norm.groups = last_dim(b);
    if (!rc) rc = pawl_keras_done(b);
    return rc ? rc : tie_norm(b, &next);
}

int pawl_keras_rms_norm(struct pawl_keras_build *b)
{
    struct pawl_layer *layer;

    int rc = norm(b, PAWL_RMS_NORM, &layer);
    if (rc) return rc;
    if (!json_object_get(b->config, "epsilon")) layer->norm.epsilon = 1e-6;
    layer->norm.bias = false;
    layer->norm.weight = true;
    rc = pawl_keras_done(b);
    return rc ? rc : tie_vector(b, 0, "scale", "vars/0", last_dim(b));
}

// ---- tables, slopes

int pawl_keras_embedding(struct pawl_keras_build *b)
{
    struct pawl_layer *layer;
    bool mask = false;

    int rc = pawl_keras_bool(b, "mask_zero", &mask);
    if (!rc && mask) rc = pawl_keras_stop(b, "mask_zero is not computed");
    if (!rc) rc = pawl_keras_add(b, PAWL_EMBEDDING, NULL, &layer);
    if (!rc) rc = pawl_keras_count(b, "input_dim", &layer->embedding.vocab);
    if (!rc) rc = pawl_keras_count(b, "output_dim", &layer->embedding.width);
    if (rc) return rc;
    const int64_t vocab = layer->embedding.vocab, width = layer->embedding.width;
    rc = pawl_keras_done(b);
    if (rc) return rc;
    return pawl_keras_tie(b, 0, &(struct pawl_keras_tie){ .name = "embeddings", .store = "vars/0",
                                                          .rank = 2, .dim = { vocab, width } });
}

int pawl_keras_prelu(struct pawl_keras_build *b)
{
    const struct pawl_shape *in = pawl_keras_shape(b, 0);
    const json_t *shared = json_object_get(b->config, "shared_axes");
    struct pawl_keras_tie tie = { .name = "alpha", .store = "vars/0", .rank = in->rank };
    struct pawl_layer *layer;

    // One slope per channel: every axis but the last is shared.
    if ((int)json_array_size(shared) != in->rank - 1)
        return pawl_keras_stop(b, "shared_axes: pawl has one slope per channel");
    for (int d = 0; d < in->rank; d++)
        tie.dim[d] = d == in->rank - 1 ? in->dim[d] : 1;
    int rc = pawl_keras_add(b, PAWL_PRELU, NULL, &layer);
    if (!rc) rc = pawl_keras_done(b);
    return rc ? rc : pawl_keras_tie(b, 0, &tie);
}
