// test: timeout=600
// conv2d: the three products of a convolution against their definition, for every instruction
// set, with 1, 2 and 3 threads, which must agree to the bit.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

// batch, in (h, w, c), out (h, w, c), kernel, stride, dilation, padding in front, groups
static const struct pawl_window windows[] = {
    { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, false },  // nothing at all
    { 2, 5, 7, 3, 5, 7, 4, 1, 1, 1, 1, 1, 1, 0, 0, 1, false },  // a linear layer
    { 2, 4, 5, 3, 4, 5, 2, 1, 1, 1, 1, 1, 1, 0, 1, 1, false },  // not one: shifted by padding
    { 2, 4, 5, 3, 4, 5, 2, 1, 1, 1, 1, 1, 1, 1, 0, 1, false },
    { 3, 28, 28, 1, 28, 28, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },  // one channel, same
    { 2, 14, 13, 32, 14, 13, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },  // many channels, same
    { 2, 9, 11, 3, 7, 9, 17, 3, 3, 1, 1, 1, 1, 0, 0, 1, false },  // valid
    { 2, 10, 11, 5, 5, 6, 7, 3, 3, 2, 2, 1, 1, 0, 1, 1, false },  // stride 2, TensorFlow's same
    { 2, 12, 10, 9, 4, 5, 10, 2, 4, 3, 2, 1, 1, 0, 1, 1, false },  // strides apart
    { 1, 11, 13, 2, 4, 4, 6, 1, 1, 3, 4, 1, 1, 0, 0, 1, false },  // stride over the kernel: gaps
    { 2, 13, 12, 10, 9, 8, 12, 3, 3, 1, 1, 2, 2, 0, 0, 1, false },  // dilation
    { 2, 13, 12, 4, 13, 12, 3, 3, 3, 1, 1, 2, 3, 2, 3, 1, false },  // dilation, same
    { 1, 15, 16, 3, 5, 7, 5, 3, 2, 3, 2, 2, 2, 1, 0, 1, false },  // dilation and stride
    { 1, 16, 16, 2, 7, 6, 3, 3, 4, 2, 2, 2, 4, 1, 4, 1, false },  // not coprime: taps unused
    { 2, 8, 9, 12, 8, 9, 18, 3, 3, 1, 1, 1, 1, 1, 1, 3, false },  // groups
    { 2, 8, 9, 20, 4, 5, 6, 3, 3, 2, 2, 1, 1, 1, 1, 2, false },  // groups with stride
    { 2, 6, 5, 4, 6, 5, 8, 3, 3, 1, 1, 1, 1, 1, 1, 4, false },  // two outputs for each input
    { 2, 9, 8, 1, 9, 8, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },  // depthwise of one
    { 3, 10, 9, 37, 10, 9, 37, 3, 3, 1, 1, 1, 1, 1, 1, 37, false },  // depthwise, odd channels
    { 2, 11, 10, 72, 6, 5, 72, 3, 3, 2, 2, 1, 1, 1, 1, 72, false },  // depthwise, stride 2
    { 1, 19, 300, 9, 9, 298, 9, 5, 3, 2, 1, 1, 1, 1, 0, 9, false },  // depthwise, long rows
    { 1, 12, 12, 64, 12, 12, 64, 3, 3, 1, 1, 2, 2, 2, 2, 64, false },  // depthwise, dilation
    { 2, 1, 50, 6, 1, 46, 8, 1, 5, 1, 1, 1, 1, 0, 0, 1, false },  // 1-d
    { 1, 1, 600, 1, 1, 89, 3, 1, 512, 1, 1, 1, 1, 0, 0, 1, false },  // a kernel over two chunks
    { 1, 4, 4, 200, 4, 4, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },  // a sum over many chunks
    { 1, 3, 3, 4, 7, 7, 5, 5, 5, 1, 1, 1, 1, 4, 4, 1, false },  // more padding than image
    { 9, 24, 24, 5, 24, 24, 6, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },  // a long sum in parts
    { 2, 6, 6, 200, 5, 6, 80, 3, 3, 1, 1, 1, 1, 0, 1, 1, false },  // many weights
    // Too large for the stencil: taps that lie apart, a row that fits no scratch, a kernel neither.
    { 2, 40, 37, 3, 20, 15, 5, 12, 12, 1, 1, 2, 2, 3, 2, 1, false },
    { 1, 80, 30, 4, 12, 15, 6, 22, 14, 2, 1, 3, 2, 4, 5, 2, false },
    { 1, 3, 60000, 3, 3, 60000, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },
    { 1, 2, 2, 512, 2, 1, 1830, 3, 3, 1, 1, 1, 1, 1, 0, 1, false },
};
enum { WINDOWS = sizeof(windows) / sizeof(windows[0]) };

struct memory {
    int64_t x_count, out_count, weight_count;
    float *x, *weight, *bias, *out_grad, *saved, *before;
    float *out[COMMON_THREADS], *pre[COMMON_THREADS], *x_grad[COMMON_THREADS];
    float *weight_grad[COMMON_THREADS], *bias_grad[COMMON_THREADS];
};

