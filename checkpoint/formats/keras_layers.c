// keras_layers.c - the closed table of Keras' classes, and the layers without variables.

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_inside.h"
#include "checkpoint/layers.h"
#include "checkpoint/suggest.h"

// ---- fields

int pawl_keras_count(const struct pawl_keras_build *b, const char *field, int64_t *out)
{
    const json_t *value = json_object_get(b->config, field);

    if (!value || json_is_null(value)) return 0;
    if (json_is_array(value) && json_array_size(value) == 1) value = json_array_get(value, 0);
    if (!json_is_integer(value))
        return pawl_keras_fail(b, "%s must be a whole number, not %s", field,
                               json_is_string(value) ? "text" : "something else");
    *out = json_integer_value(value);
    return 0;
}

int pawl_keras_pair(const struct pawl_keras_build *b, const char *field, int64_t out[2])
{
    const json_t *value = json_object_get(b->config, field);

    if (!value || json_is_null(value)) return 0;
    for (size_t i = 0; i < 2; i++) {
        const json_t *one = json_is_array(value) && json_array_size(value) == 2
                                ? json_array_get(value, i) : value;
        if (!json_is_integer(one)) return pawl_keras_fail(b, "%s must be two whole numbers", field);
        out[i] = json_integer_value(one);
    }
    return 0;
}

int pawl_keras_bool(const struct pawl_keras_build *b, const char *field, bool *out)
{
    const json_t *value = json_object_get(b->config, field);

    if (!value || json_is_null(value)) return 0;
    if (!json_is_boolean(value)) return pawl_keras_fail(b, "%s must be true or false", field);
    *out = json_is_true(value);
    return 0;
}

int pawl_keras_real(const struct pawl_keras_build *b, const char *field, double *out)
{
    const json_t *value = json_object_get(b->config, field);

    if (!value || json_is_null(value)) return 0;
    if (!json_is_number(value)) return pawl_keras_fail(b, "%s must be a number", field);
    *out = json_number_value(value);
    return 0;
}

const char *pawl_keras_text(const struct pawl_keras_build *b, const char *field)
{
    return json_string_value(json_object_get(b->config, field));
}

// ---- activations

static const struct {
    const char *name;
    enum pawl_activation activation;
    double alpha;
} activations[] = {
    { "linear", PAWL_LINEAR, 0 },       { "relu", PAWL_RELU, 0 },
    { "gelu", PAWL_GELU, 0 },           { "silu", PAWL_SILU, 0 },
    { "swish", PAWL_SILU, 0 },          { "sigmoid", PAWL_SIGMOID, 0 },
    { "tanh", PAWL_TANH, 0 },           { "softmax", PAWL_SOFTMAX, 0 },
    { "log_softmax", PAWL_LOG_SOFTMAX, 0 }, { "elu", PAWL_ELU, 0 },
    { "selu", PAWL_SELU, 0 },           { "softplus", PAWL_SOFTPLUS, 0 },
    { "softsign", PAWL_SOFTSIGN, 0 },   { "relu6", PAWL_RELU6, 0 },
    { "leaky_relu", PAWL_LEAKY_RELU, 0.2 }, { "mish", PAWL_MISH, 0 },
    { "exponential", PAWL_EXPONENTIAL, 0 }, { "hard_sigmoid", PAWL_HARD_SIGMOID, 0 },
    { "hard_silu", PAWL_HARD_SWISH, 0 }, { "hard_swish", PAWL_HARD_SWISH, 0 },
};

enum { ACTIVATIONS_KNOWN = sizeof(activations) / sizeof(*activations) };

const char *pawl_keras_activation_name(enum pawl_activation activation)
{
    for (int i = 0; i < ACTIVATIONS_KNOWN; i++)
        if (activations[i].activation == activation) return activations[i].name;
    return NULL;
}

int pawl_keras_activation(const struct pawl_keras_build *b, const char *field,
                          enum pawl_activation *out, double *alpha)
{
    const json_t *value = json_object_get(b->config, field);
    const char *names[ACTIVATIONS_KNOWN];
    char hint[96];

    if (!value || json_is_null(value)) return 0;
    // {"class_name": "function", "config": "gelu"} is a function by its name.
    if (json_is_object(value) && json_is_string(json_object_get(value, "config")))
        value = json_object_get(value, "config");
    const char *name = json_string_value(value);
    if (!name) return pawl_keras_stop(b, "%s is no builtin function", field);
    for (int i = 0; i < ACTIVATIONS_KNOWN; i++) {
        names[i] = activations[i].name;
        if (strcmp(name, names[i])) continue;
        if (b->keras2 && activations[i].activation == PAWL_HARD_SIGMOID)
            return pawl_keras_stop(b, "Keras 2's hard_sigmoid is not computed");
        *out = activations[i].activation;
        *alpha = activations[i].alpha;
        return 0;
    }
    return pawl_keras_stop(b, "%s '%.60s' is unknown%s", field, name,
                           pawl_suggest_text(hint, sizeof(hint), name, names, ACTIVATIONS_KNOWN));
}

