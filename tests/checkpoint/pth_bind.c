// pth_bind.c - modules of torch as architectures, and which tensors are which parameters.

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "checkpoint/source.h"
#include "tests/checkpoint/document_support.h"
#include "tests/checkpoint/expect_support.h"

static struct pawl_document *read_file(const char *name)
{
    struct pawl_document *document = NULL;

    cr_assert_eq(pawl_document_read(&document, data_path(name)), 0, "%s", pawl_error());
    return document;
}

Test(pth_bind, layers_of_modules)
{
    static const enum pawl_layer_kind cnn[] = {
        PAWL_INPUT, PAWL_PERMUTE, PAWL_CONV2D, PAWL_BATCH_NORM, PAWL_ACTIVATE, PAWL_MAX_POOL2D,
        PAWL_CONV2D, PAWL_BATCH_NORM, PAWL_ACTIVATE, PAWL_PERMUTE, PAWL_FLATTEN, PAWL_DROPOUT,
        PAWL_DENSE,
    };
    struct pawl_document *document = read_file("torch/torch-cnn-model.pth");
    struct pawl_architecture *a = document->architecture;

    cr_assert_not_null(a);
    cr_assert_eq(a->layer_count, 13);
    for (int i = 0; i < 13; i++)
        cr_expect_eq(a->layers[i].kind, cnn[i], "layer %d", i);
    cr_expect_eq(a->layers[7].norm.epsilon, 1e-4);
    cr_expect_eq(a->layers[6].conv.stride[1], 2);
    cr_expect_eq(a->layers[6].conv.pads[3], 1);
    cr_expect_not(a->layers[6].conv.bias);
    // The file does not say how large its images are; data of 10 by 8 do.
    cr_assert_eq(pawl_architecture_resize(a, 3, (int64_t[]){ 2, 10, 8 }), 0);
    cr_expect_eq(a->layers[0].in.shape.dim[2], 8);
    cr_assert_eq(pawl_architecture_resize(a, 3, (int64_t[]){ 2, 20, 8 }), 0);
    cr_expect_eq(a->layers[0].in.shape.dim[1], 10, "the dense layer takes no other size");
    pawl_document_free(document);
}

Test(pth_bind, a_convolution_is_laid_out_anew)
{
    struct pawl_document *document = read_file("torch/torch-cnn-model.pth");
    float theirs[6 * 2 * 9], mine[6 * 2 * 9];

    cr_assert_eq(pawl_document_bind(document), 0, "%s", pawl_error());
    const int i = pawl_bindings_find(document->bindings, "0.weight");
    cr_assert_eq(pawl_document_fetch_param(document, i, NULL, PAWL_F32, mine), 0);
    cr_assert_eq(pawl_document_fetch(document, pawl_document_find(document, "0.weight"), theirs),
                 0);
    for (int o = 0; o < 6; o++)
        for (int k = 0; k < 9; k++)
            for (int c = 0; c < 2; c++)
                cr_assert_eq(mine[(o * 9 + k) * 2 + c], theirs[(o * 2 + c) * 9 + k]);
    pawl_document_free(document);
}

Test(pth_bind, encoder_layers)
{
    struct pawl_document *document = read_file("torch/torch-encoder-model.pth");

    cr_assert_not_null(document->architecture);
    cr_assert_eq(pawl_document_bind(document), 0, "%s", pawl_error());
    cr_expect_geq(pawl_bindings_find(document->bindings, "1.self_attn.in_proj.weight"), 0);
    pawl_document_free(document);
}

Test(pth_bind, moments_belong_to_weights)
{
    struct pawl_document *document = read_file("torch/torch-mlp-checkpoint.pth");
    const struct pawl_training *training = document->training;
    int moments = 0;

    for (int i = 0; i < training->tensor_count; i++) {
        const struct pawl_entry *entry = &training->tensors[i];
        if (!entry->slot[0]) continue;
        const struct pawl_tensor *weight = &document->weights[entry->of].tensor;
        cr_expect_eq(entry->tensor.size_bytes, weight->size_bytes);
        cr_expect_eq(entry->of, atoi(entry->tensor.name + 6));
        moments++;
    }
    cr_expect_eq(moments, 12);
    pawl_document_free(document);
}

Test(pth_bind, prefixes_are_looked_through)
{
    struct pawl_document *document = read_file("torch/torch-mlp-model.pth");
    for (int i = 0; i < document->weight_count; i++) {
        char *name = document->weights[i].tensor.name;
        memmove(name + 7, name, strlen(name) + 1);
        memcpy(name, "module.", 7);
    }
    cr_expect_eq(pawl_document_bind(document), 0, "%s", pawl_error());
    pawl_document_free(document);
}

Test(pth_bind, a_misfit_names_layer_tensor_and_both_shapes)
{
    char weights[600], arch[600];
    struct pawl_document *document = NULL;

    strcpy(weights, data_path("torch/torch-mlp-weights.pth"));
    strcpy(arch, data_path("torch/torch-mlp-mismatch.pth"));
    cr_assert_eq(pawl_source_open(&document, weights, arch), PAWL_ECORRUPT);
    static const char *const words[] = { "layer '0'", "'0.weight'", "[17, 12]", "[16, 12]",
                                         "3 of 6 tensors match", "3 of another shape" };
    for (int i = 0; i < 6; i++)
        cr_expect(strstr(pawl_error(), words[i]), "'%s' lacks %s", pawl_error(), words[i]);
}
