// savedmodel_order.c - Keras 2's own order of a functional model's layers.
//
// Those farthest from the output come first; of equally far ones, which a walk from the output
// meets first. Source: _map_graph_network and _build_map in tf_keras/src/engine/functional.py.

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/formats/savedmodel_save.h"
#include "kernels/memory.h"

struct place {
    int index;         // in the configuration
    int depth, met;    // how far from the output, and when the walk met it; -1: never
    const json_t *from[PAWL_INPUTS_MAX];  // [layer, 0, 0]
    int from_count, next;
};

struct order {
    const json_t *layers;
    json_t *index_of;  // {"name": index}
    struct place *places;
    int *stack, *after;  // after: in the order in which the walk left them
    int count, depth, left, met;
};

static void add_from(struct place *place, const json_t *history)
{
    if (json_is_array(history) && place->from_count < PAWL_INPUTS_MAX)
        place->from[place->from_count++] = history;
}

// [[["a", 0, 0, {"key": ["b", 0, 0], "value": ["c", 0, 0]}], ...]]: arguments, then by name.
static void take_inbound(struct place *place, const json_t *layer)
{
    const json_t *node = json_array_get(json_object_get(layer, "inbound_nodes"), 0);
    const json_t *words = json_array_get(json_array_get(node, 0), 3);
    size_t i;
    json_t *one;

    json_array_foreach(node, i, one) add_from(place, one);
    add_from(place, json_object_get(words, "key"));
    add_from(place, json_object_get(words, "value"));
}

static int find(const struct order *o, const json_t *history)
{
    const char *name = json_string_value(json_array_get(history, 0));
    const json_t *index = name ? json_object_get(o->index_of, name) : NULL;

    return index ? (int)json_integer_value(index) : -1;
}

static void walk(struct order *o, int root)
{
    o->places[root].met = o->met++;
    o->stack[o->depth++] = root;
    while (o->depth) {
        struct place *place = &o->places[o->stack[o->depth - 1]];
        if (place->next == place->from_count) {
            o->after[o->left++] = o->stack[--o->depth];
            continue;
        }
        const int to = find(o, place->from[place->next++]);
        if (to < 0 || o->places[to].met >= 0) continue;
        o->places[to].met = o->met++;
        o->stack[o->depth++] = to;
    }
}

static void measure(struct order *o)
{
    for (int i = o->left - 1; i >= 0; i--) {
        const struct place *place = &o->places[o->after[i]];
        for (int k = 0; k < place->from_count; k++) {
            const int to = find(o, place->from[k]);
            if (to >= 0 && o->places[to].depth < place->depth + 1)
                o->places[to].depth = place->depth + 1;
        }
    }
}

static int by_depth(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->depth != y->depth) return x->depth > y->depth ? -1 : 1;
    return (x->met > y->met) - (x->met < y->met);
}

static int sort(struct order *o, json_t *config)
{
    json_t *sorted = json_array();

    walk(o, find(o, json_array_get(json_object_get(config, "output_layers"), 0)));
    measure(o);
    for (int i = 0; i < o->count; i++)  // what the output does not need: out of the way
        if (o->places[i].met < 0) o->places[i].depth = INT_MAX;
    qsort(o->places, (size_t)o->count, sizeof(*o->places), by_depth);
    for (int i = 0; i < o->count; i++)
        json_array_append(sorted, json_array_get(o->layers, (size_t)o->places[i].index));
    return json_object_set_new(config, "layers", sorted)
               ? pawl_fail(PAWL_ENOMEM, "no memory for a configuration") : 0;
}

int pawl_saved_order(json_t *config)
{
    struct order o = { .layers = json_object_get(config, "layers"), .index_of = json_object() };
    size_t i;
    json_t *layer;

    o.count = (int)json_array_size(o.layers);
    const size_t room = (size_t)o.count + 1;
    int rc = pawl_alloc(&o.places, sizeof(*o.places) * room, "an order");
    if (!rc) rc = pawl_alloc(&o.stack, sizeof(int) * room, "an order");
    if (!rc) rc = pawl_alloc(&o.after, sizeof(int) * room, "an order");
    json_array_foreach(o.layers, i, layer) {
        const char *name = json_string_value(json_object_get(layer, "name"));
        if (rc) break;
        o.places[i] = (struct place){ .index = (int)i, .met = -1 };
        take_inbound(&o.places[i], layer);
        if (name) json_object_set_new(o.index_of, name, json_integer((json_int_t)i));
    }
    if (!rc && find(&o, json_array_get(json_object_get(config, "output_layers"), 0)) >= 0)
        rc = sort(&o, config);
    pawl_free(o.places);
    pawl_free(o.stack);
    pawl_free(o.after);
    json_decref(o.index_of);
    return rc;
}
