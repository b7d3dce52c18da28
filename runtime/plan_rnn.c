// plan_rnn.c - recurrent layers: the input's product for all steps at once, then step by step the
// state's product and a cell.
//
//     aux_1  gates   (time, batch, gates * units)    products, then activated, then gradients
//     aux_2  h       (time + 1, batch, units)        h[0] is zero, h[t + 1] what step t makes
//     aux_3  LSTM: c (time + 1, batch, units), floats; GRU: the state's products, as gates
//     aux_4  x       (time, batch, inputs)           time outermost, turned round for `reverse`
//     other  backward: c's gradient (batch, units), floats; then values: the output's (time, batch,
//            units), h's (batch, units), x's

#include "runtime/plan_inside.h"

static int64_t gates_of(enum pawl_layer_kind kind)
{
    return kind == PAWL_LSTM ? 4 : kind == PAWL_GRU ? 3 : 1;
}

struct sizes {
    int64_t batch, time, inputs, units, gates, state;  // state: elements of (batch, units)
    enum pawl_layer_kind kind;
};

static struct sizes sizes_of(const struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const struct pawl_shape *in = &plan->architecture.layers[layer->input[0]].out;
    struct sizes z = { .batch = plan->options.batch, .time = in->dim[0], .inputs = in->dim[1],
                       .units = layer->rnn.units, .kind = layer->kind };

    z.gates = gates_of(layer->kind) * z.units;
    z.state = z.batch * z.units;
    return z;
}

// Of c's gradient, in front of values.
static size_t c_grad_bytes(const struct sizes *z)
{
    return ((size_t)z->state * sizeof(float) + PAWL_ALIGN_BYTES - 1) / PAWL_ALIGN_BYTES
           * PAWL_ALIGN_BYTES;
}

void plan_build_rnn(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const struct sizes z = sizes_of(plan, l);
    const int *params = plan->model->param_of[l];
    struct plan_entry *entry = plan_new_entry(plan, OP_RNN, l);

    plan->values[l].main = (int)(entry - plan->entries);
    entry->out = plan->values[l].buffer;
    entry->in = plan_in_buffer(plan, l, 0);
    entry->aux_1 = plan->values[l].aux_1 = plan_new_values(plan, z.time * z.batch * z.gates);
    entry->aux_2 = plan->values[l].aux_2 = plan_new_values(plan, (z.time + 1) * z.state);
    if (z.kind == PAWL_LSTM) entry->aux_3 = plan_new_floats(plan, (z.time + 1) * z.state);
    if (z.kind == PAWL_GRU) entry->aux_3 = plan_new_values(plan, z.time * z.batch * z.gates);
    entry->aux_4 = plan_new_values(plan, z.time * z.batch * z.inputs);
    entry->weight = params[0];
    entry->recurrent = params[1];
    if (layer->rnn.bias) entry->bias = params[2];
    if (layer->rnn.recurrent_bias) entry->recurrent_bias = params[layer->rnn.bias ? 3 : 2];
    plan_touch(plan, entry);
    plan->flops += 2.0 * (double)(z.time * z.batch * z.gates) * (double)(z.inputs + z.units);
}

void plan_back_rnn(struct pawl_plan *plan, int l)
{
    const struct sizes z = sizes_of(plan, l);
    struct plan_value *in = plan_value_in(plan, l, 0);
    struct plan_entry *entry = plan_mirror(plan, OP_RNN_BACK, l);

    entry->in = NONE;
    entry->first_weight = plan_first_touch(plan, entry->weight);
    entry->first_recurrent = plan_first_touch(plan, entry->recurrent);
    entry->first_bias = plan_first_touch(plan, entry->bias);
    const int64_t values = (z.time + 1) * z.state + z.time * z.batch * z.inputs;
    entry->other = plan_new_buffer(plan, c_grad_bytes(&z)
                                             + (size_t)values * plan->model->value_bytes);
    if (plan_wanted(plan, in)) entry->out = plan_gradient(plan, in, &entry->add);
    plan_touch(plan, entry);
    plan->flops += 4.0 * (double)(z.time * z.batch * z.gates) * (double)(z.inputs + z.units);
}

