// bf16: every operation of each set's bfloat16 table against its fp32 table, which the other tests
// hold against the definitions, on numbers that bfloat16 has: an output may differ by its rounding,
// a sum in fp32 hardly at all. With 1, 2 and 3 threads, which must agree to the bit.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/twins.h"

SIM_OPERATIONS(DEFINE)  // one that is not called below is an unused function
DEFINE(update, UPDATE)
DEFINE(batch_norm, BATCH_NORM)

static void (*checking)(const struct common_set *set, const void *shape);

static void check_if_there(const struct common_set *set, const void *shape)
{
    if (set->device[0]->bf16) checking(set, shape);
}

static void each(void (*check)(const struct common_set *set, const void *shape),
                 const void *shapes, size_t size, int count)
{
    checking = check;
    common_each(check_if_there, shapes, size, count);
}

// Fibers take their time: nothing of much work for them.
static bool too_much(const struct common_set *set, int64_t work)
{
    return !strcmp(set->name, "simt") && work > 300000;
}

// ---- products

static void linear(const struct common_set *set, const int64_t mnk[3])
{
    const int64_t m = mnk[0], n = mnk[1], k = mnk[2];

    if (too_much(set, m * n * k)) return;
    float *x = in(m * k), *weight = in(n * k), *out_grad = in(m * n);

    check_linear(set, (struct linear_call){ out(m * n), out(m * n), x, weight, in(n), in(m * n), m,
                                            n, k, PAWL_GELU_TANH });
    check_linear(set, (struct linear_call){ .out = out(m * n), .x = x, .weight = weight, .m = m,
                                            .n = n, .k = k });
    check_linear_back_x(set, (struct linear_back_x_call){ in(m * k), out_grad, weight, in(m * k), m,
                                                          n, k, PAWL_GELU_TANH, true });
    check_linear_back_x(set, (struct linear_back_x_call){
        .x_grad = out(m * k), .out_grad = out_grad, .weight = weight, .m = m, .n = n, .k = k });
    for (int add = 0; add < 2; add++)
        check_linear_back_weight(set, (struct linear_back_weight_call){
            add ? in(n * k) : out(n * k), add ? in(n) : out(n), out_grad, x, m, n, k, add });
    done();
}

static const int64_t products[][3] = { { 1, 1, 1 }, { 3, 2, 5 }, { 13, 31, 37 }, { 100, 4, 53 },
                                       { 145, 49, 385 }, { 10, 64, 127 }, { 3, 5, 5000 },
                                       { 61, 127, 1601 }, { 2000, 11, 13 } };

static void check_products(const struct common_set *set, const void *shape)
{
    linear(set, shape);
}

// By pairs of k's, as a processor with AVX-512 BF16 does it: here in the sets that this one has.
extern bool pawl_host_pairs_plain_bf16, pawl_host_pairs_wide_bf16;
#if defined(__x86_64__)
extern bool pawl_host_pairs_avx2_bf16;
#endif

static void pair_up(bool pairs)
{
    pawl_host_pairs_plain_bf16 = pawl_host_pairs_wide_bf16 = pairs;
#if defined(__x86_64__)
    pawl_host_pairs_avx2_bf16 = pairs;
#endif
}

Test(bf16, products)
{
    each(check_products, products, sizeof(products[0]), 9);
}

Test(bf16, products_by_pairs)
{
    pair_up(true);
    each(check_products, products, sizeof(products[0]), 9);
    pair_up(false);
}

// ---- windows

static const struct pawl_window convolutions[] = {
    { 2, 9, 8, 5, 9, 8, 7, 3, 3, 1, 1, 1, 1, 1, 1, 1, false },
    { 3, 11, 7, 6, 5, 4, 10, 3, 2, 2, 2, 1, 1, 0, 1, 2, false },
    { 2, 8, 9, 37, 8, 9, 37, 3, 3, 1, 1, 1, 1, 1, 1, 37, false },
    { 2, 6, 6, 16, 6, 6, 9, 1, 1, 1, 1, 1, 1, 0, 0, 1, false },
    { 2, 12, 12, 40, 12, 12, 72, 5, 5, 1, 1, 1, 1, 2, 2, 1, false },
};

