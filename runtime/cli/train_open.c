// train_open.c - from flags to a run that is ready for its first step.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/native.h"
#include "checkpoint/source.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/cli/disk.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/train.h"
#include "runtime/cli/verbs.h"
#include "runtime/signals.h"

static double or_else(double given, double fallback)
{
    return isnan(given) ? fallback : given;
}

static int64_t or_count(int64_t given, int64_t fallback)
{
    return given < 0 ? fallback : given;
}

static bool reads_tokens(const struct train *run)
{
    return run->model->architecture->layers[0].in.tokens;
}

// What a file says of its optimizer, where no flag says otherwise.
static double from_file(const struct train *run, const char *field, double fallback)
{
    const json_t *optimizer = run->model->training ? run->model->training->optimizer : NULL;
    const json_t *value = json_object_get(optimizer, field);

    return json_is_number(value) ? json_number_value(value) : fallback;
}

static int choose_rule(struct train *run)
{
    const struct pawl_options *o = run->options;
    struct pawl_update *rule = &run->settings.rule;
    const json_t *optimizer = run->model->training ? run->model->training->optimizer : NULL;
    const char *filed = json_string_value(json_object_get(optimizer, "kind"));
    const json_t *betas = json_object_get(optimizer, "betas");
    int rc = pawl_optimizer_parse(&rule->kind, o->optimizer ? o->optimizer : filed ? filed
                                  : "adamw");

    if (rc) return rc;
    rule->rate = or_else(o->lr, from_file(run, "learning_rate", rule->kind == PAWL_SGD ? 0.01
                                          : 0.001));
    if (json_array_size(betas) == 2) {
        rule->beta_1 = json_number_value(json_array_get(betas, 0));
        rule->beta_2 = json_number_value(json_array_get(betas, 1));
    } else {
        rule->beta_1 = 0.9;
        rule->beta_2 = 0.999;
    }
    rule->beta_1 = or_else(o->betas[0], rule->beta_1);
    rule->beta_2 = or_else(o->betas[1], rule->beta_2);
    rule->epsilon = or_else(o->eps, from_file(run, "epsilon", from_file(run, "eps", 1e-8)));
    rule->decay = or_else(o->weight_decay, from_file(run, "weight_decay",
                                                     rule->kind == PAWL_ADAMW ? 0.01 : 0));
    rule->momentum = or_else(o->momentum, from_file(run, "momentum", 0));
    rule->rho = from_file(run, "rho", from_file(run, "alpha", 0.99));
    // Moments and rule belong together: both as Keras has them, or both as PyTorch does.
    const bool same = !o->optimizer || (filed && !strcmp(o->optimizer, filed));
    rule->as = PAWL_AS_PYTORCH;
    if (run->model->training && same && pawl_training_as_keras(run->model->training)) {
        rule->as = PAWL_AS_KERAS;
        run->model->training->momentum_scale = 0;
    }
    rule->nesterov = json_is_true(json_object_get(optimizer, "nesterov"));
    run->settings.clip = or_else(o->clip, from_file(run, "clip", 0));
    return 0;
}

static int choose_loss(struct train *run)
{
    const char *said = run->options->loss ? run->options->loss : run->model->architecture->loss;

    if (!*said) said = pawl_data_info(run->data)->targets ? "mse" : "cross-entropy";
    return pawl_loss_parse(&run->settings.loss, said);
}

static int open_data(struct train *run)
{
    const struct pawl_options *o = run->options;
    char *end = NULL;
    const double fraction = o->val ? strtod(o->val, &end) : 0;
    const bool is_fraction = o->val && end != o->val && !*end;
    struct pawl_data_options options = {
        .part = PAWL_DATA_TRAIN,
        .fraction = is_fraction ? fraction : 0,
        .sequence = or_count(o->seq, reads_tokens(run)
                                         ? run->model->architecture->layers[0].in.shape.dim[0] : 1),
        .seed = (uint64_t)or_count(o->seed, 0),
        .shuffle = o->shuffle,
        .tokens = reads_tokens(run),
    };

    if (!o->data)
        return pawl_fail(PAWL_EINVAL, "train needs --data. try: --data text:PATH, tokens:FILE, "
                         "idx:DIR or npy:X.npy,Y.npy");
    if (is_fraction && !(fraction > 0 && fraction < 1))
        return pawl_fail(PAWL_EINVAL, "--val %s: a fraction lies between 0 and 1", o->val);
    int rc = pawl_data_open(&run->data, o->data, &options);
    options.part = PAWL_DATA_VALIDATE;
    if (!rc && o->val) rc = pawl_data_open(&run->val, is_fraction ? o->data : o->val, &options);
    // A MNIST family directory usually brings its test set along.
    if (!rc && !o->val && pawl_data_info(run->data)->own_test)
        rc = pawl_data_open(&run->val, o->data, &options);
    return rc;
}

