// keras_write.c - an architecture as a Keras configuration: the way back of the table of classes.
//
// What reading makes of one Keras layer, several of pawl's, becomes one layer again: a dense layer
// and its X.activation; X.query, X.key, X.value, X and X.output of attention.

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_inside.h"
#include "checkpoint/formats/keras_spell.h"
#include "checkpoint/layers.h"
#include "kernels/memory.h"

// ---- which layers are one

static bool ends_as(const char *name, const char *whole, const char *suffix)
{
    const size_t length = strlen(whole);

    return !strncmp(name, whole, length) && name[length] == '.'
           && !strcmp(name + length + 1, suffix);
}

// The layer after i, when it is i's own activation.
static bool folds_activation(const struct pawl_architecture *of, int i)
{
    const struct pawl_layer *next = i + 1 < of->layer_count ? &of->layers[i + 1] : NULL;

    return next && next->kind == PAWL_ACTIVATE && next->input[0] == i
           && ends_as(next->name, of->layers[i].name, "activation");
}

// Whether X.query, X.key, X.value, X and X.output begin at i.
static bool is_attention(const struct pawl_architecture *of, int i)
{
    static const char *const parts[] = { "query", "key", "value" };

    if (i + 4 >= of->layer_count) return false;
    const struct pawl_layer *l = &of->layers[i];
    if (l[3].kind != PAWL_ATTENTION || l[3].input_count != 3) return false;
    for (int k = 0; k < 3; k++)
        if (l[k].kind != PAWL_DENSE || l[3].input[k] != i + k || l[k].dense.activation
            || !ends_as(l[k].name, l[3].name, parts[k]))
            return false;
    return l[4].kind == PAWL_DENSE && l[4].input[0] == i + 3
           && ends_as(l[4].name, l[3].name, "output");
}

// ---- a graph of Keras layers

struct writing {
    const struct pawl_architecture *of;
    bool keras2, sequential;
    json_t *layers;
    const char **name_of;  // the Keras layer that gives pawl layer i's output
};

static json_t *shape_json(const struct pawl_shape *shape)
{
    json_t *out = json_pack("[n]");

    for (int d = 0; d < shape->rank; d++)
        json_array_append_new(out, json_integer(shape->dim[d]));
    return out;
}

static json_t *tensor_json(const struct writing *w, int layer)
{
    const struct pawl_layer *from = &w->of->layers[layer];
    const bool tokens = from->kind == PAWL_INPUT && from->in.tokens;

    if (w->keras2) return json_pack("[s, i, i, {}]", w->name_of[layer], 0, 0);
    return json_pack("{s:s, s:{s:o, s:s, s:[s, i, i]}}", "class_name", "__keras_tensor__", "config",
                     "shape", shape_json(&from->out), "dtype", tokens ? "int32" : "float32",
                     "keras_history", w->name_of[layer], 0, 0);
}

// The call of a layer: its tensors as arguments, or as one list of them.
static json_t *node_json(const struct writing *w, const int *inputs, int count, bool merge)
{
    json_t *all = json_array();

    for (int i = 0; i < count; i++)
        json_array_append_new(all, tensor_json(w, inputs[i]));
    if (w->keras2) return json_pack("[o]", all);
    return json_pack("[{s:o, s:{}}]", "args", merge ? json_pack("[o]", all) : all, "kwargs");
}

// Appends a layer; config is taken over and gets the name.
static int put(struct writing *w, const char *class_name, const char *name, json_t *config,
               json_t *nodes)
{
    json_t *layer;

    json_object_set_new(config, "name", json_string(name));
    layer = json_pack("{s:s, s:s, s:o, s:n}", "module", "keras.layers", "class_name", class_name,
                      "config", config, "registered_name");
    if (w->sequential) {
        json_decref(nodes);
    } else {
        json_object_set_new(layer, "name", json_string(name));
        json_object_set_new(layer, "inbound_nodes", nodes);
    }
    return json_array_append_new(w->layers, layer) ? pawl_fail(PAWL_ENOMEM, "no memory for a Keras "
                                                               "configuration") : 0;
}

static int put_input(struct writing *w, int i)
{
    const struct pawl_layer *layer = &w->of->layers[i];
    json_t *config = json_pack("{s:o, s:s}", w->keras2 ? "batch_input_shape" : "batch_shape",
                               shape_json(&layer->in.shape), "dtype",
                               layer->in.tokens ? "int32" : "float32");

    w->name_of[i] = layer->name;
    return put(w, "InputLayer", layer->name, config, json_array());
}

