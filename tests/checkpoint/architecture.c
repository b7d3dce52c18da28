// architecture.c - layers: JSON both ways, what check refuses, what match tells.

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/architecture.h"
#include "checkpoint/suggest.h"
#include "kernels/memory.h"

// ---- building blocks

#define MODEL(layers) "{\"pawl\": 1, \"name\": \"m\", \"layers\": [" layers "]}"
#define INPUT "{\"name\": \"input\", \"kind\": \"input\", \"config\": {\"shape\": [8, 8, 3]}},"
#define TOKENS "{\"name\": \"input\", \"kind\": \"input\", \"config\": {\"shape\": [5]," \
               "\"tokens\": true}}, {\"name\": \"e\", \"kind\": \"embedding\"," \
               "\"config\": {\"vocab\": 10, \"width\": 12}}"

static struct pawl_architecture made;

static int parse(const char *json)
{
    pawl_architecture_free(&made);
    return pawl_architecture_from_json(&made, json);
}

static void refuse(const char *json, const char *words)
{
    const int rc = parse(json);

    cr_assert_eq(rc, PAWL_ECORRUPT, "%d for %s", rc, json);
    cr_assert(strstr(pawl_error(), words), "'%s' lacks '%s'", pawl_error(), words);
    cr_assert_null(made.layers);
}

static void expect_out(const char *name, const char *shape)
{
    char text[96];

    for (int i = 0; i < made.layer_count; i++)
        if (strcmp(made.layers[i].name, name) == 0) {
            const struct pawl_shape *out = &made.layers[i].out;
            cr_assert_str_eq(pawl_shape_text(text, sizeof(text), out->rank, out->dim), shape);
            return;
        }
    cr_assert_fail("no layer %s", name);
}

// ---- JSON

Test(architecture, json_there_and_back_is_identical)
{
    static const char *const specs[] = {
        "gpt", "gpt:layers=2,heads=2,width=8,context=16,dropout=0.1", "mlp:784-256-128-10",
        "cnn:fashion",
    };

    for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
        struct pawl_architecture first = { 0 };
        char *json = NULL, *again = NULL;

        cr_assert_eq(pawl_architecture_preset(&first, specs[i]), 0);
        cr_assert_eq(pawl_architecture_to_json(&json, &first), 0);
        cr_assert_eq(parse(json), 0, "%s", pawl_error());
        cr_assert_eq(made.layer_count, first.layer_count);
        cr_assert_eq(memcmp(made.layers, first.layers,
                            sizeof(*made.layers) * (size_t)made.layer_count), 0,
                     "%s: the layers differ", specs[i]);
        cr_assert_eq(pawl_architecture_to_json(&again, &made), 0);
        cr_assert_str_eq(json, again);
        pawl_free(json);
        pawl_free(again);
        pawl_architecture_free(&first);
    }
    pawl_architecture_free(&made);
}

Test(architecture, what_json_leaves_out_has_defaults)
{
    cr_assert_eq(parse(MODEL(INPUT
        "{\"name\": \"c\", \"kind\": \"conv2d\", \"config\": {\"filters\": 4, \"kernel\": 3}},"
        "{\"name\": \"p\", \"kind\": \"max_pool2d\"},"
        "{\"name\": \"n\", \"kind\": \"layer_norm\", \"config\": {}}")), 0, "%s", pawl_error());
    cr_assert(made.layers[1].conv.bias);
    cr_assert_eq(made.layers[1].conv.kernel[1], 3);
    cr_assert_eq(made.layers[1].conv.stride[0], 1);
    cr_assert_eq(made.layers[2].pool.size[0], 2);
    cr_assert_eq(made.layers[2].pool.stride[1], 2);
    cr_assert_float_eq(made.layers[3].norm.epsilon, 1e-5, 0);
    cr_assert_eq(made.layers[3].input[0], 2);
    cr_assert_str_eq(made.loss, "");
    expect_out("c", "[6, 6, 4]");
    expect_out("p", "[3, 3, 4]");
    pawl_architecture_free(&made);
}

