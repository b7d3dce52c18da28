// pth_put.c - tensors and archives of torch.

#include "checkpoint/formats/pth_put.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/cast.h"
#include "checkpoint/containers/zip.h"
#include "checkpoint/formats/pth_file.h"
#include "kernels/memory.h"

enum { CHUNK_BYTES = 4 << 20 };

void pawl_pth_create(struct pawl_pth_writer *w, const struct pawl_document *document,
                     const struct pawl_write_options *options)
{
    *w = (struct pawl_pth_writer){ .document = document, .cast = options->cast,
                                   .dtype = options->dtype };
    pawl_pk_begin(&w->text);
}

void pawl_pth_abandon(struct pawl_pth_writer *w)
{
    pawl_text_free(&w->text);
    pawl_free(w->stored);
    pawl_free(w->sorted);
    w->stored = NULL;
    w->sorted = NULL;
}

// ---- storages

// By the single piece that a tensor has; others are never shared.
static int compare(const struct pawl_pth_stored *a, const struct pawl_pth_stored *b)
{
    const struct pawl_piece *x = a->entry->pieces, *y = b->entry->pieces;

    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    if (x->offset_bytes != y->offset_bytes) return x->offset_bytes < y->offset_bytes ? -1 : 1;
    if (x->size_bytes != y->size_bytes) return x->size_bytes < y->size_bytes ? -1 : 1;
    return (int)a->dtype - (int)b->dtype;
}

static int append(struct pawl_pth_writer *w, const struct pawl_pth_stored *stored)
{
    const int n = w->stored_count;
    int rc = 0;

    if ((n & (n - 1)) == 0)
        rc = pawl_realloc(&w->stored, sizeof(*w->stored) * (n ? 2 * (size_t)n : 1), "storages");
    if (!rc && (n & (n - 1)) == 0)
        rc = pawl_realloc(&w->sorted, sizeof(*w->sorted) * (n ? 2 * (size_t)n : 1), "storages");
    if (!rc) w->stored[w->stored_count++] = *stored;
    return rc;
}

