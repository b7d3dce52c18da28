// keras_read.c - the tensors of Keras' files, and which variables of the model they are.

#include "checkpoint/formats/keras_read.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/cast.h"
#include "checkpoint/formats/keras_inside.h"
#include "checkpoint/names.h"
#include "kernels/memory.h"

// ---- tensors

int pawl_keras_training(struct pawl_document *document)
{
    if (document->training) return 0;
    const int rc = pawl_alloc(&document->training, sizeof(*document->training), "training state");
    if (rc) return rc;
    document->training->epoch = -1;
    document->training->loss = NAN;
    return 0;
}

static bool begins(const char *path, const char *with)
{
    return strncmp(path, with, strlen(with)) == 0;
}

static int add_state(struct pawl_document *document, struct pawl_hdf5 *h5, int object,
                     const char *name)
{
    int rc = pawl_keras_training(document);

    if (!rc)
        rc = pawl_hdf5_entry(h5, object, name, &document->training->tensors,
                             &document->training->tensor_count);
    if (!rc) document->training->tensors[document->training->tensor_count - 1].of = -1;
    return rc;
}

int pawl_keras_read_stores(struct pawl_document *document, struct pawl_hdf5 *h5)
{
    int count, rc = 0;
    const struct pawl_hdf5_object *objects = pawl_hdf5_objects(h5, &count);

    for (int i = 0; !rc && i < count; i++) {
        const char *path = objects[i].path;
        if (!objects[i].dataset || begins(path, "metrics/")) continue;
        if (begins(path, "optimizer/"))
            rc = add_state(document, h5, i, path);
        else
            rc = pawl_hdf5_entry(h5, i, path, &document->weights, &document->weight_count);
    }
    return rc ? rc : pawl_keras_scalars(document);
}

static int join(struct pawl_hdf5 *h5, char *out, size_t size, const char *parts[3])
{
    const int length = snprintf(out, size, "%s%s%s%s%s", parts[0], *parts[0] ? "/" : "", parts[1],
                                *parts[1] ? "/" : "", parts[2]);

    (void)h5;
    return length < (int)size ? 0 : pawl_fail(PAWL_ECORRUPT, "the name '%.60s...' is too long",
                                              parts[2]);
}

// The datasets that weight_names of one group lists, in its order.
static int read_group(struct pawl_document *document, struct pawl_hdf5 *h5, const char *at,
                      const char *layer, bool state)
{
    char path[2048];
    json_t *names = NULL;
    size_t i;
    json_t *one;

    int rc = join(h5, path, sizeof(path), (const char *[]){ at, "", layer });
    const int group = rc ? -1 : pawl_hdf5_find(h5, *path && path[strlen(path) - 1] == '/'
                                               ? at : path);
    if (rc) return rc;
    if (group < 0)
        return pawl_fail(PAWL_ECORRUPT, "%s: layer '%s': its group is not in the file",
                         document->path, layer);
    rc = pawl_hdf5_attribute_list(h5, group, "weight_names", &names);
    if (!rc && names && !json_is_array(names))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: layer '%s': weight_names is no list", document->path,
                       layer);
    json_array_foreach(names, i, one) {
        const char *name = json_string_value(one);
        if (rc) break;
        rc = join(h5, path, sizeof(path), (const char *[]){ at, layer, name });
        const int object = rc ? -1 : pawl_hdf5_find(h5, path);
        if (!rc && object < 0)
            rc = pawl_fail(PAWL_ECORRUPT, "%s: layer '%s': weight_names lists '%s', which is not "
                           "in the file", document->path, layer, name);
        if (!rc && state) rc = add_state(document, h5, object, name);
        if (!rc && !state)
            rc = pawl_hdf5_entry(h5, object, name, &document->weights, &document->weight_count);
    }
    json_decref(names);
    return rc;
}

