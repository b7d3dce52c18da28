// keras_config.c - a Keras model's configuration as an architecture.
//
// Sequential models are chains, functional ones graphs of named layers; either may hold others. A
// model is walked with a stack of the models that it is in, layers in the configuration's order
// (which is the order of Keras' variables) once their inputs are there.

#include "checkpoint/formats/keras_config.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_walk.h"
#include "kernels/memory.h"

// ---- models, one in the other

static int corrupt(const struct pawl_keras_walk *r, const char *words)
{
    return pawl_fail(PAWL_ECORRUPT, "%s: configuration: %s", r->what, words);
}

static bool is_model(const char *class_name)
{
    return !strcmp(class_name, "Sequential") || !strcmp(class_name, "Functional")
           || !strcmp(class_name, "Model");
}

// Appends the layer's row: name, class, store. Stores count per class within their container.
static int list_layer(struct pawl_keras_walk *r, const struct pawl_keras_level *level,
                      const json_t *config)
{
    struct pawl_keras *out = r->out;
    const char *class_name = json_string_value(json_object_get(config, "class_name"));
    const json_t *inner = json_object_get(config, "config");
    const char *name = json_string_value(json_object_get(inner, "name"));
    struct pawl_keras_layer layer = { .parent = level->model, .variable = -1 };
    char snake[64];
    int same = 0;

    if (!name) name = json_string_value(json_object_get(config, "name"));
    if (!class_name) return corrupt(r, "a layer has no class_name");
    if (!name) return pawl_fail(PAWL_ECORRUPT, "%s: configuration: a layer of class %.60s has no "
                                "name", r->what, class_name);
    if (strlen(name) >= sizeof(layer.name) || strlen(class_name) >= sizeof(layer.class_name))
        return pawl_fail(PAWL_ECORRUPT, "%s: layer '%.40s...': its name or class is too long",
                         r->what, name);
    if (out->layer_count >= PAWL_KERAS_NODES_MAX) return corrupt(r, "more than 4096 layers");
    if (out->layer_count == out->layer_room) {
        const int room = out->layer_room ? 2 * out->layer_room : 16;
        int rc = pawl_realloc(&out->layers, (size_t)room * sizeof(layer), "Keras layers");
        if (!rc) rc = pawl_realloc(&r->built, (size_t)room * sizeof(int), "Keras layers");
        if (rc) return rc;
        out->layer_room = room;
    }
    snprintf(layer.name, sizeof(layer.name), "%s", name);
    snprintf(layer.class_name, sizeof(layer.class_name), "%s", class_name);
    pawl_keras_snake(snake, sizeof(snake), class_name);
    for (int i = level->first; i < out->layer_count; i++) {
        if (!strcmp(out->layers[i].name, name))
            return pawl_fail(PAWL_ECORRUPT, "%s: two layers are called '%s': names must be "
                             "unique", r->what, name);
        same += !strcmp(out->layers[i].class_name, class_name);
    }
    const char *outer = level->model < 0 ? "" : out->layers[level->model].store;
    char number[16] = "";
    if (same) snprintf(number, sizeof(number), "_%d", same);
    if (snprintf(layer.store, sizeof(layer.store), "%.120s%slayers/%s%s", outer,
                 *outer ? "/" : "", snake, number) >= (int)sizeof(layer.store))
        return corrupt(r, "models are nested too deep");
    r->built[out->layer_count] = -1;
    out->layers[out->layer_count++] = layer;
    return 0;
}

// Opens a model: lists its layers, which are then built in turn.
static int enter(struct pawl_keras_walk *r, const char *class_name, const json_t *config, int model)
{
    struct pawl_keras_level *level = &r->level[r->depth];
    size_t i;
    json_t *one;

    if (r->depth == PAWL_KERAS_DEPTH_MAX) return corrupt(r, "models are nested too deep");
    memset(level, 0, sizeof(*level));
    level->layers = json_is_array(config) ? config : json_object_get(config, "layers");
    level->config = config;
    level->sequential = !strcmp(class_name, "Sequential");
    level->model = model;
    level->first = r->out->layer_count;
    level->previous = -1;
    if (!json_is_array(level->layers)) return corrupt(r, "a model has no list of layers");
    if (model >= 0) {
        char outer[PAWL_KERAS_NAME_MAX];
        snprintf(outer, sizeof(outer), "%s", r->level[r->depth - 1].prefix);
        snprintf(level->prefix, sizeof(level->prefix), "%.90s%.90s/", outer,
                 r->out->layers[model].name);
    }
    json_array_foreach(level->layers, i, one) {
        const int rc = list_layer(r, level, one);
        if (rc) return rc;
    }
    level->count = level->left = r->out->layer_count - level->first;
    r->depth++;
    return 0;
}

