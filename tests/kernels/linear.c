// test: timeout=600
// linear: the three products of a fully connected layer against their definition, for every
// instruction set, with 1, 2 and 3 threads, which must agree to the bit.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

struct shape {
    int64_t m, n, k;
};

// Each size passes through every role: rows and columns of a tile, and the sum's length. The long
// ones with few outputs are cut into parts; the last two need more scratch than there is at once.
static const struct shape shapes[] = {
    { 1, 1, 1 },       { 1, 1, 7 },      { 2, 3, 5 },       { 3, 2, 1 },      { 5, 7, 11 },
    { 6, 16, 8 },      { 7, 17, 9 },     { 8, 48, 16 },     { 9, 49, 33 },    { 12, 8, 24 },
    { 13, 31, 37 },    { 4, 100, 50 },   { 100, 4, 53 },    { 1, 130, 385 },  { 131, 1, 384 },
    { 64, 10, 128 },   { 10, 64, 127 },  { 145, 49, 385 },  { 288, 96, 383 }, { 150, 33, 800 },
    { 301, 70, 64 },   { 211, 223, 227 }, { 3, 5, 5000 },   { 5000, 3, 5 },   { 3, 5000, 5 },
    { 37, 29, 3137 },  { 61, 127, 1600 }, { 2000, 11, 13 }, { 1031, 97, 101 },
    { 150, 7000, 390 }, { 150, 7000, 1300 },
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

struct memory {
    float *x, *weight, *bias, *residual, *out_grad, *saved;
    float *out[COMMON_THREADS], *pre[COMMON_THREADS], *x_grad[COMMON_THREADS];
    float *weight_grad[COMMON_THREADS], *bias_grad[COMMON_THREADS], *before;
};

static int64_t largest(const struct shape *s)
{
    const int64_t mn = s->m * s->n, mk = s->m * s->k, nk = s->n * s->k;

    return mn > mk ? mn > nk ? mn : nk : mk > nk ? mk : nk;
}

static void take(struct memory *a, const struct shape *s)
{
    a->x = common_floats(s->m * s->k);
    a->weight = common_floats(s->n * s->k);
    a->bias = common_floats(s->n);
    a->residual = common_floats(s->m * s->n);
    a->out_grad = common_floats(s->m * s->n);
    a->saved = common_floats(s->m * s->k);
    a->before = common_floats(largest(s));
    for (int t = 0; t < COMMON_THREADS; t++) {
        a->out[t] = common_floats(s->m * s->n);
        a->pre[t] = common_floats(s->m * s->n);
        a->x_grad[t] = common_floats(s->m * s->k);
        a->weight_grad[t] = common_floats(s->n * s->k);
        a->bias_grad[t] = common_floats(s->n);
    }
    common_fill(a->x, s->m * s->k, 1);
    common_fill(a->weight, s->n * s->k, 2);
    common_fill(a->bias, s->n, 3);
    common_fill(a->residual, s->m * s->n, 4);
    common_fill(a->out_grad, s->m * s->n, 5);
    common_fill(a->before, largest(s), 6);
}

// Up to 3000 places of a matrix: all of a small one, some of a large one, the corners always.
struct places {
    int64_t rows, cols, count, at;
};

static bool next(struct places *p, int64_t *i, int64_t *j)
{
    const int64_t all = p->rows * p->cols, step = all > 3000 ? all / 2999 : 1;

    if (p->at >= all) return false;
    *i = p->at / p->cols;
    *j = p->at % p->cols;
    p->at = p->at == all - 1 ? all : p->at + step < all ? p->at + step : all - 1;
    return true;
}

static void near(const char *where, double actual, double expected, int64_t terms)
{
    const double allowed = 3e-7 * (double)(terms + 10) + 1e-5 * fabs(expected);

    cr_assert(fabs(actual - expected) <= allowed, "%s is %.9g, not %.9g", where, actual, expected);
}

static void name(char text[128], const char *set, const char *product, const struct shape *s,
                 int64_t i, int64_t j)
{
    snprintf(text, 128, "%s %s m=%ld n=%ld k=%ld: (%ld, %ld)", set, product, (long)s->m,
             (long)s->n, (long)s->k, (long)i, (long)j);
}

static void check_same(const char *set, const struct shape *s, float *const result[COMMON_THREADS],
                       int64_t count)
{
    char where[128];

    for (int t = 1; t < COMMON_THREADS; t++) {
        name(where, set, t == 1 ? "2 threads" : "3 threads", s, 0, 0);
        common_expect_same(where, result[t], result[0], count);
    }
    common_check(where);
}

static void check_forward(const struct common_set *set, const struct shape *s,
                          const struct memory *a, enum pawl_activation activation, int extras)
{
    const float *bias = extras & 1 ? a->bias : NULL, *residual = extras & 2 ? a->residual : NULL;
    struct places p = { s->m, s->n, 0, 0 };
    char where[128];

    for (int t = 0; t < COMMON_THREADS; t++) {
        float *pre = extras & 4 ? a->pre[t] : NULL;
        common_poison(a->out[t], s->m * s->n);
        if (extras & 8) memcpy(a->out[t], a->residual, (size_t)(s->m * s->n) * sizeof(float));
        if (pre) common_poison(pre, s->m * s->n);
        set->device[t]->ops->linear(set->stream[t], a->out[t], pre, a->x, a->weight, bias,
                                    extras & 8 ? a->out[t] : residual, s->m, s->n, s->k,
                                    activation);
    }
    check_same(set->name, s, a->out, s->m * s->n);
    for (int64_t i, j; next(&p, &i, &j);) {
        const double pre = plain_linear(a->x, a->weight, s->n, s->k, i, j)
                           + (bias ? (double)bias[j] : 0);
        const double rest = extras & 10 ? (double)a->residual[i * s->n + j] : 0;
        name(where, set->name, "pre", s, i, j);
        if (extras & 4) near(where, (double)a->pre[0][i * s->n + j], pre, s->k);
        name(where, set->name, "linear", s, i, j);
        near(where, (double)a->out[0][i * s->n + j], plain_activate(pre, activation) + rest, s->k);
    }
}

static void check_back_x(const struct common_set *set, const struct shape *s,
                         const struct memory *a, enum pawl_activation activation, bool add)
{
    struct places p = { s->m, s->k, 0, 0 };
    char where[128];

    for (int64_t i = 0; i < s->m * s->k; i++)
        a->saved[i] = (float)plain_saved((double)a->x[i], activation);
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(a->x_grad[t], s->m * s->k);
        if (add) memcpy(a->x_grad[t], a->before, (size_t)(s->m * s->k) * sizeof(float));
        set->device[t]->ops->linear_back_x(set->stream[t], a->x_grad[t], a->out_grad, a->weight,
                                           activation ? a->saved : NULL, s->m, s->n, s->k,
                                           activation, add);
    }
    check_same(set->name, s, a->x_grad, s->m * s->k);
    for (int64_t i, j; next(&p, &i, &j);) {
        const double sum = plain_linear_back_x(a->out_grad, a->weight, s->n, s->k, i, j);
        const double slope = plain_slope((double)a->x[i * s->k + j], activation);
        name(where, set->name, "linear_back_x", s, i, j);
        near(where, (double)a->x_grad[0][i * s->k + j],
             sum * slope + (add ? (double)a->before[i * s->k + j] : 0), s->n);
    }
}

