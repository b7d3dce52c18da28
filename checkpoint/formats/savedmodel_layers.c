// savedmodel_layers.c - the objects of a SavedModel's layers, and keras_metadata.pb about them.
//
//     root --"layer_with_weights-0", "layer-1"--> layer --"kernel"--> variable
//                                                       --"cell"--> inner layer --"kernel"--> ...
//
// Every object that Keras makes while it revives a layer must be here, or TensorFlow does not find
// its values. generic: plain objects, called by the layers' names.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/keras_inside.h"
#include "checkpoint/formats/savedmodel_save.h"

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

static json_t *tensor_shape(json_t *items)
{
    return json_pack("{ss so}", "class_name", "TensorShape", "items", items);
}

static json_t *shape_json(const struct pawl_shape *shape)
{
    json_t *items = json_pack("[n]");

    for (int d = 0; d < shape->rank; d++)
        json_array_append_new(items, json_integer(shape->dim[d]));
    return tensor_shape(items);
}

static const char *layer_name(const json_t *entry)
{
    return json_string_value(json_object_get(json_object_get(entry, "config"), "name"));
}

// The first of pawl's layers that a Keras layer became: of its own name, or of NAME.SOMETHING.
static const struct pawl_layer *first_of(const struct pawl_saved *saved, const char *name)
{
    const struct pawl_architecture *of = saved->file.keras.architecture;
    const size_t length = strlen(name);
    const struct pawl_layer *found = NULL;

    for (int i = 0; i < of->layer_count; i++) {
        const char *mine = of->layers[i].name;
        if (strcmp(mine, name) == 0) return &of->layers[i];
        if (!found && strncmp(mine, name, length) == 0 && mine[length] == '.')
            found = &of->layers[i];
    }
    return found;
}

// What a layer was built with: a shape, or a list of them for several inputs.
static json_t *build_shape(const struct pawl_saved *saved, const char *name)
{
    const struct pawl_architecture *of = saved->file.keras.architecture;
    const struct pawl_layer *layer = first_of(saved, name);
    json_t *list;

    if (!layer || !layer->input_count) return json_null();
    if (layer->input_count == 1) return shape_json(&of->layers[layer->input[0]].out);
    list = json_array();
    for (int k = 0; k < layer->input_count; k++)
        json_array_append_new(list, shape_json(&of->layers[layer->input[k]].out));
    return list;
}

// ---- layers within layers

// "query/kernel" is the variable "kernel" of the inner layer "_query_dense".
static const char *inner_name(const char *variable, char out[64])
{
    const char *slash = strchr(variable, '/');
    const int length = slash ? (int)(slash - variable) : 0;

    if (!slash) return NULL;
    if (strncmp(variable, "cell/", 5) == 0)
        snprintf(out, 64, "cell");
    else if (strncmp(variable, "attention_output/", 17) == 0)
        snprintf(out, 64, "_output_dense");
    else
        snprintf(out, 64, "_%.*s_dense", length, variable);
    return slash + 1;
}

static json_t *inner_about(const char *class_name, json_t *config, json_t *build)
{
    return json_pack("{sO sb sb ss ss so so}", "name", json_object_get(config, "name"), "trainable",
                     1, "expects_training_arg", 0, "dtype", "float32", "class_name", class_name,
                     "config", config, "build_input_shape", build);
}

// A projection of attention: (batch, time, width) -> (batch, time, heads, dim), or back.
static json_t *dense_about(const json_t *config, const char *name, const int64_t *kernel)
{
    const bool back = strcmp(name, "_output_dense") == 0;
    const char *shape = strcmp(name, "_value_dense") == 0 ? "value_shape"
                        : strcmp(name, "_key_dense") == 0 ? "key_shape" : "query_shape";
    const json_t *in = json_object_get(config, shape), *time = json_array_get(in, 1);
    const bool bias = json_is_true(json_object_get(config, "use_bias"));
    char own[64];
    json_t *about, *build;

    snprintf(own, sizeof(own), "%s", back ? "attention_output" : name + 1);
    if (!back) own[strlen(own) - strlen("_dense")] = 0;
    about = json_pack("{ss sb ss ss ss ss? so}", "name", own, "trainable", 1, "dtype", "float32",
                      "activation", "linear", "equation", back ? "abcd,cde->abe" : "abc,cde->abde",
                      "bias_axes", bias ? back ? "e" : "de" : NULL, "output_shape",
                      back ? json_pack("[n I]", (json_int_t)kernel[2])
                           : json_pack("[n I I]", (json_int_t)kernel[1], (json_int_t)kernel[2]));
    build = back ? json_pack("[n O I I]", time, (json_int_t)kernel[0], (json_int_t)kernel[1])
                 : json_pack("[n O I]", time, (json_int_t)kernel[0]);
    return inner_about("EinsumDense", about, tensor_shape(build));
}

