// infer.c - forward passes. A causal model is run at the next power of two above what there is, so
// that a growing text needs few plans; what lies behind the last token is not looked at.

#include "runtime/infer.h"

#include <math.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/philox.h"

enum { PLANS_MAX = 32 };

struct pawl_infer {
    struct pawl_device *device;
    struct pawl_stream *stream;
    struct pawl_model *model;
    struct pawl_infer_options options;
    struct pawl_plan *plan[PLANS_MAX];  // by the logarithm of the length; 0: the model's own
    int64_t length[PLANS_MAX];
    int plan_count;
    float *out;                         // host copy of the output; the plan's own on the host
    int32_t *window;                    // the tokens of one run
};

int pawl_infer_open(struct pawl_infer **out, struct pawl_document *document,
                    const struct pawl_infer_options *options)
{
    struct pawl_infer *infer = NULL;
    enum pawl_dtype type = PAWL_F32;
    int rc;

    if (document->stop[0] && !document->architecture)
        return pawl_fail(PAWL_ECORRUPT, "%s: %s", document->path, document->stop);
    if (!document->architecture)
        return pawl_fail(PAWL_EINVAL, "%s holds no architecture. try: --arch MODEL beside it",
                         document->path);
    if (!document->weight_count)
        return pawl_fail(PAWL_EINVAL, "%s holds no weights, only an architecture. try: pawl train",
                         document->path);
    rc = pawl_alloc(&infer, sizeof(*infer), "the model");
    if (rc) return rc;
    infer->options = *options;
    rc = pawl_model_parse_type(&type, options->dtype);
    if (!rc)
        rc = pawl_device_open(&infer->device, options->device ? options->device : "auto",
                          options->threads);
    if (!rc) rc = pawl_stream_open(&infer->stream, infer->device);
    if (!rc)
        rc = pawl_model_open(&infer->model, document->architecture, infer->device,
                             type, false, 0);
    if (!rc) rc = pawl_model_take(infer->model, document);
    if (!rc)
        rc = pawl_alloc(&infer->window, (size_t)document->architecture->layers[0].in.shape.dim[0]
                        * sizeof(int32_t), "the model");
    if (rc) {
        pawl_infer_close(infer);
        return rc;
    }
    *out = infer;
    return 0;
}

void pawl_infer_close(struct pawl_infer *infer)
{
    if (!infer) return;
    for (int i = 0; i < infer->plan_count; i++)
        pawl_plan_close(infer->plan[i]);
    pawl_model_close(infer->model);
    pawl_stream_close(infer->stream);
    pawl_device_close(infer->device);
    pawl_free(infer->window);
    pawl_free(infer->out);
    pawl_free(infer);
}

const struct pawl_architecture *pawl_infer_architecture(const struct pawl_infer *infer)
{
    return &infer->model->architecture;
}

static int plan_for(struct pawl_infer *infer, int64_t sequence, struct pawl_plan **out)
{
    for (int i = 0; i < infer->plan_count; i++)
        if (infer->length[i] == sequence) {
            *out = infer->plan[i];
            return 0;
        }
    if (infer->plan_count == PLANS_MAX)
        return pawl_fail(PAWL_EINVAL, "more than %d different sequence lengths", PLANS_MAX);
    const int rc = pawl_plan_open(&infer->plan[infer->plan_count], infer->model,
                                  &(struct pawl_plan_options){ .batch = infer->options.batch,
                                                               .sequence = sequence });
    if (rc) return rc;
    infer->length[infer->plan_count] = sequence;
    *out = infer->plan[infer->plan_count++];
    return 0;
}

static size_t sample_bytes(const struct pawl_infer *infer, int64_t sequence)
{
    const struct pawl_layer *input = &infer->model->architecture.layers[0];
    int64_t count = 1;

    for (int i = 0; i < input->in.shape.rank; i++)
        count *= i == 0 && sequence ? sequence : input->in.shape.dim[i];
    return (size_t)count * sizeof(float);
}

static int run(struct pawl_infer *infer, const void *x, int64_t samples, int64_t sequence,
               bool logits, const float **out)
{
    struct pawl_plan *plan = NULL;
    int rc = plan_for(infer, sequence, &plan);

    if (rc) return rc;
    const size_t bytes = (size_t)(pawl_plan_rows(plan) * pawl_plan_cols(plan)) * sizeof(float);
    pawl_stream_copy(infer->stream, pawl_plan_x(plan), x,
                     (size_t)samples * sample_bytes(infer, sequence));
    if (logits) {
        *out = pawl_plan_logits(plan, infer->stream);
    } else {
        pawl_plan_forward(plan, infer->stream);
        *out = pawl_plan_output(plan);
    }
    if (!infer->device->host) {
        rc = pawl_realloc(&infer->out, bytes, "the output");
        if (rc) return rc;
        pawl_stream_copy(infer->stream, infer->out, *out, bytes);
        *out = infer->out;
    }
    return pawl_stream_wait(infer->stream);
}

int pawl_infer_run(struct pawl_infer *infer, const void *x, int64_t samples, int64_t sequence,
                   const float **out, int64_t *rows, int64_t *cols)
{
    struct pawl_plan *plan = NULL;
    int rc = plan_for(infer, sequence, &plan);

    if (!rc) rc = run(infer, x, samples, sequence, false, out);
    if (rc) return rc;
    *rows = pawl_plan_rows(plan) / infer->options.batch * samples;
    *cols = pawl_plan_cols(plan);
    return 0;
}

// Inverse of the cumulative distribution, in double, first index first: the same on any machine
// that gives the same logits.
static int32_t draw(const float *logits, int64_t count, double temperature, double u)
{
    int64_t best = 0, last = 0;
    double sum = 0;

    for (int64_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    if (temperature <= 0) return (int32_t)best;
    for (int64_t i = 0; i < count; i++)
        sum += exp(((double)logits[i] - (double)logits[best]) / temperature);
    for (int64_t i = 0; i < count; i++) {
        const double share = exp(((double)logits[i] - (double)logits[best]) / temperature) / sum;
        if (share > 0) last = i;
        u -= share;
        if (u < 0) return (int32_t)i;
    }
    return (int32_t)last;
}

int pawl_infer_next(struct pawl_infer *infer, const int32_t *tokens, int64_t length, uint64_t seed,
                    double temperature, int64_t limit, int32_t *out)
{
    const int64_t context = infer->model->architecture.layers[0].in.shape.dim[0];
    const int64_t used = length < context ? length : context;
    const int last = infer->model->architecture.layer_count - 1;
    const struct pawl_shape *shape = &infer->model->architecture.layers[last].out;
    const int64_t cols = shape->dim[shape->rank - 1];
    int64_t sequence = 1;
    const float *logits;

    while (sequence < used)
        sequence *= 2;
    if (sequence > context) sequence = context;
    memset(infer->window, 0, (size_t)sequence * sizeof(int32_t));
    memcpy(infer->window, tokens + (length - used), (size_t)used * sizeof(int32_t));
    const int rc = run(infer, infer->window, 1, sequence, true, &logits);
    if (rc) return rc;
    const struct pawl_philox block = pawl_philox(seed, (uint64_t)length, 0x6e657874, 0);
    const double u = ((double)block.word[0] + (double)block.word[1] * 0x1p-32) * 0x1p-32;
    *out = draw(logits + (used - 1) * cols, limit < cols ? limit : cols, temperature, u);
    return 0;
}
