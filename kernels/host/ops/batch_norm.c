// batch_norm.c - columns normalised over the batch (Ioffe and Szegedy, 2015), and their gradients.
//
// The statistics take two passes, mean and then squares around it: the difference of two large sums
// would lose what matters. Columns go in slabs whose sums fit the scratch.

#include <math.h>

#include "kernels/host/ops/columns.h"
#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

struct apply {
    value *out;
    const value *x, *grad;
    const float *mean, *scale, *shift;  // forward: (x - mean) * scale + shift
    const float *rstd, *mean_grad, *mean_hat;  // backward, per column
    int64_t rows, cols, first, n, block_rows;
    bool add;
};

static void apply_rows(void *arguments, int64_t block, int thread)
{
    const struct apply *a = arguments;
    const int64_t start = block * a->block_rows;
    const int64_t end = start + host_piece(a->rows, a->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++) {
        const int64_t at = r * a->cols + a->first;
        for (int64_t i = 0; i < a->n; i += LANES) {
            const int64_t n = host_piece(a->n, LANES, i);
            const vec d = vec_load_left(a->x + at + i, n) - vec_load_left(a->mean + i, n);
            vec_store_left(a->out + at + i,
                       d * vec_load_left(a->scale + i, n) + vec_load_left(a->shift + i, n), n);
        }
    }
}

// (grad - its mean - xhat * the mean of grad * xhat) * weight * rstd
static void apply_back_rows(void *arguments, int64_t block, int thread)
{
    const struct apply *a = arguments;
    const int64_t start = block * a->block_rows;
    const int64_t end = start + host_piece(a->rows, a->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++) {
        const int64_t at = r * a->cols + a->first;
        for (int64_t i = 0; i < a->n; i += LANES) {
            const int64_t n = host_piece(a->n, LANES, i);
            const vec hat = (vec_load_left(a->x + at + i, n) - vec_load_left(a->mean + i, n))
                            * vec_load_left(a->rstd + i, n);
            const vec g = vec_load_left(a->grad + at + i, n) - vec_load_left(a->mean_grad + i, n)
                          - hat * vec_load_left(a->mean_hat + i, n);
            vec out = g * vec_load_left(a->scale + i, n);
            if (a->add) out += vec_load_left(a->out + at + i, n);
            vec_store_left(a->out + at + i, out, n);
        }
    }
}

// Behind what columns_sum uses of the shared scratch.
struct scratch {
    double sums[2 * COLUMNS_MOST];
    float scale[COLUMNS_MOST], shift[COLUMNS_MOST], rest[COLUMNS_MOST];
};

static struct scratch *scratch_of(struct pawl_stream *s)
{
    return (struct scratch *)(void *)(host_of(s)->shared_scratch + HOST_SHARED_BYTES / 2);
}

// Mean and variance of a slab of columns, kept for backward and for the running ones.
static void measure(struct pawl_stream *s, float *mean, float *rstd, const value *x,
                    const struct pawl_batch_norm *norm, int64_t first, int64_t n)
{
    double *sums = scratch_of(s)->sums;
    const double rows = (double)norm->rows, part = (double)norm->momentum;
    struct columns c = { .term = COLUMN_X, .x = x, .mean = mean, .rows = norm->rows,
                         .cols = norm->cols, .first = first, .n = n };

    HOST(columns_sum)(s, sums, &c);
    for (int64_t i = 0; i < n; i++)
        mean[first + i] = (float)(sums[i] / rows);
    c.term = COLUMN_SQUARES;
    HOST(columns_sum)(s, sums, &c);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = first + i;
        const double variance = sums[i] / rows;
        const double kept = norm->unbiased && rows > 1 ? sums[i] / (rows - 1) : variance;
        rstd[at] = (float)(1 / sqrt(variance + (double)norm->epsilon));
        if (!norm->next_mean) continue;
        norm->next_mean[at] = (float)((1 - part) * (double)norm->running_mean[at]
                                      + part * (double)mean[at]);
        norm->next_var[at] = (float)((1 - part) * (double)norm->running_var[at] + part * kept);
    }
}

void HOST(batch_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd,
                      const pawl_value *x, const pawl_value *weight_or_null,
                      const pawl_value *bias_or_null, const struct pawl_batch_norm *norm)
{
    const value *weight = weight_or_null, *bias = bias_or_null;
    struct scratch *scratch = scratch_of(s);

    for (int64_t first = 0; first < norm->cols; first += COLUMNS_MOST) {
        const int64_t n = host_piece(norm->cols, COLUMNS_MOST, first);
        if (norm->training) measure(s, mean, rstd, x, norm, first, n);
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = first + i;
            const double inverse = norm->training ? (double)rstd[at]
                                   : 1 / sqrt((double)norm->running_var[at]
                                              + (double)norm->epsilon);
            scratch->scale[i] = (float)(inverse * (weight ? (double)get(weight[at]) : 1));
            scratch->shift[i] = bias ? get(bias[at]) : 0;
        }
        struct apply a = { .out = out, .x = x, .scale = scratch->scale, .shift = scratch->shift,
                           .mean = (norm->training ? mean : norm->running_mean) + first,
                           .rows = norm->rows, .cols = norm->cols, .first = first, .n = n,
                           .block_rows = host_rows(n) };
        host_run(s, host_pieces(norm->rows, a.block_rows), apply_rows, &a);
    }
}

void HOST(batch_norm_back)(struct pawl_stream *s, pawl_value *x_grad, float *weight_grad_or_null,
                           float *bias_grad_or_null, const pawl_value *out_grad,
                           const pawl_value *x, const float *mean, const float *rstd,
                           const pawl_value *weight_or_null, int64_t rows, int64_t cols,
                           bool add_x, bool add)
{
    const value *weight = weight_or_null;
    struct scratch *scratch = scratch_of(s);

    for (int64_t first = 0; first < cols; first += COLUMNS_MOST) {
        const int64_t n = host_piece(cols, COLUMNS_MOST, first);
        HOST(columns_sum)(s, scratch->sums,
                          &(struct columns){ .term = COLUMN_GRADS, .x = x, .grad = out_grad,
                                             .mean = mean, .rstd = rstd, .rows = rows,
                                             .cols = cols, .first = first, .n = n });
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = first + i;
            const double grad = scratch->sums[i], hat = scratch->sums[n + i];
            float *to = weight_grad_or_null, *bias_to = bias_grad_or_null;
            if (to) to[at] = (float)((add ? (double)to[at] : 0) + hat);
            if (bias_to) bias_to[at] = (float)((add ? (double)bias_to[at] : 0) + grad);
            scratch->scale[i] = rstd[at] * (weight ? get(weight[at]) : 1.0f);
            scratch->shift[i] = (float)(grad / (double)rows);
            scratch->rest[i] = (float)(hat / (double)rows);
        }
        if (!x_grad) continue;
        struct apply a = { .out = x_grad, .x = x, .grad = out_grad, .mean = mean + first,
                           .rstd = rstd + first, .scale = scratch->scale,
                           .mean_grad = scratch->shift, .mean_hat = scratch->rest, .rows = rows,
                           .cols = cols, .first = first, .n = n, .block_rows = host_rows(n),
                           .add = add_x };
        host_run(s, host_pieces(rows, a.block_rows), apply_back_rows, &a);
    }
}
