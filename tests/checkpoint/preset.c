// preset.c - the models that have a name.

#include <criterion/criterion.h>
#include <string.h>

#include "checkpoint/architecture.h"

static struct pawl_architecture made;

static int preset(const char *spec)
{
    pawl_architecture_free(&made);
    return pawl_architecture_preset(&made, spec);
}

static const struct pawl_layer *layer(const char *name)
{
    for (int i = 0; i < made.layer_count; i++)
        if (strcmp(made.layers[i].name, name) == 0) return &made.layers[i];
    cr_assert_fail("no layer %s", name);
    return NULL;
}

static int layer_index(const char *name)
{
    return (int)(layer(name) - made.layers);
}

Test(preset, sizes_are_the_published_ones)
{
    // 124,439,808 for GPT-2 with its 50,257 tokens; 47 rows of 768 more to pad to 50,304.
    static const struct { const char *spec; int64_t params; } row[] = {
        { "gpt2-124m", 124439808 + 47 * 768 },
        { "gpt2-124m:vocab=50257", 124439808 },
        { "mlp:784-256-128-10", 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10 },
        { "mlp", 784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10 },
        { "cnn:fashion", 32 * 9 + 32 + 64 * 32 * 9 + 64 + 12544 * 128 + 128 + 128 * 10 + 10 },
    };

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        cr_assert_eq(preset(row[i].spec), 0, "%s: %s", row[i].spec, pawl_error());
        cr_assert_eq(pawl_architecture_params(&made), row[i].params, "%s has %lld", row[i].spec,
                     (long long)pawl_architecture_params(&made));
        cr_assert_str_eq(made.loss, "cross-entropy");
    }
    pawl_architecture_free(&made);
}

Test(preset, gpt_is_wired_as_a_residual_stream)
{
    cr_assert_eq(preset("gpt:layers=2,heads=2,width=8,context=16,vocab=11"), 0);
    cr_assert_eq(made.layer_count, 3 + 2 * 9 + 2);
    cr_assert_eq(layer("blocks.0.add1")->input[0], layer_index("blocks.0.proj"));
    cr_assert_eq(layer("blocks.0.add1")->input[1], layer_index("wpe"));
    cr_assert_eq(layer("blocks.1.add1")->input[1], layer_index("blocks.0.add2"));
    cr_assert_eq(layer("blocks.1.add2")->input[1], layer_index("blocks.1.add1"));
    cr_assert_eq(layer("blocks.1.fc")->dense.activation, PAWL_GELU_TANH);
    cr_assert_str_eq(layer("head")->dense.tied, "wte.weight");
    cr_assert_eq(layer("head")->out.dim[0], 16);
    cr_assert_eq(layer("head")->out.dim[1], 11);
    pawl_architecture_free(&made);
}

Test(preset, gpt_starts_small_where_blocks_add_to_the_stream)
{
    struct pawl_param param[PAWL_PARAMS_MAX];

    cr_assert_eq(preset("gpt:layers=8,heads=2,width=8,context=16"), 0);
    cr_assert_eq(pawl_layer_params(&made, layer_index("blocks.7.qkv"), param), 2);
    cr_assert_eq(param[0].init, PAWL_INIT_NORMAL);
    cr_assert_float_eq(param[0].scale, 0.02, 1e-12);
    cr_assert_eq(param[1].init, PAWL_INIT_ZERO);
    pawl_layer_params(&made, layer_index("blocks.7.out"), param);
    cr_assert_float_eq(param[0].scale, 0.02 / 4, 1e-12);
    pawl_architecture_free(&made);
}

Test(preset, dropout_is_a_layer_where_it_is_not_zero)
{
    cr_assert_eq(preset("gpt:layers=1,heads=2,width=8,context=16,dropout=0.25"), 0);
    cr_assert_eq(layer("drop")->input[0], layer_index("wpe"));
    cr_assert_eq(layer("blocks.0.add1")->input[1], layer_index("drop"));
    cr_assert_eq(layer("blocks.0.add2")->input[0], layer_index("blocks.0.drop2"));
    cr_assert_float_eq(layer("blocks.0.drop1")->dropout.rate, 0.25, 0);
    pawl_architecture_free(&made);
}

Test(preset, mlp_ends_linear)
{
    cr_assert_eq(preset("mlp:4-3-2"), 0);
    cr_assert_eq(made.layer_count, 3);
    cr_assert_eq(layer("fc1")->dense.activation, PAWL_RELU);
    cr_assert_eq(layer("fc2")->dense.activation, PAWL_LINEAR);
    pawl_architecture_free(&made);
}

Test(preset, wrong_words_are_told)
{
    static const struct { const char *spec; int rc; const char *words; } row[] = {
        { "gtp", PAWL_ENONE, "did you mean 'gpt'" },
        { "runs/a", PAWL_ENONE, "no preset" },
        { "", PAWL_ENONE, "no preset" },
        { "gpt:layer=3", PAWL_EINVAL, "did you mean 'layers'" },
        { "gpt:layers", PAWL_EINVAL, "KEY=NUMBER" },
        { "gpt:layers=", PAWL_EINVAL, "layers" },
        { "gpt:layers=6,", PAWL_EINVAL, "KEY=NUMBER" },
        { "gpt:layers=-1", PAWL_EINVAL, "layers" },
        { "gpt:layers=99999999999999999999", PAWL_EINVAL, "layers" },
        { "gpt:layers=1000", PAWL_EINVAL, "4096" },
        { "gpt:heads=7", PAWL_EINVAL, "heads 7 must divide width 384" },
        { "gpt:dropout=1", PAWL_EINVAL, "to below 1" },
        { "gpt:dropout=nan", PAWL_EINVAL, "to below 1" },
        { "gpt:dropout=0.1x", PAWL_EINVAL, "to below 1" },
        { "mlp:784", PAWL_EINVAL, "at least" },
        { "mlp:784--10", PAWL_EINVAL, "not a width" },
        { "mlp:784-0-10", PAWL_EINVAL, "not a width" },
        { "mlp:784-10x", PAWL_EINVAL, "not a width" },
        { "mlp:2147483647-2147483647", PAWL_EINVAL, "parameters" },
        { "cnn:imagenet", PAWL_EINVAL, "cnn:fashion" },
    };

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        cr_assert_eq(preset(row[i].spec), row[i].rc, "%s", row[i].spec);
        cr_assert(strstr(pawl_error(), row[i].words), "%s: %s", row[i].spec, pawl_error());
        cr_assert_null(made.layers);
    }
}

Test(preset, a_long_word_is_no_preset)
{
    char spec[2000];

    memset(spec, '1', sizeof(spec));
    memcpy(spec, "mlp:", 4);
    spec[sizeof(spec) - 1] = 0;
    cr_assert_eq(preset(spec), PAWL_ENONE);
}
