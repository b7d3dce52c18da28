// pth_targets.c - the parameters of any document as tensors in torch's layout and names.

#include "checkpoint/formats/pth_targets.h"

#include <string.h>

#include "checkpoint/formats/pth_bind.h"

// What lies as pawl has it comes from what torch has by to_pawl; this is the way back.
static struct pawl_relayout turn_back(const struct pawl_relayout *to_pawl)
{
    struct pawl_relayout back = { .rank = to_pawl->rank };

    for (int i = 0; i < to_pawl->rank; i++) {
        back.dim[i] = to_pawl->dim[to_pawl->axis[i]];
        back.axis[to_pawl->axis[i]] = i;
    }
    return back;
}

bool pawl_pth_is_foreign(const struct pawl_document *document)
{
    if (!document->architecture || !document->weight_count) return false;
    if (!strncmp(document->format, "pth", 3) || !strcmp(document->format, "dcp")) return false;
    return !((!strcmp(document->format, "safetensors") || !strcmp(document->format, "npz"))
             && pawl_pth_is_native(document->architecture));
}

int pawl_pth_targets(struct pawl_bindings *out, const struct pawl_document *document)
{
    // Binding only says more about a document; what it holds stays as it is.
    struct pawl_document *bound = (struct pawl_document *)(uintptr_t)document;
    const struct pawl_architecture *architecture = document->architecture;
    struct pawl_param param[PAWL_PARAMS_MAX];
    struct pawl_relayout to_pawl, back;
    struct pawl_tensor shape;
    char name[PAWL_NAME_MAX + 32];
    int source = 0;

    int rc = pawl_document_bind(bound);
    for (int l = 0; l < architecture->layer_count && !rc; l++) {
        const int count = pawl_layer_params(architecture, l, param);
        for (int i = 0; i < count && !rc; i++, source++) {
            pawl_pth_name(name, &architecture->layers[l], param[i].suffix);
            pawl_pth_layout(architecture, l, &param[i], &shape, &to_pawl);
            back = turn_back(&to_pawl);
            rc = pawl_bindings_add(out, name, pawl_document_param_dtype(document, source),
                                   shape.rank, shape.dim);
            if (!rc) rc = pawl_bind_whole(out, source, back.rank ? &back : NULL);
        }
    }
    if (rc) pawl_bindings_free(out);
    return rc;
}
