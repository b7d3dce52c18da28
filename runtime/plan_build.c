// plan_build.c - the forward list: which layer becomes which operation, and what is fused into it.

#include <string.h>

#include "runtime/plan_inside.h"

int plan_new_buffer(struct pawl_plan *plan, size_t bytes)
{
    plan->buffers[plan->buffer_count] = (struct plan_buffer){ bytes, 0, plan->entry_count, -1 };
    return plan->buffer_count++;
}

struct plan_entry *plan_new_entry(struct pawl_plan *plan, enum plan_op op, int layer)
{
    struct plan_entry *entry = &plan->entries[plan->entry_count++];

    *entry = (struct plan_entry){ .op = op, .layer = layer, .out = NONE, .in = NONE,
                                  .other = NONE, .aux_1 = NONE, .aux_2 = NONE, .grad = NONE,
                                  .weight = NONE, .bias = NONE };
    return entry;
}

void plan_touch(struct pawl_plan *plan, const struct plan_entry *entry)
{
    const int used[] = { entry->out, entry->in, entry->other, entry->aux_1, entry->aux_2,
                         entry->grad };
    const int now = (int)(entry - plan->entries);

    for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++) {
        if (used[i] == NONE) continue;
        struct plan_buffer *buffer = &plan->buffers[used[i]];
        if (buffer->first > now) buffer->first = now;
        if (buffer->last < now) buffer->last = now;
    }
}

int64_t plan_elements(const struct pawl_plan *plan, int layer)
{
    const struct pawl_shape *shape = &plan->architecture.layers[layer].out;
    int64_t count = plan->options.batch;

    for (int i = 0; i < shape->rank; i++)
        count *= shape->dim[i];
    return count;
}

static const struct pawl_layer *layer_of(const struct pawl_plan *plan, int l)
{
    return &plan->architecture.layers[l];
}

static int root_of(const struct pawl_plan *plan, int l)
{
    return plan->values[l].root;
}

// A dense layer without activation whose only reader is this addition makes the sum itself, when
// the other input is there by then. Returns it, or NONE.
static int dense_under(const struct pawl_plan *plan, const int *readers, int add)
{
    const struct pawl_layer *layer = layer_of(plan, add);

    for (int i = 0; i < 2; i++) {
        const int dense = layer->input[i], other = layer->input[1 - i];
        const struct pawl_layer *below = layer_of(plan, dense);
        if (below->kind == PAWL_DENSE && below->dense.activation == PAWL_LINEAR
            && readers[dense] == 1 && other < dense)
            return dense;
    }
    return NONE;
}

// Decides aliases and fusions, and counts readers of what is left.
static int fuse(struct pawl_plan *plan)
{
    const int count = plan->architecture.layer_count;
    int readers[PAWL_LAYERS_MAX] = { 0 };

    for (int l = 0; l < count; l++)
        for (int i = 0; i < layer_of(plan, l)->input_count; i++)
            readers[layer_of(plan, l)->input[i]]++;
    readers[count - 1]++;
    for (int l = 0; l < count; l++) {
        const struct pawl_layer *layer = layer_of(plan, l);
        struct plan_value *value = &plan->values[l];
        const int in = layer->input_count ? layer->input[0] : NONE;
        *value = (struct plan_value){ .root = l, .buffer = NONE, .saved = NONE, .aux_1 = NONE,
                                      .aux_2 = NONE, .residual = NONE, .grad = NONE };
        if (layer->kind == PAWL_FLATTEN || (layer->kind == PAWL_DROPOUT && !plan->options.backward)
            || (layer->kind == PAWL_DROPOUT && layer->dropout.rate == 0)) {
            value->root = root_of(plan, in);
            value->skipped = true;
        } else if (layer->kind == PAWL_POSITION_EMBEDDING) {
            if (layer_of(plan, in)->kind != PAWL_EMBEDDING || readers[in] != 1)
                return pawl_fail(PAWL_ENOTSUP, "layer '%s': position_embedding must come right "
                                 "after an embedding that nothing else reads", layer->name);
            plan->values[in].skipped = true;
        } else if (layer->kind == PAWL_ADD && dense_under(plan, readers, l) != NONE) {
            const int dense = dense_under(plan, readers, l);
            plan->values[dense].residual = layer->input[layer->input[0] == dense ? 1 : 0];
            value->root = dense;
            value->skipped = true;
        }
    }
    for (int l = 0; l < count; l++) {
        const struct plan_value *value = &plan->values[l];
        for (int i = 0; !value->skipped && i < layer_of(plan, l)->input_count; i++)
            plan->values[root_of(plan, layer_of(plan, l)->input[i])].consumers++;
        if (value->residual != NONE) plan->values[root_of(plan, value->residual)].consumers++;
    }
    plan->values[root_of(plan, count - 1)].consumers++;
    return 0;
}

