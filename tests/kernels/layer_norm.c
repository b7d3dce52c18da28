// layer_norm: forward and backward against the chain rule written out, and that against
// difference quotients.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

struct shape {
    int64_t rows, cols;
};

// One row block, several, uneven ones; columns around vectors, and more than one strip of sums;
// the widths up to which the GPU's kernels hold a row: a warp's 768 and 1024, blocks' 8192 and
// 16384.
static const struct shape shapes[] = {
    { 1, 1 },   { 1, 2 },   { 3, 5 },    { 4, 8 },    { 5, 16 },   { 7, 17 },   { 9, 63 },
    { 64, 64 }, { 65, 79 }, { 257, 33 }, { 300, 48 }, { 31, 384 }, { 130, 770 }, { 515, 7 },
    { 21, 768 }, { 7, 1024 }, { 5, 1028 }, { 3, 2052 }, { 2, 8192 }, { 3, 8196 }, { 1, 16388 },
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };
static const float epsilon = 1e-5f;

struct memory {
    int64_t rows, cols, n;
    float *x, *weight, *bias, *out_grad, *out, *mean, *rstd, *x_grad, *weight_grad, *bias_grad;
    float *first[3], *before;
    double *plain_x, *plain_weight, *plain_bias, *plain_out_grad, *plain_out, *plain_mean;
    double *plain_rstd, *plain_x_grad, *plain_weight_grad, *plain_bias_grad;
};

static struct memory take(const struct shape *s)
{
    struct memory m = { .rows = s->rows, .cols = s->cols, .n = s->rows * s->cols };
    float **big[] = { &m.x, &m.out_grad, &m.out, &m.x_grad, &m.first[0], &m.before };
    float **small[] = { &m.weight, &m.bias, &m.weight_grad, &m.bias_grad, &m.first[1],
                        &m.first[2] };

    for (int i = 0; i < 6; i++) {
        *big[i] = common_floats(m.n);
        *small[i] = common_floats(m.cols);
        common_fill(*big[i], m.n, (uint64_t)i);
        common_fill(*small[i], m.cols, 10 + (uint64_t)i);
    }
    for (int64_t i = 0; i < m.n; i++)
        m.x[i] = m.x[i] * 3 + 2;
    m.mean = common_floats(m.rows);
    m.rstd = common_floats(m.rows);
    m.plain_x = common_widen(m.x, m.n);
    m.plain_weight = common_widen(m.weight, m.cols);
    m.plain_bias = common_widen(m.bias, m.cols);
    m.plain_out_grad = common_widen(m.out_grad, m.n);
    m.plain_out = common_doubles(m.n);
    m.plain_mean = common_doubles(m.rows);
    m.plain_rstd = common_doubles(m.rows);
    m.plain_x_grad = common_doubles(m.n);
    m.plain_weight_grad = common_doubles(m.cols);
    m.plain_bias_grad = common_doubles(m.cols);
    return m;
}

static void expect_sum(const char *where, const float *actual, const double *grad,
                       const float *before, int64_t count, double absolute)
{
    double *expected = common_widen(before, count);

    for (int64_t i = 0; i < count; i++)
        expected[i] += grad[i];
    common_expect(where, actual, expected, count, absolute, 1e-5);
}

static void backward(const struct common_set *set, int t, struct memory *m, bool add_x, bool add)
{
    common_poison(m->x_grad, m->n);
    common_poison(m->weight_grad, m->cols);
    common_poison(m->bias_grad, m->cols);
    if (add_x) memcpy(m->x_grad, m->before, (size_t)m->n * sizeof(float));
    if (add) memcpy(m->weight_grad, m->before, (size_t)m->cols * sizeof(float));
    if (add) memcpy(m->bias_grad, m->before, (size_t)m->cols * sizeof(float));
    set->device[t]->ops->layer_norm_back(set->stream[t], m->x_grad, m->weight_grad, m->bias_grad,
                                         m->out_grad, m->x, m->mean, m->rstd, m->weight, m->rows,
                                         m->cols, add_x, add);
    if (t) return;
    memcpy(m->first[0], m->x_grad, (size_t)m->n * sizeof(float));
    memcpy(m->first[1], m->weight_grad, (size_t)m->cols * sizeof(float));
    memcpy(m->first[2], m->bias_grad, (size_t)m->cols * sizeof(float));
}