static int choose_length(struct train *run)
{
    const struct pawl_options *o = run->options;
    const double samples = (double)pawl_data_info(run->data)->samples;
    const double batch = (double)run->settings.batch;

    if (o->steps >= 0 && !isnan(o->epochs))
        return pawl_fail(PAWL_EINVAL, "--steps and --epochs both say how long to train. try: one");
    run->steps = o->steps >= 0 ? (uint64_t)o->steps
                               : (uint64_t)ceil(or_else(o->epochs, 1.0) * samples / batch);
    run->settings.steps = run->steps;
    run->save_every = o->save_every;
    if (run->save_every.kind == PAWL_EVERY_NONE)
        run->save_every = (struct pawl_every){ PAWL_EVERY_SECONDS, 600 };
    return 0;
}

static bool asked_to_end(void) { return pawl_signals_pending(); }

static int choose(struct train *run)
{
    const struct pawl_options *o = run->options;
    struct pawl_trainer_options *settings = &run->settings;
    int rc = choose_rule(run);

    if (run->model->training)
        settings->decay_all = pawl_optimizer_decays_all(run->model->training->optimizer,
                                                        !strcmp(run->model->format, "pawl"));
    if (!rc) rc = choose_loss(run);
    if (!rc) rc = pawl_schedule_parse(&settings->schedule, o->schedule);
    settings->data = run->data;
    settings->stop = asked_to_end;
    settings->batch = or_count(o->batch, reads_tokens(run) ? 8 : 64);
    settings->accumulate = or_count(o->accumulate, 1);
    settings->sequence = o->seq < 0 ? 0 : o->seq;
    // Rows of tokens are as long as they are.
    const struct pawl_data_info *info = pawl_data_info(run->data);
    if (info->tokens && info->kind == PAWL_DATA_ARRAYS
        && info->shape.dim[0] != run->model->architecture->layers[0].in.shape.dim[0])
        settings->sequence = info->shape.dim[0];
    settings->seed = (uint64_t)or_count(o->seed, 0);
    return rc ? rc : choose_length(run);
}

static int read_metadata(struct train *run)
{
    json_t *all = json_object();
    int rc = 0;

    for (int i = 0; !rc && i < run->options->meta_count; i++) {
        const char *text = run->options->meta[i], *equals = strchr(text, '=');
        json_error_t error;
        json_t *value = equals ? json_loads(equals + 1, JSON_DECODE_ANY, &error) : NULL;
        if (!value)
            rc = pawl_fail(PAWL_EINVAL, "--meta %.200s: KEY=JSON is wanted, as in --meta "
                           "note='\"first try\"'", text);
        else if (json_object_setn_new(all, text, (size_t)(equals - text), value))
            rc = pawl_fail(PAWL_EINVAL, "--meta %.200s: the key is not valid UTF-8", text);
    }
    char *dumped = rc ? NULL : json_dumps(all, JSON_COMPACT);
    if (!rc) rc = dumped ? pawl_strdup(&run->metadata_json, dumped)
                         : pawl_fail(PAWL_ENOMEM, "no memory for --meta");
    free(dumped);
    json_decref(all);
    return rc;
}

// The only measure that a run has is the one that validation makes.
static int check_keep(const char *keep)
{
    const char *best = keep ? strstr(keep, "best=") : NULL;
    const char *name = best ? strchr(best, ':') : NULL;

    if (!name || !strncmp(name, ":val_loss:", 10)) return 0;
    return pawl_fail(PAWL_EINVAL, "--keep %.200s: best goes by val_loss only, as in "
                     "best=2:val_loss:min", keep);
}

