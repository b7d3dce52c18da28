// savedmodel_emit.c - a Sequential model as TensorFlow operations, for inference.
//
// Operations and their outputs' names: tensorflow/core/ops/{nn,math,array}_ops.cc.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/savedmodel_nodes.h"
#include "checkpoint/formats/savedmodel_save.h"

enum { NODE = 3 };  // the field of FunctionDef

struct emitter {
    struct pawl_saved *saved;
    struct pawl_text *out;
    int count;       // of nodes, for their names
    char x[300];     // the value so far
};

// A node of up to three inputs with T = float; what follows until pawl_pb_end is its own.
static size_t begin(struct emitter *e, const char *op, const char *a, const char *b, char name[64])
{
    snprintf(name, 64, "%s_%d", op, e->count++);
    const size_t node = pawl_tf_node(e->out, NODE, name, op);
    if (a) pawl_tf_input(e->out, a);
    if (b) pawl_tf_input(e->out, b);
    return node;
}

static void plain(struct emitter *e, const char *op, const char *a, const char *b,
                  const char *result, char ref[300])
{
    char name[64];
    const size_t node = begin(e, op, a, b, name);

    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_pb_end(e->out, node);
    snprintf(ref, 300, "%s:%s:0", name, result);
}

static void constant(struct emitter *e, float value, char ref[300])
{
    char name[64];

    snprintf(name, sizeof(name), "Const_%d", e->count++);
    pawl_tf_const_float(e->out, NODE, name, value);
    snprintf(ref, 300, "%s:output:0", name);
}

static void ints(struct emitter *e, int rank, int count, const int32_t *values, char ref[300])
{
    char name[64];

    snprintf(name, sizeof(name), "Const_%d", e->count++);
    pawl_tf_const_ints(e->out, NODE, name, rank, count, values);
    snprintf(ref, 300, "%s:output:0", name);
}

// The value of a layer's variable; false: it has none of that name.
static bool read(struct emitter *e, const char *layer, const char *variable, char ref[300])
{
    const int v = pawl_saved_variable(e->saved, layer, variable);
    char name[64], handle[32];

    if (v < 0) return false;
    snprintf(handle, sizeof(handle), "v%d", v);
    const size_t node = begin(e, "ReadVariableOp", handle, NULL, name);
    pawl_tf_type(e->out, "dtype", PAWL_TF_FLOAT);
    pawl_pb_end(e->out, node);
    snprintf(ref, 300, "%s:value:0", name);
    return true;
}

static void reshape(struct emitter *e, int count, const int32_t *dims)
{
    char shape[300], name[64];

    ints(e, 1, count, dims, shape);
    const size_t node = begin(e, "Reshape", e->x, shape, name);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_tf_type(e->out, "Tshape", PAWL_TF_INT32);
    pawl_pb_end(e->out, node);
    snprintf(e->x, sizeof(e->x), "%s:output:0", name);
}

static int unknown(const char *layer, const char *what)
{
    return pawl_fail(PAWL_ENOTSUP, "layer '%s': %s is not written as a SavedModel. try: --to keras",
                     layer, what);
}

static void gelu(struct emitter *e)
{
    char scale[300], scaled[300], erf[300], one[300], sum[300], half[300], halved[300];

    constant(e, 0.70710678f, scale);
    plain(e, "Mul", e->x, scale, "z", scaled);
    plain(e, "Erf", scaled, NULL, "y", erf);
    constant(e, 1, one);
    plain(e, "AddV2", erf, one, "z", sum);
    constant(e, 0.5f, half);
    plain(e, "Mul", e->x, half, "z", halved);
    plain(e, "Mul", halved, sum, "z", e->x);
}

static int activate(struct emitter *e, const char *layer, const char *kind)
{
    static const struct { const char *keras, *op, *result; } row[] = {
        { "relu", "Relu", "activations" }, { "elu", "Elu", "activations" },
        { "tanh", "Tanh", "y" }, { "sigmoid", "Sigmoid", "y" }, { "softmax", "Softmax", "softmax" },
        { "relu6", "Relu6", "activations" }, { "selu", "Selu", "activations" },
        { "softplus", "Softplus", "activations" }, { "softsign", "Softsign", "activations" },
    };
    char x[300];

    if (!kind || strcmp(kind, "linear") == 0) return 0;
    snprintf(x, sizeof(x), "%s", e->x);
    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
        if (strcmp(kind, row[i].keras) == 0) {
            plain(e, row[i].op, x, NULL, row[i].result, e->x);
            return 0;
        }
    if (strcmp(kind, "gelu") == 0) {
        gelu(e);
        return 0;
    }
    if (strcmp(kind, "swish") && strcmp(kind, "silu")) return unknown(layer, kind);
    char gate[300];
    plain(e, "Sigmoid", x, NULL, "y", gate);
    plain(e, "Mul", x, gate, "z", e->x);
    return 0;
}

static void bias(struct emitter *e, const char *layer)
{
    char b[300], x[300];

    if (!read(e, layer, "bias", b)) return;
    snprintf(x, sizeof(x), "%s", e->x);
    plain(e, "BiasAdd", x, b, "output", e->x);
}

static void dense(struct emitter *e, const char *layer, const struct pawl_shape *out, int64_t in)
{
    char kernel[300], x[300];
    int32_t dims[PAWL_SHAPE_MAX + 1] = { -1, (int32_t)in };

    if (out->rank > 1) reshape(e, 2, dims);
    read(e, layer, "kernel", kernel);
    snprintf(x, sizeof(x), "%s", e->x);
    plain(e, "MatMul", x, kernel, "product", e->x);
    bias(e, layer);
    for (int d = 0; d < out->rank; d++)
        dims[d + 1] = (int32_t)out->dim[d];
    if (out->rank > 1) reshape(e, out->rank + 1, dims);
}

