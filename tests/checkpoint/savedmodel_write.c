// savedmodel_write.c - models as TensorFlow's directories: written, read back, compared.
//
// That TensorFlow and Keras compute the same of them is shown with the frameworks themselves.

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "tests/checkpoint/document_support.h"
#include "tests/checkpoint/model_support.h"

#define LAYER(name, kind, inputs, config)                                                         \
    ",{\"name\":\"" name "\",\"kind\":\"" kind "\",\"inputs\":[" inputs "],\"config\":{" config "}}"
#define MODEL(shape, layers)                                                                      \
    "{\"pawl\":1,\"name\":\"m\",\"loss\":\"mse\",\"layers\":[{\"name\":\"x\",\"kind\":\"input\"," \
    "\"config\":{" shape "}}" layers "]}"

static const char *const none[] = { NULL };
static const char *const adam[] = { "exp_avg", "exp_avg_sq", NULL };
static const char *const rms[] = { "square_avg", "momentum_buffer", NULL };
static const char *const sgd[] = { "momentum_buffer", NULL };

// A short branch beside a long one: Keras's order of layers is not that of the list.
static const char branches[] = MODEL("\"shape\":[7],\"tokens\":true",
    LAYER("e", "embedding", "\"x\"", "\"vocab\":13,\"width\":8")
    LAYER("short", "dense", "\"e\"", "\"units\":8")
    LAYER("ln", "layer_norm", "\"e\"", "\"epsilon\":0.001")
    LAYER("a.query", "dense", "\"ln\"", "\"units\":8")
    LAYER("a.key", "dense", "\"ln\"", "\"units\":8")
    LAYER("a.value", "dense", "\"ln\"", "\"units\":8")
    LAYER("a", "attention", "\"a.query\",\"a.key\",\"a.value\"", "\"heads\":2")
    LAYER("a.output", "dense", "\"a\"", "\"units\":8")
    LAYER("deep", "dense", "\"a.output\"", "\"units\":8,\"activation\":\"gelu\"")
    LAYER("sum", "add", "\"short\",\"deep\"", "")
    LAYER("both", "concatenate", "\"sum\",\"e\"", "")
    LAYER("l", "lstm", "\"both\"", "\"units\":3,\"sequences\":true")
    LAYER("g", "gru", "\"l\"", "\"units\":4,\"recurrent_bias\":true")
    LAYER("out", "dense", "\"g\"", "\"units\":5"));

static const char image[] = MODEL("\"shape\":[9,8,4]",
    LAYER("c", "conv2d", "\"x\"", "\"filters\":8,\"kernel\":[3,3],\"padding\":\"same\"")
    LAYER("d", "conv2d", "\"c\"", "\"filters\":16,\"kernel\":[3,3],\"groups\":8,\"stride\":[2,2]")
    LAYER("bn", "batch_norm", "\"d\"", "\"epsilon\":0.001")
    LAYER("t", "conv2d_transpose", "\"bn\"", "\"filters\":6,\"kernel\":[2,2],\"stride\":[2,2]")
    LAYER("gn", "group_norm", "\"t\"", "\"groups\":2")
    LAYER("p", "max_pool2d", "\"gn\"", "")
    LAYER("f", "flatten", "\"p\"", "")
    LAYER("out", "dense", "\"f\"", "\"units\":3"));

static const char sequence[] = MODEL("\"shape\":[9,4]",
    LAYER("c", "conv1d", "\"x\"", "\"filters\":6,\"kernel\":3,\"pads\":[2,0]")
    LAYER("t", "conv1d_transpose", "\"c\"", "\"filters\":5,\"kernel\":3,\"stride\":2,"
          "\"padding\":\"same\"")
    LAYER("pr", "prelu", "\"t\"", "")
    LAYER("r", "simple_rnn", "\"pr\"", "\"units\":3,\"reverse\":true")
    LAYER("out", "dense", "\"r\"", "\"units\":2"));

// What Keras 2 has no layers for: served by TensorFlow, parameters as pawl has them.
static const char llama[] = MODEL("\"shape\":[6],\"tokens\":true",
    LAYER("wte", "embedding", "\"x\"", "\"vocab\":11,\"width\":8")
    LAYER("pos", "position_embedding", "\"wte\"", "\"positions\":9")
    LAYER("0", "rms_norm", "\"pos\"", "")
    LAYER("qkv", "dense", "\"0\"", "\"units\":16,\"bias\":false")
    LAYER("attn", "attention", "\"qkv\"", "\"heads\":4,\"kv_heads\":2,\"theta\":10000")
    LAYER("up", "dense", "\"attn\"", "\"units\":9,\"activation\":\"gelu_tanh\"")
    LAYER("pool", "conv1d", "\"up\"", "\"filters\":8,\"kernel\":3,\"pads\":[1,1]")
    LAYER("head", "dense", "\"pool\"", "\"units\":11,\"bias\":false,\"tied\":\"wte.weight\""));

