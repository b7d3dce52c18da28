// hf.c - config.json of Hugging Face as an architecture.

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "checkpoint/formats/hf.h"
#include "checkpoint/source.h"
#include "kernels/memory.h"
#include "tests/checkpoint/document_support.h"
#include "tests/checkpoint/expect_support.h"
#include "tests/checkpoint/model_support.h"

static struct pawl_document *open_pair(const char *weights, const char *arch)
{
    struct pawl_document *document = NULL;
    char path[600];

    strcpy(path, data_path(weights));
    cr_assert_eq(pawl_source_open(&document, path, data_path(arch)), 0, "%s", pawl_error());
    return document;
}

Test(hf, a_gpt2_and_its_weights)
{
    struct pawl_document *document = open_pair("torch/torch-gpt-weights.safetensors",
                                               "torch/torch-gpt-config.json");
    float theirs[16 * 48], mine[16 * 48];

    cr_assert_eq(pawl_document_bind(document), 0, "%s", pawl_error());
    static const char name[] = "transformer.h.1.attn.c_attn.weight";  // (in, out) in the file
    const int i = pawl_bindings_find(document->bindings, name);
    cr_assert_eq(pawl_document_fetch_param(document, i, NULL, PAWL_F32, mine), 0);
    cr_assert_eq(pawl_document_fetch(document, pawl_document_find(document, name), theirs), 0);
    for (int in = 0; in < 16; in++)
        for (int out = 0; out < 48; out++)
            cr_assert_eq(mine[out * 16 + in], theirs[in * 48 + out]);
    pawl_document_free(document);
}

Test(hf, a_llama)
{
    struct pawl_document *document = NULL;

    cr_assert_eq(pawl_document_read(&document, data_path("torch/hf-llama-config.json")), 0, "%s",
                 pawl_error());
    const struct pawl_architecture *a = document->architecture;
    cr_assert_eq(a->layer_count, 2 + 2 * 14 + 2);
    int i = 0;
    while (strcmp(a->layers[i].name, "model.layers.1.self_attn"))
        i++;
    cr_expect_eq(a->layers[i].attention.kv_heads, 2);
    cr_expect_eq(a->layers[i].attention.theta, 10000.0);
    cr_expect_eq(a->layers[i].input_count, 3);
    cr_expect_str_eq(a->layers[a->layers[i].input[2]].name, "model.layers.1.self_attn.v_proj");
    pawl_document_free(document);
}

Test(hf, a_misfit)
{
    struct pawl_document *document = NULL;
    char path[600];

    strcpy(path, data_path("torch/torch-gpt-weights.safetensors"));
    cr_assert_eq(pawl_source_open(&document, path, data_path("torch/torch-gpt-mismatch.json")),
                 PAWL_ECORRUPT);
    cr_expect(strstr(pawl_error(), "transformer.wte.weight") && strstr(pawl_error(), "[24, 20]"),
              "%s", pawl_error());
}