static void check_back_weight(const struct common_set *set, const struct shape *s,
                              const struct memory *a, bool bias, bool add)
{
    struct places p = { s->n, s->k, 0, 0 };
    char where[128];

    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(a->weight_grad[t], s->n * s->k);
        common_poison(a->bias_grad[t], s->n);
        if (add) memcpy(a->weight_grad[t], a->before, (size_t)(s->n * s->k) * sizeof(float));
        if (add) memcpy(a->bias_grad[t], a->before, (size_t)s->n * sizeof(float));
        set->device[t]->ops->linear_back_weight(set->stream[t], a->weight_grad[t],
                                                bias ? a->bias_grad[t] : NULL, a->out_grad, a->x,
                                                s->m, s->n, s->k, add);
    }
    check_same(set->name, s, a->weight_grad, s->n * s->k);
    for (int64_t i, j; next(&p, &i, &j);) {
        const double sum = plain_linear_back_weight(a->out_grad, a->x, s->m, s->n, s->k, i, j);
        name(where, set->name, "linear_back_weight", s, i, j);
        near(where, (double)a->weight_grad[0][i * s->k + j],
             sum + (add ? (double)a->before[i * s->k + j] : 0), s->m);
    }
    if (!bias) return;
    check_same(set->name, s, a->bias_grad, s->n);
    for (int64_t j = 0; j < s->n; j++) {
        double sum = add ? (double)a->before[j] : 0;
        for (int64_t i = 0; i < s->m; i++)
            sum += (double)a->out_grad[i * s->n + j];
        name(where, set->name, "bias_grad", s, 0, j);
        near(where, (double)a->bias_grad[0][j], sum, s->m);
    }
}

