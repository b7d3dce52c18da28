// savedmodel_emit.c - a model as TensorFlow operations, for inference: the walk, simple layers.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/savedmodel_emit.h"
#include "kernels/memory.h"

enum { NODE = 3 };  // the field of FunctionDef

int pawl_emit_unknown(const struct pawl_emit *e, int layer, const char *what)
{
    return pawl_fail(PAWL_ENOTSUP, "layer '%s' (%s): %s is not written as a SavedModel. try: "
                     "--to keras", e->of->layers[layer].name,
                     pawl_layer_kind_name(e->of->layers[layer].kind), what);
}

int pawl_emit_variable(const struct pawl_emit *e, int layer, const char *suffix)
{
    const struct pawl_bindings *params = &e->saved->file.keras.params;
    struct pawl_param list[PAWL_PARAMS_MAX];
    const int count = pawl_layer_params(e->of, layer, list);

    for (int k = 0; k < count; k++)
        if (strcmp(list[k].suffix, suffix) == 0)
            return params->items[e->params[layer] + k].parts[0].source;
    return -1;
}

struct pawl_ref pawl_emit_read(struct pawl_emit *e, int variable)
{
    struct pawl_ref name;
    char handle[32];
    const size_t node = pawl_emit_begin(e, "ReadVariableOp", &name);

    snprintf(handle, sizeof(handle), "v%d", variable);
    pawl_tf_input(e->out, handle);
    pawl_tf_type(e->out, "dtype", PAWL_TF_FLOAT);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, "value", 0);
}

const struct pawl_shape *pawl_emit_in(const struct pawl_emit *e, int layer, int input)
{
    return &e->of->layers[e->of->layers[layer].input[input]].out;
}

struct pawl_ref pawl_emit_value(const struct pawl_emit *e, int layer, int input)
{
    return e->values[e->of->layers[layer].input[input]];
}

// ---- simple layers

static void merge(struct pawl_emit *e, int i)
{
    static const char *const ops[PAWL_LAYER_KINDS] = {
        [PAWL_ADD] = "AddV2", [PAWL_AVERAGE] = "AddV2", [PAWL_MULTIPLY] = "Mul",
        [PAWL_MAXIMUM] = "Maximum", [PAWL_SUBTRACT] = "Sub",
    };
    const struct pawl_layer *layer = &e->of->layers[i];
    struct pawl_ref x = pawl_emit_value(e, i, 0);

    for (int k = 1; k < layer->input_count; k++)
        x = pawl_emit_binary(e, ops[layer->kind], x, pawl_emit_value(e, i, k));
    if (layer->kind == PAWL_AVERAGE) x = pawl_emit_scaled(e, x, 1.0 / layer->input_count);
    e->values[i] = x;
}

static void concatenate(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    struct pawl_ref parts[PAWL_INPUTS_MAX];

    for (int k = 0; k < layer->input_count; k++)
        parts[k] = pawl_emit_value(e, i, k);
    e->values[i] = pawl_emit_concat(e, parts, layer->input_count,
                                    (int)layer->concatenate.axis + 1);
}

static void permute(struct pawl_emit *e, int i)
{
    const struct pawl_shape *order = &e->of->layers[i].permute.order;
    int64_t all[PAWL_SHAPE_MAX + 1] = { 0 };

    for (int d = 0; d < order->rank; d++)
        all[d + 1] = order->dim[d] + 1;
    e->values[i] = pawl_emit_transpose(e, pawl_emit_value(e, i, 0), order->rank + 1, all);
}

static void zero_padding(struct pawl_emit *e, int i)
{
    const int64_t *pads = e->of->layers[i].zero_padding.pads;
    const int rank = pawl_emit_in(e, i, 0)->rank;
    int64_t all[8] = { 0 };

    memcpy(&all[2], rank == 3 ? pads : &pads[2], sizeof(*pads) * (rank == 3 ? 4 : 2));
    e->values[i] = pawl_emit_pad(e, pawl_emit_value(e, i, 0), rank + 1, all, 0);
}

static void global_pool(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    struct pawl_shape axes = { .rank = pawl_emit_in(e, i, 0)->rank - 1 };

    for (int d = 0; d < axes.rank; d++)
        axes.dim[d] = d + 1;
    e->values[i] = pawl_emit_reduce(e, layer->kind == PAWL_GLOBAL_MAX_POOL ? "Max" : "Mean",
                                    pawl_emit_value(e, i, 0), &axes, layer->global.keep);
}

static void embedding(struct pawl_emit *e, int i)
{
    const struct pawl_ref table = pawl_emit_read(e, pawl_emit_variable(e, i, "weight"));
    const struct pawl_ref tokens = pawl_emit_value(e, i, 0);
    const struct pawl_ref axis = pawl_emit_ints(e, 0, 1, (int64_t[]){ 0 });
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, "GatherV2", &name);

    pawl_tf_input(e->out, table.text);
    pawl_tf_input(e->out, tokens.text);
    pawl_tf_input(e->out, axis.text);
    pawl_tf_type(e->out, "Tparams", PAWL_TF_FLOAT);
    pawl_tf_type(e->out, "Tindices", PAWL_TF_INT32);
    pawl_tf_type(e->out, "Taxis", PAWL_TF_INT32);
    pawl_pb_end(e->out, node);
    e->values[i] = pawl_emit_output(&name, "output", 0);
}

