// plan_back.c - the backward list, made by walking the layers from the last to the first.
//
// A layer's gradient buffer (value.grad) is made by the first reader of its output that is walked
// and added to by the others. Where a gradient just passes (additions, dropout, activations in
// place) the buffer itself is handed on: by then nobody else will read it.

#include "runtime/plan_inside.h"

struct plan_value *plan_value_in(struct pawl_plan *plan, int layer, int i)
{
    const int in = plan->architecture.layers[layer].input[i];

    return &plan->values[plan->values[in].root];
}

bool plan_wanted(struct pawl_plan *plan, const struct plan_value *value)
{
    return plan->architecture.layers[value->root].kind != PAWL_INPUT;
}

int plan_gradient(struct pawl_plan *plan, struct plan_value *value, bool *add)
{
    *add = value->grad != NONE;
    if (!*add) value->grad = plan_new_values(plan, value->elements);
    return value->grad;
}

void plan_add_into(struct pawl_plan *plan, int layer, struct plan_value *value, int grad)
{
    if (value->grad == NONE) {
        value->grad = grad;
        return;
    }
    struct plan_entry *entry = plan_new_entry(plan, OP_ADD, layer);
    entry->out = entry->in = value->grad;
    entry->other = grad;
    entry->n = value->elements;
    plan_touch(plan, entry);
}

bool plan_first_touch(struct pawl_plan *plan, int tensor)
{
    if (tensor == NONE || plan->touched[tensor]) return false;
    plan->touched[tensor] = true;
    return true;
}

// A backward entry that starts as its forward one: sizes, tensors, what was kept.
struct plan_entry *plan_mirror(struct pawl_plan *plan, enum plan_op op, int layer)
{
    const struct plan_entry *forward = &plan->entries[plan->values[layer].main];
    struct plan_entry *entry = plan_new_entry(plan, op, layer);

    *entry = *forward;
    entry->op = op;
    entry->out = entry->other = NONE;
    entry->aux_1 = plan->values[layer].aux_1;
    entry->aux_2 = plan->values[layer].aux_2;
    entry->grad = plan->values[layer].grad;
    entry->activation = PAWL_LINEAR;
    return entry;
}

// Undoes a softmax behind the layer, in place on its gradient.
static void back_softmax(struct pawl_plan *plan, int layer)
{
    const struct plan_value *value = &plan->values[layer];
    const struct pawl_shape *shape = &plan->architecture.layers[layer].out;

    if (value->softmax == PAWL_LINEAR) return;
    struct plan_entry *entry = plan_new_entry(plan, OP_SOFTMAX_BACK, layer);
    entry->out = entry->grad = value->grad;
    entry->in = value->buffer;
    entry->activation = value->softmax;
    entry->n = shape->dim[shape->rank - 1];
    entry->m = value->elements / entry->n;
    plan_touch(plan, entry);
}

// Undoes the activation that is fused into layer, unless the gradient's maker has done so.
void plan_back_activation(struct pawl_plan *plan, int layer)
{
    const struct plan_value *value = &plan->values[layer];

    if (value->activation == PAWL_LINEAR || value->grad_is_pre) return;
    struct plan_entry *entry = plan_new_entry(plan, OP_ACTIVATE_BACK, layer);
    entry->out = entry->grad = value->grad;
    entry->aux_1 = value->saved;
    entry->activation = value->activation;
    entry->n = value->elements;
    plan_touch(plan, entry);
}

static void back_product(struct pawl_plan *plan, int layer, bool conv)
{
    struct plan_value *in = plan_value_in(plan, layer, 0);

    back_softmax(plan, layer);
    plan_back_activation(plan, layer);
    struct plan_entry *entry = plan_mirror(plan, conv ? OP_CONV2D_WEIGHT : OP_LINEAR_WEIGHT, layer);
    entry->aux_1 = entry->aux_2 = NONE;
    entry->first_weight = plan_first_touch(plan, entry->weight);
    entry->first_bias = plan_first_touch(plan, entry->bias);
    // A tied weight was touched before; the operation has one `add` for both gradients.
    entry->clear_bias = entry->first_bias && !entry->first_weight;
    if (entry->clear_bias && plan->zeros_bytes < plan->model->tensors[entry->bias].size_bytes)
        plan->zeros_bytes = plan->model->tensors[entry->bias].size_bytes;
    plan_touch(plan, entry);
    const double flops = conv ? 2.0 * (double)entry->n
                                    * (double)(entry->window.kernel_h * entry->window.kernel_w
                                               * entry->window.in_c / entry->window.groups)
                              : 2.0 * (double)entry->m * (double)entry->n * (double)entry->k;
    plan->flops += flops;
    if (plan_wanted(plan, in)) {
        entry = plan_mirror(plan, conv ? OP_CONV2D_X : OP_LINEAR_X, layer);
        entry->in = entry->aux_1 = entry->aux_2 = NONE;
        entry->out = plan_gradient(plan, in, &entry->add);
        if (in->activation != PAWL_LINEAR && in->consumers == 1) {
            entry->activation = in->activation;
            entry->aux_1 = in->saved;
            in->grad_is_pre = true;
        }
        plan_touch(plan, entry);
        plan->flops += flops;
    }
    if (plan->values[layer].residual != NONE) {
        const int residual = plan->values[layer].residual;
        struct plan_value *other = &plan->values[plan->values[residual].root];
        if (plan_wanted(plan, other)) plan_add_into(plan, layer, other, plan->values[layer].grad);
    }
}

