// keras_graph.c - what feeds a Keras layer: the one before, nodes of a graph, the model's input.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/formats/keras_walk.h"

// ---- what feeds a layer

int pawl_keras_find_layer(const struct pawl_keras_walk *r, const struct pawl_keras_level *level,
                          const char *name)
{
    for (int i = level->first; i < level->first + level->count; i++)
        if (!strcmp(r->out->layers[i].name, name)) return i;
    return -1;
}

// One tensor by its history [layer, node, index].
static int add_input(struct pawl_keras_walk *r, struct pawl_keras_build *b, const json_t *history,
                     bool *ready)
{
    const struct pawl_keras_level *level = &r->level[r->depth - 1];
    const char *name = json_string_value(json_array_get(history, 0));
    const int from = name ? pawl_keras_find_layer(r, level, name) : -1;

    if (from < 0)
        return pawl_keras_fail(b, "it is fed by '%.60s', which is not there", name ? name : "?");
    if (json_integer_value(json_array_get(history, 1))
        || json_integer_value(json_array_get(history, 2)))
        return pawl_keras_stop(b, "it takes a later call or output of layer '%.60s'", name);
    if (b->input_count == PAWL_INPUTS_MAX)
        return pawl_keras_stop(b, "it has more than %d inputs", PAWL_INPUTS_MAX);
    if (r->built[from] < 0) *ready = false;
    b->inputs[b->input_count++] = r->built[from];
    return 0;
}

// Keras 3: {"class_name": "__keras_tensor__", "config": {"keras_history": [...]}}, or lists of it.
static int add_argument(struct pawl_keras_walk *r, struct pawl_keras_build *b,
                        const json_t *argument, bool *ready)
{
    const json_t *history = json_object_get(json_object_get(argument, "config"), "keras_history");
    size_t i;
    json_t *one;
    int rc = 0;

    if (history) return add_input(r, b, history, ready);
    json_array_foreach(argument, i, one) {
        history = json_object_get(json_object_get(one, "config"), "keras_history");
        if (!rc && history) rc = add_input(r, b, history, ready);
    }
    return rc;
}

static int read_node(struct pawl_keras_walk *r, struct pawl_keras_build *b, const json_t *node,
                     bool *ready)
{
    static const char *const named[] = { "query", "value", "key", "inputs" };
    const json_t *kwargs = json_object_get(node, "kwargs");
    size_t i;
    json_t *one;
    int rc = 0;

    if (json_is_object(node)) {
        json_array_foreach(json_object_get(node, "args"), i, one)
            if (!rc) rc = add_argument(r, b, one, ready);
        for (size_t k = 0; !rc && k < sizeof(named) / sizeof(*named); k++)
            rc = add_argument(r, b, json_object_get(kwargs, named[k]), ready);
    } else {  // Keras 2: [["embed", 0, 0, {"value": ["embed", 0, 0]}], ...]
        json_array_foreach(node, i, one) {
            if (!rc) rc = add_input(r, b, one, ready);
            if (!i) kwargs = json_array_get(one, 3);
        }
        for (size_t k = 1; !rc && k < 3; k++)
            if (json_is_array(json_object_get(kwargs, named[k])))
                rc = add_input(r, b, json_object_get(kwargs, named[k]), ready);
    }
    b->causal = json_is_true(json_object_get(kwargs, "use_causal_mask"));
    if (!rc && json_is_true(json_object_get(kwargs, "training")))
        rc = pawl_keras_stop(b, "it is called with training=True");
    return rc;
}

int pawl_keras_find_inputs(struct pawl_keras_walk *r, struct pawl_keras_build *b,
                           const json_t *config, bool *ready)
{
    struct pawl_keras_level *level = &r->level[r->depth - 1];
    const json_t *nodes = json_object_get(config, "inbound_nodes");

    *ready = true;
    if (level->sequential) {
        if (level->previous >= 0) {
            b->inputs[b->input_count++] = level->previous;
        } else if (level->input_count) {
            b->inputs[b->input_count++] = level->inputs[0];
        }
        return 0;
    }
    if (!json_array_size(nodes)) return 0;
    if (json_array_size(nodes) > 1)
        return pawl_keras_stop(b, "it is called %zu times: pawl does not share layers",
                               json_array_size(nodes));
    return read_node(r, b, json_array_get(nodes, 0), ready);
}