static json_t *cell_about(const char *class_name, const json_t *config, const int64_t *kernel)
{
    static const char *const fields[] = { "units", "activation", "recurrent_activation",
                                          "use_bias", "reset_after" };
    char name[64];
    json_t *about = json_object();

    pawl_keras_snake(name, sizeof(name), class_name);
    snprintf(name + strlen(name), sizeof(name) - strlen(name), "_cell");
    json_object_set_new(about, "name", json_string(name));
    json_object_set_new(about, "trainable", json_true());
    json_object_set_new(about, "dtype", json_string("float32"));
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        if (json_object_get(config, fields[i]))
            json_object_set(about, fields[i], json_object_get(config, fields[i]));
    snprintf(name, sizeof(name), "%.40sCell", class_name);
    return inner_about(name, about, tensor_shape(json_pack("[n I]", (json_int_t)kernel[0])));
}

// ---- one layer

struct made {
    int node;
    const char *prefix;  // "layer_with_weights-2": of keys and of paths
    const json_t *entry;
    char inner[64];      // the inner layer that was made last
    int inner_node;
};

static int add_inner(struct pawl_saved *saved, struct made *m, int v, const char *name)
{
    const json_t *config = json_object_get(m->entry, "config");
    const char *class_name = json_string_value(json_object_get(m->entry, "class_name"));
    const int64_t *kernel = saved->file.keras.variables[v].dim;  // the first of its variables
    char path[128];

    m->inner_node = pawl_saved_add_user(saved, "_tf_keras_layer");
    if (m->inner_node < 0) return PAWL_ENOMEM;
    snprintf(m->inner, sizeof(m->inner), "%s", name);
    pawl_saved_edge(saved, m->node, m->inner_node, name);
    snprintf(path, sizeof(path), "root.%s.%s", m->prefix, name);
    return add_metadata(saved, m->inner_node, path, "_tf_keras_layer",
                        strcmp(name, "cell") ? dense_about(config, name, kernel)
                                             : cell_about(class_name, config, kernel));
}

static int add_variables(struct pawl_saved *saved, struct made *m, int layer)
{
    const struct pawl_keras *keras = &saved->file.keras;
    char key[400], full[300], inner[64];
    int rc = 0;

    for (int v = 0; v < keras->variable_count && !rc; v++) {
        const char *name = keras->variables[v].name, *own = name;
        int parent = m->node;
        if (keras->variables[v].layer != layer) continue;
        if ((own = inner_name(name, inner))) {
            if (strcmp(m->inner, inner)) rc = add_inner(saved, m, v, inner);
            parent = m->inner_node;
            snprintf(key, sizeof(key), "%s/%s/%s", m->prefix, inner, own);
        } else {
            own = name;
            snprintf(key, sizeof(key), "%s/%s", m->prefix, name);
        }
        if (rc) return rc;
        pawl_saved_name(saved, v, full, sizeof(full));
        saved->node_of[v] = pawl_saved_add_variable(saved, key, full, v, -1);
        if (saved->node_of[v] < 0) return PAWL_ENOMEM;
        pawl_saved_edge(saved, parent, saved->node_of[v], own);
    }
    return rc;
}

// Index in keras.layers, or -1; and whether it has variables.
static int find_layer(const struct pawl_saved *saved, const char *name, bool *weighted)
{
    const struct pawl_keras *keras = &saved->file.keras;
    int found = -1;

    *weighted = false;
    for (int l = 0; l < keras->layer_count && found < 0; l++)
        if (strcmp(keras->layers[l].name, name) == 0) found = l;
    for (int v = 0; v < keras->variable_count; v++)
        *weighted |= keras->variables[v].layer == found;
    return found;
}

static int add_input(struct pawl_saved *saved, const json_t *entry, int number)
{
    json_t *config = json_object_get(entry, "config");
    const int node = pawl_saved_add_user(saved, "_tf_keras_input_layer");
    char at[64], path[80];

    if (node < 0) return PAWL_ENOMEM;
    snprintf(at, sizeof(at), "layer-%d", number);
    snprintf(path, sizeof(path), "root.%s", at);
    pawl_saved_edge(saved, 0, node, at);
    json_object_set_new(config, "sparse", json_false());
    json_object_set_new(config, "ragged", json_false());
    json_t *about = json_copy(config);
    json_object_set_new(about, "class_name", json_string("InputLayer"));
    json_object_set(about, "config", config);
    return add_metadata(saved, node, path, "_tf_keras_input_layer", about);
}