struct rnn {
    struct pawl_plan *plan;
    const struct plan_entry *e;
    const struct plan_call *call;
    const struct pawl_ops *ops;
    struct pawl_stream *s;
    struct sizes z;
    pawl_value *gates, *h, *more, *x, *work;
    struct pawl_cell cell;
    bool reverse, sequences;
};

static struct rnn rnn_of(struct pawl_plan *plan, const struct plan_entry *e,
                         const struct plan_call *call)
{
    const struct pawl_layer *layer = &plan->architecture.layers[e->layer];
    struct rnn r = { .plan = plan, .e = e, .call = call, .ops = plan->model->ops,
                     .s = call->stream, .z = sizes_of(plan, e->layer),
                     .gates = plan_at(plan, e->aux_1), .h = plan_at(plan, e->aux_2),
                     .more = plan_at(plan, e->aux_3), .x = plan_at(plan, e->aux_4),
                     .work = plan_at(plan, e->other), .reverse = layer->rnn.reverse,
                     .sequences = layer->rnn.sequences };

    r.cell = (struct pawl_cell){
        .kind = r.z.kind == PAWL_LSTM ? PAWL_CELL_LSTM
                : r.z.kind == PAWL_GRU ? PAWL_CELL_GRU : PAWL_CELL_SIMPLE,
        .batch = r.z.batch, .units = r.z.units, .activation = layer->rnn.activation,
        .recurrent = layer->rnn.recurrent_activation
    };
    return r;
}

static void *behind(const struct rnn *r, void *values, int64_t count)
{
    return plan_behind(r->plan, values, count);
}

// Between (batch, time, width) and (time, batch, width), in_order the latter way: to time first.
static void turn(const struct rnn *r, pawl_value *out, pawl_value *in, int64_t width,
                 bool to_time, bool add)
{
    const int64_t time = r->z.time, batch = r->z.batch;
    const int64_t step = r->reverse ? -width : width, start = r->reverse ? (time - 1) * width : 0;
    struct pawl_move by = { .dim = { 1, 1, time, batch, width },
                            .to = { 0, 0, batch * width, width, 1 },
                            .from = { 0, 0, step, time * width, 1 } };

    if (to_time) {
        r->ops->move(r->s, out, behind(r, in, start), &by, add);
        return;
    }
    for (int d = 0; d < PAWL_MOVE_RANK; d++) {
        const int64_t keep = by.to[d];
        by.to[d] = by.from[d];
        by.from[d] = keep;
    }
    r->ops->move(r->s, behind(r, out, start), in, &by, add);
}

// The cell's pointers for one step.
static void aim(struct rnn *r, int64_t t)
{
    const struct sizes *z = &r->z;

    r->cell.gates = behind(r, r->gates, t * z->batch * z->gates);
    r->cell.h_prev = behind(r, r->h, t * z->state);
    r->cell.h = behind(r, r->h, (t + 1) * z->state);
    if (z->kind == PAWL_LSTM) {
        r->cell.c_prev = (float *)r->more + t * z->state;
        r->cell.c = (float *)r->more + (t + 1) * z->state;
    } else if (z->kind == PAWL_GRU) {
        r->cell.hidden = behind(r, r->more, t * z->batch * z->gates);
    }
}

