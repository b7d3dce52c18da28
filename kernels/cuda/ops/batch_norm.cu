// batch_norm.cu - columns normalised over the batch (Ioffe and Szegedy, 2015), and their gradients:
// one look for the statistics, one to apply them (columns.h).

#include "kernels/cuda/columns.h"

// A thread per column: what the batch, or the running statistics, say; and the next running ones.
static __global__ void measure(float *mean, float *rstd, const float *total,
                               const struct pawl_batch_norm norm, int64_t first, int64_t n)
{
    const float rows = (float)norm.rows, part = norm.momentum;

    EACH(i, n) {
        const int64_t column = first + i;
        const float variance = total[n + i] / rows;
        const float kept = norm.unbiased && norm.rows > 1 ? total[n + i] / (rows - 1) : variance;
        mean[column] = total[i];
        rstd[column] = 1.0f / sqrtf(variance + norm.epsilon);
        if (!norm.next_mean) continue;
        norm.next_mean[column] = (1 - part) * norm.running_mean[column] + part * total[i];
        norm.next_var[column] = (1 - part) * norm.running_var[column] + part * kept;
    }
}

static __global__ void take_running(float *rstd, const float *variance, float epsilon, int64_t n)
{
    EACH(i, n) rstd[i] = 1.0f / sqrtf(variance[i] + epsilon);
}

static struct columns columns_of(const pawl_value *x, const pawl_value *weight, int64_t rows,
                                 int64_t cols, int64_t first)
{
    struct columns c = {};

    c.x = (const value *)x;
    c.weight = (const value *)weight;
    c.batch = c.width = 1;
    c.rows = rows;
    c.cols = cols;
    c.first = first;
    c.n = columns_some(cols, COLUMNS_MOST, first);
    return c;
}

void CUDA(batch_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd,
                      const pawl_value *x, const pawl_value *weight_or_null,
                      const pawl_value *bias_or_null, const struct pawl_batch_norm *norm)
{
    for (int64_t first = 0; first < norm->cols; first += COLUMNS_MOST) {
        struct columns c = columns_of(x, weight_or_null, norm->rows, norm->cols, first);
        c.bias = (const value *)bias_or_null;
        if (norm->training) {
            CUDA(columns)(s, &c, COLUMNS_SPREAD, NULL);
            LAUNCH(measure, blocks_for(c.n, 128), 128, 0, s, mean, rstd, columns_total(s), *norm,
                   first, c.n);
            c.mean = mean;
            c.rstd = rstd;
        } else {
            LAUNCH(take_running, blocks_for(c.n, 128), 128, 0, s, columns_total(s),
                   norm->running_var + first, norm->epsilon, c.n);
            c.mean = norm->running_mean;
            c.rstd = columns_total(s) - first;  // as if all columns' lay there
        }
        CUDA(columns_apply)(s, (value *)out, &c);
    }
}

void CUDA(batch_norm_back)(struct pawl_stream *s, pawl_value *x_grad_or_null,
                           float *weight_grad_or_null, float *bias_grad_or_null,
                           const pawl_value *out_grad, const pawl_value *x, const float *mean,
                           const float *rstd, const pawl_value *weight_or_null, int64_t rows,
                           int64_t cols, bool add_x, bool add)
{
    for (int64_t first = 0; first < cols; first += COLUMNS_MOST) {
        struct columns c = columns_of(x, weight_or_null, rows, cols, first);
        const struct columns_ends ends = {
            bias_grad_or_null ? bias_grad_or_null + first : NULL,
            weight_grad_or_null ? weight_grad_or_null + first : NULL, add,
        };
        c.grad = (const value *)out_grad;
        c.mean = mean;
        c.rstd = rstd;
        CUDA(columns)(s, &c, COLUMNS_GRADS, &ends);
        if (x_grad_or_null) CUDA(columns_apply_back)(s, (value *)x_grad_or_null, &c, add_x);
    }
}
