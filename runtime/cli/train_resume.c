// train_resume.c - where a run begins: its own newest snapshot, a step or path that was asked for,
// the weights in MODEL, or fresh initial values.

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/run.h"
#include "checkpoint/source.h"
#include "kernels/memory.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/train.h"
#include "runtime/signals.h"

// Everything a document has (or its weights alone) becomes the trainer's state.
static int take_document(struct train *run, struct pawl_document *document, bool all)
{
    struct pawl_model *model = pawl_trainer_model(run->trainer);
    int rc = pawl_model_take(model, document);

    if (rc || !all || !document->training) return rc;
    rc = pawl_model_take_moments(model, document, run->settings.rule.kind);
    if (rc && rc != PAWL_ENONE) return rc;
    const json_t *rest = document->training->rest;
    if (!json_is_integer(json_object_get(rest, "samples"))) {
        pawl_trainer_continue_at(run->trainer, document->training->step);
        return 0;
    }
    json_t *whole = json_copy((json_t *)(uintptr_t)rest);
    json_object_set(whole, "optimizer", document->training->optimizer);
    char *text = json_dumps(whole, JSON_COMPACT);
    rc = text ? pawl_trainer_restore(run->trainer,
                                     &(struct pawl_progress){ .step = document->training->step,
                                                              .epoch = document->training->epoch,
                                                              .loss = document->training->loss,
                                                              .training = text })
              : pawl_fail(PAWL_ENOMEM, "no memory for the training state");
    free(text);
    json_decref(whole);
    return rc;
}

// A run directory or file other than --out.
static int resume_path(struct train *run, const char *path)
{
    struct pawl_document *document = NULL;
    int rc = pawl_source_open(&document, path, NULL);

    if (!rc && document->architecture)
        rc = pawl_architecture_match(run->model->architecture, "MODEL", document->architecture,
                                     path);
    if (!rc) rc = take_document(run, document, true);
    if (!rc) run->resumed_from = (int64_t)pawl_trainer_step_number(run->trainer);
    pawl_document_free(document);
    return rc;
}

// What --meta kept goes on being kept; what is given now wins.
static int merge_metadata(struct train *run, const char *saved)
{
    json_t *all = saved ? json_loads(saved, 0, NULL) : NULL;
    json_t *given = json_loads(run->metadata_json, 0, NULL);
    char *text = NULL;
    int rc = 0;

    if (all && given && !json_object_update(all, given)) text = json_dumps(all, JSON_COMPACT);
    if (text) {
        pawl_free(run->metadata_json);
        run->metadata_json = NULL;
        rc = pawl_strdup(&run->metadata_json, text);
    }
    free(text);
    json_decref(all);
    json_decref(given);
    return rc;
}

static void tell_changes(struct train *run, const char *training)
{
    char changes[400], words[512];

    pawl_trainer_changes(changes, sizeof(changes), run->trainer, training);
    if (!changes[0]) return;
    snprintf(words, sizeof(words), "goes on with other settings: %s", changes);
    pawl_report_note(run->report, words);
}

// The run directory's own snapshots; step < 0: the newest.
static int resume_own(struct train *run, int64_t step)
{
    struct pawl_progress progress = { .loss = NAN, .epoch = -1, .metric = NAN };
    struct pawl_stream *stream = pawl_trainer_stream(run->trainer);
    int rc = step < 0 ? pawl_saver_load(run->saver, stream, &progress)
                      : pawl_saver_load_step(run->saver, stream, (uint64_t)step, &progress);

    if (!rc) rc = pawl_trainer_restore(run->trainer, &progress);
    if (!rc) rc = merge_metadata(run, progress.metadata);
    if (rc) return rc;
    tell_changes(run, progress.training);
    run->resumed_from = (int64_t)progress.step;
    run->has_saved = true;
    run->saved_step = progress.step;
    pawl_signals_durable(progress.step);
    return 0;
}

// Tensors tell of a misfit too, but layers and optimizers tell it in words.
static int compare(const struct train *run)
{
    struct pawl_document *document = NULL;
    int rc = pawl_document_read(&document, run->options->out);

    if (rc) {
        pawl_document_free(document);
        return 0;  // nothing to compare with: loading will say what there is
    }
    if (document->architecture)
        rc = pawl_architecture_match(run->model->architecture, "MODEL", document->architecture,
                                     run->options->out);
    const json_t *optimizer = document->training ? document->training->optimizer : NULL;
    const char *kind = json_string_value(json_object_get(optimizer, "kind"));
    const char *asked = pawl_optimizer_name(run->settings.rule.kind);
    if (!rc && kind && strcmp(kind, asked))
        rc = pawl_fail(PAWL_EINVAL, "%s was trained with --optimizer %.16s, now %s is asked for. "
                       "try: another --out", run->options->out, kind, asked);
    pawl_document_free(document);
    return rc;
}

static int start_fresh(struct train *run)
{
    const char *take = run->options->take ? run->options->take : "all";
    char words[512];

    if (run->saver) {
        snprintf(words, sizeof(words), "fresh start: no snapshot in %.400s", run->options->out);
        pawl_report_note(run->report, words);
    }
    if (run->model->weight_count && strcmp(take, "architecture")) {
        const int rc = take_document(run, run->model, !strcmp(take, "all"));
        if (!rc) run->resumed_from = -1;
        return rc;
    }
    return pawl_model_init(pawl_trainer_model(run->trainer), run->settings.seed);
}

// A fresh start would be the newest attempt, and retention would collect what is there.
static int refuse_never(const struct train *run)
{
    struct pawl_run there;
    int rc = pawl_run_list(&there, run->options->out);

    if (rc) return rc == PAWL_ENONE ? 0 : rc;
    if (there.commit_traced && there.count)
        rc = pawl_fail(PAWL_EBUSY, "%s: --resume never, but there are snapshots up to step %" PRIu64
                       ". try: another --out", run->options->out, there.snapshots[0].step);
    pawl_run_free(&there);
    return rc;
}

static void tell_skipped(const struct train *run)
{
    const char *path, *why;
    uint64_t step;

    for (int i = 0; run->saver && pawl_saver_skipped(run->saver, i, &step, &path, &why); i++)
        fprintf(stderr, "pawl: %s: passed over: %s\n", path, why);
}

static int decide(struct train *run)
{
    const char *resume = run->options->resume ? run->options->resume : "auto";
    char *end = NULL;
    errno = 0;
    const long long step = strtoll(resume, &end, 10);
    const bool number = end != resume && !*end && !errno && *resume >= '0' && *resume <= '9';
    int rc;

    if (!strcmp(resume, "never")) {
        rc = run->saver ? refuse_never(run) : 0;
        return rc ? rc : start_fresh(run);
    }
    const bool own = !strcmp(resume, "auto") || !strcmp(resume, "must");
    if (!own && !number) return resume_path(run, resume);
    if (!run->saver)
        return own && strcmp(resume, "must")
                   ? start_fresh(run)
                   : pawl_fail(PAWL_EINVAL, "--resume %s needs a run directory: --out", resume);
    rc = compare(run);
    if (!rc) rc = resume_own(run, own ? -1 : step);
    if (rc != PAWL_ENONE) return rc;
    if (!own) return rc;
    if (!strcmp(resume, "must"))
        return pawl_fail(PAWL_ENONE, "%s: --resume must, but there is no snapshot",
                         run->options->out);
    return start_fresh(run);
}

int train_resume(struct train *run, int *status)
{
    const int rc = decide(run);

    tell_skipped(run);
    *status = rc ? pawl_exit_telling(rc) : 0;
    return rc;
}