// A weight_name may be in several layers: then all are called by their whole path.
static int tell_apart(struct pawl_document *document, int *const layer_of, json_t *layers)
{
    struct pawl_names names = { 0 };

    if (!document->weight_count) return 0;
    const int rc = pawl_names_build(&names, document->weight_count,
                                    document->weights[0].tensor.name, sizeof(*document->weights));
    const bool twice = names.twice;
    pawl_names_free(&names);
    for (int i = 0; !rc && twice && i < document->weight_count; i++) {
        char *name = document->weights[i].tensor.name, old[PAWL_NAME_MAX + 1];
        const char *layer = json_string_value(json_array_get(layers, (size_t)layer_of[i]));
        snprintf(old, sizeof(old), "%s", name);
        if (snprintf(name, PAWL_NAME_MAX + 1, "%s/%s", layer, old) > PAWL_NAME_MAX)
            return pawl_fail(PAWL_ECORRUPT, "%s: a name in layer '%s' is too long", document->path,
                             layer);
    }
    return rc;
}

int pawl_keras_read_layers(struct pawl_document *document, struct pawl_hdf5 *h5, const char *at)
{
    const int group = pawl_hdf5_find(h5, at);
    json_t *layers = NULL;
    int *layer_of = NULL;
    size_t i;
    json_t *one;

    if (group < 0)
        return pawl_fail(PAWL_ECORRUPT, "%s: group '%s' is not in the file", document->path, at);
    int rc = pawl_hdf5_attribute_list(h5, group, "layer_names", &layers);
    if (!rc && !json_is_array(layers))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: it has no layer_names: no Keras weights",
                       document->path);
    json_array_foreach(layers, i, one) {
        const int before = document->weight_count;
        if (rc) break;
        rc = read_group(document, h5, at, json_string_value(one), false);
        if (!rc)
            rc = pawl_realloc(&layer_of, sizeof(int) * ((size_t)document->weight_count + 1),
                              "layers of weights");
        for (int w = before; !rc && w < document->weight_count; w++)
            layer_of[w] = (int)i;
    }
    if (!rc) rc = tell_apart(document, layer_of, layers);
    // Which layer a tensor is of matters for binding: it is kept beside the weights.
    for (int w = 0; !rc && w < document->weight_count; w++)
        document->weights[w].of = layer_of[w];
    if (!rc) json_object_set(document->metadata, "layer_names", layers);
    json_decref(layers);
    pawl_free(layer_of);
    return rc;
}

int pawl_keras_read_optimizer(struct pawl_document *document, struct pawl_hdf5 *h5)
{
    if (pawl_hdf5_find(h5, "optimizer_weights") < 0) return 0;
    const int rc = read_group(document, h5, "optimizer_weights", "", true);
    return rc ? rc : pawl_keras_scalars(document);
}

// ---- variables and the file's tensors

static int named(const struct pawl_names *names, const char *name)
{
    return pawl_names_find(names, name);
}

// SavedModel: by the variable's name, which has the cell's own name in a recurrent layer.
static int find_full(const struct pawl_names *names, const struct pawl_keras_layer *layer,
                     const struct pawl_keras_variable *variable)
{
    static const char *const cells[][2] = {
        { "LSTM", "lstm_cell" }, { "GRU", "gru_cell" }, { "SimpleRNN", "simple_rnn_cell" },
    };
    char path[PAWL_NAME_MAX + 1];

    snprintf(path, sizeof(path), "%s/%s", layer->name, variable->name);
    int found = named(names, path);
    for (size_t i = 0; found < 0 && i < sizeof(cells) / sizeof(*cells); i++) {
        if (strcmp(layer->class_name, cells[i][0]) || !begins(variable->name, "cell/")) continue;
        snprintf(path, sizeof(path), "%s/%s/%s", layer->name, cells[i][1], variable->name + 5);
        found = named(names, path);
    }
    return found;
}

// Older files call what is private in a layer by another name.
static int find_store(const struct pawl_names *names, const struct pawl_keras *keras, int v)
{
    const struct pawl_keras_variable *variable = &keras->variables[v];
    const struct pawl_keras_layer *layer = &keras->layers[variable->layer];
    char path[PAWL_NAME_MAX + 1];

    snprintf(path, sizeof(path), "%s/%s", layer->store, variable->store);
    int found = named(names, path);
    if (found >= 0) return found;
    snprintf(path, sizeof(path), "%s/_%s", layer->store, variable->store);
    found = named(names, path);
    if (found >= 0) return found;
    snprintf(path, sizeof(path), "_layer_checkpoint_dependencies/%.120s/%s", layer->name,
             variable->store);
    found = named(names, path);
    return found >= 0 ? found : find_full(names, layer, variable);
}

