// savedmodel_plan.c - the objects of a SavedModel: model, layers, variables, optimizer.
//
// The optimizer hangs on the root as "train_step", a name that a Keras model already has, so that
// loading does not bind it; the checkpoint alone calls it "optimizer" too. Then TensorFlow defers
// its state until compile() makes the optimizer, and restores it. Its own directories lose it.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/savedmodel_nodes.h"
#include "checkpoint/formats/savedmodel_save.h"
#include "kernels/memory.h"

#define SUFFIX "/.ATTRIBUTES/VARIABLE_VALUE"

void pawl_saved_name(const struct pawl_saved *saved, int v, char *out, size_t size)
{
    const struct pawl_keras_variable *variable = &saved->file.keras.variables[v];

    snprintf(out, size, "%s/%s", saved->file.keras.layers[variable->layer].name, variable->name);
}

int pawl_saved_variable(const struct pawl_saved *saved, const char *layer, const char *name)
{
    const struct pawl_keras *keras = &saved->file.keras;

    for (int v = 0; v < keras->variable_count; v++)
        if (strcmp(keras->variables[v].name, name) == 0
            && strcmp(keras->layers[keras->variables[v].layer].name, layer) == 0)
            return v;
    return -1;
}

const struct pawl_shape *pawl_saved_shape(const struct pawl_saved *saved, const char *layer)
{
    const struct pawl_architecture *architecture = saved->file.keras.architecture;
    const size_t length = strlen(layer);
    const struct pawl_shape *found = NULL;

    for (int i = 0; i < architecture->layer_count; i++) {
        const char *name = architecture->layers[i].name;
        if (strcmp(name, layer) == 0) return &architecture->layers[i].out;
        if (strncmp(name, layer, length) == 0 && name[length] == '.')
            found = &architecture->layers[i].out;
    }
    return found;
}

// ---- nodes

static int add_node(struct pawl_saved *saved)
{
    const int count = saved->node_count;

    if ((count & (count - 1)) == 0
        && pawl_realloc(&saved->nodes,
                        sizeof(*saved->nodes) * (count ? 2 * (size_t)count : 1), "objects"))
        return -1;
    saved->nodes[saved->node_count++] = (struct pawl_saved_node){ .extra = { 0 } };
    return count;
}

static void edge(struct pawl_text *children, int node, const char *name)
{
    const size_t reference = pawl_pb_begin(children, 1);

    if (node) pawl_pb_put_int(children, 1, node);
    pawl_pb_put_string(children, 2, name);
    pawl_pb_end(children, reference);
}

static int add_user(struct pawl_saved *saved, const char *identifier)
{
    const int node = add_node(saved);

    if (node < 0) return -1;
    struct pawl_text *object = &saved->nodes[node].object;
    const size_t user = pawl_pb_begin(object, 4);
    pawl_pb_put_string(object, 1, identifier);
    const size_t version = pawl_pb_begin(object, 2);
    pawl_pb_put_int(object, 1, 1);
    pawl_pb_put_int(object, 2, 1);
    pawl_pb_end(object, version);
    pawl_pb_end(object, user);
    return node;
}

