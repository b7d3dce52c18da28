// norms: batch norm and group norm, and their gradients, against means and variances written out.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

static const float epsilon = 1e-5f;

// Batch norm has batch 1 and as many groups as columns. One row, one column, widths around packs
// of 16 bytes, around lines of 32, rows enough for many blocks, groups that share a pack.
static const struct pawl_group_norm shapes[] = {
    { 1, 1, 1, 1, epsilon },      { 1, 2, 3, 3, epsilon },      { 1, 33, 1, 1, epsilon },
    { 1, 7, 31, 31, epsilon },    { 1, 300, 32, 32, epsilon },  { 1, 70, 100, 100, epsilon },
    { 1, 4000, 4, 4, epsilon },   { 1, 17, 1032, 1032, epsilon }, { 1, 2500, 10, 10, epsilon },
    { 2, 3, 4, 2, epsilon },      { 3, 5, 6, 3, epsilon },      { 2, 49, 32, 8, epsilon },
    { 4, 1, 64, 4, epsilon },     { 2, 100, 70, 7, epsilon },   { 1, 300, 128, 1, epsilon },
    { 5, 7, 33, 11, epsilon },    { 2, 16, 1028, 4, epsilon },
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

struct memory {
    struct pawl_group_norm n;
    int64_t count, stats;
    float *x, *out_grad, *weight, *bias, *out, *x_grad, *before, *first;
    float *mean, *rstd, *sums, *running, *next;
    double *plain_out, *plain_mean, *plain_rstd, *plain_x_grad, *plain_sums;
    double slack;
};

static struct memory take(const struct pawl_group_norm *n, bool parameters)
{
    struct memory m = { .n = *n, .count = n->batch * n->rows * n->cols,
                        .stats = n->batch * n->groups };
    float **big[] = { &m.x, &m.out_grad, &m.before, &m.out, &m.x_grad, &m.first };

    for (int i = 0; i < 6; i++) {
        *big[i] = common_floats(m.count);
        common_fill(*big[i], m.count, (uint64_t)i);
    }
    for (int64_t i = 0; i < m.count; i++)
        m.x[i] = m.x[i] * 3 + 2;
    m.weight = common_floats(n->cols);
    m.bias = common_floats(n->cols);
    common_fill(m.weight, n->cols, 7);
    common_fill(m.bias, n->cols, 8);
    for (int64_t i = 0; i < n->cols && !parameters; i++) {
        m.weight[i] = 1;
        m.bias[i] = 0;
    }
    m.mean = common_floats(m.stats);
    m.rstd = common_floats(m.stats);
    m.sums = common_floats(n->batch * 2 * n->cols);
    m.running = common_floats(2 * n->cols);
    m.next = common_floats(2 * n->cols);
    m.plain_out = common_doubles(m.count);
    m.plain_x_grad = common_doubles(m.count);
    m.plain_mean = common_doubles(m.stats);
    m.plain_rstd = common_doubles(m.stats);
    m.plain_sums = common_doubles(n->batch * 2 * n->cols);
    // One element, or two that are nearly equal, make rstd large, and with it the error.
    m.slack = n->rows * (n->cols / n->groups) < 4 ? 2e-4 : 2e-5;
    plain_group_norm(m.plain_out, m.plain_mean, m.plain_rstd, common_widen(m.x, m.count),
                     common_widen(m.weight, n->cols), common_widen(m.bias, n->cols), n);
    plain_group_norm_back(m.plain_x_grad, m.plain_sums, common_widen(m.out_grad, m.count),
                          common_widen(m.x, m.count), common_widen(m.weight, n->cols), n);
    return m;
}

static const char *name_of(const struct common_set *set, const struct memory *m)
{
    static char where[96];

    snprintf(where, sizeof(where), "%s batch=%ld rows=%ld cols=%ld groups=%ld", set->name,
             (long)m->n.batch, (long)m->n.rows, (long)m->n.cols, (long)m->n.groups);
    return where;
}

// The first of the threads' results; the same bits from the others.
static void expect_same(const char *where, struct memory *m, const float *actual, int t)
{
    if (!t) memcpy(m->first, actual, (size_t)m->count * sizeof(float));
    common_expect_same(where, actual, m->first, m->count);
}

static void expect_sum(const char *where, const float *actual, const double *grad,
                       const float *before_or_null, int64_t count, double absolute)
{
    for (int64_t i = 0; i < count; i++) {
        const double expected = grad[i] + (before_or_null ? (double)before_or_null[i] : 0);
        common_expect(where, actual + i, &expected, 1, absolute, 2e-5);
    }
}

// ---- batch norm

static struct pawl_batch_norm batch_of(const struct memory *m, bool training)
{
    return (struct pawl_batch_norm){
        .rows = m->n.rows, .cols = m->n.cols, .epsilon = epsilon, .momentum = 0.1f,
        .unbiased = m->n.rows > 1, .training = training, .running_mean = m->running,
        .running_var = m->running + m->n.cols, .next_mean = m->next,
        .next_var = m->next + m->n.cols,
    };
}

static void check_running(const char *where, const struct memory *m)
{
    const double rows = (double)m->n.rows;

    for (int64_t i = 0; i < m->n.cols; i++) {
        const double biased = 1 / (m->plain_rstd[i] * m->plain_rstd[i]) - (double)epsilon;
        const double variance = rows > 1 ? biased * rows / (rows - 1) : biased;
        const double next[] = { 0.9 * (double)m->running[i] + 0.1 * m->plain_mean[i],
                                0.9 * (double)m->running[m->n.cols + i] + 0.1 * variance };
        common_expect(where, m->next + i, next, 1, 1e-6, 2e-5);
        common_expect(where, m->next + m->n.cols + i, next + 1, 1, 1e-6, 2e-5);
    }
}

static void forward_batch(const struct common_set *set, struct memory *m, bool parameters)
{
    const char *where = name_of(set, m);
    const struct pawl_batch_norm norm = batch_of(m, true);

    common_fill(m->running, 2 * m->n.cols, 9);
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(m->out, m->count);
        set->device[t]->ops->batch_norm(set->stream[t], m->out, m->mean, m->rstd, m->x,
                                        parameters ? m->weight : NULL,
                                        parameters ? m->bias : NULL, &norm);
        common_expect(where, m->out, m->plain_out, m->count, m->slack, 1e-5);
        common_expect(where, m->mean, m->plain_mean, m->stats, 1e-6, 1e-6);
        common_expect(where, m->rstd, m->plain_rstd, m->stats, 0, 1e-4);
        check_running(where, m);
        expect_same(where, m, m->out, t);
    }
}

