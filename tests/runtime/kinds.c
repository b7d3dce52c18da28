// kinds.c - every kind of layer in a small model: its gradients against finite differences of the
// training loss, the same bits for any number of threads, and what inference makes of it.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/memory.h"
#include "tests/runtime/plan_support.h"

#define MODEL(shape, layers)                                                                       \
    "{\"pawl\":1,\"name\":\"m\",\"layers\":[{\"name\":\"in\",\"kind\":\"input\",\"config\":"       \
    "{\"shape\":" shape "}}," layers "]}"
#define LAYER(name, kind, inputs, config)                                                          \
    "{\"name\":\"" name "\",\"kind\":\"" kind "\",\"inputs\":[" inputs "],\"config\":{" config "}}"
#define DENSE(name, in, units) LAYER(name, "dense", "\"" in "\"", "\"units\":" units)
#define CONV(name, in, filters)                                                                    \
    LAYER(name, "conv2d", "\"" in "\"", "\"kernel\":3,\"padding\":\"same\",\"filters\":" filters)

// The kind under test stands between layers with weights, so that its gradient has somewhere to go
// and is seen from both sides.
static const struct {
    const char *name, *model;
} kinds[] = {
    { "conv1d", MODEL("[9,3]",
        LAYER("a", "conv1d", "\"in\"", "\"filters\":4,\"kernel\":3,\"pads\":[2,0],"
                                       "\"activation\":\"mish\"") ","
        LAYER("x", "conv1d", "\"a\"", "\"filters\":6,\"kernel\":2,\"stride\":2,\"groups\":2") ","
        LAYER("f", "flatten", "\"x\"", "") "," DENSE("out", "f", "3")) },
    { "conv2d pads", MODEL("[7,6,2]",
        CONV("a", "in", "4") ","
        LAYER("x", "conv2d", "\"a\"", "\"filters\":3,\"kernel\":3,\"stride\":2,"
                                      "\"pads\":[1,1,0,1],\"activation\":\"hard_swish\"") ","
        LAYER("f", "flatten", "\"x\"", "") "," DENSE("out", "f", "3")) },
    { "pool1d", MODEL("[9,3]",
        LAYER("a", "conv1d", "\"in\"", "\"filters\":4,\"kernel\":2") ","
        LAYER("x", "max_pool1d", "\"a\"", "\"size\":3,\"stride\":2,\"pads\":[1,1]") ","
        LAYER("y", "avg_pool1d", "\"x\"", "\"size\":2,\"stride\":1,\"pads\":[1,0],"
                                          "\"count_pads\":true") ","
        LAYER("f", "flatten", "\"y\"", "") "," DENSE("out", "f", "3")) },
    { "avg_pool2d", MODEL("[7,6,2]",
        CONV("a", "in", "4") ","
        LAYER("x", "avg_pool2d", "\"a\"", "\"size\":3,\"stride\":2,\"pads\":[1,1,1,1],"
                                          "\"count_pads\":true") ","
        LAYER("f", "flatten", "\"x\"", "") "," DENSE("out", "f", "3")) },
    { "global pools", MODEL("[5,6,2]",
        CONV("a", "in", "4") ","
        LAYER("x", "global_max_pool", "\"a\"", "") ","
        LAYER("y", "global_avg_pool", "\"a\"", "\"keep\":true") ","
        LAYER("z", "flatten", "\"y\"", "") ","
        LAYER("c", "concatenate", "\"x\",\"z\"", "") "," DENSE("out", "c", "3")) },
    { "batch_norm", MODEL("[5,6,2]",
        CONV("a", "in", "5") ","
        LAYER("x", "batch_norm", "\"a\"", "\"momentum\":0.3") ","
        LAYER("y", "activate", "\"x\"", "\"activation\":\"elu\",\"alpha\":0.8") ","
        LAYER("f", "flatten", "\"y\"", "") "," DENSE("b", "f", "9") ","
        LAYER("z", "batch_norm", "\"b\"", "\"weight\":false,\"unbiased\":false") ","
        DENSE("out", "z", "3")) },
    { "batch_norm bare", MODEL("[9]",
        LAYER("x", "batch_norm", "\"in\"", "\"bias\":false") ","
        LAYER("y", "batch_norm", "\"x\"", "\"weight\":false,\"bias\":false") ","
        DENSE("out", "y", "3")) },
    { "norms", MODEL("[4,8]",
        DENSE("a", "in", "10") "," LAYER("x", "rms_norm", "\"a\"", "") ","
        DENSE("b", "x", "9") "," LAYER("y", "layer_norm", "\"b\"", "\"bias\":false") ","
        DENSE("c", "y", "21") "," LAYER("z", "layer_norm", "\"c\"", "\"weight\":false") ","
        LAYER("w", "rms_norm", "\"z\"", "\"weight\":false") ","
        LAYER("f", "flatten", "\"w\"", "") "," DENSE("out", "f", "3")) },
    { "rotary", MODEL("[6,5]",
        DENSE("a", "in", "32") ","
        LAYER("x", "attention", "\"a\"", "\"heads\":2,\"kv_heads\":1,\"theta\":100") ","
        DENSE("b", "x", "24") ","
        LAYER("y", "attention", "\"b\"", "\"heads\":1,\"theta\":50,\"rotary\":4,"
                                         "\"interleaved\":true,\"causal\":false") ","
        LAYER("f", "flatten", "\"y\"", "") "," DENSE("out", "f", "3")) },
    { "attention of three", MODEL("[6,5]",
        DENSE("q", "in", "8") "," DENSE("k", "in", "4") "," DENSE("v", "in", "4") ","
        LAYER("x", "attention", "\"q\",\"k\",\"v\"", "\"heads\":2,\"kv_heads\":1,\"theta\":9") ","
        LAYER("y", "attention", "\"x\",\"x\",\"q\"", "\"heads\":2,\"causal\":false") ","
        LAYER("f", "flatten", "\"y\"", "") "," DENSE("out", "f", "3")) },
    { "softmax inside", MODEL("[4,8]",
        LAYER("a", "dense", "\"in\"", "\"units\":6,\"activation\":\"softmax\"") ","
        LAYER("x", "activate", "\"a\"", "\"activation\":\"log_softmax\"") ","
        DENSE("b", "x", "5") ","
        LAYER("y", "activate", "\"b\"", "\"activation\":\"softmax\"") ","
        LAYER("f", "flatten", "\"y\"", "") "," DENSE("out", "f", "3")) },
    { "softmax at the end", MODEL("[8]",
        DENSE("a", "in", "6") ","
        LAYER("out", "dense", "\"a\"", "\"units\":5,\"activation\":\"softmax\"")) },
    { "softmax layer at the end", MODEL("[8]",
        LAYER("a", "dense", "\"in\"", "\"units\":6,\"activation\":\"selu\"") ","
        LAYER("out", "activate", "\"a\"", "\"activation\":\"log_softmax\"")) },
    { "permute", MODEL("[2,5,6]",
        LAYER("p", "permute", "\"in\"", "\"order\":[1,2,0]") "," CONV("a", "p", "17") ","
        LAYER("x", "permute", "\"a\"", "\"order\":[2,0,1]") ","
        LAYER("y", "permute", "\"x\"", "\"order\":[2,1,0]") ","
        LAYER("f", "flatten", "\"y\"", "") "," DENSE("out", "f", "3")) },
    { "zero_padding", MODEL("[5,6,2]",
        CONV("a", "in", "3") ","
        LAYER("x", "zero_padding", "\"a\"", "\"pads\":[1,2,0,3]") ","
        LAYER("r", "reshape", "\"x\"", "\"shape\":[24,9]") ","
        LAYER("y", "zero_padding", "\"r\"", "\"pads\":[0,0,2,1]") ","
        LAYER("f", "flatten", "\"y\"", "") "," DENSE("out", "f", "3")) },
    { "joined", MODEL("[7]",
        DENSE("a", "in", "6") "," DENSE("b", "in", "6") "," DENSE("c", "b", "6") ","
        LAYER("x", "add", "\"a\",\"b\",\"c\",\"a\"", "") ","
        LAYER("y", "multiply", "\"x\",\"b\"", "") ","
        LAYER("y2", "multiply", "\"y\",\"y\"", "") ","
        LAYER("z", "subtract", "\"y2\",\"a\"", "") ","
        LAYER("m", "maximum", "\"z\",\"c\",\"a\"", "") ","
        LAYER("v", "average", "\"m\",\"z\",\"x\"", "") ","
        LAYER("t", "subtract", "\"v\",\"v\"", "") ","
        LAYER("w", "concatenate", "\"v\",\"t\",\"m\",\"m\"", "") ","
        DENSE("out", "w", "3")) },
    { "concatenate", MODEL("[4,5,3]",
        CONV("a", "in", "2") "," CONV("b", "in", "3") ","
        LAYER("x", "concatenate", "\"a\",\"b\",\"in\"", "") ","
        LAYER("y", "concatenate", "\"x\",\"x\"", "\"axis\":1") ","
        LAYER("z", "concatenate", "\"y\",\"y\"", "\"axis\":0") "," CONV("c", "z", "1") ","
        LAYER("f", "flatten", "\"c\"", "") "," DENSE("out", "f", "3")) },
    { "activations", MODEL("[7]",
        LAYER("a", "dense", "\"in\"", "\"units\":6,\"activation\":\"softsign\"") ","
        LAYER("b", "dense", "\"a\"", "\"units\":6,\"activation\":\"exponential\"") ","
        LAYER("c", "activate", "\"b\"", "\"activation\":\"hard_sigmoid\"") ","
        LAYER("d", "activate", "\"c\"", "\"activation\":\"linear\"") ","
        LAYER("e", "dense", "\"d\"", "\"units\":6,\"activation\":\"relu6\"") ","
        DENSE("out", "e", "3")) },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

Test(kinds, gradients)
{
    for (int i = 0; i < KINDS; i++)
        bed_check_model(kinds[i].model, PAWL_CROSS_ENTROPY);
}

static void ok(int rc) { cr_assert(rc == 0, "%s", pawl_error()); }

static void step_bits(int threads, const char *model, float **out, size_t *bytes)
{
    struct bed bed;
    float result[2];

    bed_set_up(&bed, model, PAWL_CROSS_ENTROPY, threads, 30);
    for (int micro = 0; micro < 2; micro++) {
        bed_feed(&bed);
        pawl_plan_train(bed.plan, bed.stream, 5, 0.1f, micro > 0, result);
    }
    ok(pawl_stream_wait(bed.stream));
    *bytes = (size_t)bed.model->slab_floats * sizeof(float);
    ok(pawl_alloc(out, *bytes, "bits"));
    memcpy(*out, bed.model->grad, *bytes);
    bed_tear_down(&bed);
}

Test(kinds, threads_do_not_matter)
{
    for (int i = 0; i < KINDS; i++) {
        float *one = NULL, *many = NULL;
        size_t bytes;
        step_bits(1, kinds[i].model, &one, &bytes);
        step_bits(3, kinds[i].model, &many, &bytes);
        cr_expect(!memcmp(one, many, bytes), "%s", kinds[i].name);
        pawl_free(one);
        pawl_free(many);
    }
}

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
Test(kinds, softmax_closes_forward_but_not_the_loss)
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
Test(kinds, batch_norm_keeps_running_statistics)
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

Test(kinds, forward_is_what_the_words_say)
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

Test(kinds, rotary_attention_by_hand)
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
