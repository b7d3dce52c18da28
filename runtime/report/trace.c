// trace.c - the run as Chrome trace events, for ui.perfetto.dev and chrome://tracing.
//
// Times in microseconds since the report was opened. One thread per lane; steps of the far past
// come joined, as the history keeps them.

#include <math.h>
#include <stdio.h>

#include "kernels/memory.h"
#include "runtime/report/sink.h"

enum { COMPUTE = 1, COPY, PERSIST };

struct trace {
    const struct pawl_told *told;
};

static bool wanted(const struct pawl_told *told)
{
    return told->options.trace;
}

static int open_trace(void **self, const struct pawl_told *told)
{
    struct trace *t = NULL;
    int rc = pawl_put_check(told->options.trace, "trace");

    if (!rc)
        rc = pawl_alloc(&t, sizeof(*t), "report");
    if (rc)
        return rc;
    t->told = told;
    *self = t;
    return 0;
}

static void take(void *self, const struct pawl_fact *fact)
{
    (void)self;
    (void)fact;  // the history remembers
}

static double us(const struct pawl_told *told, int64_t at_ns)
{
    return (double)(at_ns - told->open_ns) / 1e3;
}

static void begin(struct pawl_text *out, const char *name, int lane, const char *phase)
{
    pawl_text_format(out, ",\n{\"pid\":1,\"tid\":%d,\"ph\":\"%s\",\"name\":\"%s\"", lane, phase,
                     name);
}

static void add_span(struct pawl_text *out, const struct pawl_told *told, int64_t from_ns,
                     int64_t to_ns)
{
    pawl_text_format(out, ",\"ts\":%.3f,\"dur\":%.3f", us(told, from_ns),
                     (double)(to_ns - from_ns) / 1e3);
}

static void add_steps(struct pawl_text *out, const struct pawl_told *told)
{
    for (int64_t i = 0; i < told->history.bucket_count; i++) {
        const struct pawl_bucket *b = &told->history.buckets[i];
        char name[64];

        if (b->steps == 1)
            snprintf(name, sizeof(name), "step %llu", (unsigned long long)b->first_step);
        else
            snprintf(name, sizeof(name), "steps %llu to %llu", (unsigned long long)b->first_step,
                     (unsigned long long)b->first_step + (unsigned long long)b->steps - 1);
        begin(out, name, COMPUTE, "X");
        add_span(out, told, b->start_ns, b->end_ns);
        pawl_text_format(out, ",\"args\":{\"loss\":");
        pawl_text_number(out, b->loss);
        pawl_text_format(out, ",\"lr\":");
        pawl_text_number(out, b->lr);
        pawl_text_format(out, "}}");
        if (!isfinite(b->loss))
            continue;
        begin(out, "loss", COMPUTE, "C");
        pawl_text_format(out, ",\"ts\":%.3f,\"args\":{\"loss\":", us(told, b->end_ns));
        pawl_text_number(out, b->loss);
        pawl_text_format(out, "}}");
    }
}

static void add_save(struct pawl_text *out, const struct pawl_told *told,
                     const struct pawl_save_record *s)
{
    static const char *const states[] = { "taken", "durable", "failed", "skipped" };
    char name[64];

    if (s->state == PAWL_SAVE_SKIPPED) {
        snprintf(name, sizeof(name), "save of step %llu skipped", (unsigned long long)s->step);
        begin(out, name, PERSIST, "i");
        pawl_text_format(out, ",\"ts\":%.3f,\"s\":\"t\"}", us(told, s->asked_ns));
        return;
    }
    for (int lane = COPY; lane <= PERSIST; lane++) {
        const int64_t from = lane == COPY ? s->copy_start_ns : s->write_start_ns;
        const int64_t to = lane == COPY ? s->copy_end_ns : s->write_end_ns;

        if (from <= 0 || to < from)
            continue;
        snprintf(name, sizeof(name), "%s step %llu", lane == COPY ? "copy" : "persist",
                 (unsigned long long)s->step);
        begin(out, name, lane, "X");
        add_span(out, told, from, to);
        pawl_text_format(out, ",\"args\":{\"bytes\":%llu,\"state\":\"%s\",\"stall_ms\":%.6f}}",
                         (unsigned long long)s->bytes, states[s->state], (double)s->stall_ns / 1e6);
    }
    begin(out, "save asked for", COMPUTE, "i");
    pawl_text_format(out, ",\"ts\":%.3f,\"s\":\"t\",\"args\":{\"step\":%llu}}",
                     us(told, s->asked_ns), (unsigned long long)s->step);
}

static int close_trace(void *self)
{
    struct trace *t = self;
    const struct pawl_history *h = &t->told->history;
    struct pawl_text out = { 0 };
    static const char *const lanes[] = { "compute", "copy", "persist" };
    int rc;

    pawl_text_format(&out, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
                           "{\"pid\":1,\"ph\":\"M\",\"name\":\"process_name\",\"args\":{\"name\":"
                           "\"pawl\"}}");
    for (int lane = COMPUTE; lane <= PERSIST; lane++) {
        begin(&out, "thread_name", lane, "M");
        pawl_text_format(&out, ",\"args\":{\"name\":\"%s\"}}", lanes[lane - COMPUTE]);
    }
    add_steps(&out, t->told);
    for (int64_t i = 0; i < pawl_history_saves(h); i++)
        add_save(&out, t->told, pawl_history_save_at(h, i));
    pawl_text_format(&out, "\n]}\n");
    rc = pawl_put_file(t->told->options.trace, &out);
    pawl_free(t);
    return rc;
}

const struct pawl_sink_kind pawl_sink_trace = {
    "trace", wanted, open_trace, take, NULL, close_trace
};
