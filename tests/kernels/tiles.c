// test: cxx timeout=600
// tiles: products, attention and convolutions of the GPU's kernels, in fp32 and bf16, against their
// definitions, at the edges of their tiles: one more and one less than a tile's rows, columns and
// depth, what copies by 16 bytes and what does not, large blocks, and sums in parts.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/plugin.h"
#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

static const struct pawl_plugin *plugin;
static struct pawl_stream stream;
static enum pawl_plugin_type type;  // the one that runs

static const struct pawl_ops *ops(void) { return plugin->ops[type]; }
static size_t width(void) { return type == PAWL_PLUGIN_BF16 ? 2 : 4; }

static void open_fibers(const char *seed)
{
    setenv("PAWL_SIMT_SEED", seed, 1);
    cr_assert_eq(pawl_plugin_open(&plugin, "libpawl-simt.so", "PAWL_SIMT_LIBRARY"), 0, "%s",
                 pawl_error());
}

// ---- numbers: as floats that bf16 has, and as the kernels see them

// To nearest, ties to even.
static uint16_t narrowed(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float widened(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float out;

    memcpy(&out, &bits, sizeof(out));
    return out;
}

// A block that ends at a page nobody may touch, and begins where 16 bytes copy at once if its size
// allows it.
static void *values(int64_t count)
{
    return (char *)common_floats((count * (int64_t)width() + 3) / 4)
           + (count * (int64_t)width()) % 4;
}

static float *numbers(int64_t count, uint64_t seed)
{
    float *out = common_floats(count);

    common_fill(out, count, seed);
    for (int64_t i = 0; i < count; i++)
        out[i] = widened(narrowed(out[i]));
    return out;
}

static void *as_values(const float *in, int64_t count)
{
    void *out = values(count);

    if (type == PAWL_PLUGIN_FP32) memcpy(out, in, (size_t)count * sizeof(float));
    for (int64_t i = 0; i < count && type == PAWL_PLUGIN_BF16; i++)
        ((uint16_t *)out)[i] = narrowed(in[i]);
    return out;
}

static void *poisoned(int64_t count)
{
    void *out = values(count);

    memset(out, 0xff, (size_t)count * width());  // NaN in both types
    return out;
}

static double at(const void *values, int64_t i)
{
    return type == PAWL_PLUGIN_BF16 ? (double)widened(((const uint16_t *)values)[i])
                                    : (double)((const float *)values)[i];
}

// slack: what a sum may be off by before it is rounded to the type.
static void near(const char *where, int64_t i, double actual, double expected, double slack)
{
    const double relative = type == PAWL_PLUGIN_BF16 ? 1.0 / 250 : 1e-5;

    cr_assert(fabs(actual - expected) <= slack + relative * fabs(expected),
              "%s %s element %ld is %.9g, not %.9g", ops()->name, where, (long)i, actual, expected);
}

static void done(const char *where)
{
    cr_assert(!stream.fault, "%s %s: %s", ops()->name, where, stream.reason);
    common_check(where);
    common_release();
}

// Every so manieth element, the last among them: enough for each tile and each edge.
static int64_t next(int64_t i, int64_t count)
{
    const int64_t step = count > 2000 ? count / 1999 : 1;

    return i == count - 1 ? count : i + step < count ? i + step : count - 1;
}

// ---- products

struct shape {
    int64_t m, n, k;
};

static void check_linear(const struct shape *s)
{
    const int64_t m = s->m, n = s->n, k = s->k;
    const float *x = numbers(m * k, 1), *weight = numbers(n * k, 2), *bias = numbers(n, 3);
    const void *x_value = as_values(x, m * k), *weight_value = as_values(weight, n * k);
    const float *residual = numbers(m * n, 4);
    void *out = poisoned(m * n), *pre = poisoned(m * n);
    char where[96];

    snprintf(where, sizeof(where), "linear m=%ld n=%ld k=%ld", (long)m, (long)n, (long)k);
    ops()->linear(&stream, out, pre, x_value, weight_value, as_values(bias, n),
                  as_values(residual, m * n), m, n, k, PAWL_RELU);
    for (int64_t i = 0; i < m * n; i = next(i, m * n)) {
        const double sum = plain_linear(x, weight, n, k, i / n, i % n) + (double)bias[i % n];
        near(where, i, at(pre, i), sum, 3e-7 * (double)(k + 10));
        near(where, i, at(out, i), fmax(sum, 0) + (double)residual[i], 3e-7 * (double)(k + 10));
    }
    done(where);
}

static void check_linear_back_x(const struct shape *s)
{
    const int64_t m = s->m, n = s->n, k = s->k;
    const float *out_grad = numbers(m * n, 1), *weight = numbers(n * k, 2);
    const float *saved = numbers(m * k, 3), *before = numbers(m * k, 4);
    void *x_grad = as_values(before, m * k);
    char where[96];

    snprintf(where, sizeof(where), "back_x m=%ld n=%ld k=%ld", (long)m, (long)n, (long)k);
    ops()->linear_back_x(&stream, x_grad, as_values(out_grad, m * n), as_values(weight, n * k),
                         as_values(saved, m * k), m, n, k, PAWL_TANH, true);
    for (int64_t i = 0; i < m * k; i = next(i, m * k)) {
        const double slope = 1 - (double)saved[i] * (double)saved[i];
        near(where, i, at(x_grad, i),
             plain_linear_back_x(out_grad, weight, n, k, i / k, i % k) * slope + (double)before[i],
             3e-7 * (double)(n + 10));
    }
    done(where);
}

static void check_linear_back_weight(const struct shape *s, bool add)
{
    const int64_t m = s->m, n = s->n, k = s->k;
    const float *out_grad = numbers(m * n, 1), *x = numbers(m * k, 2), *before = numbers(n * k, 3);
    float *weight_grad = common_floats(n * k), *bias_grad = common_floats(n);
    char where[96];

    snprintf(where, sizeof(where), "back_weight m=%ld n=%ld k=%ld", (long)m, (long)n, (long)k);
    common_poison(weight_grad, n * k);
    if (add) memcpy(weight_grad, before, (size_t)(n * k) * sizeof(float));
    common_poison(bias_grad, n);
    ops()->linear_back_weight(&stream, weight_grad, add ? NULL : bias_grad,
                              as_values(out_grad, m * n), as_values(x, m * k), m, n, k, add);
    for (int64_t i = 0; i < n * k; i = next(i, n * k))
        near(where, i, (double)weight_grad[i],
             plain_linear_back_weight(out_grad, x, m, n, k, i / k, i % k)
                 + (add ? (double)before[i] : 0), 3e-7 * (double)(m + 10));
    done(where);
}

// Tiles have 128, 64 or 32 rows and columns, steps 32 (bf16) or 16 of the depth.
static const struct shape shapes[] = {
    { 1, 1, 1 },    { 64, 64, 32 },  { 65, 63, 33 },  { 63, 65, 31 }, { 128, 32, 16 },
    { 129, 33, 17 }, { 127, 31, 15 }, { 1, 96, 100 },  { 96, 1, 104 }, { 40, 24, 1 },
    { 72, 80, 96 }, { 66, 200, 48 }, { 200, 66, 65 }, { 8, 8, 256 },
};

Test(tiles, products)
{
    for (type = PAWL_PLUGIN_FP32; type < PAWL_PLUGIN_TYPES; type++)
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
            open_fibers(i % 2 ? "0" : "5");
            check_linear(shapes + i);
            check_linear_back_x(shapes + i);
            check_linear_back_weight(shapes + i, i % 2);
        }
}

