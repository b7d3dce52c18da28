// plan_build.c - the forward list: which layer becomes which operation, and what is fused into it.

#include <string.h>

#include "runtime/plan_inside.h"

int plan_new_buffer(struct pawl_plan *plan, size_t bytes)
{
    plan->buffers[plan->buffer_count] = (struct plan_buffer){ bytes, 0, plan->entry_count, -1 };
    return plan->buffer_count++;
}

int plan_new_floats(struct pawl_plan *plan, int64_t count)
{
    return plan_new_buffer(plan, (size_t)count * sizeof(float));
}

int plan_new_values(struct pawl_plan *plan, int64_t count)
{
    return plan_new_buffer(plan, (size_t)count * plan->model->value_bytes);
}

struct plan_entry *plan_new_entry(struct pawl_plan *plan, enum plan_op op, int layer)
{
    struct plan_entry *entry = &plan->entries[plan->entry_count++];

    *entry = (struct plan_entry){ .op = op, .layer = layer, .out = NONE, .in = NONE,
                                  .other = NONE, .aux_1 = NONE, .aux_2 = NONE, .grad = NONE,
                                  .aux_3 = NONE, .aux_4 = NONE, .weight = NONE, .bias = NONE,
                                  .mean = NONE, .variance = NONE, .recurrent = NONE,
                                  .recurrent_bias = NONE };
    return entry;
}

void plan_touch(struct pawl_plan *plan, const struct plan_entry *entry)
{
    const int used[] = { entry->out, entry->in, entry->other, entry->aux_1, entry->aux_2,
                         entry->aux_3, entry->aux_4, entry->grad };
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

    for (int i = 0; i < 2 && layer->input_count == 2; i++) {
        const int dense = layer->input[i], other = layer->input[1 - i];
        const struct pawl_layer *below = layer_of(plan, dense);
        if (below->kind == PAWL_DENSE && below->dense.activation == PAWL_LINEAR
            && readers[dense] == 1 && other < dense)
            return dense;
    }
    return NONE;
}

bool plan_is_softmax(enum pawl_activation activation)
{
    return activation == PAWL_SOFTMAX || activation == PAWL_LOG_SOFTMAX;
}

// The activation that a kind carries, or LINEAR.
static enum pawl_activation activation_of(const struct pawl_layer *layer)
{
    switch (layer->kind) {
    case PAWL_DENSE: return layer->dense.activation;
    case PAWL_CONV1D:
    case PAWL_CONV1D_TRANSPOSE:
    case PAWL_CONV2D_TRANSPOSE:
    case PAWL_CONV2D: return layer->conv.activation;
    case PAWL_ACTIVATE: return layer->activate.activation;
    default: return PAWL_LINEAR;
    }
}

// A softmax or sigmoid at the end that the loss takes in: its gradient in the logits is simple and
// exact, and no probability is rounded to 0. (log_softmax changes nothing under a softmax.)
static enum pawl_activation closing_of(const struct pawl_plan *plan)
{
    const struct pawl_layer *layer = layer_of(plan, plan->architecture.layer_count - 1);
    const enum pawl_activation last = activation_of(layer);

    if (plan_is_transposed(layer->kind)) return PAWL_LINEAR;
    if (plan_is_softmax(last) && plan->options.loss == PAWL_CROSS_ENTROPY) return last;
    if (last == PAWL_SIGMOID && plan->options.loss == PAWL_BINARY_CROSS_ENTROPY) return last;
    return PAWL_LINEAR;
}

