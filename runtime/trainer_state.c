// trainer_state.c - the training state that is not tensors, as the JSON a snapshot keeps:
//
//     {"optimizer": {...}, "schedule": {...}, "seed": 1, "batch": 8, ..., "data": {...},
//      "samples": 4096, "steps_total": 100}
//
// `samples` is the position: the number of the next sample (data.h). Everything before it is fixed
// when the trainer opens, so a save only prints two numbers.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "runtime/trainer_inside.h"

static const char *const optimizers[PAWL_OPTIMIZERS] = {
    [PAWL_ADAMW] = "adamw", [PAWL_ADAM] = "adam", [PAWL_SGD] = "sgd", [PAWL_RMSPROP] = "rmsprop"
};

const char *pawl_optimizer_name(enum pawl_optimizer kind)
{
    return optimizers[kind];
}

int pawl_optimizer_parse(enum pawl_optimizer *out, const char *name)
{
    for (int i = 0; i < PAWL_OPTIMIZERS; i++)
        if (!strcmp(optimizers[i], name)) {
            *out = (enum pawl_optimizer)i;
            return 0;
        }
    return pawl_fail(PAWL_EINVAL, "--optimizer %.32s is unknown; known: adamw adam sgd rmsprop",
                     name);
}

static json_t *optimizer_json(const struct pawl_trainer_options *options)
{
    const struct pawl_update *rule = &options->rule;
    json_t *out = json_pack("{s:s, s:o, s:o}", "kind", pawl_optimizer_name(rule->kind),
                            "learning_rate", json_real(rule->rate), "weight_decay",
                            json_real(rule->decay));

    if (out && options->decay_all) json_object_set_new(out, "decay_all", json_true());

    if (!out) return NULL;
    if (rule->kind == PAWL_ADAMW || rule->kind == PAWL_ADAM)
        json_object_set_new(out, "betas", json_pack("[o, o]", json_real(rule->beta_1),
                                                    json_real(rule->beta_2)));
    if (rule->kind == PAWL_RMSPROP) json_object_set_new(out, "rho", json_real(rule->rho));
    if (rule->kind != PAWL_SGD) json_object_set_new(out, "eps", json_real(rule->epsilon));
    if (rule->kind == PAWL_SGD || rule->kind == PAWL_RMSPROP)
        json_object_set_new(out, "momentum", json_real(rule->momentum));
    if (rule->kind == PAWL_SGD) json_object_set_new(out, "nesterov", json_boolean(rule->nesterov));
    if (rule->as == PAWL_AS_KERAS) json_object_set_new(out, "convention", json_string("keras"));
    json_object_set_new(out, "clip", json_real(options->clip));
    return out;
}

int trainer_describe(struct pawl_trainer *t)
{
    const struct pawl_trainer_options *o = &t->options;
    json_t *data = o->data ? pawl_data_identity(o->data) : json_null();
    json_t *all = json_pack(
        "{s:o, s:{s:s, s:I, s:f}, s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "optimizer",
        optimizer_json(o),
        "schedule", "kind", pawl_schedule_name(o->schedule.kind), "warmup",
        (json_int_t)o->schedule.warmup, "min", o->schedule.minimum, "loss",
        pawl_loss_name(o->loss), "dtype", pawl_model_type_name(o->type), "seed",
        (json_int_t)o->seed, "batch", (json_int_t)o->batch,
        "accumulate", (json_int_t)o->accumulate, "sequence", (json_int_t)o->sequence, "data",
        data);
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    int rc = text ? 0 : pawl_fail(PAWL_ENOMEM, "no memory for the training state");

    if (!rc) {
        text[strlen(text) - 1] = 0;  // its closing brace: two fields follow
        t->text_bytes = strlen(text) + TRAINING_CHANGING_BYTES;
        rc = pawl_strdup(&t->constant_text, text);
    }
    if (!rc) rc = pawl_alloc(&t->training_text, t->text_bytes, "the training state");
    free(text);
    json_decref(all);
    return rc;
}

void pawl_trainer_progress(struct pawl_trainer *t, struct pawl_progress *progress)
{
    const uint64_t per_epoch = t->options.data ? pawl_data_info(t->options.data)->samples : 0;

    snprintf(t->training_text, t->text_bytes,
             "%s,\"samples\":%" PRIu64 ",\"steps_total\":%" PRIu64 "}", t->constant_text,
             t->samples, t->options.steps);
    progress->step = t->step;
    progress->epoch = per_epoch ? (int64_t)(t->samples / per_epoch) : -1;
    progress->loss = t->loss;
    progress->training = t->training_text;
}

