// savedmodel_optimizer.c - the optimizer's state in a SavedModel, which TensorFlow itself loses.
//
//     Keras >= 2.11   optimizer --"_iterations"--> step, --"_momentums"--> list --"0"--> variable
//                     "Adam/m/hidden/kernel", stored as optimizer/_variables/1
//     before          optimizer --"iter"--> step; slots {variable, "m", variable}, stored as
//                     VARIABLE/.OPTIMIZER_SLOT/optimizer/m
//
// A variable's full name tells which moment of which weight it is; a slot says so itself.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/savedmodel.h"
#include "checkpoint/names.h"
#include "kernels/memory.h"

// Keras' names of moments, and those that pawl and PyTorch use. kind: "" any.
static const struct {
    const char *kind, *keras, *slot;
} slots[] = {
    { "SGD", "m", "momentum_buffer" },
    { "SGD", "momentum", "momentum_buffer" },
    { "", "m", "exp_avg" },
    { "", "v", "exp_avg_sq" },
    { "", "vhat", "max_exp_avg_sq" },
    { "", "velocity", "square_avg" },
    { "", "rms", "square_avg" },
    { "", "momentum", "momentum_buffer" },
    { "", "average_gradient", "grad_avg" },
    { "", "mg", "grad_avg" },
};

static const char *slot_of(const char *kind, const char *keras, size_t length)
{
    for (size_t i = 0; i < sizeof(slots) / sizeof(*slots); i++)
        if (strlen(slots[i].keras) == length && strncmp(slots[i].keras, keras, length) == 0
            && (!slots[i].kind[0] || strcmp(slots[i].kind, kind) == 0))
            return slots[i].slot;
    return "";
}

struct reader {
    struct pawl_savedmodel *model;
    struct pawl_training *training;
    struct pawl_names names;  // of the weights
    char kind[40];            // "Adam", from the first moment's full name
    bool *seen;               // per node
};

// One variable of the optimizer; slot_or_null and weight: what a slot says.
static int add(struct reader *r, int node, const char *slot_or_null, int weight)
{
    struct pawl_savedmodel *model = r->model;
    const struct pawl_graph_node *variable = &model->graph.nodes[node];
    const char *key = pawl_graph_text(&model->graph, variable->key);
    const char *full = pawl_graph_text(&model->graph, variable->name);
    char name[PAWL_NAME_MAX + 1];
    const int entry = pawl_bundle_find(&model->bundle, key);

    if (!variable->variable || r->seen[node]) return 0;
    r->seen[node] = true;
    if (entry < 0)
        return pawl_fail(PAWL_ECORRUPT, "%s.index: the object graph names '%.200s', which is not "
                         "in the table", model->bundle.prefix, key);
    pawl_savedmodel_name(name, sizeof(name), key);
    const int rc = pawl_bundle_add(&model->bundle, entry, name, &r->training->tensors,
                                   &r->training->tensor_count);
    if (rc) return rc;
    struct pawl_entry *added = &r->training->tensors[r->training->tensor_count - 1];
    const char *rest = strchr(full, '/');
    if (rest && !r->kind[0])
        snprintf(r->kind, sizeof(r->kind), "%.*s", (int)(rest - full), full);
    if (slot_or_null) {
        snprintf(added->slot, sizeof(added->slot), "%s",
                 slot_of(r->kind, slot_or_null, strlen(slot_or_null)));
        added->of = added->slot[0] ? weight : -1;
        return 0;
    }
    const char *path = rest ? strchr(rest + 1, '/') : NULL;
    if (!path) return 0;
    weight = r->names.count ? pawl_names_find(&r->names, path + 1) : -1;
    snprintf(added->slot, sizeof(added->slot), "%s",
             weight < 0 ? "" : slot_of(r->kind, rest + 1, (size_t)(path - rest - 1)));
    added->of = added->slot[0] ? weight : -1;
    return 0;
}

