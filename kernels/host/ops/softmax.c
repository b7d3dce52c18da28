// softmax.c - exp(x - top) / sum, row by row.

#include "kernels/host/ops/math.h"
#include "kernels/host/ops/ops.h"
#include "kernels/host/ops/rows.h"

struct softmax {
    float *out;
    const float *x;
    int64_t rows, cols, block_rows;
};

static void softmax_row(float *out, const float *x, int64_t n)
{
    const float top = row_top(x, n);
    vec sum = { 0 };
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        const vec e = vec_exp_below(vec_load(x + i) - top);
        vec_store(out + i, e);
        sum += e;
    }
    float total = vec_sum(sum);
    if (i < n) {
        vec_store_some(out + i, vec_exp_below(vec_load_some(x + i, n - i) - top), n - i);
        for (int64_t j = i; j < n; j++)
            total += out[j];
    }
    const float scale = 1.0f / total;
    for (i = 0; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_load(out + i) * scale);
    for (; i < n; i++)
        out[i] *= scale;
}

static void softmax_rows(void *arguments, int64_t block, int thread)
{
    const struct softmax *m = arguments;
    const int64_t start = block * m->block_rows;
    const int64_t end = start + host_piece(m->rows, m->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++)
        softmax_row(m->out + r * m->cols, m->x + r * m->cols, m->cols);
}

void HOST(softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
                   int64_t cols)
{
    struct softmax m = { out, x, rows, cols, host_rows(cols) };

    host_run(s, host_pieces(rows, m.block_rows), softmax_rows, &m);
}
