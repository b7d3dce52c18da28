// pth_module_layers.c - what stands for each module of torch.nn that is no container.

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/pth_module.h"

// ---- dense, embedding, norms

static int add_linear(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    const int64_t in = pawl_pth_count(m, "in_features", 0);
    struct pawl_layer *layer = NULL;

    (void)class;
    int rc = pawl_pth_input(b, 1, &in, false);
    if (!rc) rc = pawl_pth_channels_last(b, false);
    if (!rc) rc = pawl_pth_layer(b, PAWL_DENSE, NULL, &layer);
    if (rc) return rc;
    layer->dense.units = pawl_pth_count(m, "out_features", 0);
    layer->dense.bias = pawl_pth_has(m, "bias");
    b->inputs[b->out->layer_count - 1] = in;
    return 0;
}

static int add_embedding(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    static const int64_t tokens = 1024;  // no weight depends on it: the most that predict takes
    const struct pawl_py *most = pawl_py_get(m->state, "max_norm");
    struct pawl_layer *layer = NULL;

    (void)class;
    if (most && !pawl_py_is(most, PAWL_PY_NONE)) {
        b->why = "an embedding with max_norm";
        return 0;
    }
    int rc = pawl_pth_input(b, 1, &tokens, true);
    if (!rc) rc = pawl_pth_layer(b, PAWL_EMBEDDING, NULL, &layer);
    if (rc) return rc;
    layer->embedding.vocab = pawl_pth_count(m, "num_embeddings", 0);
    layer->embedding.width = pawl_pth_count(m, "embedding_dim", 0);
    b->spatial = 0;
    return 0;
}

static int add_norm(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    const bool layers = !strcmp(class, "LayerNorm"), group = !strcmp(class, "GroupNorm");
    const bool batch = !strncmp(class, "BatchNorm", 9);
    const struct pawl_py *shape = pawl_py_get(m->state, "normalized_shape");
    struct pawl_layer *layer = NULL;
    int64_t width = pawl_pth_count(m, batch ? "num_features" : "num_channels", 0);

    if (batch && !pawl_pth_flag(m, "track_running_stats", true))
        b->why = "a batch norm without running statistics";
    if (shape && (shape->count != 1 || !pawl_py_integer(pawl_py_item(shape, 0), &width)))
        b->why = "a norm over several dimensions";
    if (b->why) return 0;
    int rc = pawl_pth_input(b, 1, &width, false);
    // torch's BatchNorm and GroupNorm take (channels, ...), LayerNorm and RMSNorm (..., channels).
    if (!rc) rc = pawl_pth_channels_last(b, batch || group);
    if (!rc)
        rc = pawl_pth_layer(b, batch ? PAWL_BATCH_NORM : layers ? PAWL_LAYER_NORM
                               : group ? PAWL_GROUP_NORM : PAWL_RMS_NORM, NULL, &layer);
    if (rc) return rc;
    layer->norm.epsilon = pawl_pth_real(m, "eps", layers || batch || group ? 1e-5 : 0x1p-23);
    layer->norm.weight = pawl_pth_has(m, "weight");
    layer->norm.bias = pawl_pth_has(m, "bias");
    if (batch) layer->norm.momentum = pawl_pth_real(m, "momentum", 0.1);
    if (group) layer->norm.groups = pawl_pth_count(m, "num_groups", 1);
    return 0;
}

// ---- windows

// (channels, 0, 0): how large is not known.
static int open_image(struct pawl_pth_build *b, int spatial, int64_t channels)
{
    const int64_t dim[3] = { channels, 1, 1 };

    b->guessed |= !b->out->layer_count;
    const int rc = pawl_pth_input(b, spatial + 1, dim, false);
    if (!rc && b->spatial != spatial) b->why = "a window over something of other dimensions";
    return rc || b->why ? rc : pawl_pth_channels_last(b, true);
}

static int conv_pads(struct pawl_pth_build *b, const struct pawl_py *m, int spatial,
                     struct pawl_layer *layer)
{
    const char *words = pawl_py_text(pawl_py_get(m->state, "padding"));
    int64_t *pads = layer->conv.pads, pair[2];

