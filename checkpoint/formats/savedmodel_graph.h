// savedmodel_graph.h - the object graph of a TensorFlow checkpoint: which tensor is whose.
//
//     node 0 (the model) --"layer_with_weights-0"--> node 1 --"kernel"--> node 19
//     node 19: variable "hidden/kernel", stored as "layer_with_weights-0/kernel/.ATTRIBUTES/..."
//     node 11 (the optimizer): slot "m" of node 19 is node 78
//
// Source: tensorflow/core/protobuf/trackable_object_graph.proto.

#ifndef PAWL_SAVEDMODEL_GRAPH_H
#define PAWL_SAVEDMODEL_GRAPH_H

#include <stdbool.h>

#include "checkpoint/text.h"

struct pawl_graph_edge {
    int node;
    size_t name;  // where in text it begins
};

struct pawl_graph_slot {
    int variable, node;
    size_t name;
};

struct pawl_graph_node {
    int edge, edge_count;  // edges [edge, edge + edge_count)
    int slot, slot_count;
    bool variable;
    size_t name, key;  // of a variable: its full name, and its key in the bundle
};

struct pawl_graph {
    struct pawl_graph_node *nodes;
    struct pawl_graph_edge *edges;
    struct pawl_graph_slot *slots;
    int node_count, edge_count, slot_count;
    struct pawl_text text;  // all names, zero-terminated
};

// PAWL_ECORRUPT: "WHAT: byte N: why"; every node that is named is there. Cycles are legal.
int pawl_graph_read(struct pawl_graph *out, const char *bytes, size_t size, const char *what);
void pawl_graph_free(struct pawl_graph *graph);
const char *pawl_graph_text(const struct pawl_graph *graph, size_t at);
// The child of that name, or -1.
int pawl_graph_child(const struct pawl_graph *graph, int node, const char *name);

#endif