// ---- walking

static int build_layer(struct pawl_keras_walk *r, struct pawl_keras_build *b, const json_t *config)
{
    const char *why = "";
    pawl_keras_builder *build = pawl_keras_class(b->class_name, &why);

    if (!strcmp(b->class_name, "InputLayer")) return pawl_keras_input_layer(r, b);
    if (!build) {
        const char *module = json_string_value(json_object_get(config, "module"));
        return pawl_keras_stop(b, "class %.60s%s%.60s: %s", b->class_name, module ? " of " : "",
                               module ? module : "", why);
    }
    if (!b->input_count && r->depth == 1 && r->level[0].sequential) {
        const int rc = pawl_keras_implied_input(r, b, config);
        if (rc) return rc;
    }
    if (!b->input_count) return pawl_keras_fail(b, "nothing feeds it");
    return build(b);
}

static void type_of(struct pawl_keras *out, const json_t *config)
{
    const json_t *dtype = json_object_get(config, "dtype");

    if (json_is_object(dtype)) dtype = json_object_get(json_object_get(dtype, "config"), "name");
    if (json_is_string(dtype))
        snprintf(out->dtype, sizeof(out->dtype), "%s", json_string_value(dtype));
}

// Builds layer i of the level when its inputs are there. *entered: it is a model, now on top.
static int try_layer(struct pawl_keras_walk *r, int i, bool *progress, bool *entered)
{
    struct pawl_keras_level *level = &r->level[r->depth - 1];
    const json_t *config = json_array_get(level->layers, (size_t)(i - level->first));
    struct pawl_keras_layer *layer = &r->out->layers[i];
    struct pawl_keras_build b = { .out = r->out, .made = r->made, .what = r->what,
                                  .config = json_object_get(config, "config"),
                                  .class_name = layer->class_name, .prefix = level->prefix,
                                  .layer = i, .keras2 = r->keras2, .last = -1 };
    char class_name[sizeof(layer->class_name)];  // the table of layers may move
    bool ready = true;

    snprintf(class_name, sizeof(class_name), "%s", layer->class_name);
    b.class_name = class_name;
    int rc = pawl_keras_find_inputs(r, &b, config, &ready);
    if (rc || !ready) return rc;
    *progress = true;
    if (is_model(class_name)) {
        if (layer->variable < 0) layer->variable = r->out->variable_count;
        rc = enter(r, class_name, b.config, i);
        if (rc) return rc;
        level = &r->level[r->depth - 1];
        memcpy(level->inputs, b.inputs, sizeof(b.inputs));
        level->input_count = b.input_count;
        *entered = true;
        return 0;
    }
    layer->variable = r->out->variable_count;
    if (strcmp(class_name, "InputLayer")) type_of(r->out, b.config);
    rc = build_layer(r, &b, config);
    if (rc) return rc;
    r->built[i] = b.last;
    level->previous = b.last;
    level->left--;
    return 0;
}

// Which layer is a model's output: the last one, or the one that output_layers names.
static int leave(struct pawl_keras_walk *r)
{
    struct pawl_keras_level *level = &r->level[r->depth - 1];
    const json_t *outputs = json_object_get(level->config, "output_layers");
    int output = level->first + level->count - 1, last = level->previous;
    struct pawl_keras_build b = { .out = r->out, .what = r->what, .class_name = "model" };

    if (!level->count) return corrupt(r, "the model has no layers");
    if (!level->sequential) {
        if (json_is_array(json_array_get(outputs, 0))) {
            b.layer = level->first;
            if (json_array_size(outputs) != 1)
                return pawl_keras_stop(&b, "the model has %zu outputs; pawl computes one",
                                       json_array_size(outputs));
            outputs = json_array_get(outputs, 0);
        }
        const char *name = json_string_value(json_array_get(outputs, 0));
        if (!name) return corrupt(r, "the model does not say what its output is");
        output = pawl_keras_find_layer(r, level, name);
        if (output < 0) return corrupt(r, "the model's output is no layer of its");
        last = r->built[output];
    }
    if (last < 0) return corrupt(r, "the model has no layers");
    const int model = level->model;
    r->depth--;
    if (model < 0) {
        if (last == r->made->layer_count - 1) return 0;
        b.layer = output;
        return pawl_keras_stop(&b, "layers come after the model's output");
    }
    r->built[model] = last;
    r->level[r->depth - 1].previous = last;
    r->level[r->depth - 1].left--;
    return 0;
}

