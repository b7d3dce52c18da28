// ops.h - the arithmetic of a training step, one entry per operation.
//
// A device owns one table of operations per element type (device.h). kernels/host/NAME.c holds
// the host row; tests/kernels holds the plain definition that every row is compared with.
//
// Reading a signature:
//   order        stream, destinations, sources, sizes, scalars
//   (m, n)       a row-major shape in elements, innermost last
//   pawl_value   an element of the table's type: float in the fp32 table, bfloat16 in the bf16 one:
//                activations, their gradients, the weights that a step reads
//   float        statistics, losses, targets, parameters (the masters), their gradients, moments:
//                fp32 in every table. Sums are made in fp32 and rounded once, when stored
//   T *x|NULL    may be left out
//   add          true: the destination is added to; false: it is overwritten
//   apart        destinations overlap no source, unless the entry says "in place"
//   images       (batch, height, width, channels)
//
// Sums are bit-identical for any number of threads. Nothing is allocated. Buffers stay the
// caller's and live until the stream is waited for. A NaN goes in and comes out; a token, target
// or index out of range is the caller's bug (data is checked where it is read).

#ifndef PAWL_OPS_H
#define PAWL_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/stream.h"

typedef void pawl_value;

enum pawl_activation {
    PAWL_LINEAR,      // none
    PAWL_RELU,
    PAWL_LEAKY_RELU,  // slope 0.01, unless an alpha is given
    PAWL_ELU,         // alpha 1, likewise
    PAWL_GELU,        // with erf
    PAWL_GELU_TANH,   // the tanh approximation that GPT-2 uses
    PAWL_SILU,
    PAWL_SIGMOID,
    PAWL_TANH,
    PAWL_SOFTPLUS,
    PAWL_RELU6,
    PAWL_HARD_SIGMOID,  // relu6(x + 3) / 6
    PAWL_HARD_SWISH,    // x relu6(x + 3) / 6
    PAWL_SELU,
    PAWL_SOFTSIGN,
    PAWL_MISH,
    PAWL_EXPONENTIAL,
    PAWL_SOFTMAX,       // over a row: operations of their own, no other takes them
    PAWL_LOG_SOFTMAX,
    PAWL_ACTIVATIONS
};

// What backward needs of an activation, called `saved` below: its input for ELU, both GELUs, SILU,
// SOFTPLUS, HARD_SWISH, SELU, SOFTSIGN and MISH (true), its output for the others (false).
// PAWL_LINEAR needs nothing.
bool pawl_activation_saves_input(enum pawl_activation activation);

// A 2-d window over images: convolution and pooling. All sizes in elements.
struct pawl_window {
    int64_t batch, in_h, in_w, in_c;
    int64_t out_h, out_w, out_c;
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int64_t pad_top, pad_left;  // what lies beyond the other two borders follows from out_h, out_w
    int64_t groups;             // divides in_c and out_c; in_c for depthwise
    bool count_pads;            // mean pooling: padding counts, as 0
};

// Batch normalisation of (rows, cols) per column. Training measures the batch; else the running
// statistics are taken. next_* (or NULL) get (1 - momentum) * running + momentum * batch, which may
// lie where running does; unbiased: of the variance of rows - 1.
struct pawl_batch_norm {
    int64_t rows, cols;
    float epsilon, momentum;
    bool unbiased, training;
    const float *running_mean, *running_var;
    float *next_mean, *next_var;
};

// out[sum of i[d] * to[d]] = x[sum of i[d] * from[d]] for all i below dim. Unused ones lead, as 1.
enum { PAWL_MOVE_RANK = 5, PAWL_ROTARY_MAX = 1024 };
struct pawl_move {
    int64_t dim[PAWL_MOVE_RANK], to[PAWL_MOVE_RANK], from[PAWL_MOVE_RANK];
};

// Group normalisation of (batch, rows, cols): each of `groups` of a sample's columns on its own.
struct pawl_group_norm {
    int64_t batch, rows, cols, groups;
    float epsilon;
};

// One step of a recurrent layer. Gates lie side by side in rows of units each: LSTM's input,
// forget, cell, output; GRU's reset, update, new. They come in as products and go out activated;
// with h_grad they come in activated and go out as gradients of the products. Activations are such
// as need their output for backward. c, a sum over time, is float in every table.
enum pawl_cell_kind { PAWL_CELL_LSTM, PAWL_CELL_GRU, PAWL_CELL_SIMPLE, PAWL_CELLS };
struct pawl_cell {
    enum pawl_cell_kind kind;
    int64_t batch, units;
    enum pawl_activation activation, recurrent;
    pawl_value *gates;     // (batch, gates * units): of the input; for the others of both
    pawl_value *hidden;    // GRU: of the state before, alike
    pawl_value *h;         // (batch, units)
    float *c;              // (batch, units): LSTM
    const pawl_value *h_prev;
    const float *c_prev;
    pawl_value *h_grad;    // backward: in, of h; out, of h_prev but for what the products give it
    float *c_grad;         // backward, LSTM: in, of c; out, of c_prev
};