static void backward_batch(const struct common_set *set, struct memory *m, bool parameters,
                           int flags)
{
    const char *where = name_of(set, m);
    const bool add_x = flags & 1, add = flags & 2;
    float *grads = m->next;
    double *expected = common_doubles(2 * m->n.cols);

    for (int64_t i = 0; i < 2 * m->n.cols; i++)
        expected[i] = m->plain_sums[i] + (add ? (double)m->running[i] : 0);
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(m->x_grad, m->count);
        common_poison(grads, 2 * m->n.cols);
        if (add_x) memcpy(m->x_grad, m->before, (size_t)m->count * sizeof(float));
        if (add) memcpy(grads, m->running, (size_t)m->n.cols * 2 * sizeof(float));
        set->device[t]->ops->batch_norm_back(
            set->stream[t], m->x_grad, parameters ? grads + m->n.cols : NULL, grads,
            m->out_grad, m->x, m->mean, m->rstd, parameters ? m->weight : NULL, m->n.rows,
            m->n.cols, add_x, add);
        expect_sum(where, m->x_grad, m->plain_x_grad, add_x ? m->before : NULL, m->count,
                   m->slack);
        common_expect(where, grads, expected, m->n.cols * (parameters ? 2 : 1),
                      2e-5 * sqrt((double)m->n.rows), 1e-5);
        expect_same(where, m, m->x_grad, t);
    }
}

// Without training: the running statistics. And the parameters' gradients alone.
static void check_rest(const struct common_set *set, struct memory *m)
{
    const struct pawl_batch_norm norm = batch_of(m, false);
    float *mean = common_floats(m->n.cols), *grads = m->next;

    common_poison(mean, m->n.cols);
    for (int64_t i = 0; i < m->n.cols; i++)
        m->running[m->n.cols + i] = 0.5f + fabsf(m->running[m->n.cols + i]);
    set->device[0]->ops->batch_norm(set->stream[0], m->out, mean, mean, m->x, m->weight, m->bias,
                                    &norm);
    for (int64_t i = 0; i < m->count; i++) {
        const int64_t c = i % m->n.cols;
        const double variance = (double)m->running[m->n.cols + c] + (double)epsilon;
        const double expected = ((double)m->x[i] - (double)m->running[c]) / sqrt(variance)
                                * (double)m->weight[c] + (double)m->bias[c];
        common_expect(name_of(set, m), m->out + i, &expected, 1, 1e-5, 1e-5);
    }
    for (int64_t i = 0; i < m->n.cols; i++)
        cr_assert(isnan(mean[i]));
    set->device[0]->ops->batch_norm_back(set->stream[0], NULL, grads + m->n.cols, NULL,
                                         m->out_grad, m->x, m->mean, m->rstd, NULL, m->n.rows,
                                         m->n.cols, false, false);
    common_expect(name_of(set, m), grads + m->n.cols, m->plain_sums + m->n.cols, m->n.cols,
                  2e-5 * sqrt((double)m->n.rows), 1e-5);
}