// --export PATH[=FORMAT]: a format that is known and can be written, before hours are spent.
static int check_export(const char *text)
{
    const struct pawl_format *format = NULL;
    char path[4096];

    const char *name = train_export_path(path, text);
    const int rc = pawl_format_find(&format, name, path);
    if (rc)
        return pawl_fail(rc, "--export %.200s: no known format. try: --export PATH=FORMAT, as in "
                         "--export model=safetensors", text);
    return format->write ? 0 : pawl_fail(PAWL_EINVAL, "--export %.200s: this version only reads %s",
                                         text, format->name);
}

// For machines under suspicion, so it has no flag: each copy of the state from the device is
// proven, and what was saved so is proven again where it is loaded.
static bool wants_digest(void)
{
    const char *wanted = getenv("PAWL_SAVE_DIGEST");

    return wanted && !strcmp(wanted, "1");
}

static int open_saver(struct train *run)
{
    const struct pawl_options *o = run->options;
    const bool off = o->save_mode && !strcmp(o->save_mode, "off");

    if (off && o->export_to)
        return pawl_fail(PAWL_EINVAL, "--export writes the last snapshot, and --save-mode off "
                         "takes none");
    if (off) return 0;
    if (!o->out)
        return pawl_fail(PAWL_EINVAL, "train needs --out DIR to keep snapshots in. try: --out "
                         "runs/a, or --save-mode off");
    int rc = check_keep(o->keep);
    if (!rc)
        rc = pawl_architecture_to_json(&run->architecture_json, run->model->architecture);
    if (!rc)
        rc = pawl_saver_open(&run->saver,
                             &(struct pawl_saver_options){
                                 .where = o->out, .keep = o->keep, .mode = o->save_mode,
                                 .architecture = run->architecture_json,
                                 .digest = wants_digest(),
                                 .host_memory_bytes = o->host_memory < 0
                                                          ? 0 : (uint64_t)o->host_memory },
                             run->device);
    return rc;
}

static int open_report(struct train *run)
{
    const struct pawl_options *o = run->options;
    const bool saves = o->out && !(o->save_mode && !strcmp(o->save_mode, "off"));

    if (saves
        && snprintf(run->events_path, sizeof(run->events_path), "%s/events.jsonl", o->out)
               >= (int)sizeof(run->events_path))
        return pawl_fail(PAWL_EINVAL, "--out: the path is too long");
    const struct pawl_report_options options = {
        .json = o->json, .quiet = o->quiet, .log_every = o->log_every < 0 ? 0 : o->log_every,
        .html = o->report, .trace = o->trace, .tensorboard = o->tensorboard,
        .metrics = o->metrics, .events = run->events_path[0] ? run->events_path : NULL,
    };

    return pawl_report_open(&run->report, &options);
}

// run.json: what this attempt was asked for, for people who come back later. Not needed to resume,
// so a failure is only noted.
static void keep_configuration(const struct train *run)
{
    json_t *all = json_pack("{s:s, s:s, s:o*}", "pawl", PAWL_VERSION, "model",
                            run->options->arguments[0], "flags", pawl_options_json(run->options));
    char *text = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    char path[4096];

    if (text && snprintf(path, sizeof(path), "%s/run.json", run->options->out) < (int)sizeof(path)
        && pawl_io_write_file(path, text, strlen(text), true))
        pawl_report_note(run->report, "run.json could not be written");
    free(text);
    json_decref(all);
}

// The device, and why it is the host where a GPU would have been taken.
static void device_words(char out[512], const struct train *run)
{
    const char *wanted = run->options->device, *why = NULL;

    if (run->device->host && (!wanted || !strcmp(wanted, "auto"))) why = pawl_device_why_host();
    snprintf(out, 512, "%.127s%s%.360s", run->device->words, why ? "; no GPU: " : "",
             why ? why : "");
}

static void tell_start(struct train *run)
{
    const struct pawl_model *model = pawl_trainer_model(run->trainer);
    const bool tokens = reads_tokens(run);
    char words[128], device[512];
    json_t *skipped = json_array();
    const char *path, *why;
    uint64_t step;

    for (int i = 0; run->saver && pawl_saver_skipped(run->saver, i, &step, &path, &why); i++)
        json_array_append_new(skipped, json_pack("{s:I, s:s, s:s}", "step", (json_int_t)step,
                                                 "path", path, "why", why));
    snprintf(words, sizeof(words), "%.63s, %.3g M parameters", model->architecture.name,
             (double)model->param_count / 1e6);
    device_words(device, run);
    const int64_t sequence = run->settings.sequence ? run->settings.sequence
                                                    : model->architecture.layers[0].in.shape.dim[0];
    pawl_report_start(run->report, &(struct pawl_report_start){
        .device = run->device->kind->name, .device_words = device, .model = words,
        .data = pawl_data_info(run->data)->words, .ranks = 1, .params = model->param_count,
        .state_bytes = run->saver ? pawl_saver_state_bytes(run->saver) : 0,
        .ring_bytes = run->saver ? pawl_saver_ring_bytes(run->saver) : 0,
        .io = pawl_io()->name,
        .resumed_from = run->resumed_from, .skipped = skipped, .first_step = run->first_step,
        .last_step = run->steps, .unit = tokens ? "tokens" : "samples",
        .units_per_step = (double)run->settings.batch * (tokens ? (double)sequence : 1.0) });
    json_decref(skipped);
}