static void take(struct memory *a, const struct pawl_window *w)
{
    a->x_count = w->batch * w->in_h * w->in_w * w->in_c;
    a->out_count = w->batch * w->out_h * w->out_w * w->out_c;
    a->weight_count = w->out_c * w->kernel_h * w->kernel_w * (w->in_c / w->groups);
    const int64_t all = a->x_count + a->out_count + a->weight_count;
    a->x = common_floats(a->x_count);
    a->weight = common_floats(a->weight_count);
    a->bias = common_floats(w->out_c);
    a->out_grad = common_floats(a->out_count);
    a->saved = common_floats(a->x_count);
    a->before = common_floats(all);
    for (int t = 0; t < COMMON_THREADS; t++) {
        a->out[t] = common_floats(a->out_count);
        a->pre[t] = common_floats(a->out_count);
        a->x_grad[t] = common_floats(a->x_count);
        a->weight_grad[t] = common_floats(a->weight_count);
        a->bias_grad[t] = common_floats(w->out_c);
    }
    common_fill(a->x, a->x_count, 1);
    common_fill(a->weight, a->weight_count, 2);
    common_fill(a->bias, w->out_c, 3);
    common_fill(a->out_grad, a->out_count, 4);
    common_fill(a->before, all, 5);
}

static void prepare(float *out, const float *before, int64_t count, bool add)
{
    common_poison(out, count);
    if (add) memcpy(out, before, (size_t)count * sizeof(float));
}

static void near(const char *set, const char *what, int64_t window, int64_t at, double actual,
                 double expected, int64_t terms)
{
    const double allowed = 3e-7 * (double)(terms + 10) + 1e-5 * fabs(expected);

    cr_assert(fabs(actual - expected) <= allowed, "%s %s, window %ld, element %ld: %.9g, not %.9g",
              set, what, (long)window, (long)at, actual, expected);
}

static void check_same(const char *set, int64_t window, float *const result[COMMON_THREADS],
                       int64_t count)
{
    char where[64];

    for (int t = 1; t < COMMON_THREADS; t++) {
        snprintf(where, sizeof(where), "%s window %ld, %d threads", set, (long)window, t + 1);
        common_expect_same(where, result[t], result[0], count);
    }
    common_check(where);
}

static void check_forward(const struct common_set *set, int64_t index, const struct memory *a,
                          enum pawl_activation activation, bool extras)
{
    const struct pawl_window *w = windows + index;
    const int64_t terms = a->weight_count / w->out_c;

    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(a->out[t], a->out_count);
        common_poison(a->pre[t], a->out_count);
        set->device[t]->ops->conv2d(set->stream[t], a->out[t], extras ? a->pre[t] : NULL, a->x,
                                    a->weight, extras ? a->bias : NULL, w, activation);
    }
    check_same(set->name, index, a->out, a->out_count);
    if (extras) check_same(set->name, index, a->pre, a->out_count);
    for (int64_t i = 0; i < a->out_count; i++) {
        const int64_t c = i % w->out_c, pixel = i / w->out_c;
        const int64_t place[3] = { pixel / w->out_w / w->out_h, pixel / w->out_w % w->out_h,
                                   pixel % w->out_w };
        const double pre = plain_conv2d(a->x, a->weight, w, place, c)
                           + (extras ? (double)a->bias[c] : 0);
        if (extras) near(set->name, "pre", index, i, (double)a->pre[0][i], pre, terms);
        near(set->name, "conv2d", index, i, (double)a->out[0][i], plain_activate(pre, activation),
             terms);
    }
}

static void check_back_x(const struct common_set *set, int64_t index, const struct memory *a,
                         enum pawl_activation activation, bool add)
{
    const struct pawl_window *w = windows + index;

    for (int64_t i = 0; i < a->x_count; i++)
        a->saved[i] = (float)plain_saved((double)a->x[i], activation);
    for (int t = 0; t < COMMON_THREADS; t++) {
        prepare(a->x_grad[t], a->before, a->x_count, add);
        set->device[t]->ops->conv2d_back_x(set->stream[t], a->x_grad[t], a->out_grad, a->weight,
                                           activation ? a->saved : NULL, w, activation, add);
    }
    check_same(set->name, index, a->x_grad, a->x_count);
    for (int64_t i = 0; i < a->x_count; i++) {
        const int64_t pixel = i / w->in_c;
        const int64_t place[3] = { pixel / w->in_w / w->in_h, pixel / w->in_w % w->in_h,
                                   pixel % w->in_w };
        const double sum = plain_conv2d_back_x(a->out_grad, a->weight, w, place, i % w->in_c);
        near(set->name, "conv2d_back_x", index, i, (double)a->x_grad[0][i],
             sum * plain_slope((double)a->x[i], activation) + (add ? (double)a->before[i] : 0),
             w->kernel_h * w->kernel_w * w->out_c / w->groups);
    }
}

