// keras_sequence.c - Keras' recurrent layers and attention as pawl's kinds.

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_inside.h"
#include "checkpoint/layers.h"

// ---- recurrent layers

static int rnn_fields(struct pawl_keras_build *b, struct pawl_layer *layer)
{
    bool state = false, stateful = false, reverse = false;
    double alpha = 0;

    int rc = pawl_keras_count(b, "units", &layer->rnn.units);
    if (!rc) rc = pawl_keras_bool(b, "return_sequences", &layer->rnn.sequences);
    if (!rc) rc = pawl_keras_bool(b, "use_bias", &layer->rnn.bias);
    if (!rc) rc = pawl_keras_bool(b, "return_state", &state);
    if (!rc) rc = pawl_keras_bool(b, "stateful", &stateful);
    if (!rc) rc = pawl_keras_bool(b, "go_backwards", &reverse);
    if (!rc) rc = pawl_keras_activation(b, "activation", &layer->rnn.activation, &alpha);
    if (!rc)
        rc = pawl_keras_activation(b, "recurrent_activation", &layer->rnn.recurrent_activation,
                                   &alpha);
    if (!rc && (state || stateful || alpha != 0))
        rc = pawl_keras_stop(b, "return_state, stateful and slopes are not computed");
    // Keras gives the outputs in the order in which it went; pawl leaves each at its step.
    if (!rc && reverse && layer->rnn.sequences)
        rc = pawl_keras_stop(b, "go_backwards with return_sequences is not computed");
    layer->rnn.reverse = reverse;
    return rc;
}

// (rows, gates units) -> (gates units, rows).
static struct pawl_keras_tie gates_tie(const char *name, const char *store, int64_t rows,
                                       int64_t columns)
{
    return (struct pawl_keras_tie){ .name = name, .store = store, .rank = 2,
                                    .dim = { rows, columns }, .view_rank = 2,
                                    .view = { rows, columns }, .axis = { 1, 0 } };
}

static int64_t last_dim(const struct pawl_keras_build *b)
{
    const struct pawl_shape *shape = pawl_keras_shape(b, 0);

    return shape->dim[shape->rank ? shape->rank - 1 : 0];
}

// Gates in the same order on both sides.
static int plain_rnn(struct pawl_keras_build *b, enum pawl_layer_kind kind, int gates)
{
    const int64_t inputs = last_dim(b);
    struct pawl_layer *layer;

    int rc = pawl_keras_add(b, kind, NULL, &layer);
    if (!rc) rc = rnn_fields(b, layer);
    if (rc) return rc;
    const int64_t units = layer->rnn.units;
    const bool bias = layer->rnn.bias;
    rc = pawl_keras_done(b);
    if (rc) return rc;
    const struct pawl_keras_tie kernel = gates_tie("cell/kernel", "cell/vars/0", inputs,
                                                   gates * units);
    const struct pawl_keras_tie recurrent = gates_tie("cell/recurrent_kernel", "cell/vars/1",
                                                      units, gates * units);
    rc = pawl_keras_tie(b, 0, &kernel);
    if (!rc) rc = pawl_keras_tie(b, 1, &recurrent);
    if (!rc && bias)
        rc = pawl_keras_tie(b, 2, &(struct pawl_keras_tie){
            .name = "cell/bias", .store = "cell/vars/2", .rank = 1, .dim = { gates * units } });
    return rc;
}

int pawl_keras_lstm(struct pawl_keras_build *b) { return plain_rnn(b, PAWL_LSTM, 4); }
int pawl_keras_simple_rnn(struct pawl_keras_build *b) { return plain_rnn(b, PAWL_SIMPLE_RNN, 1); }

// Keras' gate for each of pawl's reset, update, new, and the same the other way round.
static const int64_t GRU_GATE[3] = { 1, 0, 2 };