// The optimizer's own variables and those in its lists; deeper things are the model's.
static int add_children(struct reader *r, int node, int levels)
{
    const struct pawl_graph *graph = &r->model->graph;
    const struct pawl_graph_node *from = &graph->nodes[node];
    int rc = 0;

    for (int i = from->edge; i < from->edge + from->edge_count && !rc; i++) {
        const int child = graph->edges[i].node;
        const bool before = r->seen[child];
        rc = add(r, child, NULL, -1);
        if (rc || !levels || before) continue;  // each list once, however often it is named
        r->seen[child] = true;
        rc = add_children(r, child, levels - 1);
    }
    return rc;
}

static int add_slots(struct reader *r, int node)
{
    const struct pawl_graph *graph = &r->model->graph;
    const struct pawl_graph_node *from = &graph->nodes[node];
    int rc = 0;

    for (int i = from->slot; i < from->slot + from->slot_count && !rc; i++) {
        const struct pawl_graph_slot *slot = &graph->slots[i];
        rc = add(r, slot->node, pawl_graph_text(graph, slot->name),
                 r->model->weight_of[slot->variable]);
    }
    return rc;
}

// A scalar of the optimizer by one of two names; NaN when there is none.
static int scalar(struct reader *r, int node, const char *name, const char *older, double *out)
{
    struct pawl_savedmodel *model = r->model;
    int at = pawl_graph_child(&model->graph, node, name), rc = 0;
    int64_t whole = 0;
    float real = 0;

    *out = NAN;
    if (at < 0) at = pawl_graph_child(&model->graph, node, older);
    if (at < 0 || !model->graph.nodes[at].variable) return 0;
    const int i = pawl_bundle_find(&model->bundle,
                                   pawl_graph_text(&model->graph, model->graph.nodes[at].key));
    if (i < 0) return 0;
    const struct pawl_bundle_entry *entry = &model->bundle.entries[i];
    if (entry->rank || entry->sliced) return 0;
    void *to = entry->dtype == PAWL_I64 ? (void *)&whole : (void *)&real;
    if (entry->dtype != PAWL_I64 && entry->dtype != PAWL_F32) return 0;
    rc = pawl_document_read_at(model->document, model->bundle.files[entry->shard], entry->offset,
                               to, (size_t)entry->size);
    if (!rc) *out = entry->dtype == PAWL_I64 ? (double)whole : (double)real;
    return rc;
}

static int read_state(struct reader *r, int node)
{
    struct pawl_savedmodel *model = r->model;
    double step, rate;

    int rc = pawl_alloc(&r->seen, sizeof(bool) * (size_t)model->graph.node_count, "nodes");
    if (!rc && model->document->weight_count)
        rc = pawl_names_build(&r->names, model->document->weight_count,
                              model->document->weights[0].tensor.name,
                              sizeof(*model->document->weights));
    if (!rc) rc = add_children(r, node, 1);
    if (!rc) rc = add_slots(r, node);
    if (!rc) rc = scalar(r, node, "_iterations", "iter", &step);
    if (!rc) rc = scalar(r, node, "_learning_rate", "learning_rate", &rate);
    if (rc) return rc;
    if (step >= 0 && step < 9e15) r->training->step = (uint64_t)step;
    r->training->optimizer = json_object();
    if (r->kind[0]) {
        char kind[40];
        for (size_t i = 0; i < sizeof(kind); i++)
            kind[i] = (char)(r->kind[i] >= 'A' && r->kind[i] <= 'Z' ? r->kind[i] + 32 : r->kind[i]);
        json_object_set_new(r->training->optimizer, "kind", json_string(kind));
    }
    if (!isnan(rate))
        json_object_set_new(r->training->optimizer, "learning_rate", json_real(rate));
    return 0;
}

int pawl_savedmodel_read_training(struct pawl_savedmodel *model)
{
    struct reader r = { .model = model };
    int node = pawl_graph_child(&model->graph, 0, "optimizer");

    if (node < 0) return 0;
    const struct pawl_graph_node *from = &model->graph.nodes[node];
    if (!from->edge_count && !from->slot_count) return 0;
    int rc = pawl_alloc(&model->document->training, sizeof(*r.training), "training state");
    if (rc) return rc;
    r.training = model->document->training;
    r.training->epoch = -1;
    r.training->loss = NAN;
    rc = read_state(&r, node);
    pawl_names_free(&r.names);
    pawl_free(r.seen);
    return rc;
}
