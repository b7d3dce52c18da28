// pth_write_model.c - the format `pth-model`: an nn.Sequential that loads, predicts and trains.
//
// Each module is what torch's __setstate__ completes: training, parameters, buffers, children and
// the class's own attributes. A model of images takes them channels first, as torch does.

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/pth_bind.h"
#include "checkpoint/formats/pth_targets.h"
#include "checkpoint/formats/pth_training.h"
#include "checkpoint/formats/pth_write.h"

struct maker {
    struct pawl_pth_writer *w;
    const struct pawl_architecture *architecture;
    const struct pawl_bindings *targets;
    int layer;
    char name[PAWL_NAME_MAX + 1];
    int rc;
};

static struct pawl_text *text(struct maker *m)
{
    return &m->w->text;
}

static const struct pawl_layer *at(const struct maker *m)
{
    return &m->architecture->layers[m->layer];
}

static int refuse(struct maker *m, const char *why)
{
    if (!m->rc)
        m->rc = pawl_fail(PAWL_ENOTSUP, "layer '%s' (%s): %s. try: --to pth, and --arch beside it",
                          at(m)->name, pawl_layer_kind_name(at(m)->kind), why);
    return m->rc;
}

// ---- the parts of a module

static void put_tensors(struct maker *m, const char *dict, const char *const *names, int count)
{
    char full[PAWL_NAME_MAX + 32];

    pawl_pk_string(text(m), dict);
    pawl_pk_ordered_dict(text(m));
    pawl_pk_op(text(m), "(");
    for (int i = 0; i < count; i++) {
        pawl_pth_name(full, at(m), names[i]);
        const int target = pawl_bindings_find(m->targets, full);
        pawl_pk_string(text(m), names[i]);
        if (target < 0)
            pawl_pk_op(text(m), "N");
        else
            pawl_pth_put_target(m->w, &m->targets->items[target], NULL,
                                *dict == '_' && dict[1] == 'p' ? PAWL_PTH_PARAMETER
                                                               : PAWL_PTH_PLAIN);
    }
    if (count && !strcmp(names[0], "running_mean")) {
        pawl_pth_name(full, at(m), "num_batches_tracked");
        const struct pawl_entry *counter = pawl_document_find(m->w->document, full);
        pawl_pk_string(text(m), "num_batches_tracked");
        if (counter)
            pawl_pth_put_tensor(m->w, counter, PAWL_PTH_MOMENT);
        else
            pawl_pth_put_scalar(m->w, 0, PAWL_I64);
    }
    pawl_pk_op(text(m), "u");
}

// Opens a child NAME + suffix of that class; its attributes follow, then close_module.
static void open_module(struct maker *m, const char *class, const char *suffix,
                        const char *const *params, int count)
{
    static const char *const buffers[] = { "running_mean", "running_var" };
    const bool norm = !strncmp(class, "batchnorm", 9);
    char global[128], key[2 * PAWL_NAME_MAX];

    snprintf(global, sizeof(global), "torch.nn.modules.%s", class);
    snprintf(key, sizeof(key), "%s%s", m->name, suffix);
    for (char *c = key; *c; c++)
        if (*c == '.') *c = '_';  // no name of a module has a dot
    if (*suffix || *m->name) pawl_pk_string(text(m), key);
    pawl_pk_global(text(m), global);
    pawl_pk_op(text(m), ")\x81}(");
    pawl_pk_string(text(m), "training");
    pawl_pk_bool(text(m), true);
    put_tensors(m, "_parameters", params, count);
    put_tensors(m, "_buffers", buffers, norm ? 2 : 0);
    pawl_pk_string(text(m), "_non_persistent_buffers_set");
    pawl_pk_global(text(m), "__builtin__ set");
    pawl_pk_op(text(m), "]\x85R");
    pawl_pk_string(text(m), "_backward_hooks");
    pawl_pk_ordered_dict(text(m));
    pawl_pk_string(text(m), "_forward_hooks");
    pawl_pk_ordered_dict(text(m));
    pawl_pk_string(text(m), "_modules");
    pawl_pk_ordered_dict(text(m));
}

static void close_module(struct maker *m)
{
    pawl_pk_op(text(m), "ub");
}

static void put_count(struct maker *m, const char *key, int64_t value)
{
    pawl_pk_string(text(m), key);
    pawl_pk_integer(text(m), value);
}

static void put_real(struct maker *m, const char *key, double value)
{
    pawl_pk_string(text(m), key);
    pawl_pk_real(text(m), value);
}

static void put_flag(struct maker *m, const char *key, bool value)
{
    pawl_pk_string(text(m), key);
    pawl_pk_bool(text(m), value);
}

