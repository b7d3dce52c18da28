// pooling: windows with stride, dilation and uneven padding against a visit of every place.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

// The outputs reach as far as at least one row of padding allows. Two images: padding counts.
#define WINDOW(n, h, w, c, kh, kw, sh, sw, dh, dw, top, left, oh, ow)                             \
    { n, h, w, c, oh, ow, c, kh, kw, sh, sw, dh, dw, top, left, c, (n) == 2 }

static const struct pawl_window windows[] = {
    WINDOW(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1),
    WINDOW(1, 4, 4, 3, 2, 2, 2, 2, 1, 1, 0, 0, 2, 2),
    WINDOW(3, 14, 14, 32, 2, 2, 2, 2, 1, 1, 0, 0, 7, 7),
    WINDOW(2, 7, 9, 17, 3, 3, 2, 2, 1, 1, 1, 1, 4, 5),
    WINDOW(2, 8, 5, 70, 3, 2, 1, 2, 1, 1, 1, 0, 8, 3),
    WINDOW(1, 9, 9, 8, 3, 3, 1, 1, 2, 2, 2, 2, 9, 9),
    WINDOW(1, 10, 11, 5, 2, 3, 3, 2, 3, 2, 4, 3, 5, 7),
    WINDOW(2, 6, 6, 130, 6, 6, 1, 1, 1, 1, 0, 0, 1, 1),
    WINDOW(1, 3, 3, 4, 2, 2, 4, 4, 1, 1, 2, 2, 3, 3),  // corners lie wholly in padding
};
enum { WINDOWS = sizeof(windows) / sizeof(windows[0]) };

struct memory {
    int64_t in_count, out_count;
    float *x, *out, *out_grad, *x_grad, *before, *first, *first_grad;
    int32_t *index, *expected_index;
    double *plain_x, *plain_out, *plain_out_grad, *plain_grad;
};

static struct memory take(const struct pawl_window *w)
{
    struct memory m = { .in_count = w->batch * w->in_h * w->in_w * w->in_c,
                        .out_count = w->batch * w->out_h * w->out_w * w->out_c };

    m.x = common_floats(m.in_count);
    m.x_grad = common_floats(m.in_count);
    m.first_grad = common_floats(m.in_count);
    m.before = common_floats(m.in_count);
    m.out = common_floats(m.out_count);
    m.first = common_floats(m.out_count);
    m.out_grad = common_floats(m.out_count);
    m.index = common_ints(m.out_count);
    m.expected_index = common_ints(m.out_count);
    common_fill(m.x, m.in_count, 1);
    for (int64_t i = 0; i < m.in_count; i++)
        m.x[i] = roundf(m.x[i] * 5) / 5 - 2;  // all below 0, and many equal
    common_fill(m.out_grad, m.out_count, 2);
    common_fill(m.before, m.in_count, 3);
    m.plain_x = common_widen(m.x, m.in_count);
    m.plain_out_grad = common_widen(m.out_grad, m.out_count);
    m.plain_out = common_doubles(m.out_count);
    m.plain_grad = common_doubles(m.in_count);
    return m;
}

static void check_forward(const struct common_set *set, const struct pawl_window *w,
                          struct memory *m, bool largest, const char *where)
{
    if (largest)
        plain_max_pool2d(m->plain_out, m->expected_index, m->plain_x, w);
    else
        plain_avg_pool2d(m->plain_out, m->plain_x, w);
    for (int t = 0; t < COMMON_THREADS; t++) {
        const struct pawl_ops *ops = set->device[t]->ops;
        common_poison(m->out, m->out_count);
        memset(m->index, 0x55, (size_t)m->out_count * sizeof(int32_t));
        if (largest)
            ops->max_pool2d(set->stream[t], m->out, m->index, m->x, w);
        else
            ops->avg_pool2d(set->stream[t], m->out, m->x, w);
        common_expect(where, m->out, m->plain_out, m->out_count, largest ? 0 : 1e-6,
                      largest ? 0 : 1e-6);
        for (int64_t i = 0; largest && i < m->out_count; i++)
            cr_assert_eq(m->index[i], m->expected_index[i], "%s: index %ld is %d, not %d", where,
                         (long)i, m->index[i], m->expected_index[i]);
        if (!t) memcpy(m->first, m->out, (size_t)m->out_count * sizeof(float));
        common_expect_same(where, m->out, m->first, m->out_count);
    }
}

