// json.c - one JSON object per line, each written at once; the fields users build on. To stdout for
// --json, and to events.jsonl in the run directory: all events of all attempts, but steps only once
// a second, so that the file stays small.

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/report/sink.h"
#include "runtime/report/words.h"

struct json {
    const struct pawl_told *told;
    struct pawl_text line;  // kept, so that a line allocates nothing once it has grown
    bool broken;            // the output has gone: nothing more is written
    bool log;               // events.jsonl, not stdout: it tells nobody anything on stderr
    int fd;                 // of the log; below 0: not open
    int64_t told_step_ns;   // when the log last had a step
};

enum { LOG_STEPS_NS = 1000000000 };

static bool wanted(const struct pawl_told *told)
{
    return told->options.json;
}

static int open_json(void **self, const struct pawl_told *told)
{
    struct json *j = NULL;
    const int rc = pawl_alloc(&j, sizeof(*j), "report");

    if (rc)
        return rc;
    j->told = told;
    j->fd = STDOUT_FILENO;
    *self = j;
    return 0;
}

static bool log_wanted(const struct pawl_told *told)
{
    return told->options.events;
}

static int open_log(void **self, const struct pawl_told *told)
{
    const int rc = open_json(self, told);
    struct json *j = *self;

    if (rc)
        return rc;
    j->log = true;
    j->fd = -1;  // opened with the first event: the run directory is not there yet
    return 0;
}

// ---- pieces of a line

static void add_name(struct json *j, const char *name)
{
    pawl_text_format(&j->line, ",\"%s\":", name);
}

static void add_real(struct json *j, const char *name, double value)
{
    add_name(j, name);
    pawl_text_number(&j->line, value);
}

static void add_count(struct json *j, const char *name, uint64_t value)
{
    add_name(j, name);
    pawl_text_format(&j->line, "%llu", (unsigned long long)value);
}

// null for NULL and "". What is no UTF-8 (paths may be anything) becomes '?': JSON must be.
static void add_string(struct json *j, const char *name, const char *value)
{
    char clean[4096 + 64];

    add_name(j, name);
    if (!value || !value[0]) {
        pawl_text_format(&j->line, "null");
        return;
    }
    pawl_words_clean(clean, sizeof(clean), value);
    pawl_text_string(&j->line, clean);
}

// Milliseconds from a to b; null while either has not come.
static void add_span(struct json *j, const char *name, int64_t a_ns, int64_t b_ns)
{
    add_real(j, name, a_ns > 0 && b_ns >= a_ns ? (double)(b_ns - a_ns) / 1e6 : NAN);
}

static void begin(struct json *j, const char *event, uint64_t step, int64_t at_ns)
{
    pawl_text_clear(&j->line);
    pawl_text_format(&j->line, "{\"event\":\"%s\",\"step\":%llu", event, (unsigned long long)step);
    add_real(j, "time", pawl_told_seconds(j->told, at_ns));
}

static void end(struct json *j)
{
    pawl_text_format(&j->line, "}\n");
    // Without memory the line is lost, and said to be; the next may fit.
    if (j->line.rc) {
        fprintf(stderr, "pawl: an event is lost: no memory for its line\n");
        pawl_text_free(&j->line);
        return;
    }
    if (j->log && j->fd < 0 && !j->broken)
        j->fd = pawl_io()->open(j->told->options.events, O_WRONLY | O_CREAT | O_APPEND, 0666);
    const int rc = j->broken ? 0
                   : j->fd < 0 ? j->fd
                               : pawl_put(j->fd, j->line.bytes, j->line.size);
    if (!rc)
        return;
    j->broken = true;
    if (j->log)
        return;
    fprintf(stderr, "pawl: standard output: %s; events are dropped from here on, the run goes on\n",
            strerror(-rc));
}

// ---- the events

static void start(struct json *j, const struct pawl_fact *fact)
{
    const struct pawl_report_start *s = &j->told->start;

    begin(j, "start", s->first_step, fact->at_ns);
    add_string(j, "device", s->device);
    add_count(j, "ranks", (uint64_t)s->ranks);
    add_count(j, "params", (uint64_t)s->params);
    add_count(j, "state_bytes", s->state_bytes);
    add_count(j, "host_memory_bytes", s->ring_bytes);
    add_string(j, "io", s->io ? s->io : "");
    add_name(j, "resumed_from");
    if (s->resumed_from < 0)
        pawl_text_format(&j->line, "null");
    else
        pawl_text_format(&j->line, "%lld", (long long)s->resumed_from);
    add_name(j, "skipped");
    if (s->skipped)
        pawl_text_json(&j->line, s->skipped);
    else
        pawl_text_format(&j->line, "[]");
    end(j);
}

