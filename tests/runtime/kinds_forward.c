// kinds_forward.c - what each kind of layer makes, against definitions written out index by index.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/runtime/plan_support.h"

static void ok(int rc) { cr_assert(rc == 0, "%s", pawl_error()); }

// Forward alone, compared with `expected`.
static void expect_output(struct bed *bed, const double *expected, int64_t count, const char *what)
{
    bed_feed(bed);
    pawl_plan_forward(bed->plan, bed->stream);
    ok(pawl_stream_wait(bed->stream));
    const float *out = pawl_plan_output(bed->plan);
    for (int64_t i = 0; i < count; i++)
        cr_assert_float_eq((double)out[i], expected[i], 1e-5, "%s: %ld is %g, not %g", what,
                           (long)i, (double)out[i], expected[i]);
}

// Probabilities come out, logits go into the loss: both of one plan.
Test(kinds_forward, softmax_closes_forward_but_not_the_loss)
{
    const struct { const char *kind; bool log; } rows[] = { { "softmax", false },
                                                            { "log_softmax", true } };
    char json[512];

    for (int r = 0; r < 2; r++) {
        struct bed bed, bare;
        double expected[BATCH * 5];
        snprintf(json, sizeof(json), MODEL("[3]", LAYER("out", "dense", "\"in\"",
                 "\"units\":5,\"activation\":\"%s\"")), rows[r].kind);
        bed_set_up(&bed, json, PAWL_CROSS_ENTROPY, 1, BATCH);
        bed_set_up(&bare, MODEL("[3]", DENSE("out", "in", "5")), PAWL_CROSS_ENTROPY, 1, BATCH);
        bed_feed(&bare);
        const float *logits = pawl_plan_logits(bare.plan, bare.stream);
        for (int i = 0; i < BATCH; i++) {
            double sum = 0;
            for (int j = 0; j < 5; j++)
                sum += exp((double)logits[5 * i + j]);
            for (int j = 0; j < 5; j++) {
                const double p = exp((double)logits[5 * i + j]) / sum;
                expected[5 * i + j] = rows[r].log ? log(p) : p;
            }
        }
        expect_output(&bed, expected, BATCH * 5, rows[r].kind);
        cr_expect_float_eq(bed_loss(&bed), bed_loss(&bare), 1e-6);
        bed_tear_down(&bed);
        bed_tear_down(&bare);
    }
}

static float *tensor(struct bed *bed, float *slab, const char *name)
{
    return pawl_model_at(bed->model, slab, pawl_model_find(bed->model, name));
}

// Training leaves the running statistics alone and puts the next ones where the gradient would be;
// a second micro-batch goes on from there; inference takes the running ones.
Test(kinds_forward, batch_norm_keeps_running_statistics)
{
    struct bed bed;
    float result[2];
    double mean = 0, squares = 0, next[2], expected[BATCH * 2];

    bed_set_up(&bed, MODEL("[2]", LAYER("x", "batch_norm", "\"in\"", "\"momentum\":0.25,"
                                        "\"weight\":false,\"bias\":false")), PAWL_MSE, 1, BATCH);
    float *running_mean = tensor(&bed, bed.model->param, "x.running_mean");
    float *running_var = tensor(&bed, bed.model->param, "x.running_var");
    const float *x = (const float *)(const void *)bed.x;
    running_mean[1] = 0.5f;
    running_var[0] = 1;
    running_var[1] = 2;
    cr_assert_eq(bed.model->trained_count, 0);
    for (int i = 0; i < BATCH; i++)
        mean += (double)x[2 * i + 1] / BATCH;
    for (int i = 0; i < BATCH; i++)
        squares += pow((double)x[2 * i + 1] - mean, 2);
    for (int i = 0; i < 2 * BATCH; i++)
        expected[i] = ((double)x[i] - (double)running_mean[i % 2])
                      / sqrt((double)running_var[i % 2] + 1e-5);
    expect_output(&bed, expected, 2 * BATCH, "running");
    next[0] = 0.5;
    next[1] = 2;
    for (int micro = 0; micro < 2; micro++) {
        bed_feed(&bed);
        pawl_plan_train(bed.plan, bed.stream, 1, 1.0f, micro > 0, result);
        next[0] = 0.75 * next[0] + 0.25 * mean;
        next[1] = 0.75 * next[1] + 0.25 * squares / (BATCH - 1);
        cr_expect_float_eq((double)tensor(&bed, bed.model->grad, "x.running_mean")[1], next[0],
                           1e-6);
        cr_expect_float_eq((double)tensor(&bed, bed.model->grad, "x.running_var")[1], next[1],
                           1e-6);
        cr_expect_float_eq((double)running_mean[1], 0.5, 0);
        cr_expect_float_eq((double)running_var[1], 2, 0);
    }
    bed_tear_down(&bed);
}

