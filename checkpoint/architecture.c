// architecture.c - building, checking and comparing lists of layers.

#include "checkpoint/architecture.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/layers.h"
#include "checkpoint/names.h"
#include "checkpoint/suggest.h"
#include "kernels/memory.h"

const char *pawl_layer_kind_name(enum pawl_layer_kind kind)
{
    return pawl_layer_rows[kind].name;
}

const char *pawl_activation_name(enum pawl_activation activation)
{
    return pawl_activation_names[activation];
}

// ---- building

int pawl_architecture_append(struct pawl_architecture *architecture, enum pawl_layer_kind kind,
                             const char *name, struct pawl_layer **out)
{
    const int count = architecture->layer_count;
    struct pawl_layer *layer;

    if (count >= PAWL_LAYERS_MAX)
        return pawl_fail(PAWL_EINVAL, "a model has at most %d layers", PAWL_LAYERS_MAX);
    if (strlen(name) >= sizeof(layer->name))
        return pawl_fail(PAWL_EINVAL, "layer name '%.40s...' is longer than %zu bytes", name,
                         sizeof(layer->name) - 1);
    json_t *text = json_string(name);  // NULL: an architecture is JSON wherever it goes
    json_decref(text);
    if (!text) return pawl_fail(PAWL_EINVAL, "a layer's name is not UTF-8");
    if ((count & (count - 1)) == 0) {  // room for twice as many, whenever a power of two is full
        const size_t room = count ? 2 * (size_t)count : 1;
        const int rc = pawl_realloc(&architecture->layers, room * sizeof(*layer), "layers");
        if (rc) return rc;
    }
    layer = &architecture->layers[count];
    memset(layer, 0, sizeof(*layer));
    snprintf(layer->name, sizeof(layer->name), "%s", name);
    layer->kind = kind;
    if (pawl_layer_rows[kind].inputs && count > 0) {
        layer->input_count = 1;
        layer->input[0] = count - 1;
    }
    pawl_layer_defaults(layer);
    architecture->layer_count++;
    if (out) *out = layer;
    return 0;
}

void pawl_architecture_free(struct pawl_architecture *architecture)
{
    if (!architecture) return;
    pawl_free(architecture->layers);
    *architecture = (struct pawl_architecture){ 0 };
}

int pawl_architecture_copy(struct pawl_architecture *out, const struct pawl_architecture *from)
{
    struct pawl_architecture copy = *from;
    size_t room = 1;

    while (room < (size_t)from->layer_count)  // as much as append expects to find
        room *= 2;
    const int rc = pawl_alloc(&copy.layers, room * sizeof(*copy.layers), "layers");
    if (rc) return rc;
    if (from->layer_count)
        memcpy(copy.layers, from->layers, (size_t)from->layer_count * sizeof(*copy.layers));
    *out = copy;
    return 0;
}

// ---- parameters

int pawl_layer_params(const struct pawl_architecture *architecture, int i,
                      struct pawl_param out[PAWL_PARAMS_MAX])
{
    const struct pawl_layer *layer = &architecture->layers[i];
    const struct pawl_layer_row *row = &pawl_layer_rows[layer->kind];

    return row->params ? row->params(layer, &architecture->layers[layer->input[0]].out, out) : 0;
}

int64_t pawl_architecture_params(const struct pawl_architecture *architecture)
{
    struct pawl_param param[PAWL_PARAMS_MAX];
    int64_t total = 0;

    for (int i = 0; i < architecture->layer_count; i++) {
        const int count = pawl_layer_params(architecture, i, param);
        for (int p = 0; p < count; p++) {
            int64_t n = 0;
            pawl_shape_count(&n, param[p].rank, param[p].dim);  // check has seen that it fits
            total += n;
        }
    }
    return total;
}

// ---- checking

// Moments and masters are stored beside the weights under these prefixes.
static bool reserved(const char *name)
{
    return strncmp(name, "optimizer.", 10) == 0 || strncmp(name, "master.", 7) == 0;
}

