// savedmodel_emit_sequence.c - attention and recurrent layers as TensorFlow operations.
//
// Time is of one size, so steps are written out one after the other.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/savedmodel_emit.h"
#include "kernels/memory.h"

static struct pawl_ref times(struct pawl_emit *e, struct pawl_ref a, struct pawl_ref b)
{
    return pawl_emit_binary(e, "Mul", a, b);
}

static struct pawl_ref plus(struct pawl_emit *e, struct pawl_ref a, struct pawl_ref b)
{
    return pawl_emit_binary(e, "AddV2", a, b);
}

// ---- attention

struct heads {
    int64_t time, dim, heads, kv_heads;
    const struct pawl_layer *layer;
    struct pawl_ref cosine, sine;  // (time, rotary / 2), or one more axis of 1
};

static int angles(struct pawl_emit *e, struct heads *h)
{
    const int64_t half = h->layer->attention.rotary / 2, count = h->time * half;
    const int64_t dim[2] = { h->time, half };
    float *table = NULL;

    const int rc = pawl_alloc(&table, sizeof(float) * (size_t)(2 * count), "angles");
    if (rc) return rc;
    for (int64_t t = 0; t < h->time; t++)
        for (int64_t i = 0; i < half; i++) {
            const double angle = (double)t * pow(h->layer->attention.theta,
                                                 -(double)i / (double)half);
            table[t * half + i] = (float)cos(angle);
            table[count + t * half + i] = (float)sin(angle);
        }
    h->cosine = pawl_emit_floats(e, 2, dim, table);
    h->sine = pawl_emit_floats(e, 2, dim, table + count);
    pawl_free(table);
    return 0;
}

// Pairs of the first `rotary` dimensions of (batch, heads, time, dim) turn.
static struct pawl_ref turn(struct pawl_emit *e, const struct heads *h, struct pawl_ref x,
                            int64_t heads)
{
    const int64_t rotary = h->layer->attention.rotary, half = rotary / 2;
    const int64_t begin[4] = { 0 }, size[4] = { -1, -1, -1, half };
    struct pawl_ref a, b, pair;

    if (h->layer->attention.interleaved) {
        pair = pawl_emit_slice(e, x, 4, begin, (int64_t[]){ -1, -1, -1, rotary });
        pair = pawl_emit_reshape(e, pair, 5, (int64_t[]){ -1, heads, h->time, half, 2 });
        pair = pawl_emit_unpack(e, pair, 4, 2);
        a = pawl_emit_output(&pair, "output", 0);
        b = pawl_emit_output(&pair, "output", 1);
    } else {
        a = pawl_emit_slice(e, x, 4, begin, size);
        b = pawl_emit_slice(e, x, 4, (int64_t[]){ 0, 0, 0, half }, size);
    }
    struct pawl_ref parts[3] = {
        pawl_emit_binary(e, "Sub", times(e, a, h->cosine), times(e, b, h->sine)),
        plus(e, times(e, b, h->cosine), times(e, a, h->sine)),
    };
    int count = 2;
    if (h->layer->attention.interleaved) {
        parts[0] = pawl_emit_pack(e, parts, 2, 4, PAWL_TF_FLOAT);
        parts[0] = pawl_emit_reshape(e, parts[0], 4, (int64_t[]){ -1, heads, h->time, rotary });
        count = 1;
    }
    if (rotary < h->dim)
        parts[count++] = pawl_emit_slice(e, x, 4, (int64_t[]){ 0, 0, 0, rotary },
                                         (int64_t[]){ -1, -1, -1, -1 });
    return count == 1 ? parts[0] : pawl_emit_concat(e, parts, count, 3);
}

// (batch, time, heads dim) -> (batch, heads, time, dim)
static struct pawl_ref split(struct pawl_emit *e, const struct heads *h, struct pawl_ref x,
                             int64_t heads)
{
    x = pawl_emit_reshape(e, x, 4, (int64_t[]){ -1, h->time, heads, h->dim });
    return pawl_emit_transpose(e, x, 4, (int64_t[]){ 0, 2, 1, 3 });
}

// Scores of what comes later go far below all others.
static int mask(struct pawl_emit *e, const struct heads *h, struct pawl_ref *scores)
{
    const int64_t dim[2] = { h->time, h->time };
    float *table = NULL;

    if (!h->layer->attention.causal) return 0;
    const int rc = pawl_alloc(&table, sizeof(float) * (size_t)(h->time * h->time), "a mask");
    if (rc) return rc;
    for (int64_t q = 0; q < h->time; q++)
        for (int64_t k = 0; k < h->time; k++)
            table[q * h->time + k] = k > q ? -1e9f : 0;
    *scores = plus(e, *scores, pawl_emit_floats(e, 2, dim, table));
    pawl_free(table);
    return 0;
}

static void queries_keys_values(struct pawl_emit *e, int i, const struct heads *h,
                                struct pawl_ref part[3])
{
    const int64_t wide[3] = { h->heads * h->dim, h->kv_heads * h->dim, h->kv_heads * h->dim };
    int64_t at = 0;

