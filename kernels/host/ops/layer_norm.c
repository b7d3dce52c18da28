// layer_norm.c - normalised rows (Ba, Kiros, Hinton, 2016), and their gradients. Without a mean:
// RMS norm (Zhang and Sennrich, 2019).
//
// Backward sums the parameters' gradients over rows: a fixed number of row blocks each keeps its
// own sums in shared scratch, which are then added in block order, column by column.

#include <math.h>

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

enum { BLOCKS = 64, STRIP = 256 };

struct norm {
    value *out;
    float *mean, *rstd;
    const value *x, *weight, *bias;
    int64_t rows, cols, block_rows;
    float epsilon;
};

static float row_sum(const value *x, int64_t n)
{
    vec sum[4] = { 0 };
    float rest = 0;
    int64_t i = 0;

    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++)
            sum[j] += vec_load(x + i + j * LANES);
    for (; i + LANES <= n; i += LANES)
        sum[0] += vec_load(x + i);
    for (; i < n; i++)
        rest += get(x[i]);
    return vec_sum((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

static float row_squares(const value *x, float mean, int64_t n)
{
    vec sum[4] = { 0 };
    float rest = 0;
    int64_t i = 0;

    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++) {
            const vec d = vec_load(x + i + j * LANES) - mean;
            sum[j] += d * d;
        }
    for (; i + LANES <= n; i += LANES) {
        const vec d = vec_load(x + i) - mean;
        sum[0] += d * d;
    }
    for (; i < n; i++)
        rest += (get(x[i]) - mean) * (get(x[i]) - mean);
    return vec_sum((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

// Where weight or bias is missing.
static void norm_row(const struct norm *a, value *out, const value *x, float mean, float rstd)
{
    int64_t i = 0;

    for (; i + LANES <= a->cols; i += LANES) {
        vec y = (vec_load(x + i) - mean) * rstd;
        if (a->weight) y *= vec_load(a->weight + i);
        if (a->bias) y += vec_load(a->bias + i);
        vec_store(out + i, y);
    }
    for (; i < a->cols; i++)
        out[i] = put((get(x[i]) - mean) * rstd * (a->weight ? get(a->weight[i]) : 1.0f)
                     + (a->bias ? get(a->bias[i]) : 0.0f));
}

static void norm_rows(void *arguments, int64_t block, int thread)
{
    const struct norm *a = arguments;
    const int64_t start = block * a->block_rows, n = a->cols;
    const int64_t end = start + host_piece(a->rows, a->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++) {
        const value *x = a->x + r * n;
        value *out = a->out + r * n;
        const float mean = a->mean ? row_sum(x, n) / (float)n : 0;
        const float rstd = 1.0f / sqrtf(row_squares(x, mean, n) / (float)n + a->epsilon);
        int64_t i = 0;

        if (a->mean) a->mean[r] = mean;
        a->rstd[r] = rstd;
        if (!a->weight || !a->bias) {
            norm_row(a, out, x, mean, rstd);
            continue;
        }
        for (; i + LANES <= n; i += LANES)
            vec_store(out + i, (vec_load(x + i) - mean) * rstd * vec_load(a->weight + i)
                                   + vec_load(a->bias + i));
        for (; i < n; i++)
            out[i] = put((get(x[i]) - mean) * rstd * get(a->weight[i]) + get(a->bias[i]));
    }
}

void HOST(layer_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd,
                      const pawl_value *x, const pawl_value *weight, const pawl_value *bias,
                      int64_t rows, int64_t cols, float epsilon)
{
    struct norm a = { out, mean, rstd, x, weight, bias, rows, cols, host_rows(cols), epsilon };

    host_run(s, host_pieces(rows, a.block_rows), norm_rows, &a);
}

struct norm_back {
    value *x_grad;
    float *weight_grad, *bias_grad, *partial;  // partial (blocks, 2, cols)
    const value *out_grad, *x, *weight;
    const float *mean, *rstd;
    int64_t rows, cols, block_rows, blocks;
    bool add_x, add;
};

// Sums of g and g * xhat over the row, g = out_grad * weight; on the way the parameters' sums.
static void row_sums(const struct norm_back *a, int64_t r, float *weight_sum, float *bias_sum,
                     float *sum_g, float *sum_gx)
{
    const value *x = a->x + r * a->cols, *dy = a->out_grad + r * a->cols;
    const float mean = a->mean ? a->mean[r] : 0, rstd = a->rstd[r];
    vec sum[2] = { 0 };
    int64_t i = 0;

    *sum_g = *sum_gx = 0;
    for (; i + LANES <= a->cols; i += LANES) {
        const vec hat = (vec_load(x + i) - mean) * rstd, d = vec_load(dy + i);
        const vec g = a->weight ? d * vec_load(a->weight + i) : d;
        if (weight_sum) vec_store(weight_sum + i, vec_load(weight_sum + i) + d * hat);
        if (bias_sum) vec_store(bias_sum + i, vec_load(bias_sum + i) + d);
        sum[0] += g;
        sum[1] += g * hat;
    }
    for (; i < a->cols; i++) {
        const float hat = (get(x[i]) - mean) * rstd, d = get(dy[i]);
        const float g = d * (a->weight ? get(a->weight[i]) : 1.0f);
        if (weight_sum) weight_sum[i] += d * hat;
        if (bias_sum) bias_sum[i] += d;
        *sum_g += g;
        *sum_gx += g * hat;
    }
    *sum_g += vec_sum(sum[0]);
    *sum_gx += vec_sum(sum[1]);
}

static void row_grad(const struct norm_back *a, int64_t r, float mean_g, float mean_gx)
{
    const value *x = a->x + r * a->cols, *dy = a->out_grad + r * a->cols;
    const float mean = a->mean ? a->mean[r] : 0, rstd = a->rstd[r];
    value *out = a->x_grad + r * a->cols;
    int64_t i = 0;

    for (; i + LANES <= a->cols; i += LANES) {
        const vec hat = (vec_load(x + i) - mean) * rstd;
        const vec d = vec_load(dy + i), g = a->weight ? d * vec_load(a->weight + i) : d;
        const vec grad = (g - mean_g - hat * mean_gx) * rstd;
        vec_store(out + i, a->add_x ? vec_load(out + i) + grad : grad);
    }
    for (; i < a->cols; i++) {
        const float hat = (get(x[i]) - mean) * rstd;
        const float g = get(dy[i]) * (a->weight ? get(a->weight[i]) : 1.0f);
        const float grad = (g - mean_g - hat * mean_gx) * rstd;
        out[i] = put(a->add_x ? get(out[i]) + grad : grad);
    }
}

static void norm_back_rows(void *arguments, int64_t block, int thread)
{
    const struct norm_back *a = arguments;
    const int64_t start = block * a->block_rows;
    const int64_t end = start + host_piece(a->rows, a->block_rows, start);
    const size_t bytes = (size_t)a->cols * sizeof(float);
    const bool alone = a->blocks == 1;  // then the sums need no scratch
    float *weight_sum = alone ? a->weight_grad : a->partial + block * 2 * a->cols;
    float *bias_sum = alone ? a->bias_grad : weight_sum + a->cols;

    (void)thread;
    if (!alone || !a->add) {
        if (weight_sum) memset(weight_sum, 0, bytes);
        if (bias_sum) memset(bias_sum, 0, bytes);
    }
    for (int64_t r = start; r < end; r++) {
        float sum_g, sum_gx;
        row_sums(a, r, weight_sum, bias_sum, &sum_g, &sum_gx);
        row_grad(a, r, a->mean ? sum_g / (float)a->cols : 0, sum_gx / (float)a->cols);
    }
}

static void sum_strip(void *arguments, int64_t strip, int thread)
{
    const struct norm_back *a = arguments;
    const int64_t start = strip * STRIP, end = start + host_piece(a->cols, STRIP, start);

    (void)thread;
    for (int64_t i = start; i < end; i++) {
        float weight = 0, bias = 0;
        for (int64_t b = 0; b < a->blocks; b++) {
            weight += a->partial[b * 2 * a->cols + i];
            bias += a->partial[(b * 2 + 1) * a->cols + i];
        }
        if (a->weight_grad) a->weight_grad[i] = a->add ? a->weight_grad[i] + weight : weight;
        if (a->bias_grad) a->bias_grad[i] = a->add ? a->bias_grad[i] + bias : bias;
    }
}

void HOST(layer_norm_back)(struct pawl_stream *s, pawl_value *x_grad, float *weight_grad,
                           float *bias_grad, const pawl_value *out_grad, const pawl_value *x,
                           const float *mean, const float *rstd, const pawl_value *weight,
                           int64_t rows, int64_t cols, bool add_x, bool add)
{
    struct norm_back a = {
        .x_grad = x_grad, .weight_grad = weight_grad, .bias_grad = bias_grad,
        .partial = (float *)(void *)host_of(s)->shared_scratch,
        .out_grad = out_grad, .x = x, .mean = mean, .rstd = rstd, .weight = weight,
        .rows = rows, .cols = cols, .add_x = add_x, .add = add,
    };
    int64_t blocks = HOST_SHARED_BYTES / (2 * (int64_t)sizeof(float) * cols);

    if (blocks > BLOCKS) blocks = BLOCKS;
    if (blocks < 1) blocks = 1;
    a.block_rows = host_pieces(rows, blocks);
    if (a.block_rows < 4) a.block_rows = 4;
    a.blocks = host_pieces(rows, a.block_rows);
    host_run(s, a.blocks, norm_back_rows, &a);
    if (a.blocks != 1) host_run(s, host_pieces(cols, STRIP), sum_strip, &a);
}
