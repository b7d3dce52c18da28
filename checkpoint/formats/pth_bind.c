// pth_bind.c - weights of torch as parameters of pawl.

#include "checkpoint/formats/pth_bind.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/names.h"
#include "kernels/memory.h"

enum { NAME_ROOM = PAWL_NAME_MAX + 32 };

// ---- layouts

static bool is_conv(enum pawl_layer_kind kind)
{
    return kind >= PAWL_CONV1D && kind <= PAWL_CONV2D_TRANSPOSE;
}

bool pawl_pth_is_native(const struct pawl_architecture *architecture)
{
    bool conv = false;

    for (int i = 0; i < architecture->layer_count; i++) {
        conv |= is_conv(architecture->layers[i].kind);
        if (!strncmp(architecture->layers[i].name, "channels_last_", 14)) return true;
    }
    return !conv;
}

// The (height, width, channels) that a flatten before this layer takes; NULL: there is none, or
// what it takes was put channels first already.
static const struct pawl_shape *flattened(const struct pawl_architecture *architecture, int l)
{
    const struct pawl_layer *layer = &architecture->layers[l];

    while (layer->input_count == 1) {
        layer = &architecture->layers[layer->input[0]];
        if (layer->kind == PAWL_FLATTEN) {
            const struct pawl_layer *before = &architecture->layers[layer->input[0]];
            while (before->kind == PAWL_DROPOUT || before->kind == PAWL_ACTIVATE)
                before = &architecture->layers[before->input[0]];
            return before->kind != PAWL_PERMUTE && before->out.rank == 3 ? &before->out : NULL;
        }
        if (layer->kind != PAWL_DROPOUT && layer->kind != PAWL_ACTIVATE) return NULL;
    }
    return NULL;
}

// Hugging Face's GPT-2 keeps these (in, out).
static bool is_swapped(const struct pawl_architecture *architecture, const struct pawl_layer *layer)
{
    const char *last = strrchr(layer->name, '.');

    if (strcmp(architecture->name, "gpt2") || layer->kind != PAWL_DENSE || !last) return false;
    return !strcmp(last, ".c_attn") || !strcmp(last, ".c_proj") || !strcmp(last, ".c_fc");
}

void pawl_pth_layout(const struct pawl_architecture *architecture, int l,
                     const struct pawl_param *param, struct pawl_tensor *shape,
                     struct pawl_relayout *to_pawl)
{
    const struct pawl_layer *layer = &architecture->layers[l];
    const bool weight = !strcmp(param->suffix, "weight");
    const struct pawl_shape *image;
    int64_t dim[PAWL_RANK_MAX];
    int rank = param->rank;

    *to_pawl = (struct pawl_relayout){ 0 };
    memcpy(dim, param->dim, sizeof(param->dim));
    if (weight && is_conv(layer->kind)) {  // (out, kernel..., in) from (out, in, kernel...)
        dim[1] = param->dim[rank - 1];
        memcpy(dim + 2, param->dim + 1, sizeof(*dim) * (size_t)(rank - 2));
        static const int to_2d[] = { 0, 2, 3, 1 }, to_1d[] = { 0, 2, 1 };
        *to_pawl = pawl_relayout_of(rank, dim, rank == 4 ? to_2d : to_1d);
    } else if (weight && is_swapped(architecture, layer)) {
        dim[0] = param->dim[1];
        dim[1] = param->dim[0];
        *to_pawl = pawl_relayout_swap(dim[0], dim[1]);
    } else if (weight && layer->kind == PAWL_DENSE && (image = flattened(architecture, l))) {
        const int64_t view[] = { dim[0], image->dim[2], image->dim[0], image->dim[1] };
        static const int axis[] = { 0, 2, 3, 1 };
        if (image->dim[0] * image->dim[1] > 1 && image->dim[2] > 1)
            *to_pawl = pawl_relayout_of(4, view, axis);
    }
    shape->dtype = PAWL_F32;
    pawl_tensor_shape(shape, rank, dim);
}