// Rows of `width` whose first heads * dim elements turn; rotary (even) of each dim.
struct pawl_rope {
    int64_t batch, time, width, heads, dim, rotary;
    double theta;
    bool interleaved;
    bool back;  // the other way round: the gradient
};

// Query heads share key-value heads in groups of heads / kv_heads. One row of qkv holds
// heads * dim queries, then kv_heads * dim keys, then as many values.
struct pawl_attention {
    int64_t batch, time, heads, kv_heads, dim;
    bool causal;
};

enum pawl_optimizer { PAWL_ADAMW, PAWL_ADAM, PAWL_SGD, PAWL_RMSPROP, PAWL_OPTIMIZERS };

// Whose definition of a rule, so that moments carry over. Keras's differ from PyTorch's: decay acts
// on the parameter whatever the kind; Adam's epsilon is added before the root's bias is corrected,
// RMSprop's under the root; momentum buffers hold steps, the rate included, SGD's with their sign.
enum pawl_convention { PAWL_AS_PYTORCH, PAWL_AS_KERAS, PAWL_CONVENTIONS };

// One optimizer update. Adam's decay is added to the gradient (L2), AdamW's acts on the
// parameter.
struct pawl_update {
    enum pawl_optimizer kind;
    enum pawl_convention as;
    // Double, since 1 - (float)0.999 is 0.00100005 and would part the moments from PyTorch's.
    double rate, beta_1, beta_2, epsilon, decay;
    double momentum, rho;       // SGD and RMSprop; rho is RMSprop's alpha
    bool nesterov, centered;    // SGD; RMSprop (not yet: must be false)
    int64_t step;               // counts from 1; corrects the bias of young moments
    float grad_scale;           // multiplies every gradient first: 1 / micro-batches
    const float *grad_norm;     // (1), or NULL: after grad_scale, as norm() writes it with that
                                // scale; gradients times clip / (grad_norm + 1e-6) where < 1
    float clip;
};

// How many moment slabs a kind keeps (0, 1 or 2) with this rule, and their customary names:
// "exp_avg", "exp_avg_sq"; "momentum_buffer"; "square_avg".
int pawl_optimizer_moments(const struct pawl_update *rule);
const char *pawl_optimizer_slot(enum pawl_optimizer kind, int moment);

struct pawl_ops {
    const char *name;  // "fp32", "bf16"

