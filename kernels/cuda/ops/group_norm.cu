// group_norm.cu - channels of one sample normalised in groups (Wu and He, 2018), and their
// gradients. Sums go down each sample's columns (columns.h), then over the columns of a group.

#include "kernels/cuda/columns.h"

// A warp per group: the mean of its columns' means, and squares around it from theirs.
static __global__ void measure(const struct columns c, float *mean, float *rstd,
                               const float *total, float epsilon)
{
    const struct team t = team_of(32, NULL);
    const int64_t groups = c.n / c.width, all = c.cols / c.width;

    for (int64_t i = t.row; i < c.batch * groups; i += t.step) {
        const int64_t sample = i / groups, group = i % groups;
        const float *from = total + sample * 2 * c.n + group * c.width;
        float sum = 0, squares = 0;
        for (int64_t l = t.rank; l < c.width; l += t.size)
            sum += from[l];
        const float middle = warp_sum(sum) / (float)c.width;
        for (int64_t l = t.rank; l < c.width; l += t.size)
            squares += from[c.n + l]
                       + (float)c.rows * ((from[l] - middle) * (from[l] - middle));
        squares = warp_sum(squares) / ((float)c.rows * (float)c.width);
        if (t.rank != 0) continue;
        mean[sample * all + c.first / c.width + group] = middle;
        rstd[sample * all + c.first / c.width + group] = 1.0f / sqrtf(squares + epsilon);
    }
}

// sums (batch, 2, cols), of which this slab's columns were summed.
static __global__ void keep_sums(const struct columns c, float *sums, const float *total)
{
    EACH(i, c.batch * 2 * c.n) sums[i / c.n * c.cols + c.first + i % c.n] = total[i];
}

// The whole groups from column `first`, and samples from `sample`, that scratch has room for.
static struct columns slab_of(const pawl_value *x, const pawl_value *weight,
                              const struct pawl_group_norm *norm, int64_t sample, int64_t first)
{
    const int64_t width = norm->cols / norm->groups;
    const int64_t most = width < COLUMNS_MOST ? COLUMNS_MOST / width * width : width;
    struct columns c = {};

    c.rows = norm->rows;
    c.cols = norm->cols;
    c.width = width;
    c.first = first;
    c.n = columns_some(norm->cols, most, first);
    c.batch = columns_some(norm->batch, c.n < COLUMNS_MOST ? COLUMNS_MOST / c.n : 1, sample);
    c.x = (const value *)x + sample * c.rows * c.cols;
    c.weight = (const value *)weight;
    return c;
}

void CUDA(group_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd,
                      const pawl_value *x, const pawl_value *weight_or_null,
                      const pawl_value *bias_or_null, const struct pawl_group_norm *norm)
{
    for (int64_t first = 0, n = 0; first < norm->cols; first += n)
        for (int64_t sample = 0, samples = 0; sample < norm->batch; sample += samples) {
            struct columns c = slab_of(x, weight_or_null, norm, sample, first);
            const int64_t place = sample * c.rows * c.cols;
            float *const means = mean + sample * norm->groups;
            float *const rstds = rstd + sample * norm->groups;
            c.bias = (const value *)bias_or_null;
            c.mean = means;
            c.rstd = rstds;
            CUDA(columns)(s, &c, COLUMNS_SPREAD, NULL);
            LAUNCH(measure, blocks_for(c.batch * (c.n / c.width), TEAM_BLOCK / 32), TEAM_BLOCK, 0,
                   s, c, means, rstds, columns_total(s), norm->epsilon);
            CUDA(columns_apply)(s, (value *)out + place, &c);
            n = c.n;
            samples = c.batch;
        }
}

void CUDA(group_norm_back)(struct pawl_stream *s, pawl_value *x_grad, float *sums,
                           const pawl_value *out_grad, const pawl_value *x, const float *mean,
                           const float *rstd, const pawl_value *weight_or_null,
                           const struct pawl_group_norm *norm, bool add_x)
{
    for (int64_t first = 0, n = 0; first < norm->cols; first += n)
        for (int64_t sample = 0, samples = 0; sample < norm->batch; sample += samples) {
            struct columns c = slab_of(x, weight_or_null, norm, sample, first);
            const int64_t place = sample * c.rows * c.cols;
            c.grad = (const value *)out_grad + place;
            c.mean = mean + sample * norm->groups;
            c.rstd = rstd + sample * norm->groups;
            CUDA(columns)(s, &c, COLUMNS_GRADS, NULL);
            LAUNCH(keep_sums, blocks_for(c.batch * 2 * c.n, 256), 256, 0, s, c,
                   sums + sample * 2 * c.cols, columns_total(s));
            CUDA(columns_apply_back)(s, (value *)x_grad + place, &c, add_x);
            n = c.n;
            samples = c.batch;
        }
}
