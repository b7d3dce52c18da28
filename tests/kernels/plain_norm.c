// plain_norm.c - layer norm and its gradients.

#include <math.h>

#include "tests/kernels/plain.h"

static double mean_of(const double *x, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

static double variance_of(const double *x, int64_t n)
{
    const double mean = mean_of(x, n);
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum / (double)n;
}

void plain_layer_norm(double *out, double *mean, double *rstd, const double *x,
                      const double *weight, const double *bias, int64_t rows, int64_t cols,
                      double epsilon)
{
    for (int64_t r = 0; r < rows; r++) {
        mean[r] = mean_of(x + r * cols, cols);
        rstd[r] = 1 / sqrt(variance_of(x + r * cols, cols) + epsilon);
        for (int64_t i = 0; i < cols; i++)
            out[r * cols + i] = (x[r * cols + i] - mean[r]) * rstd[r] * weight[i] + bias[i];
    }
}

// By the chain rule through mean and variance, each written out.
void plain_layer_norm_back(double *x_grad, double *weight_grad, double *bias_grad,
                           const double *out_grad, const double *x, const double *weight,
                           int64_t rows, int64_t cols, double epsilon)
{
    for (int64_t i = 0; i < cols; i++)
        weight_grad[i] = bias_grad[i] = 0;
    for (int64_t r = 0; r < rows; r++) {
        const double *in = x + r * cols, *grad = out_grad + r * cols;
        const double mean = mean_of(in, cols), variance = variance_of(in, cols) + epsilon;
        const double rstd = 1 / sqrt(variance);
        double mean_grad = 0, variance_grad = 0;
        for (int64_t i = 0; i < cols; i++) {
            weight_grad[i] += grad[i] * (in[i] - mean) * rstd;
            bias_grad[i] += grad[i];
            variance_grad += grad[i] * weight[i] * (in[i] - mean) * -0.5 * pow(variance, -1.5);
            mean_grad -= grad[i] * weight[i] * rstd;
        }
        for (int64_t i = 0; i < cols; i++)
            x_grad[r * cols + i] = grad[i] * weight[i] * rstd
                                   + variance_grad * 2 * (in[i] - mean) / (double)cols
                                   + mean_grad / (double)cols;
    }
}