// [1, a, b, 1] of a pair in the configuration; 1, 1 when it is not there.
static void window(struct emitter *e, const char *key, const json_t *pair)
{
    int64_t values[4] = { 1, 1, 1, 1 };

    for (size_t i = 0; i < 2 && json_is_array(pair); i++)
        values[i + 1] = json_integer_value(json_array_get(pair, i));
    pawl_tf_ints(e->out, key, 4, values);
}

static void padding(struct emitter *e, const json_t *config)
{
    const char *how = json_string_value(json_object_get(config, "padding"));

    pawl_tf_string(e->out, "padding", how && strcmp(how, "same") == 0 ? "SAME" : "VALID");
}

static int conv2d(struct emitter *e, const char *layer, const json_t *config)
{
    char kernel[300], name[64];

    if (!read(e, layer, "kernel", kernel)) return unknown(layer, "it");
    const size_t node = begin(e, "Conv2D", e->x, kernel, name);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    window(e, "strides", json_object_get(config, "strides"));
    window(e, "dilations", json_object_get(config, "dilation_rate"));
    padding(e, config);
    pawl_pb_end(e->out, node);
    snprintf(e->x, sizeof(e->x), "%s:output:0", name);
    bias(e, layer);
    return 0;
}

static void pool(struct emitter *e, const char *op, const json_t *config)
{
    char name[64];
    const size_t node = begin(e, op, e->x, NULL, name);

    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    window(e, "ksize", json_object_get(config, "pool_size"));
    window(e, "strides", json_object_get(config, "strides"));
    padding(e, config);
    pawl_pb_end(e->out, node);
    snprintf(e->x, sizeof(e->x), "%s:output:0", name);
}

// x * s + (beta - mean * s) with s = gamma / sqrt(variance + epsilon).
static void batch_norm(struct emitter *e, const char *layer, const json_t *config)
{
    char mean[300], s[300], t[300], gamma[300], beta[300], x[300];

    read(e, layer, "moving_variance", s);
    constant(e, (float)json_number_value(json_object_get(config, "epsilon")), t);
    plain(e, "AddV2", s, t, "z", x);
    plain(e, "Rsqrt", x, NULL, "y", s);
    if (read(e, layer, "gamma", gamma)) {
        snprintf(t, sizeof(t), "%s", s);
        plain(e, "Mul", t, gamma, "z", s);
    }
    read(e, layer, "moving_mean", mean);
    plain(e, "Sub", e->x, mean, "z", x);
    plain(e, "Mul", x, s, "z", e->x);
    if (!read(e, layer, "beta", beta)) return;
    snprintf(x, sizeof(x), "%s", e->x);
    plain(e, "AddV2", x, beta, "z", e->x);
}

static int flatten(struct emitter *e, const char *layer)
{
    const struct pawl_shape *shape = pawl_saved_shape(e->saved, layer);
    const int32_t dims[2] = { -1, shape ? (int32_t)shape->dim[0] : 0 };

    if (!shape || shape->rank != 1) return unknown(layer, "its shape");
    reshape(e, 2, dims);
    return 0;
}

static int emit(struct emitter *e, const char *class_name, const char *layer, const json_t *config)
{
    const struct pawl_shape *shape = pawl_saved_shape(e->saved, layer);
    const int kernel = pawl_saved_variable(e->saved, layer, "kernel");
    const json_t *groups = json_object_get(config, "groups");
    int rc = 0;

    if (strcmp(class_name, "Dense") == 0 && shape && kernel >= 0)
        dense(e, layer, shape, e->saved->file.keras.variables[kernel].dim[0]);
    else if (strcmp(class_name, "Conv2D") == 0 && (!groups || json_integer_value(groups) == 1))
        rc = conv2d(e, layer, config);
    else if (strcmp(class_name, "MaxPooling2D") == 0)
        pool(e, "MaxPool", config);
    else if (strcmp(class_name, "AveragePooling2D") == 0)
        pool(e, "AvgPool", config);
    else if (strcmp(class_name, "BatchNormalization") == 0)
        batch_norm(e, layer, config);
    else if (strcmp(class_name, "Flatten") == 0)
        rc = flatten(e, layer);
    else if (strcmp(class_name, "Dropout") && strcmp(class_name, "Activation"))
        rc = unknown(layer, class_name);
    if (rc) return rc;
    return activate(e, layer, json_string_value(json_object_get(config, "activation")));
}

int pawl_saved_emit(struct pawl_saved *saved, struct pawl_text *out, char result[300])
{
    struct emitter e = { .saved = saved, .out = out };
    size_t i;
    json_t *layer;
    int rc = 0;

    snprintf(e.x, sizeof(e.x), "%s", saved->input);
    json_array_foreach(saved->layers, i, layer) {
        const json_t *config = json_object_get(layer, "config");
        const char *class_name = json_string_value(json_object_get(layer, "class_name"));
        const char *name = json_string_value(json_object_get(config, "name"));
        if (!i || rc) continue;
        rc = emit(&e, class_name, name, config);
    }
    if (rc) return rc;
    const size_t node = pawl_tf_node(out, NODE, "result", "Identity");
    pawl_tf_input(out, e.x);
    pawl_tf_type(out, "T", PAWL_TF_FLOAT);
    pawl_pb_end(out, node);
    snprintf(result, 300, "result:output:0");
    return out->rc;
}