static void check_windows(const struct common_set *set, const void *shape)
{
    const struct pawl_window *w = shape;
    const int64_t x_count = w->batch * w->in_h * w->in_w * w->in_c;
    const int64_t out_count = w->batch * w->out_h * w->out_w * w->out_c;
    const int64_t weights = w->out_c * w->kernel_h * w->kernel_w * w->in_c / w->groups;

    if (too_much(set, out_count / w->out_c * weights)) return;
    float *x = in(x_count), *weight = in(weights), *out_grad = in(out_count);

    check_conv2d(set, (struct conv2d_call){ out(out_count), out(out_count), x, weight,
                                            in(w->out_c), *w, PAWL_SILU });
    check_conv2d_back_x(set, (struct conv2d_back_x_call){ in(x_count), out_grad, weight,
                                                          in(x_count), *w, PAWL_RELU, true });
    check_conv2d_back_x(set, (struct conv2d_back_x_call){ .x_grad = out(x_count),
                                                          .out_grad = out_grad, .weight = weight,
                                                          .window = *w });
    for (int add = 0; add < 2; add++)
        check_conv2d_back_weight(set, (struct conv2d_back_weight_call){
            add ? in(weights) : out(weights), add ? in(w->out_c) : out(w->out_c), out_grad, x, *w,
            add });
    done();
    struct pawl_window pool = *w;
    pool.out_c = pool.in_c;
    const int64_t count = w->batch * w->out_h * w->out_w * w->in_c;
    int32_t *index = ints(count, 1);
    x = in(x_count), out_grad = in(count);
    check_max_pool2d(set, (struct max_pool2d_call){ out(count), index, x, pool });
    check_avg_pool2d(set, (struct avg_pool2d_call){ out(count), x, pool });
    for (int add = 0; add < 2; add++) {
        check_max_pool2d_back(set, (struct max_pool2d_back_call){
            add ? in(x_count) : out(x_count), out_grad, index, pool, add });
        check_avg_pool2d_back(set, (struct avg_pool2d_back_call){
            add ? in(x_count) : out(x_count), out_grad, pool, add });
    }
    done();
}

Test(bf16, windows)
{
    each(check_windows, convolutions, sizeof(convolutions[0]), 5);
}

// ---- rows

struct rows {
    int64_t rows, cols;
};

static void check_norms(const struct common_set *set, const struct rows *s)
{
    const int64_t rows = s->rows, cols = s->cols, n = rows * cols;
    float *x = in(n), *weight = in(cols), *bias = in(cols), *grad = in(n);
    float *mean = out(rows), *rstd = out(rows);

    check_layer_norm(set, (struct layer_norm_call){ out(n), mean, rstd, x, weight, bias, rows, cols,
                                                    1e-5f });
    check_layer_norm_back(set, (struct layer_norm_back_call){ in(n), in(cols), in(cols), grad, x,
                                                              mean, rstd, weight, rows, cols, true,
                                                              true });
    check_layer_norm_back(set, (struct layer_norm_back_call){ out(n), out(cols), NULL, grad, x,
                                                              NULL, rstd, weight, rows, cols, false,
                                                              false });
    struct pawl_batch_norm batch = { .rows = rows, .cols = cols, .epsilon = 1e-3f, .momentum = 0.1f,
                                     .training = true };
    float *middle = out(cols), *width = out(cols);
    check_batch_norm(set, (struct batch_norm_call){ out(n), middle, width, x, weight, bias,
                                                    batch });
    check_batch_norm_back(set, (struct batch_norm_back_call){ in(n), in(cols), in(cols), grad, x,
                                                              middle, width, weight, rows, cols,
                                                              true, true });
    done();
    const struct pawl_group_norm group = { 1, rows, cols, 1, 1e-3f };
    x = in(n), weight = in(cols), bias = in(cols), grad = in(n), mean = out(1), rstd = out(1);
    check_group_norm(set, (struct group_norm_call){ out(n), mean, rstd, x, weight, bias, group });
    check_group_norm_back(set, (struct group_norm_back_call){ in(n), out(2 * cols), grad, x, mean,
                                                              rstd, weight, group, true });
    check_prelu(set, (struct prelu_call){ out(n), x, weight, rows, cols, false });
    check_prelu_back(set, (struct prelu_back_call){ in(n), out(n), grad, x, weight, rows, cols,
                                                    false, true });
    check_column_sum(set, (struct column_sum_call){ in(cols), x, rows, cols, true });
    check_bias(set, (struct bias_call){ out(n), x, bias, rows, cols });
    done();
}