// A ring smaller than the state: what that will cost, by the disk's rate as measured now.
static void foretell(struct train *run)
{
    struct pawl_disk disk;
    char words[256];

    if (!run->saver || pawl_saver_ring_bytes(run->saver) >= pawl_saver_state_bytes(run->saver)
        || pawl_disk_measure(&disk, run->options->out))
        return;
    const double wait_s = (double)pawl_saver_stall_ns(run->saver, disk.bytes_per_s, 0) / 1e9;
    snprintf(words, sizeof(words), "the state does not fit into --host-memory: with %.3g GB/s "
             "written, each save makes the update wait for %.2g s at most, less the time of "
             "forward and backward", disk.bytes_per_s / 1e9, wait_s);
    pawl_report_note(run->report, words);
}

int train_open(struct train *run, int *status)
{
    const struct pawl_options *o = run->options;
    bool unwritable = false;  // a report file, not the data
    int rc = pawl_source_open(&run->model, o->arguments[0], o->arch);

    if (!rc && !run->model->architecture)
        rc = pawl_fail(PAWL_EINVAL, "%s holds no architecture. try: --arch MODEL beside it",
                       o->arguments[0]);
    if (!rc) rc = pawl_model_parse_type(&run->settings.type, o->dtype);
    if (!rc) rc = pawl_device_open(&run->device, o->device ? o->device : "auto",
                                   (int)or_count(o->threads, 0));
    if (!rc) rc = open_data(run);
    if (!rc) {
        const struct pawl_shape *shape = &pawl_data_info(run->data)->shape;
        rc = pawl_architecture_resize(run->model->architecture, shape->rank, shape->dim);
    }
    if (!rc) rc = choose(run);
    if (!rc) rc = read_metadata(run);
    if (!rc && o->export_to) rc = check_export(o->export_to);
    if (!rc) {
        rc = open_report(run);
        unwritable = rc != 0;
    }
    if (!rc) rc = pawl_trainer_open(&run->trainer, run->model->architecture, run->device,
                                    &run->settings);
    if (!rc && run->val) rc = pawl_trainer_fit(run->trainer, run->val);
    *status = unwritable ? pawl_exit_of_output(rc) : pawl_exit_of(rc);
    if (!rc) {
        rc = open_saver(run);
        *status = pawl_exit_of_output(rc);
    }
    if (!rc && run->saver) {
        rc = pawl_trainer_register(run->trainer, run->saver);
        if (!rc) rc = pawl_saver_ready(run->saver);
        if (!rc) keep_configuration(run);
        *status = pawl_exit_of(rc);
    }
    if (rc) fprintf(stderr, "pawl: %s\n", pawl_error());
    if (!rc) rc = train_resume(run, status);
    if (rc) return rc;
    run->first_step = pawl_trainer_step_number(run->trainer);
    run->val_loss = NAN;
    run->last.loss = run->resumed_from >= 0 ? pawl_trainer_loss(run->trainer) : (double)NAN;
    run->saved_ns = pawl_io()->now_ns();
    tell_start(run);
    foretell(run);
    return 0;
}

int train_close(struct train *run)
{
    pawl_saver_close(run->saver);  // the loop has waited and told
    const int rc = pawl_report_close(run->report);
    if (rc) fprintf(stderr, "pawl: %s\n", pawl_error());
    pawl_trainer_close(run->trainer);
    pawl_data_close(run->val);
    pawl_data_close(run->data);
    pawl_device_close(run->device);
    pawl_document_free(run->model);
    pawl_free(run->architecture_json);
    pawl_free(run->metadata_json);
    return rc;
}
