// plan.c - the plan's gradients against finite differences of its own loss, tensor by tensor; and
// the same bits for any number of threads, and for a batch cut into micro-batches nearly so.

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/philox.h"
#include "runtime/plan.h"

enum { BATCH = 4 };

struct bed {
    struct pawl_device *device;
    struct pawl_stream *stream;
    struct pawl_model *model;
    struct pawl_plan *plan;
    char *x, *y;
    size_t x_bytes, y_bytes;
};

static void ok(int rc)
{
    cr_assert(rc == 0, "%s", pawl_error());
}

static void fill(struct bed *bed, enum pawl_loss loss, int64_t batch)
{
    const struct pawl_layer *input = &bed->model->architecture.layers[0];
    int64_t x = batch, y = pawl_plan_rows(bed->plan);

    for (int i = 0; i < input->in.shape.rank; i++)
        x *= input->in.shape.dim[i];
    if (loss != PAWL_CROSS_ENTROPY) y *= pawl_plan_cols(bed->plan);
    bed->x_bytes = (size_t)x * 4;
    bed->y_bytes = (size_t)y * 4;
    ok(pawl_alloc(&bed->x, bed->x_bytes, "x"));
    ok(pawl_alloc(&bed->y, bed->y_bytes, "y"));
    for (uint32_t i = 0; i < (uint32_t)x; i++) {
        const uint32_t word = pawl_philox(7, 0, 0, i).word[0];
        const float real = 2 * pawl_uniform(word) - 1;
        const int32_t token = (int32_t)(word % 11);
        memcpy(bed->x + 4 * i, input->in.tokens ? (const void *)&token : (const void *)&real, 4);
    }
    for (uint32_t i = 0; i < (uint32_t)y; i++) {
        const uint32_t word = pawl_philox(7, 1, 0, i).word[0];
        const float real = (float)(word % 2);
        const int32_t class = (int32_t)(word % (uint32_t)pawl_plan_cols(bed->plan));
        memcpy(bed->y + 4 * i, loss == PAWL_CROSS_ENTROPY ? (const void *)&class
                                                          : (const void *)&real, 4);
    }
}

static void set_up(struct bed *bed, const char *json_or_preset, enum pawl_loss loss, int threads,
                   int64_t batch)
{
    struct pawl_architecture architecture = { 0 };

    *bed = (struct bed){ 0 };
    if (*json_or_preset == '{')
        ok(pawl_architecture_from_json(&architecture, json_or_preset));
    else
        ok(pawl_architecture_preset(&architecture, json_or_preset));
    ok(pawl_device_open(&bed->device, "host", threads));
    ok(pawl_stream_open(&bed->stream, bed->device));
    ok(pawl_model_open(&bed->model, &architecture, bed->device, true, 0));
    ok(pawl_plan_open(&bed->plan, bed->model,
                      &(struct pawl_plan_options){ .batch = batch, .backward = true,
                                                   .loss = loss, .seed = 3 }));
    // Larger than the usual initial values, so that every path matters.
    for (int64_t i = 0; i < bed->model->slab_floats; i++)
        bed->model->param[i] = 0.6f * (pawl_uniform(pawl_philox(5, 0, 0, (uint32_t)i).word[0])
                                       - 0.5f);
    fill(bed, loss, batch);
    pawl_architecture_free(&architecture);
}

static void tear_down(struct bed *bed)
{
    pawl_plan_close(bed->plan);
    pawl_model_close(bed->model);
    pawl_stream_close(bed->stream);
    pawl_device_close(bed->device);
    pawl_free(bed->x);
    pawl_free(bed->y);
}

static void feed(struct bed *bed)
{
    memcpy(pawl_plan_x(bed->plan), bed->x, bed->x_bytes);
    memcpy(pawl_plan_y(bed->plan), bed->y, bed->y_bytes);
}

static double loss_at(struct bed *bed)
{
    const float *losses, *hits;
    float result[2];
    double sum = 0;

    feed(bed);
    pawl_plan_evaluate(bed->plan, bed->stream, result);
    ok(pawl_stream_wait(bed->stream));
    pawl_plan_rows_told(bed->plan, &losses, &hits);
    for (int64_t i = 0; i < pawl_plan_rows(bed->plan); i++)
        sum += (double)losses[i];
    return sum;
}

