// savedmodel_write.c - writes a SavedModel that TensorFlow serves and Keras 2 revives with its
// optimizer; where Keras 2 has no such layers, one that TensorFlow serves.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/containers/table.h"
#include "checkpoint/formats/savedmodel.h"
#include "checkpoint/formats/savedmodel_nodes.h"
#include "checkpoint/formats/savedmodel_save.h"
#include "checkpoint/names.h"
#include "checkpoint/sums.h"
#include "kernels/io.h"
#include "kernels/memory.h"

#define OBJECT_GRAPH "_CHECKPOINTABLE_OBJECT_GRAPH"

// ---- what the document holds

struct slots {
    const char *kind, *class_name;
    int count;
    const char *lists[2], *words[2], *moments[2];
    bool apart;
};

static void choose_slots(struct pawl_saved *saved)
{
    static const struct slots rows[] = {
        { "adam", "Adam", 2, { "_momentums", "_velocities" }, { "m", "v" },
          { "exp_avg", "exp_avg_sq" }, false },
        { "adamw", "AdamW", 2, { "_momentums", "_velocities" }, { "m", "v" },
          { "exp_avg", "exp_avg_sq" }, false },
        { "sgd", "SGD", 1, { "momentums" }, { "m" }, { "momentum_buffer" }, false },
        { "rmsprop", "RMSprop", 2, { "_velocities", "_momentums" }, { "velocity", "momentum" },
          { "square_avg", "momentum_buffer" }, true },
    };
    const struct pawl_training *training = saved->file.document.training;
    const json_t *optimizer = training ? training->optimizer : NULL;
    const char *kind = json_string_value(json_object_get(optimizer, "kind"));
    const bool still = !(json_number_value(json_object_get(optimizer, "momentum")) > 0);

    saved->slot_count = -1;  // no optimizer
    for (size_t i = 0; kind && i < sizeof(rows) / sizeof(*rows); i++) {
        if (strcmp(kind, rows[i].kind)) continue;
        saved->optimizer = rows[i].class_name;
        saved->slots_apart = rows[i].apart;
        saved->slot_count = rows[i].count;
        for (int s = 0; s < 2; s++) {
            saved->lists[s] = rows[i].lists[s];
            saved->words[s] = rows[i].words[s];
            saved->moments[s] = rows[i].moments[s];
        }
        if (still && (strcmp(kind, "sgd") == 0 || strcmp(kind, "rmsprop") == 0))
            saved->slot_count--;
    }
    // Without its moments there is nothing to go on with.
    for (int i = 0; i < saved->slot_count; i++)
        if (!pawl_document_has_slot(&saved->file.document, 0, saved->moments[i]))
            saved->slot_count = -1;
}

// The order of layers changed: parameters are found by name again.
static int follow_names(struct pawl_keras *keras, const struct pawl_bindings *bound)
{
    struct pawl_names names = { 0 };

    if (!bound->count) return 0;
    int rc = pawl_names_build(&names, bound->count, bound->items[0].tensor.name,
                              sizeof(*bound->items));
    for (int v = 0; v < keras->values.count && !rc; v++)
        for (int p = 0; p < keras->values.items[v].part_count && !rc; p++) {
            int *source = &keras->values.items[v].parts[p].source;
            if (*source < 0) continue;
            const char *name = keras->params.items[*source].tensor.name;
            *source = pawl_names_find(&names, name);
            if (*source < 0)
                rc = pawl_fail(PAWL_ENOTSUP, "as a Keras model it would have a parameter '%s' of "
                               "its own", name);
        }
    pawl_names_free(&names);
    return rc;
}

static int open_keras(struct pawl_saved *saved, const struct pawl_document *document)
{
    struct pawl_keras_file *file = &saved->file;

    int rc = pawl_keras_write(&file->config, document->architecture, true);
    if (!rc && strcmp(json_string_value(json_object_get(file->config, "class_name")), "Sequential"))
        rc = pawl_saved_order(json_object_get(file->config, "config"));
    if (!rc) rc = pawl_keras_read(&file->keras, file->config, document->path);
    if (!rc && !file->keras.architecture)
        rc = pawl_fail(PAWL_ENOTSUP, "%s: %s", document->path, file->keras.stop);
    if (rc) return rc;
    saved->layers = json_object_get(json_object_get(file->config, "config"), "layers");
    return 0;
}

// Keras 2 has neither class.
static bool beyond_keras2(const struct pawl_architecture *architecture)
{
    for (int i = 0; i < architecture->layer_count; i++)
        if (architecture->layers[i].kind == PAWL_RMS_NORM) return true;
    return false;
}

