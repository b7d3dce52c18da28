// plan_kinds_back.c - the backward lists of plan_kinds.c's kinds.

#include "runtime/plan_inside.h"

static struct plan_entry *piece(struct pawl_plan *plan, int l, enum plan_op op,
                                struct plan_value *in)
{
    struct plan_entry *entry = plan_new_entry(plan, op, l);

    entry->out = plan_gradient(plan, in, &entry->add);
    entry->grad = plan->values[l].grad;
    entry->n = plan_elements(plan, l);
    return entry;
}

// The gradient goes to every input as it is. The latest takes the buffer over, since what made it
// is walked next; the others get a copy, or add.
static void back_add(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const int grad = plan->values[l].grad;
    int late = 0;

    for (int i = 1; i < layer->input_count; i++)
        if (layer->input[i] >= layer->input[late]) late = i;
    for (int i = 0; i < layer->input_count; i++) {
        struct plan_value *value = plan_value_in(plan, l, i);
        if (i == late || !plan_wanted(plan, value)) continue;
        if (value->grad == NONE) {
            struct plan_entry *entry = piece(plan, l, OP_COPY, value);
            entry->in = grad;
            plan_touch(plan, entry);
        } else {
            plan_add_into(plan, l, value, grad);
        }
    }
    struct plan_value *value = plan_value_in(plan, l, late);
    if (plan_wanted(plan, value)) plan_add_into(plan, l, value, grad);
}

static void scale(struct pawl_plan *plan, int l, float factor)
{
    struct plan_entry *entry = plan_new_entry(plan, OP_SCALE, l);

    entry->in = entry->out = plan->values[l].grad;
    entry->n = plan_elements(plan, l);
    entry->factor = factor;
    plan_touch(plan, entry);
}

static void back_subtract(struct pawl_plan *plan, int l)
{
    struct plan_value *first = plan_value_in(plan, l, 0), *second = plan_value_in(plan, l, 1);
    const int grad = plan->values[l].grad;

    if (plan_wanted(plan, second)) {
        struct plan_entry *entry = piece(plan, l, OP_SCALE, second);
        entry->in = grad;
        entry->factor = -1;
        plan_touch(plan, entry);
    }
    if (plan_wanted(plan, first)) plan_add_into(plan, l, first, grad);
}

// The product's other factor; or the inputs that were the largest.
static void back_each(struct pawl_plan *plan, int l, enum plan_op op)
{
    const int count = plan->architecture.layers[l].input_count;

    for (int i = 0; i < count; i++) {
        struct plan_value *value = plan_value_in(plan, l, i);
        if (!plan_wanted(plan, value)) continue;
        struct plan_entry *entry = piece(plan, l, op, value);
        if (op == OP_MULTIPLY) {
            entry->in = entry->grad;
            entry->other = plan_in_buffer(plan, l, 1 - i);
        } else {
            entry->in = plan_in_buffer(plan, l, i);
            entry->other = plan->values[l].buffer;
        }
        plan_touch(plan, entry);
    }
}

void plan_back_joined(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];

    switch (layer->kind) {
    case PAWL_SUBTRACT: back_subtract(plan, l); break;
    case PAWL_MULTIPLY: back_each(plan, l, OP_MULTIPLY); break;
    case PAWL_MAXIMUM: back_each(plan, l, OP_MAXIMUM_BACK); break;
    case PAWL_AVERAGE:
        scale(plan, l, 1.0f / (float)layer->input_count);
        back_add(plan, l);
        break;
    default: back_add(plan, l); break;
    }
}

// The i-th move of a layer the other way round, from a gradient to that of an input.
static void back_move(struct pawl_plan *plan, int l, const struct plan_entry *forward, int grad,
                      struct plan_value *in)
{
    const struct pawl_move by = forward->move;
    const int64_t at = forward->m;

    if (!plan_wanted(plan, in)) return;
    struct plan_entry *entry = piece(plan, l, OP_MOVE, in);
    entry->in = grad;
    entry->move = by;
    for (int d = 0; d < PAWL_MOVE_RANK; d++) {
        entry->move.to[d] = by.from[d];
        entry->move.from[d] = by.to[d];
    }
    entry->m = 0;
    entry->n = at;
    entry->grad = NONE;
    plan_touch(plan, entry);
}

void plan_back_moved(struct pawl_plan *plan, int l)
{
    const int count = plan->architecture.layers[l].input_count;

    for (int i = 0; i < count; i++)
        back_move(plan, l, &plan->entries[plan->values[l].main + i], plan->values[l].grad,
                  plan_value_in(plan, l, i));
}

void plan_back_attention(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const int main = plan->values[l].main;
    struct plan_entry *entry = plan_mirror(plan, OP_ATTENTION_BACK, l);
    const struct pawl_attention *shape = &entry->attention;
    const int64_t count = shape->batch * shape->time * shape->dim
                          * (shape->heads + 2 * shape->kv_heads);
    const int made = plan_new_values(plan, count);

    entry->other = plan->values[l].buffer;
    entry->out = made;
    plan_touch(plan, entry);
    plan->flops += 2.0 * (shape->causal ? 2.0 : 4.0) * (double)entry->n * (double)shape->time;
    if (layer->attention.theta > 0) {
        struct plan_entry *rope = plan_new_entry(plan, OP_ROPE, l);
        rope->rope = plan->entries[main - 1].rope;
        rope->rope.back = true;
        rope->in = rope->out = made;
        plan_touch(plan, rope);
    }
    if (layer->input_count == 1) {
        plan_add_into(plan, l, plan_value_in(plan, l, 0), made);
        return;
    }
    const int first = main - 3 - (layer->attention.theta > 0);
    for (int i = 0; i < 3; i++)
        back_move(plan, l, &plan->entries[first + i], made, plan_value_in(plan, l, i));
}