// ---- layers without variables

static int simple(struct pawl_keras_build *b, enum pawl_layer_kind kind)
{
    struct pawl_layer *layer;
    const int rc = pawl_keras_add(b, kind, NULL, &layer);

    return rc ? rc : pawl_keras_done(b);
}

static int flatten(struct pawl_keras_build *b) { return simple(b, PAWL_FLATTEN); }
static int add(struct pawl_keras_build *b) { return simple(b, PAWL_ADD); }
static int multiply(struct pawl_keras_build *b) { return simple(b, PAWL_MULTIPLY); }
static int average(struct pawl_keras_build *b) { return simple(b, PAWL_AVERAGE); }
static int maximum(struct pawl_keras_build *b) { return simple(b, PAWL_MAXIMUM); }
static int subtract(struct pawl_keras_build *b) { return simple(b, PAWL_SUBTRACT); }

static int activation(struct pawl_keras_build *b)
{
    enum pawl_activation which = PAWL_LINEAR;
    double alpha = 0;
    const int rc = pawl_keras_activation(b, "activation", &which, &alpha);

    return rc ? rc : pawl_keras_activate(b, NULL, which, alpha);
}

static int softmax(struct pawl_keras_build *b)
{
    int64_t axis = -1;
    const int rc = pawl_keras_count(b, "axis", &axis);

    if (!rc && axis != -1 && axis != pawl_keras_shape(b, 0)->rank)
        return pawl_keras_stop(b, "axis: pawl's softmax is over the last axis");
    return rc ? rc : pawl_keras_activate(b, NULL, PAWL_SOFTMAX, 0);
}

static int relu(struct pawl_keras_build *b)
{
    double most = 0, slope = 0, threshold = 0;

    int rc = pawl_keras_real(b, "max_value", &most);
    if (!rc) rc = pawl_keras_real(b, "negative_slope", &slope);
    if (!rc) rc = pawl_keras_real(b, "threshold", &threshold);
    if (rc) return rc;
    if (threshold != 0 || (most != 0 && (most != 6 || slope != 0)))
        return pawl_keras_stop(b, "max_value other than 6 and threshold are not computed");
    if (slope != 0) return pawl_keras_activate(b, NULL, PAWL_LEAKY_RELU, slope);
    return pawl_keras_activate(b, NULL, most != 0 ? PAWL_RELU6 : PAWL_RELU, 0);
}

static int leaky_relu(struct pawl_keras_build *b)
{
    double slope = 0.3;
    int rc = pawl_keras_real(b, "negative_slope", &slope);

    if (!rc) rc = pawl_keras_real(b, "alpha", &slope);  // Keras 2's word
    if (!rc && slope == 0) return pawl_keras_activate(b, NULL, PAWL_RELU, 0);
    return rc ? rc : pawl_keras_activate(b, NULL, PAWL_LEAKY_RELU, slope);
}

static int elu(struct pawl_keras_build *b)
{
    double alpha = 1;
    const int rc = pawl_keras_real(b, "alpha", &alpha);

    return rc ? rc : pawl_keras_activate(b, NULL, PAWL_ELU, alpha);
}

static int dropout(struct pawl_keras_build *b)
{
    struct pawl_layer *layer;

    int rc = pawl_keras_add(b, PAWL_DROPOUT, NULL, &layer);
    if (!rc) rc = pawl_keras_real(b, "rate", &layer->dropout.rate);
    return rc ? rc : pawl_keras_done(b);
}

static int pool(struct pawl_keras_build *b, enum pawl_layer_kind kind, bool flat)
{
    const char *padding = pawl_keras_text(b, "padding");
    const char *format = pawl_keras_text(b, "data_format");
    struct pawl_layer *layer;

    if (format && strcmp(format, "channels_last"))
        return pawl_keras_stop(b, "data_format '%.40s': pawl computes channels_last", format);
    int rc = pawl_keras_add(b, kind, NULL, &layer);
    if (rc) return rc;
    layer->pool.padding = padding && !strcmp(padding, "same") ? PAWL_SAME : PAWL_VALID;
    if (flat) {
        rc = pawl_keras_count(b, "pool_size", &layer->pool.size[1]);
        if (!rc) rc = pawl_keras_count(b, "strides", &layer->pool.stride[1]);
    } else {
        rc = pawl_keras_pair(b, "pool_size", layer->pool.size);
        if (!rc) rc = pawl_keras_pair(b, "strides", layer->pool.stride);
    }
    return rc ? rc : pawl_keras_done(b);
}