Test(architecture, shapes_of_windows)
{
    static const struct { const char *config, *out; } row[] = {
        { "\"kernel\": [3, 1]", "[6, 8, 4]" },
        { "\"kernel\": 3, \"padding\": \"same\"", "[8, 8, 4]" },
        { "\"kernel\": 3, \"stride\": 2", "[3, 3, 4]" },
        { "\"kernel\": 3, \"stride\": 3, \"padding\": \"same\"", "[3, 3, 4]" },
        { "\"kernel\": 3, \"dilation\": 2", "[4, 4, 4]" },
        { "\"kernel\": 8", "[1, 1, 4]" },
    };
    char json[1024];

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        snprintf(json, sizeof(json), MODEL(INPUT "{\"name\": \"c\", \"kind\": \"conv2d\", "
                 "\"config\": {\"filters\": 4, %s}}"), row[i].config);
        cr_assert_eq(parse(json), 0, "%s: %s", row[i].config, pawl_error());
        expect_out("c", row[i].out);
    }
    pawl_architecture_free(&made);
}

Test(architecture, grouped_attention_divides_its_input)
{
    // 12 channels are 2 queries, 1 key and 1 value of 3 each.
    cr_assert_eq(parse(MODEL(TOKENS ", {\"name\": \"a\", \"kind\": \"attention\","
        "\"config\": {\"heads\": 2, \"kv_heads\": 1}}")), 0, "%s", pawl_error());
    expect_out("a", "[5, 6]");
    pawl_architecture_free(&made);
}

Test(architecture, refuses_json_that_is_not_its_own)
{
    refuse("", "not JSON");
    refuse("{", "not JSON");
    refuse("[]", "no member 'pawl'");
    refuse("{\"layers\": []}", "no member 'pawl'");
    refuse("{\"pawl\": 2, \"name\": \"m\", \"layers\": []}", "schema 1");
    refuse("{\"pawl\": 1, \"pawl\": 1, \"name\": \"m\", \"layers\": []}", "duplicate");
    refuse("{\"pawl\": 1, \"layers\": []}", "'name'");
    refuse("{\"pawl\": 1, \"name\": \"m\", \"layers\": []}", "1 to 4096");
    refuse("{\"pawl\": 1, \"name\": \"m\", \"layer\": []}", "did you mean 'layers'");
    refuse("{\"pawl\": 1, \"name\": \"m\\u0000n\", \"layers\": []}", "JSON");
    refuse(MODEL("3"), "object");
    refuse(MODEL("{\"kind\": \"dense\"}"), "'name'");
    refuse(MODEL("{\"name\": \"x\", \"kind\": \"dens\"}"), "did you mean 'dense'");
    refuse(MODEL("{\"name\": \"x\"}"), "'kind' must be a string");
    refuse(MODEL("{\"name\": \"x\", \"kind\": \"input\", \"inputs\": 3,"
                 "\"config\": {\"shape\": [2]}}"), "list of at most 8");
    refuse(MODEL(INPUT "{\"name\": \"a\", \"kind\": \"add\", \"inputs\": [\"input\", \"input\","
                 "\"input\", \"input\", \"input\", \"input\", \"input\", \"input\", \"input\"]}"),
           "list of at most 8");
    refuse(MODEL("{\"name\": \"x\", \"kind\": \"input\", \"config\": {\"shape\": 5}}"),
           "list of 1 to 4");
    refuse(MODEL(INPUT "{\"name\": \"c\", \"kind\": \"conv2d\", \"config\": {\"filters\": 1,"
                 "\"kernel\": [3, \"3\"]}}"), "whole numbers");
    refuse(MODEL(INPUT "{\"name\": \"n\", \"kind\": \"layer_norm\", \"config\": {\"epsilon\":"
                 "\"x\"}}"), "must be a number");
    refuse(MODEL("{\"name\": \"x\", \"kind\": \"input\", \"confg\": {}}"), "did you mean 'config'");
    refuse(MODEL("{\"name\": \"x\", \"kind\": \"input\", \"config\": []}"), "object");
    refuse(MODEL("{\"name\": \"x\", \"kind\": \"input\"}"), "needs 'shape'");
    refuse(MODEL(INPUT "{\"name\": \"d\", \"kind\": \"dense\", \"config\": {\"unit\": 3}}"),
           "did you mean 'units'");
    refuse(MODEL(INPUT "{\"name\": \"d\", \"kind\": \"dense\", \"config\": {\"units\": 3.0}}"),
           "whole number");
    refuse(MODEL(INPUT "{\"name\": \"d\", \"kind\": \"dense\", \"config\": {\"units\": 3,"
                 "\"activation\": \"rleu\"}}"), "did you mean 'relu'");
    refuse(MODEL(INPUT "{\"name\": \"d\", \"kind\": \"dense\", \"config\": {\"units\": 3,"
                 "\"bias\": 1}}"), "true or false");
    refuse(MODEL(INPUT "{\"name\": \"f\", \"kind\": \"flatten\", \"inputs\": [\"inptu\"]}"),
           "no layer before it");
    refuse(MODEL(INPUT "{\"name\": \"f\", \"kind\": \"flatten\", \"inputs\": [\"f\"]}"),
           "no layer before it");
    refuse(MODEL(INPUT "{\"name\": \"c\", \"kind\": \"conv2d\", \"config\": {\"filters\": 1,"
                 "\"kernel\": [3]}}"), "[height, width]");
    refuse("{\"pawl\": 1, \"name\": \"m\", \"loss\": \"mes\", \"layers\": [{\"name\": \"i\","
           "\"kind\": \"input\", \"config\": {\"shape\": [2]}}]}", "did you mean 'mse'");
}

