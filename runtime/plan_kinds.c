// plan_kinds.c - the forward lists of kinds that take several operations: sums and products of
// many, moves, attention of three inputs or with rotary embedding.

#include <string.h>

#include "runtime/plan_inside.h"

// ---- joined: element by element

static struct plan_entry *join(struct pawl_plan *plan, int l, enum plan_op op, int in, int other)
{
    struct plan_entry *entry = plan_new_entry(plan, op, l);

    entry->out = plan->values[l].buffer;
    entry->in = in;
    entry->other = other;
    entry->n = plan_elements(plan, l);
    plan_touch(plan, entry);
    return entry;
}

void plan_build_joined(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const int out = plan->values[l].buffer;
    const enum plan_op op = layer->kind == PAWL_MULTIPLY  ? OP_MULTIPLY
                            : layer->kind == PAWL_MAXIMUM ? OP_MAXIMUM
                                                          : OP_ADD;
    int from = plan_in_buffer(plan, l, 0);

    plan->values[l].main = plan->entry_count;
    if (layer->kind == PAWL_SUBTRACT) {
        join(plan, l, OP_SCALE, plan_in_buffer(plan, l, 1), NONE)->factor = -1;
        join(plan, l, OP_ADD, from, out);
        return;
    }
    for (int i = 1; i < layer->input_count; i++) {
        join(plan, l, op, from, plan_in_buffer(plan, l, i));
        from = out;
    }
    if (layer->kind == PAWL_AVERAGE)
        join(plan, l, OP_SCALE, out, NONE)->factor = 1.0f / (float)layer->input_count;
}

// ---- moved: no arithmetic

static void move(struct pawl_plan *plan, int l, int out, int in, const struct pawl_move *by)
{
    struct plan_entry *entry = plan_new_entry(plan, OP_MOVE, l);

    entry->out = out;
    entry->in = in;
    entry->move = *by;
    plan_touch(plan, entry);
}

// Row-major strides of a batch of shapes, rightmost last.
static void strides(const struct pawl_shape *shape, int64_t out[PAWL_SHAPE_MAX + 1])
{
    int64_t step = 1;

    for (int d = shape->rank; d >= 0; d--) {
        out[d] = step;
        if (d > 0) step *= shape->dim[d - 1];
    }
}

static const struct pawl_move nothing = { .dim = { 1, 1, 1, 1, 1 } };

static void build_permute(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const struct pawl_shape *in = &plan->architecture.layers[layer->input[0]].out;
    const int rank = layer->out.rank, lead = PAWL_MOVE_RANK - rank;
    int64_t from[PAWL_SHAPE_MAX + 1], to[PAWL_SHAPE_MAX + 1];
    struct pawl_move by = nothing;

    strides(in, from);
    strides(&layer->out, to);
    by.dim[lead - 1] = plan->options.batch;
    by.from[lead - 1] = from[0];
    by.to[lead - 1] = to[0];
    for (int d = 0; d < rank; d++) {
        by.dim[lead + d] = layer->out.dim[d];
        by.to[lead + d] = to[d + 1];
        by.from[lead + d] = from[layer->permute.order.dim[d] + 1];
    }
    move(plan, l, plan->values[l].buffer, plan_in_buffer(plan, l, 0), &by);
}

static void build_padding(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const struct pawl_shape *in = &plan->architecture.layers[layer->input[0]].out;
    const bool image = in->rank == 3;
    const int64_t channels = in->dim[in->rank - 1], width = layer->out.dim[in->rank - 2];
    struct pawl_move by = nothing;

    struct plan_entry *fill = plan_new_entry(plan, OP_FILL, l);
    fill->out = plan->values[l].buffer;
    fill->n = plan_elements(plan, l);
    plan_touch(plan, fill);
    by.dim[2] = plan->options.batch;
    by.dim[3] = image ? in->dim[0] : 1;
    by.dim[4] = in->dim[in->rank - 2] * channels;
    by.from[2] = by.dim[3] * by.dim[4];
    by.from[3] = by.dim[4];
    by.to[2] = (image ? layer->out.dim[0] : 1) * width * channels;
    by.to[3] = width * channels;
    by.from[4] = by.to[4] = 1;
    plan->values[l].main = plan->entry_count;
    move(plan, l, plan->values[l].buffer, plan_in_buffer(plan, l, 0), &by);
    plan->entries[plan->entry_count - 1].m = layer->zero_padding.pads[0] * width * channels
                                             + layer->zero_padding.pads[2] * channels;
}

