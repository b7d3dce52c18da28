// savedmodel_graph_write.c - saved_model.pb: graph, functions, signature, objects.
//
// Source: tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph,struct}.proto.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/savedmodel_nodes.h"
#include "checkpoint/formats/savedmodel_save.h"

enum { GRAPH_NODE = 1 };

static const struct pawl_keras_variable *variable_of(const struct pawl_saved *saved, int v)
{
    return &saved->file.keras.variables[v];
}

static const struct pawl_shape *input_shape(const struct pawl_saved *saved, int k)
{
    return &saved->file.keras.architecture->layers[saved->inputs[k].layer].out;
}

static const struct pawl_shape *output_shape(const struct pawl_saved *saved)
{
    const struct pawl_architecture *architecture = saved->file.keras.architecture;

    return &architecture->layers[architecture->layer_count - 1].out;
}

// Attributes of a call of function f with the input and all handles.
static void call_attrs(struct pawl_saved *saved, struct pawl_text *out, const char *f)
{
    int types[PAWL_INPUTS_MAX];

    for (int k = 0; k < saved->input_count; k++)
        types[k] = saved->inputs[k].type;
    pawl_tf_function(out, "f", f);
    pawl_tf_types(out, "Tin", types, saved->input_count, PAWL_TF_RESOURCE,
                  saved->file.keras.variable_count);
    pawl_tf_types(out, "Tout", NULL, 0, PAWL_TF_FLOAT, 1);
}

static void put_signature(struct pawl_saved *saved, struct pawl_text *out, const char *name)
{
    const size_t signature = pawl_pb_begin(out, 1);
    char handle[32];

    pawl_pb_put_string(out, 1, name);
    for (int k = 0; k < saved->input_count; k++) {
        const size_t input = pawl_pb_begin(out, 2);
        pawl_pb_put_string(out, 1, saved->inputs[k].name);
        pawl_pb_put_int(out, 3, saved->inputs[k].type);
        pawl_pb_end(out, input);
    }
    for (int v = 0; v < saved->file.keras.variable_count; v++) {
        const size_t arg = pawl_pb_begin(out, 2);
        snprintf(handle, sizeof(handle), "v%d", v);
        pawl_pb_put_string(out, 1, handle);
        pawl_pb_put_int(out, 3, PAWL_TF_RESOURCE);
        const size_t data = pawl_pb_begin(out, 7);
        pawl_pb_put_int(out, 1, PAWL_TF_FLOAT);
        pawl_tf_shape(out, 2, false, variable_of(saved, v)->rank, variable_of(saved, v)->dim);
        pawl_pb_end(out, data);
        pawl_pb_end(out, arg);
    }
    const size_t output = pawl_pb_begin(out, 3);
    pawl_pb_put_string(out, 1, "output_0");
    pawl_pb_put_int(out, 3, PAWL_TF_FLOAT);
    pawl_pb_end(out, output);
    pawl_pb_put_int(out, 17, 1);
    pawl_pb_end(out, signature);
}

static int put_function(struct pawl_saved *saved, struct pawl_text *out, const char *name,
                        const char *inner)
{
    const size_t function = pawl_pb_begin(out, 1);
    char result[300] = "call:output:0", handle[32];
    int rc = 0;

    put_signature(saved, out, name);
    if (inner) {
        const size_t node = pawl_tf_node(out, 3, "call", "StatefulPartitionedCall");
        for (int k = 0; k < saved->input_count; k++)
            pawl_tf_input(out, saved->inputs[k].name);
        for (int v = 0; v < saved->file.keras.variable_count; v++) {
            snprintf(handle, sizeof(handle), "v%d", v);
            pawl_tf_input(out, handle);
        }
        call_attrs(saved, out, inner);
        pawl_pb_end(out, node);
    } else {
        rc = pawl_saved_emit(saved, out, result);
    }
    const size_t ret = pawl_pb_begin(out, 4);
    pawl_pb_put_string(out, 1, "output_0");
    pawl_pb_put_string(out, 2, result);
    pawl_pb_end(out, ret);
    pawl_pb_end(out, function);
    return rc;
}

// ---- the main graph

