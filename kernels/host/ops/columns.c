// columns.c - a fixed number of row blocks each keeps its own sums in shared scratch; these are
// added in block order, in double.

#include <string.h>

#include "kernels/host/ops/columns.h"
#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

enum { BLOCKS = 64, STRIP = 256, WAYS = 2 };

struct job {
    struct columns c;
    float *partial;  // (blocks, WAYS, n)
    double *sums;
    int64_t block_rows, blocks;
};

static void add_row(const struct columns *c, int64_t row, float *sum_1, float *sum_2)
{
    const int64_t at = row * c->cols + c->first;
    const value *x = c->x + at, *grad = c->grad ? c->grad + at : x;
    const float *mean = c->mean ? c->mean + c->first : sum_1;
    const float *rstd = c->rstd ? c->rstd + c->first : sum_1;
    int64_t i = 0;

    switch (c->term) {
    case COLUMN_X:
        for (; i + LANES <= c->n; i += LANES)
            vec_store(sum_1 + i, vec_load(sum_1 + i) + vec_load(x + i));
        for (; i < c->n; i++)
            sum_1[i] += get(x[i]);
        break;
    case COLUMN_SQUARES:
        for (; i + LANES <= c->n; i += LANES) {
            const vec d = vec_load(x + i) - vec_load(mean + i);
            vec_store(sum_1 + i, vec_load(sum_1 + i) + d * d);
        }
        for (; i < c->n; i++)
            sum_1[i] += (get(x[i]) - mean[i]) * (get(x[i]) - mean[i]);
        break;
    case COLUMN_GRADS:
        for (; i + LANES <= c->n; i += LANES) {
            const vec hat = (vec_load(x + i) - vec_load(mean + i)) * vec_load(rstd + i);
            const vec d = vec_load(grad + i);
            vec_store(sum_1 + i, vec_load(sum_1 + i) + d);
            vec_store(sum_2 + i, vec_load(sum_2 + i) + d * hat);
        }
        for (; i < c->n; i++) {
            sum_1[i] += get(grad[i]);
            sum_2[i] += get(grad[i]) * ((get(x[i]) - mean[i]) * rstd[i]);
        }
        break;
    }
}

static void sum_rows(void *arguments, int64_t block, int thread)
{
    const struct job *j = arguments;
    const int64_t start = block * j->block_rows;
    const int64_t end = start + host_piece(j->c.rows, j->block_rows, start);
    float *sum = j->partial + block * WAYS * j->c.n;

    (void)thread;
    memset(sum, 0, (size_t)(WAYS * j->c.n) * sizeof(float));
    for (int64_t r = start; r < end; r++)
        add_row(&j->c, r, sum, sum + j->c.n);
}

static void sum_strip(void *arguments, int64_t strip, int thread)
{
    const struct job *j = arguments;
    const int ways = j->c.term == COLUMN_GRADS ? 2 : 1;
    const int64_t start = strip * STRIP, end = start + host_piece(j->c.n, STRIP, start);

    (void)thread;
    for (int w = 0; w < ways; w++)
        for (int64_t i = start; i < end; i++) {
            double sum = 0;
            for (int64_t b = 0; b < j->blocks; b++)
                sum += (double)j->partial[(b * WAYS + w) * j->c.n + i];
            j->sums[w * j->c.n + i] = sum;
        }
}

void HOST(columns_sum)(struct pawl_stream *s, double *sums, const struct columns *columns)
{
    struct job j = { .c = *columns, .partial = (float *)(void *)host_of(s)->shared_scratch,
                     .sums = sums };

    // At least 8 rows each, at most BLOCKS: 64 * 2 * 16384 floats are 8 MiB of scratch.
    j.block_rows = host_pieces(columns->rows, BLOCKS);
    if (j.block_rows < 8) j.block_rows = 8;
    j.blocks = host_pieces(columns->rows, j.block_rows);
    host_run(s, j.blocks, sum_rows, &j);
    host_run(s, host_pieces(columns->n, STRIP), sum_strip, &j);
}

void HOST(column_sum)(struct pawl_stream *s, float *out, const pawl_value *x, int64_t rows,
                      int64_t cols, bool add)
{
    double *sums = (double *)(void *)(host_of(s)->shared_scratch + HOST_SHARED_BYTES / 2);

    for (int64_t first = 0; first < cols; first += COLUMNS_MOST) {
        const int64_t n = host_piece(cols, COLUMNS_MOST, first);
        HOST(columns_sum)(s, sums, &(struct columns){ .term = COLUMN_X, .x = x, .rows = rows,
                                                      .cols = cols, .first = first, .n = n });
        for (int64_t i = 0; i < n; i++)
            out[first + i] = (float)((add ? (double)out[first + i] : 0) + sums[i]);
    }
}
