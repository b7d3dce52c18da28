// layers.c - every kind of layer: the shape it makes, the parameters it owns, and JSON both ways.

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/architecture.h"
#include "checkpoint/layers.h"
#include "kernels/memory.h"

// One layer named "x" over inputs of a shape; shape NULL where check must refuse with `params` as
// words. params: "suffix shape" one after the other, state in brackets.
struct row {
    const char *in, *kind, *config;
    int inputs;
    const char *shape, *params;
};

static const struct row rows[] = {
    { "[9]", "dense", "\"units\": 4", 1, "[4]", "weight [4, 9] bias [4] " },
    { "[2, 9]", "dense", "\"units\": 4, \"activation\": \"softmax\"", 1, "[2, 4]",
      "weight [4, 9] bias [4] " },
    { "[9, 4]", "conv1d", "\"filters\": 6, \"kernel\": 3, \"stride\": 2, \"groups\": 2", 1,
      "[4, 6]", "weight [6, 3, 2] bias [6] " },
    { "[9, 4]", "conv1d", "\"filters\": 6, \"kernel\": 3, \"pads\": [2, 0], \"bias\": false", 1,
      "[9, 6]", "weight [6, 3, 4] " },
    { "[8, 6, 4]", "conv2d", "\"filters\": 6, \"kernel\": 3, \"stride\": 2,"
      "\"pads\": [1, 1, 0, 1]", 1, "[4, 3, 6]", "weight [6, 3, 3, 4] bias [6] " },
    { "[8, 6, 4]", "conv2d", "\"filters\": 8, \"kernel\": [3, 2], \"groups\": 4,"
      "\"padding\": \"same\"", 1, "[8, 6, 8]", "weight [8, 3, 2, 1] bias [8] " },
    { "[8, 6, 4]", "conv2d", "\"filters\": 6, \"kernel\": 3, \"padding\": \"same\","
      "\"pads\": [1, 0, 0, 0]", 1, NULL, "padding must be valid" },
    { "[5, 4]", "conv1d_transpose", "\"filters\": 6, \"kernel\": 3, \"stride\": 2,"
      "\"pads\": [1, 1], \"extra\": 1", 1, "[10, 6]", "weight [4, 3, 6] bias [6] " },
    { "[5, 4]", "conv1d_transpose", "\"filters\": 6, \"kernel\": 3, \"pads\": [5, 4]", 1, NULL,
      "leave nothing" },
    { "[5, 7, 4]", "conv2d_transpose", "\"filters\": 6, \"kernel\": 2, \"stride\": [2, 3],"
      "\"groups\": 2", 1, "[10, 20, 6]", "weight [4, 2, 2, 3] bias [6] " },
    { "[5, 7, 4]", "conv2d_transpose", "\"filters\": 6, \"kernel\": 3, \"stride\": 2,"
      "\"padding\": \"same\"", 1, "[10, 14, 6]", "weight [4, 3, 3, 6] bias [6] " },
    { "[5, 7, 4]", "conv2d_transpose", "\"filters\": 6, \"kernel\": 3, \"padding\": \"same\","
      "\"extra\": 1", 1, NULL, "has extra" },
    { "[9, 4]", "max_pool1d", "\"size\": 3, \"stride\": 2, \"pads\": [1, 1]", 1, "[5, 4]", "" },
    { "[9, 8, 4]", "max_pool2d", "\"size\": 3, \"pads\": [1, 1, 1, 1]", 1, "[3, 3, 4]", "" },
    { "[9, 8, 4]", "max_pool2d", "\"size\": 3, \"pads\": [3, 1, 1, 1]", 1, NULL, "padding only" },
    { "[9, 4]", "avg_pool1d", "\"size\": 2, \"padding\": \"same\"", 1, "[5, 4]", "" },
    { "[9, 8, 4]", "avg_pool2d", "\"count_pads\": true", 1, "[4, 4, 4]", "" },
    { "[9, 8, 4]", "avg_pool1d", "", 1, NULL, "takes [time, channels]" },
    { "[9, 8, 4]", "global_avg_pool", "", 1, "[4]", "" },
    { "[9, 4]", "global_max_pool", "\"keep\": true", 1, "[1, 4]", "" },
    { "[4]", "global_max_pool", "", 1, NULL, "at least [time, channels]" },
    { "[9, 8, 4]", "batch_norm", "\"momentum\": 0.01, \"unbiased\": false", 1, "[9, 8, 4]",
      "weight [4] bias [4] (running_mean [4]) (running_var [4]) " },
    { "[4]", "batch_norm", "\"weight\": false, \"bias\": false", 1, "[4]",
      "(running_mean [4]) (running_var [4]) " },
    { "[9, 4]", "layer_norm", "\"bias\": false", 1, "[9, 4]", "weight [4] " },
    { "[9, 8, 4]", "group_norm", "\"groups\": 2", 1, "[9, 8, 4]", "weight [4] bias [4] " },
    { "[9, 8, 4]", "group_norm", "\"groups\": 3", 1, NULL, "groups 3 must divide" },
    { "[9, 4]", "rms_norm", "\"epsilon\": 1e-6", 1, "[9, 4]", "weight [4] " },
    { "[9, 24]", "attention", "\"heads\": 2, \"theta\": 10000", 1, "[9, 8]", "" },
    { "[9, 24]", "attention", "\"heads\": 2, \"kv_heads\": 1, \"rotary\": 2, \"theta\": 1", 1,
      "[9, 12]", "" },
    { "[9, 24]", "attention", "\"heads\": 2, \"causal\": false", 3, "[9, 24]", "" },
    { "[9, 24]", "attention", "\"heads\": 2", 2, NULL, "queries, keys, values" },
    { "[9, 24]", "attention", "\"heads\": 2, \"kv_heads\": 1", 3, NULL, "of one size" },
    { "[9, 24]", "attention", "\"heads\": 2, \"rotary\": 2", 1, NULL, "needs a theta" },
    { "[9, 24]", "attention", "\"heads\": 2, \"rotary\": 3, \"theta\": 1", 1, NULL, "even" },
    { "[9, 24]", "attention", "\"heads\": 2, \"rotary\": 6, \"theta\": 1", 1, NULL, "at most 4" },
    { "[9, 5]", "lstm", "\"units\": 4", 1, "[4]", "weight [16, 5] recurrent [16, 4] bias [16] " },
    { "[9, 5]", "gru", "\"units\": 4, \"sequences\": true, \"recurrent_bias\": true", 1, "[9, 4]",
      "weight [12, 5] recurrent [12, 4] bias [12] recurrent_bias [12] " },
    { "[9, 5]", "simple_rnn", "\"units\": 4, \"bias\": false, \"activation\": \"relu\"", 1, "[4]",
      "weight [4, 5] recurrent [4, 4] " },
    { "[9, 5]", "lstm", "\"units\": 4, \"activation\": \"softmax\"", 1, NULL, "softmax inside" },
    { "[9]", "simple_rnn", "\"units\": 4", 1, NULL, "[time, features]" },
    { "[9]", "activate", "\"activation\": \"leaky_relu\", \"alpha\": 0.3", 1, "[9]", "" },
    { "[9]", "activate", "\"activation\": \"mish\"", 1, "[9]", "" },
    { "[9]", "activate", "\"activation\": \"relu\", \"alpha\": 0.3", 1, NULL, "alpha" },
    { "[9, 4]", "prelu", "", 1, "[9, 4]", "weight [4] " },
    { "[9, 4]", "prelu", "\"shared\": true", 1, "[9, 4]", "weight [1] " },
    { "[9, 4]", "reshape", "\"shape\": [3, 3, 4]", 1, "[3, 3, 4]", "" },
    { "[9, 4]", "reshape", "\"shape\": [3, 3, 3]", 1, NULL, "as many values" },
    { "[9, 8, 4]", "permute", "\"order\": [2, 0, 1]", 1, "[4, 9, 8]", "" },
    { "[9, 8, 4]", "permute", "\"order\": [2, 0, 0]", 1, NULL, "each of its input's 3 axes" },
    { "[9, 8, 4]", "permute", "\"order\": [1, 0]", 1, NULL, "each of its input's 3 axes" },
    { "[9, 8, 4]", "zero_padding", "\"pads\": [1, 2, 3, 4]", 1, "[12, 15, 4]", "" },
    { "[9, 4]", "zero_padding", "\"pads\": [0, 0, 3, 4]", 1, "[16, 4]", "" },
    { "[9, 4]", "zero_padding", "\"pads\": [1, 0, 3, 4]", 1, NULL, "no top and bottom" },
    { "[9]", "zero_padding", "\"pads\": [0, 0, 3, 4]", 1, NULL, "takes [height" },
    { "[9, 4]", "add", "", 3, "[9, 4]", "" },
    { "[9, 4]", "multiply", "", 2, "[9, 4]", "" },
    { "[9, 4]", "average", "", 8, "[9, 4]", "" },
    { "[9, 4]", "maximum", "", 2, "[9, 4]", "" },
    { "[9, 4]", "subtract", "", 2, "[9, 4]", "" },
    { "[9, 4]", "subtract", "", 3, NULL, "2 inputs, not 3" },
    { "[9, 4]", "concatenate", "", 3, "[9, 12]", "" },
    { "[9, 4]", "concatenate", "\"axis\": 0", 2, "[18, 4]", "" },
    { "[9, 4]", "concatenate", "\"axis\": 2", 2, NULL, "no axis 2" },
};