static void check_batch(const struct common_set *set, const void *shape)
{
    const struct pawl_group_norm *n = shape;

    if (n->batch != 1 || n->groups != n->cols) return;
    for (int parameters = 0; parameters < 2; parameters++) {
        struct memory m = take(shape, parameters);
        forward_batch(set, &m, parameters);
        for (int flags = 0; flags < 4; flags++)
            backward_batch(set, &m, parameters, flags);
        check_rest(set, &m);
    }
}

Test(batch_norm, follows_its_definition)
{
    common_each(check_batch, shapes, sizeof(shapes[0]), SHAPES);
}

// The variance of numbers that lie far from 0 is not lost.
static void check_far(const struct common_set *set, const void *shape)
{
    struct memory m = take(shape, true);
    const struct pawl_batch_norm norm = batch_of(&m, true);

    for (int64_t i = 0; i < m.count; i++)
        m.x[i] = 10000 + (float)(i / m.n.cols % 2);
    set->device[0]->ops->batch_norm(set->stream[0], m.out, m.mean, m.rstd, m.x, NULL, NULL, &norm);
    for (int64_t i = 0; i < m.n.cols; i++)
        cr_assert_float_eq((double)m.rstd[i], 2, 1e-3, "%s: %g", set->name, (double)m.rstd[i]);
}

Test(batch_norm, far_from_zero)
{
    common_each(check_far, shapes + 4, sizeof(shapes[0]), 3);
}

// ---- group norm

static void check_group(const struct common_set *set, const void *shape)
{
    for (int parameters = 0; parameters < 2; parameters++) {
        struct memory m = take(shape, parameters);
        const float *weight = parameters ? m.weight : NULL, *bias = parameters ? m.bias : NULL;
        const char *where = name_of(set, &m);
        for (int t = 0; t < COMMON_THREADS; t++) {
            common_poison(m.out, m.count);
            set->device[t]->ops->group_norm(set->stream[t], m.out, m.mean, m.rstd, m.x, weight,
                                            bias, &m.n);
            common_expect(where, m.out, m.plain_out, m.count, m.slack, 1e-5);
            common_expect(where, m.mean, m.plain_mean, m.stats, 1e-6, 1e-6);
            common_expect(where, m.rstd, m.plain_rstd, m.stats, 0, 1e-4);
            expect_same(where, &m, m.out, t);
        }
        for (int t = 0; t < 2 * COMMON_THREADS; t++) {
            const bool add_x = t >= COMMON_THREADS;
            common_poison(m.x_grad, m.count);
            common_poison(m.sums, m.n.batch * 2 * m.n.cols);
            if (add_x) memcpy(m.x_grad, m.before, (size_t)m.count * sizeof(float));
            set->device[t % 3]->ops->group_norm_back(set->stream[t % 3], m.x_grad, m.sums,
                                                     m.out_grad, m.x, m.mean, m.rstd, weight,
                                                     &m.n, add_x);
            expect_sum(where, m.x_grad, m.plain_x_grad, add_x ? m.before : NULL, m.count, m.slack);
            common_expect(where, m.sums, m.plain_sums, m.n.batch * 2 * m.n.cols,
                          2e-5 * sqrt((double)m.n.rows), 1e-5);
            expect_same(where, &m, m.x_grad, t % 3);
        }
    }
}

Test(group_norm, follows_its_definition)
{
    common_each(check_group, shapes, sizeof(shapes[0]), SHAPES);
}

struct quotient {
    const struct memory *m;
    const double *x, *weight, *bias;
};

static double loss(const void *context)
{
    const struct quotient *q = context;
    double sum = 0;

    plain_group_norm(q->m->plain_out, q->m->plain_mean, q->m->plain_rstd, q->x, q->weight, q->bias,
                     &q->m->n);
    for (int64_t i = 0; i < q->m->count; i++)
        sum += q->m->plain_out[i] * (double)q->m->out_grad[i];
    return sum;
}

Test(group_norm, plain_backward_is_the_slope)
{
    for (int s = 9; s < 11; s++) {
        struct memory m = take(shapes + s, true);
        double *x = common_widen(m.x, m.count), *weight = common_widen(m.weight, m.n.cols);
        const struct quotient q = { &m, x, weight, common_widen(m.bias, m.n.cols) };
        for (int64_t i = 0; i < m.count; i++)
            common_expect_slope("x", loss, &q, x + i, m.plain_x_grad[i]);
        for (int64_t i = 0; i < m.n.cols; i++) {
            double all = 0;
            for (int64_t b = 0; b < m.n.batch; b++)
                all += m.plain_sums[(b * 2 + 1) * m.n.cols + i];
            common_expect_slope("weight", loss, &q, weight + i, all);
        }
        common_release();
    }
}
