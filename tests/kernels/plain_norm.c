// plain_norm.c - layer norm, group norm, and their gradients.

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

// One group of one sample: its elements are rows apart by cols, width of each row.
struct group {
    int64_t first, rows, cols, width;
};

static double group_mean(const struct group *g, const double *x)
{
    double sum = 0;

    for (int64_t r = 0; r < g->rows; r++)
        for (int64_t c = 0; c < g->width; c++)
            sum += x[g->first + r * g->cols + c];
    return sum / (double)(g->rows * g->width);
}

static double group_variance(const struct group *g, const double *x)
{
    const double mean = group_mean(g, x);
    double sum = 0;

    for (int64_t r = 0; r < g->rows; r++)
        for (int64_t c = 0; c < g->width; c++) {
            const double d = x[g->first + r * g->cols + c] - mean;
            sum += d * d;
        }
    return sum / (double)(g->rows * g->width);
}

static struct group group_of(const struct pawl_group_norm *n, int64_t i)
{
    const int64_t width = n->cols / n->groups;

    return (struct group){ i / n->groups * n->rows * n->cols + i % n->groups * width, n->rows,
                           n->cols, width };
}

void plain_group_norm(double *out, double *mean, double *rstd, const double *x,
                      const double *weight, const double *bias, const struct pawl_group_norm *n)
{
    for (int64_t i = 0; i < n->batch * n->groups; i++) {
        const struct group g = group_of(n, i);
        mean[i] = group_mean(&g, x);
        rstd[i] = 1 / sqrt(group_variance(&g, x) + (double)n->epsilon);
        for (int64_t r = 0; r < g.rows; r++)
            for (int64_t c = 0; c < g.width; c++) {
                const int64_t at = g.first + r * g.cols + c, column = at % n->cols;
                out[at] = (x[at] - mean[i]) * rstd[i] * weight[column] + bias[column];
            }
    }
}

// By the chain rule through mean and variance, each written out.
void plain_group_norm_back(double *x_grad, double *sums, const double *grad, const double *x,
                           const double *weight, const struct pawl_group_norm *n)
{
    for (int64_t i = 0; i < n->batch * 2 * n->cols; i++)
        sums[i] = 0;
    for (int64_t i = 0; i < n->batch * n->groups; i++) {
        const struct group g = group_of(n, i);
        const double mean = group_mean(&g, x), count = (double)(g.rows * g.width);
        const double variance = group_variance(&g, x) + (double)n->epsilon;
        double mean_grad = 0, variance_grad = 0;
        for (int64_t j = 0; j < g.rows * g.width; j++) {
            const int64_t at = g.first + j / g.width * g.cols + j % g.width;
            const int64_t column = at % n->cols, sample = i / n->groups;
            sums[sample * 2 * n->cols + column] += grad[at];
            sums[(sample * 2 + 1) * n->cols + column] += grad[at] * (x[at] - mean)
                                                         / sqrt(variance);
            variance_grad += grad[at] * weight[column] * (x[at] - mean) * -0.5
                             * pow(variance, -1.5);
            mean_grad -= grad[at] * weight[column] / sqrt(variance);
        }
        for (int64_t j = 0; j < g.rows * g.width; j++) {
            const int64_t at = g.first + j / g.width * g.cols + j % g.width;
            x_grad[at] = grad[at] * weight[at % n->cols] / sqrt(variance)
                         + variance_grad * 2 * (x[at] - mean) / count + mean_grad / count;
        }
    }
}