// ---- inputs of the model

// [null, 10, 8, 2]: the batch is left out.
static int read_shape(const struct pawl_keras_build *b, const json_t *from, struct pawl_shape *out)
{
    const size_t rank = json_array_size(from);

    if (rank < 2 || rank - 1 > PAWL_SHAPE_MAX)
        return pawl_keras_stop(b, "its input has no shape, or one of more than %d dimensions",
                               PAWL_SHAPE_MAX);
    *out = (struct pawl_shape){ .rank = (int)rank - 1 };
    for (size_t d = 1; d < rank; d++) {
        const json_t *size = json_array_get(from, d);
        if (json_is_null(size))
            return pawl_keras_stop(b, "its input has a dimension of any size; pawl plans for one "
                                   "size");
        if (!json_is_integer(size))
            return pawl_keras_fail(b, "batch_shape: dimension %zu must be a whole number", d);
        out->dim[d - 1] = json_integer_value(size);
    }
    return 0;
}

static int add_source(struct pawl_keras_build *b, const json_t *shape, const char *suffix,
                      bool tokens)
{
    struct pawl_layer *layer;
    int rc;

    b->input_count = 0;
    b->last = -1;
    if (b->made->layer_count)
        return pawl_keras_stop(b, "it is a second input, and pawl computes models of one");
    rc = pawl_keras_add(b, PAWL_INPUT, suffix, &layer);
    if (!rc) rc = read_shape(b, shape, &layer->in.shape);
    if (rc) return rc;
    layer->in.tokens = tokens;
    return pawl_keras_done(b);
}

// Keras' own default type of an Embedding's input is float32: what counts is who takes it.
static bool feeds_embedding(const struct pawl_keras_walk *r, const char *name)
{
    const struct pawl_keras_level *level = &r->level[r->depth - 1];
    size_t i;
    json_t *one;

    if (level->sequential) {
        for (int l = level->first; l < level->first + level->count; l++)
            if (strcmp(r->out->layers[l].class_name, "InputLayer"))
                return !strcmp(r->out->layers[l].class_name, "Embedding");
        return false;
    }
    json_array_foreach(level->layers, i, one) {
        const char *class_name = json_string_value(json_object_get(one, "class_name"));
        char *nodes;
        if (!class_name || strcmp(class_name, "Embedding")) continue;
        nodes = json_dumps(json_object_get(one, "inbound_nodes"), JSON_COMPACT);
        char wanted[PAWL_KERAS_NAME_MAX + 4];
        snprintf(wanted, sizeof(wanted), "[\"%s\",", name);
        const bool found = nodes && strstr(nodes, wanted);
        free(nodes);
        if (found) return true;
    }
    return false;
}

static const json_t *shape_field(const json_t *config)
{
    const json_t *shape = json_object_get(config, "batch_shape");

    return shape ? shape : json_object_get(config, "batch_input_shape");
}

int pawl_keras_input_layer(struct pawl_keras_walk *r, struct pawl_keras_build *b)
{
    struct pawl_keras_level *level = &r->level[r->depth - 1];

    if (r->depth > 1) {  // of a nested model: what feeds the model
        if (level->next_input >= level->input_count)
            return pawl_keras_fail(b, "the nested model has more inputs than it is given");
        b->last = level->inputs[level->next_input++];
        return 0;
    }
    const char *name = r->out->layers[b->layer].name;
    return add_source(b, shape_field(b->config), NULL, feeds_embedding(r, name));
}

int pawl_keras_implied_input(struct pawl_keras_walk *r, struct pawl_keras_build *b,
                             const json_t *config)
{
    const struct pawl_keras_level *level = &r->level[r->depth - 1];
    const json_t *shape = shape_field(b->config);

    if (!shape) shape = json_object_get(level->config, "build_input_shape");
    if (!shape) shape = json_object_get(json_object_get(config, "build_config"), "input_shape");
    const int rc = add_source(b, shape, "input", !strcmp(b->class_name, "Embedding"));
    if (rc) return rc;
    b->inputs[0] = b->last;
    b->input_count = 1;
    b->last = -1;
    return 0;
}
