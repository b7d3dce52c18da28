// pawl.c - the format `pawl`: a run directory (its newest whole snapshot) or one snapshot.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/formats.h"
#include "checkpoint/formats/keras_read.h"
#include "checkpoint/formats/pawl_write.h"
#include "checkpoint/names.h"
#include "checkpoint/recover.h"
#include "checkpoint/run.h"
#include "checkpoint/text.h"
#include "kernels/memory.h"

static bool detect(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    (void)head;
    (void)head_bytes;
    return directory && (pawl_snapshot_is(path) || pawl_run_is(path));
}

// ---- tensors

struct reader {
    struct pawl_document *document;
    const char *path;  // the snapshot's directory
    const struct pawl_manifest *manifest;
    int first_file;  // index of rank 0's shard; the other ranks' follow
};

static int corrupt(const struct reader *r, const char *name, const char *why)
{
    return pawl_fail(PAWL_ECORRUPT, "%s/document.json: tensor '%s': %s", r->path, name, why);
}

static int take_dtype(const struct reader *r, struct pawl_tensor *tensor, const json_t *from)
{
    const char *dtype = json_string_value(json_object_get(from, "dtype"));

    for (int i = 0; dtype && i < PAWL_DTYPES; i++)
        if (strcmp(dtype, pawl_dtype_name((enum pawl_dtype)i)) == 0) {
            tensor->dtype = (enum pawl_dtype)i;
            return 0;
        }
    return corrupt(r, tensor->name, "its dtype is unknown");
}

static int take_shape(const struct reader *r, struct pawl_tensor *tensor, const json_t *from)
{
    const json_t *shape = json_object_get(from, "shape");
    const size_t rank = json_array_size(shape);
    int64_t dim[PAWL_RANK_MAX] = { 0 };

    if (!json_is_array(shape) || rank > PAWL_RANK_MAX)
        return corrupt(r, tensor->name, "its shape is not a list of at most 8 dimensions");
    for (size_t d = 0; d < rank; d++) {
        const json_t *size = json_array_get(shape, d);
        dim[d] = json_is_integer(size) ? (int64_t)json_integer_value(size) : -1;
    }
    return pawl_tensor_shape(tensor, (int)rank, dim) ? corrupt(r, tensor->name, pawl_error()) : 0;
}

// Files of document.json have been checked: each is a shard of the manifest, each piece within it.
static int shard_index(const struct reader *r, const char *name)
{
    int rank = 0;

    while (strcmp(r->manifest->files[1 + 2 * rank].name, name))
        rank++;
    return r->first_file + rank;
}

// The pieces in order and without gap, together the whole tensor.
static int take_pieces(const struct reader *r, struct pawl_entry *entry, const json_t *pieces)
{
    const size_t count = json_array_size(pieces), element = pawl_dtype_bytes(entry->tensor.dtype);
    uint64_t done = 0;
    int rc = 0;

    if (count) rc = pawl_alloc(&entry->pieces, count * sizeof(*entry->pieces), "pieces");
    for (size_t i = 0; i < count && !rc; i++) {
        const json_t *from = json_array_get(pieces, i), *start = json_object_get(from, "start");
        struct pawl_piece *piece = &entry->pieces[i];

        piece->file = shard_index(r, json_string_value(json_object_get(from, "file")));
        piece->offset_bytes = (uint64_t)json_integer_value(json_object_get(from, "offset"));
        piece->size_bytes = (uint64_t)json_integer_value(json_object_get(from, "bytes"));
        piece->start = (int64_t)(done / element);
        if (!json_is_integer(start) || (int64_t)json_integer_value(start) != piece->start
            || piece->size_bytes % element || piece->size_bytes > entry->tensor.size_bytes - done)
            rc = corrupt(r, entry->tensor.name, "its pieces do not follow one another");
        done += piece->size_bytes;
        entry->piece_count++;
    }
    if (!rc && done != entry->tensor.size_bytes)
        rc = corrupt(r, entry->tensor.name, "its pieces do not make a whole");
    return rc;
}

static bool is_state(const char *name)
{
    return strncmp(name, "optimizer.", 10) == 0 || strncmp(name, "master.", 7) == 0;
}