    if (!words && !pawl_pth_pair(m, "padding", spatial, pair)) {
        b->why = "a padding of another kind";
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        const bool used = i == 1 || spatial == 2;
        const int64_t same = layer->conv.dilation[i] * (layer->conv.kernel[i] - 1);
        if (words) pair[i] = strcmp(words, "same") ? 0 : same / 2;
        pads[2 * i] = used ? pair[i] : 0;
        pads[2 * i + 1] = !used ? 0 : words && !strcmp(words, "same") ? same - same / 2 : pair[i];
    }
    return 0;
}

static int add_conv(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    const int spatial = strchr(class, '1') ? 1 : 2;
    const bool turned = pawl_pth_flag(m, "transposed", false);
    const char *mode = pawl_py_text(pawl_py_get(m->state, "padding_mode"));
    struct pawl_layer *layer = NULL;

    if (mode && strcmp(mode, "zeros")) b->why = "a padding that is not of zeros";
    int rc = b->why ? 0 : open_image(b, spatial, pawl_pth_count(m, "in_channels", 0));
    if (rc || b->why) return rc;
    rc = pawl_pth_layer(b, spatial == 1 ? turned ? PAWL_CONV1D_TRANSPOSE : PAWL_CONV1D
                           : turned ? PAWL_CONV2D_TRANSPOSE : PAWL_CONV2D, NULL, &layer);
    if (rc) return rc;
    layer->conv.filters = pawl_pth_count(m, "out_channels", 0);
    layer->conv.groups = pawl_pth_count(m, "groups", 1);
    layer->conv.bias = pawl_pth_has(m, "bias");
    if (!pawl_pth_pair(m, "kernel_size", spatial, layer->conv.kernel)
        || !pawl_pth_pair(m, "stride", spatial, layer->conv.stride)
        || !pawl_pth_pair(m, "dilation", spatial, layer->conv.dilation))
        b->why = "a window of another kind";
    if (turned && !b->why) pawl_pth_pair(m, "output_padding", spatial, layer->conv.extra);
    if (spatial == 1) layer->conv.extra[0] = 0;
    return b->why ? 0 : conv_pads(b, m, spatial, layer);
}

static int add_pool(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    const int spatial = strchr(class, '1') ? 1 : 2;
    const bool most = !strncmp(class, "Max", 3);
    struct pawl_layer *layer = NULL;
    int64_t pad[2] = { 0, 0 }, dilation[2] = { 1, 1 };

    pawl_pth_pair(m, "padding", spatial, pad);
    pawl_pth_pair(m, "dilation", spatial, dilation);
    if (pawl_pth_flag(m, "ceil_mode", false) || dilation[0] != 1 || dilation[1] != 1
        || pawl_pth_flag(m, "return_indices", false)
        || pawl_pth_count(m, "divisor_override", 0))
        b->why = "a pooling with ceil_mode, dilation, indices or a divisor";
    else if (!b->out->layer_count || b->spatial != spatial)
        b->why = "a pooling of what is no image, or is the model's first layer";
    int rc = b->why ? 0 : pawl_pth_channels_last(b, true);
    if (rc || b->why) return rc;
    rc = pawl_pth_layer(b, spatial == 1 ? most ? PAWL_MAX_POOL1D : PAWL_AVG_POOL1D
                           : most ? PAWL_MAX_POOL2D : PAWL_AVG_POOL2D, NULL, &layer);
    if (rc) return rc;
    if (!pawl_pth_pair(m, "kernel_size", spatial, layer->pool.size))
        b->why = "a window of another kind";
    else if (!pawl_pth_pair(m, "stride", spatial, layer->pool.stride))
        memcpy(layer->pool.stride, layer->pool.size, sizeof(layer->pool.stride));
    for (int i = spatial == 1; i < 2; i++)
        layer->pool.pads[2 * i] = layer->pool.pads[2 * i + 1] = pad[i];
    layer->pool.count_pads = !most && pawl_pth_flag(m, "count_include_pad", true)
                             && (pad[0] || pad[1]);
    return 0;
}

static int add_global_pool(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    const int spatial = strchr(class, '1') ? 1 : 2;
    const bool most = !strncmp(class, "AdaptiveMax", 11);
    struct pawl_layer *layer = NULL;
    int64_t size[2] = { 0, 0 };

    if (!pawl_pth_pair(m, "output_size", spatial, size) || size[0] != 1 || size[1] != 1)
        b->why = "an adaptive pooling to more than one element";
    else if (!b->out->layer_count || b->spatial != spatial)
        b->why = "a pooling of what is no image, or is the model's first layer";
    int rc = b->why ? 0 : pawl_pth_channels_last(b, true);
    if (rc || b->why) return rc;
    rc = pawl_pth_layer(b, most ? PAWL_GLOBAL_MAX_POOL : PAWL_GLOBAL_AVG_POOL, NULL, &layer);
    if (!rc) layer->global.keep = true;
    return rc;
}

