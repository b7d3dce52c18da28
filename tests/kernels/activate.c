// activate: activations, their derivatives, add, dropout and softmax, value by value.

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

// Around vectors, around a block of 16,384, and several blocks.
static const int64_t sizes[] = { 1, 3, 4, 7, 15, 16, 17, 33, 1000, 16383, 16384, 16390, 70001 };
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

// Numbers from 2^-30 to 2^7 of either sign, evenly by exponent, and some that are exact.
static void spread(float *x, int64_t n)
{
    common_fill(x, n, 7);
    for (int64_t i = 0; i < n; i++)
        if (i % 4) x[i] = copysignf(exp2f(37 * fabsf(x[i]) - 30), i % 8 > 4 ? -1.0f : 1.0f);
        else x[i] = roundf(4 * x[i]) / 2;
}

static void check_activations(const struct common_set *set, const void *shape)
{
    const int64_t n = *(const int64_t *)shape;
    float *x = common_floats(n), *out = common_floats(n), *first = common_floats(n);
    double *expected = common_doubles(n);
    char where[64];

    spread(x, n);
    for (int a = 0; a < PAWL_SOFTMAX; a++) {
        // The erf one loses relative precision below 0, and so does plain tanh of the other.
        const double tiny = a == PAWL_GELU ? 1e-6 : a == PAWL_GELU_TANH ? 1e-13 : 1e-35;
        snprintf(where, sizeof(where), "%s activation %d n=%ld", set->name, a, (long)n);
        for (int64_t i = 0; i < n && a == PAWL_EXPONENTIAL; i++)
            x[i] = fminf(x[i], 80);  // the last kind, below what is infinite
        for (int64_t i = 0; i < n; i++)
            expected[i] = plain_activate((double)x[i], (enum pawl_activation)a);
        for (int t = 0; t < COMMON_THREADS; t++) {
            common_poison(out, n);
            if (t == 1) memcpy(out, x, (size_t)n * sizeof(float));  // in place
            set->device[t]->ops->activate(set->stream[t], out, t == 1 ? out : x, n,
                                          (enum pawl_activation)a, 0);
            common_expect(where, out, expected, n, tiny, 2e-6);
            if (!t) memcpy(first, out, (size_t)n * sizeof(float));
            common_expect_same(where, out, first, n);
        }
    }
}

Test(activate, follows_its_definition)
{
    common_each(check_activations, sizes, sizeof(sizes[0]), SIZES);
}

static void check_slopes(const struct common_set *set, const void *shape)
{
    const int64_t n = *(const int64_t *)shape;
    float *x = common_floats(n), *saved = common_floats(n), *grad = common_floats(n);
    float *out = common_floats(n), *first = common_floats(n);
    double *expected = common_doubles(n);
    char where[64];

    common_fill(grad, n, 8);
    spread(x, n);
    for (int a = 0; a < PAWL_SOFTMAX; a++) {
        snprintf(where, sizeof(where), "%s slope %d n=%ld", set->name, a, (long)n);
        for (int64_t i = 0; i < n && a == PAWL_EXPONENTIAL; i++)
            x[i] = fminf(x[i], 80);
        for (int64_t i = 0; i < n; i++) {
            expected[i] = plain_slope((double)x[i], (enum pawl_activation)a) * (double)grad[i];
            saved[i] = (float)plain_saved((double)x[i], (enum pawl_activation)a);
        }
        for (int t = 0; t < COMMON_THREADS; t++) {
            common_poison(out, n);
            if (t == 1) memcpy(out, grad, (size_t)n * sizeof(float));
            set->device[t]->ops->activate_back(set->stream[t], out, t == 1 ? out : grad,
                                               a == PAWL_LINEAR ? NULL : saved, n,
                                               (enum pawl_activation)a, 0);
            common_expect(where, out, expected, n, 5e-7, 2e-6);
            if (!t) memcpy(first, out, (size_t)n * sizeof(float));
            common_expect_same(where, out, first, n);
        }
    }
}

Test(activate, back_follows_its_definition)
{
    common_each(check_slopes, sizes, sizeof(sizes[0]), SIZES);
}

struct point {
    double x;
    enum pawl_activation activation;
};

static double value(const void *context)
{
    const struct point *p = context;

    return plain_activate(p->x, p->activation);
}

