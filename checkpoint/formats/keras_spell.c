// keras_spell.c - pawl's kinds in Keras' words.

#include "checkpoint/formats/keras_spell.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_inside.h"
#include "checkpoint/layers.h"

static int cannot(const struct pawl_layer *layer, const char *what)
{
    return pawl_fail(PAWL_ENOTSUP, "layer '%s' (%s): Keras has no builtin layer for %s",
                     layer->name, pawl_layer_kind_name(layer->kind), what);
}

static void set(struct pawl_keras_spelling *out, const char *field, int64_t value)
{
    json_object_set_new(out->config, field, json_integer(value));
}

static void set_pair(struct pawl_keras_spelling *out, const char *field, const int64_t value[2],
                     bool flat)
{
    json_object_set_new(out->config, field,
                        flat ? json_pack("[I]", (json_int_t)value[1])
                             : json_pack("[I, I]", (json_int_t)value[0], (json_int_t)value[1]));
}

static void set_bool(struct pawl_keras_spelling *out, const char *field, bool value)
{
    json_object_set_new(out->config, field, json_boolean(value));
}

static void set_real(struct pawl_keras_spelling *out, const char *field, double value)
{
    json_object_set_new(out->config, field, json_real(value));
}

static void set_text(struct pawl_keras_spelling *out, const char *field, const char *value)
{
    json_object_set_new(out->config, field, json_string(value));
}

// Keras' names have one slope each: another needs a layer of its own.
static int set_activation(struct pawl_keras_spelling *out, const struct pawl_layer *layer,
                          const char *field, enum pawl_activation activation)
{
    const char *name = pawl_keras_activation_name(activation);

    if (!name || (out->keras2 && activation == PAWL_HARD_SIGMOID))
        return cannot(layer, pawl_activation_name(activation));
    if (activation == PAWL_LEAKY_RELU) return cannot(layer, "a leaky_relu of this slope within it");
    set_text(out, field, name);
    return 0;
}

static int spell_activation(struct pawl_keras_spelling *out, const struct pawl_layer *layer)
{
    const double alpha = layer->activate.alpha;

    if (layer->activate.activation == PAWL_LEAKY_RELU) {
        out->class_name = "LeakyReLU";
        set_real(out, out->keras2 ? "alpha" : "negative_slope", alpha);
        return 0;
    }
    if (layer->activate.activation == PAWL_ELU) {
        out->class_name = "ELU";
        set_real(out, "alpha", alpha);
        return 0;
    }
    out->class_name = "Activation";
    return set_activation(out, layer, "activation", layer->activate.activation);
}

// The activation that a layer has, or that follows it.
static int set_own(struct pawl_keras_spelling *out, const struct pawl_layer *layer,
                   enum pawl_activation own, const struct pawl_layer *after)
{
    if (!after) return set_activation(out, layer, "activation", own);
    if (after->activate.activation == PAWL_LEAKY_RELU && after->activate.alpha == 0.2) {
        set_text(out, "activation", "leaky_relu");
        return 0;
    }
    return set_activation(out, layer, "activation", after->activate.activation);
}

static int set_padding(struct pawl_keras_spelling *out, const struct pawl_layer *layer, bool flat)
{
    const int64_t *pads = layer->conv.pads;

    set_text(out, "padding", layer->conv.padding == PAWL_SAME ? "same" : "valid");
    if (!pads[0] && !pads[1] && !pads[2] && !pads[3]) return 0;
    if (layer->conv.padding == PAWL_SAME) return cannot(layer, "padding of both kinds");
    if (layer->kind == PAWL_CONV2D) {
        out->pads = true;
        return 0;
    }
    if (flat && layer->kind == PAWL_CONV1D && !pads[3]
        && pads[2] == (layer->conv.kernel[1] - 1) * layer->conv.dilation[1]) {
        set_text(out, "padding", "causal");
        return 0;
    }
    return cannot(layer, "this padding");
}