static float direction(int64_t i)
{
    return pawl_philox(11, 0, 0, (uint32_t)i).word[0] & 1 ? 1.0f : -1.0f;
}

// The loss along a random direction of one tensor: its slope by differences and by gradient.
static void check_tensor(struct bed *bed, int t, const char *what)
{
    const struct pawl_tensor *tensor = &bed->model->tensors[t];
    const int64_t count = (int64_t)(tensor->size_bytes / sizeof(float));
    const float *grad = pawl_model_at(bed->model, bed->model->grad, t);
    float *param = pawl_model_at(bed->model, bed->model->param, t);
    const double h = 4e-3 / sqrt((double)count);
    double slope = 0, scale = 0, side[2];
    float *keep = NULL;

    ok(pawl_alloc(&keep, tensor->size_bytes, "keep"));
    memcpy(keep, param, tensor->size_bytes);
    for (int64_t i = 0; i < count; i++) {
        slope += (double)grad[i] * (double)direction(i);
        scale += (double)grad[i] * (double)grad[i];
    }
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < count; i++)
            param[i] = keep[i] + (float)((s ? h : -h) * (double)direction(i));
        side[s] = loss_at(bed);
    }
    memcpy(param, keep, tensor->size_bytes);
    pawl_free(keep);
    const double measured = (side[1] - side[0]) / (2 * h);
    cr_expect(fabs(measured - slope) <= 0.02 * fabs(slope) + 0.02 * sqrt(scale) + 2e-3,
              "%s: %s: slope %g by differences, %g by gradient", what, tensor->name, measured,
              slope);
    cr_expect(scale > 0, "%s: %s: the gradient is zero", what, tensor->name);
}

static void check_model(const char *spec, enum pawl_loss loss)
{
    struct bed bed;
    float result[2];

    set_up(&bed, spec, loss, 2, BATCH);
    for (int64_t i = 0; i < bed.model->slab_floats; i++)
        bed.model->grad[i] = 123.0f;  // backward overwrites, whatever was there
    feed(&bed);
    pawl_plan_train(bed.plan, bed.stream, 1, 1.0f, false, result);
    ok(pawl_stream_wait(bed.stream));
    for (int t = 0; t < bed.model->tensor_count; t++)
        check_tensor(&bed, t, spec);
    tear_down(&bed);
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

Test(plan, mlp) { check_model("mlp:12-9-7-5", PAWL_CROSS_ENTROPY); }
Test(plan, cnn) { check_model(tiny_cnn, PAWL_CROSS_ENTROPY); }
Test(plan, knot) { check_model(knot, PAWL_MSE); }
Test(plan, binary) { check_model("mlp:12-9-4", PAWL_BINARY_CROSS_ENTROPY); }

Test(plan, gpt)
{
    check_model("gpt:layers=2,heads=2,width=16,context=8,vocab=11", PAWL_CROSS_ENTROPY);
}

// Bits of the gradient slab after a step with dropout on, for a number of threads.
static void gradient_bits(int threads, const char *spec, float **out, int64_t *count)
{
    struct bed bed;
    float result[2];

    set_up(&bed, spec, PAWL_CROSS_ENTROPY, threads, 24);
    feed(&bed);
    pawl_plan_train(bed.plan, bed.stream, 5, 0.1f, false, result);
    feed(&bed);
    pawl_plan_train(bed.plan, bed.stream, 6, 0.1f, true, result);
    ok(pawl_stream_wait(bed.stream));
    *count = bed.model->slab_floats;
    ok(pawl_alloc(out, (size_t)*count * sizeof(float), "bits"));
    memcpy(*out, bed.model->grad, (size_t)*count * sizeof(float));
    tear_down(&bed);
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

    set_up(&bed, "gpt:layers=6,heads=2,width=32,context=32", PAWL_CROSS_ENTROPY, 1, BATCH);
    ok(pawl_plan_open(&forward, bed.model, &(struct pawl_plan_options){ .batch = BATCH }));
    // Forward alone needs a few layers' worth at a time, not all six.
    cr_expect(pawl_plan_arena_bytes(forward) * 2 < pawl_plan_arena_bytes(bed.plan),
              "%llu bytes forward, %llu with backward",
              (unsigned long long)pawl_plan_arena_bytes(forward),
              (unsigned long long)pawl_plan_arena_bytes(bed.plan));
    pawl_plan_close(forward);
    tear_down(&bed);
}