static void check_backward(const struct common_set *set, const struct pawl_window *w,
                           struct memory *m, bool largest, bool add, const char *where)
{
    if (largest)
        plain_max_pool2d_back(m->plain_grad, m->plain_out_grad, m->expected_index, w);
    else
        plain_avg_pool2d_back(m->plain_grad, m->plain_out_grad, w);
    for (int64_t i = 0; add && i < m->in_count; i++)
        m->plain_grad[i] += (double)m->before[i];
    for (int t = 0; t < COMMON_THREADS; t++) {
        const struct pawl_ops *ops = set->device[t]->ops;
        common_poison(m->x_grad, m->in_count);
        if (add) memcpy(m->x_grad, m->before, (size_t)m->in_count * sizeof(float));
        if (largest)
            ops->max_pool2d_back(set->stream[t], m->x_grad, m->out_grad, m->index, w, add);
        else
            ops->avg_pool2d_back(set->stream[t], m->x_grad, m->out_grad, w, add);
        common_expect(where, m->x_grad, m->plain_grad, m->in_count, 2e-6, 1e-6);
        if (!t) memcpy(m->first_grad, m->x_grad, (size_t)m->in_count * sizeof(float));
        common_expect_same(where, m->x_grad, m->first_grad, m->in_count);
    }
}

static void check(const struct common_set *set, const void *shape)
{
    struct memory m = take(shape);
    char where[64];

    snprintf(where, sizeof(where), "%s window %ld", set->name,
             (long)((const struct pawl_window *)shape - windows));
    for (int largest = 0; largest < 2; largest++) {
        check_forward(set, shape, &m, largest, where);
        check_backward(set, shape, &m, largest, false, where);
        check_backward(set, shape, &m, largest, true, where);
    }
}

Test(pooling, follows_its_definition)
{
    common_each(check, windows, sizeof(windows[0]), WINDOWS);
}

struct quotient {
    const struct pawl_window *w;
    const struct memory *m;
    bool largest;
};

static double loss(const void *context)
{
    const struct quotient *q = context;
    double sum = 0;

    if (q->largest)
        plain_max_pool2d(q->m->plain_out, q->m->expected_index, q->m->plain_x, q->w);
    else
        plain_avg_pool2d(q->m->plain_out, q->m->plain_x, q->w);
    for (int64_t i = 0; i < q->m->out_count; i++)
        sum += q->m->plain_out[i] * q->m->plain_out_grad[i];
    return sum;
}

Test(pooling, plain_backward_is_the_slope)
{
    for (int i = 0; i < WINDOWS * 2; i++) {
        const struct pawl_window *w = windows + i / 2;
        struct memory m = take(w);
        const struct quotient q = { w, &m, i % 2 };
        for (int64_t j = 0; j < m.in_count; j++)
            m.plain_x[j] += 0.19 * fmod(0.618034 * (double)j, 1);  // no equals within a step
        loss(&q);
        if (q.largest)
            plain_max_pool2d_back(m.plain_grad, m.plain_out_grad, m.expected_index, w);
        else
            plain_avg_pool2d_back(m.plain_grad, m.plain_out_grad, w);
        for (int64_t j = 0; j < m.in_count; j += 1 + m.in_count / 200)
            common_expect_slope("pool", loss, &q, m.plain_x + j, m.plain_grad[j]);
        common_release();
    }
}

static void check_nan(const struct common_set *set, const void *shape)
{
    const struct pawl_window *w = shape;
    struct memory m = take(w);
    const int64_t pixel = 3 * w->in_w + 5;  // window (1, 2)

    m.x[pixel * w->in_c + 9] = NAN;
    for (int largest = 0; largest < 2; largest++) {
        if (largest)
            set->device[0]->ops->max_pool2d(set->stream[0], m.out, m.index, m.x, w);
        else
            set->device[0]->ops->avg_pool2d(set->stream[0], m.out, m.x, w);
        for (int64_t i = 0; i < m.out_count; i++)
            cr_assert_eq(isnan(m.out[i]) != 0, i == (w->out_w + 2) * w->out_c + 9);
    }
}

Test(pooling, nan_goes_in_and_comes_out)
{
    common_each(check_nan, windows + 2, sizeof(windows[0]), 1);
}