static int spell_conv(struct pawl_keras_spelling *out, const struct pawl_layer *layer,
                      const struct pawl_shape *in, const struct pawl_layer *after)
{
    const bool transposed = layer->kind == PAWL_CONV1D_TRANSPOSE
                            || layer->kind == PAWL_CONV2D_TRANSPOSE;
    const bool flat = layer->kind == PAWL_CONV1D || layer->kind == PAWL_CONV1D_TRANSPOSE;
    const int64_t channels = in->dim[in->rank - 1];
    int64_t extra[2];
    const bool depthwise = layer->kind == PAWL_CONV2D && layer->conv.groups == channels
                           && channels > 1;

    out->class_name = depthwise ? "DepthwiseConv2D" : transposed
                      ? flat ? "Conv1DTranspose" : "Conv2DTranspose" : flat ? "Conv1D" : "Conv2D";
    pawl_keras_extra(layer, extra);
    if (transposed && (layer->conv.groups != 1 || memcmp(extra, layer->conv.extra, sizeof(extra))))
        return cannot(layer, "a transposed convolution with groups or extra rows");
    if (depthwise)
        set(out, "depth_multiplier", layer->conv.filters / channels);
    else
        set(out, "filters", layer->conv.filters);
    set_pair(out, "kernel_size", layer->conv.kernel, flat);
    set_pair(out, "strides", layer->conv.stride, flat);
    set_pair(out, "dilation_rate", layer->conv.dilation, flat);
    if (!depthwise && !transposed) set(out, "groups", layer->conv.groups);
    set_bool(out, "use_bias", layer->conv.bias);
    const int rc = set_padding(out, layer, flat);
    return rc ? rc : set_own(out, layer, layer->conv.activation, after);
}

static int spell_pool(struct pawl_keras_spelling *out, const struct pawl_layer *layer)
{
    const bool flat = layer->kind == PAWL_MAX_POOL1D || layer->kind == PAWL_AVG_POOL1D;
    const bool most = layer->kind == PAWL_MAX_POOL1D || layer->kind == PAWL_MAX_POOL2D;
    const int64_t *pads = layer->pool.pads;

    if (pads[0] || pads[1] || pads[2] || pads[3] || layer->pool.count_pads)
        return cannot(layer, "pooling with explicit padding");
    out->class_name = most ? flat ? "MaxPooling1D" : "MaxPooling2D"
                           : flat ? "AveragePooling1D" : "AveragePooling2D";
    set_pair(out, "pool_size", layer->pool.size, flat);
    set_pair(out, "strides", layer->pool.stride, flat);
    set_text(out, "padding", layer->pool.padding == PAWL_SAME ? "same" : "valid");
    return 0;
}

static int spell_norm(struct pawl_keras_spelling *out, const struct pawl_layer *layer)
{
    static const char *const names[] = {
        [PAWL_BATCH_NORM] = "BatchNormalization", [PAWL_LAYER_NORM] = "LayerNormalization",
        [PAWL_GROUP_NORM] = "GroupNormalization", [PAWL_RMS_NORM] = "RMSNormalization",
    };

    out->class_name = names[layer->kind];
    set_real(out, "epsilon", layer->norm.epsilon);
    if (layer->kind == PAWL_RMS_NORM)
        return layer->norm.weight ? 0 : cannot(layer, "an RMS norm without a scale");
    set_bool(out, "scale", layer->norm.weight);
    set_bool(out, "center", layer->norm.bias);
    if (layer->kind == PAWL_BATCH_NORM) set_real(out, "momentum", 1 - layer->norm.momentum);
    if (layer->kind == PAWL_GROUP_NORM) set(out, "groups", layer->norm.groups);
    return 0;
}

static int spell_rnn(struct pawl_keras_spelling *out, const struct pawl_layer *layer)
{
    out->class_name = layer->kind == PAWL_LSTM ? "LSTM" : layer->kind == PAWL_GRU ? "GRU"
                                                                                  : "SimpleRNN";
    const bool two = layer->kind == PAWL_GRU && layer->rnn.reset_after && layer->rnn.bias;

    if (layer->rnn.recurrent_bias != two)
        return cannot(layer, "two biases (they add up: a single one does the same)");
    if (layer->rnn.reverse && layer->rnn.sequences)
        return cannot(layer, "going backwards with every step's output");
    set(out, "units", layer->rnn.units);
    set_bool(out, "return_sequences", layer->rnn.sequences);
    set_bool(out, "go_backwards", layer->rnn.reverse);
    set_bool(out, "use_bias", layer->rnn.bias);
    if (layer->kind == PAWL_GRU) set_bool(out, "reset_after", layer->rnn.reset_after);
    int rc = set_activation(out, layer, "activation", layer->rnn.activation);
    if (!rc && layer->kind != PAWL_SIMPLE_RNN)
        rc = set_activation(out, layer, "recurrent_activation", layer->rnn.recurrent_activation);
    return rc;
}

static int spell_shape(struct pawl_keras_spelling *out, const struct pawl_layer *layer)
{
    json_t *list = json_array();

    if (layer->kind == PAWL_RESHAPE) {
        for (int d = 0; d < layer->reshape.shape.rank; d++)
            json_array_append_new(list, json_integer(layer->reshape.shape.dim[d]));
        out->class_name = "Reshape";
        json_object_set_new(out->config, "target_shape", list);
    } else if (layer->kind == PAWL_PERMUTE) {
        for (int d = 0; d < layer->permute.order.rank; d++)
            json_array_append_new(list, json_integer(layer->permute.order.dim[d] + 1));
        out->class_name = "Permute";
        json_object_set_new(out->config, "dims", list);
    } else {
        const int64_t *pads = layer->zero_padding.pads;
        json_decref(list);
        out->class_name = "ZeroPadding2D";
        json_object_set_new(out->config, "padding",
                            json_pack("[[I, I], [I, I]]", (json_int_t)pads[0], (json_int_t)pads[1],
                                      (json_int_t)pads[2], (json_int_t)pads[3]));
    }
    return 0;
}

