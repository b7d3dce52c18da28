// plan_rest.c - group norm, PReLU and transposed convolutions, both ways.
//
// A transposed convolution is the gradient of a convolution in its input, and the other way round:
// forward calls that convolution's backward, backward its forward. Bias and activation come after.

#include "runtime/plan_inside.h"

static struct plan_entry *begin(struct pawl_plan *plan, int l, enum plan_op op)
{
    struct plan_entry *entry = plan_new_entry(plan, op, l);

    plan->values[l].main = (int)(entry - plan->entries);
    entry->out = plan->values[l].buffer;
    entry->in = plan_in_buffer(plan, l, 0);
    return entry;
}

static void build_group_norm(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    struct plan_entry *entry = begin(plan, l, OP_GROUP_NORM);
    const int64_t batch = plan->options.batch, groups = layer->norm.groups;
    const int64_t cols = layer->out.dim[layer->out.rank - 1];

    entry->group = (struct pawl_group_norm){ batch, plan_elements(plan, l) / batch / cols, cols,
                                             groups, (float)layer->norm.epsilon };
    entry->aux_1 = plan->values[l].aux_1 = plan_new_floats(plan, batch * groups);
    entry->aux_2 = plan->values[l].aux_2 = plan_new_floats(plan, batch * groups);
    if (layer->norm.weight) entry->weight = plan->model->param_of[l][0];
    if (layer->norm.bias) entry->bias = plan->model->param_of[l][layer->norm.weight];
    plan_touch(plan, entry);
}

static void build_prelu(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    struct plan_entry *entry = begin(plan, l, OP_PRELU);

    entry->n = layer->out.dim[layer->out.rank - 1];
    entry->m = plan_elements(plan, l) / entry->n;
    entry->k = layer->prelu.shared;
    entry->weight = plan->model->param_of[l][0];
    plan_touch(plan, entry);
}

static void after(struct pawl_plan *plan, int l, enum plan_op op, int in, int out)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    struct plan_entry *entry = plan_new_entry(plan, op, l);

    entry->in = in;
    entry->out = out;
    entry->n = op == OP_BIAS ? layer->conv.filters : plan_elements(plan, l);
    entry->m = plan_elements(plan, l) / layer->conv.filters;
    if (op == OP_BIAS) entry->bias = plan->model->param_of[l][1];
    entry->activation = layer->conv.activation;
    plan_touch(plan, entry);
}

static void build_transposed(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const enum pawl_activation activation = layer->conv.activation;
    struct plan_value *value = &plan->values[l];
    struct plan_entry *entry = begin(plan, l, OP_TRANSPOSE);
    int pre = value->buffer;

    if (pawl_activation_saves_input(activation)) pre = plan_new_values(plan, value->elements);
    entry->out = pre;
    entry->weight = plan->model->param_of[l][0];
    if (layer->conv.bias) entry->bias = plan->model->param_of[l][1];
    plan_window(plan, l, &entry->window);
    plan->flops += 2.0 * (double)plan_elements(plan, layer->input[0])
                   * (double)(entry->window.kernel_h * entry->window.kernel_w
                              * entry->window.in_c / entry->window.groups);
    plan_touch(plan, entry);
    if (layer->conv.bias) after(plan, l, OP_BIAS, pre, pre);
    if (activation == PAWL_LINEAR) return;
    after(plan, l, OP_ACTIVATE, pre, value->buffer);
    value->activation = activation;
    value->saved = pre;
}

void plan_build_rest(struct pawl_plan *plan, int l)
{
    switch (plan->architecture.layers[l].kind) {
    case PAWL_GROUP_NORM: build_group_norm(plan, l); break;
    case PAWL_PRELU: build_prelu(plan, l); break;
    default: build_transposed(plan, l); break;
    }
}

// ---- backward

// `other` holds the parts of the parameters' gradients that the operation leaves to be summed.
static void back_parts(struct pawl_plan *plan, int l, enum plan_op op, int other)
{
    struct plan_value *in = plan_value_in(plan, l, 0);
    struct plan_entry *entry = plan_mirror(plan, op, l);

    entry->other = other;
    entry->first_weight = plan_first_touch(plan, entry->weight);
    entry->first_bias = plan_first_touch(plan, entry->bias);
    entry->out = plan_gradient(plan, in, &entry->add);
    plan_touch(plan, entry);
}

static void back_transposed(struct pawl_plan *plan, int l)
{
    struct plan_value *in = plan_value_in(plan, l, 0);

    plan_back_activation(plan, l);
    struct plan_entry *entry = plan_mirror(plan, OP_TRANSPOSE_WEIGHT, l);
    entry->aux_1 = entry->aux_2 = NONE;
    entry->first_weight = plan_first_touch(plan, entry->weight);
    entry->first_bias = plan_first_touch(plan, entry->bias);
    plan_touch(plan, entry);
    if (!plan_wanted(plan, in)) return;
    entry = plan_mirror(plan, OP_TRANSPOSE_X, l);
    entry->in = entry->aux_1 = entry->aux_2 = NONE;
    const int made = entry->out = plan_new_values(plan, in->elements);
    plan_touch(plan, entry);
    plan_add_into(plan, l, in, made);
}