Test(activate, plain_slope_is_the_slope)
{
    for (int a = 0; a < PAWL_SOFTMAX; a++)
        for (int i = -50; i < 50; i++) {
            struct point p = { 0.1 * i + 0.037, (enum pawl_activation)a };
            common_expect_slope("activation", value, &p, &p.x, plain_slope(p.x, p.activation));
        }
}

// What each tends to, and NaN to NaN. Products of zero and infinity are NaN, as in PyTorch.
static void check_limits(const struct common_set *set, const void *shape)
{
    static const double low[] = { -INFINITY, 0, -INFINITY, -1, NAN, NAN, NAN, 0, -1, 0,
                                  0, 0, NAN, -1.7580993408, NAN, NAN, 0 };
    static const double top[] = { [PAWL_SIGMOID] = 1, [PAWL_TANH] = 1, [PAWL_RELU6] = 6,
                                  [PAWL_HARD_SIGMOID] = 1, [PAWL_SOFTMAX] = 0 };  // 0: none
    float *x = common_floats(19), *out = common_floats(19);

    (void)shape;
    for (int a = 0; a < PAWL_SOFTMAX; a++) {
        // The inverse of infinity times infinity; and what is more than the largest float.
        const double high = a == PAWL_SOFTSIGN ? (double)NAN : top[a] > 0 ? top[a] : INFINITY;
        const double large = a == PAWL_SOFTSIGN                          ? 1
                             : a == PAWL_SELU || a == PAWL_EXPONENTIAL ? INFINITY
                             : top[a] > 0                              ? top[a]
                                                                       : (double)FLT_MAX;
        const float in[5] = { NAN, INFINITY, -INFINITY, FLT_MAX, 0 };
        for (int i = 0; i < 19; i++)
            x[i] = in[i % 5];
        set->device[0]->ops->activate(set->stream[0], out, x, 19, (enum pawl_activation)a, 0);
        for (int i = 0; i < 15; i += 5) {
            const double expected[] = { NAN, high, low[a], large,
                                        plain_activate(0, (enum pawl_activation)a) };
            common_expect(set->name, out + i, expected, 5, 0, 1e-6);
        }
    }
}

Test(activate, infinities_and_nan)
{
    const int nothing = 0;

    common_each(check_limits, &nothing, sizeof(nothing), 1);
}

// leaky_relu and elu with an alpha of their own.
static void check_alpha(const struct common_set *set, const void *shape)
{
    const enum pawl_activation kind[] = { PAWL_LEAKY_RELU, PAWL_ELU };
    static const float points[2][5] = { { -2, -0.5f, 0.5f, 2, -1 }, { 1, 2, 3, 4, 5 } };
    float *x = common_floats(5), *grad = common_floats(5);
    float *out = common_floats(5), *slope = common_floats(5);

    (void)shape;
    memcpy(x, points[0], sizeof(points[0]));
    memcpy(grad, points[1], sizeof(points[1]));
    for (int k = 0; k < 2; k++) {
        set->device[0]->ops->activate(set->stream[0], out, x, 5, kind[k], 0.3f);
        set->device[0]->ops->activate_back(set->stream[0], slope, grad, k ? x : out, 5, kind[k],
                                           0.3f);
        for (int i = 0; i < 5; i++) {
            const double at = (double)x[i], below = k ? expm1(at) : at;
            const double value_at = at < 0 ? 0.3 * below : at;
            const double slope_at = (double)grad[i] * (at < 0 ? 0.3 * (k ? exp(at) : 1) : 1);
            common_expect("alpha", out + i, &value_at, 1, 0, 1e-6);
            common_expect("alpha's slope", slope + i, &slope_at, 1, 0, 1e-6);
        }
    }
}

Test(activate, alpha)
{
    const int nothing = 0;

    common_each(check_alpha, &nothing, sizeof(nothing), 1);
}

static void check_add(const struct common_set *set, const void *shape)
{
    const int64_t n = *(const int64_t *)shape;
    float *a = common_floats(n), *b = common_floats(n), *expected = common_floats(n);

    common_fill(a, n, 1);
    common_fill(b, n, 2);
    for (int64_t i = 0; i < n; i++)
        expected[i] = a[i] + b[i];
    for (int t = 0; t < COMMON_THREADS; t++) {
        float *out = t == 2 ? a : common_floats(n);
        set->device[t]->ops->add(set->stream[t], out, a, b, n);
        common_expect_same(set->name, out, expected, n);
    }
}

Test(add, adds)
{
    common_each(check_add, sizes, sizeof(sizes[0]), SIZES);
}