static void check_losses(const struct common_set *set, const struct rows *s)
{
    const int64_t rows = s->rows, cols = s->cols, n = rows * cols;
    float *made = out(n), *x = in(n);

    check_softmax(set, (struct softmax_call){ made, x, rows, cols });
    shorten(made, n);
    check_softmax_back(set, (struct softmax_back_call){ out(n), x, made, rows, cols, false });
    made = out(n);
    check_log_softmax(set, (struct log_softmax_call){ made, x, rows, cols });
    shorten(made, n);
    check_softmax_back(set, (struct softmax_back_call){ out(n), x, made, rows, cols, true });
    check_cross_entropy(set, (struct cross_entropy_call){
        out(rows), out(rows), in(n), ints(rows, (int32_t)cols), rows, cols, 0.5f });
    check_mean_square(set, (struct mean_square_call){ out(rows), in(n), in(n), rows, cols, 1 });
    check_binary_cross_entropy(set, (struct binary_cross_entropy_call){ out(rows), in(n), in(n),
                                                                        rows, cols, 1 });
    done();
}

static void check_embeds(const struct common_set *set, const struct rows *s)
{
    const int64_t rows = s->rows, cols = s->cols, n = rows * cols, vocab = 5, span = 3;
    int32_t *token = ints(rows, (int32_t)vocab);
    float *table = in(vocab * cols);

    check_embed(set, (struct embed_call){ out(n), token, table, in(span * cols), rows, cols, vocab,
                                          span });
    check_embed(set, (struct embed_call){ out(n), token, table, NULL, rows, cols, vocab, span });
    check_embed_back(set, (struct embed_back_call){ in(vocab * cols), out(span * cols), in(n),
                                                    token, rows, cols, vocab, span, true, false });
    done();
}

static void check_rows(const struct common_set *set, const void *shape)
{
    check_norms(set, shape);
    check_losses(set, shape);
    check_embeds(set, shape);
}

static const struct rows matrices[] = { { 1, 3 }, { 7, 16 }, { 5, 33 }, { 70, 130 }, { 9, 1030 } };

Test(bf16, rows)
{
    each(check_rows, matrices, sizeof(matrices[0]), 5);
}

// ---- attention

static const struct pawl_attention attentions[] = {
    { 2, 7, 2, 1, 6, true }, { 1, 130, 2, 2, 16, true }, { 2, 100, 4, 2, 24, false },
    { 1, 300, 1, 1, 64, true }, { 1, 1000, 1, 1, 1000, true },  // the last does not fit the scratch
};

static void check_attentions(const struct common_set *set, const void *shape)
{
    const struct pawl_attention *a = shape;
    const int64_t rows = a->batch * a->time, width = a->heads * a->dim;
    const int64_t all = width + 2 * a->kv_heads * a->dim;

    // The GPU's kernels round the weights of attention, too: tiles.c holds them to the definition.
    if (!strcmp(set->name, "simt")) return;
    float *made = out(rows * width), *lse = out(rows * a->heads), *qkv = in(rows * all);

    if (a->time > 900 && strcmp(set->name, "avx2")) {  // once is enough
        done();
        return;
    }
    check_attention(set, (struct attention_call){ made, lse, qkv, *a });
    shorten(made, rows * width);
    // There q_grad is rounded once per tile of keys: attention_back.c.
    looser = a->time > 900 ? 20 : 1;
    check_attention_back(set, (struct attention_back_call){ out(rows * all), in(rows * width), qkv,
                                                            made, lse, *a });
    looser = 1;
    const struct pawl_rope rope = { a->batch, a->time, all, a->heads + a->kv_heads, a->dim,
                                    a->dim / 2 * 2, 10000, true, false };
    check_rope(set, (struct rope_call){ out(rows * all), qkv, rope });
    done();
}

