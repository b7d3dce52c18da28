// kinds.c - every kind of layer in a small model: its gradients against finite differences of the
// training loss, and the same bits for any number of threads. kinds_forward.c has what it makes.

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "kernels/memory.h"
#include "tests/runtime/plan_support.h"

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
    { "lstm", MODEL("[5,3]",
        LAYER("x", "lstm", "\"in\"", "\"units\":6,\"sequences\":true,\"recurrent_bias\":true") ","
        LAYER("y", "lstm", "\"x\"", "\"units\":9,\"reverse\":true") "," DENSE("out", "y", "3")) },
    { "gru", MODEL("[5,3]",
        LAYER("x", "gru", "\"in\"", "\"units\":9,\"sequences\":true,\"recurrent_bias\":true,"
                                    "\"reverse\":true") ","
        LAYER("y", "gru", "\"x\"", "\"units\":4,\"bias\":false,"
                                    "\"recurrent_activation\":\"hard_sigmoid\"") ","
        DENSE("out", "y", "3")) },
    { "simple_rnn", MODEL("[5,3]",
        LAYER("x", "simple_rnn", "\"in\"", "\"units\":6,\"sequences\":true") ","
        LAYER("z", "simple_rnn", "\"in\"", "\"units\":6,\"sequences\":true,\"reverse\":true") ","
        LAYER("c", "concatenate", "\"x\",\"z\"", "") ","
        LAYER("y", "simple_rnn", "\"c\"", "\"units\":4,\"activation\":\"linear\"") ","
        DENSE("out", "y", "3")) },
    { "transposed", MODEL("[3,4,2]",
        CONV("a", "in", "4") ","
        LAYER("x", "conv2d_transpose", "\"a\"", "\"filters\":6,\"kernel\":3,\"stride\":2,"
              "\"groups\":2,\"pads\":[1,0,1,1],\"extra\":[1,0],\"activation\":\"silu\"") ","
        LAYER("y", "conv2d_transpose", "\"x\"", "\"filters\":3,\"kernel\":[2,3],\"padding\":"
              "\"same\",\"activation\":\"tanh\",\"bias\":false") ","
        LAYER("f", "flatten", "\"y\"", "") "," DENSE("out", "f", "3")) },
    { "transposed 1d", MODEL("[5,3]",
        LAYER("a", "conv1d", "\"in\"", "\"filters\":4,\"kernel\":2") ","
        LAYER("x", "conv1d_transpose", "\"a\"", "\"filters\":5,\"kernel\":3,\"stride\":2,"
                                                "\"padding\":\"same\"") ","
        LAYER("s", "multiply", "\"x\",\"x\"", "") ","
        LAYER("f", "flatten", "\"s\"", "") "," DENSE("out", "f", "3")) },
    { "group_norm", MODEL("[5,6,2]",
        CONV("a", "in", "6") "," LAYER("x", "group_norm", "\"a\"", "\"groups\":3") ","
        CONV("b", "x", "5") ","
        LAYER("y", "group_norm", "\"b\"", "\"groups\":1,\"bias\":false") ","
        LAYER("z", "group_norm", "\"y\"", "\"groups\":5,\"weight\":false") ","
        LAYER("f", "flatten", "\"z\"", "") "," DENSE("out", "f", "3")) },
    { "prelu", MODEL("[7]",
        DENSE("a", "in", "6") "," LAYER("x", "prelu", "\"a\"", "") "," DENSE("b", "x", "5") ","
        LAYER("y", "prelu", "\"b\"", "\"shared\":true") "," DENSE("out", "y", "3")) },
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
    for (int i = 0; i < 2 * KINDS; i++) {
        float *one = NULL, *many = NULL;
        size_t bytes;
        bed_type = i < KINDS ? PAWL_F32 : PAWL_BF16;
        step_bits(1, kinds[i % KINDS].model, &one, &bytes);
        step_bits(3, kinds[i % KINDS].model, &many, &bytes);
        cr_expect(!memcmp(one, many, bytes), "%s", kinds[i % KINDS].name);
        pawl_free(one);
        pawl_free(many);
    }
}

// A step in bfloat16 makes much the same loss and gradients as one in fp32.
Test(kinds, bf16_stays_close)
{
    for (int i = 0; i < KINDS; i++) {
        double loss[2], distance = 0, length = 0;
        struct bed bed[2];
        for (int type = 0; type < 2; type++) {
            bed_type = type ? PAWL_BF16 : PAWL_F32;
            bed_set_up(&bed[type], kinds[i].model, PAWL_CROSS_ENTROPY, 1, 30);
            loss[type] = bed_loss(&bed[type]);
        }
        for (int64_t j = 0; j < bed[0].model->slab_floats; j++) {
            const double a = (double)bed[0].model->grad[j], b = (double)bed[1].model->grad[j];
            distance += (a - b) * (a - b);
            length += a * a;
        }
        cr_expect(fabs(loss[1] - loss[0]) < 0.01 * loss[0], "%s: loss %g, not %g", kinds[i].name,
                  loss[1], loss[0]);
        cr_expect(distance < 0.03 * 0.03 * length, "%s: gradients %.3g of their length apart",
                  kinds[i].name, sqrt(distance / length));
        cr_expect(pawl_plan_arena_bytes(bed[1].plan) < pawl_plan_arena_bytes(bed[0].plan), "%s",
                  kinds[i].name);
        bed_tear_down(&bed[0]);
        bed_tear_down(&bed[1]);
    }
}