static void check_dropout(const struct common_set *set, const void *shape)
{
    const int64_t n = *(const int64_t *)shape;
    const float rate = 0.3f;
    float *x = common_floats(n), *out = common_floats(n), *grad = common_floats(n);
    double *expected = common_doubles(n);
    int64_t kept = 0;

    common_fill(x, n, 1);
    for (int64_t i = 0; i < n; i++) {
        const bool keeps = plain_dropout_keeps(i, rate, 12345678901234, 5000000077, 5);
        expected[i] = keeps ? (double)x[i] / (1 - (double)rate) : 0;
        kept += keeps;
    }
    if (n > 60000) cr_assert_float_eq((double)kept / (double)n, 0.7, 0.01);
    for (int t = 0; t < COMMON_THREADS; t++) {
        const struct pawl_ops *ops = set->device[t]->ops;
        common_poison(out, n);
        ops->dropout(set->stream[t], out, x, n, rate, 12345678901234, 5000000077, 5);
        common_expect(set->name, out, expected, n, 0, 1e-6);
        // Backward, in place: the same mask, for the same four numbers.
        common_fill(grad, n, 9);
        ops->dropout(set->stream[t], grad, grad, n, rate, 12345678901234, 5000000077, 5);
        for (int64_t i = 0; i < n; i++)
            cr_assert(x[i] == 0 || (grad[i] != 0) == (out[i] != 0));
        ops->dropout(set->stream[t], out, x, n, 0, 12345678901234, 5000000077, 5);
        common_expect_same(set->name, out, x, n);
    }
}

Test(dropout, keeps_what_philox_says)
{
    common_each(check_dropout, sizes, sizeof(sizes[0]), SIZES);
}

static void check_other_masks(const struct common_set *set, const void *shape)
{
    enum { N = 1000 };
    float *x = common_floats(N), *out[4];
    const struct pawl_ops *ops = set->device[0]->ops;

    (void)shape;
    for (int i = 0; i < N; i++)
        x[i] = i == 500 ? NAN : 1;
    for (int i = 0; i < 4; i++) {
        out[i] = common_floats(N);
        ops->dropout(set->stream[0], out[i], x, N, 0.5f, 1 + (i == 1), 2 + (i == 2), 3 + (i == 3));
        cr_assert(isnan(out[i][500]));
        cr_assert(!i || memcmp(out[i], out[0], N * sizeof(float)));
    }
}

Test(dropout, differs_by_seed_step_and_layer)
{
    const int nothing = 0;

    common_each(check_other_masks, &nothing, sizeof(nothing), 1);
}

struct rows {
    int64_t rows, cols;
};

static void check_softmax(const struct common_set *set, const void *shape)
{
    const struct rows *s = shape;
    const int64_t n = s->rows * s->cols;
    float *x = common_floats(n), *out = common_floats(n), *first = common_floats(n);
    double *expected = common_doubles(n);
    char where[64];

    snprintf(where, sizeof(where), "%s softmax %ld x %ld", set->name, (long)s->rows,
             (long)s->cols);
    common_fill(x, n, 3);
    for (int64_t i = 0; i < n; i++)
        x[i] *= i / s->cols % 2 ? 200 : 3;
    plain_softmax(expected, common_widen(x, n), s->rows, s->cols);
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(out, n);
        if (t == 1) memcpy(out, x, (size_t)n * sizeof(float));
        set->device[t]->ops->softmax(set->stream[t], out, t == 1 ? out : x, s->rows, s->cols);
        common_expect(where, out, expected, n, 1e-7, 5e-6);
        if (!t) memcpy(first, out, (size_t)n * sizeof(float));
        common_expect_same(where, out, first, n);
    }
    x[0] = NAN;
    set->device[0]->ops->softmax(set->stream[0], out, x, s->rows, s->cols);
    for (int64_t i = 0; i < n; i++)
        cr_assert_eq(isnan(out[i]) != 0, i < s->cols);
}

Test(softmax, follows_its_definition)
{
    static const struct rows shapes[] = {
        { 1, 1 },   { 2, 2 },   { 5, 3 },     { 7, 10 },    { 3, 16 },     { 9, 31 },
        { 2, 100 }, { 40, 513 }, { 3, 20011 }, { 2000, 10 }, { 1, 50304 },
    };

    common_each(check_softmax, shapes, sizeof(shapes[0]), sizeof(shapes) / sizeof(shapes[0]));
}