// One pass over the level on top; a nested model suspends it.
static int pass(struct pawl_keras_walk *r)
{
    const int depth = r->depth;
    struct pawl_keras_level *level = &r->level[depth - 1];
    bool progress = false, entered = false;
    int stuck = -1, rc = 0;

    for (int i = level->first; !rc && !entered && i < level->first + level->count; i++) {
        if (r->built[i] >= 0) continue;
        if (stuck < 0) stuck = i;
        rc = try_layer(r, i, &progress, &entered);
        // A chain is built in its order, which a suspended one must not lose.
        if (!rc && level->sequential && r->built[i] < 0 && !entered) break;
    }
    if (rc || entered) return rc;
    if (!level->left) return leave(r);
    if (progress) return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s: layer '%s' waits for itself: the graph has a cycle",
                     r->what, r->out->layers[stuck].name);
}

static int walk(struct pawl_keras_walk *r, const json_t *config)
{
    const char *class_name = json_string_value(json_object_get(config, "class_name"));
    const json_t *inner = json_object_get(config, "config");
    const char *name = json_string_value(json_object_get(inner, "name"));

    if (!class_name) return corrupt(r, "it has no class_name");
    if (!is_model(class_name)) {
        snprintf(r->out->stop, sizeof(r->out->stop), "the model is of class %.60s, which only its "
                 "author's code can build; code in model files is never run", class_name);
        return PAWL_ENOTSUP;
    }
    if (json_is_array(inner)) name = NULL;  // Keras 1 and early 2: the list alone
    snprintf(r->out->name, sizeof(r->out->name), "%.190s", name ? name : "model");
    r->out->sequential = !strcmp(class_name, "Sequential");
    int rc = enter(r, class_name, inner, -1);
    while (!rc && r->depth)
        rc = pass(r);
    return rc;
}

// Keras 2 spells an input's shape and a layer's type differently.
static bool is_keras2(const json_t *config)
{
    const json_t *layers = json_object_get(json_object_get(config, "config"), "layers");
    size_t i;
    json_t *one;

    json_array_foreach(layers, i, one) {
        const json_t *inner = json_object_get(one, "config");
        if (json_object_get(inner, "batch_input_shape")) return true;
        if (json_object_get(inner, "batch_shape")) return false;
        if (json_is_object(json_object_get(inner, "dtype"))) return false;
    }
    return false;
}

int pawl_keras_read(struct pawl_keras *out, const json_t *config, const char *what)
{
    struct pawl_keras_walk r = { .out = out, .what = what, .keras2 = is_keras2(config) };

    *out = (struct pawl_keras){ 0 };
    int rc = pawl_alloc(&r.made, sizeof(*r.made), "an architecture");
    if (!rc) rc = walk(&r, config);
    if (!rc) {
        snprintf(r.made->name, sizeof(r.made->name), "%.63s", out->name);
        rc = pawl_architecture_check(r.made);
        if (rc == PAWL_EINVAL) {
            char why[640];
            snprintf(why, sizeof(why), "%s", pawl_error());
            rc = pawl_fail(PAWL_ECORRUPT, "%s: %s", what, why);
        }
    }
    pawl_free(r.built);
    if (rc) {
        pawl_architecture_free(r.made);
        pawl_free(r.made);
        if (rc == PAWL_ENOTSUP && out->stop[0]) return 0;
        pawl_keras_free(out);
        return rc;
    }
    out->architecture = r.made;
    return 0;
}

void pawl_keras_free(struct pawl_keras *keras)
{
    if (keras->architecture) pawl_architecture_free(keras->architecture);
    pawl_free(keras->architecture);
    pawl_free(keras->layers);
    pawl_free(keras->variables);
    pawl_bindings_free(&keras->params);
    pawl_bindings_free(&keras->values);
    *keras = (struct pawl_keras){ 0 };
}