// v -1: the optimizer's iteration.
static int add_variable(struct pawl_saved *saved, const char *key, const char *name, int v,
                        int slot)
{
    static const struct pawl_keras_variable scalar = { .rank = 0 };
    const struct pawl_keras_variable *variable = v < 0 ? &scalar
                                                       : &saved->file.keras.variables[v];
    const int node = add_node(saved), count = saved->tensor_count;

    if (node < 0
        || pawl_realloc(&saved->tensors, sizeof(*saved->tensors) * ((size_t)count + 1), "tensors"))
        return -1;
    struct pawl_saved_tensor *tensor = &saved->tensors[saved->tensor_count++];
    *tensor = (struct pawl_saved_tensor){ .variable = v, .slot = slot };
    snprintf(tensor->key, sizeof(tensor->key), "%s" SUFFIX, key);

    struct pawl_text *object = &saved->nodes[node].object;
    const size_t message = pawl_pb_begin(object, 7);
    pawl_pb_put_int(object, 1, v < 0 ? PAWL_TF_INT64 : PAWL_TF_FLOAT);
    pawl_tf_shape(object, 2, false, variable->rank, variable->dim);
    if (slot < 0 && v >= 0 && variable->trainable) pawl_pb_put_int(object, 3, 1);
    pawl_pb_put_string(object, 6, name);
    pawl_pb_end(object, message);

    struct pawl_text *attribute = &saved->nodes[node].attribute;
    const size_t value = pawl_pb_begin(attribute, 2);
    pawl_pb_put_string(attribute, 1, "VARIABLE_VALUE");
    pawl_pb_put_string(attribute, 2, name);
    pawl_pb_put_string(attribute, 3, tensor->key);
    pawl_pb_end(attribute, value);
    return node;
}

// ---- keras_metadata.pb

static int add_metadata(struct pawl_saved *saved, int node, const char *path,
                        const char *identifier, json_t *about)
{
    char *text = json_dumps(about, JSON_COMPACT);
    struct pawl_text *out = &saved->metadata;

    json_decref(about);
    if (!text) return pawl_fail(PAWL_ENOMEM, "no memory for a configuration");
    const size_t entry = pawl_pb_begin(out, 1);
    if (node) pawl_pb_put_int(out, 2, node);
    pawl_pb_put_string(out, 3, path);
    pawl_pb_put_string(out, 4, identifier);
    pawl_pb_put_string(out, 5, text);
    const size_t version = pawl_pb_begin(out, 6);
    pawl_pb_put_int(out, 1, 2);
    pawl_pb_put_int(out, 2, 1);
    pawl_pb_end(out, version);
    pawl_pb_end(out, entry);
    free(text);
    return out->rc;
}

static json_t *shape_json(const struct pawl_shape *shape)
{
    json_t *items = json_array();

    json_array_append_new(items, json_null());
    for (int d = 0; d < shape->rank; d++)
        json_array_append_new(items, json_integer(shape->dim[d]));
    return json_pack("{ss so}", "class_name", "TensorShape", "items", items);
}

static int add_root_metadata(struct pawl_saved *saved)
{
    json_t *config = json_object_get(saved->file.config, "config");
    const char *name = json_string_value(json_object_get(config, "name"));
    json_t *about = json_pack("{ss sb sb ss ss sO sb ss ss s{ss sO}}", "name", name ? name : "m",
                              "trainable", 1, "expects_training_arg", 1, "dtype", "float32",
                              "class_name", "Sequential", "config", config, "is_graph_network", 1,
                              "keras_version", "2.11.0", "backend", "tensorflow", "model_config",
                              "class_name", "Sequential", "config", config);
    json_t *compile = saved->file.compile;

    if (saved->slot_count >= 0 && json_is_object(compile)) {
        json_t *optimizer = json_object_get(json_object_get(compile, "optimizer_config"),
                                            "config");
        json_object_set_new(optimizer, "is_legacy_optimizer", json_false());
        json_object_set(about, "training_config", compile);
    }
    return add_metadata(saved, 0, "root", "_tf_keras_sequential", about);
}

// ---- the model

