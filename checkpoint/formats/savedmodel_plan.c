// savedmodel_plan.c - the objects of a SavedModel: model, layers, variables, optimizer.
//
// The optimizer hangs on the root as "train_step", a name that a Keras model already has, so that
// loading does not bind it; the checkpoint alone calls it "optimizer" too. Then TensorFlow defers
// its state until compile() makes the optimizer, and restores it. Its own directories lose it.

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/savedmodel_nodes.h"
#include "checkpoint/formats/savedmodel_save.h"
#include "kernels/memory.h"

#define SUFFIX "/.ATTRIBUTES/VARIABLE_VALUE"

// ---- names

static bool clean(char *name, bool slashes)
{
    bool changed = false;

    for (char *c = name; *c; c++) {
        if (isalnum((unsigned char)*c) || (c > name && *c == '_')) continue;
        if (slashes && (*c == '.' || (c > name && (*c == '/' || *c == '-')))) continue;
        *c = c == name ? 'x' : '_';
        changed = true;
    }
    return changed;
}

void pawl_saved_name(const struct pawl_saved *saved, int v, char *out, size_t size)
{
    const struct pawl_keras *keras = &saved->file.keras;
    const struct pawl_keras_variable *variable = &keras->variables[v];

    if (saved->generic)
        snprintf(out, size, "%s", keras->params.items[v].tensor.name);
    else
        snprintf(out, size, "%s/%s", keras->layers[variable->layer].name, variable->name);
    const size_t length = strlen(out);
    if (clean(out, true)) snprintf(out + length, size - length, "_%d", v);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct pawl_saved_input *)a)->name,
                  ((const struct pawl_saved_input *)b)->name);
}

// TensorFlow takes arguments in the order of their names' bytes.
int pawl_saved_take_inputs(struct pawl_saved *saved)
{
    const struct pawl_architecture *of = saved->file.keras.architecture;

    for (int i = 0; i < of->layer_count; i++) {
        if (of->layers[i].kind != PAWL_INPUT) continue;
        if (saved->input_count == PAWL_INPUTS_MAX)
            return pawl_fail(PAWL_ENOTSUP, "a SavedModel is written of at most %d inputs",
                             PAWL_INPUTS_MAX);
        struct pawl_saved_input *input = &saved->inputs[saved->input_count++];
        input->layer = i;
        input->type = of->layers[i].in.tokens ? PAWL_TF_INT32 : PAWL_TF_FLOAT;
        snprintf(input->name, sizeof(input->name), "%.190s", of->layers[i].name);
        const size_t length = strlen(input->name);
        if (clean(input->name, false))
            snprintf(input->name + length, sizeof(input->name) - length, "_%d", i);
    }
    qsort(saved->inputs, (size_t)saved->input_count, sizeof(*saved->inputs), by_name);
    return 0;
}

const char *pawl_saved_input_name(const struct pawl_saved *saved, int layer)
{
    for (int i = 0; i < saved->input_count; i++)
        if (saved->inputs[i].layer == layer) return saved->inputs[i].name;
    return "";
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

void pawl_saved_edge(struct pawl_saved *saved, int from, int to, const char *name)
{
    edge(&saved->nodes[from].children, to, name);
}

int pawl_saved_add_user(struct pawl_saved *saved, const char *identifier)
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

int pawl_saved_add_variable(struct pawl_saved *saved, const char *key, const char *name, int v,
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

// ---- functions

static void fullargspec(const struct pawl_saved *saved, struct pawl_text *out)
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
        for (int k = 0; i == 0 && k < saved->input_count; k++) {
            const size_t item = pawl_pb_begin(out, 1);
            pawl_pb_put_string(out, 13, saved->inputs[k].name);
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
    const int serve = add_node(saved), signatures = pawl_saved_add_user(saved, "signature_map");
    const int bare = add_node(saved);

    if (serve < 0 || signatures < 0 || bare < 0) return PAWL_ENOMEM;
    struct pawl_text *object = &saved->nodes[serve].object;
    const size_t function = pawl_pb_begin(object, 6);
    pawl_pb_put_string(object, 1, "pawl_serve_flat");
    const size_t spec = pawl_pb_begin(object, 2);
    fullargspec(saved, object);
    const size_t signature = pawl_pb_begin(object, 5);
    pawl_pb_end(object, pawl_pb_begin(object, 1));
    pawl_pb_end(object, signature);
    pawl_pb_end(object, spec);
    pawl_pb_end(object, function);

    object = &saved->nodes[bare].object;
    const size_t concrete = pawl_pb_begin(object, 8);
    pawl_pb_put_string(object, 1, "pawl_serve");
    for (int k = 0; k < saved->input_count; k++)
        pawl_pb_put_string(object, 2, saved->inputs[k].name);
    // By position only where there is nothing to take for something else.
    if (saved->input_count == 1) pawl_pb_put_int(object, 3, 1);
    pawl_pb_end(object, concrete);
    edge(&saved->nodes[0].children, serve, "serve");
    edge(&saved->nodes[0].children, serve, "__call__");
    edge(&saved->nodes[0].children, signatures, "signatures");
    edge(&saved->nodes[signatures].children, bare, "serving_default");
    return 0;
}

// One list per slot, of the trainable variables in order; bundle keys count through all of them.
static int add_slot(struct pawl_saved *saved, int list, int s, int v, int index, int trained)
{
    char key[64], name[400], at[16], full[300];
    const int number = saved->slots_apart ? s * trained + index : index * saved->slot_count + s;

    pawl_saved_name(saved, v, full, sizeof(full));
    snprintf(key, sizeof(key), "optimizer/_variables/%d", number + 1);
    snprintf(name, sizeof(name), "%s/%s/%s", saved->optimizer, saved->words[s], full);
    const int node = pawl_saved_add_variable(saved, key, name, v, s);
    if (node < 0) return PAWL_ENOMEM;
    snprintf(at, sizeof(at), "%d", index);
    pawl_saved_edge(saved, list, node, at);
    return 0;
}

static int add_optimizer(struct pawl_saved *saved)
{
    const struct pawl_keras *keras = &saved->file.keras;
    const int optimizer = pawl_saved_add_user(saved, "_generic_user_object");
    int trained = 0, index = 0, rc = 0;

    if (optimizer < 0) return PAWL_ENOMEM;
    const int step = pawl_saved_add_variable(saved, "optimizer/_iterations", "iteration", -1, -1);
    if (step < 0) return PAWL_ENOMEM;
    pawl_saved_edge(saved, optimizer, step, "_iterations");
    for (int v = 0; v < keras->variable_count; v++)
        trained += keras->variables[v].trainable;
    for (int s = 0; s < saved->slot_count; s++) {
        const int list = pawl_saved_add_user(saved, "trackable_list_wrapper");
        if (list < 0) return PAWL_ENOMEM;
        pawl_saved_edge(saved, optimizer, list, saved->lists[s]);
        index = 0;
        for (int v = 0; v < keras->variable_count && !rc; v++)
            if (keras->variables[v].trainable)
                rc = add_slot(saved, list, s, v, index++, trained);
    }
    pawl_saved_edge(saved, 0, optimizer, "train_step");
    edge(&saved->nodes[0].extra, optimizer, "optimizer");
    return rc;
}

int pawl_saved_plan(struct pawl_saved *saved)
{
    int rc = pawl_alloc(&saved->node_of,
                        sizeof(int) * ((size_t)saved->file.keras.variable_count + 1), "objects");

    if (!rc) rc = pawl_saved_plan_layers(saved);
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