static void put_sizes(struct maker *m, const char *key, int count, const int64_t *values)
{
    pawl_pk_string(text(m), key);
    pawl_pk_tuple(text(m), count, values);
}

static void put_none(struct maker *m, const char *key)
{
    pawl_pk_string(text(m), key);
    pawl_pk_op(text(m), "N");
}

// ---- activations

static void put_activation(struct maker *m, enum pawl_activation activation, double alpha,
                           const char *suffix)
{
    static const char *const classes[PAWL_ACTIVATIONS] = {
        [PAWL_RELU] = "ReLU", [PAWL_LEAKY_RELU] = "LeakyReLU", [PAWL_ELU] = "ELU",
        [PAWL_GELU] = "GELU", [PAWL_GELU_TANH] = "GELU", [PAWL_SILU] = "SiLU",
        [PAWL_SIGMOID] = "Sigmoid", [PAWL_TANH] = "Tanh", [PAWL_SOFTPLUS] = "Softplus",
        [PAWL_RELU6] = "ReLU6", [PAWL_HARD_SIGMOID] = "Hardsigmoid",
        [PAWL_HARD_SWISH] = "Hardswish", [PAWL_SELU] = "SELU", [PAWL_SOFTSIGN] = "Softsign",
        [PAWL_MISH] = "Mish", [PAWL_SOFTMAX] = "Softmax", [PAWL_LOG_SOFTMAX] = "LogSoftmax",
    };
    char class[64];

    if (activation == PAWL_LINEAR) return;
    if (!classes[activation]) {
        refuse(m, "torch has no module for its activation");
        return;
    }
    snprintf(class, sizeof(class), "activation %s", classes[activation]);
    open_module(m, class, suffix, NULL, 0);
    put_flag(m, "inplace", false);
    if (activation == PAWL_LEAKY_RELU) put_real(m, "negative_slope", alpha > 0 ? alpha : 0.01);
    if (activation == PAWL_ELU) put_real(m, "alpha", alpha > 0 ? alpha : 1.0);
    if (activation == PAWL_SOFTMAX || activation == PAWL_LOG_SOFTMAX)
        put_count(m, "dim", at(m)->out.rank > 1 ? 1 - 2 * (at(m)->out.rank == 2) : -1);
    if (activation == PAWL_SOFTPLUS) {
        put_count(m, "beta", 1);
        put_count(m, "threshold", 20);
    }
    if (activation == PAWL_RELU6) {
        put_real(m, "min_val", 0);
        put_real(m, "max_val", 6);
    }
    if (activation == PAWL_GELU || activation == PAWL_GELU_TANH) {
        pawl_pk_string(text(m), "approximate");
        pawl_pk_string(text(m), activation == PAWL_GELU ? "none" : "tanh");
    }
    close_module(m);
}

// ---- layers with weights

static const char *const both[] = { "weight", "bias" };

static void put_dense(struct maker *m)
{
    const struct pawl_layer *layer = at(m), *from = &m->architecture->layers[layer->input[0]];

    if (layer->dense.tied[0]) {
        refuse(m, "it is tied to another layer, which nn.Sequential cannot say");
        return;
    }
    open_module(m, "linear Linear", "", both, 2);
    put_count(m, "in_features", from->out.dim[from->out.rank - 1]);
    put_count(m, "out_features", layer->dense.units);
    close_module(m);
    put_activation(m, layer->dense.activation, 0, "_activation");
}

// Zeros around an image: left, right, top, bottom.
static void put_zeros(struct maker *m, const int64_t pads[4], const char *suffix)
{
    const int64_t sides[4] = { pads[2], pads[3], pads[0], pads[1] };

    open_module(m, "padding ZeroPad2d", suffix, NULL, 0);
    put_sizes(m, "padding", 4, sides);
    put_real(m, "value", 0);
    close_module(m);
}