    for (int k = 0; k < 3; k++) {
        part[k] = h->layer->input_count == 3
                      ? pawl_emit_value(e, i, k)
                      : pawl_emit_slice(e, pawl_emit_value(e, i, 0), 3, (int64_t[]){ 0, 0, at },
                                        (int64_t[]){ -1, -1, wide[k] });
        part[k] = split(e, h, part[k], k ? h->kv_heads : h->heads);
        at += wide[k];
    }
}

int pawl_emit_attention(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    struct heads h = { .time = layer->out.dim[0], .dim = layer->out.dim[1] / layer->attention.heads,
                       .heads = layer->attention.heads, .kv_heads = layer->attention.kv_heads,
                       .layer = layer };
    const int64_t groups = h.heads / h.kv_heads;
    struct pawl_ref part[3];
    int rc = 0;

    queries_keys_values(e, i, &h, part);
    if (layer->attention.theta > 0) {
        rc = angles(e, &h);
        part[0] = turn(e, &h, part[0], h.heads);
        part[1] = turn(e, &h, part[1], h.kv_heads);
    }
    part[0] = pawl_emit_scaled(e, part[0], 1 / sqrt((double)h.dim));
    // Query heads that share a key head: one more axis, along which keys and values repeat.
    if (groups > 1) {
        part[0] = pawl_emit_reshape(e, part[0], 5,
                                    (int64_t[]){ -1, h.kv_heads, groups, h.time, h.dim });
        for (int k = 1; k < 3; k++)
            part[k] = pawl_emit_reshape(e, part[k], 5,
                                        (int64_t[]){ -1, h.kv_heads, 1, h.time, h.dim });
    }
    struct pawl_ref scores = pawl_emit_matmuls(e, part[0], part[1], true);
    if (!rc) rc = mask(e, &h, &scores);
    scores = pawl_emit_activation(e, scores, PAWL_SOFTMAX, 0);
    struct pawl_ref y = pawl_emit_matmuls(e, scores, part[2], false);
    if (groups > 1)
        y = pawl_emit_reshape(e, y, 4, (int64_t[]){ -1, h.heads, h.time, h.dim });
    y = pawl_emit_transpose(e, y, 4, (int64_t[]){ 0, 2, 1, 3 });
    e->values[i] = pawl_emit_shaped(e, y, &layer->out);
    return rc;
}

// ---- recurrent layers

struct cell {
    const struct pawl_layer *layer;
    int64_t units;
    int gates;
    bool keras;  // weights are (columns, gates units), GRU's gates update, reset, new; else the
                 // other way round
    struct pawl_ref recurrent;
    struct pawl_ref recurrent_bias;
    bool has_recurrent_bias, first;
    struct pawl_ref h, c;
};

static struct pawl_ref act(struct pawl_emit *e, struct pawl_ref x, const struct cell *cell)
{
    return pawl_emit_activation(e, x, cell->layer->rnn.activation, 0);
}

static struct pawl_ref gate(struct pawl_emit *e, struct pawl_ref x, const struct cell *cell)
{
    return pawl_emit_activation(e, x, cell->layer->rnn.recurrent_activation, 0);
}

static void divide(struct pawl_emit *e, struct pawl_ref x, int count, struct pawl_ref *out)
{
    const struct pawl_ref name = pawl_emit_split(e, x, 1, count);

    for (int i = 0; i < count; i++)
        out[i] = pawl_emit_output(&name, "output", i);
}

static void lstm(struct pawl_emit *e, struct cell *cell, struct pawl_ref x)
{
    struct pawl_ref g[4];

    if (!cell->first) x = plus(e, x, pawl_emit_matmul(e, cell->h, cell->recurrent, !cell->keras));
    divide(e, x, 4, g);  // input, forget, cell, output
    struct pawl_ref c = times(e, gate(e, g[0], cell), act(e, g[2], cell));
    if (!cell->first) c = plus(e, times(e, gate(e, g[1], cell), cell->c), c);
    cell->c = c;
    cell->h = times(e, gate(e, g[3], cell), act(e, c, cell));
}

// What the state gives to the new one, before the activation.
static struct pawl_ref new_hidden(struct pawl_emit *e, const struct cell *cell,
                                  struct pawl_ref reset, struct pawl_ref hidden)
{
    if (cell->layer->rnn.reset_after) return times(e, reset, hidden);
    const int64_t from[3] = { 0, 2 * cell->units, 0 }, size[2] = { cell->units, cell->units };
    const struct pawl_ref part = pawl_emit_slice(e, cell->recurrent, 2,
                                                 cell->keras ? from : &from[1], size);
    return pawl_emit_matmul(e, times(e, reset, cell->h), part, !cell->keras);
}