// ---- what forward makes, against definitions written out index by index

enum { OUT_MOST = 4096 };

static void check_forward(const char *model, double (*at)(const float *x, const int64_t *i),
                          const int64_t dim[4])
{
    static double expected[OUT_MOST];
    struct bed bed;
    int64_t n = 0, i[4];

    bed_set_up(&bed, model, PAWL_MSE, 2, BATCH);
    for (i[0] = 0; i[0] < BATCH; i[0]++)
        for (i[1] = 0; i[1] < dim[1]; i[1]++)
            for (i[2] = 0; i[2] < dim[2]; i[2]++)
                for (i[3] = 0; i[3] < dim[3]; i[3]++)
                    expected[n++] = at((const float *)(const void *)bed.x, i);
    expect_output(&bed, expected, n, model);
    bed_tear_down(&bed);
}

// The input is (batch, 2, 3, 4) in all.
static double in_at(const float *x, int64_t b, int64_t h, int64_t w, int64_t c)
{
    return h < 0 || h >= 2 || w < 0 || w >= 3 ? 0 : (double)x[((b * 2 + h) * 3 + w) * 4 + c];
}

static double permuted(const float *x, const int64_t *i)
{
    return in_at(x, i[0], i[2], i[3], i[1]);
}

static double padded(const float *x, const int64_t *i)
{
    return in_at(x, i[0], i[1] - 1, i[2] - 2, i[3]);
}

static double beside(const float *x, const int64_t *i)
{
    return in_at(x, i[0], i[1], i[2] % 3, i[3]);
}

static double largest(const float *x, const int64_t *i)
{
    double most = -INFINITY;
    for (int64_t p = 0; p < 6; p++)
        most = fmax(most, in_at(x, i[0], p / 3, p % 3, i[3]));
    return most;
}

static double mean(const float *x, const int64_t *i)
{
    double sum = 0;
    for (int64_t p = 0; p < 6; p++)
        sum += in_at(x, i[0], p / 3, p % 3, i[3]);
    return sum / 6;
}

// Size 2, stride 2, pads of 1.
static double counted(const float *x, const int64_t *i)
{
    double sum = 0;
    for (int64_t p = 0; p < 4; p++)
        sum += in_at(x, i[0], 2 * i[1] - 1 + p / 2, 2 * i[2] - 1 + p % 2, i[3]);
    return sum / 4;
}

// relu(x) - x
static double less(const float *x, const int64_t *i)
{
    const double a = in_at(x, i[0], i[1], i[2], i[3]);
    return fmax(a, 0) - a;
}

// The average of max(x, tanh x), x * x and x + x + x.
static double joined(const float *x, const int64_t *i)
{
    const double a = in_at(x, i[0], i[1], i[2], i[3]);
    return (fmax(a, tanh(a)) + a * a + 3 * a) / 3;
}

static double rms(const float *x, const int64_t *i)
{
    double squares = 0;
    for (int64_t c = 0; c < 4; c++)
        squares += pow(in_at(x, i[0], i[1], i[2], c), 2) / 4;
    return in_at(x, i[0], i[1], i[2], i[3]) / sqrt(squares + 0.5);
}

Test(kinds_forward, forward_is_what_the_words_say)
{
    const int64_t same[4] = { 0, 2, 3, 4 }, turned[4] = { 0, 4, 2, 3 }, wide[4] = { 0, 2, 6, 4 };
    const int64_t larger[4] = { 0, 4, 6, 4 }, one[4] = { 0, 1, 1, 4 }, pooled[4] = { 0, 2, 2, 4 };
#define ON(kind, inputs, config) MODEL("[2,3,4]", LAYER("x", kind, inputs, config))

    check_forward(ON("permute", "\"in\"", "\"order\":[2,0,1]"), permuted, turned);
    check_forward(ON("zero_padding", "\"in\"", "\"pads\":[1,1,2,1]"), padded, larger);
    check_forward(ON("concatenate", "\"in\",\"in\"", "\"axis\":1"), beside, wide);
    check_forward(ON("global_max_pool", "\"in\"", ""), largest, one);
    check_forward(ON("global_avg_pool", "\"in\"", "\"keep\":true"), mean, one);
    check_forward(ON("avg_pool2d", "\"in\"", "\"pads\":[1,1,1,0],\"count_pads\":true"), counted,
                  pooled);
    check_forward(ON("rms_norm", "\"in\"", "\"epsilon\":0.5,\"weight\":false"), rms, same);
    check_forward(MODEL("[2,3,4]", LAYER("a", "activate", "\"in\"", "\"activation\":\"relu\"") ","
                        LAYER("x", "subtract", "\"a\",\"in\"", "")), less, same);
    check_forward(MODEL("[2,3,4]", LAYER("t", "activate", "\"in\"", "\"activation\":\"tanh\"") ","
                        LAYER("m", "maximum", "\"in\",\"t\"", "") ","
                        LAYER("s", "multiply", "\"in\",\"in\"", "") ","
                        LAYER("a", "add", "\"in\",\"in\",\"in\"", "") ","
                        LAYER("x", "average", "\"m\",\"s\",\"a\"", "")), joined, same);
}

