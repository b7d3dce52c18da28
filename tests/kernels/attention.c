// attention: forward and backward against the whole matrix of weights, and the plain backward
// against difference quotients.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

// Around the sizes of tiles (96, 128, 258 positions; 4 to 16 lanes; 6 rows), and grouped heads.
static const struct pawl_attention shapes[] = {
    { 1, 1, 1, 1, 1, true },    { 1, 2, 1, 1, 3, true },    { 2, 5, 2, 2, 4, true },
    { 1, 6, 1, 1, 8, false },   { 1, 7, 3, 1, 5, true },    { 2, 31, 2, 1, 16, true },
    { 1, 96, 1, 1, 17, true },  { 1, 49, 4, 2, 7, false },  { 1, 128, 2, 2, 32, true },
    { 1, 65, 1, 1, 33, true },  { 2, 97, 2, 2, 20, true },  { 1, 97, 6, 2, 12, false },
    { 1, 193, 1, 1, 64, true }, { 1, 130, 2, 1, 80, false }, { 1, 259, 1, 1, 24, true },
    { 1, 259, 2, 1, 9, false }, { 1, 521, 1, 1, 6, true },  { 1, 70, 1, 1, 256, true },
    { 1, 53, 2, 2, 127, true }, { 3, 256, 2, 2, 64, true },
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

struct memory {
    int64_t qkv_count, out_count, lse_count;
    float *qkv, *out_grad, *out, *lse, *qkv_grad, *first_out, *first_lse, *first_grad;
    double *plain_qkv, *plain_out, *plain_lse, *plain_out_grad, *plain_grad;
};

static struct memory take(const struct pawl_attention *a, float spread)
{
    struct memory m = { 0 };

    m.qkv_count = a->batch * a->time * (a->heads + 2 * a->kv_heads) * a->dim;
    m.out_count = a->batch * a->time * a->heads * a->dim;
    m.lse_count = a->batch * a->heads * a->time;
    m.qkv = common_floats(m.qkv_count);
    m.qkv_grad = common_floats(m.qkv_count);
    m.first_grad = common_floats(m.qkv_count);
    m.out_grad = common_floats(m.out_count);
    m.out = common_floats(m.out_count);
    m.first_out = common_floats(m.out_count);
    m.lse = common_floats(m.lse_count);
    m.first_lse = common_floats(m.lse_count);
    common_fill(m.qkv, m.qkv_count, 1);
    common_fill(m.out_grad, m.out_count, 2);
    for (int64_t i = 0; i < m.qkv_count; i++)
        m.qkv[i] *= spread;
    m.plain_qkv = common_widen(m.qkv, m.qkv_count);
    m.plain_out_grad = common_widen(m.out_grad, m.out_count);
    m.plain_out = common_doubles(m.out_count);
    m.plain_lse = common_doubles(m.lse_count);
    m.plain_grad = common_doubles(m.qkv_count);
    return m;
}

static void run(const struct common_set *set, int t, struct memory *m,
                const struct pawl_attention *a)
{
    const struct pawl_ops *ops = set->device[t]->ops;

    common_poison(m->out, m->out_count);
    common_poison(m->lse, m->lse_count);
    common_poison(m->qkv_grad, m->qkv_count);
    ops->attention(set->stream[t], m->out, m->lse, m->qkv, a);
    ops->attention_back(set->stream[t], m->qkv_grad, m->out_grad, m->qkv, m->out, m->lse, a);
    cr_assert_eq(pawl_stream_wait(set->stream[t]), 0);
    if (t) return;
    memcpy(m->first_out, m->out, (size_t)m->out_count * sizeof(float));
    memcpy(m->first_lse, m->lse, (size_t)m->lse_count * sizeof(float));
    memcpy(m->first_grad, m->qkv_grad, (size_t)m->qkv_count * sizeof(float));
}

static void compare(const struct common_set *set, const struct pawl_attention *a, float spread)
{
    struct memory m = take(a, spread);
    char where[128];

    snprintf(where, sizeof(where), "%s time=%ld heads=%ld/%ld dim=%ld%s spread=%g", set->name,
             (long)a->time, (long)a->heads, (long)a->kv_heads, (long)a->dim,
             a->causal ? " causal" : "", (double)spread);
    plain_attention(m.plain_out, m.plain_lse, m.plain_qkv, a);
    plain_attention_back(m.plain_grad, m.plain_out_grad, m.plain_qkv, a);
    // A score's rounding error is the weights' relative error, and weighs values of size spread.
    const double scale = 1 + pow((double)spread, 3) / 4;
    for (int t = 0; t < COMMON_THREADS; t++) {
        run(set, t, &m, a);
        common_expect(where, m.out, m.plain_out, m.out_count, 2e-6 * scale, 1e-5);
        common_expect(where, m.lse, m.plain_lse, m.lse_count, 2e-6 * scale, 2e-6);
        common_expect(where, m.qkv_grad, m.plain_grad, m.qkv_count, 8e-6 * scale, 2e-5);
        common_expect_same(where, m.out, m.first_out, m.out_count);
        common_expect_same(where, m.lse, m.first_lse, m.lse_count);
        common_expect_same(where, m.qkv_grad, m.first_grad, m.qkv_count);
    }
}

static void check_flat(const struct common_set *set, const void *shape)
{
    compare(set, shape, 1);
}

// Scores up to 200: one weight near 1, and sums that only the running maximum keeps finite.
static void check_steep(const struct common_set *set, const void *shape)
{
    compare(set, shape, 12);
}

Test(attention, follows_its_definition)
{
    common_each(check_flat, shapes, sizeof(shapes[0]), SHAPES);
}

Test(attention, stays_finite_with_large_scores)
{
    common_each(check_steep, shapes, sizeof(shapes[0]), SHAPES);
}

struct quotient {
    const struct memory *m;
    const struct pawl_attention *a;
};

static double loss(const void *context)
{
    const struct quotient *q = context;
    double sum = 0;

    plain_attention(q->m->plain_out, q->m->plain_lse, q->m->plain_qkv, q->a);
    for (int64_t i = 0; i < q->m->out_count; i++)
        sum += q->m->plain_out[i] * q->m->plain_out_grad[i];
    return sum;
}

Test(attention, plain_backward_is_the_slope)
{
    for (int i = 0; i < 8; i++) {
        struct memory m = take(shapes + i, 1);
        const struct quotient q = { &m, shapes + i };
        plain_attention_back(m.plain_grad, m.plain_out_grad, m.plain_qkv, shapes + i);
        for (int64_t j = 0; j < m.qkv_count; j += 1 + m.qkv_count / 300)
            common_expect_slope("attention", loss, &q, m.plain_qkv + j, m.plain_grad[j]);
        common_release();
    }
}

// A NaN in position 10's key is seen from there on; one in its query only there.
static void check_nan(const struct common_set *set, const void *shape)
{
    const struct pawl_attention *a = shape;
    struct memory m = take(a, 1);
    const int64_t row = 3 * a->dim;

    m.qkv[10 * row + a->dim + 1] = NAN;
    run(set, 1, &m, a);
    for (int64_t t = 0; t < a->time; t++)
        cr_assert_eq(isnan(m.out[t * a->dim]) != 0, t >= 10, "%s: %ld", set->name, (long)t);
    for (int64_t t = 10; t < a->time; t++)
        cr_assert(isnan(m.qkv_grad[t * row]), "%s: %ld", set->name, (long)t);
    common_fill(m.qkv, m.qkv_count, 1);
    m.qkv[10 * row + 1] = NAN;
    run(set, 1, &m, a);
    for (int64_t t = 0; t < a->time; t++)
        cr_assert_eq(isnan(m.out[t * a->dim]) != 0, t == 10, "%s: %ld", set->name, (long)t);
}

Test(attention, nan_goes_in_and_comes_out)
{
    static const struct pawl_attention shape = { 1, 75, 1, 1, 19, true };

    common_each(check_nan, &shape, sizeof(shape), 1);
}
