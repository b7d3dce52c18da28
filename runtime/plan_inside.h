// plan_inside.h - what the plan's files share. Nobody else includes it.
//
//     plan.c        opens and runs a plan
//     plan_able.c   which layers this build can compute
//     plan_window.c what a convolution or a pool looks at
//     plan_kinds.c, plan_kinds_back.c   kinds of several operations
//     plan_build.c  forward list: which layer becomes which operation, what is fused
//     plan_rnn.c    recurrent layers; plan_rest.c  group norm, PReLU, transposed convolutions
//     plan_back.c   backward list: who makes, shares and adds to which gradient
//     plan_memory.c lifetimes -> offsets
//     plan_ops.c    one entry -> one call of the device's table

#ifndef PAWL_PLAN_INSIDE_H
#define PAWL_PLAN_INSIDE_H

#include "runtime/plan.h"

enum { NONE = -1 };

// A buffer lives from the first to the last entry that touches it.
struct plan_buffer {
    size_t bytes, offset;
    int first, last;
};

enum plan_op {
    OP_EMBED, OP_LINEAR, OP_CONV2D, OP_MAX_POOL2D, OP_AVG_POOL2D, OP_LAYER_NORM, OP_ATTENTION,
    OP_ACTIVATE, OP_ADD, OP_DROPOUT, OP_COPY, OP_LOSS, OP_SOFTMAX, OP_BATCH_NORM, OP_ROPE, OP_MOVE,
    OP_FILL, OP_MULTIPLY, OP_SCALE, OP_MAXIMUM, OP_RNN, OP_GROUP_NORM, OP_PRELU, OP_TRANSPOSE,
    OP_BIAS, OP_NARROW,
    OP_EMBED_BACK, OP_LINEAR_X, OP_LINEAR_WEIGHT, OP_CONV2D_X, OP_CONV2D_WEIGHT,
    OP_MAX_POOL2D_BACK, OP_AVG_POOL2D_BACK, OP_LAYER_NORM_BACK, OP_ATTENTION_BACK,
    OP_ACTIVATE_BACK, OP_SOFTMAX_BACK, OP_BATCH_NORM_BACK, OP_MAXIMUM_BACK, OP_RNN_BACK,
    OP_GROUP_NORM_BACK, OP_PRELU_BACK, OP_TRANSPOSE_X, OP_TRANSPOSE_WEIGHT
};

// One entry of the list: forward, loss, backward. Buffers and tensors by number or NONE.
struct plan_entry {
    enum plan_op op;
    int layer;
    int out, in, other;       // destination, source, second source (residual, out_grad's partner)
    int aux_1, aux_2;         // pre-activation or saved; mean and rstd; lse; index
    int aux_3, aux_4;         // recurrent: see plan_rnn.c
    int grad;                 // backward: the gradient of this layer's output
    int weight, bias;         // tensors
    int mean, variance;       // tensors: a batch norm's state
    int recurrent, recurrent_bias;  // tensors
    bool first_recurrent;
    bool first_weight, first_bias;  // the first in backward to touch that tensor's gradient
    bool add;                 // out is added to
    bool clear_bias;          // the weight's gradient is added to, the bias's begins here
    enum pawl_activation activation;
    int64_t m, n, k;          // rows, outputs, inputs; or n alone: elements
    struct pawl_window window;
    struct pawl_attention attention;
    struct pawl_batch_norm norm;
    struct pawl_move move;
    struct pawl_rope rope;
    struct pawl_group_norm group;
    float epsilon, rate, alpha, factor;
};

// What building knows of a layer's output.
struct plan_value {
    int root;        // the layer whose buffer this output is: itself, unless an alias
    int buffer;      // of a root
    int saved;       // of a root with an activation: what its derivative needs
    enum pawl_activation activation;
    int aux_1, aux_2;
    int main;        // entry that backward mirrors
    enum pawl_activation softmax;  // or log_softmax, an operation behind the layer's own; or LINEAR
    int consumers;   // operations that read it, and the loss
    int residual;    // dense: the layer that its epilogue adds, or NONE
    int grad;        // buffer, or NONE so far
    bool grad_is_pre;  // the gradient is already that of the value before the activation
    bool skipped;    // no operation of its own
    int64_t elements;
};

struct pawl_plan {
    struct pawl_model *model;
    struct pawl_plan_options options;
    struct pawl_architecture architecture;  // with this plan's sequence length

    struct plan_buffer *buffers;
    int buffer_count;
    struct plan_entry *entries;
    // entries[forward_count] is the loss. Between logits_count and it lies the closing activation,
    // which the loss takes over: forward runs it, training and evaluation do not.
    int entry_count, logits_count, forward_count;
    enum pawl_activation closing;    // of the last layer; LINEAR: none
    struct plan_value *values;       // per layer
    bool *touched;                   // per tensor: backward has written its gradient

    int x, y, logits, output, loss, hit;  // buffers
    int wide;                        // of floats: the output or the logits, or NONE
    int64_t rows, cols;
    bool tokens;

