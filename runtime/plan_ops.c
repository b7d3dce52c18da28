// plan_ops.c - one entry of the list becomes one call of the device's table.

#include "runtime/plan_inside.h"

static void run_loss(struct pawl_plan *plan, const struct plan_entry *e,
                     const struct plan_call *call)
{
    const struct pawl_ops *ops = plan->model->ops;
    struct pawl_stream *s = call->stream;
    float *loss = plan_at(plan, e->aux_1), *hit = plan_at(plan, e->aux_2);
    void *logits = plan_at(plan, e->out), *target = plan_at(plan, e->other);

    if (plan->options.loss == PAWL_CROSS_ENTROPY)
        ops->cross_entropy(s, loss, hit, logits, target, e->m, e->n, call->scale);
    else if (plan->options.loss == PAWL_MSE)
        ops->mean_square(s, loss, logits, target, e->m, e->n, call->scale);
    else
        ops->binary_cross_entropy(s, loss, logits, target, e->m, e->n, call->scale);
    ops->sum(s, plan->result, loss, e->m);
    if (plan->options.loss == PAWL_CROSS_ENTROPY) ops->sum(s, plan->result + 1, hit, e->m);
}

static void run_batch_norm(struct pawl_plan *plan, const struct plan_entry *e,
                           const struct plan_call *call)
{
    struct pawl_batch_norm norm = e->norm;

    norm.training = call->training;
    norm.running_mean = plan_state(plan, e->mean);
    norm.running_var = plan_state(plan, e->variance);
    if (call->training) {  // the update takes the next ones over
        norm.next_mean = plan_grad(plan, e->mean);
        norm.next_var = plan_grad(plan, e->variance);
        if (call->add) norm.running_mean = norm.next_mean;
        if (call->add) norm.running_var = norm.next_var;
    }
    plan->model->ops->batch_norm(call->stream, plan_at(plan, e->out),
                                         plan_at(plan, e->aux_1), plan_at(plan, e->aux_2),
                                         plan_at(plan, e->in), plan_weight(plan, e->weight),
                                         plan_weight(plan, e->bias), &norm);
}

// Operations of both lists that know no parameters.
static bool run_plain(struct pawl_plan *plan, const struct plan_entry *e,
                      const struct plan_call *call)
{
    const struct pawl_ops *ops = plan->model->ops;
    struct pawl_stream *s = call->stream;
    void *out = plan_at(plan, e->out), *in = plan_at(plan, e->in), *other = plan_at(plan, e->other);
    void *grad = plan_at(plan, e->grad);

    switch (e->op) {
    case OP_SOFTMAX:
        (e->activation == PAWL_SOFTMAX ? ops->softmax : ops->log_softmax)(s, out, in, e->m, e->n);
        return true;
    case OP_SOFTMAX_BACK:
        ops->softmax_back(s, out, grad, in, e->m, e->n, e->activation == PAWL_LOG_SOFTMAX);
        return true;
    case OP_ROPE: ops->rope(s, out, in, &e->rope); return true;
    case OP_MOVE:  // m and n: where in out and in it begins
        ops->move(s, plan_behind(plan, out, e->m), plan_behind(plan, in, e->n), &e->move, e->add);
        return true;
    case OP_FILL: ops->fill(s, out, e->n, e->factor); return true;
    case OP_ADD: ops->add(s, out, in, other, e->n); return true;
    case OP_MULTIPLY: ops->multiply(s, out, in, other, e->n, e->add); return true;
    case OP_SCALE: ops->scale(s, out, in, e->n, e->factor, e->add); return true;
    case OP_MAXIMUM: ops->maximum(s, out, in, other, e->n); return true;
    case OP_MAXIMUM_BACK: ops->maximum_back(s, out, grad, in, other, e->n, e->add); return true;
    case OP_COPY:
        pawl_stream_copy(s, out, in, (size_t)e->n * plan->model->value_bytes);
        return true;
    case OP_NARROW: ops->narrow(s, out, in, e->n); return true;
    default: return false;
    }
}

