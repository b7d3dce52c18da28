// binding.c - tables of targets and parts, the binders, and the words of a misfit.

#include "checkpoint/binding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/cast.h"
#include "checkpoint/formats/keras_read.h"
#include "checkpoint/formats/pth_bind.h"
#include "kernels/memory.h"

// ---- tables

void pawl_bindings_free(struct pawl_bindings *bindings)
{
    for (int i = 0; i < bindings->count; i++)
        pawl_free(bindings->items[i].parts);
    pawl_free(bindings->items);
    *bindings = (struct pawl_bindings){ 0 };
}

int pawl_bindings_add(struct pawl_bindings *bindings, const char *name, enum pawl_dtype dtype,
                      int rank, const int64_t *dim)
{
    struct pawl_binding added = { .tensor.dtype = dtype };

    if (bindings->count >= PAWL_TENSORS_MAX)
        return pawl_fail(PAWL_ECORRUPT, "more than %d tensors", PAWL_TENSORS_MAX);
    if (snprintf(added.tensor.name, sizeof(added.tensor.name), "%s", name)
        >= (int)sizeof(added.tensor.name))
        return pawl_fail(PAWL_EINVAL, "tensor name '%.64s...' is too long", name);
    int rc = pawl_tensor_shape(&added.tensor, rank, dim);
    if (!rc && (bindings->count & (bindings->count - 1)) == 0)  // at each power of two
        rc = pawl_realloc(&bindings->items,
                          sizeof(added) * (bindings->count ? 2 * (size_t)bindings->count : 1),
                          "bindings");
    if (!rc) bindings->items[bindings->count++] = added;
    return rc;
}

int pawl_bind_part(struct pawl_bindings *bindings, const struct pawl_bound *part)
{
    struct pawl_binding *last = &bindings->items[bindings->count - 1];

    const int rc = pawl_realloc(&last->parts, sizeof(*part) * ((size_t)last->part_count + 1),
                                "a binding");
    if (!rc) last->parts[last->part_count++] = *part;
    return rc;
}

int pawl_bind_whole(struct pawl_bindings *bindings, int source,
                    const struct pawl_relayout *relayout)
{
    struct pawl_bound part = { .source = source, .scale = 1 };

    part.count = pawl_tensor_elements(&bindings->items[bindings->count - 1].tensor);
    if (relayout) part.relayout = *relayout;
    return pawl_bind_part(bindings, &part);
}

int pawl_bindings_find(const struct pawl_bindings *bindings, const char *name)
{
    for (int i = 0; i < bindings->count; i++)
        if (!strcmp(bindings->items[i].tensor.name, name)) return i;
    return -1;
}

int pawl_bindings_params(struct pawl_bindings *out, const struct pawl_architecture *architecture)
{
    struct pawl_param param[PAWL_PARAMS_MAX];
    char name[PAWL_NAME_MAX + 1];
    int rc = 0;

    for (int l = 0; !rc && l < architecture->layer_count; l++) {
        const int count = pawl_layer_params(architecture, l, param);
        for (int i = 0; !rc && i < count; i++) {
            snprintf(name, sizeof(name), "%.239s.%.15s", architecture->layers[l].name,
                     param[i].suffix);
            rc = pawl_bindings_add(out, name, PAWL_F32, param[i].rank, param[i].dim);
        }
    }
    return rc;
}

// ---- the words of a misfit

// Shapes are one when they are equal after dropping dimensions of 1.
static bool same_shape(const struct pawl_tensor *a, const struct pawl_tensor *b)
{
    int i = 0, j = 0;

    for (;;) {
        while (i < a->rank && a->dim[i] == 1) i++;
        while (j < b->rank && b->dim[j] == 1) j++;
        if (i == a->rank || j == b->rank) return i == a->rank && j == b->rank;
        if (a->dim[i++] != b->dim[j++]) return false;
    }
}