static void position(struct pawl_emit *e, int i)
{
    const struct pawl_shape *in = pawl_emit_in(e, i, 0);
    struct pawl_ref table = pawl_emit_read(e, pawl_emit_variable(e, i, "weight"));

    if (in->dim[0] != e->of->layers[i].position.positions)
        table = pawl_emit_slice(e, table, 2, (int64_t[]){ 0, 0 }, in->dim);
    e->values[i] = pawl_emit_binary(e, "AddV2", pawl_emit_value(e, i, 0), table);
}

// relu(x) - slope relu(-x)
static void prelu(struct pawl_emit *e, int i)
{
    const struct pawl_ref slope = pawl_emit_read(e, pawl_emit_variable(e, i, "weight"));
    const struct pawl_ref x = pawl_emit_value(e, i, 0);
    const struct pawl_ref above = pawl_emit_plain(e, "Relu", "activations", x, NULL);
    const struct pawl_ref below = pawl_emit_plain(e, "Relu", "activations",
                                                  pawl_emit_unary(e, "Neg", x), NULL);

    e->values[i] = pawl_emit_binary(e, "Sub", above, pawl_emit_binary(e, "Mul", below, slope));
}

static int emit(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];

    switch (layer->kind) {
    case PAWL_INPUT:
        snprintf(e->values[i].text, PAWL_REF_MAX, "%s", pawl_saved_input_name(e->saved, i));
        return 0;
    case PAWL_DENSE: return pawl_emit_dense(e, i);
    case PAWL_CONV1D:
    case PAWL_CONV2D: return pawl_emit_conv(e, i);
    case PAWL_CONV1D_TRANSPOSE:
    case PAWL_CONV2D_TRANSPOSE: return pawl_emit_transposed(e, i);
    case PAWL_MAX_POOL1D:
    case PAWL_MAX_POOL2D:
    case PAWL_AVG_POOL1D:
    case PAWL_AVG_POOL2D: return pawl_emit_pool(e, i);
    case PAWL_BATCH_NORM:
    case PAWL_LAYER_NORM:
    case PAWL_GROUP_NORM:
    case PAWL_RMS_NORM: return pawl_emit_norm(e, i);
    case PAWL_ATTENTION: return pawl_emit_attention(e, i);
    case PAWL_LSTM:
    case PAWL_GRU:
    case PAWL_SIMPLE_RNN: return pawl_emit_rnn(e, i);
    case PAWL_GLOBAL_MAX_POOL:
    case PAWL_GLOBAL_AVG_POOL: global_pool(e, i); return 0;
    case PAWL_EMBEDDING: embedding(e, i); return 0;
    case PAWL_POSITION_EMBEDDING: position(e, i); return 0;
    case PAWL_ACTIVATE:
        e->values[i] = pawl_emit_activation(e, pawl_emit_value(e, i, 0),
                                            layer->activate.activation, layer->activate.alpha);
        return 0;
    case PAWL_PRELU: prelu(e, i); return 0;
    case PAWL_DROPOUT: e->values[i] = pawl_emit_value(e, i, 0); return 0;
    case PAWL_FLATTEN:
    case PAWL_RESHAPE:
        e->values[i] = pawl_emit_shaped(e, pawl_emit_value(e, i, 0), &layer->out);
        return 0;
    case PAWL_PERMUTE: permute(e, i); return 0;
    case PAWL_ZERO_PADDING: zero_padding(e, i); return 0;
    case PAWL_ADD:
    case PAWL_MULTIPLY:
    case PAWL_AVERAGE:
    case PAWL_MAXIMUM:
    case PAWL_SUBTRACT: merge(e, i); return 0;
    case PAWL_CONCATENATE: concatenate(e, i); return 0;
    case PAWL_LAYER_KINDS: break;
    }
    return pawl_emit_unknown(e, i, "it");
}

int pawl_saved_emit(struct pawl_saved *saved, struct pawl_text *out, char result[300])
{
    struct pawl_emit e = { .saved = saved, .out = out, .of = saved->file.keras.architecture };
    struct pawl_param params[PAWL_PARAMS_MAX];
    const int layers = e.of->layer_count;
    int next = 0;

    int rc = pawl_alloc(&e.values, sizeof(*e.values) * (size_t)layers, "values");
    if (!rc) rc = pawl_alloc(&e.params, sizeof(*e.params) * (size_t)layers, "values");
    for (int i = 0; i < layers && !rc; i++) {
        e.params[i] = next;
        next += pawl_layer_params(e.of, i, params);
        rc = emit(&e, i);
    }
    if (!rc) {
        const size_t node = pawl_tf_node(out, NODE, "result", "Identity");
        pawl_tf_input(out, e.values[layers - 1].text);
        pawl_tf_type(out, "T", PAWL_TF_FLOAT);
        pawl_pb_end(out, node);
        snprintf(result, 300, "result:output:0");
        rc = out->rc;
    }
    pawl_free(e.values);
    pawl_free(e.params);
    return rc;
}