static int parse(struct pawl_architecture *out, const struct row *row)
{
    char json[1024];
    size_t used = (size_t)snprintf(json, sizeof(json), "{\"pawl\": 1, \"name\": \"m\", "
                                   "\"layers\": [{\"name\": \"input\", \"kind\": \"input\", "
                                   "\"config\": {\"shape\": %s}}, {\"name\": \"x\", \"kind\": "
                                   "\"%s\", \"config\": {%s}, \"inputs\": [", row->in, row->kind,
                                   row->config);

    for (int i = 0; i < row->inputs; i++)
        used += (size_t)snprintf(json + used, sizeof(json) - used, "%s\"input\"", i ? ", " : "");
    snprintf(json + used, sizeof(json) - used, "]}]}");
    return pawl_architecture_from_json(out, json);
}

static void expect_params(const struct pawl_architecture *made, const struct row *row)
{
    struct pawl_param param[PAWL_PARAMS_MAX];
    const int count = pawl_layer_params(made, 1, param);
    char text[512] = "", shape[96];

    for (int i = 0; i < count; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof(text) - used, param[i].trainable ? "%s %s " : "(%s %s) ",
                 param[i].suffix, pawl_shape_text(shape, sizeof(shape), param[i].rank,
                                                  param[i].dim));
        cr_expect_eq(param[i].decay, param[i].rank > 1, "%s.%s", row->kind, param[i].suffix);
    }
    cr_expect_str_eq(text, row->params, "%s: %s", row->kind, text);
}