static int check_name(const struct pawl_layer *layer, int i)
{
    if (!layer->name[0]) return pawl_fail(PAWL_EINVAL, "layer %d has no name", i);
    for (const char *c = layer->name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return pawl_fail(PAWL_EINVAL, "the name of layer %d has a control character", i);
    if (reserved(layer->name))
        return pawl_layer_fail(layer, "names that begin with 'optimizer.' or 'master.' belong to "
                               "the training state");
    return 0;
}

static int check_inputs(const struct pawl_architecture *architecture, int i, bool *used)
{
    const struct pawl_layer *layer = &architecture->layers[i];
    const int least = pawl_layer_rows[layer->kind].inputs;
    const int most = pawl_layer_rows[layer->kind].inputs_most;

    if (layer->input_count < least || layer->input_count > most) {
        if (least < most)
            return pawl_layer_fail(layer, "it takes %d to %d inputs, not %d", least, most,
                                   layer->input_count);
        return pawl_layer_fail(layer, "it takes %d input%s, not %d", least, least == 1 ? "" : "s",
                               layer->input_count);
    }
    for (int k = 0; k < layer->input_count; k++) {
        const int from = layer->input[k];
        if (from < 0 || from >= i)
            return pawl_layer_fail(layer, "its inputs must come before it");
        const struct pawl_layer *source = &architecture->layers[from];
        const bool tokens = source->kind == PAWL_INPUT && source->in.tokens;
        if (tokens != (layer->kind == PAWL_EMBEDDING))
            return pawl_layer_fail(layer, "its input '%s' is %s", source->name,
                                   tokens ? "tokens, which only an embedding takes"
                                          : "not tokens");
        used[from] = true;
    }
    return 0;
}

// The layer that owns the parameter `name`, or -1; *suffix is the name's last part.
static int owner(const struct pawl_names *names, const char *name, const char **suffix)
{
    char layer[PAWL_NAME_MAX + 1];
    const char *dot = strrchr(name, '.');

    if (!dot) return -1;
    snprintf(layer, sizeof(layer), "%.*s", (int)(dot - name), name);
    *suffix = dot + 1;
    return pawl_names_find(names, layer);
}

static int check_tied(const struct pawl_architecture *architecture, int i,
                      const struct pawl_names *names)
{
    const struct pawl_layer *layer = &architecture->layers[i];
    const struct pawl_shape *in = &architecture->layers[layer->input[0]].out;
    const int64_t inputs = in->dim[in->rank - 1];
    struct pawl_param param[PAWL_PARAMS_MAX];
    const char *suffix = "";
    char text[96];

    const int from = owner(names, layer->dense.tied, &suffix);
    const int count = from >= 0 && from < i ? pawl_layer_params(architecture, from, param) : 0;
    for (int p = 0; p < count; p++) {
        if (strcmp(param[p].suffix, suffix)) continue;
        if (param[p].rank == 2 && param[p].dim[0] == layer->dense.units
            && param[p].dim[1] == inputs)
            return 0;
        return pawl_layer_fail(layer, "it is tied to '%s' of %s, but needs [%lld, %lld]",
                               layer->dense.tied,
                               pawl_shape_text(text, sizeof(text), param[p].rank, param[p].dim),
                               (long long)layer->dense.units, (long long)inputs);
    }
    return pawl_layer_fail(layer, "it is tied to '%s', which no layer before it owns",
                           layer->dense.tied);
}

static int check_sizes(const struct pawl_architecture *architecture, int i, int64_t *total)
{
    const struct pawl_layer *layer = &architecture->layers[i];
    struct pawl_param param[PAWL_PARAMS_MAX];
    int64_t n;

    // Bytes of a batch and of both moments are still to be multiplied in: 2^48 elements are far
    // beyond any machine and leave room in 64 bits.
    if (pawl_shape_count(&n, layer->out.rank, layer->out.dim) || n > (INT64_C(1) << 48))
        return pawl_layer_fail(layer, "its output is too large");
    for (int d = 0; d < layer->out.rank; d++)
        if (layer->out.dim[d] > PAWL_DIMENSION_MAX)
            return pawl_layer_fail(layer, "its output's dimension %d is larger than %d", d,
                                   PAWL_DIMENSION_MAX);
    const int count = pawl_layer_params(architecture, i, param);
    for (int p = 0; p < count; p++) {
        if (pawl_shape_count(&n, param[p].rank, param[p].dim)
            || n > (INT64_C(1) << 48) - *total)
            return pawl_layer_fail(layer, "its %s makes the model larger than 2^48 parameters",
                                   param[p].suffix);
        *total += n;
    }
    return 0;
}

static int check_layer(struct pawl_architecture *architecture, int i, bool *used,
                       const struct pawl_names *names, int64_t *total)
{
    struct pawl_layer *layer = &architecture->layers[i];
    const struct pawl_shape *in[PAWL_INPUTS_MAX] = { NULL };

    if ((layer->kind == PAWL_INPUT) != (i == 0))
        return pawl_layer_fail(layer, "a model has one input, and it is the first layer");
    int rc = check_name(layer, i);
    if (!rc) rc = check_inputs(architecture, i, used);
    if (!rc) rc = pawl_layer_check_fields(layer);
    if (rc) return rc;
    for (int k = 0; k < layer->input_count; k++)
        in[k] = &architecture->layers[layer->input[k]].out;
    rc = pawl_layer_rows[layer->kind].shape(layer, in);
    if (rc) return rc;
    for (int d = layer->out.rank; d < PAWL_SHAPE_MAX; d++)
        layer->out.dim[d] = 1;
    if (layer->kind == PAWL_DENSE && layer->dense.tied[0]) rc = check_tied(architecture, i, names);
    return rc ? rc : check_sizes(architecture, i, total);
}

static int check_loss(const struct pawl_architecture *architecture)
{
    char hint[96];

    if (!architecture->loss[0]) return 0;
    for (int i = 0; i < 3; i++)
        if (strcmp(architecture->loss, pawl_loss_names[i]) == 0) return 0;
    return pawl_fail(PAWL_EINVAL, "loss '%s' is unknown%s; known: cross-entropy, mse, "
                     "binary-cross-entropy", architecture->loss,
                     pawl_suggest_text(hint, sizeof(hint), architecture->loss, pawl_loss_names, 3));
}

int pawl_architecture_check(struct pawl_architecture *architecture)
{
    const int count = architecture->layer_count;
    struct pawl_names names = { 0 };
    bool used[PAWL_LAYERS_MAX] = { false };
    int64_t total = 0;

    if (count < 1 || count > PAWL_LAYERS_MAX)
        return pawl_fail(PAWL_EINVAL, "a model has 1 to %d layers, not %d", PAWL_LAYERS_MAX, count);
    int rc = pawl_names_build(&names, count, architecture->layers[0].name,
                              sizeof(*architecture->layers));
    if (!rc && names.twice)
        rc = pawl_fail(PAWL_EINVAL, "two layers are called '%s'", names.twice);
    for (int i = 0; i < count && !rc; i++)
        rc = check_layer(architecture, i, used, &names, &total);
    for (int i = 0; i < count - 1 && !rc; i++)
        if (!used[i])
            rc = pawl_layer_fail(&architecture->layers[i], "nothing takes its output");
    if (!rc) rc = check_loss(architecture);
    pawl_names_free(&names);
    return rc;
}
