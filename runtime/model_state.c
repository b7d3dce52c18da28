// model_state.c - a model's tensors and the outside: documents it takes values from, the saver that
// keeps them.

#include <stdio.h>
#include <string.h>

#include "checkpoint/run.h"
#include "runtime/model.h"
#include "runtime/upload.h"

// Shapes are one when they are equal after dropping dimensions of 1.
static bool fits(const struct pawl_tensor *a, const struct pawl_tensor *b)
{
    int i = 0, j = 0;

    for (;;) {
        while (i < a->rank && a->dim[i] == 1) i++;
        while (j < b->rank && b->dim[j] == 1) j++;
        if (i == a->rank || j == b->rank) return i == a->rank && j == b->rank;
        if (a->dim[i++] != b->dim[j++]) return false;
    }
}

static const struct pawl_entry *find(const struct pawl_entry *table, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(table[i].tensor.name, name)) return &table[i];
    return NULL;
}

struct tally {
    int match, missing, differ, total;
    char first[640];
};

static void note(struct tally *tally, const struct pawl_tensor *mine,
                 const struct pawl_tensor *theirs)
{
    char a[96], b[96];

    if (tally->first[0]) return;
    pawl_shape_text(a, sizeof(a), mine->rank, mine->dim);
    if (!theirs) {
        snprintf(tally->first, sizeof(tally->first), "tensor '%s' %s is missing", mine->name, a);
        return;
    }
    pawl_shape_text(b, sizeof(b), theirs->rank, theirs->dim);
    snprintf(tally->first, sizeof(tally->first), "tensor '%s' is %s %s in the model and %s %s in "
             "the file", mine->name, pawl_dtype_name(mine->dtype), a,
             pawl_dtype_name(theirs->dtype), b);
}

// Asks before anything is copied, so that a misfit changes nothing.
static int check(const struct pawl_model *model, const struct pawl_document *document)
{
    struct tally tally = { .total = model->tensor_count };

    for (int i = 0; i < model->tensor_count; i++) {
        const struct pawl_tensor *mine = &model->tensors[i];
        const struct pawl_entry *entry = find(document->weights, document->weight_count,
                                              mine->name);
        if (entry && fits(mine, &entry->tensor) && entry->tensor.dtype == PAWL_F32) {
            tally.match++;
            continue;
        }
        *(entry ? &tally.differ : &tally.missing) += 1;
        note(&tally, mine, entry ? &entry->tensor : NULL);
    }
    if (tally.match == tally.total) return 0;
    const int known = tally.match + tally.differ;
    return pawl_fail(PAWL_ECORRUPT, "%s: the weights do not fit: %s. %d of %d tensors match, %d "
                     "missing, %d of another shape or type, %d unexpected. try: pawl inspect %s",
                     document->path, tally.first, tally.match, tally.total, tally.missing,
                     tally.differ, document->weight_count - known, document->path);
}

// What is computed with was verified: a snapshot's tensors are read against its checksums first.
static int verify(const struct pawl_document *document)
{
    struct pawl_snapshot snapshot;

    if (strcmp(document->format, "pawl")) return 0;
    const int rc = pawl_snapshot_look(&snapshot, document->path);
    return rc ? rc : pawl_snapshot_verify(&snapshot);
}

int pawl_model_take(struct pawl_model *model, const struct pawl_document *document)
{
    struct pawl_upload upload = { 0 };
    int rc = check(model, document);

    if (!rc) rc = verify(document);
    if (!rc) rc = pawl_upload_open(&upload, model);
    for (int i = 0; !rc && i < model->tensor_count; i++) {
        rc = pawl_document_fetch(document, find(document->weights, document->weight_count,
                                                model->tensors[i].name),
                                 pawl_upload_at(&upload, model->param, i));
        if (!rc) rc = pawl_upload_send(&upload);
    }
    pawl_upload_close(&upload);
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

int pawl_model_take_moments(struct pawl_model *model, const struct pawl_document *document,
                            enum pawl_optimizer kind)
{
    const struct pawl_training *training = document->training;
    char name[PAWL_NAME_MAX + 1];
    struct pawl_upload upload;
    int moments = 0, found = 0, wanted;
    int rc = pawl_upload_open(&upload, model);

    while (moments < PAWL_MOMENTS_MAX && model->moment[moments]) moments++;
    wanted = moments * model->tensor_count;
    // All are looked for before the first is fetched: either every moment is taken or none.
    for (int n = 0; !rc && n < 2 * wanted; n++) {
        const int m = n % wanted / model->tensor_count, i = n % model->tensor_count;
        const struct pawl_entry *entry;

        rc = slot_name(name, sizeof(name), kind, m, model->tensors[i].name);
        if (rc) break;
        entry = training ? find(training->tensors, training->tensor_count, name) : NULL;
        if (n < wanted)
            found += entry && fits(&model->tensors[i], &entry->tensor)
                     && entry->tensor.dtype == PAWL_F32;
        else if (found == wanted) {
            rc = pawl_document_fetch(document, entry,
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
        for (int i = 0; !rc && i < model->tensor_count; i++) {
            rc = slot_name(name, sizeof(name), kind, m, model->tensors[i].name);
            if (!rc)
                rc = pawl_saver_add(saver, name, pawl_model_at(model, model->moment[m], i),
                                    PAWL_F32, model->tensors[i].rank, model->tensors[i].dim);
        }
    return rc;
}