static const struct { const char *layers, *words; } senseless[] = {
    { "{\"name\": \"f\", \"kind\": \"flatten\"}", "first layer" },
    { INPUT "{\"name\": \"i2\", \"kind\": \"input\", \"config\": {\"shape\": [2]}}",
      "one input" },
    { INPUT "{\"name\": \"input\", \"kind\": \"flatten\"}", "two layers are called 'input'" },
    { INPUT "{\"name\": \"\", \"kind\": \"flatten\"}", "no name" },
    { INPUT "{\"name\": \"a\\nb\", \"kind\": \"flatten\"}", "control" },
    { INPUT "{\"name\": \"optimizer.x\", \"kind\": \"flatten\"}", "training state" },
    { INPUT "{\"name\": \"a\", \"kind\": \"add\"}", "2 to 8 inputs, not 1" },
    { INPUT "{\"name\": \"f\", \"kind\": \"flatten\"}, {\"name\": \"a\", \"kind\": \"add\","
      "\"inputs\": [\"input\", \"f\"]}", "differ" },
    { INPUT "{\"name\": \"f\", \"kind\": \"flatten\"}, {\"name\": \"g\", \"kind\": \"flatten\","
      "\"inputs\": [\"input\"]}", "nothing takes" },
    { INPUT "{\"name\": \"e\", \"kind\": \"embedding\", \"config\": {\"vocab\": 4,"
      "\"width\": 4}}", "not tokens" },
    { "{\"name\": \"i\", \"kind\": \"input\", \"config\": {\"shape\": [5], \"tokens\": true}},"
      "{\"name\": \"d\", \"kind\": \"dense\", \"config\": {\"units\": 1}}",
      "only an embedding" },
    { "{\"name\": \"i\", \"kind\": \"input\", \"config\": {\"shape\": [5, 5],"
      "\"tokens\": true}}", "[time]" },
    { "{\"name\": \"i\", \"kind\": \"input\", \"config\": {\"shape\": [0]}}", "shape" },
    { "{\"name\": \"i\", \"kind\": \"input\", \"config\": {\"shape\": []}}", "1 to 4" },
    { "{\"name\": \"i\", \"kind\": \"input\", \"config\": {\"shape\": [1, 1, 1, 1, 1]}}",
      "1 to 4" },
    { INPUT "{\"name\": \"d\", \"kind\": \"dense\", \"config\": {\"units\": 0}}", "units" },
    { INPUT "{\"name\": \"d\", \"kind\": \"dense\", \"config\": {\"units\": -3}}", "units" },
    { INPUT "{\"name\": \"d\", \"kind\": \"dense\", \"config\": {\"units\": 2147483648}}",
      "units" },
    { INPUT "{\"name\": \"c\", \"kind\": \"conv2d\", \"config\": {\"filters\": 4,"
      "\"kernel\": 9}}", "larger than its input" },
    { INPUT "{\"name\": \"c\", \"kind\": \"conv2d\", \"config\": {\"filters\": 4,"
      "\"kernel\": 3, \"groups\": 2}}", "groups" },
    { INPUT "{\"name\": \"c\", \"kind\": \"conv2d\", \"config\": {\"filters\": 4,"
      "\"kernel\": 3, \"stride\": 0}}", "stride" },
    { INPUT "{\"name\": \"f\", \"kind\": \"flatten\"}, {\"name\": \"p\","
      "\"kind\": \"max_pool2d\"}", "[height, width, channels]" },
    { INPUT "{\"name\": \"d\", \"kind\": \"dropout\", \"config\": {\"rate\": 1}}", "rate" },
    { INPUT "{\"name\": \"d\", \"kind\": \"dropout\", \"config\": {\"rate\": -0.1}}", "rate" },
    { INPUT "{\"name\": \"f\", \"kind\": \"flatten\"}, {\"name\": \"c\", \"kind\": \"conv2d\","
      "\"config\": {\"filters\": 4, \"kernel\": 1}}", "takes [height, width, channels]" },
    { INPUT "{\"name\": \"p\", \"kind\": \"position_embedding\", \"config\": {\"positions\": 9}}",
      "takes [time, channels]" },
    { INPUT "{\"name\": \"a\", \"kind\": \"attention\", \"config\": {\"heads\": 1}}",
      "takes [time, queries" },
    { TOKENS ", {\"name\": \"p\", \"kind\": \"position_embedding\","
      "\"config\": {\"positions\": 4}}", "positions" },
    { TOKENS ", {\"name\": \"a\", \"kind\": \"attention\", \"config\": {\"heads\": 5}}",
      "does not divide" },
    { TOKENS ", {\"name\": \"a\", \"kind\": \"attention\", \"config\": {\"heads\": 2,"
      "\"kv_heads\": 3}}", "kv_heads" },
    { TOKENS ", {\"name\": \"h\", \"kind\": \"dense\", \"config\": {\"units\": 11,"
      "\"tied\": \"e.weight\"}}", "needs [11, 12]" },
    { TOKENS ", {\"name\": \"h\", \"kind\": \"dense\", \"config\": {\"units\": 10,"
      "\"tied\": \"f.weight\"}}", "no layer before it owns" },
    { TOKENS ", {\"name\": \"h\", \"kind\": \"dense\", \"config\": {\"units\": 12,"
      "\"tied\": \"h.weight\"}}", "no layer before it owns" },
    { "{\"name\": \"i\", \"kind\": \"input\", \"config\": {\"shape\": [2147483647, 2147483647,"
      "2147483647, 2147483647]}}", "too large" },
    { "{\"name\": \"i\", \"kind\": \"input\", \"config\": {\"shape\": [65536, 65536]}},"
      "{\"name\": \"f\", \"kind\": \"flatten\"}", "larger than 2147483647" },
    { "{\"name\": \"i\", \"kind\": \"input\", \"config\": {\"shape\": [2147483647]}},"
      "{\"name\": \"d\", \"kind\": \"dense\", \"config\": {\"units\": 2147483647}}",
      "2^48 parameters" },
};