static void check_backward(const struct common_set *set, struct memory *m, bool add_x, bool add,
                           const char *where)
{
    float *zero = common_floats(m->n);
    // Two columns apart by little make rstd large, and with it the error.
    const double slack = 4e-6 * (double)(m->cols < 4 ? 30 : 4);

    for (int t = 0; t < COMMON_THREADS; t++) {
        backward(set, t, m, add_x, add);
        expect_sum(where, m->x_grad, m->plain_x_grad, add_x ? m->before : zero, m->n, slack);
        expect_sum(where, m->weight_grad, m->plain_weight_grad, add ? m->before : zero, m->cols,
                   slack);
        expect_sum(where, m->bias_grad, m->plain_bias_grad, add ? m->before : zero, m->cols,
                   slack);
        common_expect_same(where, m->x_grad, m->first[0], m->n);
        common_expect_same(where, m->weight_grad, m->first[1], m->cols);
        common_expect_same(where, m->bias_grad, m->first[2], m->cols);
    }
}

static void check(const struct common_set *set, const void *shape)
{
    struct memory m = take(shape);
    char where[96];

    snprintf(where, sizeof(where), "%s rows=%ld cols=%ld", set->name, (long)m.rows, (long)m.cols);
    plain_layer_norm(m.plain_out, m.plain_mean, m.plain_rstd, m.plain_x, m.plain_weight,
                     m.plain_bias, m.rows, m.cols, (double)epsilon);
    plain_layer_norm_back(m.plain_x_grad, m.plain_weight_grad, m.plain_bias_grad,
                          m.plain_out_grad, m.plain_x, m.plain_weight, m.rows, m.cols,
                          (double)epsilon);
    for (int t = COMMON_THREADS - 1; t >= 0; t--) {
        common_poison(m.out, m.n);
        set->device[t]->ops->layer_norm(set->stream[t], m.out, m.mean, m.rstd, m.x, m.weight,
                                        m.bias, m.rows, m.cols, epsilon);
        common_expect(where, m.out, m.plain_out, m.n, m.cols == 1 ? 1e-4 : 4e-6, 1e-5);
        common_expect(where, m.mean, m.plain_mean, m.rows, 1e-6, 1e-6);
        common_expect(where, m.rstd, m.plain_rstd, m.rows, 0, 1e-4);
        if (t == COMMON_THREADS - 1) memcpy(m.first[0], m.out, (size_t)m.n * sizeof(float));
        common_expect_same(where, m.out, m.first[0], m.n);
    }
    for (int i = 0; i < 4; i++)
        check_backward(set, &m, i & 1, i & 2, where);
}

Test(layer_norm, follows_its_definition)
{
    common_each(check, shapes, sizeof(shapes[0]), SHAPES);
}

static double loss(const void *context)
{
    const struct memory *m = context;
    double sum = 0;

    plain_layer_norm(m->plain_out, m->plain_mean, m->plain_rstd, m->plain_x, m->plain_weight,
                     m->plain_bias, m->rows, m->cols, (double)epsilon);
    for (int64_t i = 0; i < m->n; i++)
        sum += m->plain_out[i] * m->plain_out_grad[i];
    return sum;
}

Test(layer_norm, plain_backward_is_the_slope)
{
    for (int s = 2; s < 7; s++) {
        struct memory m = take(shapes + s);
        plain_layer_norm_back(m.plain_x_grad, m.plain_weight_grad, m.plain_bias_grad,
                              m.plain_out_grad, m.plain_x, m.plain_weight, m.rows, m.cols,
                              (double)epsilon);
        for (int64_t i = 0; i < m.n; i++)
            common_expect_slope("x", loss, &m, m.plain_x + i, m.plain_x_grad[i]);
        for (int64_t i = 0; i < m.cols; i++) {
            common_expect_slope("weight", loss, &m, m.plain_weight + i, m.plain_weight_grad[i]);
            common_expect_slope("bias", loss, &m, m.plain_bias + i, m.plain_bias_grad[i]);
        }
        common_release();
    }
}

// RMS norm, which has no mean, with and without weight and bias: forward by its formula, backward
// by difference quotients of that.
struct rms {
    const double *x, *weight, *bias, *out_grad;
    int64_t rows, cols;
    double *out;
};