static int agree(const struct pawl_trainer *t, const json_t *saved)
{
    const json_t *optimizer = json_object_get(saved, "optimizer");
    const char *kind = json_string_value(json_object_get(optimizer, "kind"));
    const json_t *seed = json_object_get(saved, "seed"), *data = json_object_get(saved, "data");

    if (!kind || !json_is_integer(seed))
        return pawl_fail(PAWL_ECORRUPT, "the snapshot's training state names no optimizer or seed");
    if (strcmp(kind, pawl_optimizer_name(t->options.rule.kind)))
        return pawl_fail(PAWL_EINVAL, "the run was trained with --optimizer %.16s, now %s is asked "
                         "for. try: another --out, or --resume never", kind,
                         pawl_optimizer_name(t->options.rule.kind));
    if ((uint64_t)json_integer_value(seed) != t->options.seed)
        return pawl_fail(PAWL_EINVAL,
                         "the run was started with --seed %lld, now %lld is asked for; the order "
                         "of its data hangs on it",
                         (long long)json_integer_value(seed), (long long)t->options.seed);
    return t->options.data && json_is_object(data) ? pawl_data_same(t->options.data, data) : 0;
}

int pawl_trainer_restore(struct pawl_trainer *t, const struct pawl_progress *progress)
{
    json_error_t error;
    json_t *saved = json_loads(progress->training ? progress->training : "", 0, &error);
    const json_t *samples = json_object_get(saved, "samples");
    int rc = 0;

    if (!json_is_integer(samples) || json_integer_value(samples) < 0)
        rc = pawl_fail(PAWL_ECORRUPT, "the snapshot of step %" PRIu64 " has no data position",
                       progress->step);
    if (!rc) rc = agree(t, saved);
    if (!rc) {
        t->step = progress->step;
        t->samples = (uint64_t)json_integer_value(samples);
        t->loss = progress->loss;
        t->model->stale = true;
    }
    json_decref(saved);
    return rc;
}

double pawl_trainer_loss(const struct pawl_trainer *t)
{
    return t->loss;
}

// One setting's value in a few letters.
static void short_value(char text[32], const json_t *value)
{
    char *all = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6))
                      : NULL;

    snprintf(text, 32, "%.31s", all ? all : "none");
    free(all);
}

static size_t add_changes(char *text, size_t text_bytes, size_t used, json_t *before, json_t *now)
{
    static const char *const quiet[] = { "data", "samples", "steps_total", "optimizer",
                                         "schedule" };
    char a[32], b[32];
    const char *key;
    json_t *value;

    json_object_foreach(now, key, value) {
        const json_t *old = json_object_get(before, key);
        bool skip = !old || json_equal(value, old);
        for (size_t i = 0; i < sizeof(quiet) / sizeof(*quiet); i++)
            skip |= !strcmp(key, quiet[i]);
        if (skip || used >= text_bytes) continue;
        short_value(a, old);
        short_value(b, value);
        used += (size_t)snprintf(text + used, text_bytes - used, "%s%s %s -> %s", used ? ", " : "",
                                 key, a, b);
    }
    return used;
}

const char *pawl_trainer_changes(char *text, size_t text_bytes, const struct pawl_trainer *t,
                                 const char *training)
{
    json_t *before = json_loads(training ? training : "", 0, NULL);
    char *closed = malloc(strlen(t->constant_text) + 2);
    json_t *now = NULL;
    size_t used = 0;

    text[0] = 0;
    if (closed) {
        sprintf(closed, "%s}", t->constant_text);
        now = json_loads(closed, 0, NULL);
    }
    // Snapshots from before there was a choice were made in fp32.
    if (before && !json_object_get(before, "dtype"))
        json_object_set_new(before, "dtype", json_string(pawl_model_type_name(PAWL_F32)));
    used = add_changes(text, text_bytes, used, before, now);
    used = add_changes(text, text_bytes, used, json_object_get(before, "optimizer"),
                       json_object_get(now, "optimizer"));
    add_changes(text, text_bytes, used, json_object_get(before, "schedule"),
                json_object_get(now, "schedule"));
    free(closed);
    json_decref(before);
    json_decref(now);
    return text;
}

void pawl_trainer_continue_at(struct pawl_trainer *t, uint64_t step)
{
    t->step = step;
    t->samples = step * (uint64_t)t->options.batch;
}
