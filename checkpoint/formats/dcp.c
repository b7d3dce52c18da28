// dcp.c - the format `dcp`: a directory of torch.distributed.checkpoint.
//
//     .metadata        a pickle: which tensors there are, in which chunks, and where each lies
//     __0_0.distcp     chunks and values, each a zip archive of its own as torch.save writes
//
// torch loads .metadata with pickle.load, which runs what it is told; here it is read as data.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/dcp_write.h"
#include "checkpoint/formats/formats.h"
#include "checkpoint/formats/pth_state.h"
#include "checkpoint/names.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { FILES_MAX = 4096, NAME_BYTES = 256 };

struct reader {
    struct pawl_document *document;
    const char *directory;
    char what[4200];
    struct pawl_pickle *metadata;
    const struct pawl_py *tensors, *paths;  // state_dict_metadata, planner_data
    struct opened {
        char name[NAME_BYTES];
        int file;
        uint64_t size;
    } *files;
    int file_count;
    json_t *values;  // what is no tensor, in its place: {"optim": {"param_groups": {"0": ...}}}
};

static int see(void *found, const char *name)
{
    const size_t length = strlen(name);

    *(bool *)found |= !strcmp(name, ".metadata")
                      || (length > 7 && !strcmp(name + length - 7, ".distcp"));
    return 0;
}

static bool detect(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    bool found = false;

    (void)head, (void)head_bytes;
    return directory && !pawl_io()->list(path, see, &found) && found;
}

// ---- where things are

static int open_file(struct reader *r, const char *name, const struct opened **out)
{
    const size_t length = strlen(name);
    char path[4500];

    if (!length || length >= NAME_BYTES || strpbrk(name, "/\\") || !strcmp(name, "..")
        || !strcmp(name, "."))
        return pawl_fail(PAWL_ECORRUPT, "%s: '%.80s' is not the plain name of a file beside it; a "
                         "path is refused", r->what, name);
    for (int i = r->file_count - 1; i >= 0; i--)
        if (!strcmp(r->files[i].name, name)) {
            *out = &r->files[i];
            return 0;
        }
    if (r->file_count == FILES_MAX)
        return pawl_fail(PAWL_ECORRUPT, "%s: more than %d files", r->what, FILES_MAX);
    struct opened *added = &r->files[r->file_count];
    snprintf(path, sizeof(path), "%s/%s", r->directory, name);
    const int rc = pawl_document_add_file(r->document, path, &added->file, &added->size);
    if (rc == PAWL_ENONE)
        return pawl_fail(PAWL_ECORRUPT, "%s: the file %s, which it names, is not there", r->what,
                         name);
    if (rc) return rc;
    snprintf(added->name, sizeof(added->name), "%s", name);
    r->file_count++;
    *out = added;
    return 0;
}

// The archive of one item. what: the item, for failures.
static int open_item(struct reader *r, const struct pawl_py *info, const char *what,
                     struct pawl_pth **out)
{
    const char *name = pawl_py_text(pawl_py_get(info->state, "relative_path"));
    const struct pawl_py *transform = pawl_py_get(info->state, "transform_descriptors");
    const struct opened *file = NULL;
    int64_t offset = -1, length = -1;

    if (!name || !pawl_py_integer(pawl_py_get(info->state, "offset"), &offset) || offset < 0
        || !pawl_py_integer(pawl_py_get(info->state, "length"), &length) || length < 0)
        return pawl_fail(PAWL_ECORRUPT, "%s: where it lies is not said", what);
    if (transform && !pawl_py_is(transform, PAWL_PY_NONE) && transform->count)
        return pawl_fail(PAWL_ECORRUPT, "%s: it was transformed (compressed or encrypted) when it "
                         "was saved, which is not read", what);
    int rc = open_file(r, name, &file);
    if (rc) return rc;
    if ((uint64_t)offset > file->size || (uint64_t)length > file->size - (uint64_t)offset)
        return pawl_fail(PAWL_ECORRUPT, "%s: truncated: it ends at byte %llu of %s, but the file "
                         "has %llu bytes", what, (unsigned long long)offset
                         + (unsigned long long)length, name, (unsigned long long)file->size);
    return pawl_pth_open(out, r->document, file->file,
                         (uint64_t[2]){ (uint64_t)offset, (uint64_t)length }, what);
}

// ---- names

static bool is_optimizer(const char *key)
{
    return !strncmp(key, "optim", 5);  // optim, optimizer, optimizer_state_dict
}

// The path of a name: planner_data's tuple, or the name cut at its dots.
static const char *first_key(const struct reader *r, const char *fqn, char *text, size_t size)
{
    const char *key = pawl_py_text(pawl_py_item(pawl_py_get(r->paths, fqn), 0));

    snprintf(text, size, "%.*s", key ? (int)size - 1 : (int)strcspn(fqn, "."), key ? key : fqn);
    return text;
}