static void gru(struct pawl_emit *e, struct cell *cell, struct pawl_ref x)
{
    const int update = cell->keras ? 0 : 1, reset = 1 - update;
    const bool hides = !cell->first || cell->has_recurrent_bias;
    struct pawl_ref g[3], hidden[3], h;

    divide(e, x, 3, g);
    if (!cell->first) h = pawl_emit_matmul(e, cell->h, cell->recurrent, !cell->keras);
    if (cell->has_recurrent_bias)
        h = cell->first ? pawl_emit_reshape(e, cell->recurrent_bias, 2,
                                            (int64_t[]){ 1, 3 * cell->units })
                        : plus(e, h, cell->recurrent_bias);
    if (hides) {
        divide(e, h, 3, hidden);
        g[0] = plus(e, g[0], hidden[0]);
        g[1] = plus(e, g[1], hidden[1]);
        if (!cell->first || cell->layer->rnn.reset_after)
            g[2] = plus(e, g[2], new_hidden(e, cell, gate(e, g[reset], cell), hidden[2]));
    }
    const struct pawl_ref z = gate(e, g[update], cell), new = act(e, g[2], cell);
    const struct pawl_ref one = pawl_emit_float(e, 1);
    h = times(e, pawl_emit_binary(e, "Sub", one, z), new);
    cell->h = cell->first ? h : plus(e, times(e, z, cell->h), h);
}

static void simple(struct pawl_emit *e, struct cell *cell, struct pawl_ref x)
{
    if (!cell->first) x = plus(e, x, pawl_emit_matmul(e, cell->h, cell->recurrent, !cell->keras));
    cell->h = act(e, x, cell);
}

// Of bias (2, n), as Keras keeps GRU's: one row.
static struct pawl_ref row(struct pawl_emit *e, int v, int64_t at, int64_t n)
{
    const struct pawl_ref x = pawl_emit_read(e, v);

    if (e->saved->file.keras.variables[v].rank == 1) return x;
    return pawl_emit_reshape(e, pawl_emit_slice(e, x, 2, (int64_t[]){ at, 0 },
                                                (int64_t[]){ 1, n }), 1, &n);
}

// What the input gives all gates at all steps: a node with an output per step.
static struct pawl_ref feed(struct pawl_emit *e, int i, struct cell *cell)
{
    const struct pawl_shape *in = pawl_emit_in(e, i, 0);
    const int64_t wide = cell->gates * cell->units;
    const int bias = pawl_emit_variable(e, i, "bias");
    const int more = pawl_emit_variable(e, i, "recurrent_bias");
    struct pawl_ref x = pawl_emit_reshape(e, pawl_emit_value(e, i, 0), 2,
                                          (int64_t[]){ -1, in->dim[1] });

    x = pawl_emit_matmul(e, x, pawl_emit_read(e, pawl_emit_variable(e, i, "weight")),
                         !cell->keras);
    if (bias >= 0) x = plus(e, x, row(e, bias, 0, wide));
    if (more >= 0) {
        cell->recurrent_bias = row(e, more, 1, wide);
        cell->has_recurrent_bias = cell->layer->kind == PAWL_GRU && cell->layer->rnn.reset_after;
        if (!cell->has_recurrent_bias) x = plus(e, x, cell->recurrent_bias);
    }
    x = pawl_emit_reshape(e, x, 3, (int64_t[]){ -1, in->dim[0], wide });
    cell->recurrent = pawl_emit_read(e, pawl_emit_variable(e, i, "recurrent"));
    return pawl_emit_unpack(e, x, 1, in->dim[0]);
}

int pawl_emit_rnn(struct pawl_emit *e, int i)
{
    const struct pawl_layer *layer = &e->of->layers[i];
    const int64_t time = pawl_emit_in(e, i, 0)->dim[0];
    struct cell cell = { .layer = layer, .units = layer->rnn.units, .keras = !e->saved->generic,
                         .gates = layer->kind == PAWL_LSTM ? 4 : layer->kind == PAWL_GRU ? 3 : 1 };
    struct pawl_ref *steps = NULL;

    if (time > PAWL_UNROLL_MAX) return pawl_emit_unknown(e, i, "a sequence of over 1,024 steps");
    const int rc = pawl_alloc(&steps, sizeof(*steps) * (size_t)time, "steps");
    if (rc) return rc;
    const struct pawl_ref fed = feed(e, i, &cell);
    for (int64_t n = 0; n < time; n++) {
        const int64_t t = layer->rnn.reverse ? time - 1 - n : n;
        const struct pawl_ref x = pawl_emit_output(&fed, "output", (int)t);
        cell.first = !n;
        if (layer->kind == PAWL_LSTM)
            lstm(e, &cell, x);
        else if (layer->kind == PAWL_GRU)
            gru(e, &cell, x);
        else
            simple(e, &cell, x);
        steps[t] = cell.h;
    }
    e->values[i] = layer->rnn.sequences ? pawl_emit_pack(e, steps, (int)time, 1, PAWL_TF_FLOAT)
                                        : cell.h;
    pawl_free(steps);
    return 0;
}