static int spell_merge(struct pawl_keras_spelling *out, const struct pawl_layer *layer)
{
    static const char *const names[PAWL_LAYER_KINDS] = {
        [PAWL_ADD] = "Add", [PAWL_MULTIPLY] = "Multiply", [PAWL_AVERAGE] = "Average",
        [PAWL_MAXIMUM] = "Maximum", [PAWL_SUBTRACT] = "Subtract",
        [PAWL_CONCATENATE] = "Concatenate", [PAWL_FLATTEN] = "Flatten",
    };

    if (!names[layer->kind]) return cannot(layer, "this kind");
    out->class_name = names[layer->kind];
    if (layer->kind == PAWL_CONCATENATE) set(out, "axis", layer->concatenate.axis + 1);
    return 0;
}

static int spell_dense(struct pawl_keras_spelling *out, const struct pawl_layer *layer,
                       const struct pawl_layer *after)
{
    if (layer->dense.tied[0]) return cannot(layer, "a weight that another layer owns");
    out->class_name = "Dense";
    set(out, "units", layer->dense.units);
    set_bool(out, "use_bias", layer->dense.bias);
    return set_own(out, layer, layer->dense.activation, after);
}

static int spell_other(struct pawl_keras_spelling *out, const struct pawl_layer *layer,
                       const struct pawl_shape *in)
{
    json_t *axes = json_array();

    if (layer->kind == PAWL_GLOBAL_MAX_POOL || layer->kind == PAWL_GLOBAL_AVG_POOL) {
        const bool most = layer->kind == PAWL_GLOBAL_MAX_POOL, flat = in->rank == 2;
        out->class_name = most ? flat ? "GlobalMaxPooling1D" : "GlobalMaxPooling2D"
                               : flat ? "GlobalAveragePooling1D" : "GlobalAveragePooling2D";
        set_bool(out, "keepdims", layer->global.keep);
    } else if (layer->kind == PAWL_EMBEDDING) {
        out->class_name = "Embedding";
        set(out, "input_dim", layer->embedding.vocab);
        set(out, "output_dim", layer->embedding.width);
    } else if (layer->kind == PAWL_DROPOUT) {
        out->class_name = "Dropout";
        set_real(out, "rate", layer->dropout.rate);
    } else if (layer->kind == PAWL_PRELU && !layer->prelu.shared) {
        for (int d = 1; d < in->rank; d++)
            json_array_append_new(axes, json_integer(d));
        out->class_name = "PReLU";
        json_object_set(out->config, "shared_axes", axes);
    }
    json_decref(axes);
    return out->class_name ? 0 : spell_merge(out, layer);
}

int pawl_keras_spell(struct pawl_keras_spelling *out, const struct pawl_layer *layer,
                     const struct pawl_shape *in, const struct pawl_layer *activation)
{
    int rc;

    out->class_name = NULL;
    out->config = json_object();
    switch (layer->kind) {
    case PAWL_DENSE: rc = spell_dense(out, layer, activation); break;
    case PAWL_CONV1D:
    case PAWL_CONV2D:
    case PAWL_CONV1D_TRANSPOSE:
    case PAWL_CONV2D_TRANSPOSE: rc = spell_conv(out, layer, in, activation); break;
    case PAWL_MAX_POOL1D:
    case PAWL_MAX_POOL2D:
    case PAWL_AVG_POOL1D:
    case PAWL_AVG_POOL2D: rc = spell_pool(out, layer); break;
    case PAWL_BATCH_NORM:
    case PAWL_LAYER_NORM:
    case PAWL_GROUP_NORM:
    case PAWL_RMS_NORM: rc = spell_norm(out, layer); break;
    case PAWL_LSTM:
    case PAWL_GRU:
    case PAWL_SIMPLE_RNN: rc = spell_rnn(out, layer); break;
    case PAWL_ACTIVATE: rc = spell_activation(out, layer); break;
    case PAWL_RESHAPE:
    case PAWL_PERMUTE:
    case PAWL_ZERO_PADDING: rc = spell_shape(out, layer); break;
    default: rc = spell_other(out, layer, in); break;
    }
    if (rc) {
        json_decref(out->config);
        out->config = NULL;
    }
    return rc;
}
