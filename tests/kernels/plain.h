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

#endif