static int open_model(struct pawl_saved *saved, const struct pawl_document *document)
{
    struct pawl_keras_file *file = &saved->file;

    file->document = *document;
    file->keras2 = true;
    if (!document->architecture || !document->weight_count)
        return pawl_fail(PAWL_ENOTSUP, "%s: a SavedModel needs architecture and weights. try: "
                         "--arch MODEL", document->path);
    int rc = pawl_document_bind((struct pawl_document *)(uintptr_t)document);
    if (rc) return rc;
    file->document.bindings = document->bindings;
    rc = beyond_keras2(document->architecture) ? PAWL_ENOTSUP : open_keras(saved, document);
    if (rc == PAWL_ENOTSUP) {
        pawl_keras_free(&file->keras);
        saved->slot_count = -1;
        rc = pawl_saved_generic(saved, document->architecture);
    } else if (!rc) {
        rc = follow_names(&file->keras, document->bindings);
        pawl_keras_plan_momentum(file);
        choose_slots(saved);
        if (!rc && saved->slot_count >= 0)
            rc = pawl_keras_compile_write(&file->compile, document->training,
                                          document->architecture->loss, PAWL_KERAS_LEGACY);
    }
    return rc ? rc : pawl_saved_take_inputs(saved);
}

// ---- the bundle

struct bundle {
    struct pawl_saved *saved;
    char path[4200];
    int fd;
    uint64_t at;
    struct pawl_table table;
};

static int put(struct bundle *b, const void *bytes, size_t size)
{
    const int rc = pawl_io_write_all(b->fd, bytes, size, (off_t)b->at);

    b->at += size;
    return rc ? pawl_io_fail(rc, "write", b->path) : 0;
}

// Key -> BundleEntryProto, of what was written since `from`.
static int add_entry(struct bundle *b, const char *key, int type, uint64_t from, uint32_t crc,
                     const struct pawl_keras_variable *shape)
{
    struct pawl_text entry = { 0 };

    pawl_pb_put_int(&entry, 1, type);
    pawl_tf_shape(&entry, 2, false, shape ? shape->rank : 0, shape ? shape->dim : NULL);
    if (from) pawl_pb_put_int(&entry, 4, (int64_t)from);
    pawl_pb_put_int(&entry, 5, (int64_t)(b->at - from));
    pawl_pb_put_fixed32(&entry, 6, pawl_table_mask(crc));
    if (!entry.rc) pawl_table_add(&b->table, key, strlen(key), entry.bytes, entry.size);
    const int rc = entry.rc ? entry.rc : b->table.out.rc;
    pawl_text_free(&entry);
    return rc;
}

static int put_string(struct bundle *b, const char *key, const struct pawl_text *text)
{
    unsigned char head[8];
    struct pawl_text length = { 0 };
    const uint64_t from = b->at;

    for (int i = 0; i < 4; i++)
        head[i] = (unsigned char)(text->size >> 8 * i);
    const uint32_t mask = pawl_table_mask(pawl_crc32c(head, 4));
    for (int i = 0; i < 4; i++)
        head[4 + i] = (unsigned char)(mask >> 8 * i);
    pawl_pb_put_varint(&length, text->size);
    int rc = length.rc;
    if (!rc) rc = put(b, length.bytes, length.size);
    if (!rc) rc = put(b, head + 4, 4);
    if (!rc) rc = put(b, text->bytes, text->size);
    pawl_text_free(&length);
    const uint32_t crc = pawl_crc32c_more(pawl_crc32c(head, 8), text->bytes, text->size);
    return rc ? rc : add_entry(b, key, PAWL_TF_STRING, from, crc, NULL);
}

static int put_tensor(struct bundle *b, const struct pawl_saved_tensor *tensor)
{
    struct pawl_keras_file *file = &b->saved->file;
    const uint64_t from = b->at;
    float *values = NULL;
    int64_t count = 0;

    if (tensor->variable < 0) {
        const int64_t step = (int64_t)file->document.training->step;
        const int rc = put(b, &step, sizeof(step));
        return rc ? rc : add_entry(b, tensor->key, PAWL_TF_INT64, from,
                                   pawl_crc32c(&step, sizeof(step)), NULL);
    }
    const struct pawl_keras_variable *variable = &file->keras.variables[tensor->variable];
    const char *slot = tensor->slot < 0 ? NULL : b->saved->moments[tensor->slot];
    int rc = pawl_shape_count(&count, variable->rank, variable->dim);
    if (!rc) rc = pawl_alloc(&values, sizeof(float) * (size_t)count + 1, "a tensor");
    if (!rc)
        rc = pawl_document_fetch_target(&file->document,
                                        &file->keras.values.items[tensor->variable], slot,
                                        PAWL_F32, values);
    if (!rc && slot && strcmp(slot, "momentum_buffer") == 0 && file->momentum != 0)
        for (int64_t i = 0; i < count; i++)
            values[i] = (float)(values[i] * file->momentum);
    const size_t size = sizeof(float) * (size_t)count;
    if (!rc) rc = put(b, values, size);
    if (!rc)
        rc = add_entry(b, tensor->key, PAWL_TF_FLOAT, from, pawl_crc32c(values, size), variable);
    pawl_free(values);
    return rc;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct pawl_saved_tensor *)a)->key,
                  ((const struct pawl_saved_tensor *)b)->key);
}

