// savedmodel_keras.c - keras_metadata.pb: the configuration of a tf.keras model.
//
//     SavedMetadata {1 nodes* {2 node_id, 3 node_path, 4 identifier, 5 metadata (JSON)}}
//
// The node "root" has everything: class, configuration, training_config. Source:
// keras/protobuf/saved_metadata.proto.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/keras_read.h"
#include "checkpoint/formats/savedmodel.h"
#include "kernels/memory.h"

enum { METADATA_BYTES_MAX = 256 << 20 };

// What Keras writes for a tuple or a shape, {"class_name": "__tuple__", "items": [...]}, as the
// list that it is. value: borrowed; NULL when it is something else.
static json_t *wrapped(const json_t *value)
{
    const char *name = json_string_value(json_object_get(value, "class_name"));
    json_t *items = json_object_get(value, "items");

    if (!name || !json_is_array(items)) return NULL;
    return strcmp(name, "__tuple__") && strcmp(name, "TensorShape") ? NULL : items;
}

// Unwraps all lists below root, level after level: todo holds what is still to be looked at.
static int unwrap(json_t *root)
{
    json_t **todo = NULL, *value, *items;
    size_t count = 0, room = 0, i;
    const char *key;
    void *next;
    int rc = 0;

    for (json_t *at = root; at && !rc; at = count ? todo[--count] : NULL) {
        const size_t more = json_is_object(at) ? json_object_size(at) : json_array_size(at);
        if (count + more > room) {
            room = 2 * (count + more);
            rc = pawl_realloc(&todo, sizeof(json_t *) * room, "a configuration");
            if (rc) break;
        }
        json_object_foreach_safe(at, next, key, value) {
            if ((items = wrapped(value))) json_object_set_new(at, key, json_incref(items));
            todo[count++] = json_object_get(at, key);
        }
        for (i = 0; json_is_array(at) && i < json_array_size(at); i++) {
            if ((items = wrapped(json_array_get(at, i))))
                json_array_set_new(at, i, json_incref(items));
            todo[count++] = json_array_get(at, i);
        }
    }
    pawl_free(todo);
    return rc;
}

static int take_node(struct pawl_savedmodel *model, struct pawl_pb *in,
                     const struct pawl_pb_field *field)
{
    struct pawl_pb node;
    struct pawl_pb_field inside, json = { 0 };
    char path[512] = "";
    json_error_t error;

    int rc = pawl_pb_enter(in, field, &node);
    while (!rc && !(rc = pawl_pb_next(&node, &inside)) && inside.number) {
        if (inside.number == 3) rc = pawl_pb_string(&node, &inside, path, sizeof(path));
        if (inside.number == 5) json = inside;
    }
    if (rc || strcmp(path, "root") || model->config) return rc;
    if (json.type != PAWL_PB_BYTES)
        return pawl_pb_fail(in, field->start, "the model's configuration is not there");
    model->config = json_loadb((const char *)json.bytes, json.size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(model->config))
        return pawl_pb_fail(&node, json.start, "the model's configuration is not JSON: %.100s",
                            model->config ? "no object" : error.text);
    return unwrap(model->config);
}

static int read_metadata(struct pawl_savedmodel *model)
{
    struct pawl_pb in;
    struct pawl_pb_field field;
    char what[4200], *bytes = NULL;
    uint64_t size = 0;
    int file = -1;

    snprintf(what, sizeof(what), "%s/keras_metadata.pb", model->path);
    int rc = pawl_document_add_file(model->document, what, &file, &size);
    if (rc == PAWL_ENONE) return 0;
    if (!rc && size > METADATA_BYTES_MAX)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: it is larger than 256 MiB", what);
    if (!rc) rc = pawl_alloc(&bytes, (size_t)size + 1, "keras_metadata.pb");
    if (!rc) rc = pawl_document_read_at(model->document, file, 0, bytes, (size_t)size);
    pawl_pb_open(&in, bytes, rc ? 0 : (size_t)size, what, 0);
    while (!rc && !(rc = pawl_pb_next(&in, &field)) && field.number)
        if (field.number == 1) rc = take_node(model, &in, &field);
    pawl_free(bytes);
    return rc;
}

int pawl_savedmodel_read_keras(struct pawl_savedmodel *model)
{
    const int rc = read_metadata(model);

    if (rc) return rc;
    if (model->config)
        return pawl_keras_take_config(model->document, model->config,
                                      json_object_get(model->config, "training_config"));
    pawl_document_warn(model->document, "this SavedModel holds a graph of TensorFlow operations "
                       "and no layers (a Keras 3 export, or no Keras model): its weights are "
                       "read, its architecture is not. try: --arch MODEL.json");
    return 0;
}
