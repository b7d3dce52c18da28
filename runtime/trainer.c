// trainer.c - opens a trainer and takes steps.

#include "runtime/trainer.h"

#include <math.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "kernels/philox.h"
#include "kernels/thread.h"
#include "runtime/trainer_inside.h"

static int check(const struct pawl_trainer_options *options)
{
    if (options->accumulate < 1 || options->batch < 1 || options->batch % options->accumulate)
        return pawl_fail(PAWL_EINVAL, "--accumulate %lld does not divide --batch %lld: a batch is "
                         "cut into that many equal micro-batches", (long long)options->accumulate,
                         (long long)options->batch);
    if (!(options->rule.rate > 0))
        return pawl_fail(PAWL_EINVAL, "--lr must be above 0, not %g", options->rule.rate);
    return 0;
}

// The smallest number of tokens that the model's embeddings know; 0: it has none.
static int64_t known_tokens(const struct pawl_trainer *trainer)
{
    const struct pawl_architecture *arch = &trainer->model->architecture;
    int64_t count = 0;

    for (int i = 1; i < arch->layer_count; i++)
        if (arch->layers[i].kind == PAWL_EMBEDDING
            && (!count || arch->layers[i].embedding.vocab < count))
            count = arch->layers[i].embedding.vocab;
    return count;
}

static int fit_input(const struct pawl_trainer *trainer, const struct pawl_data_info *info)
{
    const struct pawl_architecture *arch = &trainer->model->architecture;
    const struct pawl_layer *input = &arch->layers[0];
    char mine[96], theirs[96];
    int64_t want = 1, have = 1;

    if (input->in.tokens != info->tokens)
        return pawl_fail(PAWL_ECORRUPT, "model '%s' reads %s, the data holds %s", arch->name,
                         input->in.tokens ? "tokens" : "numbers",
                         input->in.tokens ? "numbers" : "tokens");
    for (int i = 0; i < input->in.shape.rank; i++)
        want *= input->in.shape.dim[i];
    for (int i = 0; i < info->shape.rank; i++)
        have *= info->shape.dim[i];
    if (input->in.tokens || want == have) return 0;
    return pawl_fail(PAWL_ECORRUPT, "model '%s' takes samples of shape %s, the data has %s",
                     arch->name,
                     pawl_shape_text(mine, sizeof(mine), input->in.shape.rank, input->in.shape.dim),
                     pawl_shape_text(theirs, sizeof(theirs), info->shape.rank, info->shape.dim));
}

static int fit_output(const struct pawl_trainer *trainer, const struct pawl_data_info *info)
{
    const char *name = trainer->model->architecture.name;
    const int64_t cols = pawl_plan_cols(trainer->plan);
    const int64_t rows = pawl_plan_rows(trainer->plan) / trainer->micro;
    const int64_t labels = info->labels ? info->labels : 1;
    const bool classes = trainer->options.loss == PAWL_CROSS_ENTROPY;

    if (classes && !info->classes)
        return pawl_fail(PAWL_ECORRUPT,
                         "cross-entropy needs whole-number labels, the data has floats; model '%s' "
                         "has %lld outputs. try: --loss mse",
                         name, (long long)cols);
    if (!classes && info->targets != cols)
        return pawl_fail(PAWL_ECORRUPT,
                         "model '%s' has %lld outputs, the data %lld targets per row", name,
                         (long long)cols, (long long)info->targets);
    if (rows == labels) return 0;
    return pawl_fail(PAWL_ECORRUPT, "model '%s' makes %lld rows of output from a sample, the data "
                     "has %lld labels for it", name, (long long)rows, (long long)labels);
}

int pawl_trainer_fit(const struct pawl_trainer *trainer, struct pawl_data *data)
{
    const struct pawl_data_info *info = pawl_data_info(data);
    int rc = fit_input(trainer, info);

    if (!rc) rc = fit_output(trainer, info);
    if (rc || (!info->classes && !info->tokens)) return rc;
    const int64_t vocab = known_tokens(trainer), cols = pawl_plan_cols(trainer->plan);
    // Of a text, tokens and labels are the same numbers.
    const bool text = info->kind == PAWL_DATA_TOKENS && vocab;
    return pawl_data_expect(data, text && vocab < cols ? vocab : cols, vocab);
}

