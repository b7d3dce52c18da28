// softmax.c - exp(x - top) / sum, row by row; its logarithm; and the gradients of both.

#include "kernels/host/ops/math.h"
#include "kernels/host/ops/ops.h"
#include "kernels/host/ops/rows.h"

struct softmax {
    value *out;
    const value *x, *grad;
    int64_t rows, cols, block_rows;
    bool log;
};

static void softmax_row(value *out, const value *x, int64_t n)
{
    const float top = row_top(x, n);
    vec sum = { 0 };
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        sum += vec_exp_below(vec_load(x + i) - top);
    float total = vec_sum(sum);
    if (i < n) {
        const vec e = vec_exp_below(vec_load_some(x + i, n - i) - top);
        for (int64_t j = 0; j < n - i; j++)
            total += e[j];
    }
    // A second time: out may be too narrow to hold what is to be scaled.
    const float scale = 1.0f / total;
    for (i = 0; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_exp_below(vec_load(x + i) - top) * scale);
    if (i < n)
        vec_store_some(out + i, vec_exp_below(vec_load_some(x + i, n - i) - top) * scale, n - i);
}

// x - top - log(sum), in double what is taken off: it is one number for the whole row.
static void log_row(value *out, const value *x, int64_t n)
{
    const float top = row_top(x, n);
    double sum = 0;

    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t some = host_piece(n, LANES, i);
        const vec e = vec_exp_below((some < LANES ? vec_load_some(x + i, some) : vec_load(x + i))
                                    - top);
        for (int64_t j = 0; j < some; j++)
            sum += (double)e[j];
    }
    const double off = (double)top + log(sum);
    for (int64_t i = 0; i < n; i++)
        out[i] = put((float)((double)get(x[i]) - off));
}

static void softmax_rows(void *arguments, int64_t block, int thread)
{
    const struct softmax *m = arguments;
    const int64_t start = block * m->block_rows;
    const int64_t end = start + host_piece(m->rows, m->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++)
        (m->log ? log_row : softmax_row)(m->out + r * m->cols, m->x + r * m->cols, m->cols);
}

void HOST(softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
                   int64_t cols)
{
    struct softmax m = { .out = out, .x = x, .rows = rows, .cols = cols,
                         .block_rows = host_rows(cols) };

    host_run(s, host_pieces(rows, m.block_rows), softmax_rows, &m);
}

void HOST(log_softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
                       int64_t cols)
{
    struct softmax m = { .out = out, .x = x, .rows = rows, .cols = cols,
                         .block_rows = host_rows(cols), .log = true };

    host_run(s, host_pieces(rows, m.block_rows), softmax_rows, &m);
}

// softmax: out * (grad - sum of grad * out). Its logarithm: grad - exp(out) * sum of grad.
static void back_rows(void *arguments, int64_t block, int thread)
{
    const struct softmax *m = arguments;
    const int64_t start = block * m->block_rows, n = m->cols;
    const int64_t end = start + host_piece(m->rows, m->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++) {
        const value *y = m->x + r * n, *grad = m->grad + r * n;
        value *out = m->out + r * n;
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += m->log ? (double)get(grad[i]) : (double)get(grad[i]) * (double)get(y[i]);
        for (int64_t i = 0; i < n; i++) {
            const double was = (double)get(y[i]), d = (double)get(grad[i]);
            out[i] = put((float)(m->log ? d - exp(was) * sum : was * (d - sum)));
        }
    }
}

void HOST(softmax_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                        const pawl_value *out, int64_t rows, int64_t cols, bool log)
{
    struct softmax m = { .out = x_grad, .x = out, .grad = out_grad, .rows = rows, .cols = cols,
                         .block_rows = host_rows(cols), .log = log };

    host_run(s, host_pieces(rows, m.block_rows), back_rows, &m);
}
