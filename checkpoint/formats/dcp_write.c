// dcp_write.c - one .distcp of whole tensors and values, then the .metadata that names them.

#include "checkpoint/formats/dcp_write.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/formats/pth_put.h"
#include "checkpoint/formats/pth_targets.h"
#include "kernels/io.h"
#include "kernels/memory.h"

#define METADATA "torch.distributed.checkpoint.metadata "

struct item {
    char name[2 * PAWL_NAME_MAX];
    char path[4][PAWL_NAME_MAX + 1];  // "optim", "param_groups", "0", "lr"; digits are indices
    int depth;
    enum pawl_dtype dtype;
    int rank;  // -1: a value
    int64_t dim[PAWL_RANK_MAX];
    uint64_t offset, bytes;
};

struct maker {
    const struct pawl_document *document;
    const struct pawl_write_options *options;
    const char *path;
    struct pawl_bindings targets;
    int fd;
    uint64_t at;
    struct item *items;
    int count;
};

// ---- items

static int append(struct maker *m, const struct item *item)
{
    int rc = 0;

    if ((m->count & (m->count - 1)) == 0)
        rc = pawl_realloc(&m->items, sizeof(*item) * (m->count ? 2 * (size_t)m->count : 1),
                          "items");
    if (!rc) m->items[m->count++] = *item;
    return rc;
}

// What w holds becomes the next item of the file.
static int finish_item(struct maker *m, struct pawl_pth_writer *w, struct item *item)
{
    item->offset = m->at;
    const int rc = pawl_pth_finish(w, m->fd, m->path, m->at, &item->bytes);
    if (rc) return rc;
    m->at += item->bytes;
    return append(m, item);
}

static void name_item(struct item *item, const char *top, const char *rest)
{
    snprintf(item->name, sizeof(item->name), "%s.%s", top, rest);
    snprintf(item->path[0], sizeof(item->path[0]), "%s", top);
    snprintf(item->path[1], sizeof(item->path[1]), "%s", rest);
    item->depth = 2;
}

static int put_weight(struct maker *m, const struct pawl_entry *entry,
                      const struct pawl_binding *target)
{
    const struct pawl_tensor *tensor = entry ? &entry->tensor : &target->tensor;
    const char *name = tensor->name;
    struct pawl_pth_writer w;
    struct item item = { .rank = tensor->rank };

    // A directory's own names have the key already.
    if (!strcmp(m->document->format, "dcp") && !strncmp(name, "model.", 6)) name += 6;
    name_item(&item, "model", name);
    memcpy(item.dim, tensor->dim, sizeof(item.dim));
    pawl_pth_create(&w, m->document, m->options);
    if (entry)
        pawl_pth_put_tensor(&w, entry, PAWL_PTH_PLAIN);
    else
        pawl_pth_put_target(&w, target, NULL, PAWL_PTH_PLAIN);
    item.dtype = w.stored_count ? w.stored[0].dtype : tensor->dtype;
    return finish_item(m, &w, &item);
}

// "state.3.exp_avg", perhaps behind "optim.".
static int put_state(struct maker *m, const struct pawl_entry *entry)
{
    const char *name = strstr(entry->tensor.name, "state."), *slot = NULL;
    struct pawl_pth_writer w;
    struct item item = { .rank = entry->tensor.rank, .dtype = entry->tensor.dtype };
    char *end = NULL;

    if (!name) return 0;
    const long number = strtol(name + 6, &end, 10);
    if (end == name + 6 || *end != '.') return 0;
    slot = end + 1;
    name_item(&item, "optim", name);
    snprintf(item.path[1], sizeof(item.path[1]), "state");
    snprintf(item.path[2], sizeof(item.path[2]), "%ld", number);
    snprintf(item.path[3], sizeof(item.path[3]), "%s", slot);
    item.depth = 4;
    memcpy(item.dim, entry->tensor.dim, sizeof(item.dim));
    pawl_pth_create(&w, m->document, m->options);
    pawl_pth_put_tensor(&w, entry, PAWL_PTH_MOMENT);
    return finish_item(m, &w, &item);
}

static int put_value(struct maker *m, struct item *item, const json_t *value)
{
    struct pawl_pth_writer w;

    item->rank = -1;
    pawl_pth_create(&w, m->document, m->options);
    pawl_pth_put_json(&w, value);
    return finish_item(m, &w, item);
}