// A layer without an operation of its own, whose output is its input's buffer.
static bool passes_on(const struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    const bool last = l == plan->architecture.layer_count - 1;

    switch (layer->kind) {
    case PAWL_FLATTEN:
    case PAWL_RESHAPE: return true;
    case PAWL_ACTIVATE:
        return layer->activate.activation == PAWL_LINEAR
               || (last && plan->closing != PAWL_LINEAR);
    case PAWL_DROPOUT: return !plan->options.backward || !(layer->dropout.rate > 0);
    default: return false;
    }
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
        if (passes_on(plan, l)) {
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

int plan_in_buffer(const struct pawl_plan *plan, int layer, int i)
{
    return plan->values[root_of(plan, layer_of(plan, layer)->input[i])].buffer;
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
    if (plan_is_softmax(activation)) {
        value->softmax = activation;
        return;
    }
    entry->activation = value->activation = activation;
    if (activation == PAWL_LINEAR || !plan->options.backward) return;
    if (pawl_activation_saves_input(activation))
        entry->aux_1 = plan_new_values(plan, value->elements);
    value->saved = entry->aux_1 == NONE ? value->buffer : entry->aux_1;
}

// What the layer applies itself: not the closing one.
static enum pawl_activation own_activation(const struct pawl_plan *plan, int l)
{
    const bool closes = l == plan->architecture.layer_count - 1 && plan->closing != PAWL_LINEAR;

    return closes ? PAWL_LINEAR : activation_of(layer_of(plan, l));
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
    keep_saved(plan, entry, value, own_activation(plan, l));
    plan->flops += 2.0 * (double)entry->m * (double)entry->n * (double)entry->k;
}

static void build_conv(struct pawl_plan *plan, int l, struct plan_entry *entry)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    const struct pawl_window *w = &entry->window;

    plan_window(plan, l, &entry->window);
    entry->weight = plan->model->param_of[l][0];
    if (layer->conv.bias) entry->bias = plan->model->param_of[l][1];
    keep_saved(plan, entry, &plan->values[l], own_activation(plan, l));
    plan->flops += 2.0 * (double)plan_elements(plan, l)
                   * (double)(w->kernel_h * w->kernel_w * w->in_c / w->groups);
}

// Rows of a layer or RMS norm, columns of a batch norm.
static void build_norm(struct pawl_plan *plan, int l, struct plan_entry *entry)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    const int64_t cols = layer->out.dim[layer->out.rank - 1];
    const int64_t rows = plan_elements(plan, l) / cols;
    const bool batch = layer->kind == PAWL_BATCH_NORM, weight = layer->norm.weight;
    const int *params = plan->model->param_of[l];
    const int owned = weight + (layer->kind != PAWL_RMS_NORM && layer->norm.bias);
    const int64_t kept = batch ? cols : rows;

    entry->n = cols;
    entry->m = rows;
    if (weight) entry->weight = params[0];
    if (owned > weight) entry->bias = params[weight];
    entry->epsilon = (float)layer->norm.epsilon;
    if (layer->kind != PAWL_RMS_NORM) entry->aux_1 = plan_new_floats(plan, kept);
    entry->aux_2 = plan_new_floats(plan, kept);
    if (!batch) return;
    entry->mean = params[owned];
    entry->variance = params[owned + 1];
    entry->norm = (struct pawl_batch_norm){ .rows = rows, .cols = cols, .epsilon = entry->epsilon,
                                            .momentum = (float)layer->norm.momentum,
                                            .unbiased = layer->norm.unbiased };
}

static void build_embed(struct pawl_plan *plan, int l, struct plan_entry *entry)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    const bool position = layer->kind == PAWL_POSITION_EMBEDDING;
    const int table = position ? layer->input[0] : l;

    entry->in = plan_in_buffer(plan, table, 0);
    entry->n = layer->out.dim[1];
    entry->m = plan_elements(plan, l) / entry->n;
    entry->k = layer->out.dim[0];
    entry->weight = plan->model->param_of[table][0];
    if (position) entry->bias = plan->model->param_of[l][0];
}

// Kinds of one operation.
static const enum plan_op single[PAWL_LAYER_KINDS] = {
    [PAWL_DENSE] = OP_LINEAR, [PAWL_CONV1D] = OP_CONV2D, [PAWL_CONV2D] = OP_CONV2D,
    [PAWL_MAX_POOL1D] = OP_MAX_POOL2D, [PAWL_MAX_POOL2D] = OP_MAX_POOL2D,
    [PAWL_GLOBAL_MAX_POOL] = OP_MAX_POOL2D, [PAWL_AVG_POOL1D] = OP_AVG_POOL2D,
    [PAWL_AVG_POOL2D] = OP_AVG_POOL2D, [PAWL_GLOBAL_AVG_POOL] = OP_AVG_POOL2D,
    [PAWL_EMBEDDING] = OP_EMBED, [PAWL_POSITION_EMBEDDING] = OP_EMBED,
    [PAWL_LAYER_NORM] = OP_LAYER_NORM, [PAWL_RMS_NORM] = OP_LAYER_NORM,
    [PAWL_BATCH_NORM] = OP_BATCH_NORM, [PAWL_ACTIVATE] = OP_ACTIVATE, [PAWL_DROPOUT] = OP_DROPOUT,
};