// One pair of a query or key x at a position, turned.
static void turn(double *out, const float *x, int position, int pair, bool interleaved)
{
    const int first = interleaved ? 2 * pair : pair, second = interleaved ? first + 1 : pair + 2;
    const double angle = position * pow(100, -pair / 2.0);

    out[first] = (double)x[first] * cos(angle) - (double)x[second] * sin(angle);
    out[second] = (double)x[second] * cos(angle) + (double)x[first] * sin(angle);
}

// Two positions of one head of 4: rotary turns query and key by their position's angles. The first
// position sees itself alone.
static void attend(double *out, const float *x, bool interleaved)
{
    double query[4], key[2][4], score[2] = { 0, 0 };

    for (int pair = 0; pair < 2; pair++) {
        turn(query, x + 12, 1, pair, interleaved);
        for (int p = 0; p < 2; p++)
            turn(key[p], x + 12 * p + 4, p, pair, interleaved);
    }
    for (int i = 0; i < 8; i++)
        score[i / 4] += query[i % 4] * key[i / 4][i % 4] / 2;
    const double share = 1 / (1 + exp(score[1] - score[0]));
    for (int i = 0; i < 4; i++) {
        out[i] = (double)x[8 + i];
        out[4 + i] = share * (double)x[8 + i] + (1 - share) * (double)x[20 + i];
    }
}

Test(kinds_forward, rotary_attention_by_hand)
{
    char json[512];

    for (int interleaved = 0; interleaved < 2; interleaved++) {
        struct bed bed;
        double expected[BATCH * 8];
        snprintf(json, sizeof(json), MODEL("[2,12]", LAYER("x", "attention", "\"in\"",
                 "\"heads\":1,\"theta\":100,\"interleaved\":%s")),
                 interleaved ? "true" : "false");
        bed_set_up(&bed, json, PAWL_MSE, 1, BATCH);
        for (int b = 0; b < BATCH; b++)
            attend(expected + 8 * b, (const float *)(const void *)bed.x + b * 24, interleaved);
        expect_output(&bed, expected, BATCH * 8, json);
        bed_tear_down(&bed);
    }
}

// ---- recurrent layers, one sample and one step after the other

enum { UNITS = 3, INPUTS = 2, TIME = 4 };

struct recurrent {
    const float *weight, *recurrent, *bias, *recurrent_bias;
};

// Gate g's unit u: what comes from the input, or from the state.
static double from_input(const struct recurrent *r, const float *x, int row)
{
    double sum = (double)r->bias[row];
    for (int i = 0; i < INPUTS; i++)
        sum += (double)r->weight[row * INPUTS + i] * (double)x[i];
    return sum;
}

static double from_state(const struct recurrent *r, const double *h, int row)
{
    double sum = (double)r->recurrent_bias[row];
    for (int i = 0; i < UNITS; i++)
        sum += (double)r->recurrent[row * UNITS + i] * h[i];
    return sum;
}

static double squash(double x) { return 1 / (1 + exp(-x)); }

static void lstm_step(const struct recurrent *r, const float *x, double *h, double *c)
{
    double gate[4 * UNITS];

    for (int i = 0; i < 4 * UNITS; i++)
        gate[i] = from_input(r, x, i) + from_state(r, h, i);
    for (int u = 0; u < UNITS; u++) {
        c[u] = squash(gate[UNITS + u]) * c[u] + squash(gate[u]) * tanh(gate[2 * UNITS + u]);
        h[u] = squash(gate[3 * UNITS + u]) * tanh(c[u]);
    }
}

static void gru_step(const struct recurrent *r, const float *x, double *h, double *c)
{
    double next[UNITS];

    (void)c;
    for (int u = 0; u < UNITS; u++) {
        const double reset = squash(from_input(r, x, u) + from_state(r, h, u));
        const double update = squash(from_input(r, x, UNITS + u) + from_state(r, h, UNITS + u));
        const double new = tanh(from_input(r, x, 2 * UNITS + u)
                                + reset * from_state(r, h, 2 * UNITS + u));
        next[u] = (1 - update) * new + update * h[u];
    }
    memcpy(h, next, sizeof(next));
}