static void run_forward(struct pawl_plan *plan, const struct plan_entry *e,
                        const struct plan_call *call)
{
    const struct pawl_ops *ops = plan->model->ops;
    struct pawl_stream *s = call->stream;
    void *out = plan_at(plan, e->out), *in = plan_at(plan, e->in), *other = plan_at(plan, e->other);
    void *aux_1 = plan_at(plan, e->aux_1), *aux_2 = plan_at(plan, e->aux_2);
    const pawl_value *weight = plan_weight(plan, e->weight), *bias = plan_weight(plan, e->bias);

    switch (e->op) {
    case OP_EMBED:  // k is the span of positions
        ops->embed(s, out, in, weight, bias, e->m, e->n,
                   plan->model->tensors[e->weight].dim[0], e->k);
        break;
    case OP_LINEAR:  // aux_1: before the activation; other: the residual
        ops->linear(s, out, aux_1, in, weight, bias, other, e->m, e->n, e->k, e->activation);
        break;
    case OP_CONV2D:
        ops->conv2d(s, out, aux_1, in, weight, bias, &e->window, e->activation);
        break;
    case OP_MAX_POOL2D: ops->max_pool2d(s, out, aux_1, in, &e->window); break;
    case OP_AVG_POOL2D: ops->avg_pool2d(s, out, in, &e->window); break;
    case OP_LAYER_NORM:
        ops->layer_norm(s, out, aux_1, aux_2, in, weight, bias, e->m, e->n, e->epsilon);
        break;
    case OP_ATTENTION: ops->attention(s, out, aux_1, in, &e->attention); break;
    case OP_ACTIVATE: ops->activate(s, out, in, e->n, e->activation, e->alpha); break;
    case OP_BATCH_NORM: run_batch_norm(plan, e, call); break;
    case OP_DROPOUT:
        if (call->training)
            ops->dropout(s, out, in, e->n, e->rate, plan->options.seed, call->step,
                         (uint32_t)e->layer);
        else
            pawl_stream_copy(s, out, in, (size_t)e->n * plan->model->value_bytes);
        break;
    case OP_LOSS: run_loss(plan, e, call); break;
    default: break;
    }
}

static void run_backward(struct pawl_plan *plan, const struct plan_entry *e,
                         const struct plan_call *call)
{
    const struct pawl_ops *ops = plan->model->ops;
    struct pawl_stream *s = call->stream;
    void *out = plan_at(plan, e->out), *in = plan_at(plan, e->in), *other = plan_at(plan, e->other);
    void *grad = plan_at(plan, e->grad);
    void *aux_1 = plan_at(plan, e->aux_1), *aux_2 = plan_at(plan, e->aux_2);
    const pawl_value *weight = plan_weight(plan, e->weight);
    float *weight_grad = plan_grad(plan, e->weight), *bias_grad = plan_grad(plan, e->bias);
    const bool add_weight = call->add || !e->first_weight, add_bias = call->add || !e->first_bias;

    switch (e->op) {
    case OP_LINEAR_X:  // aux_1: what the derivative of the input's activation needs
        ops->linear_back_x(s, out, grad, weight, aux_1, e->m, e->n, e->k, e->activation, e->add);
        break;
    case OP_LINEAR_WEIGHT:
        if (e->clear_bias && !call->add)
            pawl_stream_copy(s, bias_grad, plan->zeros,
                             plan->model->tensors[e->bias].size_bytes);
        ops->linear_back_weight(s, weight_grad, bias_grad, grad, in, e->m, e->n, e->k,
                                add_weight);
        break;
    case OP_CONV2D_X:
        ops->conv2d_back_x(s, out, grad, weight, aux_1, &e->window, e->activation, e->add);
        break;
    case OP_CONV2D_WEIGHT:
        ops->conv2d_back_weight(s, weight_grad, bias_grad, grad, in, &e->window, add_weight);
        break;
    case OP_MAX_POOL2D_BACK:
        ops->max_pool2d_back(s, out, grad, aux_1, &e->window, e->add);
        break;
    case OP_AVG_POOL2D_BACK: ops->avg_pool2d_back(s, out, grad, &e->window, e->add); break;
    case OP_LAYER_NORM_BACK:
        ops->layer_norm_back(s, out, weight_grad, bias_grad, grad, in, aux_1, aux_2, weight, e->m,
                             e->n, e->add, e->weight == NONE ? add_bias : add_weight);
        break;
    case OP_BATCH_NORM_BACK:
        ops->batch_norm_back(s, out, weight_grad, bias_grad, grad, in, aux_1, aux_2, weight, e->m,
                             e->n, e->add, e->weight == NONE ? add_bias : add_weight);
        break;
    case OP_ATTENTION_BACK:
        ops->attention_back(s, out, grad, in, other, aux_1, &e->attention);
        break;
    case OP_ACTIVATE_BACK:
        ops->activate_back(s, out, grad, aux_1, e->n, e->activation, e->alpha);
        break;
    case OP_EMBED_BACK:
        ops->embed_back(s, weight_grad, bias_grad, grad, in, e->m, e->n,
                        plan->model->tensors[e->weight].dim[0], e->k, add_weight, add_bias);
        break;
    default: break;
    }
}

void plan_run(struct pawl_plan *plan, const struct plan_entry *entry,
              const struct plan_call *call)
{
    if (run_plain(plan, entry, call) || plan_run_rest(plan, entry, call)) return;
    if (entry->op < OP_EMBED_BACK)
        run_forward(plan, entry, call);
    else
        run_backward(plan, entry, call);
}