static void put_handles(struct pawl_saved *saved, struct pawl_text *out)
{
    char name[300];

    for (int v = 0; v < saved->file.keras.variable_count; v++) {
        pawl_saved_name(saved, v, name, sizeof(name));
        const size_t node = pawl_tf_node(out, GRAPH_NODE, name, "VarHandleOp");
        pawl_tf_type(out, "dtype", PAWL_TF_FLOAT);
        pawl_tf_shape_attr(out, "shape", false, variable_of(saved, v)->rank,
                           variable_of(saved, v)->dim);
        pawl_tf_string(out, "shared_name", name);
        pawl_pb_end(out, node);
    }
}

static void put_call(struct pawl_saved *saved, struct pawl_text *out)
{
    char name[300];
    size_t node;

    for (int k = 0; k < saved->input_count; k++) {
        const struct pawl_shape *in = input_shape(saved, k);
        snprintf(name, sizeof(name), "serving_default_%s", saved->inputs[k].name);
        node = pawl_tf_node(out, GRAPH_NODE, name, "Placeholder");
        pawl_tf_type(out, "dtype", saved->inputs[k].type);
        pawl_tf_shape_attr(out, "shape", true, in->rank, in->dim);
        pawl_pb_end(out, node);
    }
    node = pawl_tf_node(out, GRAPH_NODE, "StatefulPartitionedCall", "StatefulPartitionedCall");
    for (int k = 0; k < saved->input_count; k++) {
        snprintf(name, sizeof(name), "serving_default_%s", saved->inputs[k].name);
        pawl_tf_input(out, name);
    }
    for (int v = 0; v < saved->file.keras.variable_count; v++) {
        pawl_saved_name(saved, v, name, sizeof(name));
        pawl_tf_input(out, name);
    }
    call_attrs(saved, out, "pawl_serve");
    pawl_pb_end(out, node);
}

static const char *key_of(void *context, int v)
{
    const struct pawl_saved *saved = context;

    for (int i = 0; i < saved->tensor_count; i++)
        if (saved->tensors[i].variable == v && saved->tensors[i].slot < 0)
            return saved->tensors[i].key;
    return "";
}

static const char *no_slice(void *context, int i)
{
    (void)context, (void)i;
    return "";
}

// RestoreV2 and SaveV2 have the same first three inputs.
static size_t begin_io(struct pawl_text *out, const char *name, const char *op)
{
    const size_t node = pawl_tf_node(out, GRAPH_NODE, name, op);

    pawl_tf_input(out, "saver_filename");
    pawl_tf_input(out, "save/names");
    pawl_tf_input(out, "save/slices");
    return node;
}

static void put_restore(struct pawl_saved *saved, struct pawl_text *out)
{
    const int count = saved->file.keras.variable_count;
    char name[300], from[64];
    size_t node = begin_io(out, "save/restore", "RestoreV2");

    pawl_tf_types(out, "dtypes", NULL, 0, PAWL_TF_FLOAT, count);
    pawl_pb_end(out, node);
    for (int v = 0; v < count; v++) {
        snprintf(from, sizeof(from), "save/assign_%d", v);
        node = pawl_tf_node(out, GRAPH_NODE, from, "AssignVariableOp");
        pawl_saved_name(saved, v, name, sizeof(name));
        pawl_tf_input(out, name);
        snprintf(from, sizeof(from), v ? "save/restore:%d" : "save/restore", v);
        pawl_tf_input(out, from);
        pawl_tf_type(out, "dtype", PAWL_TF_FLOAT);
        pawl_pb_end(out, node);
    }
    node = pawl_tf_node(out, GRAPH_NODE, "save/restore_all", "NoOp");
    for (int v = 0; v < count; v++) {
        snprintf(from, sizeof(from), "^save/assign_%d", v);
        pawl_tf_input(out, from);
    }
    pawl_pb_end(out, node);
}