static int take_value(struct reader *r, const struct pawl_py *info, const char *fqn)
{
    const struct pawl_py *path = pawl_py_get(r->paths, fqn);
    json_t *at = r->values, *value = NULL;
    struct pawl_pth *pth = NULL;
    char what[4700], number[24];

    snprintf(what, sizeof(what), "%s: '%.200s'", r->what, fqn);
    int rc = open_item(r, info, what, &pth);
    if (!rc) rc = pawl_pth_json(pth, pth->pickle->root, fqn, NULL, NULL, &value);
    pawl_pth_close(pth);
    if (rc) return rc;
    const uint32_t depth = pawl_py_is(path, PAWL_PY_TUPLE) ? path->count : 0;
    for (uint32_t i = 0; i < depth; i++) {
        const char *key = pawl_py_text(path->item[i]);
        int64_t index = 0;
        if (!key && pawl_py_integer(path->item[i], &index)) {
            snprintf(number, sizeof(number), "%lld", (long long)index);
            key = number;
        }
        if (!key) break;
        json_t *below = json_object_get(at, key);
        if (i + 1 == depth) {
            json_object_set(at, key, value);
        } else if (!json_is_object(below)) {
            below = json_object();
            json_object_set_new(at, key, below);
        }
        at = below;
    }
    if (!depth) json_object_set(r->values, fqn, value);
    json_decref(value);
    return 0;
}

// ---- tensors

static int sizes_of(const struct pawl_py *value, int64_t out[PAWL_RANK_MAX], int *rank)
{
    if (!strcmp(pawl_py_called(value), "torch.Size")) value = pawl_py_argument(value, 0);
    *rank = -1;
    if (!pawl_py_is(value, PAWL_PY_TUPLE) || value->count > PAWL_RANK_MAX) return PAWL_ECORRUPT;
    *rank = (int)value->count;
    for (int i = 0; i < *rank; i++)
        if (!pawl_py_integer(value->item[i], &out[i]) || out[i] < 0) return PAWL_ECORRUPT;
    return 0;
}

// Whether a chunk at `offset` is rows of the whole: as wide, and only the first dimension starts
// elsewhere. *start: its first element.
static bool is_rows(const struct pawl_tensor *whole, const struct pawl_tensor *chunk,
                    const struct pawl_py *offset, int64_t *start)
{
    int64_t at[PAWL_RANK_MAX] = { 0 };
    int rank = 0;

    if (chunk->rank != whole->rank || chunk->dtype != whole->dtype) return false;
    if (offset && (sizes_of(offset, at, &rank) || rank != whole->rank)) return false;
    *start = at[0];
    for (int i = 1; i < whole->rank; i++) {
        if (at[i] || chunk->dim[i] != whole->dim[i]) return false;
        *start *= whole->dim[i];
    }
    return whole->rank ? at[0] <= whole->dim[0] && chunk->dim[0] <= whole->dim[0] - at[0] : true;
}

// Adds one chunk's pieces to the entry of its tensor, in order.
static int add_piece(struct pawl_entry *entry, const struct pawl_piece *piece)
{
    int rc = pawl_realloc(&entry->pieces, sizeof(*piece) * ((size_t)entry->piece_count + 1),
                          "a piece");
    int i = entry->piece_count;

    if (rc) return rc;
    for (; i > 0 && entry->pieces[i - 1].start > piece->start; i--)
        entry->pieces[i] = entry->pieces[i - 1];
    entry->pieces[i] = *piece;
    entry->piece_count++;
    return 0;
}

static struct pawl_entry *find(struct pawl_entry *table, int count, const char *name)
{
    for (int i = count - 1; i >= 0; i--)  // chunks of one tensor come together, most often
        if (!strcmp(table[i].tensor.name, name)) return &table[i];
    return NULL;
}