static void simple_step(const struct recurrent *r, const float *x, double *h, double *c)
{
    double next[UNITS];

    (void)c;
    for (int u = 0; u < UNITS; u++)
        next[u] = tanh(from_input(r, x, u) + from_state(r, h, u));
    memcpy(h, next, sizeof(next));
}

static void check_recurrent(const char *kind, bool reverse,
                            void (*step)(const struct recurrent *, const float *, double *,
                                         double *))
{
    double expected[BATCH * TIME * UNITS];
    struct bed bed;
    char json[512];

    snprintf(json, sizeof(json), MODEL("[4,2]", LAYER("x", "%s", "\"in\"", "\"units\":3,"
             "\"sequences\":true,\"recurrent_bias\":true,\"reverse\":%s")), kind,
             reverse ? "true" : "false");
    bed_set_up(&bed, json, PAWL_MSE, 1, BATCH);
    const struct recurrent r = { tensor(&bed, bed.model->param, "x.weight"),
                                 tensor(&bed, bed.model->param, "x.recurrent"),
                                 tensor(&bed, bed.model->param, "x.bias"),
                                 tensor(&bed, bed.model->param, "x.recurrent_bias") };
    for (int b = 0; b < BATCH; b++) {
        double h[UNITS] = { 0 }, c[UNITS] = { 0 };
        for (int i = 0; i < TIME; i++) {
            const int t = b * TIME + (reverse ? TIME - 1 - i : i);
            step(&r, (const float *)(const void *)bed.x + t * INPUTS, h, c);
            memcpy(expected + t * UNITS, h, sizeof(h));
        }
    }
    expect_output(&bed, expected, BATCH * TIME * UNITS, json);
    bed_tear_down(&bed);
}

Test(kinds_forward, recurrent_layers_step_by_step)
{
    for (int reverse = 0; reverse < 2; reverse++) {
        check_recurrent("lstm", reverse, lstm_step);
        check_recurrent("gru", reverse, gru_step);
        check_recurrent("simple_rnn", reverse, simple_step);
    }
}

// Every input pixel of (2, 3, 1) puts its kernel of 3 into the output, 2 apart.
Test(kinds_forward, a_transposed_convolution_spreads_its_input)
{
    double expected[BATCH * 4 * 6 * 2] = { 0 };
    struct bed bed;

    bed_set_up(&bed, MODEL("[2,3,1]", LAYER("x", "conv2d_transpose", "\"in\"", "\"filters\":2,"
               "\"kernel\":3,\"stride\":2,\"pads\":[1,1,1,1],\"extra\":[1,1]")), PAWL_MSE, 1,
               BATCH);
    const float *weight = tensor(&bed, bed.model->param, "x.weight");
    const float *bias = tensor(&bed, bed.model->param, "x.bias");
    const float *x = (const float *)(const void *)bed.x;
    for (int i = 0; i < BATCH * 4 * 6 * 2; i++)
        expected[i] = (double)bias[i % 2];
    for (int i = 0; i < BATCH * 6 * 9; i++) {  // image, pixel and tap in one number
        const int pixel = i / 9, tap = i % 9, image = pixel / 6;
        const int row = pixel / 3 % 2 * 2 - 1 + tap / 3, col = pixel % 3 * 2 - 1 + tap % 3;
        for (int f = 0; f < 2 && row >= 0 && row < 4 && col >= 0 && col < 6; f++)
            expected[((image * 4 + row) * 6 + col) * 2 + f] += (double)x[pixel]
                                                               * (double)weight[tap * 2 + f];
    }
    expect_output(&bed, expected, BATCH * 4 * 6 * 2, "transposed");
    bed_tear_down(&bed);
}

// One step of a layer that nothing here computes: refused by name before anything is allocated.
Test(kinds_forward, says_what_cannot_be_computed)
{
    struct pawl_architecture model = { 0 };
    struct pawl_device *device = NULL;
    struct pawl_model *taken = NULL;
    struct pawl_plan *plan = NULL;

    ok(pawl_architecture_from_json(&model, MODEL("[4,2]", LAYER("g", "gru", "\"in\"",
                                   "\"units\":3,\"reset_after\":false"))));
    ok(pawl_device_open(&device, "host", 1));
    ok(pawl_model_open(&taken, &model, device, PAWL_F32, false, 0));
    cr_assert_eq(pawl_plan_open(&plan, taken, &(struct pawl_plan_options){ .batch = 1 }),
                 PAWL_ENOTSUP);
    cr_assert(strstr(pawl_error(), "layer 'g' (gru)"), "%s", pawl_error());
    pawl_model_close(taken);
    pawl_device_close(device);
    pawl_architecture_free(&model);
}