static int top_of(const struct pawl_keras *keras, int layer)
{
    while (keras->layers[layer].parent >= 0)
        layer = keras->layers[layer].parent;
    return layer;
}

// The first weight of the top layer called name, looked for from `from` on; -1: it has none.
static int first_listed(const struct pawl_document *document, const json_t *layers,
                        const char *name, int from)
{
    for (int n = 0; n < document->weight_count; n++) {
        const int w = (from + n) % document->weight_count;
        const int of = document->weights[w].of;
        const char *layer = json_string_value(json_array_get(layers, (size_t)of));
        if (layer && !strcmp(layer, name) && (!w || document->weights[w - 1].of != of)) return w;
    }
    return -1;
}

// Legacy files list a top layer's weights: trainable ones, then the others.
static void find_listed(const struct pawl_document *document, const struct pawl_keras *keras,
                        const json_t *layers, int *weight_of)
{
    int next = 0;

    for (int l = 0; l < keras->layer_count; l++) {
        if (keras->layers[l].parent >= 0) continue;
        int w = first_listed(document, layers, keras->layers[l].name, next);
        const int layer = w < 0 ? -1 : document->weights[w].of;
        for (int n = 0; w >= 0 && n < 2 * keras->variable_count; n++) {
            const int v = n % keras->variable_count;
            if (keras->variables[v].trainable != (n < keras->variable_count)
                || top_of(keras, keras->variables[v].layer) != l)
                continue;
            if (w == document->weight_count || document->weights[w].of != layer) break;
            weight_of[v] = w++;
        }
        if (w >= 0) next = w;
    }
}

static int find_stores(const struct pawl_document *document, const struct pawl_keras *keras,
                       int *weight_of)
{
    struct pawl_names names = { 0 };

    if (!document->weight_count) return 0;
    const int rc = pawl_names_build(&names, document->weight_count,
                                    document->weights[0].tensor.name, sizeof(*document->weights));
    for (int v = 0; !rc && v < keras->variable_count; v++)
        weight_of[v] = find_store(&names, keras, v);
    pawl_names_free(&names);
    return rc;
}

// Each variable against its tensor; what is left over is unexpected unless it is no number.
static int check_fit(const struct pawl_document *document, const struct pawl_keras *keras,
                     const int *weight_of, int *match)
{
    struct pawl_fit fit = { 0 };
    const char *extra = NULL;
    char *used = NULL;
    int unexpected = 0;

    int rc = pawl_alloc(&used, (size_t)document->weight_count + 1, "names of weights");
    if (rc) return rc;
    for (int v = 0; v < keras->variable_count; v++) {
        const struct pawl_keras_variable *variable = &keras->variables[v];
        struct pawl_tensor wanted = { .dtype = PAWL_F32 };
        snprintf(wanted.name, sizeof(wanted.name), "%s.%s", keras->layers[variable->layer].name,
                 variable->name);
        rc = pawl_tensor_shape(&wanted, variable->rank, variable->dim);
        if (rc) break;
        pawl_fit_note(&fit, &wanted, weight_of[v] < 0 ? NULL : &document->weights[weight_of[v]]);
        if (weight_of[v] >= 0) used[weight_of[v]] = 1;
    }
    for (int w = document->weight_count - 1; !rc && w >= 0; w--)
        if (!used[w] && pawl_dtype_casts(document->weights[w].tensor.dtype)) {
            unexpected++;
            extra = document->weights[w].tensor.name;
        }
    pawl_free(used);
    *match = fit.match;
    return rc ? rc : pawl_fit_end(&fit, document, unexpected, extra);
}