static int add_padding(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    const struct pawl_py *padding = pawl_py_get(m->state, "padding");
    struct pawl_layer *layer = NULL;
    int64_t side[4];

    (void)class;
    for (uint32_t i = 0; i < 4; i++)  // left, right, top, bottom
        if (!pawl_py_integer(pawl_py_item(padding, i), &side[i])
            && !pawl_py_integer(padding, &side[i]))
            b->why = "a padding of another kind";
    if (!b->out->layer_count || b->spatial != 2) b->why = "a padding of what is no image";
    int rc = b->why ? 0 : pawl_pth_channels_last(b, true);
    if (!rc && !b->why) rc = pawl_pth_layer(b, PAWL_ZERO_PADDING, NULL, &layer);
    if (rc || b->why) return rc;
    const int64_t pads[4] = { side[2], side[3], side[0], side[1] };
    memcpy(layer->zero_padding.pads, pads, sizeof(pads));
    return 0;
}

// ---- shapes

static int add_flatten(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    (void)class;
    if (pawl_pth_count(m, "start_dim", 1) != 1 || pawl_pth_count(m, "end_dim", -1) != -1) {
        b->why = "a flatten of some dimensions only";
        return 0;
    }
    if (!b->out->layer_count) return 0;  // the dense layer behind it says how many there are
    int rc = pawl_pth_channels_last(b, false);
    if (!rc) rc = pawl_pth_layer(b, PAWL_FLATTEN, NULL, NULL);
    b->spatial = 0;
    return rc;
}

static int add_unflatten(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    const struct pawl_py *sizes = pawl_py_get(m->state, "unflattened_size");
    struct pawl_layer *layer = NULL;

    (void)class;
    if (!strcmp(pawl_py_called(sizes), "torch.Size")) sizes = pawl_py_argument(sizes, 0);
    if (!b->out->layer_count || pawl_pth_count(m, "dim", 1) != 1
        || !pawl_py_is(sizes, PAWL_PY_TUPLE) || sizes->count > 3 || !sizes->count) {
        b->why = "an unflatten of another kind";
        return 0;
    }
    const int rc = pawl_pth_layer(b, PAWL_RESHAPE, NULL, &layer);
    if (rc) return rc;
    layer->reshape.shape.rank = (int)sizes->count;
    for (uint32_t i = 0; i < sizes->count; i++)
        if (!pawl_py_integer(sizes->item[i], &layer->reshape.shape.dim[i]))
            b->why = "an unflatten of another kind";
    b->spatial = (int)sizes->count - 1;
    b->channels_last = false;
    return 0;
}

static int add_dropout(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    struct pawl_layer *layer = NULL;

    (void)class;
    if (!b->out->layer_count) {
        b->why = "a dropout of the input";
        return 0;
    }
    const int rc = pawl_pth_layer(b, PAWL_DROPOUT, NULL, &layer);
    if (!rc) layer->dropout.rate = pawl_pth_real(m, "p", 0.5);
    return rc;
}

static int add_nothing(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    (void)b, (void)m, (void)class;
    return 0;
}

// ---- activations

static int add_prelu(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    struct pawl_layer *layer = NULL;

    (void)class;
    if (!b->out->layer_count) b->why = "an activation of the input";
    int rc = b->why ? 0 : pawl_pth_channels_last(b, true);
    if (!rc && !b->why) rc = pawl_pth_layer(b, PAWL_PRELU, NULL, &layer);
    if (layer) layer->prelu.shared = pawl_pth_count(m, "num_parameters", 1) == 1;
    return rc;
}

