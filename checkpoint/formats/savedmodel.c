// savedmodel.c - the format `savedmodel`: its row, and what its directory holds.
//
// The graph of operations is never run, and no name in a file becomes a path.

#include "checkpoint/formats/savedmodel.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/formats.h"
#include "checkpoint/names.h"
#include "checkpoint/sums.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { GRAPH_BYTES_MAX = 1 << 30, CHUNK_BYTES = 1 << 20 };

#define OBJECT_GRAPH "_CHECKPOINTABLE_OBJECT_GRAPH"
#define SUFFIX "/.ATTRIBUTES/VARIABLE_VALUE"

void pawl_savedmodel_name(char *out, size_t size, const char *key)
{
    const size_t length = strlen(key), end = sizeof(SUFFIX) - 1;
    const bool has = length > end && strcmp(key + length - end, SUFFIX) == 0;

    snprintf(out, size, "%.*s", (int)(has ? length - end : length), key);
}

// ---- which directories

struct listing {
    bool binary, other;  // saved_model.pb; its variants that are not read
};

static int see(void *context, const char *name)
{
    struct listing *listing = context;

    listing->binary |= strcmp(name, "saved_model.pb") == 0;
    listing->other |= strcmp(name, "saved_model.pbtxt") == 0
                      || strcmp(name, "saved_model.cpb") == 0;
    return 0;
}

static bool detect(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    struct listing listing = { 0 };

    (void)head, (void)head_bytes;
    return directory && !pawl_io()->list(path, see, &listing)
           && (listing.binary || listing.other);
}

// ---- saved_model.pb: only what tells versions apart; but all of its outer structure is walked

static int take_info(struct pawl_savedmodel *model, struct pawl_pb *in,
                     const struct pawl_pb_field *field)
{
    struct pawl_document *document = model->document;
    struct pawl_pb info;
    struct pawl_pb_field inside;

    int rc = pawl_pb_enter(in, field, &info);
    while (!rc && !(rc = pawl_pb_next(&info, &inside)) && inside.number)
        if (inside.number == 5)
            rc = pawl_pb_string(&info, &inside, document->format_version,
                                sizeof(document->format_version));
    return rc;
}

static int take_meta_graph(struct pawl_savedmodel *model, struct pawl_pb *in,
                           const struct pawl_pb_field *field)
{
    struct pawl_pb graph, part;
    struct pawl_pb_field inside, deeper;

    int rc = pawl_pb_enter(in, field, &graph);
    while (!rc && !(rc = pawl_pb_next(&graph, &inside)) && inside.number) {
        if (inside.number == 1) rc = take_info(model, &graph, &inside);
        if (rc || inside.number == 1 || inside.type != PAWL_PB_BYTES) continue;
        // Every field of MetaGraphDef is a message: walk its fields, so that a cut shows.
        rc = pawl_pb_enter(&graph, &inside, &part);
        while (!rc && !(rc = pawl_pb_next(&part, &deeper)) && deeper.number) continue;
    }
    return rc;
}

// A whole file of the directory; PAWL_ENONE when it is not there.
static int load(struct pawl_savedmodel *model, const char *name, char *what, char **bytes,
                size_t *size)
{
    uint64_t file_bytes = 0;
    int file = -1;

    snprintf(what, 4200, "%s/%s", model->path, name);
    int rc = pawl_document_add_file(model->document, what, &file, &file_bytes);
    if (!rc && file_bytes > GRAPH_BYTES_MAX)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: it is larger than 1 GiB", what);
    if (!rc) rc = pawl_alloc(bytes, (size_t)file_bytes + 1, name);
    if (!rc) rc = pawl_document_read_at(model->document, file, 0, *bytes, (size_t)file_bytes);
    *size = (size_t)file_bytes;
    return rc;
}

static int read_graph_file(struct pawl_savedmodel *model)
{
    struct pawl_pb in;
    struct pawl_pb_field field;
    char what[4200], *bytes = NULL;
    size_t size = 0;
    int graphs = 0;

    int rc = load(model, "saved_model.pb", what, &bytes, &size);
    if (rc == PAWL_ENONE)
        rc = pawl_fail(PAWL_ENOTSUP, "%s: a SavedModel as text or in chunks (saved_model.pbtxt, "
                       "saved_model.cpb) is not read; only saved_model.pb is", model->path);
    pawl_pb_open(&in, bytes, rc ? 0 : size, what, 0);
    while (!rc && !(rc = pawl_pb_next(&in, &field)) && field.number)
        if (field.number == 2 && ++graphs == 1) rc = take_meta_graph(model, &in, &field);
    if (!rc && !graphs) rc = pawl_pb_fail(&in, 0, "truncated, or no SavedModel: no graph in it");
    pawl_free(bytes);
    return rc;
}

// ---- weights