// What `same` of TensorFlow means for this input: top, bottom, left, right.
static void find_pads(const struct maker *m, const int64_t *kernel, const int64_t *stride,
                      const int64_t *dilation, int64_t pads[4])
{
    const struct pawl_layer *layer = at(m), *from = &m->architecture->layers[layer->input[0]];

    for (int i = 0; i < 2; i++) {
        const int64_t in = from->out.dim[i], out = layer->out.dim[i];
        const int64_t all = (out - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 - in;
        pads[2 * i] = all > 0 ? all / 2 : 0;
        pads[2 * i + 1] = all > 0 ? all - all / 2 : 0;
    }
}

static void put_conv(struct maker *m)
{
    const struct pawl_layer *layer = at(m), *from = &m->architecture->layers[layer->input[0]];
    static const int64_t none[4] = { 0 };
    int64_t pads[4];

    memcpy(pads, layer->conv.pads, sizeof(pads));
    if (layer->conv.padding == PAWL_SAME)
        find_pads(m, layer->conv.kernel, layer->conv.stride, layer->conv.dilation, pads);
    const bool even = pads[0] == pads[1] && pads[2] == pads[3];
    if (!even) put_zeros(m, pads, "_padding");
    const int64_t padding[2] = { even ? pads[0] : 0, even ? pads[2] : 0 };
    const int64_t twice[4] = { padding[1], padding[1], padding[0], padding[0] };
    open_module(m, "conv Conv2d", "", both, 2);
    put_count(m, "in_channels", from->out.dim[2]);
    put_count(m, "out_channels", layer->conv.filters);
    put_sizes(m, "kernel_size", 2, layer->conv.kernel);
    put_sizes(m, "stride", 2, layer->conv.stride);
    put_sizes(m, "padding", 2, padding);
    put_sizes(m, "dilation", 2, layer->conv.dilation);
    put_flag(m, "transposed", false);
    put_sizes(m, "output_padding", 2, none);
    put_count(m, "groups", layer->conv.groups);
    pawl_pk_string(text(m), "padding_mode");
    pawl_pk_string(text(m), "zeros");
    put_sizes(m, "_reversed_padding_repeated_twice", 4, twice);
    close_module(m);
    put_activation(m, layer->conv.activation, 0, "_activation");
}

static void put_norm(struct maker *m)
{
    const struct pawl_layer *layer = at(m);
    const int64_t width = layer->out.dim[layer->out.rank - 1];
    const bool affine = layer->norm.weight;

    if (layer->norm.weight != layer->norm.bias && layer->kind == PAWL_BATCH_NORM)
        refuse(m, "torch's BatchNorm has both weight and bias, or none");
    if (layer->kind != PAWL_BATCH_NORM && layer->out.rank == 3 && layer->kind != PAWL_GROUP_NORM)
        refuse(m, "a norm of an image's channels has no module in torch");
    if (layer->kind == PAWL_BATCH_NORM) {
        open_module(m, layer->out.rank == 3 ? "batchnorm BatchNorm2d" : "batchnorm BatchNorm1d",
                    "", both, 2);
        put_count(m, "num_features", width);
        put_real(m, "momentum", layer->norm.momentum);
        put_flag(m, "affine", affine);
        put_flag(m, "track_running_stats", true);
    } else if (layer->kind == PAWL_GROUP_NORM) {
        open_module(m, "normalization GroupNorm", "", both, 2);
        put_count(m, "num_groups", layer->norm.groups);
        put_count(m, "num_channels", width);
        put_flag(m, "affine", affine);
    } else {
        const bool rms = layer->kind == PAWL_RMS_NORM;
        open_module(m, rms ? "normalization RMSNorm" : "normalization LayerNorm", "", both,
                    rms ? 1 : 2);
        put_sizes(m, "normalized_shape", 1, &width);
        put_flag(m, "elementwise_affine", affine);
    }
    put_real(m, "eps", layer->norm.epsilon);
    close_module(m);
}

static void put_embedding(struct maker *m)
{
    open_module(m, "sparse Embedding", "", both, 1);
    put_count(m, "num_embeddings", at(m)->embedding.vocab);
    put_count(m, "embedding_dim", at(m)->embedding.width);
    put_none(m, "padding_idx");
    put_none(m, "max_norm");
    put_real(m, "norm_type", 2);
    put_flag(m, "scale_grad_by_freq", false);
    put_flag(m, "sparse", false);
    close_module(m);
}

// ---- layers without

static void put_pool(struct maker *m)
{
    static const int64_t one[2] = { 1, 1 };
    const struct pawl_layer *layer = at(m);
    const bool most = layer->kind == PAWL_MAX_POOL2D;
    int64_t pads[4];

    memcpy(pads, layer->pool.pads, sizeof(pads));
    if (layer->pool.padding == PAWL_SAME)
        find_pads(m, layer->pool.size, layer->pool.stride, one, pads);
    if (pads[0] != pads[1] || pads[2] != pads[3]) refuse(m, "torch pads pooling on both sides");
    const int64_t padding[2] = { pads[0], pads[2] };
    open_module(m, most ? "pooling MaxPool2d" : "pooling AvgPool2d", "", NULL, 0);
    put_sizes(m, "kernel_size", 2, layer->pool.size);
    put_sizes(m, "stride", 2, layer->pool.stride);
    put_sizes(m, "padding", 2, padding);
    put_flag(m, "ceil_mode", false);
    if (most) {
        put_count(m, "dilation", 1);
        put_flag(m, "return_indices", false);
    } else {
        put_flag(m, "count_include_pad", layer->pool.count_pads);
        put_none(m, "divisor_override");
    }
    close_module(m);
}

static void put_flatten(struct maker *m, const char *suffix)
{
    open_module(m, "flatten Flatten", suffix, NULL, 0);
    put_count(m, "start_dim", 1);
    put_count(m, "end_dim", -1);
    close_module(m);
}

static void put_global(struct maker *m)
{
    const struct pawl_layer *layer = at(m), *from = &m->architecture->layers[layer->input[0]];

    if (from->out.rank != 3) refuse(m, "only images are pooled to one element in nn.Sequential");
    open_module(m, layer->kind == PAWL_GLOBAL_MAX_POOL ? "pooling AdaptiveMaxPool2d"
                                                       : "pooling AdaptiveAvgPool2d", "", NULL, 0);
    put_count(m, "output_size", 1);
    if (layer->kind == PAWL_GLOBAL_MAX_POOL) put_flag(m, "return_indices", false);
    close_module(m);
    if (!layer->global.keep) put_flatten(m, "_flatten");
}

static void put_dropout(struct maker *m)
{
    open_module(m, "dropout Dropout", "", NULL, 0);
    put_real(m, "p", at(m)->dropout.rate);
    put_flag(m, "inplace", false);
    close_module(m);
}

static void put_layer(struct maker *m)
{
    const struct pawl_layer *layer = at(m);

    snprintf(m->name, sizeof(m->name), "%s", layer->name);
    switch (layer->kind) {
    case PAWL_INPUT: return;
    case PAWL_DENSE: put_dense(m); return;
    case PAWL_CONV2D: put_conv(m); return;
    case PAWL_BATCH_NORM:
    case PAWL_LAYER_NORM:
    case PAWL_GROUP_NORM:
    case PAWL_RMS_NORM: put_norm(m); return;
    case PAWL_EMBEDDING: put_embedding(m); return;
    case PAWL_MAX_POOL2D:
    case PAWL_AVG_POOL2D: put_pool(m); return;
    case PAWL_GLOBAL_MAX_POOL:
    case PAWL_GLOBAL_AVG_POOL: put_global(m); return;
    case PAWL_ACTIVATE: put_activation(m, layer->activate.activation, layer->activate.alpha, "");
        return;
    case PAWL_DROPOUT: put_dropout(m); return;
    case PAWL_FLATTEN: put_flatten(m, ""); return;
    case PAWL_ZERO_PADDING: put_zeros(m, layer->zero_padding.pads, ""); return;
    case PAWL_PERMUTE:  // of channels, which torch's modules do not need
        if (!strncmp(layer->name, "channels_", 9)) return;
        // fall through
    default: refuse(m, "no module that nn.Sequential can hold stands for it");
    }
}

static int put_model(struct maker *m)
{
    m->name[0] = 0;
    m->layer = 0;
    open_module(m, "container Sequential", "", NULL, 0);
    // The children go into the _modules that open_module left as the last value.
    pawl_pk_op(text(m), "(");
    for (; m->layer < m->architecture->layer_count && !m->rc; m->layer++) {
        const struct pawl_layer *layer = at(m);
        if (layer->kind != PAWL_INPUT
            && (layer->input_count != 1 || layer->input[0] != m->layer - 1))
            refuse(m, "it joins or branches, and nn.Sequential is one chain");
        else
            put_layer(m);
    }
    pawl_pk_op(text(m), "u");
    close_module(m);
    return m->rc;
}

int pawl_pth_write_model(const struct pawl_document *document, const char *path,
                         const struct pawl_write_options *options)
{
    struct pawl_bindings targets = { 0 };
    struct pawl_pth_writer w;
    struct maker m = { .w = &w, .architecture = document->architecture, .targets = &targets };

    if (!document->architecture || !document->weight_count)
        return pawl_fail(PAWL_ECORRUPT, "%s holds no %s, and a module needs both. try: --to pth",
                         document->path, document->architecture ? "weights" : "architecture");
    int rc = pawl_pth_targets(&targets, document);
    if (rc) return rc;
    pawl_pth_create(&w, document, options);
    rc = put_model(&m);
    if (rc)
        pawl_pth_abandon(&w);
    else
        rc = pawl_pth_save(&w, path);
    pawl_bindings_free(&targets);
    return rc;
}
