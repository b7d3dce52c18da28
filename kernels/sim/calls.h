// calls.h - the signatures of ops.h as lists, so that ops.c can put any call into a queue.
//
// Each list names an operation's arguments after the stream, in order:
//
//     D(type, name)  a pointer to what kernels work on
//     V(type, name)  a value
//     S(type, name)  a pointer to a struct of the caller's, copied when the call is queued
//
// A new operation is one list and its place in SIM_OPERATIONS; the compiler compares it with ops.h,
// and tests/kernels/tsan/streams.c the table with the host's. (update, batch_norm and cell stand
// apart: their structs hold addresses, ops.c.)

#ifndef PAWL_SIM_CALLS_H
#define PAWL_SIM_CALLS_H

#include "kernels/ops.h"  // the types that the lists name

#define LINEAR(D, V, S) \
    D(pawl_value *, out) D(pawl_value *, pre) D(const pawl_value *, x) \
    D(const pawl_value *, weight) D(const pawl_value *, bias) D(const pawl_value *, residual) \
    V(int64_t, m) V(int64_t, n) V(int64_t, k) V(enum pawl_activation, activation)
#define LINEAR_BACK_X(D, V, S) \
    D(pawl_value *, x_grad) D(const pawl_value *, out_grad) D(const pawl_value *, weight) \
    D(const pawl_value *, saved) V(int64_t, m) V(int64_t, n) V(int64_t, k) \
    V(enum pawl_activation, activation) V(bool, add)
#define LINEAR_BACK_WEIGHT(D, V, S) \
    D(float *, weight_grad) D(float *, bias_grad) D(const pawl_value *, out_grad) \
    D(const pawl_value *, x) V(int64_t, m) V(int64_t, n) V(int64_t, k) V(bool, add)
#define CONV2D(D, V, S) \
    D(pawl_value *, out) D(pawl_value *, pre) D(const pawl_value *, x) \
    D(const pawl_value *, weight) D(const pawl_value *, bias) S(struct pawl_window, window) \
    V(enum pawl_activation, activation)
#define CONV2D_BACK_X(D, V, S) \
    D(pawl_value *, x_grad) D(const pawl_value *, out_grad) D(const pawl_value *, weight) \
    D(const pawl_value *, saved) S(struct pawl_window, window) \
    V(enum pawl_activation, activation) V(bool, add)
#define CONV2D_BACK_WEIGHT(D, V, S) \
    D(float *, weight_grad) D(float *, bias_grad) D(const pawl_value *, out_grad) \
    D(const pawl_value *, x) S(struct pawl_window, window) V(bool, add)
#define MAX_POOL2D(D, V, S) \
    D(pawl_value *, out) D(int32_t *, index) D(const pawl_value *, x) \
    S(struct pawl_window, window)
#define MAX_POOL2D_BACK(D, V, S) \
    D(pawl_value *, x_grad) D(const pawl_value *, out_grad) D(const int32_t *, index) \
    S(struct pawl_window, window) V(bool, add)
#define AVG_POOL2D(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) S(struct pawl_window, window)
#define AVG_POOL2D_BACK(D, V, S) \
    D(pawl_value *, x_grad) D(const pawl_value *, out_grad) S(struct pawl_window, window) \
    V(bool, add)
#define EMBED(D, V, S) \
    D(pawl_value *, out) D(const int32_t *, token) D(const pawl_value *, table) \
    D(const pawl_value *, position) V(int64_t, rows) V(int64_t, cols) V(int64_t, vocab) \
    V(int64_t, span)
#define EMBED_BACK(D, V, S) \
    D(float *, table_grad) D(float *, position_grad) D(const pawl_value *, out_grad) \
    D(const int32_t *, token) V(int64_t, rows) V(int64_t, cols) V(int64_t, vocab) \
    V(int64_t, span) V(bool, add_table) V(bool, add_position)
#define LAYER_NORM(D, V, S) \
    D(pawl_value *, out) D(float *, mean) D(float *, rstd) D(const pawl_value *, x) \
    D(const pawl_value *, weight) D(const pawl_value *, bias) V(int64_t, rows) V(int64_t, cols) \
    V(float, epsilon)
