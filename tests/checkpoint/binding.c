// binding.c - parameters from tensors of other names and layouts, and back.

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/binding.h"
#include "kernels/memory.h"
#include "tests/checkpoint/document_support.h"

// ---- axes

// By definition: each element of the result, one by one.
static void plain(const struct pawl_relayout *r, float *out, const float *in)
{
    int64_t at[PAWL_RANK_MAX] = { 0 }, count = 1;

    for (int i = 0; i < r->rank; i++)
        count *= r->dim[i];
    for (int64_t n = 0; n < count; n++) {
        int64_t rest = n, from = 0;
        for (int i = r->rank - 1; i >= 0; i--) {
            at[r->axis[i]] = rest % r->dim[r->axis[i]];
            rest /= r->dim[r->axis[i]];
        }
        for (int i = 0; i < r->rank; i++)
            from = from * r->dim[i] + at[i];
        out[n] = in[from];
    }
}

static void compare(const struct pawl_relayout *r, int64_t count)
{
    float in[720], wanted[720], got[720];

    for (int i = 0; i < 720; i++)
        in[i] = (float)i;
    cr_assert_eq(pawl_relayout_check(r, count), 0, "%s", pawl_error());
    plain(r, wanted, in);
    for (int64_t start = 0; start < count; start += 7) {
        const int64_t now = count - start < 7 ? count - start : 7;
        pawl_relayout_apply(r, got + start, in, sizeof(float), start, now);
    }
    cr_assert_eq(memcmp(got, wanted, (size_t)count * sizeof(float)), 0);
    memset(got, 0, sizeof(got));
    pawl_relayout_apply(r, got, in, sizeof(float), 0, count);
    cr_assert_eq(memcmp(got, wanted, (size_t)count * sizeof(float)), 0);
}

Test(binding, axes_are_permuted_whole_and_in_parts)
{
    const struct pawl_relayout swap = pawl_relayout_swap(5, 9);
    const struct pawl_relayout conv = pawl_relayout_of(4, (int64_t[]){ 2, 3, 4, 5 },
                                                       (int[]){ 3, 0, 1, 2 });
    const struct pawl_relayout outer = pawl_relayout_of(3, (int64_t[]){ 4, 3, 6 },
                                                        (int[]){ 1, 0, 2 });
    const struct pawl_relayout five = pawl_relayout_of(5, (int64_t[]){ 2, 3, 4, 5, 6 },
                                                       (int[]){ 4, 2, 0, 3, 1 });

    compare(&swap, 45);
    compare(&conv, 120);
    compare(&outer, 72);
    compare(&five, 720);
    cr_assert(pawl_relayout_moves(&swap));
    const struct pawl_relayout still = pawl_relayout_of(3, (int64_t[]){ 4, 1, 6 },
                                                        (int[]){ 1, 0, 2 });
    cr_assert_not(pawl_relayout_moves(&still), "an axis of 1 moves nothing");
}

Test(binding, a_layout_that_is_none_is_refused)
{
    const struct pawl_relayout twice = pawl_relayout_of(2, (int64_t[]){ 2, 3 }, (int[]){ 0, 0 });
    const struct pawl_relayout swap = pawl_relayout_swap(2, 3);

    cr_assert_eq(pawl_relayout_check(&twice, 6), PAWL_EINVAL);
    cr_assert_eq(pawl_relayout_check(&swap, 7), PAWL_EINVAL);
}

// ---- parts

struct made {
    float values[64];
};

static int read_made(void *context, uint64_t offset, void *out, size_t size)
{
    memcpy(out, (const char *)context + offset, size);
    return 0;
}

static void free_made(void *context)
{
    free(context);
}

// Tensors q (2, 3), k (2, 3) and b (4) with values 0.., 100.., 200.., and q's momentum 50...
static struct pawl_document *sample(void)
{
    struct pawl_document *document = NULL;
    struct made *made = calloc(1, sizeof(*made));
    int file;

    cr_assert_eq(pawl_document_new(&document), 0);
    for (int i = 0; i < 6; i++) {
        made->values[i] = (float)i;
        made->values[6 + i] = (float)(100 + i);
        made->values[12 + i] = (float)(200 + i);
        made->values[18 + i] = (float)(50 + i);
    }
    const struct pawl_made bytes = { sizeof(made->values), made, read_made, free_made };
    cr_assert_eq(pawl_document_add_made(document, "made", &bytes, &file), 0);
    struct pawl_tensor t = { .name = "q", .dtype = PAWL_F32 };
    cr_assert_eq(pawl_tensor_shape(&t, 2, (int64_t[]){ 2, 3 }), 0);
    cr_assert_eq(pawl_document_add_entry(&document->weights, &document->weight_count, &t, file, 0),
                 0);
    strcpy(t.name, "k");
    cr_assert_eq(pawl_document_add_entry(&document->weights, &document->weight_count, &t, file, 24),
                 0);
    strcpy(t.name, "b");
    cr_assert_eq(pawl_tensor_shape(&t, 1, (int64_t[]){ 4 }), 0);
    cr_assert_eq(pawl_document_add_entry(&document->weights, &document->weight_count, &t, file, 48),
                 0);
    cr_assert_eq(pawl_alloc(&document->training, sizeof(*document->training), "training"), 0);
    strcpy(t.name, "q_m");
    cr_assert_eq(pawl_tensor_shape(&t, 2, (int64_t[]){ 2, 3 }), 0);
    cr_assert_eq(pawl_document_add_entry(&document->training->tensors,
                                         &document->training->tensor_count, &t, file, 72), 0);
    strcpy(document->training->tensors[0].slot, "momentum_buffer");
    document->training->tensors[0].of = 0;
    cr_assert_eq(pawl_alloc(&document->bindings, sizeof(*document->bindings), "bindings"), 0);
    return document;
}