// Finds the tensor of each variable: by store in version 3, by layer and place in legacy files.
static int find_weights(const struct pawl_document *document, const struct pawl_keras *keras,
                        int *weight_of, int *match)
{
    const json_t *layers = json_object_get(document->metadata, "layer_names");

    for (int v = 0; v < keras->variable_count; v++)
        weight_of[v] = -1;
    if (json_is_array(layers)) {
        if (document->weight_count) find_listed(document, keras, layers, weight_of);
    } else {
        const int rc = find_stores(document, keras, weight_of);
        if (rc) return rc;
    }
    return check_fit(document, keras, weight_of, match);
}

static int bind(struct pawl_document *document, struct pawl_keras *keras,
                struct pawl_bindings **out, int *match)
{
    int *weight_of = NULL, *trained = NULL, count = 0;

    int rc = pawl_alloc(&weight_of, sizeof(int) * ((size_t)keras->variable_count + 1), "variables");
    if (!rc)
        rc = pawl_alloc(&trained, sizeof(int) * ((size_t)keras->variable_count + 1), "variables");
    if (!rc) rc = find_weights(document, keras, weight_of, match);
    for (int v = 0; !rc && v < keras->variable_count; v++)
        if (keras->variables[v].trainable) trained[count++] = weight_of[v];
    if (!rc) rc = pawl_keras_take_moments(document, trained, count);
    if (!rc) rc = pawl_keras_bind(keras, weight_of, out);
    pawl_free(weight_of);
    pawl_free(trained);
    return rc;
}

// ---- configurations

int pawl_keras_parse(json_t **out, const char *bytes, size_t size, const char *what)
{
    json_error_t error;

    *out = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &error);
    if (*out) return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s: not JSON: %.200s (line %d, column %d)", what, error.text,
                     error.line, error.column);
}

int pawl_keras_take_config(struct pawl_document *document, const json_t *config,
                           const json_t *compile)
{
    struct pawl_keras keras;
    json_t *optimizer = NULL;
    char loss[32] = "";
    int match = 0;

    int rc = pawl_keras_read(&keras, config, document->path);
    if (rc) return rc;
    if (json_is_object(compile)) rc = pawl_keras_compile_read(&optimizer, loss, compile);
    if (!rc && optimizer) {
        rc = pawl_keras_training(document);
        if (!rc && document->training->optimizer)
            json_object_update(optimizer, document->training->optimizer);  // the rate it had
        if (!rc) {
            json_decref(document->training->optimizer);
            document->training->optimizer = optimizer;
            optimizer = NULL;
        }
    }
    json_decref(optimizer);
    snprintf(document->stop, sizeof(document->stop), "%s", keras.stop);
    if (keras.stop[0]) pawl_document_warn(document, "%s", keras.stop);
    if (!rc && keras.architecture) {
        snprintf(keras.architecture->loss, sizeof(keras.architecture->loss), "%s", loss);
        if (document->weight_count) rc = bind(document, &keras, &document->bindings, &match);
        if (!rc) {
            document->architecture = keras.architecture;
            keras.architecture = NULL;
        }
    }
    json_object_del(document->metadata, "layer_names");  // was for binding alone
    pawl_keras_free(&keras);
    return rc;
}

int pawl_keras_binder(struct pawl_bindings *out, const struct pawl_document *document, int *fit)
{
    struct pawl_document *mine = (struct pawl_document *)(uintptr_t)document;
    struct pawl_bindings *bound = NULL;
    struct pawl_keras keras = { 0 };
    json_t *config = NULL;

    *fit = 0;
    if (strcmp(document->format, "keras-weights") && strcmp(document->format, "h5-weights")
        && strcmp(document->format, "savedmodel"))
        return pawl_fail(PAWL_ECORRUPT, "%s: not Keras' weights", document->path);
    int rc = pawl_keras_write(&config, document->architecture, false);
    if (!rc) rc = pawl_keras_read(&keras, config, document->path);
    if (!rc) rc = bind(mine, &keras, &bound, fit);
    if (rc == PAWL_ENOTSUP) rc = pawl_fail(PAWL_ECORRUPT, "%s", pawl_error());
    if (!rc) {
        *out = *bound;
        pawl_free(bound);
    }
    json_decref(config);
    pawl_keras_free(&keras);
    return rc;
}