static double rms(const struct rms *a)
{
    double sum = 0;

    for (int64_t r = 0; r < a->rows; r++) {
        double squares = 0;
        for (int64_t i = 0; i < a->cols; i++)
            squares += a->x[r * a->cols + i] * a->x[r * a->cols + i];
        const double rstd = 1 / sqrt(squares / (double)a->cols + (double)epsilon);
        for (int64_t i = 0; i < a->cols; i++) {
            const int64_t at = r * a->cols + i;
            a->out[at] = a->x[at] * rstd * a->weight[i] + a->bias[i];
            sum += a->out[at] * a->out_grad[at];
        }
    }
    return sum;
}

// d rms / d *at
static double rms_slope(const struct rms *a, double *at)
{
    const double before = *at, step = 1e-5;

    *at = before + step;
    const double above = rms(a);
    *at = before - step;
    const double slope = (above - rms(a)) / (2 * step);
    *at = before;
    return slope;
}

static void check_rms_back(const struct common_set *set, struct memory *m, const struct rms *a,
                           int parts)
{
    float *const weight_grad = parts & 1 ? m->weight_grad : NULL;
    float *const bias_grad = parts & 2 ? m->bias_grad : NULL;

    for (int64_t i = 0; i < m->n; i++)
        m->plain_x_grad[i] = rms_slope(a, m->plain_x + i);
    for (int64_t i = 0; i < m->cols; i++) {
        m->plain_weight_grad[i] = rms_slope(a, m->plain_weight + i);
        m->plain_bias_grad[i] = rms_slope(a, m->plain_bias + i);
    }
    common_poison(m->x_grad, m->n);
    set->device[0]->ops->layer_norm_back(set->stream[0], m->x_grad, weight_grad, bias_grad,
                                         m->out_grad, m->x, NULL, m->rstd,
                                         weight_grad ? m->weight : NULL, m->rows, m->cols, false,
                                         false);
    common_expect(set->name, m->x_grad, m->plain_x_grad, m->n, 1e-5, 1e-5);
    if (weight_grad)
        common_expect(set->name, weight_grad, m->plain_weight_grad, m->cols, 1e-5, 1e-5);
    if (bias_grad) common_expect(set->name, bias_grad, m->plain_bias_grad, m->cols, 1e-5, 1e-5);
}

static void check_rms(const struct common_set *set, const void *shape)
{
    for (int parts = 0; parts < 4; parts++) {
        struct memory m = take(shape);
        const struct rms a = { m.plain_x, m.plain_weight, m.plain_bias, m.plain_out_grad, m.rows,
                               m.cols, m.plain_out };
        for (int64_t i = 0; i < m.cols; i++) {
            if (!(parts & 1)) m.plain_weight[i] = 1;
            if (!(parts & 2)) m.plain_bias[i] = 0;
        }
        set->device[0]->ops->layer_norm(set->stream[0], m.out, NULL, m.rstd, m.x,
                                        parts & 1 ? m.weight : NULL, parts & 2 ? m.bias : NULL,
                                        m.rows, m.cols, epsilon);
        rms(&a);
        common_expect(set->name, m.out, m.plain_out, m.n, 4e-6, 1e-5);
        check_rms_back(set, &m, &a, parts);
    }
}

Test(layer_norm, without_mean_or_parameters)
{
    static const struct shape small[] = { { 1, 1 }, { 3, 5 }, { 9, 12 }, { 5, 31 }, { 4, 64 } };

    common_each(check_rms, small, sizeof(small[0]), 5);
}

static void check_nan(const struct common_set *set, const void *shape)
{
    struct memory m = take(shape);

    m.x[3 * m.cols + 5] = NAN;
    set->device[1]->ops->layer_norm(set->stream[1], m.out, m.mean, m.rstd, m.x, m.weight, m.bias,
                                    m.rows, m.cols, epsilon);
    backward(set, 1, &m, false, false);
    for (int64_t i = 0; i < m.n; i++) {
        cr_assert_eq(isnan(m.out[i]) != 0, i / m.cols == 3, "%s: %ld", set->name, (long)i);
        cr_assert_eq(isnan(m.x_grad[i]) != 0, i / m.cols == 3, "%s: %ld", set->name, (long)i);
    }
    for (int64_t i = 0; i < m.cols; i++)
        cr_assert(isnan(m.weight_grad[i]) && !isnan(m.bias_grad[i]));
}

Test(layer_norm, nan_goes_in_and_comes_out)
{
    static const struct shape shape = { 9, 37 };

    common_each(check_nan, &shape, sizeof(shape), 1);
}