Test(bf16, attentions, .timeout = 200)
{
    each(check_attentions, attentions, sizeof(attentions[0]), 5);
}

// ---- one value at a time

static void check_values(const struct common_set *set, const void *shape)
{
    const int64_t n = *(const int64_t *)shape;

    if (too_much(set, n * 100)) return;
    float *a = in(n), *b = in(n);
    for (int i = 0; i < PAWL_SOFTMAX; i++) {
        const enum pawl_activation kind = (enum pawl_activation)i;
        check_activate(set, (struct activate_call){ out(n), a, n, kind, 0 });
        check_activate_back(set, (struct activate_back_call){ out(n), a, i ? b : NULL, n, kind,
                                                              0 });
        if (i % 6 == 5) {
            done();
            a = in(n), b = in(n);
        }
    }
    done();
    a = in(n), b = in(n);
    check_add(set, (struct add_call){ out(n), a, b, n });
    check_dropout(set, (struct dropout_call){ out(n), a, n, 0.25f, 7, 3, 1 });
    check_fill(set, (struct fill_call){ out(n), n, 0.3f });
    for (int add = 0; add < 2; add++) {
        check_multiply(set, (struct multiply_call){ add ? in(n) : out(n), a, b, n, add });
        check_scale(set, (struct scale_call){ add ? in(n) : out(n), a, n, 0.3f, add });
        check_maximum_back(set, (struct maximum_back_call){ add ? in(n) : out(n), in(n), a, b, n,
                                                            add });
    }
    check_maximum(set, (struct maximum_call){ out(n), a, b, n });
    check_sum(set, (struct sum_call){ out(1), a, n });
    check_norm(set, (struct norm_call){ out(1), a, n, 0.5f });
    check_digest(set, (struct digest_call){ (uint64_t *)(void *)out(4), a, n * 4 });
    const struct pawl_move move = { .dim = { 1, 1, 1, n, 2 }, .to = { 0, 0, 0, 1, n },
                                    .from = { 0, 0, 0, 2, 1 } };
    float *pairs = in(2 * n);
    check_move(set, (struct move_call){ out(2 * n), pairs, move, false });
    check_move(set, (struct move_call){ in(2 * n), pairs, move, true });
    check_narrow(set, (struct narrow_call){ out(n), a, n });
    check_widen(set, (struct widen_call){ out(n), a, n });
    done();
}

static const int64_t sizes[] = { 1, 5, 17, 1000, 40001 };

Test(bf16, values)
{
    each(check_values, sizes, sizeof(sizes[0]), 5);
}

// What an update rounds is what narrow() makes of what it leaves.
static void check_updates(const struct common_set *set, const void *shape)
{
    const struct pawl_update rule = { .kind = PAWL_ADAMW, .rate = 1e-2, .beta_1 = 0.9,
                                      .beta_2 = 0.999, .epsilon = 1e-8, .grad_scale = 1,
                                      .step = 1 };
    const int64_t n = *(const int64_t *)shape;
    float *param = in(n);

    check_update(set, (struct update_call){ param, in(n), out(n), in(n), n, rule, NULL, NULL, NULL,
                                            out(n) });
    done();
    param = in(n);
    float *first = in(n), *second = out(n), *grad = in(n), *rounded = out(n), *again = out(n);
    memset(second, 0, (size_t)n * sizeof(float));
    set->device[1]->bf16->update(set->stream[1], param, first, second, grad, n, &rule, NULL, NULL,
                                 NULL, rounded);
    set->device[0]->bf16->narrow(set->stream[0], again, param, n);
    cr_assert(!memcmp(rounded, again, (size_t)n * 2), "%s", set->name);
    done();
}

Test(bf16, updates)
{
    each(check_updates, sizes, sizeof(sizes[0]), 5);
}

