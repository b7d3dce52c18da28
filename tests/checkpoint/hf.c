// hf.c - config.json of Hugging Face as an architecture.

#include <criterion/criterion.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "checkpoint/source.h"
#include "tests/checkpoint/document_support.h"
#include "tests/checkpoint/expect_support.h"

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
