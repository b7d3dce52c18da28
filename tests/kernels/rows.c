// rows: softmax's logarithm and the gradients of both, sums down columns, rotary positions and
// learnt slopes, each against one loop per index.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

struct shape {
    int64_t rows, cols;
};

// One row, one column; around packs of 16 bytes, a warp, a warp's registers (1024), a block's
// (16384, and more); many rows.
static const struct shape shapes[] = {
    { 1, 1 },  { 2, 2 },   { 5, 3 },   { 7, 10 },   { 3, 16 },   { 9, 31 },     { 33, 64 },
    { 1, 100 }, { 6, 768 }, { 2, 1028 }, { 3, 2050 }, { 1, 16388 }, { 3000, 8 }, { 2600, 1 },
    { 300, 70 },
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static const char *name_of(const struct common_set *set, const char *what, const struct shape *s)
{
    static char where[96];

    snprintf(where, sizeof(where), "%s %s %ld x %ld", set->name, what, (long)s->rows,
             (long)s->cols);
    return where;
}

// The thread t's result; the same bits as the first's.
static void expect_same(const char *where, float *first, const float *out, int64_t n, int t)
{
    if (!t) memcpy(first, out, (size_t)n * sizeof(float));
    common_expect_same(where, out, first, n);
}

// ---- softmax's logarithm, and the gradients

static void check_log(const struct common_set *set, const void *shape)
{
    const struct shape *s = shape;
    const int64_t n = s->rows * s->cols;
    const char *where = name_of(set, "log_softmax", s);
    float *x = common_floats(n), *out = common_floats(n), *first = common_floats(n);
    double *expected = common_doubles(n), *wide;

    common_fill(x, n, 3);
    for (int64_t i = 0; i < n; i++)
        x[i] *= i / s->cols % 2 ? 60 : 3;
    wide = common_widen(x, n);
    for (int64_t r = 0; r < s->rows; r++) {
        double sum = 0;
        for (int64_t i = r * s->cols; i < (r + 1) * s->cols; i++)
            sum += exp(wide[i]);
        for (int64_t i = r * s->cols; i < (r + 1) * s->cols; i++)
            expected[i] = wide[i] - log(sum);
    }
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(out, n);
        if (t == 1) memcpy(out, x, (size_t)n * sizeof(float));
        set->device[t]->ops->log_softmax(set->stream[t], out, t == 1 ? out : x, s->rows, s->cols);
        common_expect(where, out, expected, n, 4e-6, 1e-6);
        expect_same(where, first, out, n, t);
    }
    x[0] = NAN;
    set->device[0]->ops->log_softmax(set->stream[0], out, x, s->rows, s->cols);
    for (int64_t i = 0; i < n; i++)
        cr_assert_eq(isnan(out[i]) != 0, i < s->cols, "%s", where);
}

Test(rows, log_softmax)
{
    common_each(check_log, shapes, sizeof(shapes[0]), SHAPES);
}

static void check_back(const struct common_set *set, const struct shape *s, bool log)
{
    const int64_t n = s->rows * s->cols;
    const char *where = name_of(set, log ? "log_softmax back" : "softmax_back", s);
    float *y = common_floats(n), *grad = common_floats(n), *out = common_floats(n);
    float *first = common_floats(n);
    double *expected = common_doubles(n);

    common_fill(y, n, 4);
    common_fill(grad, n, 5);
    for (int64_t i = 0; i < n; i++)
        y[i] = log ? -1 - 4 * fabsf(y[i]) : fabsf(y[i]) / (float)s->cols;
    for (int64_t r = 0; r < s->rows; r++) {
        double sum = 0;
        for (int64_t i = r * s->cols; i < (r + 1) * s->cols; i++)
            sum += (double)grad[i] * (log ? 1 : (double)y[i]);
        for (int64_t i = r * s->cols; i < (r + 1) * s->cols; i++)
            expected[i] = log ? (double)grad[i] - exp((double)y[i]) * sum
                              : (double)y[i] * ((double)grad[i] - sum);
    }
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(out, n);
        if (t == 1) memcpy(out, grad, (size_t)n * sizeof(float));
        set->device[t]->ops->softmax_back(set->stream[t], out, t == 1 ? out : grad, y, s->rows,
                                          s->cols, log);
        common_expect(where, out, expected, n, 1e-5, 1e-5);
        expect_same(where, first, out, n, t);
    }
}

static void check_backs(const struct common_set *set, const void *shape)
{
    check_back(set, shape, false);
    check_back(set, shape, true);
}

Test(rows, softmax_back)
{
    common_each(check_backs, shapes, sizeof(shapes[0]), SHAPES);
}

// ---- sums down columns

static void check_columns(const struct common_set *set, const void *shape)
{
    const struct shape *s = shape;
    const char *where = name_of(set, "column_sum", s);
    float *x = common_floats(s->rows * s->cols), *out = common_floats(s->cols);
    float *before = common_floats(s->cols), *first = common_floats(s->cols);
    double *expected = common_doubles(s->cols);

    common_fill(x, s->rows * s->cols, 6);
    common_fill(before, s->cols, 7);
    for (int t = 0; t < 2 * COMMON_THREADS; t++) {
        const bool add = t >= COMMON_THREADS;
        for (int64_t c = 0; c < s->cols; c++) {
            expected[c] = add ? (double)before[c] : 0;
            for (int64_t r = 0; r < s->rows; r++)
                expected[c] += (double)x[r * s->cols + c];
        }
        common_poison(out, s->cols);
        if (add) memcpy(out, before, (size_t)s->cols * sizeof(float));
        set->device[t % 3]->ops->column_sum(set->stream[t % 3], out, x, s->rows, s->cols, add);
        common_expect(where, out, expected, s->cols, 1e-6 * sqrt((double)s->rows), 1e-6);
        expect_same(where, first, out, s->cols, t % 3);
    }
    x[0] = NAN;
    set->device[0]->ops->column_sum(set->stream[0], out, x, s->rows, s->cols, false);
    for (int64_t c = 0; c < s->cols; c++)
        cr_assert_eq(isnan(out[c]) != 0, c == 0, "%s", where);
}

