// source.c - presets and files under one name.

#include "checkpoint/source.h"

#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"

static int from_preset(struct pawl_document **out, const char *spec)
{
    struct pawl_architecture made = { 0 };
    struct pawl_document *document = NULL;

    int rc = pawl_architecture_preset(&made, spec);
    if (rc) return rc;
    rc = pawl_document_new(&document);
    if (!rc) rc = pawl_alloc(&document->architecture, sizeof(made), "an architecture");
    if (rc) {
        pawl_architecture_free(&made);
        pawl_document_free(document);
        return rc;
    }
    *document->architecture = made;
    snprintf(document->format, sizeof(document->format), "preset");
    snprintf(document->path, sizeof(document->path), "%s", spec);
    *out = document;
    return 0;
}

static int open_model(struct pawl_document **out, const char *model)
{
    char preset_words[512];
    struct stat of;

    if (!*model) return pawl_fail(PAWL_EINVAL, "MODEL is empty");
    int rc = from_preset(out, model);
    if (rc != PAWL_ENONE) return rc;
    snprintf(preset_words, sizeof(preset_words), "%s", pawl_error());
    rc = pawl_document_read(out, model);
    if (rc != PAWL_ENONE || strchr(model, '/') || pawl_io()->lstat(model, &of) == 0) return rc;
    // Neither: a name without a slash may have been meant as a preset.
    return pawl_fail(PAWL_ENONE, "%s: there is nothing by that name, and %s", model, preset_words);
}

// ---- do the weights fit

struct tally {
    int missing, fit;
    char first[600];  // what does not fit, of the first tensor
};

static void compare(struct tally *tally, const struct pawl_document *document,
                    const struct pawl_layer *layer, const struct pawl_param *param,
                    const char *arch)
{
    char name[PAWL_NAME_MAX + 1], mine[128], theirs[128];
    const struct pawl_entry *entry;

    snprintf(name, sizeof(name), "%s.%s", layer->name, param->suffix);
    entry = pawl_document_find(document, name);
    const bool same = entry && entry->tensor.rank == param->rank
                      && memcmp(entry->tensor.dim, param->dim, sizeof(param->dim)) == 0;
    tally->fit += same;
    tally->missing += !entry;
    if (same || tally->first[0]) return;
    pawl_shape_text(theirs, sizeof(theirs), param->rank, param->dim);
    if (entry)
        snprintf(tally->first, sizeof(tally->first), "tensor '%s' is %s %s, but %.100s needs %s",
                 name, pawl_dtype_name(entry->tensor.dtype),
                 pawl_shape_text(mine, sizeof(mine), entry->tensor.rank, entry->tensor.dim), arch,
                 theirs);
    else
        snprintf(tally->first, sizeof(tally->first), "it has no tensor '%s', which %.100s needs as "
                 "%s", name, arch, theirs);
}

// Every parameter of the architecture has its tensor, and no tensor is left over.
static int check_fit(const struct pawl_document *document, const char *arch)
{
    const struct pawl_architecture *architecture = document->architecture;
    struct pawl_param param[PAWL_PARAMS_MAX];
    struct tally tally = { 0 };

    if (!document->weight_count) return 0;
    for (int i = 0; i < architecture->layer_count; i++) {
        const int count = pawl_layer_params(architecture, i, param);
        for (int p = 0; p < count; p++)
            compare(&tally, document, &architecture->layers[i], &param[p], arch);
    }
    const int beyond = document->weight_count - tally.fit;
    if (!tally.first[0] && beyond)
        snprintf(tally.first, sizeof(tally.first), "%d tensors belong to no layer of %.100s",
                 beyond, arch);
    if (!tally.first[0]) return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s: %s (%d fit, %d are missing). try: pawl inspect %s",
                     document->path, tally.first, tally.fit, tally.missing, document->path);
}

// ---- both

static int take_architecture(struct pawl_document *document, struct pawl_document *from,
                             const char *arch)
{
    if (!from->architecture)
        return pawl_fail(PAWL_ECORRUPT, "%s holds no architecture either", arch);
    if (document->architecture)
        return pawl_architecture_match(document->architecture, document->path, from->architecture,
                                       arch);
    document->architecture = from->architecture;
    from->architecture = NULL;
    return check_fit(document, arch);
}

int pawl_source_open(struct pawl_document **out, const char *model, const char *arch)
{
    struct pawl_document *document = NULL, *second = NULL;

    int rc = open_model(&document, model);
    if (!rc && arch) rc = open_model(&second, arch);
    if (!rc && arch) rc = take_architecture(document, second, arch);
    pawl_document_free(second);
    if (rc)
        pawl_document_free(document);
    else
        *out = document;
    return rc;
}