static struct pawl_document *around(struct pawl_document *from, const char *path)
{
    const struct pawl_write_options options = { .format = "savedmodel", .force = true };
    struct pawl_document *back = NULL;

    cr_assert_eq(pawl_document_write(from, path, &options), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_read(&back, path), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_verify(back), 0, "%s", pawl_error());
    return back;
}

static void expect_around(const char *model, const char *optimizer, const char *const *slots)
{
    static int count;
    char name[32];

    snprintf(name, sizeof(name), "saved-%d", count++);
    struct pawl_document *from = make_model(model, optimizer, slots);
    struct pawl_document *back = around(from, scratch(name));

    cr_assert_not_null(back->architecture, "%s", back->stop);
    expect_same_model(from, back, slots, optimizer);
    cr_expect_eq(back->training ? back->training->step : 0, optimizer ? 7 : 0);
    pawl_document_free(from);
    pawl_document_free(back);
}

Test(savedmodel_write, functional_models_and_their_moments)
{
    expect_around(branches, NULL, none);
    expect_around(branches, "{\"kind\":\"adam\",\"learning_rate\":0.01}", adam);
    expect_around(branches, "{\"kind\":\"rmsprop\",\"learning_rate\":0.25,\"momentum\":0.5}", rms);
}

// The slots' lists have no names: Keras gives them to its variables in its own order of layers, the
// one that is farther from the output first.
Test(savedmodel_write, layers_are_in_the_order_of_keras)
{
    static const char *const names[] = { "e", "ln", "a", "short", "deep", "sum", "both", "l", "g",
                                         "out" };
    struct pawl_document *from = make_model(branches, NULL, none);
    const char *path = scratch("order"), *at;
    char file[600], name[64], *bytes = NULL;
    size_t size = 0;

    pawl_document_free(around(from, path));
    snprintf(file, sizeof(file), "%s/keras_metadata.pb", path);
    cr_assert_eq(pawl_io_read_file(file, &bytes, &size, 1 << 20), 0);
    for (size_t i = 0; i < size; i++)
        if (!bytes[i]) bytes[i] = ' ';
    at = strstr(bytes, "\"layers\":[");
    for (size_t i = 0; at && i < sizeof(names) / sizeof(*names); i++) {
        snprintf(name, sizeof(name), "\"name\":\"%s\"", names[i]);
        at = strstr(at, name);
        cr_assert_not_null(at, "%s", names[i]);
    }
    cr_assert_not_null(at);
    pawl_free(bytes);
    pawl_document_free(from);
}

Test(savedmodel_write, images_and_sequences)
{
    expect_around(image, "{\"kind\":\"adamw\",\"learning_rate\":0.01,\"weight_decay\":0.1}", adam);
    expect_around(image, "{\"kind\":\"sgd\",\"learning_rate\":0.5,\"momentum\":0.5}", sgd);
    expect_around(sequence, "{\"kind\":\"adam\",\"learning_rate\":0.01}", adam);
}

Test(savedmodel_write, what_keras_2_lacks_is_served_all_the_same)
{
    struct pawl_document *from = make_model(llama, NULL, none);
    const char *path = scratch("generic");
    struct pawl_document *back = around(from, path);
    char file[600], *bytes = NULL;
    size_t size = 1;

    cr_assert_eq(back->weight_count, 8);
    cr_assert_null(back->architecture);
    cr_assert_eq(pawl_alloc(&back->architecture, sizeof(*back->architecture), "test"), 0);
    cr_assert_eq(pawl_architecture_copy(back->architecture, from->architecture), 0);
    expect_same_model(from, back, none, "generic");
    // Empty, or Keras 2 would take it for a model of its own.
    snprintf(file, sizeof(file), "%s/keras_metadata.pb", path);
    cr_assert_eq(pawl_io_read_file(file, &bytes, &size, 100), 0);
    cr_assert_eq(size, 0);
    pawl_free(bytes);
    pawl_document_free(from);
    pawl_document_free(back);
}