static int add_layer(struct pawl_saved *saved, const json_t *entry, int number, int *weighted)
{
    json_t *config = json_object_get(entry, "config");
    const char *name = layer_name(entry);
    const json_t *class_name = json_object_get(entry, "class_name");
    struct made m = { .entry = entry, .inner_node = -1 };
    char prefix[64], at[64], path[80];
    bool has = false;
    const int layer = find_layer(saved, name, &has);

    m.node = pawl_saved_add_user(saved, "_tf_keras_layer");
    if (m.node < 0) return PAWL_ENOMEM;
    snprintf(at, sizeof(at), "layer-%d", number);
    snprintf(prefix, sizeof(prefix), "%s", at);
    if (has) {
        snprintf(prefix, sizeof(prefix), "layer_with_weights-%d", (*weighted)++);
        pawl_saved_edge(saved, 0, m.node, prefix);
    }
    pawl_saved_edge(saved, 0, m.node, at);
    m.prefix = prefix;
    snprintf(path, sizeof(path), "root.%s", prefix);
    json_t *about = json_pack("{ss sb sb ss sO sO}", "name", name, "trainable", 1,
                              "expects_training_arg", 0, "dtype", "float32", "class_name",
                              class_name, "config", config);
    if (strcmp(json_string_value(class_name), "MultiHeadAttention"))
        json_object_set_new(about, "build_input_shape", build_shape(saved, name));
    const int rc = add_metadata(saved, m.node, path, "_tf_keras_layer", about);
    return rc ? rc : add_variables(saved, &m, layer);
}

// ---- the model

static int add_root_metadata(struct pawl_saved *saved)
{
    json_t *config = json_object_get(saved->file.config, "config");
    const char *name = json_string_value(json_object_get(config, "name"));
    const bool sequential = saved->file.keras.sequential;
    const char *class_name = sequential ? "Sequential" : "Functional";
    json_t *about = json_pack("{ss sb sb ss ss sO sb ss ss s{ss sO}}", "name", name ? name : "m",
                              "trainable", 1, "expects_training_arg", 1, "dtype", "float32",
                              "class_name", class_name, "config", config, "is_graph_network", 1,
                              "keras_version", "2.11.0", "backend", "tensorflow", "model_config",
                              "class_name", class_name, "config", config);
    json_t *compile = saved->file.compile;

    if (saved->slot_count >= 0 && json_is_object(compile)) {
        json_t *optimizer = json_object_get(json_object_get(compile, "optimizer_config"),
                                            "config");
        json_object_set_new(optimizer, "is_legacy_optimizer", json_false());
        json_object_set(about, "training_config", compile);
    }
    return add_metadata(saved, 0, "root",
                        sequential ? "_tf_keras_sequential" : "_tf_keras_network", about);
}

static int plan_generic(struct pawl_saved *saved)
{
    const struct pawl_keras *keras = &saved->file.keras;
    int rc = pawl_saved_add_user(saved, "_generic_user_object") < 0 ? PAWL_ENOMEM : 0;

    for (int l = 0; !rc && l < keras->layer_count; l++) {
        struct made m = { .prefix = keras->layers[l].name,
                          .node = pawl_saved_add_user(saved, "_generic_user_object") };
        if (m.node < 0) return PAWL_ENOMEM;
        pawl_saved_edge(saved, 0, m.node, keras->layers[l].name);
        rc = add_variables(saved, &m, l);
    }
    return rc;
}

int pawl_saved_plan_layers(struct pawl_saved *saved)
{
    const bool sequential = saved->file.keras.sequential;
    int number = 0, weighted = 0;
    size_t i;
    json_t *entry;

    if (saved->generic) return plan_generic(saved);
    if (pawl_saved_add_user(saved, sequential ? "_tf_keras_sequential" : "_tf_keras_network") < 0)
        return PAWL_ENOMEM;
    int rc = add_root_metadata(saved);
    json_array_foreach(saved->layers, i, entry) {
        const char *class_name = json_string_value(json_object_get(entry, "class_name"));
        if (rc) break;
        if (strcmp(class_name, "InputLayer"))
            rc = add_layer(saved, entry, number++, &weighted);
        else if (!sequential)
            rc = add_input(saved, entry, number++);
    }
    return rc;
}