static int add_layer(struct pawl_saved *saved, const json_t *entry, const struct pawl_shape *in,
                     int number, int *weighted)
{
    json_t *config = json_object_get(entry, "config");
    const char *name = json_string_value(json_object_get(config, "name"));
    const struct pawl_keras *keras = &saved->file.keras;
    const int node = add_user(saved, "_tf_keras_layer");
    char prefix[64], at[64], path[80], key[200], full[300];
    bool has = false;

    if (node < 0) return PAWL_ENOMEM;
    for (int v = 0; v < keras->variable_count; v++)
        has |= strcmp(keras->layers[keras->variables[v].layer].name, name) == 0;
    snprintf(at, sizeof(at), "layer-%d", number);
    snprintf(prefix, sizeof(prefix), "%s", at);
    if (has) {
        snprintf(prefix, sizeof(prefix), "layer_with_weights-%d", (*weighted)++);
        edge(&saved->nodes[0].children, node, prefix);
    }
    edge(&saved->nodes[0].children, node, at);
    snprintf(path, sizeof(path), "root.%s", prefix);
    for (int v = 0; v < keras->variable_count; v++) {
        if (strcmp(keras->layers[keras->variables[v].layer].name, name)) continue;
        snprintf(key, sizeof(key), "%s/%s", prefix, keras->variables[v].name);
        pawl_saved_name(saved, v, full, sizeof(full));
        saved->node_of[v] = add_variable(saved, key, full, v, -1);
        if (saved->node_of[v] < 0) return PAWL_ENOMEM;
        edge(&saved->nodes[node].children, saved->node_of[v], keras->variables[v].name);
    }
    json_t *about = json_pack("{ss sb sb ss sO sO so}", "name", name, "trainable", 1,
                              "expects_training_arg", 0, "dtype", "float32", "class_name",
                              json_object_get(entry, "class_name"), "config", config,
                              "build_input_shape", shape_json(in));
    return add_metadata(saved, node, path, "_tf_keras_layer", about);
}

static void fullargspec(struct pawl_text *out, const char *input)
{
    static const char *const names[] = { "args", "varargs", "varkw", "defaults", "kwonlyargs",
                                         "kwonlydefaults", "annotations" };
    static const uint32_t kinds[] = { 51, 1, 1, 1, 51, 1, 53 };  // list, none..., dict
    const size_t spec = pawl_pb_begin(out, 1), named = pawl_pb_begin(out, 54);

    pawl_pb_put_string(out, 1, "FullArgSpec");
    for (int i = 0; i < 7; i++) {
        const size_t pair = pawl_pb_begin(out, 2);
        pawl_pb_put_string(out, 1, names[i]);
        const size_t value = pawl_pb_begin(out, 2), inner = pawl_pb_begin(out, kinds[i]);
        if (i == 0) {
            const size_t item = pawl_pb_begin(out, 1);
            pawl_pb_put_string(out, 13, input);
            pawl_pb_end(out, item);
        }
        pawl_pb_end(out, inner);
        pawl_pb_end(out, value);
        pawl_pb_end(out, pair);
    }
    pawl_pb_end(out, named);
    pawl_pb_end(out, spec);
}

static int add_functions(struct pawl_saved *saved)
{
    const int serve = add_node(saved), signatures = add_user(saved, "signature_map");
    const int bare = add_node(saved);

    if (serve < 0 || signatures < 0 || bare < 0) return PAWL_ENOMEM;
    struct pawl_text *object = &saved->nodes[serve].object;
    const size_t function = pawl_pb_begin(object, 6);
    pawl_pb_put_string(object, 1, "pawl_serve_flat");
    const size_t spec = pawl_pb_begin(object, 2);
    fullargspec(object, saved->input);
    const size_t signature = pawl_pb_begin(object, 5);
    pawl_pb_end(object, pawl_pb_begin(object, 1));
    pawl_pb_end(object, signature);
    pawl_pb_end(object, spec);
    pawl_pb_end(object, function);

    object = &saved->nodes[bare].object;
    const size_t concrete = pawl_pb_begin(object, 8);
    pawl_pb_put_string(object, 1, "pawl_serve");
    pawl_pb_put_string(object, 2, saved->input);
    pawl_pb_put_int(object, 3, 1);
    pawl_pb_end(object, concrete);
    edge(&saved->nodes[0].children, serve, "serve");
    edge(&saved->nodes[0].children, serve, "__call__");
    edge(&saved->nodes[0].children, signatures, "signatures");
    edge(&saved->nodes[signatures].children, bare, "serving_default");
    return 0;
}