static int add_activation(struct pawl_pth_build *b, const struct pawl_py *m, const char *class)
{
    static const struct {
        const char *class, *alpha;
        enum pawl_activation activation;
    } rows[] = {
        { "ReLU", NULL, PAWL_RELU }, { "LeakyReLU", "negative_slope", PAWL_LEAKY_RELU },
        { "ELU", "alpha", PAWL_ELU }, { "GELU", NULL, PAWL_GELU }, { "SiLU", NULL, PAWL_SILU },
        { "Sigmoid", NULL, PAWL_SIGMOID }, { "Tanh", NULL, PAWL_TANH },
        { "Softplus", NULL, PAWL_SOFTPLUS }, { "ReLU6", NULL, PAWL_RELU6 },
        { "Hardsigmoid", NULL, PAWL_HARD_SIGMOID }, { "Hardswish", NULL, PAWL_HARD_SWISH },
        { "SELU", NULL, PAWL_SELU }, { "Softsign", NULL, PAWL_SOFTSIGN },
        { "Mish", NULL, PAWL_MISH }, { "Softmax", NULL, PAWL_SOFTMAX },
        { "LogSoftmax", NULL, PAWL_LOG_SOFTMAX },
    };
    const char *approximate = pawl_py_text(pawl_py_get(m->state, "approximate"));
    const int64_t dim = pawl_pth_count(m, "dim", -1);
    struct pawl_layer *layer = NULL;
    size_t i = 0;

    while (i < sizeof(rows) / sizeof(*rows) && strcmp(rows[i].class, class))
        i++;
    if (i == sizeof(rows) / sizeof(*rows)) b->why = class;
    else if (!b->out->layer_count) b->why = "an activation of the input";
    else if (strstr(class, "oftmax") && dim != -1 && dim != 1) b->why = "a softmax of another axis";
    if (b->why) return 0;
    int rc = strstr(class, "oftmax") ? pawl_pth_channels_last(b, dim == 1) : 0;
    if (!rc) rc = pawl_pth_layer(b, PAWL_ACTIVATE, NULL, &layer);
    if (rc) return rc;
    layer->activate.activation = approximate && !strcmp(approximate, "tanh")
                                     ? PAWL_GELU_TANH : rows[i].activation;
    if (rows[i].alpha) layer->activate.alpha = pawl_pth_real(m, rows[i].alpha, 0);
    return 0;
}

// ---- the table

int pawl_pth_add_module(struct pawl_pth_build *b, const struct pawl_py *module)
{
    static const struct {
        const char *class;  // below torch.nn.modules.; up to a '*', whatever follows
        int (*add)(struct pawl_pth_build *b, const struct pawl_py *module, const char *class);
    } rows[] = {
        { "linear.Linear", add_linear }, { "linear.NonDynamicallyQuantizableLinear", add_linear },
        { "linear.Identity", add_nothing }, { "sparse.Embedding", add_embedding },
        { "conv.Conv1d", add_conv }, { "conv.Conv2d", add_conv },
        { "conv.ConvTranspose1d", add_conv }, { "conv.ConvTranspose2d", add_conv },
        { "batchnorm.BatchNorm1d", add_norm }, { "batchnorm.BatchNorm2d", add_norm },
        { "normalization.LayerNorm", add_norm }, { "normalization.GroupNorm", add_norm },
        { "normalization.RMSNorm", add_norm }, { "pooling.MaxPool1d", add_pool },
        { "pooling.MaxPool2d", add_pool }, { "pooling.AvgPool1d", add_pool },
        { "pooling.AvgPool2d", add_pool }, { "pooling.AdaptiveAvgPool1d", add_global_pool },
        { "pooling.AdaptiveAvgPool2d", add_global_pool },
        { "pooling.AdaptiveMaxPool1d", add_global_pool },
        { "pooling.AdaptiveMaxPool2d", add_global_pool }, { "padding.ZeroPad2d", add_padding },
        { "flatten.Flatten", add_flatten }, { "flatten.Unflatten", add_unflatten },
        { "dropout.*", add_dropout }, { "activation.PReLU", add_prelu },
        { "activation.MultiheadAttention", NULL }, { "activation.*", add_activation },
    };
    const char *name = pawl_py_called(module), *class = strrchr(name, '.');

    if (!strcmp(name, "torch.nn.modules.transformer.TransformerEncoderLayer"))
        return pawl_pth_add_encoder(b, module);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows) && !strncmp(name, "torch.nn.modules.", 17);
         i++) {
        const size_t length = strcspn(rows[i].class, "*");
        if (strncmp(name + 17, rows[i].class, length)
            || (!rows[i].class[length] && name[17 + length]))
            continue;
        if (rows[i].add) return rows[i].add(b, module, class + 1);
    }
    b->why = !strncmp(name, "torch.nn.modules.", 17)
                 ? "no layer of pawl stands for its class"
                 : "its class is code, which pawl does not run";
    return 0;
}