// Operations that can add to their input's gradient themselves.
static void back_adding(struct pawl_plan *plan, int layer, enum plan_op op)
{
    struct plan_value *in = plan_value_in(plan, layer, 0);

    const bool norm = op == OP_LAYER_NORM_BACK || op == OP_BATCH_NORM_BACK;
    if (!norm && !plan_wanted(plan, in)) return;  // a norm still owes its weights
    struct plan_entry *entry = plan_mirror(plan, op, layer);
    if (!norm) entry->in = NONE;
    entry->first_weight = plan_first_touch(plan, entry->weight);
    entry->first_bias = plan_first_touch(plan, entry->bias);
    entry->out = plan_gradient(plan, in, &entry->add);
    plan_touch(plan, entry);
}

// In place on the layer's own gradient, which then becomes (a part of) its input's.
static void back_in_place(struct pawl_plan *plan, int layer, enum plan_op op)
{
    struct plan_value *in = plan_value_in(plan, layer, 0);

    if (!plan_wanted(plan, in)) return;
    if (plan->values[layer].softmax != PAWL_LINEAR) {
        back_softmax(plan, layer);
        plan_add_into(plan, layer, in, plan->values[layer].grad);
        return;
    }
    struct plan_entry *entry = plan_mirror(plan, op, layer);
    entry->out = entry->in = entry->grad;
    entry->aux_1 = op == OP_ACTIVATE_BACK ? plan->values[layer].saved : NONE;
    if (op == OP_ACTIVATE_BACK)
        entry->activation = plan->architecture.layers[layer].activate.activation;
    plan_touch(plan, entry);
    plan_add_into(plan, layer, in, entry->grad);
}

static void back_embed(struct pawl_plan *plan, int layer)
{
    struct plan_entry *entry = plan_mirror(plan, OP_EMBED_BACK, layer);

    entry->first_weight = plan_first_touch(plan, entry->weight);
    entry->first_bias = plan_first_touch(plan, entry->bias);
    plan_touch(plan, entry);
}

static void back_layer(struct pawl_plan *plan, int l)
{
    switch (plan->architecture.layers[l].kind) {
    case PAWL_DENSE: back_product(plan, l, false); break;
    case PAWL_CONV1D:
    case PAWL_CONV2D: back_product(plan, l, true); break;
    case PAWL_GLOBAL_MAX_POOL:
    case PAWL_MAX_POOL1D:
    case PAWL_MAX_POOL2D: back_adding(plan, l, OP_MAX_POOL2D_BACK); break;
    case PAWL_GLOBAL_AVG_POOL:
    case PAWL_AVG_POOL1D:
    case PAWL_AVG_POOL2D: back_adding(plan, l, OP_AVG_POOL2D_BACK); break;
    case PAWL_RMS_NORM:
    case PAWL_LAYER_NORM: back_adding(plan, l, OP_LAYER_NORM_BACK); break;
    case PAWL_BATCH_NORM: back_adding(plan, l, OP_BATCH_NORM_BACK); break;
    case PAWL_ATTENTION: plan_back_attention(plan, l); break;
    case PAWL_ACTIVATE: back_in_place(plan, l, OP_ACTIVATE_BACK); break;
    case PAWL_DROPOUT: back_in_place(plan, l, OP_DROPOUT); break;
    case PAWL_ADD:
    case PAWL_MULTIPLY:
    case PAWL_AVERAGE:
    case PAWL_MAXIMUM:
    case PAWL_SUBTRACT: plan_back_joined(plan, l); break;
    case PAWL_LSTM:
    case PAWL_GRU:
    case PAWL_SIMPLE_RNN: plan_back_rnn(plan, l); break;
    case PAWL_GROUP_NORM:
    case PAWL_PRELU:
    case PAWL_CONV1D_TRANSPOSE:
    case PAWL_CONV2D_TRANSPOSE: plan_back_rest(plan, l); break;
    case PAWL_PERMUTE:
    case PAWL_ZERO_PADDING:
    case PAWL_CONCATENATE: plan_back_moved(plan, l); break;
    case PAWL_EMBEDDING:
    case PAWL_POSITION_EMBEDDING: back_embed(plan, l); break;
    default: break;
    }
}

int plan_build_back(struct pawl_plan *plan)
{
    const int last = plan->architecture.layer_count - 1;

    plan->values[plan->values[last].root].grad = plan->logits;
    for (int l = last; l >= 0; l--)
        if (!plan->values[l].skipped && plan->values[l].grad != NONE) back_layer(plan, l);
    // pawl_plan_rows_told() reads them afterwards.
    plan->buffers[plan->loss].last = plan->buffers[plan->hit].last = plan->entry_count - 1;
    return 0;
}