static void forward(struct rnn *r)
{
    const struct sizes *z = &r->z;
    const struct plan_entry *e = r->e;
    const pawl_value *recurrent = plan_weight(r->plan, e->recurrent);
    const pawl_value *recurrent_bias = plan_weight(r->plan, e->recurrent_bias);
    pawl_value *out = plan_at(r->plan, e->out);

    turn(r, r->x, plan_at(r->plan, e->in), z->inputs, true, false);
    r->ops->linear(r->s, r->gates, NULL, r->x, plan_weight(r->plan, e->weight),
                   plan_weight(r->plan, e->bias), NULL, z->time * z->batch, z->gates, z->inputs,
                   PAWL_LINEAR);
    r->ops->fill(r->s, r->h, z->state, 0);
    if (z->kind == PAWL_LSTM) r->plan->model->device->ops->fill(r->s, r->more, z->state, 0);
    for (int64_t t = 0; t < z->time; t++) {
        aim(r, t);
        const bool gru = z->kind == PAWL_GRU;  // its two products stay apart
        r->ops->linear(r->s, gru ? r->cell.hidden : r->cell.gates, NULL, r->cell.h_prev, recurrent,
                       recurrent_bias, gru ? NULL : r->cell.gates, z->batch, z->gates, z->units,
                       PAWL_LINEAR);
        r->ops->cell(r->s, &r->cell);
    }
    if (r->sequences)
        turn(r, out, behind(r, r->h, z->state), z->units, false, false);
    else
        pawl_stream_copy(r->s, out, behind(r, r->h, z->time * z->state),
                         (size_t)z->state * r->plan->model->value_bytes);
}

static void backward_weights(struct rnn *r, const pawl_value *hidden_grad)
{
    const struct sizes *z = &r->z;
    const struct plan_entry *e = r->e;
    const bool add = r->call->add;
    const int64_t rows = z->time * z->batch;
    float *bias_grad = plan_grad(r->plan, e->bias);
    float *recurrent_bias_grad = plan_grad(r->plan, e->recurrent_bias);

    r->ops->linear_back_weight(r->s, plan_grad(r->plan, e->weight), NULL, r->gates, r->x, rows,
                               z->gates, z->inputs, add || !e->first_weight);
    r->ops->linear_back_weight(r->s, plan_grad(r->plan, e->recurrent), NULL, hidden_grad, r->h,
                               rows, z->gates, z->units, add || !e->first_recurrent);
    if (bias_grad) r->ops->column_sum(r->s, bias_grad, r->gates, rows, z->gates, add);
    if (recurrent_bias_grad)
        r->ops->column_sum(r->s, recurrent_bias_grad, hidden_grad, rows, z->gates, add);
}

static void backward(struct rnn *r)
{
    const struct sizes *z = &r->z;
    const struct plan_entry *e = r->e;
    const pawl_value *recurrent = plan_weight(r->plan, e->recurrent);
    float *c_grad = r->work;
    pawl_value *grads = (char *)r->work + c_grad_bytes(z);
    pawl_value *h_grad = behind(r, grads, z->time * z->state);
    pawl_value *x_grad = behind(r, h_grad, z->state), *out_grad = plan_at(r->plan, e->grad);
    const bool gru = z->kind == PAWL_GRU;

    if (r->sequences) turn(r, grads, out_grad, z->units, true, false);
    r->ops->fill(r->s, h_grad, z->state, 0);
    r->plan->model->device->ops->fill(r->s, c_grad, z->state, 0);
    if (!r->sequences) r->ops->add(r->s, h_grad, h_grad, out_grad, z->state);
    r->cell.h_grad = h_grad;
    r->cell.c_grad = c_grad;
    for (int64_t t = z->time - 1; t >= 0; t--) {
        aim(r, t);
        if (r->sequences) r->ops->add(r->s, h_grad, h_grad, behind(r, grads, t * z->state),
                                        z->state);
        r->ops->cell(r->s, &r->cell);
        r->ops->linear_back_x(r->s, h_grad, gru ? r->cell.hidden : r->cell.gates, recurrent, NULL,
                              z->batch, z->gates, z->units, PAWL_LINEAR, true);
    }
    backward_weights(r, gru ? r->more : r->gates);
    if (e->out == NONE) return;
    r->ops->linear_back_x(r->s, x_grad, r->gates, plan_weight(r->plan, e->weight), NULL,
                          z->time * z->batch, z->gates, z->inputs, PAWL_LINEAR, false);
    turn(r, plan_at(r->plan, e->out), x_grad, z->inputs, false, e->add);
}

void plan_run_rnn(struct pawl_plan *plan, const struct plan_entry *entry,
                  const struct plan_call *call)
{
    struct rnn r = rnn_of(plan, entry, call);

    if (entry->op == OP_RNN)
        forward(&r);
    else
        backward(&r);
}