static void build_activate(struct pawl_plan *plan, int l, struct plan_entry *entry)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    struct plan_value *value = &plan->values[l];

    entry->activation = layer->activate.activation;
    entry->alpha = (float)layer->activate.alpha;
    value->saved = pawl_activation_saves_input(entry->activation) ? entry->in : entry->out;
    if (!plan_is_softmax(entry->activation)) return;
    value->softmax = entry->activation;
    entry->op = OP_SOFTMAX;
    entry->n = layer->out.dim[layer->out.rank - 1];
    entry->m = plan_elements(plan, l) / entry->n;
}

static void build_single(struct pawl_plan *plan, int l)
{
    const struct pawl_layer *layer = layer_of(plan, l);
    struct plan_value *value = &plan->values[l];
    struct plan_entry *entry = plan_new_entry(plan, single[layer->kind], l);

    value->main = (int)(entry - plan->entries);
    entry->out = value->buffer;
    entry->in = plan_in_buffer(plan, l, 0);
    entry->n = plan_elements(plan, l);
    switch (entry->op) {
    case OP_LINEAR: build_dense(plan, l, entry); break;
    case OP_CONV2D: build_conv(plan, l, entry); break;
    case OP_BATCH_NORM:
    case OP_LAYER_NORM: build_norm(plan, l, entry); break;
    case OP_EMBED: build_embed(plan, l, entry); break;
    case OP_MAX_POOL2D:
        entry->aux_1 = plan_new_buffer(plan, (size_t)entry->n * sizeof(int32_t));
        plan_window(plan, l, &entry->window);
        break;
    case OP_AVG_POOL2D: plan_window(plan, l, &entry->window); break;
    case OP_DROPOUT: entry->rate = (float)layer->dropout.rate; break;
    default: build_activate(plan, l, entry); break;
    }
    value->aux_1 = entry->aux_1;
    value->aux_2 = entry->aux_2;
    plan_touch(plan, entry);
    if (value->softmax == PAWL_LINEAR || entry->op == OP_SOFTMAX) return;
    struct plan_entry *softmax = plan_new_entry(plan, OP_SOFTMAX, l);
    softmax->in = softmax->out = value->buffer;
    softmax->activation = value->softmax;
    softmax->n = layer->out.dim[layer->out.rank - 1];
    softmax->m = plan_elements(plan, l) / softmax->n;
    plan_touch(plan, softmax);
}

// Data arrives as int32 or float. Tokens are read like that, numbers in the model's type.
static void build_input(struct pawl_plan *plan, int l)
{
    struct plan_value *value = &plan->values[l];

    plan->tokens = layer_of(plan, l)->in.tokens;
    plan->x = value->buffer = plan_new_floats(plan, value->elements);
    if (plan->tokens || plan->model->type == PAWL_F32) return;
    struct plan_entry *entry = plan_new_entry(plan, OP_NARROW, l);
    entry->in = plan->x;
    entry->out = value->buffer = plan_new_values(plan, value->elements);
    entry->n = value->elements;
    plan_touch(plan, entry);
}