// Fibers take their time: nothing of much work for them. tiles.c has shapes for their tiles.
static bool too_much(const struct common_set *set, const struct shape *s)
{
    return !strcmp(set->name, "simt") && s->m * s->n * s->k > 1000000;
}

Test(linear, equals_the_definition_for_any_shape_and_threads)
{
    struct common_set set;

    for (int i = 0; i < COMMON_SETS; i++) {
        if (!common_open(&set, i)) continue;
        for (int c = 0; c < SHAPES; c++) {
            struct memory a;
            if (too_much(&set, shapes + c)) continue;
            take(&a, shapes + c);
            check_forward(&set, shapes + c, &a, PAWL_LINEAR, c % 8);
            check_forward(&set, shapes + c, &a, PAWL_RELU, 7);
            check_back_x(&set, shapes + c, &a, PAWL_LINEAR, c % 2);
            check_back_x(&set, shapes + c, &a, PAWL_GELU_TANH, !(c % 2));
            check_back_weight(&set, shapes + c, &a, true, c % 2);
            check_back_weight(&set, shapes + c, &a, false, !(c % 2));
            common_release();
        }
        common_close(&set);
    }
}

Test(linear, every_activation_and_every_extra)
{
    static const struct shape s = { 19, 37, 23 };
    struct common_set set;

    for (int i = 0; i < COMMON_SETS; i++) {
        struct memory a;
        if (!common_open(&set, i)) continue;
        take(&a, &s);
        for (int activation = 0; activation < PAWL_SOFTMAX; activation++) {
            for (int extras = 0; extras < 16; extras++)
                check_forward(&set, &s, &a, (enum pawl_activation)activation, extras);
            check_back_x(&set, &s, &a, (enum pawl_activation)activation, false);
            check_back_x(&set, &s, &a, (enum pawl_activation)activation, true);
        }
        common_release();
        common_close(&set);
    }
}

// Row 7 of the left factor is NaN at one place: row 7 of the product is NaN, no other element is.
static void expect_nan_row(const float *out, int64_t rows, int64_t cols, int64_t row)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            cr_assert_eq(isnan(out[i * cols + j]) != 0, i == row, "(%ld, %ld)", (long)i, (long)j);
}

Test(linear, nan_goes_in_and_comes_out)
{
    static const struct shape cases[] = { { 23, 37, 41 }, { 23, 37, 4000 }, { 300, 37, 41 } };
    struct common_set set;

    for (int i = 0; i < COMMON_SETS * 3; i++) {
        const struct shape *s = cases + i % 3;
        struct memory a;
        if (!common_open(&set, i / 3)) continue;
        if (too_much(&set, s)) {
            common_close(&set);
            continue;
        }
        take(&a, s);
        a.x[7 * s->k + 39] = NAN;
        set.device[1]->ops->linear(set.stream[1], a.out[1], NULL, a.x, a.weight, a.bias, NULL,
                                   s->m, s->n, s->k, PAWL_GELU);
        expect_nan_row(a.out[1], s->m, s->n, 7);
        a.out_grad[7 * s->n + 3] = NAN;
        set.device[1]->ops->linear_back_x(set.stream[1], a.x_grad[1], a.out_grad, a.weight, NULL,
                                          s->m, s->n, s->k, PAWL_LINEAR, false);
        expect_nan_row(a.x_grad[1], s->m, s->k, 7);
        common_fill(a.x, s->m * s->k, 1);
        set.device[1]->ops->linear_back_weight(set.stream[1], a.weight_grad[1], a.bias_grad[1],
                                               a.out_grad, a.x, s->m, s->n, s->k, false);
        expect_nan_row(a.weight_grad[1], s->n, s->k, 3);
        expect_nan_row(a.bias_grad[1], s->n, 1, 3);
        common_release();
        common_close(&set);
    }
}