// A kernel (rows, 3u) and a parameter (3u, rows), whose first two gates change places.
static int tie_gru(struct pawl_keras_build *b, int param, const struct pawl_keras_tie *tie)
{
    const int64_t rows = tie->dim[0], units = tie->dim[1] / 3;
    struct pawl_keras *out = b->out;
    int rc = pawl_keras_variable(b, tie);

    if (!rc) rc = pawl_keras_param(b, param);
    for (int g = 0; !rc && g < 3; g++)
        rc = pawl_bind_part(&out->params, &(struct pawl_bound){
            .source = out->variable_count - 1, .relayout = pawl_relayout_swap(rows, 3 * units),
            .start = GRU_GATE[g] * units * rows, .count = units * rows, .at = g * units * rows,
            .scale = 1 });
    for (int64_t i = 0; !rc && i < 3 * rows; i++)
        rc = pawl_bind_part(&out->values, &(struct pawl_bound){
            .source = out->params.count - 1, .relayout = pawl_relayout_swap(3 * units, rows),
            .start = i / 3 * 3 * units + GRU_GATE[i % 3] * units, .count = units,
            .at = i * units, .scale = 1 });
    return rc;
}

// bias (2, 3u) with reset_after, else (3u): one row per parameter.
static int tie_gru_bias(struct pawl_keras_build *b, int64_t units, bool two)
{
    const struct pawl_keras_tie tie = { .name = "cell/bias", .store = "cell/vars/2",
                                        .rank = two ? 2 : 1,
                                        .dim = { two ? 2 : 3 * units, 3 * units } };
    struct pawl_keras *out = b->out;
    int rc = pawl_keras_variable(b, &tie);

    for (int row = 0; !rc && row < (two ? 2 : 1); row++) {
        rc = pawl_keras_param(b, 2 + row);
        for (int g = 0; !rc && g < 3; g++) {
            struct pawl_bound part = { .source = out->variable_count - 1, .count = units,
                                       .start = (3 * row + GRU_GATE[g]) * units, .at = g * units,
                                       .scale = 1 };
            rc = pawl_bind_part(&out->params, &part);
            part.source = out->params.count - 1;
            part.start = g * units;
            part.at = (3 * row + GRU_GATE[g]) * units;
            if (!rc) rc = pawl_bind_part(&out->values, &part);
        }
    }
    return rc;
}

int pawl_keras_gru(struct pawl_keras_build *b)
{
    const int64_t inputs = last_dim(b);
    struct pawl_layer *layer;

    int rc = pawl_keras_add(b, PAWL_GRU, NULL, &layer);
    if (!rc) rc = rnn_fields(b, layer);
    if (!rc) rc = pawl_keras_bool(b, "reset_after", &layer->rnn.reset_after);
    if (rc) return rc;
    const int64_t units = layer->rnn.units;
    const bool bias = layer->rnn.bias, two = bias && layer->rnn.reset_after;
    layer->rnn.recurrent_bias = two;
    rc = pawl_keras_done(b);
    if (rc) return rc;
    const struct pawl_keras_tie kernel = gates_tie("cell/kernel", "cell/vars/0", inputs,
                                                   3 * units);
    const struct pawl_keras_tie recurrent = gates_tie("cell/recurrent_kernel", "cell/vars/1",
                                                      units, 3 * units);
    // The way back takes three parts for each of a kernel's rows.
    if (inputs > 65536 || units > 65536) return pawl_keras_stop(b, "more than 65,536 features");
    rc = tie_gru(b, 0, &kernel);
    if (!rc) rc = tie_gru(b, 1, &recurrent);
    return rc || !bias ? rc : tie_gru_bias(b, units, two);
}

// ---- attention

struct heads {
    int64_t count, dim, width, channels;
    bool bias;
};

// One of query, key and value: a dense layer fed by input i, (e, heads, d) -> (heads d, e).
static int project(struct pawl_keras_build *b, const struct heads *h, int i, int *made)
{
    static const char *const names[] = { "query", "key", "value" };
    struct pawl_keras_build one = *b;
    char kernel[32], bias[32], stores[2][40];
    struct pawl_layer *layer;
    const int64_t wide = h->count * h->dim;

    one.last = -1;
    one.input_count = 1;
    one.inputs[0] = b->inputs[i];
    const int64_t from = last_dim(&one);
    snprintf(kernel, sizeof(kernel), "%s/kernel", names[i]);
    snprintf(bias, sizeof(bias), "%s/bias", names[i]);
    snprintf(stores[0], sizeof(stores[0]), "%s_dense/vars/0", names[i]);
    snprintf(stores[1], sizeof(stores[1]), "%s_dense/vars/1", names[i]);
    int rc = pawl_keras_add(&one, PAWL_DENSE, names[i], &layer);
    if (rc) return rc;
    layer->dense.units = wide;
    layer->dense.bias = h->bias;
    rc = pawl_keras_done(&one);
    if (!rc)
        rc = pawl_keras_tie(&one, 0, &(struct pawl_keras_tie){
            .name = kernel, .store = stores[0], .rank = 3, .dim = { from, h->count, h->dim },
            .view_rank = 2, .view = { from, wide }, .axis = { 1, 0 } });
    if (!rc && h->bias)
        rc = pawl_keras_tie(&one, 1, &(struct pawl_keras_tie){
            .name = bias, .store = stores[1], .rank = 2, .dim = { h->count, h->dim } });
    *made = one.last;
    return rc;
}

