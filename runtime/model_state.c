// model_state.c - a model's tensors and the outside: documents it takes values from, the saver that
// keeps them.

#include <stdio.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "runtime/model.h"
#include "runtime/upload.h"

// The document may come with its own architecture: its parameters must be the model's.
static int same_tensors(const struct pawl_model *model, const struct pawl_document *document)
{
    char a[96], b[96];

    for (int i = 0; i < model->tensor_count; i++) {
        const struct pawl_tensor *mine = &model->tensors[i];
        const int at = pawl_bindings_find(document->bindings, mine->name);
        if (at < 0)
            return pawl_fail(PAWL_ECORRUPT, "%s: it has no parameter '%s'", document->path,
                             mine->name);
        const struct pawl_tensor *theirs = &document->bindings->items[at].tensor;
        if (mine->rank == theirs->rank && !memcmp(mine->dim, theirs->dim, sizeof(mine->dim)))
            continue;
        return pawl_fail(PAWL_ECORRUPT, "%s: '%s' is %s in the model and %s in the file",
                         document->path, mine->name,
                         pawl_shape_text(a, sizeof(a), mine->rank, mine->dim),
                         pawl_shape_text(b, sizeof(b), theirs->rank, theirs->dim));
    }
    return 0;
}

int pawl_model_take(struct pawl_model *model, struct pawl_document *document)
{
    struct pawl_upload upload = { 0 };
    int rc = pawl_document_bind(document);

    if (!rc) rc = same_tensors(model, document);
    if (!rc) rc = pawl_document_verify(document);
    if (!rc) rc = pawl_upload_open(&upload, model);
    for (int i = 0; !rc && i < model->tensor_count; i++) {
        rc = pawl_document_fetch_param(document,
                                       pawl_bindings_find(document->bindings,
                                                          model->tensors[i].name), NULL, PAWL_F32,
                                       pawl_upload_at(&upload, model->param, i));
        if (!rc) rc = pawl_upload_send(&upload);
    }
    pawl_upload_close(&upload);
    model->stale = true;
    return rc;
}

static int slot_name(char *out, size_t size, enum pawl_optimizer kind, int moment,
                     const char *weight)
{
    if (snprintf(out, size, "optimizer.%s.%s", pawl_optimizer_slot(kind, moment), weight)
        < (int)size)
        return 0;
    return pawl_fail(PAWL_EINVAL, "tensor name '%.64s...' is too long", weight);
}

int pawl_model_take_moments(struct pawl_model *model, struct pawl_document *document,
                            enum pawl_optimizer kind)
{
    struct pawl_upload upload = { 0 };
    int moments = 0, found = 0, wanted;

    int rc = pawl_document_bind(document);
    if (!rc) rc = same_tensors(model, document);
    if (!rc) rc = pawl_upload_open(&upload, model);
    while (moments < PAWL_MOMENTS_MAX && model->moment[moments]) moments++;
    wanted = moments * model->trained_count;
    // All are looked for before the first is fetched: either every moment is taken or none.
    for (int n = 0; !rc && n < 2 * wanted; n++) {
        const int m = n % wanted / model->trained_count, i = n % model->trained_count;
        const char *slot = pawl_optimizer_slot(kind, m);
        const int param = pawl_bindings_find(document->bindings, model->tensors[i].name);

        if (n < wanted)
            found += pawl_document_has_slot(document, param, slot);
        else if (found == wanted) {
            rc = pawl_document_fetch_param(document, param, slot, PAWL_F32,
                                           pawl_upload_at(&upload, model->moment[m], i));
            if (!rc) rc = pawl_upload_send(&upload);
        }
    }
    pawl_upload_close(&upload);
    if (!rc && found != wanted)
        return pawl_fail(found ? PAWL_ECORRUPT : PAWL_ENONE, "%s: %d of %d optimizer tensors are "
                         "there. try: --take weights", document->path, found, wanted);
    return rc;
}

int pawl_model_register(struct pawl_model *model, struct pawl_saver *saver,
                        enum pawl_optimizer kind)
{
    char name[PAWL_NAME_MAX + 1];
    int rc = 0;

    for (int i = 0; !rc && i < model->tensor_count; i++)
        rc = pawl_saver_add(saver, model->tensors[i].name, pawl_model_at(model, model->param, i),
                            PAWL_F32, model->tensors[i].rank, model->tensors[i].dim);
    for (int m = 0; m < PAWL_MOMENTS_MAX && model->moment[m]; m++)
        for (int i = 0; !rc && i < model->trained_count; i++) {
            rc = slot_name(name, sizeof(name), kind, m, model->tensors[i].name);
            if (!rc)
                rc = pawl_saver_add(saver, name, pawl_model_at(model, model->moment[m], i),
                                    PAWL_F32, model->tensors[i].rank, model->tensors[i].dim);
        }
    return rc;
}
