// plan.c - opens a plan and walks its lists.

#include "runtime/plan.h"

#include <string.h>

#include "kernels/memory.h"
#include "runtime/plan_inside.h"

static const char *const losses[PAWL_LOSSES] = {
    [PAWL_CROSS_ENTROPY] = "cross-entropy",
    [PAWL_MSE] = "mse",
    [PAWL_BINARY_CROSS_ENTROPY] = "binary-cross-entropy",
};

int pawl_loss_parse(enum pawl_loss *out, const char *name)
{
    for (int i = 0; i < PAWL_LOSSES; i++)
        if (!strcmp(losses[i], name)) {
            *out = (enum pawl_loss)i;
            return 0;
        }
    return pawl_fail(PAWL_EINVAL, "loss '%.32s' is unknown; known: cross-entropy mse "
                     "binary-cross-entropy", name);
}

const char *pawl_loss_name(enum pawl_loss loss)
{
    return losses[loss];
}

// The architecture as this plan runs it: with its own sequence length.
static int adapt(struct pawl_plan *plan, int64_t sequence)
{
    int rc = pawl_architecture_copy(&plan->architecture, &plan->model->architecture);
    struct pawl_layer *input = rc ? NULL : &plan->architecture.layers[0];

    if (rc) return rc;
    if (!sequence) return 0;
    if (!input->in.tokens)
        return pawl_fail(PAWL_EINVAL, "--seq is for models that read tokens; '%s' does not",
                         plan->architecture.name);
    if (sequence > input->in.shape.dim[0])
        return pawl_fail(PAWL_EINVAL, "--seq %lld is longer than the model's context of %lld",
                         (long long)sequence, (long long)input->in.shape.dim[0]);
    input->in.shape.dim[0] = sequence;
    return pawl_architecture_check(&plan->architecture);
}

static int take_tables(struct pawl_plan *plan)
{
    const size_t layers = (size_t)plan->architecture.layer_count;
    size_t most = 12 * layers + 16;  // entries or buffers: so many per layer, and some per input

    for (size_t l = 0; l < layers; l++)
        most += 4 * (size_t)plan->architecture.layers[l].input_count;
    int rc = pawl_alloc(&plan->buffers, most * sizeof(*plan->buffers), "the plan");

    if (!rc) rc = pawl_alloc(&plan->entries, most * sizeof(*plan->entries), "the plan");
    if (!rc) rc = pawl_alloc(&plan->values, layers * sizeof(*plan->values), "the plan");
    if (!rc)
        rc = pawl_alloc(&plan->touched, (size_t)plan->model->tensor_count + 1, "the plan");
    return rc;
}

// The arena grows with the batch, so what would fit is known.
static int take_arena(struct pawl_plan *plan)
{
    struct pawl_device *device = plan->model->device;
    const int64_t batch = plan->options.batch;
    const int rc = pawl_device_alloc(device, &plan->arena, plan->arena_bytes, PAWL_ON_DEVICE);

    if (rc != PAWL_ENOMEM) return rc;
    const double one = (double)plan->arena_bytes / (double)batch;
    const int64_t fit = (int64_t)((double)pawl_device_free_bytes(device) * 0.95 / one);
    if (fit < 1 || fit >= batch) return rc;
    return pawl_fail(rc, "%s; of the %lld in a batch about %lld fit. try: --batch %lld, or "
                     "--accumulate %lld, which takes the batch in parts", pawl_error(),
                     (long long)batch, (long long)fit, (long long)fit,
                     (long long)((batch + fit - 1) / fit));
}

int pawl_plan_open(struct pawl_plan **out, struct pawl_model *model,
                   const struct pawl_plan_options *options)
{
    struct pawl_plan *plan = NULL;
    int rc;

    if (options->batch < 1)
        return pawl_fail(PAWL_EINVAL, "batch must be at least 1, not %lld",
                         (long long)options->batch);
    rc = pawl_alloc(&plan, sizeof(*plan), "the plan");
    if (rc) return rc;
    plan->model = model;
    plan->options = *options;
    rc = adapt(plan, options->sequence);
    if (!rc) rc = take_tables(plan);
    if (!rc) rc = plan_build(plan);
    if (!rc && options->backward) rc = plan_build_back(plan);
    if (!rc) rc = plan_place(plan);
    if (!rc) rc = take_arena(plan);
    if (!rc)
        rc = pawl_device_alloc(model->device, &plan->result, 2 * sizeof(float), PAWL_ON_DEVICE);
    if (!rc && plan->zeros_bytes)
        rc = pawl_device_alloc(model->device, &plan->zeros, plan->zeros_bytes, PAWL_ON_DEVICE);
    if (rc) {
        pawl_plan_close(plan);
        return rc;
    }
    *out = plan;
    return 0;
}