Test(rows, column_sum)
{
    common_each(check_columns, shapes, sizeof(shapes[0]), SHAPES);
}

// ---- rotary positions

static const struct pawl_rope ropes[] = {
    { 1, 1, 2, 1, 2, 2, 10000, false, false },   { 2, 5, 8, 2, 4, 2, 10000, false, false },
    { 3, 7, 24, 2, 8, 8, 10000, true, false },   { 1, 33, 48, 2, 16, 8, 500, true, true },
    { 2, 4, 96, 3, 32, 32, 10000, false, true }, { 5, 3, 45, 4, 10, 6, 100, true, false },
    { 40, 2, 64, 1, 64, 64, 10000, false, false }, { 2, 3, 2048, 1, 1024, 1024, 1e4, true, false },
};
enum { ROPES = sizeof(ropes) / sizeof(ropes[0]) };

static void turn_head(double *x, const struct pawl_rope *r, int64_t position)
{
    for (int64_t i = 0; i < r->rotary / 2; i++) {
        const int64_t a = r->interleaved ? 2 * i : i;
        const int64_t b = r->interleaved ? 2 * i + 1 : i + r->rotary / 2;
        const double angle = (double)position * pow(r->theta, -2.0 * (double)i / (double)r->rotary)
                             * (r->back ? -1 : 1);
        const double u = x[a], v = x[b];
        x[a] = u * cos(angle) - v * sin(angle);
        x[b] = v * cos(angle) + u * sin(angle);
    }
}

static void check_rope(const struct common_set *set, const void *shape)
{
    const struct pawl_rope *r = shape;
    const int64_t rows = r->batch * r->time, n = rows * r->width;
    float *x = common_floats(n), *out = common_floats(n), *first = common_floats(n);
    double *expected;
    char where[64];

    snprintf(where, sizeof(where), "%s rope %ld", set->name, (long)(r - ropes));
    common_fill(x, n, 8);
    expected = common_widen(x, n);
    for (int64_t i = 0; i < rows * r->heads; i++)
        turn_head(expected + i / r->heads * r->width + i % r->heads * r->dim, r,
                  i / r->heads % r->time);
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(out, n);
        if (t == 1) memcpy(out, x, (size_t)n * sizeof(float));
        set->device[t]->ops->rope(set->stream[t], out, t == 1 ? out : x, r);
        common_expect(where, out, expected, n, 3e-7, 1e-6);
        expect_same(where, first, out, n, t);
    }
}

Test(rows, rope)
{
    common_each(check_rope, ropes, sizeof(ropes[0]), ROPES);
}

// ---- learnt slopes

struct slopes {
    float *x, *grad, *slope, *out, *part, *before, *first;
};

static void slopes_back(const struct common_set *set, const struct shape *s,
                        const struct slopes *m, bool shared, bool add)
{
    const int64_t n = s->rows * s->cols;
    double *x_grad = common_doubles(n), *part = common_doubles(n);

    for (int64_t i = 0; i < n; i++) {
        const double grad = (double)m->grad[i], x = (double)m->x[i];
        const double slope = (double)m->slope[shared ? 0 : i % s->cols];
        x_grad[i] = (add ? (double)m->before[i] : 0) + (x < 0 ? slope * grad : grad);
        part[i] = x < 0 ? x * grad : 0;
    }
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(m->out, n);
        common_poison(m->part, n);
        if (add) memcpy(m->out, m->before, (size_t)n * sizeof(float));
        set->device[t]->ops->prelu_back(set->stream[t], m->out, m->part, m->grad, m->x, m->slope,
                                        s->rows, s->cols, shared, add);
        common_expect("prelu_back", m->out, x_grad, n, 1e-6, 1e-6);
        common_expect("prelu's part", m->part, part, n, 1e-6, 1e-6);
        expect_same("prelu_back", m->first, m->out, n, t);
    }
}

static void check_prelu(const struct common_set *set, const void *shape)
{
    const struct shape *s = shape;
    const int64_t n = s->rows * s->cols;
    struct slopes m;
    float **all[] = { &m.x, &m.grad, &m.out, &m.part, &m.before, &m.first };

    for (int i = 0; i < 6; i++) {
        *all[i] = common_floats(n);
        common_fill(*all[i], n, (uint64_t)i);
    }
    m.slope = common_floats(s->cols);
    common_fill(m.slope, s->cols, 9);
    for (int shared = 0; shared < 2; shared++) {
        const char *where = name_of(set, shared ? "shared prelu" : "prelu", s);
        double *expected = common_doubles(n);
        for (int64_t i = 0; i < n; i++)
            expected[i] = (double)m.x[i]
                          * (m.x[i] < 0 ? (double)m.slope[shared ? 0 : i % s->cols] : 1);
        for (int t = 0; t < COMMON_THREADS; t++) {
            common_poison(m.out, n);
            set->device[t]->ops->prelu(set->stream[t], m.out, m.x, m.slope, s->rows, s->cols,
                                       shared);
            common_expect(where, m.out, expected, n, 0, 1e-6);
            expect_same(where, m.first, m.out, n, t);
        }
        slopes_back(set, s, &m, shared, false);
        slopes_back(set, s, &m, shared, true);
    }
}

Test(rows, prelu)
{
    common_each(check_prelu, shapes, sizeof(shapes[0]), SHAPES);
}