static int in_buffer(const struct pawl_plan *plan, int layer, int i)
{
    return plan->values[root_of(plan, layer_of(plan, layer)->input[i])].buffer;
}

// The window of a convolution or pooling; 1-d kinds see an image of height 1.
static void window_of(const struct pawl_plan *plan, int l, struct pawl_window *w)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    const struct pawl_shape *in = &layer_of(plan, layer->input[0])->out, *out = &layer->out;
    const bool conv = layer->kind == PAWL_CONV2D;
    const int64_t *kernel = conv ? layer->conv.kernel : layer->pool.size;
    const int64_t *stride = conv ? layer->conv.stride : layer->pool.stride;
    const int64_t *pads = conv ? layer->conv.pads : layer->pool.pads;
    const bool same = (conv ? layer->conv.padding : layer->pool.padding) == PAWL_SAME;

    *w = (struct pawl_window){
        .batch = plan->options.batch, .in_h = in->dim[0], .in_w = in->dim[1], .in_c = in->dim[2],
        .out_h = out->dim[0], .out_w = out->dim[1], .out_c = out->dim[2], .kernel_h = kernel[0],
        .kernel_w = kernel[1], .stride_h = stride[0], .stride_w = stride[1],
        .dilation_h = conv ? layer->conv.dilation[0] : 1,
        .dilation_w = conv ? layer->conv.dilation[1] : 1,
        .pad_top = pads[0], .pad_left = pads[2], .groups = conv ? layer->conv.groups : 1,
    };
    if (!same) return;
    const int64_t over_h = (w->out_h - 1) * w->stride_h + (w->kernel_h - 1) * w->dilation_h + 1
                           - w->in_h;
    const int64_t over_w = (w->out_w - 1) * w->stride_w + (w->kernel_w - 1) * w->dilation_w + 1
                           - w->in_w;
    w->pad_top = over_h > 0 ? over_h / 2 : 0;
    w->pad_left = over_w > 0 ? over_w / 2 : 0;
}

// The tensor that a dense layer multiplies by: its own, or the one it is tied to.
static int dense_weight(const struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = layer_of(plan, l);

    return layer->dense.tied[0] ? pawl_model_find(plan->model, layer->dense.tied)
                                : plan->model->param_of[l][0];
}

// A layer with an activation fused in: what its derivative will need is kept.
static void keep_saved(struct pawl_plan *plan, struct plan_entry *entry, struct plan_value *value,
                       enum pawl_activation activation)
{
    entry->activation = value->activation = activation;
    if (activation == PAWL_LINEAR || !plan->options.backward) return;
    if (pawl_activation_saves_input(activation))
        entry->aux_1 = plan_new_buffer(plan, value->bytes);
    value->saved = entry->aux_1 == NONE ? value->buffer : entry->aux_1;
}