// ---- names

void pawl_pth_name(char *text, const struct pawl_layer *layer, const char *suffix)
{
    static const char *const recurrent[][2] = { { "weight", "weight_ih_l0" },
                                                { "recurrent", "weight_hh_l0" },
                                                { "bias", "bias_ih_l0" },
                                                { "recurrent_bias", "bias_hh_l0" } };
    const size_t length = strlen(layer->name);

    for (int i = 0; layer->kind >= PAWL_LSTM && layer->kind <= PAWL_SIMPLE_RNN && i < 4; i++)
        if (!strcmp(recurrent[i][0], suffix)) suffix = recurrent[i][1];
    if (length > 8 && !strcmp(layer->name + length - 8, ".in_proj"))
        snprintf(text, NAME_ROOM, "%s_%s", layer->name, suffix);
    else if (!strcmp(layer->name, "model"))  // the only module of a file: no name of its own
        snprintf(text, NAME_ROOM, "%s", suffix);
    else
        snprintf(text, NAME_ROOM, "%s.%s", layer->name, suffix);
}

// What the model has and the file has not, and the other way round.
static const char *const model_prefixes[] = { "", "module.", "_orig_mod.", "transformer.",
                                              "model." };
static const char *const file_prefixes[] = {
    "", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.",
    "transformer.", "model.module.", "model._orig_mod.", "model.transformer.", "model.model.",
    "net.",
};

struct binder {
    const struct pawl_document *document;
    struct pawl_names names;  // of the weights
    const char *mine, *theirs;
    bool *used;
    struct pawl_fit fit;
};

static int find(const struct binder *b, const char *name)
{
    const size_t length = strlen(b->mine);
    char full[2 * NAME_ROOM];

    if (!strncmp(name, b->mine, length)) name += length;
    snprintf(full, sizeof(full), "%s%s", b->theirs, name);
    return pawl_names_find(&b->names, full);
}

static int count_found(const struct binder *b)
{
    const struct pawl_architecture *architecture = b->document->architecture;
    struct pawl_param param[PAWL_PARAMS_MAX];
    char name[NAME_ROOM];
    int found = 0;

    for (int l = 0; l < architecture->layer_count; l++) {
        const int count = pawl_layer_params(architecture, l, param);
        for (int i = 0; i < count; i++) {
            pawl_pth_name(name, &architecture->layers[l], param[i].suffix);
            found += find(b, name) >= 0;
        }
    }
    return found;
}

static void choose_prefixes(struct binder *b)
{
    const char *mine = "", *theirs = "";
    int best = -1;

    for (size_t i = 0; i < sizeof(model_prefixes) / sizeof(*model_prefixes); i++)
        for (size_t k = 0; k < sizeof(file_prefixes) / sizeof(*file_prefixes); k++) {
            b->mine = model_prefixes[i];
            b->theirs = file_prefixes[k];
            const int found = count_found(b);
            if (found <= best) continue;
            best = found;
            mine = b->mine;
            theirs = b->theirs;
        }
    b->mine = mine;
    b->theirs = theirs;
}

// ---- binding

