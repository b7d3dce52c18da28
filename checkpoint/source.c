// source.c - presets and files under one name.

#include "checkpoint/source.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/binding.h"
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
    const int rc = document->weight_count ? pawl_document_bind(document) : 0;
    if (rc != PAWL_ECORRUPT) return rc;
    // Weights alone, in a neutral file, under the names that the second one has.
    bool same = false;
    const int like = pawl_document_bind_like(document, from, &same);
    return like ? like : same ? 0 : rc;
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