static int max_pool1d(struct pawl_keras_build *b) { return pool(b, PAWL_MAX_POOL1D, true); }
static int max_pool2d(struct pawl_keras_build *b) { return pool(b, PAWL_MAX_POOL2D, false); }
static int avg_pool1d(struct pawl_keras_build *b) { return pool(b, PAWL_AVG_POOL1D, true); }
static int avg_pool2d(struct pawl_keras_build *b) { return pool(b, PAWL_AVG_POOL2D, false); }

static int global(struct pawl_keras_build *b, enum pawl_layer_kind kind)
{
    const char *format = pawl_keras_text(b, "data_format");
    struct pawl_layer *layer;

    if (format && strcmp(format, "channels_last"))
        return pawl_keras_stop(b, "data_format '%.40s': pawl computes channels_last", format);
    int rc = pawl_keras_add(b, kind, NULL, &layer);
    if (!rc) rc = pawl_keras_bool(b, "keepdims", &layer->global.keep);
    return rc ? rc : pawl_keras_done(b);
}

static int global_max(struct pawl_keras_build *b) { return global(b, PAWL_GLOBAL_MAX_POOL); }
static int global_avg(struct pawl_keras_build *b) { return global(b, PAWL_GLOBAL_AVG_POOL); }

static int reshape(struct pawl_keras_build *b)
{
    const json_t *shape = json_object_get(b->config, "target_shape");
    const struct pawl_shape *in = pawl_keras_shape(b, 0);
    int64_t all = 1, known = 1;
    struct pawl_layer *layer;
    int open = -1;

    int rc = pawl_keras_add(b, PAWL_RESHAPE, NULL, &layer);
    if (rc) return rc;
    in = pawl_keras_shape(b, 0);
    if (json_array_size(shape) < 1 || json_array_size(shape) > PAWL_SHAPE_MAX)
        return pawl_keras_stop(b, "target_shape has more than %d dimensions", PAWL_SHAPE_MAX);
    layer->reshape.shape = (struct pawl_shape){ .rank = (int)json_array_size(shape) };
    for (int d = 0; d < layer->reshape.shape.rank; d++) {
        const int64_t size = json_integer_value(json_array_get(shape, (size_t)d));
        layer->reshape.shape.dim[d] = size;
        if (size == -1)
            open = d;
        else if (size < 1 || __builtin_mul_overflow(known, size, &known))
            return pawl_keras_fail(b, "target_shape has a size that is not positive");
    }
    for (int d = 0; d < in->rank; d++)
        if (__builtin_mul_overflow(all, in->dim[d], &all)) return pawl_keras_fail(b, "too large");
    if (open >= 0) layer->reshape.shape.dim[open] = all / known;
    return pawl_keras_done(b);
}

static int permute(struct pawl_keras_build *b)
{
    const json_t *dims = json_object_get(b->config, "dims");
    struct pawl_layer *layer;

    int rc = pawl_keras_add(b, PAWL_PERMUTE, NULL, &layer);
    if (rc) return rc;
    if (json_array_size(dims) < 1 || json_array_size(dims) > PAWL_SHAPE_MAX)
        return pawl_keras_fail(b, "dims must be a list of axes");
    layer->permute.order = (struct pawl_shape){ .rank = (int)json_array_size(dims) };
    for (int d = 0; d < layer->permute.order.rank; d++) {
        const int64_t axis = json_integer_value(json_array_get(dims, (size_t)d));
        if (axis < 1 || axis > PAWL_SHAPE_MAX)
            return pawl_keras_fail(b, "dims must count axes from 1");
        layer->permute.order.dim[d] = axis - 1;
    }
    return pawl_keras_done(b);
}

static int zero_padding2d(struct pawl_keras_build *b)
{
    const json_t *padding = json_object_get(b->config, "padding");
    struct pawl_layer *layer;

    int rc = pawl_keras_add(b, PAWL_ZERO_PADDING, NULL, &layer);
    if (rc) return rc;
    for (int side = 0; side < 4; side++) {
        const json_t *axis = json_array_get(padding, (size_t)side / 2);
        layer->zero_padding.pads[side] = json_integer_value(
            json_is_array(axis) ? json_array_get(axis, (size_t)side % 2) : axis);
    }
    return pawl_keras_done(b);
}

