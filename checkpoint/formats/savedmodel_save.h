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

struct pawl_saved {
    struct pawl_keras_file file;  // configuration, variables, bindings, momentum
    const json_t *layers;         // of the configuration, the input first
    const char *input;            // its layer's name
    int input_type;
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
};

// The layer's shape without the batch, as the architecture computes it; NULL: it has none.
const struct pawl_shape *pawl_saved_shape(const struct pawl_saved *saved, const char *layer);
// The function that is the model: nodes of a FunctionDef. result: the last node's output.
int pawl_saved_emit(struct pawl_saved *saved, struct pawl_text *out, char result[300]);
int pawl_saved_variable(const struct pawl_saved *saved, const char *layer, const char *name);
// Fills nodes, tensors, node_of and metadata.
int pawl_saved_plan(struct pawl_saved *saved);
void pawl_saved_free(struct pawl_saved *saved);
// saved_model.pb, and the checkpoint's object graph.
int pawl_saved_graph(struct pawl_saved *saved, struct pawl_text *out);
int pawl_saved_objects(struct pawl_saved *saved, struct pawl_text *out);
// "hidden/kernel"
void pawl_saved_name(const struct pawl_saved *saved, int variable, char *out, size_t size);

#endif
