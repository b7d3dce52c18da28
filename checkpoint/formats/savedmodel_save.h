// savedmodel_save.h - a SavedModel while it is made. Private to formats/savedmodel_*.c.

#ifndef PAWL_SAVEDMODEL_SAVE_H
#define PAWL_SAVEDMODEL_SAVE_H

#include "checkpoint/formats/keras_save_inside.h"
#include "checkpoint/text.h"

// A node of both object graphs, in parts: children that the checkpoint alone has, children, what it
// is (SavedObject), and its attributes in the checkpoint.
struct pawl_saved_node {
    struct pawl_text extra, children, object, attribute;
};

// A tensor of the bundle. variable -1: the iteration; slot -1: the weight itself.
struct pawl_saved_tensor {
    char key[320];
    int variable, slot;
};

struct pawl_saved_input {
    int layer, type;
    char name[PAWL_KERAS_NAME_MAX];
};

struct pawl_saved {
    struct pawl_keras_file file;  // configuration, variables, bindings, momentum
    // Keras 2 has no such layers: plain objects with variables as pawl has them, and no optimizer.
    bool generic;
    const json_t *layers;  // of the configuration; NULL: generic
    struct pawl_saved_input inputs[PAWL_INPUTS_MAX];  // by name
    int input_count;
    struct pawl_saved_node *nodes;
    int node_count;
    struct pawl_saved_tensor *tensors;
    int tensor_count;
    int *node_of;  // per variable of keras
    struct pawl_text metadata;
    int slot_count;
    const char *lists[2];    // the optimizer's lists of slots: "_momentums"
    const char *words[2];    // how their variables are called: "m"
    const char *moments[2];  // and the document's names: "exp_avg"
    const char *optimizer;   // "Adam"
    bool slots_apart;        // list after list, not a variable's slots side by side
};

// The layers of a functional configuration in Keras 2's own order, which its lists of slots and
// its checkpoints follow: those farthest from the output first (savedmodel_order.c).
int pawl_saved_order(json_t *config);
// Variables and their bindings as pawl has them (savedmodel_generic.c).
int pawl_saved_generic(struct pawl_saved *saved, const struct pawl_architecture *architecture);
// Fills inputs from the architecture.
int pawl_saved_take_inputs(struct pawl_saved *saved);
const char *pawl_saved_input_name(const struct pawl_saved *saved, int layer);

// The function that is the model: nodes of a FunctionDef. result: the last node's output.
int pawl_saved_emit(struct pawl_saved *saved, struct pawl_text *out, char result[300]);
// Fills nodes, tensors, node_of and metadata.
int pawl_saved_plan(struct pawl_saved *saved);
int pawl_saved_plan_layers(struct pawl_saved *saved);  // savedmodel_layers.c: the model's own
void pawl_saved_free(struct pawl_saved *saved);
// Objects: the number of a new one, or -1.
int pawl_saved_add_user(struct pawl_saved *saved, const char *identifier);
// v -1: the optimizer's iteration. slot -1: the weight.
int pawl_saved_add_variable(struct pawl_saved *saved, const char *key, const char *name, int v,
                            int slot);
void pawl_saved_edge(struct pawl_saved *saved, int from, int to, const char *name);
// saved_model.pb, and the checkpoint's object graph.
int pawl_saved_graph(struct pawl_saved *saved, struct pawl_text *out);
int pawl_saved_objects(struct pawl_saved *saved, struct pawl_text *out);
// "hidden/kernel"; of the letters that TensorFlow takes in names.
void pawl_saved_name(const struct pawl_saved *saved, int variable, char *out, size_t size);

#endif