// Where outputs fill 96 blocks of 128 x 128.
Test(tiles, large_blocks)
{
    open_fibers("0");
    for (type = PAWL_PLUGIN_FP32; type < PAWL_PLUGIN_TYPES; type++) {
        check_linear(&(struct shape){ 1500, 1028, 5 });
        check_linear_back_x(&(struct shape){ 1496, 8, 1032 });
        check_linear_back_weight(&(struct shape){ 16, 1496, 1029 }, false);
    }
}

// Where k is long and outputs are few: parts, the last of them shorter.
Test(tiles, sums_in_parts)
{
    open_fibers("3");
    for (type = PAWL_PLUGIN_FP32; type < PAWL_PLUGIN_TYPES; type++) {
        check_linear_back_weight(&(struct shape){ 1111, 5, 7 }, false);
        check_linear_back_weight(&(struct shape){ 2304, 8, 40 }, true);
    }
}

// ---- attention

static void check_attention(const struct pawl_attention *a)
{
    const int64_t count = a->batch * a->time * (a->heads + 2 * a->kv_heads) * a->dim;
    const int64_t outs = a->batch * a->time * a->heads * a->dim;
    const float *qkv = numbers(count, 1), *out_grad = numbers(outs, 2);
    const double slack = type == PAWL_PLUGIN_BF16 ? 8e-3 : 4e-6;  // of weights rounded to the type
    double *plain_out = common_doubles(outs), *plain_grad = common_doubles(count);
    double *plain_lse = common_doubles(a->batch * a->heads * a->time);
    double *wide_qkv = common_widen(qkv, count), *wide_grad = common_widen(out_grad, outs);
    float *lse = common_floats(a->batch * a->heads * a->time);
    const void *qkv_value = as_values(qkv, count);
    void *out = poisoned(outs), *grad = poisoned(count);
    char where[96];

    snprintf(where, sizeof(where), "attention time=%ld heads=%ld/%ld dim=%ld%s", (long)a->time,
             (long)a->heads, (long)a->kv_heads, (long)a->dim, a->causal ? " causal" : "");
    ops()->attention(&stream, out, lse, qkv_value, a);
    ops()->attention_back(&stream, grad, as_values(out_grad, outs), qkv_value, out, lse, a);
    plain_attention(plain_out, plain_lse, wide_qkv, a);
    plain_attention_back(plain_grad, wide_grad, wide_qkv, a);
    for (int64_t i = 0; i < outs; i++)
        near(where, i, at(out, i), plain_out[i], slack);
    for (int64_t i = 0; i < a->batch * a->heads * a->time; i++)
        cr_assert(fabs((double)lse[i] - plain_lse[i]) < 1e-5 * (1 + fabs(plain_lse[i])), "%s: lse",
                  where);
    for (int64_t i = 0; i < count; i++)
        near(where, i, at(grad, i), plain_grad[i], 4 * slack);
    done(where);
}

