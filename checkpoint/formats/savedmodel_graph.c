// savedmodel_graph.c - reads the object graph of a checkpoint.

#include "checkpoint/formats/savedmodel_graph.h"

#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/document.h"
#include "kernels/memory.h"

enum { NODES_MAX = 1 << 22, NAME_MAX_BYTES = 4096 };

// Makes room for one more element in an array that doubles.
static int grow(void *array, int count, size_t element)
{
    if (count >= NODES_MAX) return pawl_fail(PAWL_ECORRUPT, "an object graph is too large");
    if (count & (count - 1)) return 0;
    return pawl_realloc(array, element * (count ? 2 * (size_t)count : 1), "an object graph");
}

static int take_name(struct pawl_graph *graph, const struct pawl_pb *in,
                     const struct pawl_pb_field *field, size_t *at)
{
    char name[NAME_MAX_BYTES + 1];

    const int rc = pawl_pb_string(in, field, name, sizeof(name));
    if (rc) return rc;
    *at = graph->text.size;
    pawl_text_add(&graph->text, name, strlen(name) + 1);
    return graph->text.rc;
}

static int take_node_id(const struct pawl_pb *in, const struct pawl_pb_field *field, int *out)
{
    int64_t id = 0;

    const int rc = pawl_pb_int(in, field, &id);
    if (rc) return rc;
    if (id < 0 || id >= NODES_MAX)
        return pawl_pb_fail(in, field->start, "a node's number is negative or too large");
    *out = (int)id;
    return 0;
}

static int take_edge(struct pawl_graph *graph, const struct pawl_pb *in,
                     const struct pawl_pb_field *field)
{
    struct pawl_graph_edge edge = { 0 };
    struct pawl_pb message;
    struct pawl_pb_field inside;

    int rc = pawl_pb_enter(in, field, &message);
    while (!rc && !(rc = pawl_pb_next(&message, &inside)) && inside.number) {
        if (inside.number == 1) rc = take_node_id(&message, &inside, &edge.node);
        if (inside.number == 2) rc = take_name(graph, &message, &inside, &edge.name);
    }
    if (!rc) rc = grow(&graph->edges, graph->edge_count, sizeof(edge));
    if (!rc) graph->edges[graph->edge_count++] = edge;
    return rc;
}

static int take_slot(struct pawl_graph *graph, const struct pawl_pb *in,
                     const struct pawl_pb_field *field)
{
    struct pawl_graph_slot slot = { 0 };
    struct pawl_pb message;
    struct pawl_pb_field inside;

    int rc = pawl_pb_enter(in, field, &message);
    while (!rc && !(rc = pawl_pb_next(&message, &inside)) && inside.number) {
        if (inside.number == 1) rc = take_node_id(&message, &inside, &slot.variable);
        if (inside.number == 2) rc = take_name(graph, &message, &inside, &slot.name);
        if (inside.number == 3) rc = take_node_id(&message, &inside, &slot.node);
    }
    if (!rc) rc = grow(&graph->slots, graph->slot_count, sizeof(slot));
    if (!rc) graph->slots[graph->slot_count++] = slot;
    return rc;
}

static int take_attribute(struct pawl_graph *graph, struct pawl_graph_node *node,
                          const struct pawl_pb *in, const struct pawl_pb_field *field)
{
    struct pawl_pb message;
    struct pawl_pb_field inside;
    size_t kind = 0, name = 0, key = 0;

    int rc = pawl_pb_enter(in, field, &message);
    while (!rc && !(rc = pawl_pb_next(&message, &inside)) && inside.number) {
        if (inside.number == 1) rc = take_name(graph, &message, &inside, &kind);
        if (inside.number == 2) rc = take_name(graph, &message, &inside, &name);
        if (inside.number == 3) rc = take_name(graph, &message, &inside, &key);
    }
    if (rc || strcmp(pawl_graph_text(graph, kind), "VARIABLE_VALUE")) return rc;
    node->variable = true;
    node->name = name;
    node->key = key;
    return 0;
}

static int take_node(struct pawl_graph *graph, const struct pawl_pb *in,
                     const struct pawl_pb_field *field)
{
    struct pawl_graph_node node = { .edge = graph->edge_count, .slot = graph->slot_count };
    struct pawl_pb message;
    struct pawl_pb_field inside;

    int rc = pawl_pb_enter(in, field, &message);
    while (!rc && !(rc = pawl_pb_next(&message, &inside)) && inside.number) {
        if (inside.number == 1) rc = take_edge(graph, &message, &inside);
        if (inside.number == 2) rc = take_attribute(graph, &node, &message, &inside);
        if (inside.number == 3) rc = take_slot(graph, &message, &inside);
    }
    node.edge_count = graph->edge_count - node.edge;
    node.slot_count = graph->slot_count - node.slot;
    if (!rc) rc = grow(&graph->nodes, graph->node_count, sizeof(node));
    if (!rc) graph->nodes[graph->node_count++] = node;
    return rc;
}

static int check(const struct pawl_graph *graph, const char *what)
{
    bool fine = graph->node_count > 0;

    for (int i = 0; i < graph->edge_count; i++)
        fine &= graph->edges[i].node < graph->node_count;
    for (int i = 0; i < graph->slot_count; i++)
        fine &= graph->slots[i].node < graph->node_count
                && graph->slots[i].variable < graph->node_count;
    return fine ? 0 : pawl_fail(PAWL_ECORRUPT, "%s: the object graph names a node that is not "
                                "there", what);
}

int pawl_graph_read(struct pawl_graph *out, const char *bytes, size_t size, const char *what)
{
    struct pawl_pb in;
    struct pawl_pb_field field;

    pawl_text_add(&out->text, "", 1);  // at 0: the empty name
    pawl_pb_open(&in, bytes, size, what, 0);
    int rc = out->text.rc;
    while (!rc && !(rc = pawl_pb_next(&in, &field)) && field.number)
        if (field.number == 1) rc = take_node(out, &in, &field);
    return rc ? rc : check(out, what);
}

void pawl_graph_free(struct pawl_graph *graph)
{
    pawl_free(graph->nodes);
    pawl_free(graph->edges);
    pawl_free(graph->slots);
    pawl_text_free(&graph->text);
    *graph = (struct pawl_graph){ 0 };
}

const char *pawl_graph_text(const struct pawl_graph *graph, size_t at)
{
    return graph->text.bytes + at;
}

int pawl_graph_child(const struct pawl_graph *graph, int node, const char *name)
{
    if (node < 0) return -1;
    const struct pawl_graph_node *from = &graph->nodes[node];
    for (int i = from->edge; i < from->edge + from->edge_count; i++)
        if (strcmp(pawl_graph_text(graph, graph->edges[i].name), name) == 0)
            return graph->edges[i].node;
    return -1;
}