void pawl_plan_close(struct pawl_plan *plan)
{
    if (!plan) return;
    pawl_device_free(plan->model->device, plan->arena, plan->arena_bytes, PAWL_ON_DEVICE);
    pawl_device_free(plan->model->device, plan->zeros, plan->zeros_bytes, PAWL_ON_DEVICE);
    pawl_device_free(plan->model->device, plan->result, 2 * sizeof(float), PAWL_ON_DEVICE);
    pawl_architecture_free(&plan->architecture);
    pawl_free(plan->buffers);
    pawl_free(plan->entries);
    pawl_free(plan->values);
    pawl_free(plan->touched);
    pawl_free(plan);
}

void *pawl_plan_x(struct pawl_plan *plan) { return plan_at(plan, plan->x); }
void *pawl_plan_y(struct pawl_plan *plan) { return plan_at(plan, plan->y); }
int64_t pawl_plan_rows(const struct pawl_plan *plan) { return plan->rows; }
int64_t pawl_plan_cols(const struct pawl_plan *plan) { return plan->cols; }
uint64_t pawl_plan_arena_bytes(const struct pawl_plan *plan) { return plan->arena_bytes; }
double pawl_plan_flops(const struct pawl_plan *plan) { return plan->flops; }


static void walk(struct pawl_plan *plan, int from, int to, const struct plan_call *call)
{
    pawl_model_round(plan->model, call->stream);
    for (int i = from; i < to; i++)
        plan_run(plan, &plan->entries[i], call);
}

void pawl_plan_forward(struct pawl_plan *plan, struct pawl_stream *stream)
{
    walk(plan, 0, plan->forward_count, &(struct plan_call){ .stream = stream });
    if (plan->wide != NONE)
        plan->model->ops->widen(stream, plan_at(plan, plan->wide), plan_at(plan, plan->output),
                                plan->rows * plan->cols);
}

const float *pawl_plan_output(const struct pawl_plan *plan)
{
    return plan_at(plan, plan->model->type == PAWL_F32 ? plan->output : plan->wide);
}

const float *pawl_plan_logits(struct pawl_plan *plan, struct pawl_stream *stream)
{
    walk(plan, 0, plan->logits_count, &(struct plan_call){ .stream = stream });
    if (plan->model->type == PAWL_F32) return plan_at(plan, plan->logits);
    if (plan->wide != NONE)
        plan->model->ops->widen(stream, plan_at(plan, plan->wide), plan_at(plan, plan->logits),
                                plan->rows * plan->cols);
    return plan_at(plan, plan->wide);
}

void pawl_plan_evaluate(struct pawl_plan *plan, struct pawl_stream *stream, float *result)
{
    const struct plan_call call = { .stream = stream };

    walk(plan, 0, plan->logits_count, &call);
    walk(plan, plan->forward_count, plan->forward_count + 1, &call);
    pawl_stream_copy(stream, result, plan->result, 2 * sizeof(float));
}

void pawl_plan_train(struct pawl_plan *plan, struct pawl_stream *stream, uint64_t step,
                     float scale, bool add, float *result)
{
    const struct plan_call call = { .stream = stream, .training = true, .step = step,
                                    .add = add, .scale = scale };

    walk(plan, 0, plan->logits_count, &call);
    walk(plan, plan->forward_count, plan->entry_count, &call);
    pawl_stream_copy(stream, result, plan->result, 2 * sizeof(float));
}

void pawl_plan_rows_told(const struct pawl_plan *plan, const float **loss, const float **hit)
{
    *loss = plan_at(plan, plan->loss);
    *hit = plan_at(plan, plan->hit);
}
