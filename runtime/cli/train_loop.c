// train_loop.c - step, tell, save when due, validate, and end well when asked to.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/train.h"
#include "runtime/signals.h"

enum { VAL_TOKEN_BATCHES = 64 };  // a text's validation part can be as long as an epoch

enum { FENCE_TOLD_NS = 1000000 };

// What a scheduler must leave between its signal and its kill, when that has grown by half; and
// what a ring smaller than the state has cost this save.
static void tell_durable(struct train *run, const struct pawl_save_event *event)
{
    const double took_s = (double)(event->write_end_ns - event->write_start_ns) / 1e9;
    char words[256];

    if (took_s > run->save_s) run->save_s = took_s;
    const double grace_s = run->step_s + run->save_s;
    if (grace_s > 1.5 * run->told_grace_s) {
        run->told_grace_s = grace_s;
        snprintf(words, sizeof(words), "grace needed ~ %.2g s after a signal: a step of %.2g s and "
                 "a save of %.2g s", grace_s, run->step_s, run->save_s);
        pawl_report_note(run->report, words);
    }
    // What makes an update wait is how fast bytes are taken, not when they are durable.
    const double rate = (double)event->bytes
                        / ((double)(event->written_ns - event->write_start_ns) / 1e9);
    const int64_t foreseen = pawl_saver_stall_ns(run->saver, rate, run->forward_ns);
    if (pawl_saver_ring_bytes(run->saver) >= event->bytes
        || (event->stall_ns < FENCE_TOLD_NS && foreseen < FENCE_TOLD_NS))
        return;
    snprintf(words, sizeof(words), "step %" PRIu64 ": its save kept the update waiting for %.0f "
             "ms; %.0f ms were foreseen with this --host-memory", event->step,
             (double)event->stall_ns / 1e6, (double)foreseen / 1e6);
    pawl_report_note(run->report, words);
}

static void tell_saves(struct train *run)
{
    struct pawl_save_event event;
    uint64_t written, total;

    while (run->saver && pawl_saver_poll(run->saver, &event)) {
        if (event.state == PAWL_SAVE_DURABLE) {
            pawl_signals_durable(event.step);
            tell_durable(run, &event);
        }
        pawl_report_save(run->report, &event);
    }
    if (run->saver && pawl_saver_writing(run->saver, &written, &total))
        pawl_report_saving(run->report, written, total);
}

static double epochs_at(const struct train *run, uint64_t step)
{
    return (double)step * (double)run->settings.batch
           / (double)pawl_data_info(run->data)->samples;
}

// Whether the step just made is one to save after.
static bool due(const struct train *run, uint64_t step, int64_t now_ns)
{
    const struct pawl_every *every = &run->save_every;

    switch (every->kind) {
    case PAWL_EVERY_STEPS: return step % (uint64_t)every->value == 0;
    case PAWL_EVERY_SECONDS: return (double)(now_ns - run->saved_ns) >= every->value * 1e9;
    case PAWL_EVERY_EPOCHS:
        return floor(epochs_at(run, step) / every->value)
               > floor(epochs_at(run, step - 1) / every->value);
    case PAWL_EVERY_NONE: break;
    }
    return false;
}

static void gather(struct train *run, struct pawl_progress *progress)
{
    const bool measured = run->val_step == pawl_trainer_step_number(run->trainer);

    *progress = (struct pawl_progress){ .metadata = run->metadata_json,
                                        .metric = measured ? run->val_loss : (double)NAN };
    pawl_trainer_progress(run->trainer, progress);
}

static void save(struct train *run, uint64_t step)
{
    struct pawl_progress progress;

    gather(run, &progress);
    run->saved_ns = pawl_io()->now_ns();
    // A failure or a skip comes as an event and never stops training.
    if (!pawl_saver_save(run->saver, pawl_trainer_stream(run->trainer), &progress))
        run->saved_step = step, run->has_saved = true;
    tell_saves(run);
}

// The last save, waited for. 0 or the failure.
static int save_last(struct train *run)
{
    struct pawl_progress progress;
    const uint64_t step = pawl_trainer_step_number(run->trainer);
    int rc = 0;

    if (!run->saver) return 0;
    if (run->has_saved && run->saved_step == step)
        rc = pawl_saver_wait(run->saver);
    if (!run->has_saved || run->saved_step != step || rc) {
        gather(run, &progress);
        rc = pawl_saver_save_now(run->saver, pawl_trainer_stream(run->trainer), &progress);
    }
    tell_saves(run);
    return rc;
}