static void build_layer(struct pawl_plan *plan, int l)
{
    struct plan_value *value = &plan->values[l];

    value->elements = plan_elements(plan, l);
    if (layer_of(plan, l)->kind == PAWL_INPUT) {
        build_input(plan, l);
        return;
    }
    value->buffer = plan_new_values(plan, value->elements);
    switch (layer_of(plan, l)->kind) {
    case PAWL_ADD:
    case PAWL_MULTIPLY:
    case PAWL_AVERAGE:
    case PAWL_MAXIMUM:
    case PAWL_SUBTRACT: plan_build_joined(plan, l); break;
    case PAWL_PERMUTE:
    case PAWL_ZERO_PADDING:
    case PAWL_CONCATENATE: plan_build_moved(plan, l); break;
    case PAWL_ATTENTION: plan_build_attention(plan, l); break;
    case PAWL_LSTM:
    case PAWL_GRU:
    case PAWL_SIMPLE_RNN: plan_build_rnn(plan, l); break;
    case PAWL_GROUP_NORM:
    case PAWL_PRELU:
    case PAWL_CONV1D_TRANSPOSE:
    case PAWL_CONV2D_TRANSPOSE: plan_build_rest(plan, l); break;
    default: build_single(plan, l); break;
    }
}

// The closing activation, from the logits to an output of their own.
static void build_closing(struct pawl_plan *plan, int last)
{
    const bool softmax = plan_is_softmax(plan->closing);
    struct plan_entry *entry = plan_new_entry(plan, softmax ? OP_SOFTMAX : OP_ACTIVATE, last);

    entry->in = plan->logits;
    entry->out = plan->output = plan_new_values(plan, plan_elements(plan, last));
    entry->activation = plan->closing;
    entry->m = plan->rows;
    entry->n = softmax ? plan->cols : plan_elements(plan, last);
    plan_touch(plan, entry);
}

// The loss reads the logits and leaves its gradient there, so what backward still needs of the
// output is copied first.
static void build_loss(struct pawl_plan *plan)
{
    const int last = plan->architecture.layer_count - 1;
    const struct plan_value *value = &plan->values[root_of(plan, last)];
    const struct pawl_shape *shape = &layer_of(plan, last)->out;
    const enum pawl_layer_kind kind = layer_of(plan, root_of(plan, last))->kind;
    const bool plain = (kind == PAWL_DENSE || plan_is_conv(kind))
                       && value->activation == PAWL_LINEAR && value->softmax == PAWL_LINEAR
                       && value->consumers == 1;

    plan->cols = shape->rank ? shape->dim[shape->rank - 1] : 1;
    plan->rows = plan_elements(plan, last) / plan->cols;
    plan->logits = value->buffer;
    if (!plain) {
        struct plan_entry *copy = plan_new_entry(plan, OP_COPY, last);
        copy->in = value->buffer;
        copy->out = plan->logits = plan_new_values(plan, value->elements);
        copy->n = plan_elements(plan, last);
        plan_touch(plan, copy);
    }
    plan->logits_count = plan->entry_count;
    plan->output = plan->logits;
    if (plan->closing != PAWL_LINEAR) build_closing(plan, last);
    plan->forward_count = plan->entry_count;
    struct plan_entry *loss = plan_new_entry(plan, OP_LOSS, last);
    loss->out = plan->logits;
    loss->other = plan->y;
    loss->aux_1 = plan->loss = plan_new_floats(plan, plan->rows);
    loss->aux_2 = plan->hit = plan_new_floats(plan, plan->rows);
    loss->m = plan->rows;
    loss->n = plan->cols;
    plan_touch(plan, loss);
}

int plan_build(struct pawl_plan *plan)
{
    const int count = plan->architecture.layer_count;
    int rc = plan_able(plan);

    plan->closing = closing_of(plan);
    if (!rc) rc = fuse(plan);
    // x and y are filled before the first entry, and y may be as large as the output.
    plan->y = plan_new_floats(plan, plan_elements(plan, count - 1));
    for (int l = 0; !rc && l < count; l++)
        if (!plan->values[l].skipped) build_layer(plan, l);
    if (rc) return rc;
    build_loss(plan);
    plan->wide = NONE;
    if (plan->model->type == PAWL_F32 || plan->options.backward) return 0;
    // Written behind the last entry, read behind that: nothing else may lie there.
    plan->wide = plan_new_floats(plan, plan->rows * plan->cols);
    plan->buffers[plan->wide].first = 0;
    plan->buffers[plan->wide].last = plan->entry_count;
    plan->buffers[plan->output].last = plan->buffers[plan->logits].last = plan->entry_count;
    return 0;
}
