// plan.c - the plan's gradients against finite differences of its own loss, tensor by tensor; and
// the same bits for any number of threads, and for a batch cut into micro-batches nearly so.

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "kernels/memory.h"
#include "tests/runtime/plan_support.h"

static void ok(int rc)
{
    cr_assert(rc == 0, "%s", pawl_error());
}

static const char *const tiny_cnn =
    "{\"pawl\":1,\"name\":\"cnn\",\"loss\":\"cross-entropy\",\"layers\":["
    "{\"name\":\"input\",\"kind\":\"input\",\"inputs\":[],\"config\":{\"shape\":[7,6,2]}},"
    "{\"name\":\"c1\",\"kind\":\"conv2d\",\"inputs\":[\"input\"],\"config\":{\"filters\":4,"
    "\"kernel\":[3,3],\"padding\":\"same\",\"activation\":\"gelu_tanh\"}},"
    "{\"name\":\"p1\",\"kind\":\"max_pool2d\",\"inputs\":[\"c1\"],\"config\":{\"size\":[2,2]}},"
    "{\"name\":\"c2\",\"kind\":\"conv2d\",\"inputs\":[\"p1\"],\"config\":{\"filters\":5,"
    "\"kernel\":[2,2],\"activation\":\"tanh\"}},"
    "{\"name\":\"p2\",\"kind\":\"avg_pool2d\",\"inputs\":[\"c2\"],\"config\":{\"size\":[2,1]}},"
    "{\"name\":\"flat\",\"kind\":\"flatten\",\"inputs\":[\"p2\"],\"config\":{}},"
    "{\"name\":\"out\",\"kind\":\"dense\",\"inputs\":[\"flat\"],\"config\":{\"units\":3}}]}";

// A value read twice, an addition that cannot be fused, one that can, an activation layer, an
// output with an activation, and the sum of a value with itself.
static const char *const knot =
    "{\"pawl\":1,\"name\":\"knot\",\"loss\":\"mse\",\"layers\":["
    "{\"name\":\"input\",\"kind\":\"input\",\"inputs\":[],\"config\":{\"shape\":[6]}},"
    "{\"name\":\"a\",\"kind\":\"dense\",\"inputs\":[\"input\"],\"config\":{\"units\":8,"
    "\"activation\":\"silu\"}},"
    "{\"name\":\"b\",\"kind\":\"dense\",\"inputs\":[\"a\"],\"config\":{\"units\":8}},"
    "{\"name\":\"s1\",\"kind\":\"add\",\"inputs\":[\"a\",\"b\"],\"config\":{}},"
    "{\"name\":\"n\",\"kind\":\"layer_norm\",\"inputs\":[\"s1\"],\"config\":{}},"
    "{\"name\":\"act\",\"kind\":\"activate\",\"inputs\":[\"n\"],\"config\":{"
    "\"activation\":\"elu\"}},"
    "{\"name\":\"c\",\"kind\":\"dense\",\"inputs\":[\"act\"],\"config\":{\"units\":8,"
    "\"activation\":\"tanh\"}},"
    "{\"name\":\"s2\",\"kind\":\"add\",\"inputs\":[\"c\",\"s1\"],\"config\":{}},"
    "{\"name\":\"s3\",\"kind\":\"add\",\"inputs\":[\"s2\",\"s2\"],\"config\":{}},"
    "{\"name\":\"s4\",\"kind\":\"add\",\"inputs\":[\"s3\",\"a\"],\"config\":{}},"
    "{\"name\":\"out\",\"kind\":\"dense\",\"inputs\":[\"s4\"],\"config\":{\"units\":3,"
    "\"activation\":\"sigmoid\"}}]}";

Test(plan, mlp) { bed_check_model("mlp:12-9-7-5", PAWL_CROSS_ENTROPY); }
Test(plan, cnn) { bed_check_model(tiny_cnn, PAWL_CROSS_ENTROPY); }
Test(plan, knot) { bed_check_model(knot, PAWL_MSE); }
Test(plan, binary) { bed_check_model("mlp:12-9-4", PAWL_BINARY_CROSS_ENTROPY); }

Test(plan, gpt)
{
    bed_check_model("gpt:layers=2,heads=2,width=16,context=8,vocab=11", PAWL_CROSS_ENTROPY);
}

// Bits of the gradient slab after a step with dropout on, for a number of threads.
static void gradient_bits(int threads, const char *spec, float **out, int64_t *count)
{
    struct bed bed;
    float result[2];

    bed_set_up(&bed, spec, PAWL_CROSS_ENTROPY, threads, 24);
    bed_feed(&bed);
    pawl_plan_train(bed.plan, bed.stream, 5, 0.1f, false, result);
    bed_feed(&bed);
    pawl_plan_train(bed.plan, bed.stream, 6, 0.1f, true, result);
    ok(pawl_stream_wait(bed.stream));
    *count = bed.model->slab_floats;
    ok(pawl_alloc(out, (size_t)*count * sizeof(float), "bits"));
    memcpy(*out, bed.model->grad, (size_t)*count * sizeof(float));
    bed_tear_down(&bed);
}

Test(plan, threads_do_not_matter)
{
    const char *specs[] = { "gpt:layers=2,heads=2,width=16,context=24,vocab=11,dropout=0.2",
                            tiny_cnn, "mlp:12-9-7-5" };

    for (size_t s = 0; s < sizeof(specs) / sizeof(specs[0]); s++) {
        float *one = NULL, *many = NULL;
        int64_t count;
        gradient_bits(1, specs[s], &one, &count);
        for (int threads = 2; threads <= 3; threads++) {
            gradient_bits(threads, specs[s], &many, &count);
            cr_expect(!memcmp(one, many, (size_t)count * sizeof(float)), "%s: %d threads",
                      specs[s], threads);
            pawl_free(many);
        }
        pawl_free(one);
    }
}

Test(plan, arena_shares_places)
{
    struct bed bed;
    struct pawl_plan *forward = NULL;

    bed_set_up(&bed, "gpt:layers=6,heads=2,width=32,context=32", PAWL_CROSS_ENTROPY, 1, BATCH);
    ok(pawl_plan_open(&forward, bed.model, &(struct pawl_plan_options){ .batch = BATCH }));
    // Forward alone needs a few layers' worth at a time, not all six.
    cr_expect(pawl_plan_arena_bytes(forward) * 2 < pawl_plan_arena_bytes(bed.plan),
              "%llu bytes forward, %llu with backward",
              (unsigned long long)pawl_plan_arena_bytes(forward),
              (unsigned long long)pawl_plan_arena_bytes(bed.plan));
    pawl_plan_close(forward);
    bed_tear_down(&bed);
}