// Tiles have 128, 64, 32 or 16 queries and as many keys, and room for dims of 32, 64, 128 and 256.
static const struct pawl_attention attentions[] = {
    { 1, 1, 1, 1, 64, true },   { 1, 2, 2, 1, 1, true },    { 2, 65, 2, 2, 20, true },
    { 1, 63, 1, 1, 32, false }, { 1, 64, 2, 1, 64, true },  { 1, 129, 1, 1, 64, true },
    { 1, 127, 2, 1, 33, true }, { 2, 33, 4, 2, 65, false }, { 1, 100, 3, 1, 128, true },
    { 1, 17, 2, 2, 127, true }, { 1, 33, 1, 1, 129, true }, { 1, 47, 2, 1, 256, false },
    { 1, 130, 6, 2, 8, false }, { 3, 16, 1, 1, 16, true },
};

Test(tiles, attention)
{
    for (type = PAWL_PLUGIN_FP32; type < PAWL_PLUGIN_TYPES; type++)
        for (size_t i = 0; i < sizeof(attentions) / sizeof(attentions[0]); i++) {
            open_fibers(i % 2 ? "0" : "5");
            check_attention(attentions + i);
        }
}

// No head of more than 256 dimensions is computed wrongly: it is the stream's fault.
Test(tiles, heads_too_wide_are_a_fault)
{
    const struct pawl_attention a = { 1, 1, 1, 1, 257, true };

    open_fibers("0");
    for (type = PAWL_PLUGIN_FP32; type < PAWL_PLUGIN_TYPES; type++) {
        void *qkv = values(3 * 257), *out = values(257);
        ops()->attention(&stream, out, common_floats(1), qkv, &a);
        cr_assert(stream.fault && strstr(stream.reason, "256"));
        stream.fault = 0;
        ops()->attention_back(&stream, qkv, out, qkv, out, common_floats(1), &a);
        cr_assert(stream.fault && strstr(stream.reason, "256"));
        stream.fault = 0;
        done("too wide");
    }
}

// ---- convolutions

static void place_of(int64_t place[3], int64_t i, int64_t h, int64_t w)
{
    place[0] = i / w / h;
    place[1] = i / w % h;
    place[2] = i % w;
}