static int take_chunk(struct reader *r, const struct pawl_py *index, const struct pawl_py *info,
                      const struct pawl_py *facts)
{
    struct pawl_document *document = r->document;
    const char *fqn = pawl_py_text(pawl_py_get(index->state, "fqn"));
    struct pawl_entry *chunk = NULL, *entry;
    struct pawl_tensor whole = { .rank = 0 };
    struct pawl_pth *pth = NULL;
    char what[4700], key[64];
    int64_t dim[PAWL_RANK_MAX], start = 0;
    int count = 0, rank = 0;

    const bool state = is_optimizer(first_key(r, fqn, key, sizeof(key)));
    struct pawl_entry **table = state ? &document->training->tensors : &document->weights;
    int *table_count = state ? &document->training->tensor_count : &document->weight_count;
    snprintf(what, sizeof(what), "%s: tensor '%.200s'", r->what, fqn);
    int rc = open_item(r, info, what, &pth);
    if (!rc) rc = pawl_pth_add(pth, &chunk, &count, fqn, pth->pickle->root);
    pawl_pth_close(pth);
    if (!rc && sizes_of(pawl_py_get(facts->state, "size"), dim, &rank))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: its size is not said", what);
    if (!rc) {
        whole = chunk->tensor;
        rc = pawl_tensor_shape(&whole, rank, dim);
    }
    if (!rc && !is_rows(&whole, &chunk->tensor, pawl_py_get(index->state, "offset"), &start))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: a chunk of it is no run of whole rows, or lies outside; "
                       "only tensors divided along their first dimension are read", what);
    entry = rc ? NULL : find(*table, *table_count, fqn);
    if (!rc && !entry) {
        rc = pawl_document_add_entry(table, table_count, &whole, -1, 0);
        entry = rc ? NULL : &(*table)[*table_count - 1];
    }
    if (!rc) {
        struct pawl_piece piece = chunk->pieces[0];
        piece.start = start;
        rc = add_piece(entry, &piece);
    }
    if (chunk) pawl_free(chunk->pieces);
    pawl_free(chunk);
    return rc;
}

// The chunks of each tensor cover it exactly.
static int check_cover(const struct reader *r, const struct pawl_entry *table, int count)
{
    for (int i = 0; i < count; i++) {
        const size_t element = pawl_dtype_bytes(table[i].tensor.dtype);
        uint64_t end = 0;
        for (int p = 0; p < table[i].piece_count; p++) {
            if ((uint64_t)table[i].pieces[p].start * element != end)
                return pawl_fail(PAWL_ECORRUPT, "%s: tensor '%s': its chunks overlap or leave a "
                                 "hole", r->what, table[i].tensor.name);
            end += table[i].pieces[p].size_bytes;
        }
        if (end != table[i].tensor.size_bytes)
            return pawl_fail(PAWL_ECORRUPT, "%s: tensor '%s': its chunks have %llu of its %zu "
                             "bytes", r->what, table[i].tensor.name, (unsigned long long)end,
                             table[i].tensor.size_bytes);
    }
    return 0;
}

// ---- the training state

// {"0": a, "1": b} -> [a, b]
static json_t *array_of(const json_t *object)
{
    json_t *array = json_array(), *value;
    char key[24];

    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        value = json_object_get(object, key);
        if (!value) break;
        json_array_append(array, value);
    }
    return array;
}

// "optim.state.fc.weight.exp_avg": moments under the names of weights, as FSDP saves them.
static void assign_by_name(struct pawl_document *document, const char *optimizer)
{
    struct pawl_training *training = document->training;
    char name[PAWL_NAME_MAX + 16];
    const size_t skip = strlen(optimizer) + 7;

    for (int i = 0; i < training->tensor_count && document->weight_count < 20000; i++) {
        struct pawl_entry *entry = &training->tensors[i];
        const char *dot = strrchr(entry->tensor.name, '.');
        if (strlen(entry->tensor.name) <= skip || !dot || dot < entry->tensor.name + skip) continue;
        for (int w = 0; w < document->weight_count; w++) {
            snprintf(name, sizeof(name), "%.*s", (int)(dot - entry->tensor.name - (int)skip),
                     entry->tensor.name + skip);
            const char *weight = document->weights[w].tensor.name;
            const char *inner = strchr(weight, '.');
            if (strcmp(weight, name) && (!inner || strcmp(inner + 1, name))) continue;
            if (!strcmp(dot + 1, "step") || strlen(dot + 1) >= sizeof(entry->slot)) continue;
            snprintf(entry->slot, sizeof(entry->slot), "%s", dot + 1);
            entry->of = w;
        }
    }
}

static int take_step(struct reader *r)
{
    struct pawl_training *training = r->document->training;
    float step = 0;
    int rc = 0;

    for (int i = 0; i < training->tensor_count && !rc; i++) {
        const struct pawl_tensor *tensor = &training->tensors[i].tensor;
        const char *dot = strrchr(tensor->name, '.');
        if (!dot || strcmp(dot, ".step") || tensor->dtype != PAWL_F32 || tensor->size_bytes != 4)
            continue;
        rc = pawl_document_fetch(r->document, &training->tensors[i], &step);
        if (!rc && step >= 1) training->step = (uint64_t)step;
        break;
    }
    return rc;
}

