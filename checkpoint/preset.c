// preset.c - architectures by name: "gpt:layers=6,heads=6,...", "mlp:784-256-10", "cnn:fashion".

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/architecture.h"
#include "checkpoint/layers.h"
#include "checkpoint/suggest.h"

// ---- gpt

struct gpt {
    int64_t layers, heads, width, context, vocab;
    double dropout;
};

static const struct gpt gpt_small = { 6, 6, 384, 256, 256, 0 };
static const struct gpt gpt2_124m = { 12, 12, 768, 1024, 50304, 0 };  // 50257 tokens, padded

static const char *const gpt_keys[] = { "layers", "heads", "width", "context", "vocab", "dropout" };

enum { GPT_KEYS = 6, DROPOUT = 5 };

// Builds layer after layer; the first failure stays and the rest does nothing.
struct builder {
    struct pawl_architecture *to;
    int rc;
    struct pawl_layer nowhere;  // what a failed append leaves to write to
};

static int add(struct builder *b, enum pawl_layer_kind kind, const char *name,
               struct pawl_layer **out)
{
    if (!b->rc) b->rc = pawl_architecture_append(b->to, kind, name, out);
    if (b->rc) {
        memset(&b->nowhere, 0, sizeof(b->nowhere));
        *out = &b->nowhere;
    }
    return b->to->layer_count - 1;
}

static int add_dense(struct builder *b, const char *name, int64_t units, double init_std)
{
    struct pawl_layer *layer;
    const int i = add(b, PAWL_DENSE, name, &layer);

    layer->dense.units = units;
    layer->dense.init_std = init_std;
    return i;
}

static int add_dropout(struct builder *b, const char *name, double rate)
{
    struct pawl_layer *layer;

    if (rate <= 0) return b->to->layer_count - 1;
    const int i = add(b, PAWL_DROPOUT, name, &layer);
    layer->dropout.rate = rate;
    return i;
}

static const char *in_block(char name[64], int64_t block, const char *part)
{
    snprintf(name, 64, "blocks.%lld.%s", (long long)block, part);
    return name;
}

// x + proj(attention(qkv(ln1(x)))), then x + out(gelu(fc(ln2(x)))).
static int add_block(struct builder *b, const struct gpt *gpt, int64_t block, int x)
{
    // What a block adds to the stream is scaled down with the number of additions, so that the
    // stream's variance at the last block does not grow with depth (Radford et al. 2019, 2.3).
    const double std = 0.02, into_stream = std / sqrt(2.0 * (double)gpt->layers);
    struct pawl_layer *layer;
    char name[64];

    add(b, PAWL_LAYER_NORM, in_block(name, block, "ln1"), &layer);
    add_dense(b, in_block(name, block, "qkv"), 3 * gpt->width, std);
    add(b, PAWL_ATTENTION, in_block(name, block, "attention"), &layer);
    layer->attention.heads = gpt->heads;
    add_dense(b, in_block(name, block, "proj"), gpt->width, into_stream);
    add_dropout(b, in_block(name, block, "drop1"), gpt->dropout);
    const int middle = add(b, PAWL_ADD, in_block(name, block, "add1"), &layer);
    layer->input[layer->input_count++] = x;

    add(b, PAWL_LAYER_NORM, in_block(name, block, "ln2"), &layer);
    add_dense(b, in_block(name, block, "fc"), 4 * gpt->width, std);
    if (!b->rc)
        b->to->layers[b->to->layer_count - 1].dense.activation = PAWL_GELU_TANH;
    add_dense(b, in_block(name, block, "out"), gpt->width, into_stream);
    add_dropout(b, in_block(name, block, "drop2"), gpt->dropout);
    const int after = add(b, PAWL_ADD, in_block(name, block, "add2"), &layer);
    layer->input[layer->input_count++] = middle;
    return after;
}

