// model_support.c - documents of small models.

#include "tests/checkpoint/model_support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/binding.h"
#include "kernels/memory.h"

// Elements of one tensor: no two of a model are alike.
static int make_bytes(void *context, uint64_t offset, void *out, size_t size)
{
    const uint64_t seed = (uint64_t)(uintptr_t)context;

    for (size_t i = 0; i < size; i++) {
        const uint64_t at = (offset + i) / 4, mixed = (seed * 7919 + at + 1) * 0x9e3779b97f4a7c15;
        const float value = (float)((double)(mixed >> 40) / (1 << 24)) - 0.5f;
        ((char *)out)[i] = ((const char *)&value)[(offset + i) % 4];
    }
    return 0;
}

static void add(struct pawl_document *document, struct pawl_entry **table, int *count,
                const struct pawl_tensor *tensor)
{
    static uint64_t seed;
    const struct pawl_made made = { .size_bytes = tensor->size_bytes, .read = make_bytes,
                                    .context = (void *)(uintptr_t)++seed };
    int file;

    cr_assert_eq(pawl_document_add_made(document, "made", &made, &file), 0);
    cr_assert_eq(pawl_document_add_entry(table, count, tensor, file, 0), 0);
    (*table)[*count - 1].of = -1;
}

static void add_params(struct pawl_document *document, int layer, const char *const *slots)
{
    const struct pawl_architecture *of = document->architecture;
    struct pawl_training *training = document->training;
    struct pawl_param params[PAWL_PARAMS_MAX];
    const int count = pawl_layer_params(of, layer, params);

    for (int k = 0; k < count; k++) {
        struct pawl_tensor tensor = { .dtype = PAWL_F32 };
        snprintf(tensor.name, sizeof(tensor.name), "%s.%.15s", of->layers[layer].name,
                 params[k].suffix);
        cr_assert_eq(pawl_tensor_shape(&tensor, params[k].rank, params[k].dim), 0);
        add(document, &document->weights, &document->weight_count, &tensor);
        for (int s = 0; training && params[k].trainable && slots[s]; s++) {
            struct pawl_tensor moment = tensor;
            snprintf(moment.name, sizeof(moment.name), "optimizer.%s.%.200s", slots[s],
                     tensor.name);
            add(document, &training->tensors, &training->tensor_count, &moment);
            struct pawl_entry *entry = &training->tensors[training->tensor_count - 1];
            snprintf(entry->slot, sizeof(entry->slot), "%s", slots[s]);
            entry->of = document->weight_count - 1;
        }
    }
}

struct pawl_document *make_model(const char *json, const char *optimizer,
                                 const char *const *slots)
{
    struct pawl_document *document = NULL;

    cr_assert_eq(pawl_document_new(&document), 0);
    cr_assert_eq(pawl_alloc(&document->architecture, sizeof(*document->architecture), "test"), 0);
    cr_assert_eq(pawl_architecture_from_json(document->architecture, json), 0, "%s", pawl_error());
    cr_assert_eq(pawl_architecture_check(document->architecture), 0, "%s", pawl_error());
    snprintf(document->format, sizeof(document->format), "made");
    if (optimizer) {
        cr_assert_eq(pawl_alloc(&document->training, sizeof(*document->training), "test"), 0);
        document->training->step = 7;
        document->training->epoch = -1;
        document->training->loss = NAN;
        document->training->optimizer = json_loads(optimizer, 0, NULL);
        cr_assert_not_null(document->training->optimizer);
    }
    for (int i = 0; i < document->architecture->layer_count; i++)
        add_params(document, i, slots);
    return document;
}

static void expect_same(struct pawl_document *a, int i, struct pawl_document *b, int j,
                        const char *slot)
{
    const struct pawl_tensor *tensor = &a->bindings->items[i].tensor;
    float *x = malloc(tensor->size_bytes), *y = malloc(tensor->size_bytes);

    cr_assert_eq(pawl_document_fetch_param(a, i, slot, PAWL_F32, x), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_fetch_param(b, j, slot, PAWL_F32, y), 0, "%s: %s", tensor->name,
                 pawl_error());
    cr_expect_arr_eq(x, y, tensor->size_bytes, "%s, %s", tensor->name, slot ? slot : "itself");
    free(x);
    free(y);
}

void expect_same_model(struct pawl_document *a, struct pawl_document *b, const char *const *slots,
                       const char *what)
{
    cr_assert_eq(pawl_document_bind(a), 0, "%s: %s", what, pawl_error());
    cr_assert_eq(pawl_document_bind(b), 0, "%s: %s", what, pawl_error());
    cr_assert_eq(a->bindings->count, b->bindings->count, "%s", what);
    for (int i = 0; i < a->bindings->count; i++) {
        const char *name = a->bindings->items[i].tensor.name;
        const int j = pawl_bindings_find(b->bindings, name);
        cr_assert_geq(j, 0, "%s: %s is not there", what, name);
        expect_same(a, i, b, j, NULL);
        for (int s = 0; slots && slots[s]; s++)
            if (pawl_document_has_slot(a, i, slots[s])) {
                cr_assert(pawl_document_has_slot(b, j, slots[s]), "%s: %s of %s is lost", what,
                          slots[s], name);
                expect_same(a, i, b, j, slots[s]);
            }
    }
}