static int take_tensor(const struct reader *r, const json_t *from)
{
    struct pawl_training *training = r->document->training;
    const char *name = json_string_value(json_object_get(from, "name"));
    struct pawl_tensor tensor = { 0 };

    if (strlen(name) > PAWL_NAME_MAX) return corrupt(r, name, "its name is too long");
    snprintf(tensor.name, sizeof(tensor.name), "%s", name);
    int rc = take_dtype(r, &tensor, from);
    if (!rc) rc = take_shape(r, &tensor, from);
    if (rc) return rc;
    struct pawl_entry **table = is_state(name) ? &training->tensors : &r->document->weights;
    int *count = is_state(name) ? &training->tensor_count : &r->document->weight_count;
    rc = pawl_document_add_entry(table, count, &tensor, -1, 0);
    return rc ? rc : take_pieces(r, &(*table)[*count - 1], json_object_get(from, "pieces"));
}

static int names_once(const struct reader *r, const struct pawl_entry *table, int count)
{
    struct pawl_names names = { 0 };

    if (!count) return 0;
    int rc = pawl_names_build(&names, count, table[0].tensor.name, sizeof(*table));
    if (!rc && names.twice) rc = corrupt(r, names.twice, "the name occurs twice");
    pawl_names_free(&names);
    return rc;
}

static int take_tensors(struct reader *r, const json_t *root)
{
    const struct pawl_document *document = r->document;
    const json_t *tensor;
    char path[4096];
    size_t i;
    int rc = 0, file;

    r->first_file = 0;
    for (int rank = 0; rank < r->manifest->ranks && !rc; rank++) {
        rc = pawl_path_join(path, r->path, r->manifest->files[1 + 2 * rank].name);
        if (!rc) rc = pawl_document_add_file(r->document, path, &file, NULL);
        if (!rc && !rank) r->first_file = file;
    }
    json_array_foreach(json_object_get(root, "tensors"), i, tensor) {
        if (!rc) rc = take_tensor(r, tensor);
    }
    if (!rc) rc = names_once(r, document->weights, document->weight_count);
    if (!rc) rc = names_once(r, document->training->tensors, document->training->tensor_count);
    return rc;
}

// ---- the rest

static int take_architecture(struct reader *r, const json_t *root)
{
    const json_t *from = json_object_get(root, "architecture");
    struct pawl_architecture made = { 0 };
    struct pawl_text text = { 0 };
    char *json = NULL;

    if (!json_is_object(from)) return 0;
    pawl_text_json(&text, from);
    int rc = pawl_text_take(&text, &json, NULL);
    if (!rc) rc = pawl_architecture_from_json(&made, json);
    if (rc == PAWL_ECORRUPT)
        rc = pawl_fail(rc, "%s/document.json: %s", r->path, pawl_error());
    pawl_free(json);
    if (!rc) rc = pawl_alloc(&r->document->architecture, sizeof(made), "an architecture");
    if (rc)
        pawl_architecture_free(&made);
    else
        *r->document->architecture = made;
    return rc;
}

static int take_training(struct reader *r, const json_t *root)
{
    const json_t *from = json_object_get(root, "training"), *loss = json_object_get(root, "loss");
    const json_t *epoch = json_object_get(root, "epoch"), *step = json_object_get(root, "step");
    struct pawl_training *training = NULL;

    int rc = pawl_alloc(&training, sizeof(*training), "the training state");
    if (rc) return rc;
    r->document->training = training;
    if (!json_is_integer(step) || json_integer_value(step) < 0)
        return pawl_fail(PAWL_ECORRUPT, "%s/document.json: it has no step", r->path);
    training->step = (uint64_t)json_integer_value(step);
    training->epoch = json_is_integer(epoch) ? (int64_t)json_integer_value(epoch) : -1;
    training->loss = json_is_number(loss) ? json_number_value(loss) : (double)NAN;
    if (!json_is_object(from)) return 0;
    training->optimizer = json_incref(json_object_get(from, "optimizer"));
    if (pawl_training_as_keras(training)) pawl_keras_scale_momentum(training);
    training->rest = json_copy((json_t *)(uintptr_t)from);
    if (!training->rest) return pawl_fail(PAWL_ENOMEM, "no memory for the training state");
    json_object_del(training->rest, "optimizer");
    return 0;
}

