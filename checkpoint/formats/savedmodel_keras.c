// savedmodel_keras.c - keras_metadata.pb: the configuration of a tf.keras model.
//
//     SavedMetadata {1 nodes* {2 node_id, 3 node_path, 4 identifier, 5 metadata (JSON)}}
//
// The node "root" has everything: class, configuration, training_config. Source:
// keras/protobuf/saved_metadata.proto.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/savedmodel.h"
#include "kernels/memory.h"

enum { METADATA_BYTES_MAX = 256 << 20 };

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
    return 0;
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
    if (!model->config)
        pawl_document_warn(model->document, "this SavedModel holds a graph of TensorFlow "
                           "operations and no layers (a Keras 3 export, or no Keras model): its "
                           "weights are read, its architecture is not. try: --arch MODEL.json");
    return 0;
}