void plan_back_rest(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];

    switch (layer->kind) {
    case PAWL_GROUP_NORM:
        back_parts(plan, l, OP_GROUP_NORM_BACK,
                   plan_new_floats(plan, 2 * plan->options.batch
                                             * layer->out.dim[layer->out.rank - 1]));
        break;
    case PAWL_PRELU:
        back_parts(plan, l, OP_PRELU_BACK, plan_new_values(plan, plan_elements(plan, l)));
        break;
    default: back_transposed(plan, l); break;
    }
}

// ---- running

// The samples' parts of a group norm's gradients, biases and weights by turns; all of them floats.
static void sum_parts(struct pawl_plan *plan, const struct plan_entry *e,
                      const struct plan_call *call)
{
    const struct pawl_ops *ops = plan->model->device->ops;
    const struct pawl_group_norm *n = &e->group;
    const struct { int tensor, which; bool first; } part[] = { { e->bias, 0, e->first_bias },
                                                               { e->weight, 1, e->first_weight } };

    for (int i = 0; i < 2; i++) {
        if (part[i].tensor == NONE) continue;
        const bool add = call->add || !part[i].first;
        float *to = plan_grad(plan, part[i].tensor);
        const float *from = (float *)plan_at(plan, e->other) + part[i].which * n->cols;
        for (int64_t b = 0; b < n->batch; b++)
            ops->scale(call->stream, to, from + 2 * b * n->cols, n->cols, 1, add || b > 0);
    }
}

static void run_back(struct pawl_plan *plan, const struct plan_entry *e,
                     const struct plan_call *call)
{
    const struct pawl_ops *ops = plan->model->ops;
    struct pawl_stream *s = call->stream;
    void *out = plan_at(plan, e->out), *in = plan_at(plan, e->in), *other = plan_at(plan, e->other);
    void *grad = plan_at(plan, e->grad);
    const pawl_value *weight = plan_weight(plan, e->weight);
    float *weight_grad = plan_grad(plan, e->weight), *bias_grad = plan_grad(plan, e->bias);
    const bool add = call->add || !e->first_weight;
    const int64_t pixels = e->window.batch * e->window.in_h * e->window.in_w;

    switch (e->op) {
    case OP_GROUP_NORM_BACK:
        ops->group_norm_back(s, out, other, grad, in, plan_at(plan, e->aux_1),
                             plan_at(plan, e->aux_2), weight, &e->group, e->add);
        sum_parts(plan, e, call);
        break;
    case OP_PRELU_BACK:
        ops->prelu_back(s, out, other, grad, in, weight, e->m, e->n, e->k != 0, e->add);
        ops->column_sum(s, weight_grad, other, e->k ? e->m * e->n : e->m, e->k ? 1 : e->n, add);
        break;
    case OP_TRANSPOSE_WEIGHT:
        ops->conv2d_back_weight(s, weight_grad, NULL, in, grad, &e->window, add);
        if (bias_grad)
            ops->column_sum(s, bias_grad, grad, pixels, e->window.in_c,
                            call->add || !e->first_bias);
        break;
    default:
        ops->conv2d(s, out, NULL, grad, weight, NULL, &e->window, PAWL_LINEAR);
        break;
    }
}

bool plan_run_rest(struct pawl_plan *plan, const struct plan_entry *e,
                   const struct plan_call *call)
{
    const struct pawl_ops *ops = plan->model->ops;
    struct pawl_stream *s = call->stream;
    void *out = plan_at(plan, e->out), *in = plan_at(plan, e->in);
    const pawl_value *weight = plan_weight(plan, e->weight), *bias = plan_weight(plan, e->bias);

    switch (e->op) {
    case OP_RNN:
    case OP_RNN_BACK: plan_run_rnn(plan, e, call); return true;
    case OP_GROUP_NORM:
        ops->group_norm(s, out, plan_at(plan, e->aux_1), plan_at(plan, e->aux_2), in, weight, bias,
                        &e->group);
        return true;
    case OP_PRELU: ops->prelu(s, out, in, weight, e->m, e->n, e->k != 0); return true;
    case OP_TRANSPOSE:
        ops->conv2d_back_x(s, out, in, weight, NULL, &e->window, PAWL_LINEAR, false);
        return true;
    case OP_BIAS: ops->bias(s, out, in, bias, e->m, e->n); return true;
    case OP_GROUP_NORM_BACK:
    case OP_PRELU_BACK:
    case OP_TRANSPOSE_WEIGHT:
    case OP_TRANSPOSE_X: run_back(plan, e, call); return true;
    default: return false;
    }
}