static int put_bundle(struct bundle *b, const struct pawl_text *objects)
{
    struct pawl_saved *saved = b->saved;

    pawl_table_begin(&b->table, 0);
    pawl_table_add(&b->table, "", 0, "\x08\x01\x1a\x02\x08\x01", 6);
    qsort(saved->tensors, (size_t)saved->tensor_count, sizeof(*saved->tensors), by_key);
    bool put_graph = false;
    int rc = 0;
    for (int i = 0; i <= saved->tensor_count && !rc; i++) {  // in the order of the keys' bytes
        const bool last = i == saved->tensor_count;
        if (!put_graph && (last || strcmp(saved->tensors[i].key, OBJECT_GRAPH) > 0)) {
            rc = put_string(b, OBJECT_GRAPH, objects);
            put_graph = true;
        }
        if (!rc && !last) rc = put_tensor(b, &saved->tensors[i]);
    }
    return rc ? rc : pawl_table_finish(&b->table);
}

// ---- the directory

static int write_part(const char *path, const char *name, const struct pawl_text *text)
{
    char file[4300];

    snprintf(file, sizeof(file), "%s/%s", path, name);
    const int rc = pawl_io_write_file(file, text->bytes ? text->bytes : "", text->size, false);
    return rc ? pawl_io_fail(rc, "write", file) : 0;
}

static int write_variables(struct pawl_saved *saved, const char *path,
                           const struct pawl_text *objects)
{
    struct bundle *b = NULL;

    int rc = pawl_alloc(&b, sizeof(*b), "a bundle");
    if (rc) return rc;
    b->saved = saved;
    snprintf(b->path, sizeof(b->path), "%s/variables/variables.data-00000-of-00001", path);
    b->fd = pawl_io()->open(b->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (b->fd < 0) {
        rc = pawl_io_fail(b->fd, "create", b->path);
        goto out;
    }
    rc = put_bundle(b, objects);
    const int synced = rc ? 0 : pawl_io()->sync(b->fd), closed = pawl_io()->close(b->fd);
    if (!rc && (synced || closed))
        rc = pawl_io_fail(synced ? synced : closed, "fsync", b->path);
    if (!rc) rc = write_part(path, "variables/variables.index", &b->table.out);
    pawl_table_free(&b->table);
out:
    pawl_free(b);
    return rc;
}

static int write_all(struct pawl_saved *saved, const char *path)
{
    struct pawl_text graph = { 0 }, objects = { 0 };
    char variables[4200];

    int rc = pawl_saved_plan(saved);
    if (!rc) rc = pawl_saved_objects(saved, &objects);
    if (!rc) rc = pawl_saved_graph(saved, &graph);
    snprintf(variables, sizeof(variables), "%s/variables", path);
    int made = rc ? 0 : pawl_io()->mkdir(path, 0777);
    if (!rc && !made) made = pawl_io()->mkdir(variables, 0777);
    if (made) rc = pawl_io_fail(made, "create", path);
    if (!rc) rc = write_variables(saved, path, &objects);
    if (!rc) rc = write_part(path, "keras_metadata.pb", &saved->metadata);
    // The last: its presence says that the rest is complete.
    if (!rc) rc = write_part(path, "saved_model.pb", &graph);
    pawl_text_free(&graph);
    pawl_text_free(&objects);
    return rc;
}

int pawl_savedmodel_write(const struct pawl_document *document, const char *path,
                          const struct pawl_write_options *options)
{
    struct pawl_saved *saved = NULL;

    if (options->cast && options->dtype != PAWL_F32)
        return pawl_fail(PAWL_ENOTSUP, "a SavedModel is written in float32 alone");
    int rc = pawl_alloc(&saved, sizeof(*saved), "a SavedModel");
    if (rc) return rc;
    rc = open_model(saved, document);
    if (!rc) rc = write_all(saved, path);
    json_decref(saved->file.config);
    json_decref(saved->file.compile);
    pawl_keras_free(&saved->file.keras);
    pawl_saved_free(saved);
    pawl_free(saved);
    return rc;
}