// A snapshot of weights alone (converted from such a file) has a step 0 and nothing else.
static void drop_empty_training(struct pawl_document *document)
{
    struct pawl_training *training = document->training;

    if (training->step || training->tensor_count || training->optimizer || training->rest) return;
    pawl_free(training);
    document->training = NULL;
}

static int read_document(struct reader *r, const json_t *root)
{
    json_t *metadata = json_object_get(root, "metadata");

    int rc = take_architecture(r, root);
    if (!rc) rc = take_training(r, root);
    if (!rc) rc = take_tensors(r, root);
    if (rc) return rc;
    drop_empty_training(r->document);
    if (json_is_object(metadata)) {
        json_decref(r->document->metadata);
        r->document->metadata = json_incref(metadata);
    }
    snprintf(r->document->path, sizeof(r->document->path), "%s", r->path);
    snprintf(r->document->format_version, sizeof(r->document->format_version), "1");
    return 0;
}

// Leaves the document half filled when it fails.
static int read_snapshot(struct pawl_document *document, const char *path)
{
    struct pawl_manifest manifest = { 0 };
    struct reader r = { .document = document, .path = path, .manifest = &manifest };
    json_t *root = NULL;

    int rc = pawl_recover_manifest(&manifest, path);
    if (rc == PAWL_ENONE)
        return pawl_fail(PAWL_ECORRUPT, "%s: the snapshot was never committed", path);
    if (!rc) rc = pawl_recover_document(&root, path, &manifest);
    if (!rc) rc = read_document(&r, root);
    json_decref(root);
    pawl_manifest_free(&manifest);
    return rc;
}

// ---- the choice

// What pawl_recover_document would say of the newest snapshots decides which one is read.
static int choose(struct pawl_document *document, const struct pawl_run *run, const char *path,
                  const char **out)
{
    const struct pawl_snapshot *first_bad = NULL;

    for (int i = 0; i < run->count; i++) {
        const struct pawl_snapshot *snapshot = &run->snapshots[i];
        if (snapshot->state == PAWL_DURABLE) {
            *out = snapshot->path;
            return 0;
        }
        if (snapshot->state == PAWL_UNCOMMITTED) continue;
        if (!first_bad) first_bad = snapshot;
        pawl_document_warn(document, "step %llu is passed over: %s",
                           (unsigned long long)snapshot->step, snapshot->why);
    }
    if (first_bad)
        return pawl_fail(first_bad->state == PAWL_UNREADABLE ? PAWL_EIO : PAWL_ECORRUPT,
                         "%s: none of its snapshots is whole. %.400s. try: pawl verify %s", path,
                         first_bad->why, path);
    if (run->commit_traced)
        return pawl_fail(PAWL_ECORRUPT, "%s: a snapshot was committed here once, but none is left",
                         path);
    return pawl_fail(PAWL_ENONE, "%s: the run has no committed snapshot yet", path);
}

static int read_pawl(struct pawl_document *document, const char *path)
{
    struct pawl_run run = { 0 };
    const char *snapshot = NULL;

    if (pawl_snapshot_is(path)) return read_snapshot(document, path);
    int rc = pawl_run_list(&run, path);
    if (!rc) rc = choose(document, &run, path, &snapshot);
    if (!rc) rc = read_snapshot(document, snapshot);
    pawl_run_free(&run);
    return rc;
}

static int verify_pawl(const struct pawl_document *document)
{
    struct pawl_snapshot snapshot;

    const int rc = pawl_snapshot_look(&snapshot, document->path);
    return rc ? rc : pawl_snapshot_verify(&snapshot);
}

const struct pawl_format pawl_format_pawl = {
    .name = "pawl",
    .suffixes = "",
    .parts = PAWL_PART_ARCHITECTURE | PAWL_PART_WEIGHTS | PAWL_PART_TRAINING,
    .detect = detect,
    .read = read_pawl,
    .write = pawl_write_run,
    .verify = verify_pawl,
};
