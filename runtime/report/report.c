// report.c - takes facts from the trainer, and a thread that hands them to the sinks.

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "kernels/thread.h"
#include "runtime/report/queue.h"
#include "runtime/report/sink.h"

enum { TICK_NS = 100000000 };

static const struct pawl_sink_kind *const kinds[] = {
    &pawl_sink_json,    &pawl_sink_terminal, &pawl_sink_plain, &pawl_sink_tensorboard,
    &pawl_sink_metrics, &pawl_sink_html,     &pawl_sink_trace, &pawl_sink_events,
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

struct pawl_report {
    struct pawl_queue *queue;
    struct pawl_told told;  // the report's thread's, between open and close
    void *sinks[KINDS];
    bool open[KINDS];
    pthread_t thread;
    bool running;
};

double pawl_told_seconds(const struct pawl_told *told, int64_t at_ns)
{
    return (double)(at_ns - told->open_ns) / 1e9;
}

// ---- the report's thread

static void end_run(struct pawl_told *told, const struct pawl_fact *fact)
{
    told->ended = true;
    told->step = told->end_step = fact->done.step;
    told->end_loss = fact->done.loss;
    told->end_seconds = fact->done.seconds;
    told->status = fact->done.status;
}

// Keeps the history first, so that sinks see it with the fact in it.
static void remember(struct pawl_told *told, const struct pawl_fact *fact)
{
    switch (fact->kind) {
    case PAWL_FACT_START:
        told->started = true;
        told->step = told->start.first_step;
        break;
    case PAWL_FACT_STEP:
        told->last = fact->step;
        told->step = fact->step.step;
        pawl_history_step(&told->history, &fact->step);
        break;
    case PAWL_FACT_EVAL:
        told->eval = fact->eval.record;
        pawl_history_eval(&told->history, &fact->eval.record, fact->eval.seconds);
        break;
    case PAWL_FACT_SAVE:
        pawl_history_save(&told->history, fact->save);
        break;
    case PAWL_FACT_DONE:
        end_run(told, fact);
        break;
    case PAWL_FACT_SAVING:
    case PAWL_FACT_SIGNAL:
    case PAWL_FACT_NOTE:
        break;
    }
}

static void *serve(void *argument)
{
    struct pawl_report *r = argument;
    bool ended = false;

    pawl_thread_name("pawl-report");
    while (!ended) {
        const struct pawl_fact *fact = pawl_queue_take(r->queue, TICK_NS, &ended);

        if (fact)
            remember(&r->told, fact);
        for (int i = 0; i < KINDS; i++) {
            if (!r->open[i])
                continue;
            if (fact)
                kinds[i]->take(r->sinks[i], fact);
            else if (!ended && kinds[i]->tick)
                kinds[i]->tick(r->sinks[i], pawl_io()->now_ns());
        }
        if (fact)
            pawl_queue_release(r->queue);
    }
    return NULL;
}

// ---- open and close

static int copy_text(const char **text)
{
    char *copy = NULL;
    const int rc = *text ? pawl_strdup(&copy, *text) : 0;

    *text = copy;
    return rc;
}

static void free_texts(struct pawl_told *told)
{
    const char *const texts[] = { told->options.html,        told->options.trace,
                                  told->options.tensorboard, told->options.metrics,
                                  told->start.device,        told->start.device_words,
                                  told->start.model,         told->start.data,
                                  told->start.unit,          told->start.io };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        pawl_free((void *)(uintptr_t)texts[i]);
}

static int copy_options(struct pawl_told *told, const struct pawl_report_options *options)
{
    struct pawl_report_options *o = &told->options;
    int rc, first = 0;

    *o = *options;
    const char **const texts[] = { &o->html, &o->trace, &o->tensorboard, &o->metrics };
    // All are copied or made NULL, so that free_texts never meets the caller's.
    for (int i = 0; i < 4; i++)
        if ((rc = copy_text(texts[i])) && !first)
            first = rc;
    return first;
}

static int open_sinks(struct pawl_report *r)
{
    for (int i = 0; i < KINDS; i++) {
        if (!kinds[i]->wanted(&r->told))
            continue;
        const int rc = kinds[i]->open(&r->sinks[i], &r->told);
        if (rc)
            return rc;
        r->open[i] = true;
    }
    return 0;
}

int pawl_report_open(struct pawl_report **out, const struct pawl_report_options *options)
{
    struct pawl_report *r = NULL;
    int rc = pawl_alloc(&r, sizeof(*r), "report");

    if (rc)
        return rc;
    r->told.open_ns = pawl_io()->now_ns();
    r->told.open_wall_ns = pawl_io()->wall_ns();
    fflush(stdout);  // from here on sinks write to the descriptor
    const char *term = getenv("TERM");
    r->told.terminal = isatty(STDOUT_FILENO) && term && term[0] && strcmp(term, "dumb");
    if ((rc = copy_options(&r->told, options)))
        goto out;
    if ((rc = pawl_history_open(&r->told.history, options->trace != NULL)))
        goto out;
    if ((rc = pawl_queue_open(&r->queue, options->json)))
        goto out;
    if ((rc = open_sinks(r)))
        goto out;
    const int failed = pthread_create(&r->thread, NULL, serve, r);
    if (failed) {
        rc = pawl_fail(PAWL_ENOMEM, "report: no thread: %s", strerror(failed));
        goto out;
    }
    r->running = true;
    *out = r;
out:
    if (rc)
        pawl_report_close(r);
    return rc;
}

int pawl_report_close(struct pawl_report *r)
{
    int rc, first = 0;

    if (!r)
        return 0;
    if (r->running) {
        pawl_queue_end(r->queue);
        pthread_join(r->thread, NULL);
    }
    for (int i = 0; i < KINDS; i++)
        if (r->open[i] && (rc = kinds[i]->close(r->sinks[i])) && !first)
            first = rc;
    pawl_queue_close(r->queue);
    pawl_history_close(&r->told.history);
    free_texts(&r->told);
    pawl_free(r);
    return first;
}

// ---- facts

static void put(struct pawl_report *r, struct pawl_fact *fact)
{
    fact->at_ns = pawl_io()->now_ns();
    pawl_queue_put(r->queue, fact, NULL, NULL);
}

void pawl_report_start(struct pawl_report *r, const struct pawl_report_start *facts)
{
    // The thread reads these only after the fact below, which the queue's mutex puts in order.
    struct pawl_report_start *s = &r->told.start;

    *s = *facts;
    // Out of memory leaves a text out of what is told.
    copy_text(&s->device);
    copy_text(&s->device_words);
    copy_text(&s->io);
    copy_text(&s->model);
    copy_text(&s->data);
    copy_text(&s->unit);
    put(r, &(struct pawl_fact){ .kind = PAWL_FACT_START });
    pawl_queue_drain(r->queue);  // `skipped` is borrowed
    s->skipped = NULL;
}

void pawl_report_step(struct pawl_report *r, const struct pawl_report_step *facts)
{
    put(r, &(struct pawl_fact){ .kind = PAWL_FACT_STEP, .step = *facts });
}

void pawl_report_eval(struct pawl_report *r, uint64_t step, double val_loss, double accuracy,
                      double seconds)
{
    struct pawl_fact fact = { .kind = PAWL_FACT_EVAL };

    fact.eval.record = (struct pawl_eval_record){ step, pawl_io()->now_ns(), val_loss, accuracy };
    fact.eval.seconds = seconds;
    put(r, &fact);
}

void pawl_report_save(struct pawl_report *r, const struct pawl_save_event *event)
{
    const struct pawl_fact fact = { .kind = PAWL_FACT_SAVE, .at_ns = pawl_io()->now_ns() };

    pawl_queue_put(r->queue, &fact, event, NULL);
}

void pawl_report_saving(struct pawl_report *r, uint64_t written_bytes, uint64_t total_bytes)
{
    struct pawl_fact fact = { .kind = PAWL_FACT_SAVING };

    // Only the progress line looks at it; elsewhere it would only fill the queue.
    if (!r->told.terminal)
        return;
    fact.saving.written = written_bytes;
    fact.saving.total = total_bytes;
    put(r, &fact);
}

void pawl_report_signal(struct pawl_report *r, uint64_t step, const char *name, const char *action)
{
    struct pawl_fact fact = { .kind = PAWL_FACT_SIGNAL };

    fact.signal.step = step;
    snprintf(fact.signal.name, sizeof(fact.signal.name), "%s", name);
    snprintf(fact.signal.action, sizeof(fact.signal.action), "%s", action);
    put(r, &fact);
}

void pawl_report_note(struct pawl_report *r, const char *words)
{
    const struct pawl_fact fact = { .kind = PAWL_FACT_NOTE, .at_ns = pawl_io()->now_ns() };

    pawl_queue_put(r->queue, &fact, NULL, words);
}

void pawl_report_done(struct pawl_report *r, uint64_t step, double loss, double seconds, int status)
{
    struct pawl_fact fact = { .kind = PAWL_FACT_DONE };

    fact.done.step = step;
    fact.done.loss = loss;
    fact.done.seconds = seconds;
    fact.done.status = status;
    put(r, &fact);
    pawl_queue_drain(r->queue);
}

// ---- writing

int pawl_put(int fd, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = write(fd, bytes + done, size - done);

        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (n < 0 && errno == EAGAIN)
            usleep(1000);  // someone made the pipe non-blocking
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

int pawl_put_file(const char *path, struct pawl_text *text)
{
    char *bytes = NULL;
    size_t size = 0;
    int rc = pawl_text_take(text, &bytes, &size);

    if (rc)
        return rc;
    rc = pawl_io_write_file(path, bytes, size, true);
    pawl_free(bytes);
    if (rc)
        return pawl_fail(PAWL_EIO, "%s: cannot be written: %s", path, strerror(-rc));
    return 0;
}

int pawl_put_check(const char *path, const char *flag)
{
    char directory[4096];
    const char *slash = strrchr(path, '/');
    struct stat of;
    int rc;

    if (!pawl_io()->lstat(path, &of) && S_ISDIR(of.st_mode))
        return pawl_fail(PAWL_EIO, "%s: is a directory; --%s names a file. try: %s/run", path, flag,
                         path);
    snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    const int fd = pawl_io()->open(directory, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return pawl_fail(PAWL_EIO, "%s: cannot be made: %s. try: mkdir -p %s", path, strerror(-fd),
                         directory);
    rc = pawl_io()->close(fd);
    return rc ? pawl_fail(PAWL_EIO, "%s: %s", directory, strerror(-rc)) : 0;
}