static int by_size(const void *a, const void *b)
{
    const int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;

    return (p > q) - (p < q);
}

static const char *likely(const struct pawl_tensor *mine, const struct pawl_tensor *theirs)
{
    int64_t a[PAWL_RANK_MAX], b[PAWL_RANK_MAX];

    if (!pawl_dtype_casts(theirs->dtype)) return " (not a floating type)";
    if (mine->rank != theirs->rank || mine->rank < 2) return "";
    memcpy(a, mine->dim, sizeof(a));
    memcpy(b, theirs->dim, sizeof(b));
    qsort(a, (size_t)mine->rank, sizeof(*a), by_size);
    qsort(b, (size_t)mine->rank, sizeof(*b), by_size);
    if (memcmp(a, b, sizeof(*a) * (size_t)mine->rank)) return "";
    return mine->rank == 2 ? " (transposed?)" : " (axes in another order: NHWC against NCHW?)";
}

bool pawl_fit_note(struct pawl_fit *fit, const struct pawl_tensor *wanted,
                   const struct pawl_entry *found)
{
    const char *dot = strrchr(wanted->name, '.');
    const int layer = dot ? (int)(dot - wanted->name) : 0;
    char a[96], b[96];

    const bool fits = found && same_shape(wanted, &found->tensor)
                      && pawl_dtype_casts(found->tensor.dtype);
    fit->match += fits;
    fit->missing += !found;
    fit->differ += found && !fits;
    if (fits || fit->first[0]) return fits;
    pawl_shape_text(a, sizeof(a), wanted->rank, wanted->dim);
    if (!found) {
        snprintf(fit->first, sizeof(fit->first), "layer '%.*s': tensor '%s' %s is missing", layer,
                 wanted->name, wanted->name, a);
        return false;
    }
    pawl_shape_text(b, sizeof(b), found->tensor.rank, found->tensor.dim);
    snprintf(fit->first, sizeof(fit->first), "layer '%.*s': tensor '%s' is %s %s in the model and "
             "%s %s in the file%s", layer, wanted->name, wanted->name,
             pawl_dtype_name(wanted->dtype), a, pawl_dtype_name(found->tensor.dtype), b,
             likely(wanted, &found->tensor));
    return false;
}

int pawl_fit_end(const struct pawl_fit *fit, const struct pawl_document *document, int unexpected,
                 const char *unexpected_name)
{
    char first[768];

    if (!fit->missing && !fit->differ && !unexpected) return 0;
    snprintf(first, sizeof(first), "%s", fit->first);
    if (!first[0])
        snprintf(first, sizeof(first), "tensor '%s' belongs to no layer of the model (one layer "
                 "more?)", unexpected_name);
    return pawl_fail(PAWL_ECORRUPT, "%s: the weights do not fit: %s. %d of %d tensors match, %d "
                     "missing, %d of another shape or type, %d unexpected. try: pawl inspect %s",
                     document->path, first, fit->match, fit->match + fit->missing + fit->differ,
                     fit->missing, fit->differ, unexpected, document->path);
}

// ---- binders

// pawl's own: parameters by their names, in pawl's layout.
static int bind_by_name(struct pawl_bindings *out, const struct pawl_document *document,
                        int *found)
{
    struct pawl_fit fit = { 0 };
    char *used = NULL;

    int rc = pawl_bindings_params(out, document->architecture);
    if (!rc) rc = pawl_alloc(&used, (size_t)document->weight_count + 1, "names of weights");
    struct pawl_bindings all = *out;
    out->count = 0;  // parts go to the last one: the targets are counted up again
    for (int i = 0, w = 0; !rc && i < all.count; i++, out->count = i) {
        const struct pawl_tensor *wanted = &all.items[i].tensor;
        int tried = 0;
        for (; tried < document->weight_count; tried++, w = (w + 1) % document->weight_count)
            if (!strcmp(document->weights[w].tensor.name, wanted->name)) break;
        const bool here = tried < document->weight_count;
        if (here) used[w] = 1;
        out->count = i + 1;
        if (pawl_fit_note(&fit, wanted, here ? &document->weights[w] : NULL))
            rc = pawl_bind_whole(out, w, NULL);
    }
    out->count = all.count;
    int unexpected = 0, first = 0;
    for (int w = document->weight_count - 1; !rc && w >= 0; w--)
        if (!used[w]) {
            unexpected++;
            first = w;
        }
    pawl_free(used);
    *found = fit.match;
    return rc ? rc : pawl_fit_end(&fit, document, unexpected,
                                  unexpected ? document->weights[first].tensor.name : "");
}