static int heads_of(struct pawl_keras_build *b, struct heads *h)
{
    bool gate = false;

    *h = (struct heads){ .bias = true };
    int rc = pawl_keras_count(b, "num_heads", &h->count);
    if (!rc) rc = pawl_keras_count(b, "key_dim", &h->dim);
    h->width = h->dim;
    if (!rc) rc = pawl_keras_count(b, "value_dim", &h->width);
    if (!rc) rc = pawl_keras_bool(b, "use_bias", &h->bias);
    if (!rc) rc = pawl_keras_bool(b, "use_gate", &gate);
    h->channels = last_dim(b);
    if (rc) return rc;
    if (h->count < 1 || h->dim < 1 || h->count > 65536 || h->dim > 65536)
        return pawl_keras_fail(b, "num_heads and key_dim must be positive");
    const json_t *axes = json_object_get(b->config, "attention_axes");
    if (json_array_size(axes) > 1 || pawl_keras_shape(b, 0)->rank != 2)
        return pawl_keras_stop(b, "attention over more than one axis is not computed");
    if (h->width != h->dim) return pawl_keras_stop(b, "value_dim other than key_dim");
    if (gate || json_is_integer(json_object_get(b->config, "sliding_window")))
        return pawl_keras_stop(b, "use_gate and sliding_window are not computed");
    const json_t *shape = json_object_get(b->config, "output_shape");
    if (json_array_size(shape) > 1) return pawl_keras_stop(b, "output_shape of several axes");
    if (json_is_array(shape)) shape = json_array_get(shape, 0);
    if (json_is_integer(shape)) h->channels = json_integer_value(shape);
    return 0;
}

int pawl_keras_attention(struct pawl_keras_build *b)
{
    struct heads h;
    struct pawl_layer *layer;
    int from[3] = { 0 };

    // Called with query, value[, key]; the key is the value unless it is given.
    if (b->input_count == 1) b->inputs[1] = b->inputs[0];
    if (b->input_count <= 2)
        b->inputs[2] = b->inputs[1];
    else {
        const int value = b->inputs[1];
        b->inputs[1] = b->inputs[2];
        b->inputs[2] = value;
    }
    int rc = heads_of(b, &h);
    for (int i = 0; !rc && i < 3; i++)
        rc = project(b, &h, i, &from[i]);
    if (rc) return rc;
    memcpy(b->inputs, from, sizeof(from));
    b->input_count = 3;
    b->last = -1;
    rc = pawl_keras_add(b, PAWL_ATTENTION, NULL, &layer);
    if (rc) return rc;
    layer->attention.heads = h.count;
    layer->attention.causal = b->causal;
    rc = pawl_keras_done(b);
    if (!rc) rc = pawl_keras_add(b, PAWL_DENSE, "output", &layer);
    if (rc) return rc;
    const int64_t wide = h.count * h.dim;
    layer->dense.units = h.channels;
    layer->dense.bias = h.bias;
    rc = pawl_keras_done(b);
    if (!rc)
        rc = pawl_keras_tie(b, 0, &(struct pawl_keras_tie){
            .name = "attention_output/kernel", .store = "output_dense/vars/0", .rank = 3,
            .dim = { h.count, h.dim, h.channels }, .view_rank = 2,
            .view = { wide, h.channels }, .axis = { 1, 0 } });
    if (!rc && h.bias)
        rc = pawl_keras_tie(b, 1, &(struct pawl_keras_tie){
            .name = "attention_output/bias", .store = "output_dense/vars/1", .rank = 1,
            .dim = { h.channels } });
    return rc;
}