// The number of the storage for *stored, a new one or one over the same bytes.
static int number_of(struct pawl_pth_writer *w, const struct pawl_pth_stored *stored)
{
    int low = 0, high = w->sorted_count;

    if (!stored->entry || stored->entry->piece_count != 1 || !stored->entry->tensor.size_bytes) {
        if (append(w, stored)) w->text.rc = PAWL_ENOMEM;
        return w->stored_count - 1;
    }
    while (low < high) {
        const int middle = low + (high - low) / 2;
        const int order = compare(&w->stored[w->sorted[middle]], stored);
        if (order == 0) return w->sorted[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (append(w, stored)) {
        w->text.rc = PAWL_ENOMEM;
        return 0;
    }
    // Tensors mostly come in the order in which they lie: little is moved.
    memmove(w->sorted + low + 1, w->sorted + low, sizeof(int) * (size_t)(w->sorted_count - low));
    w->sorted[low] = w->stored_count - 1;
    w->sorted_count++;
    return w->stored_count - 1;
}

// ---- tensors in the pickle

static void put_rebuild(struct pawl_pth_writer *w, const struct pawl_pth_stored *stored, int rank,
                        const int64_t *dim)
{
    const char *class = pawl_pth_storage_name(stored->dtype);
    const size_t element = pawl_dtype_bytes(stored->dtype);
    int64_t stride[PAWL_RANK_MAX], count = 1;
    struct pawl_text *t = &w->text;
    char name[64], key[16];

    for (int i = rank - 1; i >= 0; i--) {
        stride[i] = count;
        count *= dim[i] ? dim[i] : 1;
    }
    for (int i = 0; i < rank; i++)
        if (!dim[i]) count = 0;
    snprintf(key, sizeof(key), "%d", number_of(w, stored));
    pawl_pk_global(t, class ? "torch._utils _rebuild_tensor_v2"
                            : "torch._utils _rebuild_tensor_v3");
    pawl_pk_op(t, "((");
    pawl_pk_string(t, "storage");
    snprintf(name, sizeof(name), "torch %s", class ? class : "");
    pawl_pk_global(t, class ? name : "torch.storage UntypedStorage");
    pawl_pk_string(t, key);
    pawl_pk_string(t, "cpu");
    pawl_pk_integer(t, class ? count : count * (int64_t)element);
    pawl_pk_op(t, "tQ");
    pawl_pk_integer(t, 0);
    pawl_pk_tuple(t, rank, dim);
    pawl_pk_tuple(t, rank, stride);
    pawl_pk_bool(t, false);
    pawl_pk_ordered_dict(t);
    if (!class) {
        snprintf(name, sizeof(name), "torch %s", pawl_dtype_name(stored->dtype));
        pawl_pk_global(t, name);
    }
    pawl_pk_op(t, "tR");
}

static void put_kind(struct pawl_pth_writer *w, struct pawl_pth_stored *stored,
                     const struct pawl_tensor *tensor, enum pawl_pth_kind kind)
{
    const bool cast = w->cast && kind != PAWL_PTH_MOMENT && pawl_dtype_casts(tensor->dtype);

    stored->dtype = cast ? w->dtype : tensor->dtype;
    if (kind == PAWL_PTH_PARAMETER) {
        pawl_pk_global(&w->text, "torch._utils _rebuild_parameter");
        pawl_pk_op(&w->text, "(");
    }
    put_rebuild(w, stored, tensor->rank, tensor->dim);
    if (kind == PAWL_PTH_PARAMETER) {
        pawl_pk_bool(&w->text, true);
        pawl_pk_ordered_dict(&w->text);
        pawl_pk_op(&w->text, "tR");
    }
}

void pawl_pth_put_tensor(struct pawl_pth_writer *w, const struct pawl_entry *entry,
                         enum pawl_pth_kind kind)
{
    struct pawl_pth_stored stored = { .entry = entry };

    put_kind(w, &stored, &entry->tensor, kind);
}

void pawl_pth_put_target(struct pawl_pth_writer *w, const struct pawl_binding *target,
                         const char *slot, enum pawl_pth_kind kind)
{
    struct pawl_pth_stored stored = { .target = target, .slot = slot };
    struct pawl_tensor tensor = target->tensor;

    if (slot) tensor.dtype = PAWL_F32;
    put_kind(w, &stored, &tensor, kind);
}

void pawl_pth_put_scalar(struct pawl_pth_writer *w, int64_t value, enum pawl_dtype dtype)
{
    const struct pawl_pth_stored stored = { .dtype = dtype, .scalar = value };

    put_rebuild(w, &stored, 0, NULL);
}

// ---- the archive

static int put_scalar(struct pawl_zip_writer *zip, const char *name,
                      const struct pawl_pth_stored *stored)
{
    const float real = (float)stored->scalar;
    const bool is_real = stored->dtype == PAWL_F32;

    return pawl_zip_add(zip, name, is_real ? (const void *)&real : &stored->scalar,
                        is_real ? sizeof(real) : sizeof(stored->scalar));
}

// Whole, in memory: its elements come from anywhere in their sources.
static int put_target(struct pawl_pth_writer *w, struct pawl_zip_writer *zip, const char *name,
                      const struct pawl_pth_stored *stored)
{
    const struct pawl_tensor *tensor = &stored->target->tensor;
    const size_t size = tensor->size_bytes / pawl_dtype_bytes(tensor->dtype)
                        * pawl_dtype_bytes(stored->dtype);
    void *whole = NULL;

    int rc = pawl_alloc(&whole, size, "a tensor");
    if (!rc)
        rc = pawl_document_fetch_target(w->document, stored->target, stored->slot, stored->dtype,
                                        whole);
    if (!rc) rc = pawl_zip_add(zip, name, whole, size);
    pawl_free(whole);
    return rc;
}

static int put_storage(struct pawl_pth_writer *w, struct pawl_zip_writer *zip, int i, char *chunk)
{
    const struct pawl_pth_stored *stored = &w->stored[i];
    const struct pawl_entry *entry = stored->entry;
    const size_t element = pawl_dtype_bytes(stored->dtype);
    char name[64];

    snprintf(name, sizeof(name), "archive/data/%d", i);
    if (stored->target) return put_target(w, zip, name, stored);
    if (!entry) return put_scalar(zip, name, stored);
    const int64_t count = (int64_t)(entry->tensor.size_bytes
                                    / pawl_dtype_bytes(entry->tensor.dtype));
    const int64_t most = CHUNK_BYTES / (int64_t)element;
    int rc = pawl_zip_begin(zip, name, (uint64_t)count * element);
    for (int64_t done = 0; done < count && !rc; done += most) {
        const int64_t now = count - done < most ? count - done : most;
        rc = pawl_document_fetch_as(w->document, entry, done, now, stored->dtype, chunk);
        if (!rc) rc = pawl_zip_put(zip, chunk, (size_t)now * element);
    }
    return rc ? rc : pawl_zip_end(zip);
}

int pawl_pth_finish(struct pawl_pth_writer *w, int fd, const char *path, uint64_t base,
                    uint64_t *bytes)
{
    struct pawl_zip_writer zip;
    char *chunk = NULL;

    pawl_pk_op(&w->text, ".");
    pawl_zip_create(&zip, fd, path, base);
    int rc = pawl_text_check(&w->text);
    if (!rc) rc = pawl_alloc(&chunk, CHUNK_BYTES, "a chunk");
    if (!rc) rc = pawl_zip_add(&zip, "archive/data.pkl", w->text.bytes, w->text.size);
    if (!rc) rc = pawl_zip_add(&zip, "archive/byteorder", "little", 6);
    for (int i = 0; i < w->stored_count && !rc; i++)
        rc = put_storage(w, &zip, i, chunk);
    if (!rc) rc = pawl_zip_add(&zip, "archive/version", "3\n", 2);
    if (rc)
        pawl_zip_abandon(&zip);
    else
        rc = pawl_zip_finish(&zip, bytes);
    pawl_free(chunk);
    pawl_pth_abandon(w);
    return rc;
}