static int concatenate(struct pawl_keras_build *b)
{
    int64_t axis = -1;
    struct pawl_layer *layer;

    int rc = pawl_keras_count(b, "axis", &axis);
    if (!rc && !axis) rc = pawl_keras_stop(b, "axis 0 is the batch");
    if (!rc) rc = pawl_keras_add(b, PAWL_CONCATENATE, NULL, &layer);
    if (rc) return rc;
    layer->concatenate.axis = axis > 0 ? axis - 1 : axis;
    return pawl_keras_done(b);
}

// Layers that pass everything on: they become a dropout of rate 0, which the graph keeps its
// shape by.
static int nothing(struct pawl_keras_build *b)
{
    struct pawl_layer *layer;

    int rc = pawl_keras_add(b, PAWL_DROPOUT, NULL, &layer);
    if (rc) return rc;
    layer->dropout.rate = 0;
    return pawl_keras_done(b);
}

// ---- the table

static const struct {
    const char *name;
    pawl_keras_builder *build;
} classes[] = {
    { "Dense", pawl_keras_dense },
    { "Conv1D", pawl_keras_conv1d }, { "Convolution1D", pawl_keras_conv1d },
    { "Conv2D", pawl_keras_conv2d }, { "Convolution2D", pawl_keras_conv2d },
    { "DepthwiseConv2D", pawl_keras_depthwise2d },
    { "Conv1DTranspose", pawl_keras_transpose1d },
    { "Conv2DTranspose", pawl_keras_transpose2d },
    { "SeparableConv2D", pawl_keras_separable2d },
    { "BatchNormalization", pawl_keras_batch_norm },
    { "LayerNormalization", pawl_keras_layer_norm },
    { "GroupNormalization", pawl_keras_group_norm },
    { "RMSNormalization", pawl_keras_rms_norm },
    { "Embedding", pawl_keras_embedding },
    { "LSTM", pawl_keras_lstm }, { "GRU", pawl_keras_gru },
    { "SimpleRNN", pawl_keras_simple_rnn },
    { "MultiHeadAttention", pawl_keras_attention },
    { "PReLU", pawl_keras_prelu },
    { "Flatten", flatten }, { "Reshape", reshape }, { "Permute", permute },
    { "ZeroPadding2D", zero_padding2d },
    { "Add", add }, { "Multiply", multiply }, { "Average", average }, { "Maximum", maximum },
    { "Subtract", subtract }, { "Concatenate", concatenate },
    { "Activation", activation }, { "ReLU", relu }, { "LeakyReLU", leaky_relu },
    { "ELU", elu }, { "Softmax", softmax },
    { "Dropout", dropout }, { "SpatialDropout1D", nothing }, { "SpatialDropout2D", nothing },
    { "GaussianNoise", nothing }, { "GaussianDropout", nothing }, { "ActivityRegularization",
    nothing }, { "Identity", nothing },
    { "MaxPooling1D", max_pool1d }, { "MaxPooling2D", max_pool2d },
    { "AveragePooling1D", avg_pool1d }, { "AveragePooling2D", avg_pool2d },
    { "GlobalMaxPooling1D", global_max }, { "GlobalMaxPooling2D", global_max },
    { "GlobalAveragePooling1D", global_avg }, { "GlobalAveragePooling2D", global_avg },
};

enum { CLASSES = sizeof(classes) / sizeof(*classes) };

pawl_keras_builder *pawl_keras_class(const char *class_name, const char **stop)
{
    for (int i = 0; i < CLASSES; i++)
        if (!strcmp(class_name, classes[i].name)) return classes[i].build;
    *stop = strcmp(class_name, "Lambda") ? "it is no builtin layer that pawl computes; code in "
                                           "model files is never run"
                                         : "it is code, and code in model files is never run";
    return NULL;
}

// As Keras does it: an underscore before each capital that begins a word, then lower case.
void pawl_keras_snake(char *out, size_t size, const char *class_name)
{
    size_t n = 0;

    for (const char *c = class_name; *c && n + 2 < size; c++) {
        const bool upper = isupper((unsigned char)*c);
        const bool after_small = c > class_name && islower((unsigned char)c[-1]);
        const bool before_small = c > class_name && islower((unsigned char)c[1]);
        if (!isalnum((unsigned char)*c) && *c != '_') continue;
        if (upper && (after_small || (before_small && c[-1] != '_')))
            out[n++] = '_';
        out[n++] = (char)tolower((unsigned char)*c);
    }
    out[n] = 0;
}