static int bind_param(struct binder *b, struct pawl_bindings *out, int l,
                      const struct pawl_param *param)
{
    const struct pawl_architecture *architecture = b->document->architecture;
    const struct pawl_layer *layer = &architecture->layers[l];
    struct pawl_relayout relayout;
    struct pawl_tensor wanted;
    char name[NAME_ROOM];

    pawl_pth_name(name, layer, param->suffix);
    const int w = find(b, name);
    pawl_pth_layout(architecture, l, param, &wanted, &relayout);
    snprintf(wanted.name, sizeof(wanted.name), "%.239s.%.15s", layer->name, param->suffix);
    int rc = pawl_bindings_add(out, wanted.name, PAWL_F32, param->rank, param->dim);
    if (w >= 0) b->used[w] = true;
    if (rc || !pawl_fit_note(&b->fit, &wanted, w < 0 ? NULL : &b->document->weights[w])) return rc;
    rc = pawl_bind_whole(out, w, relayout.rank ? &relayout : NULL);
    // A model with one bias of its own takes the sum of torch's two.
    if (rc || layer->kind < PAWL_LSTM || layer->kind > PAWL_SIMPLE_RNN
        || strcmp(param->suffix, "bias") || layer->rnn.recurrent_bias)
        return rc;
    pawl_pth_name(name, layer, "recurrent_bias");
    const int second = find(b, name);
    if (second < 0) return 0;
    b->used[second] = true;
    struct pawl_bound part = out->items[out->count - 1].parts[0];
    part.source = second;
    part.add = true;
    return pawl_bind_part(out, &part);
}

static bool ends_in(const char *name, const char *end)
{
    const size_t length = strlen(name), size = strlen(end);

    return length >= size && !strcmp(name + length - size, end);
}

// What files hold beside parameters: counters, masks and tables that follow from the model.
static bool is_idle(const struct binder *b, int w)
{
    static const char *const ends[] = { "num_batches_tracked", ".attn.bias", ".attn.masked_bias",
                                        ".rotary_emb.inv_freq", "position_ids" };
    const struct pawl_architecture *architecture = b->document->architecture;
    const char *name = b->document->weights[w].tensor.name;
    char tied[NAME_ROOM];

    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        if (ends_in(name, ends[i])) return true;
    for (int l = 0; l < architecture->layer_count; l++) {
        const struct pawl_layer *layer = &architecture->layers[l];
        if (layer->kind != PAWL_DENSE || !layer->dense.tied[0]) continue;
        pawl_pth_name(tied, layer, "weight");
        // Some save the head beside the table that it is, under its own name.
        if (find(b, tied) == w || ends_in(name, tied)) return true;
    }
    return false;
}

static int bind_all(struct binder *b, struct pawl_bindings *out)
{
    const struct pawl_architecture *architecture = b->document->architecture;
    struct pawl_param param[PAWL_PARAMS_MAX];
    int unexpected = 0, first = 0, rc = 0;

    choose_prefixes(b);
    for (int l = 0; l < architecture->layer_count && !rc; l++) {
        const int count = pawl_layer_params(architecture, l, param);
        for (int i = 0; i < count && !rc; i++)
            rc = bind_param(b, out, l, &param[i]);
    }
    for (int w = b->document->weight_count - 1; !rc && w >= 0; w--)
        if (!b->used[w] && !is_idle(b, w)) {
            unexpected++;
            first = w;
        }
    return rc ? rc : pawl_fit_end(&b->fit, b->document, unexpected,
                                  unexpected ? b->document->weights[first].tensor.name : "");
}

// Files of torch always; others when the model is torch's, or laid out no other way.
static bool applies(const struct pawl_document *document)
{
    if (!strncmp(document->format, "pth", 3) || !strcmp(document->format, "dcp")) return true;
    return (!strcmp(document->format, "safetensors") || !strcmp(document->format, "npz"))
           && pawl_pth_is_native(document->architecture);
}

int pawl_pth_bind(struct pawl_bindings *out, const struct pawl_document *document, int *fit)
{
    struct binder b = { .document = document };

    *fit = -1;
    if (!applies(document) || !document->weight_count)
        return pawl_fail(PAWL_ECORRUPT, "%s: it is not laid out as torch does", document->path);
    int rc = pawl_names_build(&b.names, document->weight_count, document->weights[0].tensor.name,
                              sizeof(*document->weights));
    if (!rc)
        rc = pawl_alloc(&b.used, sizeof(*b.used) * (size_t)document->weight_count, "a binding");
    if (!rc) rc = bind_all(&b, out);
    *fit = b.fit.match;
    pawl_names_free(&b.names);
    pawl_free(b.used);
    return rc;
}
