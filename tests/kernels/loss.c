// loss: losses and gradients by row against their definitions, and those against difference
// quotients.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

struct shape {
    int64_t rows, cols;
};

// Classes around vectors and pieces of 1024, up to GPT-2's padded vocabulary.
static const struct shape shapes[] = {
    { 1, 1 },    { 3, 2 },     { 5, 3 },    { 64, 10 },   { 7, 16 },    { 9, 33 },
    { 40, 257 }, { 3, 1024 }, { 4, 1027 }, { 2, 5000 }, { 1700, 10 }, { 3, 50304 },
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

enum kind { CLASSES, SQUARE, BINARY, KINDS };

struct memory {
    int64_t rows, cols, n;
    float *x, *out, *first, *wanted, *loss, *hit, *first_loss;
    int32_t *target;
    double *plain_x, *plain_wanted, *plain_grad, *plain_loss;
};

static struct memory take(const struct shape *s, float spread)
{
    struct memory m = { .rows = s->rows, .cols = s->cols, .n = s->rows * s->cols };

    m.x = common_floats(m.n);
    m.out = common_floats(m.n);
    m.first = common_floats(m.n);
    m.wanted = common_floats(m.n);
    m.loss = common_floats(m.rows);
    m.first_loss = common_floats(m.rows);
    m.hit = common_floats(m.rows);
    m.target = common_ints(m.rows);
    common_fill(m.x, m.n, 1);
    common_fill(m.wanted, m.n, 2);
    for (int64_t i = 0; i < m.n; i++) {
        m.x[i] *= spread;
        m.wanted[i] = 0.5f + 0.5f * m.wanted[i];
    }
    for (int64_t r = 0; r < m.rows; r++) {
        m.target[r] = r % 5 == 3 ? -1 : (int32_t)(r * 31 % m.cols);
        // Every second row is a hit, some of them with a twin behind or before.
        if (r % 2 && m.target[r] >= 0) m.x[r * m.cols + m.target[r]] = spread * 1.5f;
        if (r % 4 == 1) m.x[r * m.cols + r * 17 % m.cols] = spread * 1.5f;
    }
    m.plain_x = common_widen(m.x, m.n);
    m.plain_wanted = common_widen(m.wanted, m.n);
    m.plain_grad = common_doubles(m.n);
    m.plain_loss = common_doubles(m.rows);
    return m;
}

static double plain_row(const struct memory *m, int64_t r, enum kind kind, double scale)
{
    double *grad = m->plain_grad + r * m->cols;
    const double *x = m->plain_x + r * m->cols, *wanted = m->plain_wanted + r * m->cols;

    if (kind == CLASSES) return plain_cross_entropy(grad, x, m->target[r], m->cols, scale);
    if (kind == SQUARE) return plain_mean_square(grad, x, wanted, m->cols, scale);
    return plain_binary_cross_entropy(grad, x, wanted, m->cols, scale);
}

static void run(const struct common_set *set, int t, struct memory *m, enum kind kind, float scale)
{
    const struct pawl_ops *ops = set->device[t]->ops;

    memcpy(m->out, m->x, (size_t)m->n * sizeof(float));
    common_poison(m->loss, m->rows);
    common_poison(m->hit, m->rows);
    if (kind == CLASSES)
        ops->cross_entropy(set->stream[t], m->loss, t == 2 ? NULL : m->hit, m->out, m->target,
                           m->rows, m->cols, scale);
    else if (kind == SQUARE)
        ops->mean_square(set->stream[t], m->loss, m->out, m->wanted, m->rows, m->cols, scale);
    else
        ops->binary_cross_entropy(set->stream[t], m->loss, m->out, m->wanted, m->rows, m->cols,
                                  scale);
    if (!t) {
        memcpy(m->first, m->out, (size_t)m->n * sizeof(float));
        memcpy(m->first_loss, m->loss, (size_t)m->rows * sizeof(float));
    }
}

static void compare(const struct common_set *set, const struct shape *s, enum kind kind,
                    float spread, float scale)
{
    struct memory m = take(s, spread);
    char where[96];

    snprintf(where, sizeof(where), "%s loss %d rows=%ld cols=%ld spread=%g", set->name, kind,
             (long)s->rows, (long)s->cols, (double)spread);
    for (int64_t r = 0; r < m.rows; r++)
        m.plain_loss[r] = plain_row(&m, r, kind, (double)scale);
    for (int t = 0; t < COMMON_THREADS; t++) {
        run(set, t, &m, kind, scale);
        common_expect(where, m.loss, m.plain_loss, m.rows, 2e-6 * (1 + (double)spread), 2e-6);
        if (scale != 0)
            common_expect(where, m.out, m.plain_grad, m.n, 5e-7 * (double)scale, 5e-6);
        else
            common_expect_same(where, m.out, m.x, m.n);
        common_expect_same(where, m.loss, m.first_loss, m.rows);
        common_expect_same(where, m.out, m.first, m.n);
        for (int64_t r = 0; r < m.rows && kind == CLASSES && t < 2; r++)
            cr_assert_eq(m.hit[r], m.target[r] >= 0
                                       && plain_hit(m.x + r * m.cols, m.target[r], m.cols),
                         "%s: hit %ld", where, (long)r);
    }
}

static void check(const struct common_set *set, const void *shape)
{
    for (int kind = 0; kind < KINDS; kind++) {
        compare(set, shape, (enum kind)kind, 3, 0.25f);
        common_release();
        compare(set, shape, (enum kind)kind, 60, 1);
        common_release();
        compare(set, shape, (enum kind)kind, 3, 0);
    }
}

Test(loss, follows_its_definition)
{
    common_each(check, shapes, sizeof(shapes[0]), SHAPES);
}

struct quotient {
    const struct memory *m;
    int64_t row;
    enum kind kind;
};

static double loss(const void *context)
{
    const struct quotient *q = context;

    return plain_row(q->m, q->row, q->kind, 1);
}

Test(loss, plain_gradient_is_the_slope)
{
    for (int s = 1; s < 7; s++)
        for (int kind = 0; kind < KINDS; kind++) {
            struct memory m = take(shapes + s, 2);
            for (int64_t i = 0; i < m.n && i < 500; i++) {
                const struct quotient q = { &m, i / m.cols, (enum kind)kind };
                loss(&q);
                common_expect_slope("loss", loss, &q, m.plain_x + i, m.plain_grad[i]);
            }
            common_release();
        }
}

// Masked classes (minus infinity) cost nothing, also when they fill whole pieces; a row with a NaN
// is NaN, its neighbours are not.
static void check_edges(const struct common_set *set, const void *shape)
{
    struct memory m = take(shape, 2);

    for (int64_t i = 0; i < m.cols; i++)
        if (i != 1500 && i != 2000) m.x[i] = -INFINITY;  // the whole first piece, too
    m.x[1500] = m.x[2000] = 5;
    m.target[0] = 2000;
    m.x[m.cols + 7] = NAN;
    for (int kind = 0; kind < KINDS; kind++) {
        run(set, 0, &m, (enum kind)kind, 1);
        for (int64_t r = 1; r < m.rows; r++)
            cr_assert_eq(isnan(m.loss[r]) != 0, r == 1);
        for (int64_t i = m.cols; i < 2 * m.cols && kind == CLASSES; i++)
            cr_assert(isnan(m.out[i]));
        for (int64_t i = 2 * m.cols; i < m.n; i++)
            cr_assert(!isnan(m.out[i]));
        if (kind != CLASSES) continue;
        cr_assert_float_eq((double)m.loss[0], log(2), 1e-6);
        cr_assert_float_eq((double)m.out[1500], 0.5, 1e-6);
        cr_assert_float_eq((double)m.out[2000], -0.5, 1e-6);
        cr_assert_eq(m.out[4], 0);
        cr_assert_eq(m.hit[0], 0);  // 1500 comes first
    }
}

Test(loss, masked_classes_and_nan)
{
    static const struct shape shape = { 3, 2500 };

    common_each(check_edges, &shape, sizeof(shape), 1);
}