// A batch for measuring: tokens and labels over their whole range, numbers in [0, 1).
static void make_up(struct pawl_trainer *t)
{
    const struct pawl_architecture *arch = &t->model->architecture;
    const bool tokens = arch->layers[0].in.tokens, classes = t->options.loss == PAWL_CROSS_ENTROPY;
    const uint32_t vocab = tokens && arch->layers[1].kind == PAWL_EMBEDDING
                               ? (uint32_t)arch->layers[1].embedding.vocab : 2;
    const uint32_t cols = (uint32_t)pawl_plan_cols(t->plan);
    int32_t *x = t->x, *y = t->y;

    for (uint32_t i = 0; i < t->x_bytes / sizeof(*x); i++) {
        const uint32_t word = pawl_philox(1, 0, 0, i).word[0];
        const float real = pawl_uniform(word);
        x[i] = (int32_t)(word % vocab);
        if (!tokens) memcpy(&x[i], &real, sizeof(real));
    }
    for (uint32_t i = 0; i < t->y_bytes / sizeof(*y); i++) {
        const uint32_t word = pawl_philox(1, 1, 0, i).word[0];
        const float real = pawl_uniform(word);
        y[i] = (int32_t)(word % cols);
        if (!classes) memcpy(&y[i], &real, sizeof(real));
    }
}

// Batches go to the device through page-locked memory; on the host the plan's own is as good,
// unless one batch must last: the plan reuses its place.
static int take_staging(struct pawl_trainer *t)
{
    const struct pawl_layer *input = &t->model->architecture.layers[0];
    int64_t x = t->micro, y = pawl_plan_rows(t->plan);

    for (int i = 0; i < input->in.shape.rank; i++)
        x *= input->in.tokens && t->options.sequence ? t->options.sequence
                                                     : input->in.shape.dim[i];
    if (t->options.loss != PAWL_CROSS_ENTROPY) y *= pawl_plan_cols(t->plan);
    t->x_bytes = (size_t)x * sizeof(float);
    t->y_bytes = (size_t)y * sizeof(float);
    t->staged = !t->device->host || !t->options.data;
    t->told_bytes = 2 * (size_t)pawl_plan_rows(t->plan) * sizeof(float);
    if (!t->staged) {
        t->x = pawl_plan_x(t->plan);
        t->y = pawl_plan_y(t->plan);
        return 0;
    }
    int rc = pawl_device_alloc(t->device, &t->x, t->x_bytes, PAWL_ON_HOST);
    if (!rc) rc = pawl_device_alloc(t->device, &t->y, t->y_bytes, PAWL_ON_HOST);
    if (!rc && !t->device->host)
        rc = pawl_device_alloc(t->device, &t->told, t->told_bytes, PAWL_ON_HOST);
    if (!rc && !t->options.data) make_up(t);
    return rc;
}

int pawl_trainer_open(struct pawl_trainer **out, const struct pawl_architecture *architecture,
                      struct pawl_device *device, const struct pawl_trainer_options *options)
{
    struct pawl_trainer *t = NULL;
    int rc = check(options);