// ---- recurrent cells: the struct holds addresses

static struct pawl_cell cell_of(enum pawl_cell_kind kind, int64_t batch, int64_t units, bool back)
{
    const int64_t gates = kind == PAWL_CELL_LSTM ? 4 : kind == PAWL_CELL_GRU ? 3 : 1;
    const int64_t n = batch * units;
    struct pawl_cell cell = { .kind = kind, .batch = batch, .units = units,
                              .activation = PAWL_TANH, .recurrent = PAWL_SIGMOID,
                              .gates = in(n * gates), .hidden = in(n * gates), .h = in(n),
                              .c = in(n), .h_prev = in(n), .c_prev = in(n) };

    if (back) cell.h_grad = in(n), cell.c_grad = in(n);
    return cell;
}

#define CELL_POINTERS(X)                                                                           \
    X(pawl_value *, gates) X(pawl_value *, hidden) X(pawl_value *, h) X(float *, c)                \
    X(const pawl_value *, h_prev) X(const float *, c_prev) X(pawl_value *, h_grad)                 \
    X(float *, c_grad)

static void check_cells(const struct common_set *set, const void *shape)
{
    for (int kind = 0; kind < PAWL_CELLS; kind++)
        for (int back = 0; back < 2; back++) {
            const struct pawl_cell call = cell_of((enum pawl_cell_kind)kind, 3,
                                                  *(const int64_t *)shape % 1000, back);
            char where[64];
            snprintf(where, sizeof(where), "%s cell %d %d", set->name, kind, back);
            remember();
            set->device[0]->ops->cell(set->stream[0], &call);
            for (int t = 0; t < COMMON_THREADS; t++) {
                struct pawl_cell twin = call;
                twin_count = 0;
                CELL_POINTERS(TWIN)
                set->device[t]->bf16->cell(set->stream[t], &twin);
                CELL_POINTERS(COMPARE)
                same(t, where);
            }
            done();
        }
}

Test(bf16, cells)
{
    each(check_cells, sizes, sizeof(sizes[0]), 3);
}

// ---- rounding itself

// The nearer of the two neighbours; of two as near, the even one. What lies beyond the largest is
// as far as if there were one more.
static uint16_t nearest(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    const uint16_t below = (uint16_t)(bits >> 16), above = (uint16_t)(below + 1);
    const double low = (double)widened(&below, 0);
    const bool last = isinf(widened(&above, 0));
    const double high = last ? copysign(0x1p128, low) : (double)widened(&above, 0);
    const double to_low = fabs((double)x - low), to_high = fabs(high - (double)x);
    return to_low < to_high || (to_low == to_high && below % 2 == 0) ? below : above;
}

static void check_rounding(const struct common_set *set, const void *shape)
{
    const int64_t n = 1 << 16;
    float *x = common_floats(n), *wide = common_floats(n);
    uint16_t *made = (uint16_t *)(void *)common_floats(n / 2);

    (void)shape;
    for (uint32_t part = 0; part < 8; part++) {
        // Every upper half, with lower halves around the middle and at random.
        static const uint32_t lower[] = { 0, 1, 0x7fff, 0x8000, 0x8001, 0xffff };
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t bits = i << 16 | (part < 6 ? lower[part] : i * 40503u % 65536);
            memcpy(x + i, &bits, sizeof(bits));
        }
        set->device[1]->bf16->narrow(set->stream[1], made, x, n);
        set->device[1]->bf16->widen(set->stream[1], wide, made, n);
        for (int64_t i = 0; i < n; i++) {
            const float back = widened(made + i, 0);
            cr_assert(!memcmp(&back, wide + i, sizeof(back)));
            if (isnan(x[i]))
                cr_assert(isnan(back), "%s: a NaN is lost", set->name);
            else if (isinf(x[i]))
                cr_assert(back == x[i]);
            else
                cr_assert_eq(made[i], nearest(x[i]), "%s: %a becomes %x", set->name, (double)x[i],
                             made[i]);
        }
    }
}

Test(bf16, rounding)
{
    each(check_rounding, sizes, sizeof(sizes[0]), 1);
}
