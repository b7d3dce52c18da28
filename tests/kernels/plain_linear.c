// plain_linear.c - the sums of a fully connected layer.

#include "tests/kernels/plain.h"

double plain_linear(const float *x, const float *weight, int64_t n, int64_t k, int64_t i, int64_t j)
{
    double sum = 0;

    (void)n;
    for (int64_t p = 0; p < k; p++)
        sum += (double)x[i * k + p] * (double)weight[j * k + p];
    return sum;
}

double plain_linear_back_x(const float *out_grad, const float *weight, int64_t n, int64_t k,
                           int64_t i, int64_t j)
{
    double sum = 0;

    for (int64_t p = 0; p < n; p++)
        sum += (double)out_grad[i * n + p] * (double)weight[p * k + j];
    return sum;
}

double plain_linear_back_weight(const float *out_grad, const float *x, int64_t m, int64_t n,
                                int64_t k, int64_t i, int64_t j)
{
    double sum = 0;

    for (int64_t p = 0; p < m; p++)
        sum += (double)out_grad[p * n + i] * (double)x[p * k + j];
    return sum;
}