static int put_groups(struct maker *m, const json_t *groups)
{
    const char *key;
    json_t *value;
    int rc = 0;

    for (size_t g = 0; g < json_array_size(groups); g++)
        json_object_foreach(json_array_get(groups, g), key, value) {
            struct item item = { .depth = 4 };
            snprintf(item.name, sizeof(item.name), "optim.param_groups.%zu.%.200s", g, key);
            snprintf(item.path[0], sizeof(item.path[0]), "optim");
            snprintf(item.path[1], sizeof(item.path[1]), "param_groups");
            snprintf(item.path[2], sizeof(item.path[2]), "%zu", g);
            snprintf(item.path[3], sizeof(item.path[3]), "%.200s", key);
            if (!rc) rc = put_value(m, &item, value);
        }
    return rc;
}

static int put_numbers(struct maker *m, const struct pawl_training *training)
{
    struct item epoch = { .name = "epoch", .path = { "epoch" }, .depth = 1 };
    json_t *value = training->epoch < 0 ? NULL : json_integer((json_int_t)training->epoch);

    const int rc = value ? put_value(m, &epoch, value) : 0;
    json_decref(value);
    return rc;
}

static int put_all(struct maker *m)
{
    const struct pawl_document *document = m->document;
    const struct pawl_training *training = document->training;
    int rc = 0;

    for (int i = 0; i < m->targets.count && !rc; i++)
        rc = put_weight(m, NULL, &m->targets.items[i]);
    for (int i = 0; i < document->weight_count && !m->targets.count && !rc; i++)
        rc = put_weight(m, &document->weights[i], NULL);
    if (rc || !training) return rc;
    const json_t *groups = json_object_get(json_object_get(training->rest, "torch"),
                                           "param_groups");
    if (!groups)
        return pawl_fail(PAWL_ENOTSUP, "%s: its training state is none of torch's, and dcp takes "
                         "no other. try: --to pth-checkpoint first, or --only weights",
                         document->path);
    for (int i = 0; i < training->tensor_count && !rc; i++)
        rc = put_state(m, &training->tensors[i]);
    if (!rc) rc = put_groups(m, groups);
    return rc ? rc : put_numbers(m, training);
}

// ---- .metadata

static void new_object(struct pawl_text *t, const char *global)
{
    pawl_pk_global(t, global);
    pawl_pk_op(t, ")\x81");
}

static void put_size(struct pawl_text *t, int rank, const int64_t *dim)
{
    pawl_pk_global(t, "torch Size");
    pawl_pk_tuple(t, rank, dim);
    pawl_pk_op(t, "\x85R");
}

static void describe_tensor(struct pawl_text *t, const struct item *item)
{
    static const int64_t zero[PAWL_RANK_MAX];
    char dtype[64];

    snprintf(dtype, sizeof(dtype), "torch %s", pawl_dtype_name(item->dtype));
    new_object(t, METADATA "TensorStorageMetadata");
    pawl_pk_op(t, "}(");
    pawl_pk_string(t, "properties");
    new_object(t, METADATA "TensorProperties");
    pawl_pk_op(t, "(");  // dtype, layout, requires_grad, memory format, pin_memory
    pawl_pk_global(t, dtype);
    pawl_pk_global(t, "torch.serialization _get_layout");
    pawl_pk_string(t, "torch.strided");
    pawl_pk_op(t, "\x85R\x89");
    pawl_pk_global(t, METADATA "_MEM_FORMAT_ENCODING");
    pawl_pk_integer(t, 0);
    pawl_pk_op(t, "\x85R\x89tb");
    pawl_pk_string(t, "size");
    put_size(t, item->rank, item->dim);
    pawl_pk_string(t, "chunks");
    pawl_pk_op(t, "](");
    new_object(t, METADATA "ChunkStorageMetadata");
    pawl_pk_op(t, "}(");
    pawl_pk_string(t, "offsets");
    put_size(t, item->rank, zero);
    pawl_pk_string(t, "sizes");
    put_size(t, item->rank, item->dim);
    pawl_pk_op(t, "ubeub");
}

static void put_path(struct pawl_text *t, const struct item *item)
{
    pawl_pk_op(t, "(");
    for (int i = 0; i < item->depth; i++) {
        char *end = NULL;
        const long index = strtol(item->path[i], &end, 10);
        // Lists have numbers, dicts have strings; the numbers of parameters are strings.
        if (!*end && end != item->path[i] && i == 2 && !strcmp(item->path[1], "param_groups"))
            pawl_pk_integer(t, index);
        else
            pawl_pk_string(t, item->path[i]);
    }
    pawl_pk_op(t, "t");
}