// Lines of `each` elements, one after the other, go into lines of `line`.
static struct pawl_move into_lines(int64_t lines, int64_t each, int64_t line)
{
    struct pawl_move by = nothing;

    by.dim[3] = lines;
    by.dim[4] = each;
    by.from[3] = each;
    by.to[3] = line;
    by.from[4] = by.to[4] = 1;
    return by;
}

static void build_concatenate(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const int64_t axis = layer->concatenate.axis;
    int64_t line = 1, at = 0;

    for (int d = (int)axis; d < layer->out.rank; d++)
        line *= layer->out.dim[d];
    const int64_t lines = plan_elements(plan, l) / line;
    plan->values[l].main = plan->entry_count;
    for (int i = 0; i < layer->input_count; i++) {
        const int64_t each = plan_elements(plan, layer->input[i]) / lines;
        const struct pawl_move by = into_lines(lines, each, line);
        move(plan, l, plan->values[l].buffer, plan_in_buffer(plan, l, i), &by);
        plan->entries[plan->entry_count - 1].m = at;
        at += each;
    }
}

void plan_build_moved(struct pawl_plan *plan, int l)
{
    plan->values[l].main = plan->entry_count;
    switch (plan->architecture.layers[l].kind) {
    case PAWL_PERMUTE: build_permute(plan, l); break;
    case PAWL_ZERO_PADDING: build_padding(plan, l); break;
    default: build_concatenate(plan, l); break;
    }
}

// ---- attention

// Queries, keys and values of three inputs side by side.
static int pack(struct pawl_plan *plan, int l, int64_t rows, int64_t width)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    const int packed = plan_new_values(plan, rows * width);
    int64_t at = 0;

    for (int i = 0; i < 3; i++) {
        const int64_t each = plan_elements(plan, layer->input[i]) / rows;
        const struct pawl_move by = into_lines(rows, each, width);
        move(plan, l, packed, plan_in_buffer(plan, l, i), &by);
        plan->entries[plan->entry_count - 1].m = at;
        at += each;
    }
    return packed;
}

void plan_build_attention(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = &plan->architecture.layers[l];
    struct plan_value *value = &plan->values[l];
    const int64_t time = layer->out.dim[0], heads = layer->attention.heads;
    const int64_t kv_heads = layer->attention.kv_heads, dim = layer->out.dim[1] / heads;
    const int64_t rows = plan->options.batch * time, width = (heads + 2 * kv_heads) * dim;
    int qkv = plan_in_buffer(plan, l, 0);

    if (layer->input_count == 3) qkv = pack(plan, l, rows, width);
    if (layer->attention.theta > 0) {
        struct plan_entry *rope = plan_new_entry(plan, OP_ROPE, l);
        rope->in = qkv;
        if (layer->input_count == 1)  // somebody else may want it as it was
            qkv = plan_new_values(plan, rows * width);
        rope->out = qkv;
        rope->rope = (struct pawl_rope){
            .batch = plan->options.batch, .time = time, .width = width, .heads = heads + kv_heads,
            .dim = dim, .rotary = layer->attention.rotary, .theta = layer->attention.theta,
            .interleaved = layer->attention.interleaved
        };
        plan_touch(plan, rope);
    }
    struct plan_entry *entry = plan_new_entry(plan, OP_ATTENTION, l);
    value->main = (int)(entry - plan->entries);
    entry->in = qkv;
    entry->out = value->buffer;
    entry->n = plan_elements(plan, l);
    entry->attention = (struct pawl_attention){
        .batch = plan->options.batch, .time = time, .heads = heads, .kv_heads = kv_heads,
        .dim = dim, .causal = layer->attention.causal
    };
    entry->aux_1 = value->aux_1 = plan_new_floats(plan, rows * heads);
    plan->flops += (layer->attention.causal ? 2.0 : 4.0) * (double)entry->n * (double)time;
    plan_touch(plan, entry);
}