// One list per slot, of the trainable variables in order; bundle keys count through all of them,
// a variable's slots side by side.
static int add_optimizer(struct pawl_saved *saved)
{
    const struct pawl_keras *keras = &saved->file.keras;
    const int optimizer = add_user(saved, "_generic_user_object");
    int lists[2] = { -1, -1 }, index = 0;
    char key[64], name[400], at[16];

    if (optimizer < 0) return PAWL_ENOMEM;
    const int step = add_variable(saved, "optimizer/_iterations", "iteration", -1, -1);
    if (step < 0) return PAWL_ENOMEM;
    edge(&saved->nodes[optimizer].children, step, "_iterations");
    for (int s = 0; s < saved->slot_count; s++) {
        lists[s] = add_user(saved, "trackable_list_wrapper");
        if (lists[s] < 0) return PAWL_ENOMEM;
        edge(&saved->nodes[optimizer].children, lists[s], saved->lists[s]);
    }
    for (int v = 0; v < keras->variable_count; v++) {
        if (!keras->variables[v].trainable) continue;
        for (int s = 0; s < saved->slot_count; s++) {
            char full[300];
            pawl_saved_name(saved, v, full, sizeof(full));
            snprintf(key, sizeof(key), "optimizer/_variables/%d",
                     index * saved->slot_count + s + 1);
            snprintf(name, sizeof(name), "%s/%s/%s", saved->slot_count == 2 ? "Adam" : "SGD",
                     saved->words[s], full);
            const int node = add_variable(saved, key, name, v, s);
            if (node < 0) return PAWL_ENOMEM;
            snprintf(at, sizeof(at), "%d", index);
            edge(&saved->nodes[lists[s]].children, node, at);
        }
        index++;
    }
    edge(&saved->nodes[0].children, optimizer, "train_step");
    edge(&saved->nodes[0].extra, optimizer, "optimizer");
    return 0;
}

int pawl_saved_plan(struct pawl_saved *saved)
{
    const struct pawl_shape *in = &saved->file.keras.architecture->layers[0].out;
    int number = 0, weighted = 0;
    size_t i;
    json_t *layer;

    int rc = pawl_alloc(&saved->node_of,
                        sizeof(int) * ((size_t)saved->file.keras.variable_count + 1), "objects");
    if (!rc && add_user(saved, "_tf_keras_sequential") < 0) rc = PAWL_ENOMEM;
    if (!rc) rc = add_root_metadata(saved);
    json_array_foreach(saved->layers, i, layer) {
        if (!i || rc) continue;
        rc = add_layer(saved, layer, in, number++, &weighted);
        const json_t *config = json_object_get(layer, "config");
        const struct pawl_shape *out
            = pawl_saved_shape(saved, json_string_value(json_object_get(config, "name")));
        if (out) in = out;
    }
    if (!rc) rc = add_functions(saved);
    if (!rc && saved->slot_count >= 0) rc = add_optimizer(saved);
    return rc;
}

void pawl_saved_free(struct pawl_saved *saved)
{
    for (int i = 0; i < saved->node_count; i++) {
        pawl_text_free(&saved->nodes[i].extra);
        pawl_text_free(&saved->nodes[i].children);
        pawl_text_free(&saved->nodes[i].object);
        pawl_text_free(&saved->nodes[i].attribute);
    }
    pawl_free(saved->nodes);
    pawl_free(saved->tensors);
    pawl_free(saved->node_of);
    pawl_text_free(&saved->metadata);
}

static void add_text(struct pawl_text *out, const struct pawl_text *part)
{
    if (part->rc && !out->rc) out->rc = part->rc;
    if (part->size) pawl_text_add(out, part->bytes, part->size);
}

int pawl_saved_objects(struct pawl_saved *saved, struct pawl_text *out)
{
    for (int i = 0; i < saved->node_count; i++) {
        const size_t node = pawl_pb_begin(out, 1);
        add_text(out, &saved->nodes[i].extra);
        add_text(out, &saved->nodes[i].children);
        add_text(out, &saved->nodes[i].attribute);
        pawl_pb_end(out, node);
    }
    return out->rc;
}