static void put_place(struct pawl_text *t, const struct item *item)
{
    static const int64_t zero[PAWL_RANK_MAX];

    new_object(t, METADATA "MetadataIndex");
    pawl_pk_op(t, "}(");
    pawl_pk_string(t, "fqn");
    pawl_pk_string(t, item->name);
    if (item->rank >= 0) {
        pawl_pk_string(t, "offset");
        put_size(t, item->rank, zero);
    }
    pawl_pk_string(t, "index");
    pawl_pk_op(t, item->rank >= 0 ? "K" : "N");
    if (item->rank >= 0) pawl_text_add(t, "\0", 1);
    pawl_pk_op(t, "ub");
    new_object(t, "torch.distributed.checkpoint.filesystem _StorageInfo");
    pawl_pk_op(t, "}(");
    pawl_pk_string(t, "relative_path");
    pawl_pk_string(t, "__0_0.distcp");
    pawl_pk_string(t, "offset");
    pawl_pk_integer(t, (int64_t)item->offset);
    pawl_pk_string(t, "length");
    pawl_pk_integer(t, (int64_t)item->bytes);
    pawl_pk_op(t, "ub");
}

static void put_metadata(struct pawl_text *t, const struct maker *m)
{
    pawl_pk_begin(t);
    new_object(t, METADATA "Metadata");
    pawl_pk_op(t, "}(");
    pawl_pk_string(t, "state_dict_metadata");
    pawl_pk_op(t, "}(");
    for (int i = 0; i < m->count; i++) {
        pawl_pk_string(t, m->items[i].name);
        if (m->items[i].rank >= 0)
            describe_tensor(t, &m->items[i]);
        else
            new_object(t, METADATA "BytesStorageMetadata");
    }
    pawl_pk_op(t, "u");
    pawl_pk_string(t, "planner_data");
    pawl_pk_op(t, "}(");
    for (int i = 0; i < m->count; i++) {
        pawl_pk_string(t, m->items[i].name);
        put_path(t, &m->items[i]);
    }
    pawl_pk_op(t, "u");
    pawl_pk_string(t, "storage_data");
    pawl_pk_op(t, "}(");
    for (int i = 0; i < m->count; i++)
        put_place(t, &m->items[i]);
    pawl_pk_op(t, "u");
    pawl_pk_string(t, "storage_meta");
    new_object(t, METADATA "StorageMeta");
    pawl_pk_op(t, "}(");
    pawl_pk_string(t, "checkpoint_id");
    pawl_pk_string(t, "pawl");
    pawl_pk_string(t, "save_id");
    pawl_pk_string(t, "00000000-0000-0000-0000-000000000000");
    pawl_pk_string(t, "load_id");
    pawl_pk_op(t, "N");
    pawl_pk_string(t, "modules");
    pawl_pk_op(t, "]ub");
    pawl_pk_string(t, "version");
    pawl_pk_string(t, "1.0.0");
    pawl_pk_op(t, "ub.");
}

// ---- the directory

static int write_items(struct maker *m)
{
    char path[4200];

    snprintf(path, sizeof(path), "%s/__0_0.distcp", m->path);
    m->fd = pawl_io()->open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (m->fd < 0) return pawl_io_fail(m->fd, "create", path);
    const int rc = put_all(m);
    const int synced = rc ? 0 : pawl_io()->sync(m->fd);
    const int closed = pawl_io()->close(m->fd);
    if (rc) return rc;
    return synced || closed ? pawl_io_fail(synced ? synced : closed, "fsync", path) : 0;
}

int pawl_dcp_write(const struct pawl_document *document, const char *path,
                   const struct pawl_write_options *options)
{
    struct maker m = { .document = document, .options = options, .path = path };
    struct pawl_text text = { 0 };
    char name[4200];

    const int made = pawl_io()->mkdir(path, 0777);
    if (made) return pawl_io_fail(made, "create", path);
    int rc = pawl_pth_is_foreign(document) ? pawl_pth_targets(&m.targets, document) : 0;
    if (!rc) rc = write_items(&m);
    if (!rc) {  // last, as torch does: a directory without it was never finished
        put_metadata(&text, &m);
        rc = pawl_text_check(&text);
    }
    snprintf(name, sizeof(name), "%s/.metadata", path);
    const int error = rc ? 0 : pawl_io_write_file(name, text.bytes, text.size, false);
    pawl_text_free(&text);
    pawl_bindings_free(&m.targets);
    pawl_free(m.items);
    return error ? pawl_io_fail(error, "write", name) : rc;
}