static void check_conv2d(const struct pawl_window *w)
{
    const int64_t ins = w->batch * w->in_h * w->in_w * w->in_c, channels = w->in_c / w->groups;
    const int64_t outs = w->batch * w->out_h * w->out_w * w->out_c;
    const int64_t terms = w->kernel_h * w->kernel_w * channels, weights = w->out_c * terms;
    const float *x = numbers(ins, 1), *weight = numbers(weights, 2), *out_grad = numbers(outs, 3);
    const float *bias = numbers(w->out_c, 4);
    const void *x_value = as_values(x, ins), *weight_value = as_values(weight, weights);
    const void *grad_value = as_values(out_grad, outs);
    void *out = poisoned(outs), *x_grad = poisoned(ins);
    float *weight_grad = common_floats(weights);
    int64_t place[3];
    char where[96];

    snprintf(where, sizeof(where), "conv2d in=%ldx%ldx%ld out=%ldx%ldx%ld groups=%ld",
             (long)w->in_h, (long)w->in_w, (long)w->in_c, (long)w->out_h, (long)w->out_w,
             (long)w->out_c, (long)w->groups);
    common_poison(weight_grad, weights);
    ops()->conv2d(&stream, out, NULL, x_value, weight_value, as_values(bias, w->out_c), w,
                  PAWL_LINEAR);
    ops()->conv2d_back_x(&stream, x_grad, grad_value, weight_value, NULL, w, PAWL_LINEAR, false);
    ops()->conv2d_back_weight(&stream, weight_grad, NULL, grad_value, x_value, w, false);
    for (int64_t i = 0; i < outs; i = next(i, outs)) {
        place_of(place, i / w->out_c, w->out_h, w->out_w);
        near(where, i, at(out, i),
             plain_conv2d(x, weight, w, place, i % w->out_c) + (double)bias[i % w->out_c],
             3e-7 * (double)(terms + 10));
    }
    for (int64_t i = 0; i < ins; i = next(i, ins)) {
        place_of(place, i / w->in_c, w->in_h, w->in_w);
        near(where, i, at(x_grad, i), plain_conv2d_back_x(out_grad, weight, w, place, i % w->in_c),
             3e-7 * (double)(terms * w->out_c / w->in_c + 10));
    }
    for (int64_t i = 0; i < weights; i = next(i, weights)) {
        const int64_t tap = i / channels;
        const int64_t kernel[4] = { tap / w->kernel_w / w->kernel_h,
                                    tap / w->kernel_w % w->kernel_h, tap % w->kernel_w,
                                    i % channels };
        near(where, i, (double)weight_grad[i], plain_conv2d_back_weight(out_grad, x, w, kernel),
             3e-7 * (double)(outs / w->out_c + 10));
    }
    done(where);
}

// batch, in (h, w, c), out (h, w, c), kernel, stride, dilation, padding in front, groups. Channels
// in eights copy by 16 bytes.
static const struct pawl_window windows[] = {
    { 2, 7, 9, 8, 7, 9, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },
    { 1, 9, 8, 16, 5, 4, 40, 3, 3, 2, 2, 1, 1, 1, 0, 1, false },
    { 2, 6, 5, 3, 6, 5, 9, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },
    { 1, 10, 9, 16, 10, 9, 24, 3, 3, 1, 1, 2, 2, 2, 2, 2, false },
    { 3, 8, 8, 64, 8, 8, 32, 1, 1, 1, 1, 1, 1, 0, 0, 1, false },
    { 1, 8, 8, 24, 4, 4, 48, 1, 1, 2, 2, 1, 1, 0, 0, 2, false },
    { 2, 9, 8, 40, 9, 8, 40, 3, 3, 1, 1, 1, 1, 1, 1, 40, false },
    { 1, 5, 6, 8, 3, 3, 16, 2, 3, 2, 2, 1, 1, 0, 1, 4, false },
    { 4, 16, 16, 8, 16, 16, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },
};

Test(tiles, convolutions)
{
    for (type = PAWL_PLUGIN_FP32; type < PAWL_PLUGIN_TYPES; type++)
        for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
            open_fibers(i % 2 ? "0" : "5");
            check_conv2d(windows + i);
        }
}