static void build_dense(struct pawl_plan *plan, int l, struct plan_entry *entry)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    struct plan_value *value = &plan->values[l];
    const int64_t elements = plan_elements(plan, l);

    entry->n = layer->dense.units;
    entry->m = elements / entry->n;
    entry->k = plan_elements(plan, layer->input[0]) / entry->m;
    entry->weight = dense_weight(plan, l);
    if (layer->dense.bias) entry->bias = plan->model->param_of[l][layer->dense.tied[0] ? 0 : 1];
    if (value->residual != NONE)
        entry->other = plan->values[root_of(plan, value->residual)].buffer;
    keep_saved(plan, entry, value, layer->dense.activation);
    plan->flops += 2.0 * (double)entry->m * (double)entry->n * (double)entry->k;
}

static void build_conv(struct pawl_plan *plan, int l, struct plan_entry *entry)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    const struct pawl_window *w = &entry->window;

    window_of(plan, l, &entry->window);
    entry->weight = plan->model->param_of[l][0];
    if (layer->conv.bias) entry->bias = plan->model->param_of[l][1];
    keep_saved(plan, entry, &plan->values[l], layer->conv.activation);
    plan->flops += 2.0 * (double)plan_elements(plan, l)
                   * (double)(w->kernel_h * w->kernel_w * w->in_c / w->groups);
}

static void build_norm(struct pawl_plan *plan, int l, struct plan_entry *entry)
{
    const struct pawl_shape *shape = &layer_of(plan, l)->out;
    const size_t rows = (size_t)(plan_elements(plan, l) / shape->dim[shape->rank - 1]);

    entry->n = shape->dim[shape->rank - 1];
    entry->m = (int64_t)rows;
    entry->weight = plan->model->param_of[l][0];
    entry->bias = plan->model->param_of[l][1];
    entry->epsilon = (float)layer_of(plan, l)->norm.epsilon;
    entry->aux_1 = plan_new_buffer(plan, rows * sizeof(float));
    entry->aux_2 = plan_new_buffer(plan, rows * sizeof(float));
}

static void build_attention(struct pawl_plan *plan, int l, struct plan_entry *entry)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    const int64_t time = layer->out.dim[0], heads = layer->attention.heads;

    entry->attention = (struct pawl_attention){
        .batch = plan->options.batch, .time = time, .heads = heads,
        .kv_heads = layer->attention.kv_heads, .dim = layer->out.dim[1] / heads,
        .causal = layer->attention.causal
    };
    entry->aux_1 = plan_new_buffer(plan, (size_t)(plan->options.batch * heads * time)
                                   * sizeof(float));
    plan->flops += (layer->attention.causal ? 2.0 : 4.0) * (double)plan_elements(plan, l)
                   * (double)time;
}

static void build_embed(struct pawl_plan *plan, int l, struct plan_entry *entry)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    const bool position = layer->kind == PAWL_POSITION_EMBEDDING;
    const int table = position ? layer->input[0] : l;

    entry->in = in_buffer(plan, table, 0);
    entry->n = layer->out.dim[1];
    entry->m = plan_elements(plan, l) / entry->n;
    entry->k = layer->out.dim[0];
    entry->weight = plan->model->param_of[table][0];
    if (position) entry->bias = plan->model->param_of[l][0];
}