#define LAYER_NORM_BACK(D, V, S) \
    D(pawl_value *, x_grad) D(float *, weight_grad) D(float *, bias_grad) \
    D(const pawl_value *, out_grad) D(const pawl_value *, x) D(const float *, mean) \
    D(const float *, rstd) D(const pawl_value *, weight) V(int64_t, rows) V(int64_t, cols) \
    V(bool, add_x) V(bool, add)
#define BATCH_NORM(D, V, S) \
    D(pawl_value *, out) D(float *, mean) D(float *, rstd) D(const pawl_value *, x) \
    D(const pawl_value *, weight) D(const pawl_value *, bias) S(struct pawl_batch_norm, norm)
#define BATCH_NORM_BACK(D, V, S) \
    D(pawl_value *, x_grad) D(float *, weight_grad) D(float *, bias_grad) \
    D(const pawl_value *, out_grad) D(const pawl_value *, x) D(const float *, mean) \
    D(const float *, rstd) D(const pawl_value *, weight) V(int64_t, rows) V(int64_t, cols) \
    V(bool, add_x) V(bool, add)
#define GROUP_NORM(D, V, S) \
    D(pawl_value *, out) D(float *, mean) D(float *, rstd) D(const pawl_value *, x) \
    D(const pawl_value *, weight) D(const pawl_value *, bias) S(struct pawl_group_norm, norm)
#define GROUP_NORM_BACK(D, V, S) \
    D(pawl_value *, x_grad) D(float *, sums) D(const pawl_value *, out_grad) \
    D(const pawl_value *, x) D(const float *, mean) D(const float *, rstd) \
    D(const pawl_value *, weight) S(struct pawl_group_norm, norm) V(bool, add_x)
#define CELL(D, V, S) \
    S(struct pawl_cell, cell)
#define PRELU(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) D(const pawl_value *, slope) V(int64_t, rows) \
    V(int64_t, cols) V(bool, shared)
#define PRELU_BACK(D, V, S) \
    D(pawl_value *, x_grad) D(pawl_value *, part) D(const pawl_value *, out_grad) \
    D(const pawl_value *, x) D(const pawl_value *, slope) V(int64_t, rows) V(int64_t, cols) \
    V(bool, shared) V(bool, add_x)
#define ROPE(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) S(struct pawl_rope, rope)
#define ATTENTION(D, V, S) \
    D(pawl_value *, out) D(float *, lse) D(const pawl_value *, qkv) \
    S(struct pawl_attention, shape)
#define ATTENTION_BACK(D, V, S) \
    D(pawl_value *, qkv_grad) D(const pawl_value *, out_grad) D(const pawl_value *, qkv) \
    D(const pawl_value *, out) D(const float *, lse) S(struct pawl_attention, shape)
#define ACTIVATE(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) V(int64_t, n) \
    V(enum pawl_activation, activation) V(float, alpha)
#define ACTIVATE_BACK(D, V, S) \
    D(pawl_value *, x_grad) D(const pawl_value *, out_grad) D(const pawl_value *, saved) \
    V(int64_t, n) V(enum pawl_activation, activation) V(float, alpha)
#define ADD(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, a) D(const pawl_value *, b) V(int64_t, n)
#define DROPOUT(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) V(int64_t, n) V(float, rate) V(uint64_t, seed) \
    V(uint64_t, step) V(uint32_t, layer)
#define SOFTMAX(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) V(int64_t, rows) V(int64_t, cols)
#define LOG_SOFTMAX(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) V(int64_t, rows) V(int64_t, cols)
#define SOFTMAX_BACK(D, V, S) \
    D(pawl_value *, x_grad) D(const pawl_value *, out_grad) D(const pawl_value *, out) \
    V(int64_t, rows) V(int64_t, cols) V(bool, log)
#define MOVE(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) S(struct pawl_move, move) V(bool, add)
#define FILL(D, V, S) \
    D(pawl_value *, out) V(int64_t, n) V(float, value)
#define MULTIPLY(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, a) D(const pawl_value *, b) V(int64_t, n) \
    V(bool, add)