    if (!rc) rc = pawl_alloc(&t, sizeof(*t), "the trainer");
    if (rc) return rc;
    t->options = *options;
    t->device = device;
    t->micro = options->batch / options->accumulate;
    t->loss = NAN;
    rc = pawl_model_open(&t->model, architecture, device, options->type, true,
                         pawl_optimizer_moments(&options->rule));
    if (!rc)
        rc = pawl_plan_open(&t->plan, t->model,
                            &(struct pawl_plan_options){ .batch = t->micro,
                                                         .sequence = options->sequence,
                                                         .backward = true,
                                                         .loss = options->loss,
                                                         .seed = options->seed });
    if (!rc && options->data) rc = pawl_trainer_fit(t, options->data);
    if (!rc) rc = pawl_stream_open(&t->stream, device);
    if (!rc) rc = take_staging(t);
    if (!rc) rc = pawl_device_alloc(device, &t->norm, sizeof(float), PAWL_ON_DEVICE);
    if (!rc) rc = trainer_describe(t);
    if (rc) {
        pawl_trainer_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

void pawl_trainer_close(struct pawl_trainer *t)
{
    if (!t) return;
    if (t->staged) {
        pawl_device_free(t->device, t->x, t->x_bytes, PAWL_ON_HOST);
        pawl_device_free(t->device, t->y, t->y_bytes, PAWL_ON_HOST);
    }
    pawl_device_free(t->device, t->norm, sizeof(float), PAWL_ON_DEVICE);
    pawl_device_free(t->device, t->told, t->told_bytes, PAWL_ON_HOST);
    pawl_stream_close(t->stream);
    pawl_plan_close(t->plan);
    pawl_model_close(t->model);
    pawl_free(t->constant_text);
    pawl_free(t->training_text);
    pawl_free(t);
}

struct pawl_model *pawl_trainer_model(struct pawl_trainer *t) { return t->model; }
struct pawl_plan *pawl_trainer_plan(struct pawl_trainer *t) { return t->plan; }
struct pawl_stream *pawl_trainer_stream(struct pawl_trainer *t) { return t->stream; }
uint64_t pawl_trainer_step_number(const struct pawl_trainer *t) { return t->step; }
uint64_t pawl_trainer_samples(const struct pawl_trainer *t) { return t->samples; }

int pawl_trainer_register(struct pawl_trainer *t, struct pawl_saver *saver)
{
    return pawl_model_register(t->model, saver, t->options.rule.kind);
}

static int feed(struct pawl_trainer *t, struct pawl_data *data, uint64_t first)
{
    if (data) {
        const int rc = pawl_data_batch(data, first, t->micro, t->x, t->y);
        if (rc) return rc;
    }
    if (t->staged) {
        pawl_stream_copy(t->stream, pawl_plan_x(t->plan), t->x, t->x_bytes);
        pawl_stream_copy(t->stream, pawl_plan_y(t->plan), t->y, t->y_bytes);
    }
    return 0;
}

// Asks the saver where the old values of a part of a slab go; bytes may be zero.
static float *passing(struct pawl_saver *saver, const float *slab, const struct pawl_segment *part)
{
    return saver && slab && part->count
               ? pawl_saver_passing(saver, slab + part->start, (size_t)part->count * sizeof(float))
               : NULL;
}

struct copies {
    float *param, *moment[PAWL_MOMENTS_MAX];
};

// All of them or none: the update writes three copies in one pass or none. A lone one is made here.
static void settle(const struct pawl_model *model, const struct pawl_segment *part,
                   struct copies *copies)
{
    const size_t bytes = (size_t)part->count * sizeof(float);
    bool all = copies->param;

    for (int i = 0; i < PAWL_MOMENTS_MAX; i++)
        if (model->moment[i]) all = all && copies->moment[i];
    if (all) return;
    if (copies->param) memcpy(copies->param, model->param + part->start, bytes);
    for (int i = 0; i < PAWL_MOMENTS_MAX; i++)
        if (copies->moment[i]) memcpy(copies->moment[i], model->moment[i] + part->start, bytes);
    *copies = (struct copies){ 0 };
}

static pawl_value *rounded_at(const struct pawl_model *model, int64_t start)
{
    return model->rounded ? (char *)model->rounded + start * (int64_t)model->value_bytes : NULL;
}

static float *at(float *slab, int64_t start)
{
    return slab ? slab + start : NULL;
}

static void update(struct pawl_trainer *t, struct pawl_saver *saver, const struct pawl_update *rule)
{
    const struct pawl_model *model = t->model;
    struct copies copies[PAWL_SEGMENTS] = { 0 };
    const bool passes = saver && t->device->host;
    // What forward has measured takes effect with the update.
    const struct pawl_segment state = { model->trained_floats,
                                        model->slab_floats - model->trained_floats, false };
    float *old_state = passes ? passing(saver, model->param, &state) : NULL;

    for (int i = 0; passes && i < PAWL_SEGMENTS; i++) {
        const struct pawl_segment *part = &model->segment[i];
        copies[i].param = passing(saver, model->param, part);
        for (int m = 0; m < PAWL_MOMENTS_MAX; m++)
            copies[i].moment[m] = passing(saver, model->moment[m], part);
        settle(model, part, &copies[i]);
    }
    if (saver) pawl_saver_fence(saver, t->stream);
    pawl_device_phase(t->device, "update");
    for (int i = 0; i < PAWL_SEGMENTS; i++) {
        const struct pawl_segment *part = &model->segment[i];
        struct pawl_update own = *rule;
        if (!part->count) continue;
        if (!part->decay && !t->options.decay_all) own.decay = 0;
        model->ops->update(t->stream, model->param + part->start,
                           at(model->moment[0], part->start), at(model->moment[1], part->start),
                           model->grad + part->start, part->count, &own, copies[i].param,
                           copies[i].moment[0], copies[i].moment[1],
                           rounded_at(model, part->start));
    }
    if (state.count) {
        float *now = model->param + state.start;
        const size_t bytes = (size_t)state.count * sizeof(float);
        if (old_state) pawl_stream_copy(t->stream, old_state, now, bytes);
        pawl_stream_copy(t->stream, now, model->grad + state.start, bytes);
    }
    pawl_device_phase(t->device, NULL);
    if (passes) pawl_saver_passed(saver, t->stream);
}

static int micro_batches(struct pawl_trainer *t, double *loss)
{
    const int64_t rows = pawl_plan_rows(t->plan) * t->options.accumulate;
    double sum = 0;

    for (int64_t i = 0; i < t->options.accumulate; i++) {
        float result[2] = { 0 };
        int rc = feed(t, t->options.data, t->samples + (uint64_t)(i * t->micro));
        if (rc) return rc;
        pawl_device_phase(t->device, "forward and backward");
        pawl_plan_train(t->plan, t->stream,
                        t->step * (uint64_t)t->options.accumulate + (uint64_t)i,
                        1.0f / (float)rows, i > 0, result);
        rc = pawl_stream_wait(t->stream);
        pawl_device_phase(t->device, NULL);
        if (rc) return rc;
        sum += (double)result[0];
    }
    *loss = sum / (double)rows;
    return 0;
}

bool pawl_trainer_finite(struct pawl_trainer *t)
{
    float norm = 0;

    t->device->ops->norm(t->stream, t->norm, t->model->param, t->model->slab_floats, 1.0f);
    pawl_stream_copy(t->stream, &norm, t->norm, sizeof(norm));
    return pawl_stream_wait(t->stream) || isfinite(norm);
}

int pawl_trainer_step(struct pawl_trainer *t, struct pawl_saver *saver,
                      struct pawl_step_result *result)
{
    struct pawl_update rule = t->options.rule;
    double loss;
    int rc = micro_batches(t, &loss);

    if (rc) return rc;
    if (!isfinite(loss))
        return pawl_fail(PAWL_ECORRUPT,
                         "the loss is %s in step %llu; that step was not taken. try: a smaller "
                         "--lr, --clip 1, or look at the data",
                         isnan(loss) ? "nan" : "infinite", (unsigned long long)t->step + 1);
    const double factor = pawl_schedule_at(&t->options.schedule, t->step + 1, t->options.steps);
    rule.rate *= factor;
    rule.step = (int64_t)t->step + 1;
    rule.grad_scale = 1.0f;
    if (t->options.clip > 0) {
        t->device->ops->norm(t->stream, t->norm, t->model->grad, t->model->trained_floats, 1.0f);
        rule.grad_norm = t->norm;
        rule.clip = (float)t->options.clip;
    }
    result->update_start_ns = pawl_io()->now_ns();
    const int64_t cpu = pawl_process_cpu_ns();
    update(t, saver, &rule);
    float norm = NAN;
    if (t->options.clip > 0) pawl_stream_copy(t->stream, &norm, t->norm, sizeof(norm));
    rc = pawl_stream_wait(t->stream);
    if (rc) return rc;
    result->update_cpu_ns = pawl_process_cpu_ns() - cpu;
    t->step++;
    t->samples += (uint64_t)t->options.batch;
    t->loss = loss;
    result->loss = loss;
    result->rate = rule.rate;
    result->grad_norm = (double)norm;
    return 0;
}

// The last batch is filled up from the start; only `counted` samples of it are added up, by asking
// once more for the sum of the first rows.
static int add_up(struct pawl_trainer *t, int64_t counted, double *loss, double *hits,
                  double *rows)
{
    const int64_t all = pawl_plan_rows(t->plan), per_sample = all / t->micro;
    const float *losses, *hit;

    pawl_plan_rows_told(t->plan, &losses, &hit);
    if (t->told) {
        pawl_stream_copy(t->stream, t->told, losses, t->told_bytes / 2);
        pawl_stream_copy(t->stream, t->told + all, hit, t->told_bytes / 2);
        losses = t->told;
        hit = t->told + all;
    }
    const int rc = pawl_stream_wait(t->stream);
    if (rc) return rc;
    for (int64_t i = 0; i < counted * per_sample; i++) {
        *loss += (double)losses[i];
        *hits += (double)hit[i];
    }
    *rows += (double)(counted * per_sample);
    return 0;
}

int pawl_trainer_evaluate(struct pawl_trainer *t, struct pawl_data *data, uint64_t max_batches,
                          double *loss, double *accuracy)
{
    const uint64_t samples = pawl_data_info(data)->samples, micro = (uint64_t)t->micro;
    double sum = 0, hits = 0, rows = 0;
    uint64_t batches = (samples + micro - 1) / micro;

    if (max_batches && batches > max_batches) batches = max_batches;
    for (uint64_t i = 0; i < batches; i++) {
        float result[2];
        if (t->options.stop && t->options.stop())
            return pawl_fail(PAWL_EBUSY, "the evaluation was interrupted");
        int rc = feed(t, data, i * micro);
        if (rc) return rc;
        pawl_plan_evaluate(t->plan, t->stream, result);
        const uint64_t left = samples - i * micro;
        rc = add_up(t, (int64_t)(left < micro ? left : micro), &sum, &hits, &rows);
        if (rc) return rc;
    }
    *loss = sum / rows;
    *accuracy = t->options.loss == PAWL_CROSS_ENTROPY ? hits / rows : NAN;
    return 0;
}