static void step(struct json *j, const struct pawl_report_step *s)
{
    const double seconds = (double)(s->end_ns - s->start_ns) / 1e9;

    begin(j, "step", s->step, s->end_ns);
    add_real(j, "loss", s->loss);
    add_real(j, "ms", seconds * 1e3);
    add_real(j, "rate", j->told->start.units_per_step / seconds);
    add_string(j, "unit", j->told->start.unit);
    add_real(j, "lr", s->rate_lr);
    add_real(j, "grad_norm", s->grad_norm);
    end(j);
}

static void eval(struct json *j, const struct pawl_fact *fact)
{
    begin(j, "eval", fact->eval.record.step, fact->at_ns);
    add_real(j, "val_loss", fact->eval.record.loss);
    if (!isnan(fact->eval.record.accuracy))
        add_real(j, "accuracy", fact->eval.record.accuracy);
    add_real(j, "seconds", fact->eval.seconds);
    end(j);
}

static void save(struct json *j, const struct pawl_save_event *e, int64_t at_ns)
{
    static const char *const states[] = {
        [PAWL_SAVE_TAKEN] = "taken",
        [PAWL_SAVE_DURABLE] = "durable",
        [PAWL_SAVE_FAILED] = "failed",
        [PAWL_SAVE_SKIPPED] = "skipped",
    };

    begin(j, "save", e->step, at_ns);
    add_string(j, "state", states[e->state]);
    add_real(j, "stall_ms", (double)e->stall_ns / 1e6);
    add_span(j, "copy_ms", e->copy_start_ns, e->copy_end_ns);
    add_span(j, "write_ms", e->write_start_ns, e->write_end_ns);
    add_count(j, "bytes", e->bytes);
    add_string(j, "path", e->path);
    add_string(j, "error", e->error);
    end(j);
}

static void stop(struct json *j, const struct pawl_fact *fact)
{
    begin(j, "signal", fact->signal.step, fact->at_ns);
    add_string(j, "name", fact->signal.name);
    add_string(j, "action", fact->signal.action);
    end(j);
}

static void done(struct json *j, const struct pawl_fact *fact)
{
    struct pawl_save_summary s;

    pawl_history_summary(&j->told->history, &s);
    begin(j, "done", fact->done.step, fact->at_ns);
    add_count(j, "steps", fact->done.step);
    add_real(j, "loss", fact->done.loss);
    add_real(j, "seconds", fact->done.seconds);
    pawl_text_format(&j->line, ",\"save\":{\"count\":%lld", (long long)s.count);
    add_real(j, "stall_ms_p50", s.stall_ms_p50);
    add_real(j, "stall_ms_max", s.stall_ms_max);
    add_real(j, "step_ms_p50", s.step_ms_p50);
    add_real(j, "step_ms_p50_while_saving", s.step_ms_p50_while_saving);
    add_real(j, "extra_steps_per_save", s.extra_steps_per_save);
    pawl_text_format(&j->line, "}");
    end(j);
}

static void take(void *self, const struct pawl_fact *fact)
{
    struct json *j = self;

    if (j->log && fact->kind == PAWL_FACT_STEP) {
        if (fact->step.end_ns - j->told_step_ns < LOG_STEPS_NS)
            return;
        j->told_step_ns = fact->step.end_ns;
    }
    switch (fact->kind) {
    case PAWL_FACT_START:
        start(j, fact);
        break;
    case PAWL_FACT_STEP:
        step(j, &fact->step);
        break;
    case PAWL_FACT_EVAL:
        eval(j, fact);
        break;
    case PAWL_FACT_SAVE:
        save(j, fact->save, fact->at_ns);
        if (fact->save->state == PAWL_SAVE_FAILED && !j->log)
            fprintf(stderr, "pawl: the save of step %llu failed: %s\n",
                    (unsigned long long)fact->save->step, fact->save->error);
        break;
    case PAWL_FACT_SIGNAL:
        stop(j, fact);
        break;
    case PAWL_FACT_NOTE:
        if (!j->log)
            fprintf(stderr, "pawl: %s\n", fact->note);
        break;
    case PAWL_FACT_DONE:
        done(j, fact);
        break;
    case PAWL_FACT_SAVING:
        break;
    }
}

static int close_json(void *self)
{
    struct json *j = self;

    if (j->log && j->fd >= 0)
        pawl_io()->close(j->fd);
    pawl_text_free(&j->line);
    pawl_free(j);
    return 0;
}

const struct pawl_sink_kind pawl_sink_json = { "json", wanted, open_json, take, NULL, close_json };
const struct pawl_sink_kind pawl_sink_events = {
    "events", log_wanted, open_log, take, NULL, close_json
};
