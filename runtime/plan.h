// plan.h - a model laid out for a batch: a fixed list of operations on fixed memory.
//
//     architecture -> shapes -> forward list, backward list -> lifetimes -> one arena
//
// Everything is decided when the plan opens: which buffers there are, where each lies in the arena
// (buffers whose lives do not meet share a place), what is fused: an activation into the dense or
// convolution before it, a residual addition into the dense before it, a derivative into the
// product that makes its gradient, position into embedding. A step only walks the lists.
//
// Buffers are of the model's type (activations and their gradients), or of floats (statistics,
// losses, what is copied in from data): two bytes or four per element.
//
// Fused and aliased gradients: the gradient of an addition is that of both its inputs, one buffer;
// whoever comes second adds to it.
//
// Memory: the arena is taken at open. Threads: one at a time; two plans may share a model.

#ifndef PAWL_PLAN_H
#define PAWL_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/model.h"

enum pawl_loss { PAWL_CROSS_ENTROPY, PAWL_MSE, PAWL_BINARY_CROSS_ENTROPY, PAWL_LOSSES };

struct pawl_plan_options {
    int64_t batch;      // samples that run at once
    int64_t sequence;   // tokens per sample, at most the model's; 0: the model's own
    bool backward;      // training: keeps what backward needs
    enum pawl_loss loss;
    uint64_t seed;      // for dropout
};

struct pawl_plan;

// PAWL_ENOTSUP names the layer that this build cannot run. PAWL_ENOMEM: the arena's bytes.
int pawl_plan_open(struct pawl_plan **out, struct pawl_model *model,
                   const struct pawl_plan_options *options);
void pawl_plan_close(struct pawl_plan *plan);  // accepts NULL

// Where the batch goes: x as data.h makes it (int32 tokens or float32), y as well. Device memory.
void *pawl_plan_x(struct pawl_plan *plan);
void *pawl_plan_y(struct pawl_plan *plan);

// Queues forward alone. The output (rows, cols), rows = batch * positions, is valid until the next
// call; nothing is dropped out. A softmax at the end of a model with cross-entropy (or a sigmoid,
// with binary cross-entropy) is part of the output, but of the loss in evaluate and train. In
// bfloat16 a plan opened for backward has no output for others to read: NULL.
void pawl_plan_forward(struct pawl_plan *plan, struct pawl_stream *stream);
const float *pawl_plan_output(const struct pawl_plan *plan);
// The same without such a closing activation.
const float *pawl_plan_logits(struct pawl_plan *plan, struct pawl_stream *stream);
int64_t pawl_plan_rows(const struct pawl_plan *plan);
int64_t pawl_plan_cols(const struct pawl_plan *plan);

// Queues forward and loss, no gradient. result (2): sums of losses and hits over the rows.
void pawl_plan_evaluate(struct pawl_plan *plan, struct pawl_stream *stream, float *result);

// The losses and hits (rows) of the last evaluate or train, after the stream was waited for.
// Device memory: for the host device and tests.
void pawl_plan_rows_told(const struct pawl_plan *plan, const float **loss, const float **hit);

// Queues forward, loss and backward. The gradient is that of the sum of losses times scale; the
// first micro-batch of a step (add = false) overwrites the gradient slab, the others add to it.
// step numbers dropout's draws. result as in evaluate.
void pawl_plan_train(struct pawl_plan *plan, struct pawl_stream *stream, uint64_t step,
                     float scale, bool add, float *result);

uint64_t pawl_plan_arena_bytes(const struct pawl_plan *plan);
// Multiplications and additions of one forward and backward over the batch, matrix products only.
double pawl_plan_flops(const struct pawl_plan *plan);

// "cross-entropy", ...; PAWL_EINVAL names those there are.
int pawl_loss_parse(enum pawl_loss *out, const char *name);
const char *pawl_loss_name(enum pawl_loss loss);

#endif
