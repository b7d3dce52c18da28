// group_norm.c - channels of one sample normalised in groups (Wu and He, 2018), and slopes that are
// learnt per channel (PReLU). A block is a sample; its sums go down the columns in double.

#include <math.h>

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

struct group_norm {
    value *out;
    float *mean, *rstd;
    const value *x, *weight, *bias, *grad;
    float *sums;  // (batch, 2, cols): of grad, and of grad * xhat
    struct pawl_group_norm n;
    bool add;
};

static void norm_sample(void *arguments, int64_t sample, int thread)
{
    const struct group_norm *a = arguments;
    const int64_t cols = a->n.cols, width = cols / a->n.groups, rows = a->n.rows;
    const value *x = a->x + sample * rows * cols;
    value *out = a->out + sample * rows * cols;

    (void)thread;
    for (int64_t g = 0; g < a->n.groups; g++) {
        const int64_t first = g * width, count = rows * width;
        double sum = 0, squares = 0;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = first; c < first + width; c++)
                sum += (double)get(x[r * cols + c]);
        const float mean = (float)(sum / (double)count);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = first; c < first + width; c++) {
                const float d = get(x[r * cols + c]) - mean;
                squares += (double)(d * d);
            }
        const float rstd = (float)(1 / sqrt(squares / (double)count + (double)a->n.epsilon));
        a->mean[sample * a->n.groups + g] = mean;
        a->rstd[sample * a->n.groups + g] = rstd;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = first; c < first + width; c++)
                out[r * cols + c] = put((get(x[r * cols + c]) - mean) * rstd
                                            * (a->weight ? get(a->weight[c]) : 1)
                                        + (a->bias ? get(a->bias[c]) : 0));
    }
}

void HOST(group_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd,
                      const pawl_value *x, const pawl_value *weight_or_null,
                      const pawl_value *bias_or_null, const struct pawl_group_norm *norm)
{
    struct group_norm a = { .out = out, .mean = mean, .rstd = rstd, .x = x,
                            .weight = weight_or_null, .bias = bias_or_null, .n = *norm };

    host_run(s, norm->batch, norm_sample, &a);
}

static void back_sample(void *arguments, int64_t sample, int thread)
{
    const struct group_norm *a = arguments;
    const int64_t cols = a->n.cols, width = cols / a->n.groups, rows = a->n.rows;
    const value *x = a->x + sample * rows * cols, *grad = a->grad + sample * rows * cols;
    value *out = a->out + sample * rows * cols;
    float *sums = a->sums + sample * 2 * cols;

    (void)thread;
    for (int64_t g = 0; g < a->n.groups; g++) {
        const float mean = a->mean[sample * a->n.groups + g];
        const float rstd = a->rstd[sample * a->n.groups + g];
        double all = 0, all_hat = 0;
        for (int64_t c = g * width; c < (g + 1) * width; c++) {
            const double weight = a->weight ? (double)get(a->weight[c]) : 1;
            double sum = 0, sum_hat = 0;
            for (int64_t r = 0; r < rows; r++) {
                const float d = get(grad[r * cols + c]);
                sum += (double)d;
                sum_hat += (double)(d * ((get(x[r * cols + c]) - mean) * rstd));
            }
            sums[c] = (float)sum;
            sums[cols + c] = (float)sum_hat;
            all += weight * sum;
            all_hat += weight * sum_hat;
        }
        const float m = (float)(all / (double)(rows * width));
        const float m_hat = (float)(all_hat / (double)(rows * width));
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = g * width; c < (g + 1) * width; c++) {
                const int64_t i = r * cols + c;
                const float hat = (get(x[i]) - mean) * rstd;
                const float weight = a->weight ? get(a->weight[c]) : 1;
                const float d = (get(grad[i]) * weight - m - hat * m_hat) * rstd;
                out[i] = put(a->add ? get(out[i]) + d : d);
            }
    }
}

void HOST(group_norm_back)(struct pawl_stream *s, pawl_value *x_grad, float *sums,
                           const pawl_value *out_grad, const pawl_value *x, const float *mean,
                           const float *rstd, const pawl_value *weight_or_null,
                           const struct pawl_group_norm *norm, bool add_x)
{
    struct group_norm a = { .out = x_grad, .x = x, .grad = out_grad, .weight = weight_or_null,
                            .sums = sums, .n = *norm, .add = add_x };

    a.mean = (float *)(uintptr_t)mean;  // read only, here
    a.rstd = (float *)(uintptr_t)rstd;
    host_run(s, norm->batch, back_sample, &a);
}

struct prelu {
    value *out, *part;
    const value *x, *slope, *grad;
    int64_t rows, cols, block_rows;
    bool shared, add;
};

// Forward; or, with a gradient: x's, and what each element adds to its slope's.
static void prelu_rows(void *arguments, int64_t block, int thread)
{
    const struct prelu *a = arguments;
    const int64_t start = block * a->block_rows;
    const int64_t end = start + host_piece(a->rows, a->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++)
        for (int64_t c = 0; c < a->cols; c++) {
            const int64_t i = r * a->cols + c;
            const float slope = get(a->slope[a->shared ? 0 : c]), x = get(a->x[i]);
            if (!a->grad) {
                a->out[i] = put(x < 0 ? slope * x : x);
                continue;
            }
            const float grad = get(a->grad[i]), d = x < 0 ? slope * grad : grad;
            a->part[i] = put(x < 0 ? x * grad : 0);
            a->out[i] = put(a->add ? get(a->out[i]) + d : d);
        }
}

void HOST(prelu)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                 const pawl_value *slope, int64_t rows, int64_t cols, bool shared)
{
    struct prelu a = { .out = out, .x = x, .slope = slope, .rows = rows, .cols = cols,
                       .block_rows = host_rows(cols), .shared = shared };

    host_run(s, host_pieces(rows, a.block_rows), prelu_rows, &a);
}

void HOST(prelu_back)(struct pawl_stream *s, pawl_value *x_grad, pawl_value *part,
                      const pawl_value *out_grad, const pawl_value *x, const pawl_value *slope,
                      int64_t rows, int64_t cols, bool shared, bool add_x)
{
    struct prelu a = { .out = x_grad, .part = part, .x = x, .slope = slope, .grad = out_grad,
                       .rows = rows, .cols = cols, .block_rows = host_rows(cols),
                       .shared = shared, .add = add_x };

    host_run(s, host_pieces(rows, a.block_rows), prelu_rows, &a);
}