static const struct pawl_binder binders[] = {
    { "torch", pawl_pth_bind },
    { "pawl", bind_by_name },
    { "keras", pawl_keras_binder },
};

enum { BINDERS = sizeof(binders) / sizeof(*binders) };

int pawl_document_bind(struct pawl_document *document)
{
    char words[1024] = "";
    int best = -1;

    if (document->bindings) return 0;
    if (!document->architecture)
        return pawl_fail(PAWL_EINVAL, "%s: it holds no architecture. try: --arch MODEL",
                         document->path);
    for (int i = 0; i < BINDERS; i++) {
        struct pawl_bindings bindings = { 0 };
        int fit = 0;
        int rc = binders[i].bind(&bindings, document, &fit);
        if (!rc) rc = pawl_alloc(&document->bindings, sizeof(bindings), "bindings");
        if (!rc) {
            *document->bindings = bindings;
            return 0;
        }
        pawl_bindings_free(&bindings);
        if (rc != PAWL_ECORRUPT) return rc;
        if (fit <= best) continue;
        best = fit;
        snprintf(words, sizeof(words), "%s", pawl_error());
    }
    return pawl_fail(PAWL_ECORRUPT, "%s", words);
}

// The weight of that name and shape, or -1.
static int same_weight(const struct pawl_document *document, const struct pawl_tensor *tensor)
{
    for (int i = 0; i < document->weight_count; i++) {
        const struct pawl_tensor *mine = &document->weights[i].tensor;
        if (!strcmp(mine->name, tensor->name))
            return mine->rank == tensor->rank && !memcmp(mine->dim, tensor->dim, sizeof(mine->dim))
                       ? i : -1;
    }
    return -1;
}

static int copy_binding(struct pawl_bindings *out, const struct pawl_binding *from,
                        const int *place)
{
    int rc = pawl_bindings_add(out, from->tensor.name, from->tensor.dtype, from->tensor.rank,
                               from->tensor.dim);

    for (int p = 0; !rc && p < from->part_count; p++) {
        struct pawl_bound part = from->parts[p];
        if (part.source != PAWL_ZEROS) part.source = place[part.source];
        rc = pawl_bind_part(out, &part);
    }
    return rc;
}

int pawl_document_bind_like(struct pawl_document *document, const struct pawl_document *like,
                            bool *same)
{
    struct pawl_bindings bindings = { 0 };
    int *place = NULL;

    *same = false;
    if (document->bindings || !like->bindings || like->weight_count != document->weight_count)
        return 0;
    int rc = pawl_alloc(&place, sizeof(*place) * ((size_t)like->weight_count + 1), "places");
    *same = !rc;
    for (int i = 0; *same && i < like->weight_count; i++) {
        place[i] = same_weight(document, &like->weights[i].tensor);
        *same = place[i] >= 0;
    }
    for (int i = 0; !rc && *same && i < like->bindings->count; i++)
        rc = copy_binding(&bindings, &like->bindings->items[i], place);
    if (!rc && *same) rc = pawl_alloc(&document->bindings, sizeof(bindings), "bindings");
    if (!rc && *same)
        *document->bindings = bindings;
    else
        pawl_bindings_free(&bindings);
    pawl_free(place);
    return rc;
}