static int take_training(struct reader *r)
{
    struct pawl_training *training = r->document->training;
    const char *key, *optimizer = NULL;
    char prefix[64];
    json_t *value;
    int rc = take_step(r);

    training->rest = json_object();
    json_t *torch = json_object(), *others = json_object();
    json_object_set_new(training->rest, "torch", torch);
    json_object_set_new(torch, "other", others);
    json_object_foreach(r->values, key, value) {
        if (is_optimizer(key)) optimizer = key;
        else json_object_set(others, key, value);
    }
    const json_t *epoch = json_object_get(others, "epoch"), *loss = json_object_get(others, "loss");
    if (json_is_integer(epoch)) training->epoch = json_integer_value(epoch);
    if (json_is_number(loss)) training->loss = json_number_value(loss);
    if (rc || !optimizer) return rc;
    json_t *groups = array_of(json_object_get(json_object_get(r->values, optimizer),
                                              "param_groups"));
    snprintf(prefix, sizeof(prefix), "%.60s.", optimizer);
    if (json_array_size(groups)) {
        rc = pawl_pth_take_groups(r->document, groups);
        const json_t *first = json_array_get(json_object_get(json_array_get(groups, 0), "params"),
                                             0);
        if (!rc && json_is_integer(first)) rc = pawl_pth_assign(r->document, prefix, groups);
        if (!rc && !json_is_integer(first)) assign_by_name(r->document, optimizer);
    }
    json_object_set_new(torch, "param_groups", groups);
    return rc;
}

// ---- the directory

static int take_items(struct reader *r, const struct pawl_py *storage)
{
    int rc = 0;

    for (uint32_t i = 0; pawl_py_is(storage, PAWL_PY_DICT) && i < storage->count && !rc; i += 2) {
        const struct pawl_py *index = storage->item[i], *info = storage->item[i + 1];
        const char *fqn = pawl_py_is(index, PAWL_PY_CALL)
                              ? pawl_py_text(pawl_py_get(index->state, "fqn")) : NULL;
        const struct pawl_py *facts = fqn ? pawl_py_get(r->tensors, fqn) : NULL;
        if (!fqn || !pawl_py_is(info, PAWL_PY_CALL) || !pawl_py_is(facts, PAWL_PY_CALL))
            rc = pawl_fail(PAWL_ECORRUPT, "%s: item %u of storage_data is none that torch writes",
                           r->what, i / 2);
        else if (strstr(pawl_py_called(facts), "BytesStorageMetadata"))
            rc = take_value(r, info, fqn);
        else
            rc = take_chunk(r, index, info, facts);
    }
    return rc;
}

static int read_metadata(struct reader *r)
{
    uint64_t range[2] = { 0, 0 };
    int file;

    int rc = pawl_document_add_file(r->document, r->what, &file, &range[1]);
    if (rc == PAWL_ENONE)
        return pawl_fail(PAWL_ECORRUPT, "%s is not there: the save was never finished (incomplete)",
                         r->what);
    if (!rc) rc = pawl_pickle_read(&r->metadata, r->document, file, range, r->what);
    if (rc) return rc;
    const struct pawl_py *root = r->metadata->root;
    if (!pawl_py_is(root, PAWL_PY_CALL) || !root->state)
        return pawl_fail(PAWL_ECORRUPT, "%s: it holds no Metadata of torch", r->what);
    r->tensors = pawl_py_get(root->state, "state_dict_metadata");
    r->paths = pawl_py_get(root->state, "planner_data");
    return take_items(r, pawl_py_get(root->state, "storage_data"));
}

static int read_all(struct reader *r)
{
    struct pawl_document *document = r->document;

    int rc = pawl_alloc(&r->files, sizeof(*r->files) * FILES_MAX, "files of a directory");
    if (!rc) rc = pawl_alloc(&document->training, sizeof(*document->training), "a training state");
    if (rc) return rc;
    document->training->loss = NAN;
    document->training->epoch = -1;
    r->values = json_object();
    rc = read_metadata(r);
    if (!rc) rc = check_cover(r, document->weights, document->weight_count);
    if (!rc)
        rc = check_cover(r, document->training->tensors, document->training->tensor_count);
    if (!rc && !document->weight_count && !document->training->tensor_count)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: it names no tensors", r->what);
    if (!rc && (document->training->tensor_count || json_object_size(r->values)))
        return take_training(r);
    if (!rc) pawl_document_keep(document, PAWL_PART_WEIGHTS);
    return rc;
}

static int read_dcp(struct pawl_document *document, const char *path)
{
    struct reader *r = NULL;

    int rc = pawl_alloc(&r, sizeof(*r), "a checkpoint directory");
    if (rc) return rc;
    r->document = document;
    r->directory = path;
    snprintf(r->what, sizeof(r->what), "%s/.metadata", path);
    rc = read_all(r);
    pawl_pickle_free(r->metadata);
    json_decref(r->values);
    pawl_free(r->files);
    pawl_free(r);
    return rc;
}

const struct pawl_format pawl_format_dcp = {
    .name = "dcp",
    .suffixes = "",
    .parts = PAWL_PART_WEIGHTS | PAWL_PART_TRAINING,
    .detect = detect,
    .read = read_dcp,
    .summed = true,
    .write = pawl_dcp_write,
};