    char *arena;
    size_t arena_bytes;
    float *result;                   // (2), device memory
    float *zeros;                    // device memory, for clear_bias; NULL: no entry needs it
    size_t zeros_bytes;
    double flops;
};

// plan_able.c: PAWL_ENOTSUP names the first layer that no operation here computes.
int plan_able(const struct pawl_plan *plan);

// plan_build.c, plan_back.c. On a full table or no memory the plan keeps the first failure.
int plan_build(struct pawl_plan *plan);
int plan_build_back(struct pawl_plan *plan);
int plan_new_buffer(struct pawl_plan *plan, size_t bytes);
int plan_new_floats(struct pawl_plan *plan, int64_t count);
int plan_new_values(struct pawl_plan *plan, int64_t count);  // of the model's type
// Appends an entry with all buffers NONE; touch_all (after its fields are set) extends lifetimes.
struct plan_entry *plan_new_entry(struct pawl_plan *plan, enum plan_op op, int layer);
void plan_touch(struct pawl_plan *plan, const struct plan_entry *entry);
int64_t plan_elements(const struct pawl_plan *plan, int layer);  // of a layer's output, batch in
int plan_in_buffer(const struct pawl_plan *plan, int layer, int i);  // of a layer's i-th input
bool plan_is_softmax(enum pawl_activation activation);

// plan_window.c
bool plan_is_conv(enum pawl_layer_kind kind);
bool plan_is_transposed(enum pawl_layer_kind kind);
void plan_window(const struct pawl_plan *plan, int layer, struct pawl_window *window);

// plan_kinds.c: kinds that are several operations, or moves. Each sets its own entries.
void plan_build_joined(struct pawl_plan *plan, int layer);
void plan_build_moved(struct pawl_plan *plan, int layer);
void plan_build_attention(struct pawl_plan *plan, int layer);

// plan_kinds_back.c, and what it needs of plan_back.c.
void plan_back_joined(struct pawl_plan *plan, int layer);
void plan_back_moved(struct pawl_plan *plan, int layer);
void plan_back_attention(struct pawl_plan *plan, int layer);
struct plan_value *plan_value_in(struct pawl_plan *plan, int layer, int i);
bool plan_wanted(struct pawl_plan *plan, const struct plan_value *value);
// The gradient buffer of a value to write to; *add tells whether it holds a part already.
int plan_gradient(struct pawl_plan *plan, struct plan_value *value, bool *add);
// Makes a buffer (a part of) a value's gradient.
void plan_add_into(struct pawl_plan *plan, int layer, struct plan_value *value, int grad);
struct plan_entry *plan_mirror(struct pawl_plan *plan, enum plan_op op, int layer);

bool plan_first_touch(struct pawl_plan *plan, int tensor);

// plan_rnn.c
void plan_build_rnn(struct pawl_plan *plan, int layer);
void plan_back_rnn(struct pawl_plan *plan, int layer);
struct plan_call;
void plan_run_rnn(struct pawl_plan *plan, const struct plan_entry *entry,
                  const struct plan_call *call);

// plan_rest.c: group norm, PReLU, transposed convolutions.
void plan_build_rest(struct pawl_plan *plan, int layer);
void plan_back_rest(struct pawl_plan *plan, int layer);
void plan_back_activation(struct pawl_plan *plan, int layer);
bool plan_run_rest(struct pawl_plan *plan, const struct plan_entry *entry,
                   const struct plan_call *call);

// plan_memory.c: gives every buffer its offset; the arena's size is in plan->arena_bytes.
int plan_place(struct pawl_plan *plan);

// plan_ops.c
struct plan_call {
    struct pawl_stream *stream;
    bool training;   // dropout drops
    uint64_t step;
    bool add;        // parameters' gradients are added to
    float scale;     // of the loss's gradient; 0: none
};
void plan_run(struct pawl_plan *plan, const struct plan_entry *entry,
              const struct plan_call *call);

// A tensor as operations read it, its fp32 values (of state), or its gradient; NULL for NONE.
static inline const pawl_value *plan_weight(const struct pawl_plan *plan, int tensor)
{
    return tensor == NONE ? NULL : pawl_model_weight(plan->model, tensor);
}

static inline float *plan_state(const struct pawl_plan *plan, int tensor)
{
    return tensor == NONE ? NULL : pawl_model_at(plan->model, plan->model->param, tensor);
}

static inline float *plan_grad(const struct pawl_plan *plan, int tensor)
{
    return tensor == NONE ? NULL : pawl_model_at(plan->model, plan->model->grad, tensor);
}

static inline void *plan_at(const struct pawl_plan *plan, int buffer)
{
    return buffer == NONE ? NULL : plan->arena + plan->buffers[buffer].offset;
}

// So many values behind.
static inline void *plan_behind(const struct pawl_plan *plan, void *values, int64_t count)
{
    return (char *)values + count * (int64_t)plan->model->value_bytes;
}

#endif