static int add_weight(struct pawl_savedmodel *model, int node)
{
    const struct pawl_graph_node *variable = &model->graph.nodes[node];
    struct pawl_document *document = model->document;
    const char *key = pawl_graph_text(&model->graph, variable->key);
    const char *full = pawl_graph_text(&model->graph, variable->name);
    char name[PAWL_NAME_MAX + 1];
    const int entry = pawl_bundle_find(&model->bundle, key);

    if (entry < 0)
        return pawl_fail(PAWL_ECORRUPT, "%s.index: the object graph names '%.200s', which is not "
                         "in the table", model->bundle.prefix, key);
    if (model->weight_of[node] >= 0) return 0;
    if (model->bundle.entries[entry].dtype == PAWL_BUNDLE_STRING) return 0;  // vocabularies
    if (*full && strlen(full) <= PAWL_NAME_MAX)
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(full, ":"), full);
    else
        pawl_savedmodel_name(name, sizeof(name), key);
    const int rc = pawl_bundle_add(&model->bundle, entry, name, &document->weights,
                                   &document->weight_count);
    if (!rc) model->weight_of[node] = document->weight_count - 1;
    return rc;
}

// What hangs on the model beside its layers.
static bool is_aside(const char *name)
{
    static const char *const aside[] = {
        "variables", "trainable_variables", "non_trainable_variables", "_all_variables",
        "keras_api", "optimizer", "train_step", "signatures", "regularization_losses",
        "save_counter",
    };

    for (size_t i = 0; i < sizeof(aside) / sizeof(*aside); i++)
        if (strcmp(name, aside[i]) == 0) return true;
    return false;
}

// Every variable that is reached from node 0 without the optimizer, in order of first visit.
static int walk(struct pawl_savedmodel *model, bool *seen, int *stack)
{
    const struct pawl_graph *graph = &model->graph;
    int depth = 0, rc = 0;

    stack[depth++] = 0;
    seen[0] = true;
    while (depth && !rc) {
        const int at = stack[--depth];
        const struct pawl_graph_node *node = &graph->nodes[at];
        if (node->variable) rc = add_weight(model, at);
        // Pushed from the last to the first, so that the first is visited first.
        for (int i = node->edge + node->edge_count - 1; i >= node->edge; i--) {
            const struct pawl_graph_edge *edge = &graph->edges[i];
            if (seen[edge->node] || is_aside(pawl_graph_text(graph, edge->name))) continue;
            seen[edge->node] = true;
            stack[depth++] = edge->node;
        }
    }
    return rc;
}

// A list that the model keeps of all its variables gives their order; the walk, the rest.
static int add_weights(struct pawl_savedmodel *model)
{
    const struct pawl_graph *graph = &model->graph;
    const size_t count = (size_t)graph->node_count;
    bool *seen = NULL;
    int *stack = NULL;

    int list = pawl_graph_child(graph, 0, "variables");
    if (list < 0) list = pawl_graph_child(graph, 0, "_all_variables");
    int rc = pawl_alloc(&model->weight_of, sizeof(int) * count, "nodes");
    if (!rc) rc = pawl_alloc(&seen, sizeof(bool) * count, "nodes");
    if (!rc) rc = pawl_alloc(&stack, sizeof(int) * count, "nodes");
    for (size_t i = 0; i < count && !rc; i++)
        model->weight_of[i] = -1;
    for (int i = 0; list >= 0 && i < graph->nodes[list].edge_count && !rc; i++) {
        const int node = graph->edges[graph->nodes[list].edge + i].node;
        if (graph->nodes[node].variable) rc = add_weight(model, node);
    }
    if (!rc) rc = walk(model, seen, stack);
    pawl_free(seen);
    pawl_free(stack);
    return rc;
}

// TensorFlow 1: no objects, a tensor's key is its name.
static int add_all(struct pawl_savedmodel *model)
{
    struct pawl_document *document = model->document;
    int rc = 0;

    for (int i = 0; i < model->bundle.count && !rc; i++)
        if (model->bundle.entries[i].dtype != PAWL_BUNDLE_STRING)
            rc = pawl_bundle_add(&model->bundle, i, pawl_bundle_key(&model->bundle, i),
                                 &document->weights, &document->weight_count);
    return rc;
}

// Keras 3 puts the model's name before each variable of a Sequential model: it goes, when all have
// it and something like LAYER/VARIABLE is left.
static void drop_prefix(struct pawl_document *document)
{
    const char *first = document->weight_count ? document->weights[0].tensor.name : "";
    const size_t length = strcspn(first, "/") + 1;

    for (int i = 0; i < document->weight_count; i++) {
        const char *name = document->weights[i].tensor.name;
        if (strlen(name) <= length || strncmp(name, first, length)) return;
        if (!strchr(name + length, '/')) return;
    }
    for (int i = 0; i < document->weight_count; i++) {
        char *name = document->weights[i].tensor.name;
        memmove(name, name + length, strlen(name + length) + 1);
    }
}