static int build_gpt(struct pawl_architecture *out, const struct gpt *gpt)
{
    struct builder b = { .to = out };
    struct pawl_layer *layer;

    snprintf(out->name, sizeof(out->name), "gpt");
    add(&b, PAWL_INPUT, "input", &layer);
    layer->in.shape = (struct pawl_shape){ 1, { gpt->context, 1, 1, 1 } };
    layer->in.tokens = true;
    add(&b, PAWL_EMBEDDING, "wte", &layer);
    layer->embedding.vocab = gpt->vocab;
    layer->embedding.width = gpt->width;
    int x = add(&b, PAWL_POSITION_EMBEDDING, "wpe", &layer);
    layer->position.positions = gpt->context;
    if (gpt->dropout > 0) x = add_dropout(&b, "drop", gpt->dropout);
    for (int64_t i = 0; i < gpt->layers && !b.rc; i++)
        x = add_block(&b, gpt, i, x);
    add(&b, PAWL_LAYER_NORM, "lnf", &layer);
    add(&b, PAWL_DENSE, "head", &layer);
    layer->dense.units = gpt->vocab;
    layer->dense.bias = false;
    snprintf(layer->dense.tied, sizeof(layer->dense.tied), "wte.weight");
    return b.rc;
}

static int set_gpt(struct gpt *gpt, const char *key, const char *value)
{
    int64_t *const number[DROPOUT] = { &gpt->layers, &gpt->heads, &gpt->width, &gpt->context,
                                       &gpt->vocab };
    char hint[96], *end;
    int i = 0;

    while (i < GPT_KEYS && strcmp(key, gpt_keys[i]))
        i++;
    if (i == GPT_KEYS)
        return pawl_fail(PAWL_EINVAL, "preset gpt has no '%.40s'%s; it takes layers, heads, width, "
                         "context, vocab, dropout", key,
                         pawl_suggest_text(hint, sizeof(hint), key, gpt_keys, GPT_KEYS));
    errno = 0;
    if (i == DROPOUT) {
        gpt->dropout = strtod(value, &end);
        if (*end || end == value || !(gpt->dropout >= 0 && gpt->dropout < 1))
            return pawl_fail(PAWL_EINVAL, "preset gpt: dropout must be 0 to below 1, not '%.40s'",
                             value);
        return 0;
    }
    *number[i] = strtoll(value, &end, 10);
    if (*end || end == value || errno || *number[i] < 1 || *number[i] > 1 << 24)
        return pawl_fail(PAWL_EINVAL, "preset gpt: %s must be a number from 1 to %d, not '%.40s'",
                         key, 1 << 24, value);
    return 0;
}

static int preset_gpt(struct pawl_architecture *out, struct gpt gpt, char *arguments)
{
    char *rest = arguments;

    for (char *part = strsep(&rest, ","); part && *arguments; part = strsep(&rest, ",")) {
        char *equals = strchr(part, '=');
        if (!equals)
            return pawl_fail(PAWL_EINVAL, "preset gpt: '%.40s' is not KEY=NUMBER", part);
        *equals = 0;
        const int rc = set_gpt(&gpt, part, equals + 1);
        if (rc) return rc;
    }
    if (gpt.width % gpt.heads)
        return pawl_fail(PAWL_EINVAL, "preset gpt: heads %lld must divide width %lld",
                         (long long)gpt.heads, (long long)gpt.width);
    return build_gpt(out, &gpt);
}

static int preset_gpt_small(struct pawl_architecture *out, char *arguments)
{
    return preset_gpt(out, gpt_small, arguments);
}

static int preset_gpt2_124m(struct pawl_architecture *out, char *arguments)
{
    return preset_gpt(out, gpt2_124m, arguments);
}

// ---- mlp