static int build_layer(struct pawl_plan *plan, int l)
{
    static const enum plan_op op[PAWL_LAYER_KINDS] = {
        [PAWL_DENSE] = OP_LINEAR, [PAWL_CONV2D] = OP_CONV2D, [PAWL_MAX_POOL2D] = OP_MAX_POOL2D,
        [PAWL_AVG_POOL2D] = OP_AVG_POOL2D, [PAWL_EMBEDDING] = OP_EMBED,
        [PAWL_POSITION_EMBEDDING] = OP_EMBED, [PAWL_LAYER_NORM] = OP_LAYER_NORM,
        [PAWL_ATTENTION] = OP_ATTENTION, [PAWL_ACTIVATE] = OP_ACTIVATE, [PAWL_ADD] = OP_ADD,
        [PAWL_DROPOUT] = OP_DROPOUT,
    };
    const struct pawl_layer *layer = layer_of(plan, l);
    struct plan_value *value = &plan->values[l];

    value->bytes = (size_t)plan_elements(plan, l) * sizeof(float);
    value->buffer = plan_new_buffer(plan, value->bytes);
    if (layer->kind == PAWL_INPUT) return 0;
    struct plan_entry *entry = plan_new_entry(plan, op[layer->kind], l);
    entry->out = value->buffer;
    entry->in = in_buffer(plan, l, 0);
    entry->n = plan_elements(plan, l);
    if (layer->kind == PAWL_DENSE) build_dense(plan, l, entry);
    if (layer->kind == PAWL_CONV2D) build_conv(plan, l, entry);
    if (layer->kind == PAWL_LAYER_NORM) build_norm(plan, l, entry);
    if (layer->kind == PAWL_ATTENTION) build_attention(plan, l, entry);
    if (entry->op == OP_EMBED) build_embed(plan, l, entry);
    if (layer->kind == PAWL_MAX_POOL2D || layer->kind == PAWL_AVG_POOL2D)
        window_of(plan, l, &entry->window);
    if (layer->kind == PAWL_MAX_POOL2D)
        entry->aux_1 = plan_new_buffer(plan, (size_t)entry->n * sizeof(int32_t));
    if (layer->kind == PAWL_ADD) entry->other = in_buffer(plan, l, 1);
    if (layer->kind == PAWL_DROPOUT) entry->rate = (float)layer->dropout.rate;
    if (layer->kind == PAWL_ACTIVATE) {
        entry->activation = layer->activate.activation;
        entry->alpha = (float)layer->activate.alpha;
        value->saved = pawl_activation_saves_input(entry->activation) ? entry->in : entry->out;
    }
    value->aux_1 = entry->aux_1;
    value->aux_2 = entry->aux_2;
    plan_touch(plan, entry);
    return 0;
}

// The loss reads the output and leaves its gradient there, so what backward still needs of the
// output is copied first.
static void build_loss(struct pawl_plan *plan)
{
    const int last = plan->architecture.layer_count - 1;
    const struct plan_value *value = &plan->values[root_of(plan, last)];
    const struct pawl_shape *shape = &layer_of(plan, last)->out;
    const enum pawl_layer_kind kind = layer_of(plan, root_of(plan, last))->kind;
    const bool plain = (kind == PAWL_DENSE || kind == PAWL_CONV2D)
                       && value->activation == PAWL_LINEAR && value->consumers == 1;

    plan->cols = shape->rank ? shape->dim[shape->rank - 1] : 1;
    plan->rows = plan_elements(plan, last) / plan->cols;
    plan->output = value->buffer;
    if (!plain) {
        struct plan_entry *copy = plan_new_entry(plan, OP_COPY, last);
        copy->in = value->buffer;
        copy->out = plan->output = plan_new_buffer(plan, value->bytes);
        copy->n = plan_elements(plan, last);
        plan_touch(plan, copy);
    }
    plan->forward_count = plan->entry_count;
    struct plan_entry *loss = plan_new_entry(plan, OP_LOSS, last);
    loss->out = plan->output;
    loss->other = plan->y;
    loss->aux_1 = plan->loss = plan_new_buffer(plan, (size_t)plan->rows * sizeof(float));
    loss->aux_2 = plan->hit = plan_new_buffer(plan, (size_t)plan->rows * sizeof(float));
    loss->m = plan->rows;
    loss->n = plan->cols;
    plan_touch(plan, loss);
}

int plan_build(struct pawl_plan *plan)
{
    const int count = plan->architecture.layer_count;
    int rc = plan_able(plan);

    if (!rc) rc = fuse(plan);
    // x and y are filled before the first entry, and y may be as large as the output.
    plan->y = plan_new_buffer(plan, (size_t)plan_elements(plan, count - 1) * sizeof(float));
    for (int l = 0; !rc && l < count; l++)
        if (!plan->values[l].skipped) rc = build_layer(plan, l);
    if (rc) return rc;
    plan->x = plan->values[0].buffer;
    plan->tokens = layer_of(plan, 0)->in.tokens;
    build_loss(plan);
    return 0;
}