static void put_save(struct pawl_saved *saved, struct pawl_text *out)
{
    const int count = saved->file.keras.variable_count;
    char name[300], read[64];
    size_t node;

    for (int v = 0; v < count; v++) {
        snprintf(read, sizeof(read), "save/read_%d", v);
        node = pawl_tf_node(out, GRAPH_NODE, read, "ReadVariableOp");
        pawl_saved_name(saved, v, name, sizeof(name));
        pawl_tf_input(out, name);
        pawl_tf_type(out, "dtype", PAWL_TF_FLOAT);
        pawl_pb_end(out, node);
    }
    node = begin_io(out, "save/save", "SaveV2");
    for (int v = 0; v < count; v++) {
        snprintf(read, sizeof(read), "save/read_%d", v);
        pawl_tf_input(out, read);
    }
    pawl_tf_types(out, "dtypes", NULL, 0, PAWL_TF_FLOAT, count);
    pawl_pb_end(out, node);
    node = pawl_tf_node(out, GRAPH_NODE, "save/path", "Identity");
    pawl_tf_input(out, "saver_filename");
    pawl_tf_input(out, "^save/save");
    pawl_tf_type(out, "T", PAWL_TF_STRING);
    pawl_pb_end(out, node);
}

static int put_graph(struct pawl_saved *saved, struct pawl_text *out)
{
    const int count = saved->file.keras.variable_count;
    const size_t graph = pawl_pb_begin(out, 2);

    put_handles(saved, out);
    put_call(saved, out);
    const size_t node = pawl_tf_node(out, GRAPH_NODE, "saver_filename", "Placeholder");
    pawl_tf_type(out, "dtype", PAWL_TF_STRING);
    pawl_tf_shape_attr(out, "shape", false, 0, NULL);
    pawl_pb_end(out, node);
    pawl_tf_const_strings(out, GRAPH_NODE, "save/names", count, key_of, saved);
    pawl_tf_const_strings(out, GRAPH_NODE, "save/slices", count, no_slice, saved);
    put_restore(saved, out);
    put_save(saved, out);
    const size_t library = pawl_pb_begin(out, 2);
    int rc = put_function(saved, out, "pawl_serve", NULL);
    if (!rc) rc = put_function(saved, out, "pawl_serve_flat", "pawl_serve");
    pawl_pb_end(out, library);
    const size_t versions = pawl_pb_begin(out, 4);
    pawl_pb_put_int(out, 1, 1087);
    pawl_pb_put_int(out, 2, 12);
    pawl_pb_end(out, versions);
    pawl_pb_end(out, graph);
    return rc;
}

// ---- signatures and objects

static void put_info(struct pawl_text *out, const char *key, uint32_t field, const char *tensor,
                     int type, const struct pawl_shape *shape)
{
    const size_t entry = pawl_pb_begin(out, field);

    pawl_pb_put_string(out, 1, key);
    const size_t info = pawl_pb_begin(out, 2);
    pawl_pb_put_string(out, 1, tensor);
    pawl_pb_put_int(out, 2, type);
    pawl_tf_shape(out, 3, true, shape->rank, shape->dim);
    pawl_pb_end(out, info);
    pawl_pb_end(out, entry);
}

static void put_serving(struct pawl_saved *saved, struct pawl_text *out)
{
    const size_t entry = pawl_pb_begin(out, 5);
    char tensor[300];

    pawl_pb_put_string(out, 1, "serving_default");
    const size_t signature = pawl_pb_begin(out, 2);
    for (int k = 0; k < saved->input_count; k++) {
        const struct pawl_saved_input *input = &saved->inputs[k];
        snprintf(tensor, sizeof(tensor), "serving_default_%s:0", input->name);
        put_info(out, input->name, 1, tensor, input->type, input_shape(saved, k));
    }
    put_info(out, "output_0", 2, "StatefulPartitionedCall:0", PAWL_TF_FLOAT, output_shape(saved));
    pawl_pb_put_string(out, 3, "tensorflow/serving/predict");
    pawl_pb_end(out, signature);
    pawl_pb_end(out, entry);
}

// StructuredValue: a tensor_spec.
static void put_spec(struct pawl_text *out, const char *name, int type,
                     const struct pawl_shape *shape)
{
    const size_t spec = pawl_pb_begin(out, 33);

    pawl_pb_put_string(out, 1, name);
    pawl_tf_shape(out, 2, true, shape->rank, shape->dim);
    pawl_pb_put_int(out, 3, type);
    pawl_pb_end(out, spec);
}