#define SCALE(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) V(int64_t, n) V(float, factor) V(bool, add)
#define MAXIMUM(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, a) D(const pawl_value *, b) V(int64_t, n)
#define MAXIMUM_BACK(D, V, S) \
    D(pawl_value *, x_grad) D(pawl_value *, out_grad) D(const pawl_value *, x) \
    D(const pawl_value *, out) V(int64_t, n) V(bool, add)
#define BIAS(D, V, S) \
    D(pawl_value *, out) D(const pawl_value *, x) D(const pawl_value *, bias) V(int64_t, rows) \
    V(int64_t, cols)
#define COLUMN_SUM(D, V, S) \
    D(float *, out) D(const pawl_value *, x) V(int64_t, rows) V(int64_t, cols) V(bool, add)
#define CROSS_ENTROPY(D, V, S) \
    D(float *, loss) D(float *, hit) D(pawl_value *, logits) D(const int32_t *, target) \
    V(int64_t, rows) V(int64_t, classes) V(float, scale)
#define MEAN_SQUARE(D, V, S) \
    D(float *, loss) D(pawl_value *, out) D(const float *, target) V(int64_t, rows) \
    V(int64_t, cols) V(float, scale)
#define BINARY_CROSS_ENTROPY(D, V, S) \
    D(float *, loss) D(pawl_value *, logits) D(const float *, target) V(int64_t, rows) \
    V(int64_t, cols) V(float, scale)
#define SUM(D, V, S) \
    D(float *, out) D(const float *, x) V(int64_t, n)
#define DIGEST(D, V, S) \
    D(uint64_t *, out) D(const void *, x) V(int64_t, bytes)
#define NORM(D, V, S) \
    D(float *, norm) D(const float *, x) V(int64_t, n) V(float, scale)
#define UPDATE(D, V, S) \
    D(float *, param) D(float *, moment_1) D(float *, moment_2) D(const float *, grad) \
    V(int64_t, n) S(struct pawl_update, rule) D(float *, copy_param) D(float *, copy_1) \
    D(float *, copy_2) D(pawl_value *, rounded)
#define NARROW(D, V, S) \
    D(pawl_value *, out) D(const float *, x) V(int64_t, n)
#define WIDEN(D, V, S) \
    D(float *, out) D(const pawl_value *, x) V(int64_t, n)

#define SIM_OPERATIONS(X) \
    X(linear, LINEAR) X(linear_back_x, LINEAR_BACK_X) \
    X(linear_back_weight, LINEAR_BACK_WEIGHT) X(conv2d, CONV2D) \
    X(conv2d_back_x, CONV2D_BACK_X) X(conv2d_back_weight, CONV2D_BACK_WEIGHT) \
    X(max_pool2d, MAX_POOL2D) X(max_pool2d_back, MAX_POOL2D_BACK) X(avg_pool2d, AVG_POOL2D) \
    X(avg_pool2d_back, AVG_POOL2D_BACK) X(embed, EMBED) X(embed_back, EMBED_BACK) \
    X(layer_norm, LAYER_NORM) X(layer_norm_back, LAYER_NORM_BACK) \
    X(batch_norm_back, BATCH_NORM_BACK) X(group_norm, GROUP_NORM) \
    X(group_norm_back, GROUP_NORM_BACK) X(prelu, PRELU) \
    X(prelu_back, PRELU_BACK) X(rope, ROPE) X(attention, ATTENTION) \
    X(attention_back, ATTENTION_BACK) X(activate, ACTIVATE) X(activate_back, ACTIVATE_BACK) \
    X(add, ADD) X(dropout, DROPOUT) X(softmax, SOFTMAX) X(log_softmax, LOG_SOFTMAX) \
    X(softmax_back, SOFTMAX_BACK) X(move, MOVE) X(fill, FILL) X(multiply, MULTIPLY) \
    X(scale, SCALE) X(maximum, MAXIMUM) X(maximum_back, MAXIMUM_BACK) X(bias, BIAS) \
    X(column_sum, COLUMN_SUM) X(cross_entropy, CROSS_ENTROPY) X(mean_square, MEAN_SQUARE) \
    X(binary_cross_entropy, BINARY_CROSS_ENTROPY) X(sum, SUM) X(digest, DIGEST) \
    X(norm, NORM) X(narrow, NARROW) X(widen, WIDEN)

#endif