// Names that occur twice: then all go by their keys, which cannot.
static int make_unique(struct pawl_savedmodel *model)
{
    struct pawl_document *document = model->document;
    struct pawl_names names = { 0 };

    if (!document->weight_count) return 0;
    int rc = pawl_names_build(&names, document->weight_count, document->weights[0].tensor.name,
                              sizeof(*document->weights));
    if (!rc && names.twice) {
        pawl_document_warn(document, "two variables are called '%.100s': weights are called by "
                           "their keys", names.twice);
        for (int n = 0; n < model->graph.node_count; n++) {
            if (model->weight_of[n] < 0) continue;
            struct pawl_tensor *tensor = &document->weights[model->weight_of[n]].tensor;
            pawl_savedmodel_name(tensor->name, sizeof(tensor->name),
                                 pawl_graph_text(&model->graph, model->graph.nodes[n].key));
        }
    }
    pawl_names_free(&names);
    return rc;
}

static int read_objects(struct pawl_savedmodel *model)
{
    char what[4300], *bytes = NULL;
    size_t size = 0;
    const int entry = pawl_bundle_find(&model->bundle, OBJECT_GRAPH);

    if (entry < 0) return add_all(model);
    snprintf(what, sizeof(what), "%s: object graph", model->bundle.prefix);
    int rc = pawl_bundle_string(&model->bundle, entry, &bytes, &size);
    if (!rc) rc = pawl_graph_read(&model->graph, bytes, size, what);
    pawl_free(bytes);
    model->has_graph = !rc;
    if (!rc) rc = add_weights(model);
    if (!rc) drop_prefix(model->document);
    if (!rc) rc = make_unique(model);
    return rc;
}

// ---- checksums

// The bytes of every tensor, chunk by chunk, against the checksum that its entry has.
static int verify_entry(const struct pawl_document *document, const struct pawl_entry *entry,
                        char *chunk)
{
    uint32_t crc = 0;

    if (!entry->has_crc) return 0;
    for (size_t done = 0; done < entry->tensor.size_bytes; done += CHUNK_BYTES) {
        const size_t left = entry->tensor.size_bytes - done;
        const size_t now = left < CHUNK_BYTES ? left : CHUNK_BYTES;
        const int rc = pawl_document_fetch_part(document, entry, done, now, chunk);
        if (rc) return rc;
        crc = pawl_crc32c_more(crc, chunk, now);
    }
    if (crc == entry->crc32c) return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s: tensor '%s': its checksum (CRC-32C) differs: the bytes "
                     "are not those that were written", document->path, entry->tensor.name);
}

static int verify(const struct pawl_document *document)
{
    const struct pawl_training *training = document->training;
    char *chunk = NULL;

    int rc = pawl_alloc(&chunk, CHUNK_BYTES, "a chunk");
    for (int i = 0; i < document->weight_count && !rc; i++)
        rc = verify_entry(document, &document->weights[i], chunk);
    for (int i = 0; training && i < training->tensor_count && !rc; i++)
        rc = verify_entry(document, &training->tensors[i], chunk);
    pawl_free(chunk);
    return rc;
}

// ---- the row

static int read_parts(struct pawl_savedmodel *model)
{
    char prefix[4200];

    int rc = read_graph_file(model);
    if (rc) return rc;
    snprintf(prefix, sizeof(prefix), "%.4000s/variables/variables", model->path);
    rc = pawl_bundle_read(&model->bundle, model->document, prefix);
    if (rc == PAWL_ENONE)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: there is no variables/variables.index: the weights "
                       "were not copied along, or the graph is frozen, which is not read",
                       model->path);
    if (!rc) rc = read_objects(model);
    if (!rc && model->has_graph) rc = pawl_savedmodel_read_training(model);
    if (!rc) rc = pawl_savedmodel_read_keras(model);
    return rc;
}

static int read_savedmodel(struct pawl_document *document, const char *path)
{
    struct pawl_savedmodel *model = NULL;

    int rc = pawl_alloc(&model, sizeof(*model), "a SavedModel");
    if (rc) return rc;
    model->document = document;
    model->path = path;
    rc = read_parts(model);
    pawl_bundle_free(&model->bundle);
    pawl_graph_free(&model->graph);
    json_decref(model->config);
    pawl_free(model->weight_of);
    pawl_free(model);
    return rc;
}

const struct pawl_format pawl_format_savedmodel = {
    .name = "savedmodel",
    .suffixes = "",
    .parts = PAWL_PART_ARCHITECTURE | PAWL_PART_WEIGHTS | PAWL_PART_TRAINING,
    .detect = detect,
    .read = read_savedmodel,
    .write = pawl_savedmodel_write,
    .verify = verify,
};