static void put_named(struct pawl_text *out, const char *name, int type,
                      const struct pawl_shape *shape)
{
    const size_t entry = pawl_pb_begin(out, 1);

    pawl_pb_put_string(out, 1, name);
    const size_t value = pawl_pb_begin(out, 2);
    put_spec(out, name, type, shape);
    pawl_pb_end(out, value);
    pawl_pb_end(out, entry);
}

// ((positional,), {keyword: ...}): flat passes the input by position, the other by name.
static void put_concrete(struct pawl_saved *saved, struct pawl_text *out, const char *name,
                         bool flat)
{
    const size_t entry = pawl_pb_begin(out, 2);

    pawl_pb_put_string(out, 1, name);
    const size_t function = pawl_pb_begin(out, 2), bound = pawl_pb_begin(out, 2);
    for (int v = 0; v < saved->file.keras.variable_count; v++)
        pawl_pb_put_varint(out, (uint64_t)saved->node_of[v]);
    pawl_pb_end(out, bound);
    const size_t input = pawl_pb_begin(out, 3), both = pawl_pb_begin(out, 52);
    const size_t first = pawl_pb_begin(out, 1), positional = pawl_pb_begin(out, 52);
    for (int k = 0; flat && k < saved->input_count; k++) {
        const size_t item = pawl_pb_begin(out, 1);
        put_spec(out, saved->inputs[k].name, saved->inputs[k].type, input_shape(saved, k));
        pawl_pb_end(out, item);
    }
    pawl_pb_end(out, positional);
    pawl_pb_end(out, first);
    const size_t second = pawl_pb_begin(out, 1), words = pawl_pb_begin(out, 53);
    for (int k = 0; !flat && k < saved->input_count; k++)
        put_named(out, saved->inputs[k].name, saved->inputs[k].type, input_shape(saved, k));
    pawl_pb_end(out, words);
    pawl_pb_end(out, second);
    pawl_pb_end(out, both);
    pawl_pb_end(out, input);
    const size_t output = pawl_pb_begin(out, 4);
    const size_t results = flat ? 0 : pawl_pb_begin(out, 53);
    if (flat)
        put_spec(out, "output_0", PAWL_TF_FLOAT, output_shape(saved));
    else
        put_named(out, "output_0", PAWL_TF_FLOAT, output_shape(saved));
    if (!flat) pawl_pb_end(out, results);
    pawl_pb_end(out, output);
    pawl_pb_end(out, function);
    pawl_pb_end(out, entry);
}

static void put_objects(struct pawl_saved *saved, struct pawl_text *out)
{
    const size_t objects = pawl_pb_begin(out, 7);

    for (int i = 0; i < saved->node_count; i++) {
        const struct pawl_text *children = &saved->nodes[i].children;
        const struct pawl_text *object = &saved->nodes[i].object;
        const size_t node = pawl_pb_begin(out, 1);
        if (children->size) pawl_text_add(out, children->bytes, children->size);
        if (object->size) pawl_text_add(out, object->bytes, object->size);
        pawl_pb_end(out, node);
    }
    put_concrete(saved, out, "pawl_serve", false);
    put_concrete(saved, out, "pawl_serve_flat", true);
    pawl_pb_end(out, objects);
}

int pawl_saved_graph(struct pawl_saved *saved, struct pawl_text *out)
{
    pawl_pb_put_int(out, 1, 1);
    const size_t meta = pawl_pb_begin(out, 2), info = pawl_pb_begin(out, 1);
    pawl_pb_put_string(out, 4, "serve");
    pawl_pb_put_string(out, 5, "2.11.0");
    pawl_pb_put_int(out, 7, 1);
    pawl_pb_end(out, info);
    const int rc = put_graph(saved, out);
    const size_t saver = pawl_pb_begin(out, 3);
    pawl_pb_put_string(out, 1, "saver_filename:0");
    pawl_pb_put_string(out, 2, "save/path:0");
    pawl_pb_put_string(out, 3, "save/restore_all");
    pawl_pb_put_int(out, 7, 2);
    pawl_pb_end(out, saver);
    put_serving(saved, out);
    put_objects(saved, out);
    pawl_pb_end(out, meta);
    return rc ? rc : out->rc;
}