static int preset_mlp(struct pawl_architecture *out, char *arguments)
{
    struct builder b = { .to = out };
    struct pawl_layer *layer;
    char standard[] = "784-512-256-10", name[64], *rest = *arguments ? arguments : standard;
    int count = 0;

    snprintf(out->name, sizeof(out->name), "mlp");
    for (char *part = strsep(&rest, "-"), *end; part && !b.rc; part = strsep(&rest, "-"), count++) {
        errno = 0;
        const int64_t width = strtoll(part, &end, 10);
        if (*end || end == part || errno || width < 1 || width > PAWL_DIMENSION_MAX)
            return pawl_fail(PAWL_EINVAL, "preset mlp: '%.40s' is not a width; write the inputs, "
                             "the hidden layers and the outputs, as in mlp:784-256-128-10", part);
        if (!count) {
            add(&b, PAWL_INPUT, "input", &layer);
            layer->in.shape = (struct pawl_shape){ 1, { width, 1, 1, 1 } };
            continue;
        }
        snprintf(name, sizeof(name), "fc%d", count);
        add_dense(&b, name, width, 0);
        if (!b.rc && rest) out->layers[count].dense.activation = PAWL_RELU;
    }
    if (!b.rc && count < 2)
        return pawl_fail(PAWL_EINVAL, "preset mlp needs at least inputs and outputs, as in "
                         "mlp:784-256-128-10");
    return b.rc;
}

// ---- cnn

static void add_conv(struct builder *b, const char *name, int64_t filters)
{
    struct pawl_layer *layer;

    add(b, PAWL_CONV2D, name, &layer);
    layer->conv.filters = filters;
    layer->conv.kernel[0] = layer->conv.kernel[1] = 3;
    layer->conv.padding = PAWL_SAME;
    layer->conv.activation = PAWL_RELU;
}

static int preset_cnn(struct pawl_architecture *out, char *arguments)
{
    struct builder b = { .to = out };
    struct pawl_layer *layer;

    if (*arguments && strcmp(arguments, "fashion"))
        return pawl_fail(PAWL_EINVAL, "preset cnn has no '%.40s'; it has cnn:fashion", arguments);
    snprintf(out->name, sizeof(out->name), "cnn");
    add(&b, PAWL_INPUT, "input", &layer);
    layer->in.shape = (struct pawl_shape){ 3, { 28, 28, 1, 1 } };
    add_conv(&b, "conv1", 32);
    add_conv(&b, "conv2", 64);
    add(&b, PAWL_MAX_POOL2D, "pool", &layer);
    add(&b, PAWL_FLATTEN, "flatten", &layer);
    add_dense(&b, "fc1", 128, 0);
    if (!b.rc) out->layers[out->layer_count - 1].dense.activation = PAWL_RELU;
    add_dense(&b, "fc2", 10, 0);
    return b.rc;
}

// ---- the table

static const struct {
    const char *name;
    int (*build)(struct pawl_architecture *out, char *arguments);
} presets[] = {
    { "gpt", preset_gpt_small },       { "gpt-small", preset_gpt_small },
    { "gpt2-124m", preset_gpt2_124m }, { "mlp", preset_mlp },
    { "cnn", preset_cnn },
};
static const char *const preset_names[] = { "gpt", "gpt-small", "gpt2-124m", "mlp", "cnn" };

enum { PRESETS = 5 };

int pawl_architecture_preset(struct pawl_architecture *out, const char *spec)
{
    struct pawl_architecture made = { .loss = "cross-entropy" };
    char words[1024], hint[96];
    int i = 0;

    if (strlen(spec) >= sizeof(words))
        return pawl_fail(PAWL_ENONE, "no preset is longer than %zu bytes", sizeof(words) - 1);
    snprintf(words, sizeof(words), "%s", spec);
    char *arguments = strchr(words, ':');
    if (arguments)
        *arguments++ = 0;
    else
        arguments = words + strlen(words);
    while (i < PRESETS && strcmp(words, presets[i].name))
        i++;
    if (i == PRESETS)
        return pawl_fail(PAWL_ENONE, "'%.80s' is no preset%s; presets: gpt, gpt-small, gpt2-124m, "
                         "mlp, cnn", words,
                         pawl_suggest_text(hint, sizeof(hint), words, preset_names, PRESETS));
    int rc = presets[i].build(&made, arguments);
    if (!rc) rc = pawl_architecture_check(&made);
    if (rc)
        pawl_architecture_free(&made);
    else
        *out = made;
    return rc;
}