Test(architecture, refuses_models_that_make_no_sense)
{
    char json[2048];

    for (size_t i = 0; i < sizeof(senseless) / sizeof(*senseless); i++) {
        snprintf(json, sizeof(json), MODEL("%s"), senseless[i].layers);
        refuse(json, senseless[i].words);
    }
}

Test(architecture, bounds_the_number_of_layers_and_the_length_of_names)
{
    struct pawl_architecture many = { 0 };
    char name[300];

    cr_assert_eq(pawl_architecture_append(&many, PAWL_INPUT, "in", NULL), 0);
    for (int i = 1; i < PAWL_LAYERS_MAX; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        cr_assert_eq(pawl_architecture_append(&many, PAWL_FLATTEN, name, NULL), 0);
    }
    cr_assert_eq(pawl_architecture_append(&many, PAWL_FLATTEN, "more", NULL), PAWL_EINVAL);
    many.layers[0].in.shape = (struct pawl_shape){ 1, { 3, 1, 1, 1 } };
    cr_assert_eq(pawl_architecture_check(&many), 0, "%s", pawl_error());
    pawl_architecture_free(&many);

    memset(name, 'x', sizeof(name));
    name[240] = 0;
    cr_assert_eq(pawl_architecture_append(&many, PAWL_INPUT, name, NULL), PAWL_EINVAL);
    name[239] = 0;
    cr_assert_eq(pawl_architecture_append(&many, PAWL_INPUT, name, NULL), 0);
    pawl_architecture_free(&many);
}