static void check_back_weight(const struct common_set *set, int64_t index, const struct memory *a,
                              bool bias, bool add)
{
    const struct pawl_window *w = windows + index;
    const int64_t channels = w->in_c / w->groups, terms = a->out_count / w->out_c;

    for (int t = 0; t < COMMON_THREADS; t++) {
        prepare(a->weight_grad[t], a->before, a->weight_count, add);
        prepare(a->bias_grad[t], a->before, w->out_c, add);
        set->device[t]->ops->conv2d_back_weight(set->stream[t], a->weight_grad[t],
                                                bias ? a->bias_grad[t] : NULL, a->out_grad, a->x,
                                                w, add);
    }
    check_same(set->name, index, a->weight_grad, a->weight_count);
    for (int64_t i = 0; i < a->weight_count; i++) {
        const int64_t tap = i / channels;
        const int64_t kernel[4] = { tap / w->kernel_w / w->kernel_h,
                                    tap / w->kernel_w % w->kernel_h, tap % w->kernel_w,
                                    i % channels };
        near(set->name, "conv2d_back_weight", index, i, (double)a->weight_grad[0][i],
             plain_conv2d_back_weight(a->out_grad, a->x, w, kernel)
                 + (add ? (double)a->before[i] : 0), terms);
    }
    if (!bias) return;
    check_same(set->name, index, a->bias_grad, w->out_c);
    for (int64_t c = 0; c < w->out_c; c++) {
        double sum = add ? (double)a->before[c] : 0;
        for (int64_t i = c; i < a->out_count; i += w->out_c)
            sum += (double)a->out_grad[i];
        near(set->name, "bias_grad", index, c, (double)a->bias_grad[0][c], sum, terms);
    }
}

// Fibers take their time: nothing of much work for them. tiles.c has windows for their tiles.
static bool too_much(const struct common_set *set, const struct pawl_window *w)
{
    return !strcmp(set->name, "simt")
           && w->batch * w->out_h * w->out_w * w->out_c * w->kernel_h * w->kernel_w * w->in_c
                      / w->groups > 1000000;
}

Test(conv2d, equals_the_definition_for_any_window_and_threads)
{
    struct common_set set;

    for (int i = 0; i < COMMON_SETS; i++) {
        if (!common_open(&set, i)) continue;
        for (int64_t c = 0; c < WINDOWS; c++) {
            struct memory a;
            if (too_much(&set, windows + c)) continue;
            take(&a, windows + c);
            check_forward(&set, c, &a, PAWL_LINEAR, c % 2);
            check_forward(&set, c, &a, PAWL_RELU, !(c % 2));
            check_back_x(&set, c, &a, PAWL_LINEAR, c % 2);
            check_back_x(&set, c, &a, PAWL_SILU, !(c % 2));
            check_back_weight(&set, c, &a, true, c % 2);
            check_back_weight(&set, c, &a, false, !(c % 2));
            common_release();
        }
        common_close(&set);
    }
}

// An input that is NaN reaches the outputs whose patches hold it, in all their channels (of the
// group), and no others.
static void check_nan(const struct common_set *set, int64_t index)
{
    const struct pawl_window *w = windows + index;
    const int64_t at_y = w->in_h / 2, at_x = w->in_w / 2, group = w->in_c / w->groups;
    struct memory a;

    take(&a, w);
    a.x[(at_y * w->in_w + at_x) * w->in_c] = NAN;
    set->device[1]->ops->conv2d(set->stream[1], a.out[1], NULL, a.x, a.weight, a.bias, w,
                                PAWL_GELU_TANH);
    for (int64_t i = 0; i < a.out_count; i++) {
        const int64_t c = i % w->out_c, pixel = i / w->out_c;
        const int64_t place[3] = { pixel / w->out_w / w->out_h, pixel / w->out_w % w->out_h,
                                   pixel % w->out_w };
        const bool expected = isnan(plain_conv2d(a.x, a.weight, w, place, c));
        cr_assert_eq(isnan(a.out[1][i]) != 0, expected, "%s window %ld element %ld", set->name,
                     (long)index, (long)i);
    }
    set->device[1]->ops->conv2d_back_weight(set->stream[1], a.weight_grad[1], NULL, a.out_grad,
                                            a.x, w, false);
    for (int64_t i = 0; i < a.weight_count; i++) {
        const int64_t tap = i / group;
        const int64_t kernel[4] = { tap / w->kernel_w / w->kernel_h,
                                    tap / w->kernel_w % w->kernel_h, tap % w->kernel_w, i % group };
        const bool expected = isnan(plain_conv2d_back_weight(a.out_grad, a.x, w, kernel));
        cr_assert_eq(isnan(a.weight_grad[1][i]) != 0, expected, "%s window %ld weight %ld",
                     set->name, (long)index, (long)i);
    }
    common_release();
}

Test(conv2d, nan_goes_in_and_comes_out)
{
    struct common_set set;

    for (int i = 0; i < COMMON_SETS; i++) {
        if (!common_open(&set, i)) continue;
        for (int64_t c = 0; c < WINDOWS; c++)
            if (!too_much(&set, windows + c)) check_nan(&set, c);
        common_close(&set);
    }
}