static void expect(const struct pawl_document *document, int param, const char *slot, int count,
                   const float *wanted)
{
    float got[32] = { 0 };

    cr_assert_eq(pawl_document_fetch_param(document, param, slot, PAWL_F32, got), 0, "%s",
                 pawl_error());
    for (int i = 0; i < count; i++)
        cr_assert_eq(got[i], wanted[i], "element %d is %g, not %g", i, (double)got[i],
                     (double)wanted[i]);
}

Test(binding, parts_are_laid_out_cut_joined_scaled_and_summed)
{
    struct pawl_document *document = sample();
    struct pawl_bindings *all = document->bindings;
    const struct pawl_relayout swap = pawl_relayout_swap(2, 3);

    // One below the other, each with its axes swapped.
    cr_assert_eq(pawl_bindings_add(all, "qk", PAWL_F32, 2, (int64_t[]){ 6, 2 }), 0);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pawl_bind_part(all, &(struct pawl_bound){ i, swap, 0, 6, 6 * i, 1, false }),
                     0);
    expect(document, 0, NULL, 12, (float[]){ 0, 3, 1, 4, 2, 5, 100, 103, 101, 104, 102, 105 });
    // Two halves change places; the sum of two; zeros.
    cr_assert_eq(pawl_bindings_add(all, "gates", PAWL_F32, 1, (int64_t[]){ 6 }), 0);
    cr_assert_eq(pawl_bind_part(all, &(struct pawl_bound){ 2, { 0 }, 2, 2, 0, 1, false }), 0);
    cr_assert_eq(pawl_bind_part(all, &(struct pawl_bound){ 2, { 0 }, 0, 2, 2, -2, false }), 0);
    cr_assert_eq(pawl_bind_part(all, &(struct pawl_bound){ 0, { 0 }, 1, 2, 0, 1, true }), 0);
    cr_assert_eq(pawl_bind_part(all, &(struct pawl_bound){ PAWL_ZEROS, { 0 }, 0, 2, 4, 1, false }),
                 0);
    expect(document, 1, NULL, 6, (float[]){ 203, 205, -400, -402, 0, 0 });
    pawl_document_free(document);
}

Test(binding, a_moment_follows_its_weight)
{
    struct pawl_document *document = sample();
    const struct pawl_relayout swap = pawl_relayout_swap(2, 3);

    cr_assert_eq(pawl_bindings_add(document->bindings, "w", PAWL_F32, 2, (int64_t[]){ 3, 2 }), 0);
    cr_assert_eq(pawl_bind_whole(document->bindings, 0, &swap), 0);
    cr_assert(pawl_document_has_slot(document, 0, "momentum_buffer"));
    cr_assert_not(pawl_document_has_slot(document, 0, "exp_avg"));
    expect(document, 0, "momentum_buffer", 6, (float[]){ 50, 53, 51, 54, 52, 55 });
    // And on into a file's tensor that is laid out once more: back where it was.
    struct pawl_bindings file = { 0 };
    const struct pawl_relayout back = pawl_relayout_swap(3, 2);
    float got[6];
    cr_assert_eq(pawl_bindings_add(&file, "kernel", PAWL_F32, 2, (int64_t[]){ 2, 3 }), 0);
    cr_assert_eq(pawl_bind_whole(&file, 0, &back), 0);
    cr_assert_eq(pawl_document_fetch_target(document, &file.items[0], "momentum_buffer", PAWL_F32,
                                            got), 0);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(got[i], (float)(50 + i));
    pawl_bindings_free(&file);
    pawl_document_free(document);
}

Test(binding, parts_that_do_not_cover_or_lie_outside_are_refused)
{
    struct pawl_document *document = sample();
    struct pawl_bindings *all = document->bindings;
    float got[8];

    cr_assert_eq(pawl_bindings_add(all, "half", PAWL_F32, 1, (int64_t[]){ 8 }), 0);
    cr_assert_eq(pawl_bind_part(all, &(struct pawl_bound){ 0, { 0 }, 0, 6, 0, 1, false }), 0);
    cr_assert_eq(pawl_document_fetch_param(document, 0, NULL, PAWL_F32, got), PAWL_EINVAL);
    cr_assert_eq(pawl_bind_part(all, &(struct pawl_bound){ 1, { 0 }, 5, 2, 6, 1, false }), 0);
    cr_assert_eq(pawl_document_fetch_param(document, 0, NULL, PAWL_F32, got), PAWL_EINVAL);
    pawl_document_free(document);
}