static int put_attention(struct writing *w, int i)
{
    const struct pawl_layer *l = &w->of->layers[i];
    const int query = l[0].input[0], key = l[1].input[0], value = l[2].input[0];
    const int64_t heads = l[3].attention.heads, dim = l[0].dense.units / heads;
    json_t *config = json_pack("{s:I, s:I, s:I, s:b, s:I}", "num_heads", (json_int_t)heads,
                               "key_dim", (json_int_t)dim, "value_dim", (json_int_t)dim,
                               "use_bias", l[0].dense.bias, "output_shape",
                               (json_int_t)l[4].dense.units);
    json_t *nodes;

    if (w->keras2) {
        nodes = json_pack("[[[s, i, i, {s:[s, i, i], s:[s, i, i], s:b}]]]", w->name_of[query], 0, 0,
                          "value", w->name_of[value], 0, 0, "key", w->name_of[key], 0, 0,
                          "use_causal_mask", l[3].attention.causal);
        json_object_set_new(config, "query_shape", shape_json(&w->of->layers[query].out));
        json_object_set_new(config, "key_shape", shape_json(&w->of->layers[key].out));
        json_object_set_new(config, "value_shape", shape_json(&w->of->layers[value].out));
    } else {
        const int inputs[] = { query, value, key };
        nodes = node_json(w, inputs, 3, false);
        json_object_set_new(json_object_get(json_array_get(nodes, 0), "kwargs"), "use_causal_mask",
                            json_boolean(l[3].attention.causal));
    }
    // A width that is the query's own is not said, as Keras does.
    if (l[4].dense.units == w->of->layers[query].out.dim[1])
        json_object_set_new(config, "output_shape", json_null());
    if (!w->keras2)
        json_object_set_new(config, "output_shape",
                            l[4].dense.units == w->of->layers[query].out.dim[1]
                                ? json_null() : json_pack("[I]", (json_int_t)l[4].dense.units));
    for (int k = 0; k < 5; k++)
        w->name_of[i + k] = l[3].name;
    return put(w, "MultiHeadAttention", l[3].name, config, nodes);
}

// Zeros around the input that Keras' own padding cannot give: a layer of their own.
static int put_padding(struct writing *w, int i, char name[PAWL_KERAS_NAME_MAX])
{
    const struct pawl_layer *layer = &w->of->layers[i];
    const int64_t *pads = layer->conv.pads;

    snprintf(name, PAWL_KERAS_NAME_MAX, "%.180s.pad", layer->name);
    return put(w, "ZeroPadding2D", name,
               json_pack("{s:[[I, I], [I, I]]}", "padding", (json_int_t)pads[0],
                         (json_int_t)pads[1], (json_int_t)pads[2], (json_int_t)pads[3]),
               node_json(w, layer->input, 1, false));
}

static int put_layer(struct writing *w, int i)
{
    const struct pawl_layer *layer = &w->of->layers[i];
    const struct pawl_shape *in = &w->of->layers[layer->input[0]].out;
    const bool folds = folds_activation(w->of, i);
    struct pawl_keras_spelling spelling = { .keras2 = w->keras2 };
    char padded[PAWL_KERAS_NAME_MAX];
    int rc = pawl_keras_spell(&spelling, layer, in, folds ? &layer[1] : NULL);

    if (rc) return rc;
    json_t *nodes = node_json(w, layer->input, layer->input_count, layer->input_count > 1);
    if (spelling.pads) {
        rc = put_padding(w, i, padded);
        json_decref(nodes);
        const char *kept = w->name_of[layer->input[0]];
        w->name_of[layer->input[0]] = padded;
        nodes = node_json(w, layer->input, 1, false);
        w->name_of[layer->input[0]] = kept;
    }
    w->name_of[i] = layer->name;
    if (folds) w->name_of[i + 1] = layer->name;
    if (!rc) rc = put(w, spelling.class_name, layer->name, spelling.config, nodes);
    return rc;
}

static bool is_chain(const struct pawl_architecture *of)
{
    for (int i = 0; i < of->layer_count; i++) {
        const struct pawl_layer *layer = &of->layers[i];
        if (layer->kind == PAWL_INPUT ? i > 0 : layer->input_count != 1 || layer->input[0] != i - 1)
            return false;
    }
    return true;
}

static int put_all(struct writing *w)
{
    int rc = 0;

    for (int i = 0; !rc && i < w->of->layer_count; i++) {
        if (w->of->layers[i].kind == PAWL_INPUT) {
            rc = put_input(w, i);
        } else if (is_attention(w->of, i)) {
            rc = put_attention(w, i);
            i += 4;
        } else {
            rc = put_layer(w, i);
            if (!rc && folds_activation(w->of, i)) i++;
        }
    }
    return rc;
}

static json_t *model_json(struct writing *w)
{
    const struct pawl_architecture *of = w->of;
    json_t *config = json_pack("{s:s, s:O}", "name", of->name[0] ? of->name : "model", "layers",
                               w->layers);
    json_t *inputs = json_array();

    for (int i = 0; i < of->layer_count; i++)
        if (of->layers[i].kind == PAWL_INPUT)
            json_array_append_new(inputs, json_pack("[s, i, i]", of->layers[i].name, 0, 0));
    if (w->sequential) {
        json_object_set_new(config, "build_input_shape", shape_json(&of->layers[0].out));
        json_decref(inputs);
    } else {
        json_object_set_new(config, "input_layers", inputs);
        json_object_set_new(config, "output_layers",
                            json_pack("[[s, i, i]]", w->name_of[of->layer_count - 1], 0, 0));
    }
    // Functional is no public name: Keras looks it up where it lives.
    const char *module = w->sequential ? "keras" : w->keras2 ? "tf_keras.src.engine.functional"
                                                             : "keras.src.models.functional";
    return json_pack("{s:s, s:s, s:o, s:n}", "module", module, "class_name",
                     w->sequential ? "Sequential" : "Functional", "config", config,
                     "registered_name");
}

int pawl_keras_write(json_t **out, const struct pawl_architecture *architecture, bool keras2)
{
    struct writing w = { .of = architecture, .keras2 = keras2,
                         .sequential = is_chain(architecture), .layers = json_array() };

    int rc = pawl_alloc(&w.name_of, sizeof(char *) * ((size_t)architecture->layer_count + 1),
                        "names of layers");
    if (!rc) rc = put_all(&w);
    if (!rc) *out = model_json(&w);
    json_decref(w.layers);
    pawl_free(w.name_of);
    return rc;
}
