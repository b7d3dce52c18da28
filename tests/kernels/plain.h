// plain.h - each operation once more, as its definition says it: one loop per index, in double.
//
// Names and arguments as in kernels/ops.h, except: results are doubles; what a result is added to
// comes as an argument of its own (added, NULL for none).

#ifndef PAWL_TESTS_PLAIN_H
#define PAWL_TESTS_PLAIN_H

#include "kernels/ops.h"

// plain_activation.c
double plain_activate(double x, enum pawl_activation activation);
// The derivative at x, the activation's input.
double plain_slope(double x, enum pawl_activation activation);
// What backward is given for x: see pawl_activation_saves_input.
double plain_saved(double x, enum pawl_activation activation);

// plain_linear.c: element (i, j) of each product.
double plain_linear(const float *x, const float *weight, int64_t n, int64_t k, int64_t i,
                    int64_t j);
double plain_linear_back_x(const float *out_grad, const float *weight, int64_t n, int64_t k,
                           int64_t i, int64_t j);
double plain_linear_back_weight(const float *out_grad, const float *x, int64_t m, int64_t n,
                                int64_t k, int64_t i, int64_t j);

// plain_conv2d.c: one element of each; place is (image, y, x) of out or of x, kernel (out_c, y, x,
// channel of the group).
double plain_conv2d(const float *x, const float *weight, const struct pawl_window *window,
                    const int64_t place[3], int64_t out_c);
double plain_conv2d_back_x(const float *out_grad, const float *weight,
                           const struct pawl_window *window, const int64_t place[3], int64_t in_c);
double plain_conv2d_back_weight(const float *out_grad, const float *x,
                                const struct pawl_window *window, const int64_t kernel[4]);

// What follows reads and writes doubles, so that a difference quotient can be taken of it.

// plain_norm.c
void plain_layer_norm(double *out, double *mean, double *rstd, const double *x,
                      const double *weight, const double *bias, int64_t rows, int64_t cols,
                      double epsilon);
void plain_layer_norm_back(double *x_grad, double *weight_grad, double *bias_grad,
                           const double *out_grad, const double *x, const double *weight,
                           int64_t rows, int64_t cols, double epsilon);
// Batch norm is that of one sample with as many groups as columns.
void plain_group_norm(double *out, double *mean, double *rstd, const double *x,
                      const double *weight, const double *bias, const struct pawl_group_norm *n);
void plain_group_norm_back(double *x_grad, double *sums, const double *grad, const double *x,
                           const double *weight, const struct pawl_group_norm *n);

// plain_attention.c
void plain_attention(double *out, double *lse, const double *qkv,
                     const struct pawl_attention *shape);
void plain_attention_back(double *qkv_grad, const double *out_grad, const double *qkv,
                          const struct pawl_attention *shape);

// plain_map.c
void plain_softmax(double *out, const double *x, int64_t rows, int64_t cols);
bool plain_dropout_keeps(int64_t i, float rate, uint64_t seed, uint64_t step, uint32_t layer);
void plain_embed(double *out, const int32_t *token, const double *table, const double *position,
                 int64_t rows, int64_t cols, int64_t span);
void plain_embed_back(double *table_grad, double *position_grad, const double *out_grad,
                      const int32_t *token, int64_t rows, int64_t cols, int64_t vocab,
                      int64_t span);

// plain_pool.c
void plain_max_pool2d(double *out, int32_t *index, const double *x, const struct pawl_window *w);
void plain_avg_pool2d(double *out, const double *x, const struct pawl_window *w);
void plain_max_pool2d_back(double *x_grad, const double *out_grad, const int32_t *index,
                           const struct pawl_window *w);
void plain_avg_pool2d_back(double *x_grad, const double *out_grad, const struct pawl_window *w);

// plain_loss.c: one row; returns its loss, grad gets the gradient of scale * loss.
double plain_cross_entropy(double *grad, const double *logits, int32_t target, int64_t classes,
                           double scale);
bool plain_hit(const float *logits, int32_t target, int64_t classes);
double plain_mean_square(double *grad, const double *out, const double *target, int64_t cols,
                         double scale);
double plain_binary_cross_entropy(double *grad, const double *logits, const double *target,
                                  int64_t cols, double scale);

// plain_update.c: one parameter.
void plain_update(double *param, double *moment_1, double *moment_2, double grad,
                  const struct pawl_update *rule);

#endif
