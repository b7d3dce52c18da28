// ops.h - the host's operations for one instruction set: a prototype per member of pawl_ops.

#ifndef PAWL_HOST_OPS_H
#define PAWL_HOST_OPS_H

#include "kernels/host/host.h"

void HOST(linear)(struct pawl_stream *s, pawl_value *out, pawl_value *pre_or_null, const pawl_value
    *x, const pawl_value *weight, const pawl_value *bias_or_null, const pawl_value
    *residual_or_null, int64_t m, int64_t n, int64_t k, enum pawl_activation activation);
void HOST(linear_back_x)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
    const pawl_value *weight, const pawl_value *saved_or_null, int64_t m, int64_t n, int64_t k,
    enum pawl_activation activation, bool add);
void HOST(linear_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad_or_null,
    const pawl_value *out_grad, const pawl_value *x, int64_t m, int64_t n, int64_t k, bool add);
void HOST(conv2d)(struct pawl_stream *s, pawl_value *out, pawl_value *pre_or_null, const pawl_value
    *x, const pawl_value *weight, const pawl_value *bias_or_null, const struct pawl_window *window,
    enum pawl_activation activation);
void HOST(conv2d_back_x)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
    const pawl_value *weight, const pawl_value *saved_or_null, const struct pawl_window *window,
    enum pawl_activation activation, bool add);
void HOST(conv2d_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad_or_null,
    const pawl_value *out_grad, const pawl_value *x, const struct pawl_window *window, bool add);
void HOST(max_pool2d)(struct pawl_stream *s, pawl_value *out, int32_t *index, const pawl_value *x,
    const struct pawl_window *window);
void HOST(max_pool2d_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
    const int32_t *index, const struct pawl_window *window, bool add);
void HOST(avg_pool2d)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, const struct
    pawl_window *window);
void HOST(avg_pool2d_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
    const struct pawl_window *window, bool add);
void HOST(embed)(struct pawl_stream *s, pawl_value *out, const int32_t *token, const pawl_value
    *table, const pawl_value *position_or_null, int64_t rows, int64_t cols, int64_t vocab, int64_t
    span);
void HOST(embed_back)(struct pawl_stream *s, float *table_grad, float *position_grad_or_null, const
    pawl_value *out_grad, const int32_t *token, int64_t rows, int64_t cols, int64_t vocab, int64_t
    span, bool add_table, bool add_position);
void HOST(layer_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd, const
    pawl_value *x, const pawl_value *weight, const pawl_value *bias, int64_t rows, int64_t cols,
    float epsilon);
void HOST(layer_norm_back)(struct pawl_stream *s, pawl_value *x_grad, float *weight_grad, float
    *bias_grad, const pawl_value *out_grad, const pawl_value *x, const float *mean, const float
    *rstd, const pawl_value *weight, int64_t rows, int64_t cols, bool add_x, bool add);
void HOST(attention)(struct pawl_stream *s, pawl_value *out, float *lse, const pawl_value *qkv,
    const struct pawl_attention *shape);
void HOST(attention_back)(struct pawl_stream *s, pawl_value *qkv_grad, const pawl_value *out_grad,
    const pawl_value *qkv, const pawl_value *out, const float *lse, const struct pawl_attention
    *shape);
void HOST(activate)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n, enum
    pawl_activation activation, float alpha);
void HOST(activate_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
    const pawl_value *saved, int64_t n, enum pawl_activation activation, float alpha);
void HOST(add)(struct pawl_stream *s, pawl_value *out, const pawl_value *a, const pawl_value *b,
    int64_t n);
void HOST(dropout)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n, float
    rate, uint64_t seed, uint64_t step, uint32_t layer);
void HOST(softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
    int64_t cols);
void HOST(cross_entropy)(struct pawl_stream *s, float *loss, float *hit_or_null, pawl_value
    *logits, const int32_t *target, int64_t rows, int64_t classes, float scale);
void HOST(mean_square)(struct pawl_stream *s, float *loss, pawl_value *out, const float *target,
    int64_t rows, int64_t cols, float scale);
void HOST(binary_cross_entropy)(struct pawl_stream *s, float *loss, pawl_value *logits, const float
    *target, int64_t rows, int64_t cols, float scale);
void HOST(batch_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd, const
    pawl_value *x, const pawl_value *weight_or_null, const pawl_value *bias_or_null, const struct
    pawl_batch_norm *norm);
void HOST(batch_norm_back)(struct pawl_stream *s, pawl_value *x_grad_or_null, float
    *weight_grad_or_null, float *bias_grad_or_null, const pawl_value *out_grad, const pawl_value
    *x, const float *mean, const float *rstd, const pawl_value *weight_or_null, int64_t rows,
    int64_t cols, bool add_x, bool add);
void HOST(rope)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, const struct pawl_rope
    *rope);
void HOST(log_softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
    int64_t cols);
void HOST(softmax_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
    const pawl_value *out, int64_t rows, int64_t cols, bool log);
void HOST(move)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, const struct pawl_move
    *move, bool add);
void HOST(fill)(struct pawl_stream *s, pawl_value *out, int64_t n, float value);
void HOST(multiply)(struct pawl_stream *s, pawl_value *out, const pawl_value *a, const pawl_value
    *b, int64_t n, bool add);
void HOST(scale)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n, float
    factor, bool add);
void HOST(maximum)(struct pawl_stream *s, pawl_value *out, const pawl_value *a, const pawl_value
    *b, int64_t n);
void HOST(maximum_back)(struct pawl_stream *s, pawl_value *x_grad, pawl_value *out_grad, const
    pawl_value *x, const pawl_value *out, int64_t n, bool add);
void HOST(bias)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, const pawl_value
    *bias, int64_t rows, int64_t cols);
void HOST(column_sum)(struct pawl_stream *s, float *out, const pawl_value *x, int64_t rows, int64_t
    cols, bool add);
void HOST(group_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd, const
    pawl_value *x, const pawl_value *weight_or_null, const pawl_value *bias_or_null, const struct
    pawl_group_norm *norm);
void HOST(group_norm_back)(struct pawl_stream *s, pawl_value *x_grad, float *sums, const pawl_value
    *out_grad, const pawl_value *x, const float *mean, const float *rstd, const pawl_value
    *weight_or_null, const struct pawl_group_norm *norm, bool add_x);
void HOST(cell)(struct pawl_stream *s, const struct pawl_cell *cell);
void HOST(prelu)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, const pawl_value
    *slope, int64_t rows, int64_t cols, bool shared);
void HOST(prelu_back)(struct pawl_stream *s, pawl_value *x_grad, pawl_value *part, const pawl_value
    *out_grad, const pawl_value *x, const pawl_value *slope, int64_t rows, int64_t cols, bool
    shared, bool add_x);
void HOST(digest)(struct pawl_stream *s, uint64_t *out, const void *x, int64_t bytes);
void HOST(sum)(struct pawl_stream *s, float *out, const float *x, int64_t n);
void HOST(norm)(struct pawl_stream *s, float *norm, const float *x, int64_t n, float scale);
void HOST(update)(struct pawl_stream *s, float *param, float *moment_1, float *moment_2, const
    float *grad, int64_t n, const struct pawl_update *rule, float *copy_param, float *copy_1, float
    *copy_2, pawl_value *rounded_or_null);
void HOST(narrow)(struct pawl_stream *s, pawl_value *out, const float *x, int64_t n);
void HOST(widen)(struct pawl_stream *s, float *out, const pawl_value *x, int64_t n);

#endif