Test(architecture, json_is_bounded)
{
    const size_t most = 16 << 20;
    char *text = malloc(most + 2);
    size_t used = (size_t)sprintf(text, "{\"pawl\": 1, \"name\": \"m\", \"layers\": [");

    for (int i = 0; i <= PAWL_LAYERS_MAX; i++)
        used += (size_t)sprintf(text + used, "%s{}", i ? "," : "");
    sprintf(text + used, "]}");
    refuse(text, "1 to 4096");

    used = (size_t)sprintf(text, "{\"pawl\": 1, \"name\": \"m\", \"layers\": [{\"name\": \"");
    memset(text + used, 'x', 240);
    sprintf(text + used + 240, "\"}]}");
    refuse(text, "longer than 239");

    memset(text, ' ', most + 1);
    text[most + 1] = 0;
    refuse(text, "more than 16777216");
    free(text);
}

Test(architecture, check_trusts_no_structure)
{
    struct pawl_architecture bad = { 0 };

    cr_assert_eq(pawl_architecture_check(&bad), PAWL_EINVAL);
    cr_assert(strstr(pawl_error(), "1 to 4096 layers, not 0"), "%s", pawl_error());
    cr_assert_eq(pawl_architecture_preset(&bad, "mlp:4-3-2"), 0);
    for (int rank = 0; rank <= PAWL_SHAPE_MAX + 1; rank += PAWL_SHAPE_MAX + 1) {
        bad.layers[0].in.shape.rank = rank;
        cr_assert_eq(pawl_architecture_check(&bad), PAWL_EINVAL);
        cr_assert(strstr(pawl_error(), "1 to 4 dimensions"), "%s", pawl_error());
    }
    bad.layers[0].in.shape.rank = 1;
    for (int from = -1; from <= 3; from += 2) {
        bad.layers[1].input[0] = from;
        cr_assert_eq(pawl_architecture_check(&bad), PAWL_EINVAL);
        cr_assert(strstr(pawl_error(), "come before it"), "%s", pawl_error());
    }
    pawl_architecture_free(&bad);
}

Test(architecture, a_copy_can_grow)
{
    struct pawl_architecture copy = { 0 };

    cr_assert_eq(pawl_architecture_preset(&made, "mlp:4-3-2"), 0);
    cr_assert_eq(pawl_architecture_copy(&copy, &made), 0);
    pawl_architecture_free(&made);
    cr_assert_eq(copy.layer_count, 3);
    cr_assert_eq(pawl_architecture_append(&copy, PAWL_DROPOUT, "d", NULL), 0);
    cr_assert_eq(pawl_architecture_append(&copy, PAWL_DROPOUT, "e", NULL), 0);
    cr_assert_eq(copy.layers[4].input[0], 3);
    cr_assert_eq(pawl_architecture_check(&copy), 0, "%s", pawl_error());
    pawl_architecture_free(&copy);
}

// ---- match

static int match(const char *a, const char *b)
{
    struct pawl_architecture x = { 0 }, y = { 0 };

    cr_assert_eq(pawl_architecture_preset(&x, a), 0, "%s", pawl_error());
    cr_assert_eq(pawl_architecture_preset(&y, b), 0, "%s", pawl_error());
    const int rc = pawl_architecture_match(&x, "MINE", &y, "THEIRS");
    pawl_architecture_free(&x);
    pawl_architecture_free(&y);
    return rc;
}