static void check_row(const struct row *row)
{
    struct pawl_architecture made = { 0 }, again = { 0 };
    char *json = NULL, shape[96];
    const int rc = parse(&made, row);

    if (!row->shape) {
        cr_assert_eq(rc, PAWL_ECORRUPT, "%s {%s}", row->kind, row->config);
        cr_assert(strstr(pawl_error(), row->params), "'%s' lacks '%s'", pawl_error(), row->params);
        return;
    }
    cr_assert_eq(rc, 0, "%s: %s", row->kind, pawl_error());
    const struct pawl_shape *out = &made.layers[1].out;
    cr_expect_str_eq(pawl_shape_text(shape, sizeof(shape), out->rank, out->dim), row->shape,
                     "%s: %s", row->kind, shape);
    expect_params(&made, row);
    cr_assert_eq(pawl_architecture_to_json(&json, &made), 0);
    cr_assert_eq(pawl_architecture_from_json(&again, json), 0, "%s in %s", pawl_error(), json);
    cr_expect_eq(memcmp(&made.layers[1], &again.layers[1], sizeof(made.layers[1])), 0, "%s", json);
    cr_expect_eq(pawl_architecture_match(&made, "A", &again, "B"), 0, "%s", pawl_error());
    pawl_free(json);
    pawl_architecture_free(&made);
    pawl_architecture_free(&again);
}

Test(layers, shape_parameters_and_json)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_row(&rows[i]);
}

// embedding and position_embedding take tokens; tests/checkpoint/architecture.c has them.
Test(layers, every_kind_has_a_row_and_a_test)
{
    for (int k = 0; k < PAWL_LAYER_KINDS; k++) {
        const char *name = pawl_layer_kind_name((enum pawl_layer_kind)k);
        bool tested = k == PAWL_INPUT || k == PAWL_EMBEDDING || k == PAWL_POSITION_EMBEDDING
                      || k == PAWL_DROPOUT || k == PAWL_FLATTEN;

        cr_assert_not_null(name, "kind %d", k);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
            tested = tested || strcmp(rows[i].kind, name) == 0;
        cr_expect(tested, "%s", name);
    }
    for (int a = 0; a < PAWL_ACTIVATIONS; a++)
        cr_expect_not_null(pawl_activation_name((enum pawl_activation)a), "activation %d", a);
}
