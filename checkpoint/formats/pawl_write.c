// pawl_write.c - a document becomes a run with one committed snapshot, from which training goes on.

#include "checkpoint/formats/pawl_write.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/cast.h"
#include "checkpoint/commit.h"
#include "checkpoint/layout.h"
#include "checkpoint/native.h"
#include "checkpoint/text.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { SMALL_FILES_BYTES = 1 << 20, PAGE = 4096 };

struct writer {
    const struct pawl_document *document;
    const struct pawl_write_options *options;
    struct pawl_layout layout;
    struct pawl_text text;
    struct pawl_lease lease;
    struct pawl_manifest manifest;
    char *bytes;  // the shard, as it will lie on disk
    size_t room;
    unsigned char *sums;
};

// Only weights are cast: moments of another type would not go on as they were.
static enum pawl_dtype stored_as(const struct writer *w, const struct pawl_entry *entry,
                                 bool weight)
{
    return weight && w->options->cast && pawl_dtype_casts(entry->tensor.dtype)
               ? w->options->dtype
               : entry->tensor.dtype;
}

// The document's entries, weights first, as the layout numbers them.
static const struct pawl_entry *entry_at(const struct pawl_document *document, int i, bool *weight)
{
    const int beyond = i - document->weight_count;

    *weight = beyond < 0;
    return *weight ? &document->weights[i] : &document->training->tensors[beyond];
}

static int lay_out(struct writer *w)
{
    const struct pawl_document *document = w->document;
    const int count = document->weight_count
                      + (document->training ? document->training->tensor_count : 0);
    static char somewhere;  // the layout wants an address; the bytes come from the document
    bool weight;
    int rc = 0;

    for (int i = 0; i < count && !rc; i++) {
        const struct pawl_entry *entry = entry_at(document, i, &weight);
        rc = pawl_layout_add(&w->layout, entry->tensor.name, &somewhere,
                             stored_as(w, entry, weight), entry->tensor.rank, entry->tensor.dim);
    }
    return rc ? rc : pawl_layout_finish(&w->layout, "shard-00000.safetensors");
}

static int fetch_all(struct writer *w)
{
    void *pages = NULL;
    bool weight;

    w->room = (size_t)(w->layout.file_bytes + PAGE - 1) / PAGE * PAGE;
    int rc = pawl_pages_alloc(&pages, w->room, "the snapshot");
    w->bytes = pages;
    for (int i = 0; i < w->layout.part_count && !rc; i++) {
        const struct pawl_tensor *tensor = &w->layout.parts[i].tensor;
        const struct pawl_entry *entry = entry_at(w->document, i, &weight);
        rc = pawl_document_fetch_as(w->document, entry, 0, pawl_tensor_elements(tensor),
                                    tensor->dtype, w->bytes + tensor->offset_bytes);
    }
    return rc;
}

// ---- document.json

// The optimizer and the rest are one object, as the trainer wrote it.
static void write_training(struct pawl_text *text, const struct pawl_training *training)
{
    json_t *whole = NULL;

    if (training && (training->optimizer || training->rest)) {
        whole = training->rest ? json_copy(training->rest) : json_object();
        if (training->optimizer) json_object_set(whole, "optimizer", training->optimizer);
        if (!whole) text->rc = pawl_fail(PAWL_ENOMEM, "no memory for the training state");
    }
    pawl_text_json(text, whole);
    json_decref(whole);
}

static int write_document(struct writer *w)
{
    const struct pawl_training *training = w->document->training;
    struct pawl_text *text = &w->text;
    char *architecture = NULL;
    int rc = 0;

    if (w->document->architecture)
        rc = pawl_architecture_to_json(&architecture, w->document->architecture);
    if (rc) return rc;
    pawl_text_format(text, "{\"pawl\":1,\n\"step\":%llu,\n\"epoch\":",
                     training ? (unsigned long long)training->step : 0);
    if (training && training->epoch >= 0)
        pawl_text_format(text, "%lld", (long long)training->epoch);
    else
        pawl_text_format(text, "null");
    pawl_text_format(text, ",\n\"loss\":");
    pawl_text_number(text, training ? training->loss : (double)NAN);
    pawl_text_format(text, ",\n\"metric\":null,\n\"architecture\":%s,\n\"training\":",
                     architecture ? architecture : "null");
    write_training(text, training);
    pawl_text_format(text, ",\n\"metadata\":");
    pawl_text_json(text, w->document->metadata);
    pawl_text_format(text, ",\n\"tensors\":");
    pawl_text_add(text, w->layout.index.bytes, w->layout.index.size);
    pawl_text_format(text, "}\n");
    pawl_free(architecture);
    return text->rc;
}

// ---- the snapshot

static int commit(struct writer *w, const char *path)
{
    struct pawl_commit commit = { .where = path, .lease = &w->lease };
    struct pawl_receipt receipt;

    int rc = pawl_commit_begin(&commit, w->document->training ? w->document->training->step : 0,
                               w->layout.file_bytes + SMALL_FILES_BYTES);
    if (rc) return rc;
    const struct pawl_shard shard = { .attempt = commit.attempt, .ranks = 1, .bytes = w->bytes,
                                      .size_bytes = w->layout.file_bytes, .sums = w->sums };
    pawl_layout_identify(&w->layout, w->bytes, &commit.attempt);
    rc = pawl_shard_write(&receipt, commit.directory, &shard);
    if (!rc) rc = pawl_manifest_new(&w->manifest, 1);
    if (!rc) {
        w->manifest.epoch = w->document->training ? w->document->training->epoch : -1;
        w->manifest.metric = (double)NAN;
        rc = pawl_commit_finish(&commit, &w->manifest, &receipt, &w->text);
        if (!rc) pawl_commit_hint(&commit);
    }
    pawl_text_free(&commit.manifest);
    return rc;
}

static int write_run(const struct pawl_document *document, const char *path,
                     const struct pawl_write_options *options)
{
    struct writer w = { .document = document, .options = options, .lease = { .fd = -1 } };

    int rc = lay_out(&w);
    if (!rc) rc = fetch_all(&w);
    if (!rc) rc = write_document(&w);
    if (!rc) rc = pawl_alloc(&w.sums, pawl_sums_bytes(w.layout.file_bytes), "checksums");
    if (rc) goto out;
    const int made = pawl_io()->mkdir(path, 0777);
    rc = made ? pawl_io_fail(made, "create", path) : pawl_lease_take(&w.lease, path);
    if (!rc) rc = commit(&w, path);
out:
    pawl_lease_drop(&w.lease);
    pawl_manifest_free(&w.manifest);
    pawl_free(w.sums);
    pawl_pages_free(w.bytes, w.room);
    pawl_text_free(&w.text);
    pawl_layout_free(&w.layout);
    return rc;
}

int pawl_write_run(const struct pawl_document *document, const char *path,
                   const struct pawl_write_options *options)
{
    struct pawl_document *native = NULL;

    // Training goes on from a run: its tensors are the model's parameters, not the file's.
    if (!document->architecture || !document->weight_count || !strcmp(document->format, "pawl"))
        return write_run(document, path, options);
    int rc = pawl_document_native(&native, (struct pawl_document *)(uintptr_t)document);
    if (!rc) rc = write_run(native, path, options);
    pawl_document_free(native);
    return rc;
}