static int validate(struct train *run)
{
    const int64_t start = pawl_io()->now_ns();
    const bool tokens = pawl_data_info(run->val)->kind == PAWL_DATA_TOKENS;
    double accuracy;
    const int rc = pawl_trainer_evaluate(run->trainer, run->val, tokens ? VAL_TOKEN_BATCHES : 0,
                                         &run->val_loss, &accuracy);

    // A signal comes first: the loop looks at it next.
    if (rc == PAWL_EBUSY) return 0;
    run->val_step = pawl_trainer_step_number(run->trainer);
    if (!rc)
        pawl_report_eval(run->report, pawl_trainer_step_number(run->trainer), run->val_loss,
                         accuracy, (double)(pawl_io()->now_ns() - start) / 1e9);
    return rc;
}

// People have read of the failed save already; a reader of events finds the words on stderr too.
static int tell_lost(const struct train *run)
{
    if (run->options->json) fprintf(stderr, "pawl: %s\n", pawl_error());
    return PAWL_EXIT_IO;
}

// Saves what there is and ends so that the same command goes on. why: "TERM", "max-duration".
static int end_early(struct train *run, const char *why, int signal)
{
    const uint64_t step = pawl_trainer_step_number(run->trainer);
    int rc;

    pawl_report_signal(run->report, step, why, run->saver ? "save and exit" : "exit");
    rc = save_last(run);
    if (!run->saver) return signal ? 128 + signal : PAWL_EXIT_DONE;  // nothing to go on from
    return rc ? tell_lost(run) : PAWL_EXIT_AGAIN;
}

static int one_step(struct train *run)
{
    const int64_t start = pawl_io()->now_ns();
    int rc = pawl_trainer_step(run->trainer, run->saver, &run->last);

    if (rc) return rc;
    const uint64_t step = pawl_trainer_step_number(run->trainer);
    const int64_t end = pawl_io()->now_ns();
    run->forward_ns = run->last.update_start_ns - start;
    if ((double)(end - start) / 1e9 > run->step_s) run->step_s = (double)(end - start) / 1e9;
    pawl_report_step(run->report, &(struct pawl_report_step){
        .step = step, .loss = run->last.loss, .rate_lr = run->last.rate,
        .grad_norm = run->last.grad_norm, .start_ns = start, .end_ns = end });
    tell_saves(run);
    const bool epoch_ends = floor(epochs_at(run, step)) > floor(epochs_at(run, step - 1));
    if (run->val && (epoch_ends || step == run->steps)) rc = validate(run);
    if (rc || !run->saver) return rc;
    const bool last = step == run->steps;
    if (!last && !due(run, step, end)) return 0;
    if (!pawl_trainer_finite(run->trainer))
        return pawl_fail(PAWL_ECORRUPT, "after step %" PRIu64 " a weight is nan or infinite; it "
                         "was not saved. try: a smaller --lr, --clip 1", step);
    if (!last) save(run, step);
    return 0;
}

static void tell_finished(const struct train *run)
{
    char words[128];

    snprintf(words, sizeof(words), "already at step %" PRIu64 " of %" PRIu64 ": nothing left to "
             "train. try: a larger --steps or --epochs", run->first_step, run->steps);
    pawl_report_note(run->report, words);
}

int train_loop(struct train *run)
{
    const double limit_s = run->options->max_duration_s;
    int rc = 0;

    if (run->first_step >= run->steps) tell_finished(run);
    while (pawl_trainer_step_number(run->trainer) < run->steps) {
        const int signal = pawl_signals_pending();
        if (signal) return end_early(run, pawl_signal_name(signal), signal);
        if (limit_s > 0 && (double)(pawl_io()->now_ns() - run->start_ns) >= limit_s * 1e9)
            return end_early(run, "max-duration", 0);
        rc = one_step(run);
        if (rc) break;
    }
    if (rc) {
        const int status = pawl_exit_telling(rc);
        if (run->saver) pawl_saver_wait(run->saver);
        tell_saves(run);
        return status;
    }
    rc = save_last(run);
    return rc ? tell_lost(run) : 0;
}
