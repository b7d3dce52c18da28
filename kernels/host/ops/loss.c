// loss.c - losses by row, and their gradients in place of what they judge.

#include "kernels/host/ops/math.h"
#include "kernels/host/ops/ops.h"
#include "kernels/host/ops/rows.h"

// Classes are taken in pieces that stay in the first cache between their maximum and their sum.
enum { PIECE = 1 << 10 };

struct loss {
    float *loss, *hit;
    value *out;               // (rows, cols)
    const int32_t *target;
    const float *wanted;      // (rows, cols)
    int64_t rows, cols, block_rows;
    float scale;
};

// Sum of exp(x - top).
static float piece_sum(const value *x, int64_t n, float top)
{
    vec sum[2] = { 0 };
    float rest = 0;
    int64_t i = 0;

    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        sum[0] += vec_exp_below(vec_load(x + i) - top);
        sum[1] += vec_exp_below(vec_load(x + i + LANES) - top);
    }
    for (; i + LANES <= n; i += LANES)
        sum[0] += vec_exp_below(vec_load(x + i) - top);
    if (i < n) {
        const vec e = vec_exp_below(vec_load_some(x + i, n - i) - top);
        for (int64_t j = 0; j < n - i; j++)
            rest += e[j];
    }
    return vec_sum(sum[0] + sum[1]) + rest;
}

// The largest of a row, and the sum of exp(x - top), in one pass over memory.
static float row_sum(const value *x, int64_t n, float *top)
{
    double sum = 0;

    *top = -INFINITY;
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t piece = host_piece(n, PIECE, i);
        const float piece_max = row_top(x + i, piece);
        if (piece_max > *top) {
            sum *= exp((double)*top - (double)piece_max);
            *top = piece_max;
        }
        // While all are minus infinity (masked classes) their weights are 0, not NaN.
        sum += (double)piece_sum(x + i, piece, *top == -INFINITY ? 0 : *top);
    }
    return (float)sum;
}

static bool first_largest(const value *x, int64_t target, float top)
{
    if (get(x[target]) != top) return false;
    for (int64_t i = 0; i < target; i++)
        if (get(x[i]) == top) return false;
    return true;
}

static void probabilities(value *x, int64_t n, float top, float scale)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        vec_store(x + i, vec_exp_below(vec_load(x + i) - top) * scale);
    if (i < n)
        vec_store_some(x + i, vec_exp_below(vec_load_some(x + i, n - i) - top) * scale, n - i);
}

static void cross_entropy_row(const struct loss *a, int64_t r)
{
    value *x = a->out + r * a->cols;
    float top;
    const int64_t target = a->target[r];

    if (target < 0) {
        a->loss[r] = 0;
        if (a->hit) a->hit[r] = 0;
        if (a->scale != 0) memset(x, 0, (size_t)a->cols * sizeof(*x));
        return;
    }
    const float sum = row_sum(x, a->cols, &top);
    const float logit = get(x[target]), factor = a->scale / sum;
    a->loss[r] = (float)(log((double)sum) + (double)top - (double)logit);
    if (a->hit) a->hit[r] = first_largest(x, target, top) ? 1 : 0;
    if (a->scale == 0) return;
    probabilities(x, a->cols, top, factor);
    // From the logit again: near 1 a rounded probability would leave nothing of the difference.
    x[target] = put(vec_exp_below(vec_set(logit) - top)[0] * factor - a->scale);
}

static void cross_entropy_rows(void *arguments, int64_t block, int thread)
{
    const struct loss *a = arguments;
    const int64_t start = block * a->block_rows;
    const int64_t end = start + host_piece(a->rows, a->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++)
        cross_entropy_row(a, r);
}

void HOST(cross_entropy)(struct pawl_stream *s, float *loss, float *hit_or_null,
                         pawl_value *logits, const int32_t *target, int64_t rows, int64_t classes,
                         float scale)
{
    struct loss a = { loss, hit_or_null, logits, target, NULL, rows, classes, host_rows(classes),
                      scale };

    host_run(s, host_pieces(rows, a.block_rows), cross_entropy_rows, &a);
}

// One vector of a row: its losses, and the gradients in *grad, both before the mean over cols.
typedef vec loss_term(vec x, vec wanted, vec *grad);

VEC_INLINE vec square_term(vec x, vec wanted, vec *grad)
{
    const vec d = x - wanted;

    *grad = d * 2.0f;
    return d * d;
}

VEC_INLINE vec binary_term(vec x, vec wanted, vec *grad)
{
    *grad = vec_sigmoid(x) - wanted;
    return vec_softplus(x) - x * wanted;
}

VEC_INLINE void mean_row(const struct loss *a, int64_t r, loss_term *term)
{
    value *x = a->out + r * a->cols;
    const float *wanted = a->wanted + r * a->cols, scale = a->scale / (float)a->cols;
    double sum = 0;
    vec grad;

    for (int64_t start = 0; start < a->cols; start += PIECE) {
        const int64_t end = start + host_piece(a->cols, PIECE, start);
        vec part = { 0 };
        int64_t i = start;
        for (; i + LANES <= end; i += LANES) {
            part += term(vec_load(x + i), vec_load(wanted + i), &grad);
            if (scale != 0) vec_store(x + i, grad * scale);
        }
        sum += (double)vec_sum(part);
        if (i == end) continue;
        part = term(vec_load_some(x + i, end - i), vec_load_some(wanted + i, end - i), &grad);
        for (int64_t j = 0; j < end - i; j++)
            sum += (double)part[j];
        if (scale != 0) vec_store_some(x + i, grad * scale, end - i);
    }
    a->loss[r] = (float)(sum / (double)a->cols);
}

static void mean_square_rows(void *arguments, int64_t block, int thread)
{
    const struct loss *a = arguments;
    const int64_t start = block * a->block_rows;
    const int64_t end = start + host_piece(a->rows, a->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++)
        mean_row(a, r, square_term);
}

static void binary_rows(void *arguments, int64_t block, int thread)
{
    const struct loss *a = arguments;
    const int64_t start = block * a->block_rows;
    const int64_t end = start + host_piece(a->rows, a->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++)
        mean_row(a, r, binary_term);
}

void HOST(mean_square)(struct pawl_stream *s, float *loss, pawl_value *out, const float *target,
                       int64_t rows, int64_t cols, float scale)
{
    struct loss a = { loss, NULL, out, NULL, target, rows, cols, host_rows(cols), scale };

    host_run(s, host_pieces(rows, a.block_rows), mean_square_rows, &a);
}

void HOST(binary_cross_entropy)(struct pawl_stream *s, float *loss, pawl_value *logits,
                                const float *target, int64_t rows, int64_t cols, float scale)
{
    struct loss a = { loss, NULL, logits, NULL, target, rows, cols, host_rows(cols), scale };

    host_run(s, host_pieces(rows, a.block_rows), binary_rows, &a);
}