Test(architecture, match_names_the_first_tensor_that_differs)
{
    cr_assert_eq(match("gpt", "gpt-small"), 0);
    cr_assert_eq(match("gpt:dropout=0.1", "gpt:dropout=0.2"), 0);
    cr_assert_eq(match("gpt:dropout=0.1", "gpt"), 0, "%s", pawl_error());

    cr_assert_eq(match("mlp:784-256-10", "mlp:784-128-10"), PAWL_ECORRUPT);
    cr_assert_str_eq(pawl_error(), "layer 'fc1': tensor 'fc1.weight' [256, 784] in MINE, but "
                     "'fc1.weight' [128, 784] in THEIRS");
    cr_assert_eq(match("mlp:784-10", "mlp:784-10-10"), PAWL_ECORRUPT);
    cr_assert_str_eq(pawl_error(), "layer 'fc2': tensor nothing in MINE, but 'fc2.weight' [10, 10] "
                     "in THEIRS");
    cr_assert_eq(match("gpt:context=256", "gpt:context=128"), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "'wpe.weight' [256, 384] in MINE"), "%s", pawl_error());
    cr_assert_eq(match("gpt:layers=2", "gpt:layers=3"), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "'blocks.2.ln1.weight' [384] in THEIRS"), "%s", pawl_error());
    cr_assert_eq(match("gpt:heads=6", "gpt:heads=4"), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "'blocks.0.attention' (attention) has another 'heads'"), "%s",
              pawl_error());
}

Test(architecture, match_sees_wiring_that_shapes_do_not_show)
{
    struct pawl_architecture x = { 0 }, y = { 0 };

    cr_assert_eq(pawl_architecture_preset(&x, "gpt:layers=2,heads=2,width=8,context=4"), 0);
    cr_assert_eq(pawl_architecture_copy(&y, &x), 0);
    cr_assert_str_eq(y.layers[11].name, "blocks.0.add2");
    y.layers[11].input[1] = 2;  // the start of the stream instead of add1
    cr_assert_eq(pawl_architecture_match(&x, "MINE", &y, "THEIRS"), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "fed by"), "%s", pawl_error());
    pawl_architecture_free(&y);

    cr_assert_eq(pawl_architecture_copy(&y, &x), 0);
    y.layers[9].dense.activation = PAWL_RELU;
    cr_assert_eq(pawl_architecture_match(&x, "MINE", &y, "THEIRS"), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "'activation'"), "%s", pawl_error());
    pawl_architecture_free(&y);
    pawl_architecture_free(&x);
}

Test(architecture, match_tells_layers_apart_that_own_nothing)
{
    const char *tanh = MODEL(INPUT "{\"name\": \"x\", \"kind\": \"activate\","
                             "\"config\": {\"activation\": \"tanh\"}}");
    const char *flat = MODEL(INPUT "{\"name\": \"x\", \"kind\": \"flatten\"}");
    const char *more = MODEL(INPUT "{\"name\": \"x\", \"kind\": \"flatten\"},"
                             "{\"name\": \"y\", \"kind\": \"flatten\"}");
    struct pawl_architecture x = { 0 }, y = { 0 }, z = { 0 };

    cr_assert_eq(pawl_architecture_from_json(&x, tanh), 0, "%s", pawl_error());
    cr_assert_eq(pawl_architecture_from_json(&y, flat), 0, "%s", pawl_error());
    cr_assert_eq(pawl_architecture_from_json(&z, more), 0, "%s", pawl_error());
    cr_assert_eq(pawl_architecture_match(&x, "MINE", &y, "THEIRS"), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "'x' (activate) in MINE, but 'x' (flatten)"), "%s",
              pawl_error());
    cr_assert_eq(pawl_architecture_match(&y, "MINE", &z, "THEIRS"), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "'y' is only in THEIRS"), "%s", pawl_error());
    pawl_architecture_free(&x);
    pawl_architecture_free(&y);
    pawl_architecture_free(&z);
}

// ---- suggest

Test(architecture, suggest_finds_the_nearest_or_nothing)
{
    static const char *const known[] = { "dense", "conv2d", "dropout", "add" };

    cr_assert_str_eq(pawl_suggest("Dense", known, 4), "dense");
    cr_assert_str_eq(pawl_suggest("denes", known, 4), "dense");
    cr_assert_str_eq(pawl_suggest("con2d", known, 4), "conv2d");
    cr_assert_str_eq(pawl_suggest("dropuot", known, 4), "dropout");
    cr_assert_null(pawl_suggest("lstm", known, 4));
    cr_assert_null(pawl_suggest("", known, 4));
    cr_assert_null(pawl_suggest("x", known, 4));
    char longer[80] = "";

    memset(longer, 'd', 65);
    cr_assert_null(pawl_suggest(longer, known, 4));
}