Test(hf, what_is_wrong_is_named)
{
    static const char *const rows[][2] = {
        { "{\"model_type\": \"gpt2\", \"n_embd\": 16}", "n_layer" },
        { "{\"model_type\": \"bert\"}", "gpt2 and llama are known" },
        { "{\"model_type\": \"gpt2\", \"n_embd\": 0, \"n_layer\": 1}", "n_embd" },
        { "{\"model_type\": \"gpt2\", \"n_embd\": 10, \"n_layer\": 1, \"n_head\": 3, "
          "\"vocab_size\": 4}", "attn" },
        { "{\"model_type\": \"gpt2\", \"n_embd\": 8, \"n_layer\": 1, \"n_head\": 2, "
          "\"vocab_size\": 4, \"activation_function\": \"swoosh\"}", "swoosh" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct pawl_document *document = NULL;
        const char *path = scratch("config.json");
        write_bytes(path, rows[i][0], strlen(rows[i][0]));
        cr_expect_eq(pawl_document_read(&document, path), PAWL_ECORRUPT, "%s", rows[i][1]);
        cr_expect(strstr(pawl_error(), rows[i][1]), "'%s' lacks %s", pawl_error(), rows[i][1]);
    }
}

// ---- writing

static const char *const none[] = { NULL };

static struct pawl_document *preset(const char *spec)
{
    struct pawl_architecture of = { 0 };
    struct pawl_document *document;
    char *json = NULL;

    cr_assert_eq(pawl_architecture_preset(&of, spec), 0, "%s", pawl_error());
    cr_assert_eq(pawl_architecture_to_json(&json, &of), 0);
    document = make_model(json, NULL, none);
    pawl_architecture_free(&of);
    pawl_free(json);
    return document;
}

// The n-th parameter of one is the n-th of the other.
static void expect_same_params(struct pawl_document *a, struct pawl_document *b)
{
    cr_assert_eq(pawl_document_bind(a), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_bind(b), 0, "%s", pawl_error());
    cr_assert_eq(a->bindings->count, b->bindings->count);
    for (int i = 0; i < a->bindings->count; i++) {
        const struct pawl_tensor *tensor = &a->bindings->items[i].tensor;
        float *x = malloc(tensor->size_bytes), *y = malloc(tensor->size_bytes);
        cr_assert_eq(pawl_document_fetch_param(a, i, NULL, PAWL_F32, x), 0);
        cr_assert_eq(pawl_document_fetch_param(b, i, NULL, PAWL_F32, y), 0, "%s", pawl_error());
        cr_expect_arr_eq(x, y, tensor->size_bytes, "%s", tensor->name);
        free(x);
        free(y);
    }
}

static struct pawl_document *write_and_read(struct pawl_document *from, const char *name,
                                            uint64_t shard_bytes)
{
    const struct pawl_write_options options = { 0 };
    struct pawl_document *back = NULL;
    const char *path = scratch(name);

    cr_assert_eq(pawl_hf_write(from, path, &options, shard_bytes), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_read(&back, path), 0, "%s", pawl_error());
    cr_assert_not_null(back->architecture);
    return back;
}

// pawl's own GPT as transformers has it: other names, (in, out), a tied head; in one file, and cut.
Test(hf, a_gpt_is_written_as_gpt2)
{
    static const char file[] = "cut/model.safetensors.index.json";
    struct pawl_document *from = preset("gpt:layers=2,heads=2,width=8,context=6,vocab=11,"
                                        "dropout=0.1");
    struct pawl_document *whole = write_and_read(from, "whole", UINT64_MAX);
    struct pawl_document *cut = write_and_read(from, "cut", 2100);

    expect_same_params(from, whole);
    expect_same_params(from, cut);
    cr_expect_str_eq(whole->architecture->name, "gpt2");
    const struct pawl_entry *entry = pawl_document_find(whole, "transformer.h.1.mlp.c_fc.weight");
    cr_assert_not_null(entry);
    cr_expect(entry->tensor.dim[0] == 8 && entry->tensor.dim[1] == 32, "it lies (in, out)");
    cr_expect_null(pawl_document_find(whole, "lm_head.weight"), "the head is tied");
    cr_expect(exists(scratch(file)) && !exists(scratch("cut/model.safetensors")));
    cr_expect(exists(scratch("whole/model.safetensors")));
    pawl_document_free(from);
    pawl_document_free(whole);
    pawl_document_free(cut);
}

Test(hf, a_llama_goes_around)
{
    struct pawl_document *config = NULL, *from, *back;
    char *json = NULL;

    cr_assert_eq(pawl_source_open(&config, data_path("torch/hf-llama-config.json"), NULL), 0, "%s",
                 pawl_error());
    cr_assert_eq(pawl_architecture_to_json(&json, config->architecture), 0);
    from = make_model(json, NULL, none);
    back = write_and_read(from, "llama", 5000);
    expect_same_model(from, back, none, "llama");
    pawl_free(json);
    pawl_document_free(config);
    pawl_document_free(from);
    pawl_document_free(back);
}

Test(hf, another_model_names_the_layer_that_differs)
{
    const struct pawl_write_options options = { .format = "hf" };
    struct pawl_document *from = preset("gpt:layers=2,heads=2,width=8,context=6,vocab=11");

    from->architecture->layers[5].attention.causal = false;
    cr_expect_eq(pawl_document_write(from, scratch("other"), &options), PAWL_ENOTSUP);
    cr_expect(strstr(pawl_error(), "blocks.0.attention"), "%s", pawl_error());
    cr_expect_not(exists(scratch("other")));
    pawl_document_free(from);
}