    // out (m, n) = activation(x (m, k) weight (n, k)^T + bias (n)) + residual (m, n).
    // pre (m, n) gets the value before the activation. residual may be out itself.
    void (*linear)(struct pawl_stream *s, pawl_value *out, pawl_value *pre_or_null,
                   const pawl_value *x, const pawl_value *weight, const pawl_value *bias_or_null,
                   const pawl_value *residual_or_null, int64_t m, int64_t n, int64_t k,
                   enum pawl_activation activation);
    // x_grad (m, k) = (out_grad (m, n) weight (n, k)) * activation'(saved (m, k)), where the
    // activation is the one that x came out of; PAWL_LINEAR and NULL where there was none.
    void (*linear_back_x)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                          const pawl_value *weight, const pawl_value *saved_or_null, int64_t m,
                          int64_t n, int64_t k, enum pawl_activation activation, bool add);
    // weight_grad (n, k) = out_grad (m, n)^T x (m, k); bias_grad (n) = column sums of out_grad.
    void (*linear_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad_or_null,
                               const pawl_value *out_grad, const pawl_value *x, int64_t m,
                               int64_t n, int64_t k, bool add);

    // weight (out_c, kernel_h, kernel_w, in_c / groups), bias (out_c); otherwise as linear.
    void (*conv2d)(struct pawl_stream *s, pawl_value *out, pawl_value *pre_or_null,
                   const pawl_value *x, const pawl_value *weight, const pawl_value *bias_or_null,
                   const struct pawl_window *window, enum pawl_activation activation);
    void (*conv2d_back_x)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                          const pawl_value *weight, const pawl_value *saved_or_null,
                          const struct pawl_window *window, enum pawl_activation activation,
                          bool add);
    void (*conv2d_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad_or_null,
                               const pawl_value *out_grad, const pawl_value *x,
                               const struct pawl_window *window, bool add);

    // Largest of each window, per channel; index (as out) is its row * in_w + column, for backward.
    // Padding never wins, the first of equals does; a window all in padding is 0 with index -1.
    void (*max_pool2d)(struct pawl_stream *s, pawl_value *out, int32_t *index, const pawl_value *x,
                       const struct pawl_window *window);
    void (*max_pool2d_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                            const int32_t *index, const struct pawl_window *window, bool add);
    // Mean of each window's elements inside the image (padding is not counted).
    void (*avg_pool2d)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                       const struct pawl_window *window);
    void (*avg_pool2d_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                            const struct pawl_window *window, bool add);

    // out (rows, cols) = table (vocab, cols)[token[r]] + position (span, cols)[r % span].
    void (*embed)(struct pawl_stream *s, pawl_value *out, const int32_t *token,
                  const pawl_value *table, const pawl_value *position_or_null, int64_t rows,
                  int64_t cols, int64_t vocab, int64_t span);
    // table_grad (vocab, cols) and position_grad (span, cols).
    void (*embed_back)(struct pawl_stream *s, float *table_grad, float *position_grad_or_null,
                       const pawl_value *out_grad, const int32_t *token, int64_t rows,
                       int64_t cols, int64_t vocab, int64_t span, bool add_table,
                       bool add_position);

    // out (rows, cols) = (x - mean) * rstd * weight (cols) + bias (cols), rstd of the biased
    // variance + epsilon. mean (rows) and rstd (rows) are for backward. Without a mean it is RMS
    // norm: mean 0. Without weight 1, without bias 0; their gradients are then NULL, too.
    void (*layer_norm)(struct pawl_stream *s, pawl_value *out, float *mean_or_null, float *rstd,
                       const pawl_value *x, const pawl_value *weight_or_null,
                       const pawl_value *bias_or_null, int64_t rows, int64_t cols, float epsilon);
    // add_x is for the residual stream: x_grad then already holds its other part. add is for the
    // parameters' gradients.
    void (*layer_norm_back)(struct pawl_stream *s, pawl_value *x_grad, float *weight_grad,
                            float *bias_grad, const pawl_value *out_grad, const pawl_value *x,
                            const float *mean, const float *rstd, const pawl_value *weight,
                            int64_t rows, int64_t cols, bool add_x, bool add);

    // mean (cols) and rstd (cols) of the batch are for backward; untouched without training.
    void (*batch_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd,
                       const pawl_value *x, const pawl_value *weight_or_null,
                       const pawl_value *bias_or_null, const struct pawl_batch_norm *norm);
    // Of training. x_grad NULL: only the parameters'.
    void (*batch_norm_back)(struct pawl_stream *s, pawl_value *x_grad_or_null,
                            float *weight_grad_or_null, float *bias_grad_or_null,
                            const pawl_value *out_grad, const pawl_value *x, const float *mean,
                            const float *rstd, const pawl_value *weight_or_null, int64_t rows,
                            int64_t cols, bool add_x, bool add);

    // mean and rstd (batch, groups) are for backward; sums (batch, 2, cols) gets each sample's part
    // of the gradients of bias and weight.
    void (*group_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd,
                       const pawl_value *x, const pawl_value *weight_or_null,
                       const pawl_value *bias_or_null, const struct pawl_group_norm *norm);
    void (*group_norm_back)(struct pawl_stream *s, pawl_value *x_grad, float *sums,
                            const pawl_value *out_grad, const pawl_value *x, const float *mean,
                            const float *rstd, const pawl_value *weight_or_null,
                            const struct pawl_group_norm *norm, bool add_x);

    // Forward, or backward where h_grad is set.
    void (*cell)(struct pawl_stream *s, const struct pawl_cell *cell);

    // x, times slope (cols; shared: (1)) where below 0. part (rows, cols) gets each element's part
    // of the slope's gradient.
    void (*prelu)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                  const pawl_value *slope, int64_t rows, int64_t cols, bool shared);
    void (*prelu_back)(struct pawl_stream *s, pawl_value *x_grad, pawl_value *part,
                       const pawl_value *out_grad, const pawl_value *x, const pawl_value *slope,
                       int64_t rows, int64_t cols, bool shared, bool add_x);

    // In place is fine. Turned dimensions are those of queries and keys; values pass.
    void (*rope)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                 const struct pawl_rope *rope);

    // out (batch, time, heads * dim) = softmax(q k^T / sqrt(dim)) v, per head; causal: position t
    // sees 0..t. lse (batch, heads, time), the log of each softmax's sum, is for backward.
    void (*attention)(struct pawl_stream *s, pawl_value *out, float *lse, const pawl_value *qkv,
                      const struct pawl_attention *shape);
    void (*attention_back)(struct pawl_stream *s, pawl_value *qkv_grad, const pawl_value *out_grad,
                           const pawl_value *qkv, const pawl_value *out, const float *lse,
                           const struct pawl_attention *shape);

    // In place is fine for these. alpha: leaky_relu's slope, elu's alpha; 0: the usual ones.
    void (*activate)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                     enum pawl_activation activation, float alpha);
    void (*activate_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                          const pawl_value *saved, int64_t n, enum pawl_activation activation,
                          float alpha);
    void (*add)(struct pawl_stream *s, pawl_value *out, const pawl_value *a, const pawl_value *b,
                int64_t n);
    // out = x / (1 - rate) where the uniform number of i is >= rate, else x * 0: word i % 4 of
    // Philox(seed, step, layer, i / 4), philox.h. Backward is the same call on the gradient.
    void (*dropout)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                    float rate, uint64_t seed, uint64_t step, uint32_t layer);
    void (*softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
                    int64_t cols);

    void (*log_softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
                        int64_t cols);
    // out: what forward made; log: by log_softmax. x_grad may be out_grad.
    void (*softmax_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                         const pawl_value *out, int64_t rows, int64_t cols, bool log);

    void (*move)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                 const struct pawl_move *move, bool add);
    void (*fill)(struct pawl_stream *s, pawl_value *out, int64_t n, float value);
    // In place is fine for these four.
    void (*multiply)(struct pawl_stream *s, pawl_value *out, const pawl_value *a,
                     const pawl_value *b, int64_t n, bool add);
    void (*scale)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                  float factor, bool add);
    void (*maximum)(struct pawl_stream *s, pawl_value *out, const pawl_value *a,
                    const pawl_value *b, int64_t n);
    // out_grad goes to x where x is not below out, and is 0 from then on: called for each input in
    // turn, the first of equals gets it.
    void (*maximum_back)(struct pawl_stream *s, pawl_value *x_grad, pawl_value *out_grad,
                         const pawl_value *x, const pawl_value *out, int64_t n, bool add);
    // out (rows, cols) = x + bias (cols), in place or not; and its gradient, sums down the columns.
    void (*bias)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                 const pawl_value *bias, int64_t rows, int64_t cols);
    void (*column_sum)(struct pawl_stream *s, float *out, const pawl_value *x, int64_t rows,
                       int64_t cols, bool add);

    // loss (rows) = -log softmax(logits (rows, classes))[target (rows)]; hit (rows) is 1 where
    // the first largest logit is the target's, else 0. A target below 0 is not counted: loss, hit
    // and gradient are 0. With scale != 0, logits become, in place, their own gradient times scale.
    void (*cross_entropy)(struct pawl_stream *s, float *loss, float *hit_or_null,
                          pawl_value *logits, const int32_t *target, int64_t rows, int64_t classes,
                          float scale);
    // loss (rows) = mean over cols of (out - target)^2; gradient in place of out, as above.
    void (*mean_square)(struct pawl_stream *s, float *loss, pawl_value *out, const float *target,
                        int64_t rows, int64_t cols, float scale);
    // loss (rows) = mean over cols of -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), x = logits.
    void (*binary_cross_entropy)(struct pawl_stream *s, float *loss, pawl_value *logits,
                                 const float *target, int64_t rows, int64_t cols, float scale);

    // out = x, rounded to the nearest, ties to even; a NaN stays one. And back, exactly. In the
    // fp32 table both copy.
    void (*narrow)(struct pawl_stream *s, pawl_value *out, const float *x, int64_t n);
    void (*widen)(struct pawl_stream *s, float *out, const pawl_value *x, int64_t n);

    // out (1) = sum of x (n).
    void (*sum)(struct pawl_stream *s, float *out, const float *x, int64_t n);
    // out (2) = the digest of x (bytes bytes) as digest.h defines it, on every device.
    void (*digest)(struct pawl_stream *s, uint64_t *out, const void *x, int64_t bytes);
    // norm (1) = sqrt(sum of squares of x (n)) * scale.
    void (*norm)(struct pawl_stream *s, float *norm, const float *x, int64_t n, float scale);

    // One update in place of n parameters lying side by side, in one pass. moment_1 and moment_2
    // are NULL where pawl_optimizer_moments() says so. copy_* (all 64-byte aligned, or all NULL)
    // get the values from before the update: the snapshot in passing. rounded gets param from after
    // it, as narrow() makes it: what the next step reads.
    void (*update)(struct pawl_stream *s, float *param, float *moment_1, float *moment_2,
                   const float *grad, int64_t n, const struct pawl_update *rule,
                   float *copy_param, float *copy_1, float *copy_2, pawl_value *rounded_or_null);
};

#endif
