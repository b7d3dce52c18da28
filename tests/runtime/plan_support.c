// plan_support.c - a model on a device with a plan and a made-up batch, for tests of plans.

#include "tests/runtime/plan_support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/philox.h"

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

enum pawl_dtype bed_type = PAWL_F32;

void bed_set_up(struct bed *bed, const char *json_or_preset, enum pawl_loss loss, int threads,
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
    ok(pawl_model_open(&bed->model, &architecture, bed->device, bed_type, true, 0));
    ok(pawl_plan_open(&bed->plan, bed->model,
                      &(struct pawl_plan_options){ .batch = batch, .backward = true,
                                                   .loss = loss, .seed = 3 }));
    // Larger than the usual initial values, so that every path matters.
    for (int64_t i = 0; i < bed->model->slab_floats; i++)
        bed->model->param[i] = 0.6f * (pawl_uniform(pawl_philox(5, 0, 0, (uint32_t)i).word[0])
                                       - 0.5f);
    bed->model->stale = true;
    fill(bed, loss, batch);
    pawl_architecture_free(&architecture);
}

void bed_tear_down(struct bed *bed)
{
    pawl_plan_close(bed->plan);
    pawl_model_close(bed->model);
    pawl_stream_close(bed->stream);
    pawl_device_close(bed->device);
    pawl_free(bed->x);
    pawl_free(bed->y);
}

void bed_feed(struct bed *bed)
{
    memcpy(pawl_plan_x(bed->plan), bed->x, bed->x_bytes);
    memcpy(pawl_plan_y(bed->plan), bed->y, bed->y_bytes);
}

// In training: as the gradient has it, with a batch norm's own batch.
double bed_loss(struct bed *bed)
{
    const float *losses, *hits;
    float result[2];
    double sum = 0;

    bed_feed(bed);
    pawl_plan_train(bed->plan, bed->stream, 1, 1.0f, false, result);
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
    float *grad = NULL;
    float *param = pawl_model_at(bed->model, bed->model->param, t);
    const double h = 4e-3 / sqrt((double)count);
    double slope = 0, scale = 0, side[2];
    float *keep = NULL;

    ok(pawl_alloc(&keep, tensor->size_bytes, "keep"));
    ok(pawl_alloc(&grad, tensor->size_bytes, "gradient"));  // the loss overwrites the slab's
    memcpy(grad, pawl_model_at(bed->model, bed->model->grad, t), tensor->size_bytes);
    memcpy(keep, param, tensor->size_bytes);
    for (int64_t i = 0; i < count; i++) {
        slope += (double)grad[i] * (double)direction(i);
        scale += (double)grad[i] * (double)grad[i];
    }
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < count; i++)
            param[i] = keep[i] + (float)((s ? h : -h) * (double)direction(i));
        side[s] = bed_loss(bed);
    }
    memcpy(param, keep, tensor->size_bytes);
    bed_loss(bed);
    pawl_free(keep);
    pawl_free(grad);
    const double measured = (side[1] - side[0]) / (2 * h);
    cr_expect(fabs(measured - slope) <= 0.02 * fabs(slope) + 0.02 * sqrt(scale) + 2e-3,
              "%s: %s: slope %g by differences, %g by gradient", what, tensor->name, measured,
              slope);
    cr_expect(scale > 0, "%s: %s: the gradient is zero", what, tensor->name);
}

void bed_check_model(const char *spec, enum pawl_loss loss)
{
    struct bed bed;
    float result[2];

    bed_set_up(&bed, spec, loss, 2, BATCH);
    for (int64_t i = 0; i < bed.model->slab_floats; i++)
        bed.model->grad[i] = 123.0f;  // backward overwrites, whatever was there
    bed_feed(&bed);
    pawl_plan_train(bed.plan, bed.stream, 1, 1.0f, false, result);
    ok(pawl_stream_wait(bed.stream));
    for (int t = 0; t < bed.model->trained_count; t++)
        check_tensor(&bed, t, spec);
    bed_tear_down(&bed);
}
