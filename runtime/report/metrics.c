// metrics.c - figures in Prometheus' text format, for its textfile collector.
//
// The file is replaced as a whole whenever a save ends and at the end, so a scrape never sees half
// of one; its temporary name does not end in .prom, so a scrape never sees that either.

#include <math.h>
#include <stdio.h>

#include "kernels/error.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/report/sink.h"
#include "runtime/report/words.h"

struct metrics {
    const struct pawl_told *told;
    struct pawl_text text;
    int64_t durable_wall_ns;  // 0: none yet
    int rc;                   // of the newest writing
    bool told_failure;
};

static bool wanted(const struct pawl_told *told)
{
    return told->options.metrics;
}

static int open_metrics(void **self, const struct pawl_told *told)
{
    struct metrics *m = NULL;
    int rc = pawl_put_check(told->options.metrics, "metrics");

    if (!rc)
        rc = pawl_alloc(&m, sizeof(*m), "report");
    if (rc)
        return rc;
    m->told = told;
    *self = m;
    return 0;
}

static void head(struct metrics *m, const char *name, const char *type, const char *help)
{
    pawl_text_format(&m->text, "# HELP pawl_%s %s\n# TYPE pawl_%s %s\n", name, help, name, type);
}

static void value(struct metrics *m, const char *name, const char *labels, double number)
{
    pawl_text_format(&m->text, "pawl_%s%s ", name, labels);
    if (isnan(number))
        pawl_text_format(&m->text, "NaN\n");
    else if (isinf(number))
        pawl_text_format(&m->text, number > 0 ? "+Inf\n" : "-Inf\n");
    else
        pawl_text_format(&m->text, "%.17g\n", number);
}

static void gauge(struct metrics *m, const char *name, const char *help, double number)
{
    head(m, name, "gauge", help);
    value(m, name, "", number);
}

// A label's value: \, " and newline as the format has them; anything but UTF-8 becomes '?'.
static void label(struct metrics *m, const char *before, const char *text)
{
    char clean[256];

    pawl_words_clean(clean, sizeof(clean), text ? text : "");
    pawl_text_format(&m->text, "%s\"", before);
    for (const char *c = clean; *c; c++)
        pawl_text_format(&m->text, *c == '\\' || *c == '"' ? "\\%c" : "%c", *c);
    pawl_text_format(&m->text, "\"");
}

static void write_training(struct metrics *m)
{
    const struct pawl_told *t = m->told;

    head(m, "run_info", "gauge", "What runs.");
    label(m, "pawl_run_info{model=", t->start.model);
    label(m, ",device=", t->start.device);
    pawl_text_format(&m->text, "} 1\n");
    gauge(m, "step", "Optimizer updates done.", (double)t->step);
    gauge(m, "last_step", "Where the run will stop.", (double)t->start.last_step);
    gauge(m, "params", "Parameters of the model.", (double)t->start.params);
    gauge(m, "state_bytes", "Size of a snapshot's state.", (double)t->start.state_bytes);
    if (t->last.end_ns) {
        const double seconds = (double)(t->last.end_ns - t->last.start_ns) / 1e9;

        gauge(m, "loss", "Training loss of the newest step.", t->last.loss);
        gauge(m, "learning_rate", "Learning rate of the newest step.", t->last.rate_lr);
        gauge(m, "units_per_second", "Tokens or samples per second of the newest step.",
              t->start.units_per_step / seconds);
    }
    if (t->eval.at_ns)
        gauge(m, "val_loss", "Validation loss.", t->eval.loss);
    if (t->eval.at_ns && !isnan(t->eval.accuracy))
        gauge(m, "val_accuracy", "Validation accuracy, 0 to 1.", t->eval.accuracy);
    if (t->ended)
        gauge(m, "exit_code", "The run's exit code.", t->status);
}

static void write_saves(struct metrics *m)
{
    const struct pawl_history *h = &m->told->history;
    struct pawl_save_summary s;

    pawl_history_summary(h, &s);
    head(m, "step_seconds", "gauge", "Median time of a step, without and beside a save.");
    value(m, "step_seconds", "{beside_save=\"no\"}", s.step_ms_p50 / 1e3);
    value(m, "step_seconds", "{beside_save=\"yes\"}", s.step_ms_p50_while_saving / 1e3);
    head(m, "saves_total", "counter", "Saves by how they ended.");
    value(m, "saves_total", "{state=\"durable\"}", (double)h->durable_count);
    value(m, "saves_total", "{state=\"failed\"}", (double)h->failed_count);
    value(m, "saves_total", "{state=\"skipped\"}", (double)h->skipped_count);
    gauge(m, "save_stall_seconds_p50", "Median time a save held training up.",
          s.stall_ms_p50 / 1e3);
    gauge(m, "save_stall_seconds_max", "Longest time a save held training up.",
          s.stall_ms_max / 1e3);
    gauge(m, "extra_steps_per_save", "Extra time per save, in steps.", s.extra_steps_per_save);
    if (!m->durable_wall_ns)
        return;
    gauge(m, "durable_step", "Newest durable step.", (double)h->newest_durable);
    gauge(m, "durable_timestamp_seconds", "When it became durable, since 1970.",
          (double)m->durable_wall_ns / 1e9);
}

static void write_all(struct metrics *m)
{
    pawl_text_clear(&m->text);
    write_training(m);
    write_saves(m);
    m->rc = pawl_put_file(m->told->options.metrics, &m->text);
    // Monitoring that fails is told once and stops nothing.
    if (m->rc && !m->told_failure)
        fprintf(stderr, "pawl: %s\n", pawl_error());
    if (m->rc)
        m->told_failure = true;
}

static void take(void *self, const struct pawl_fact *fact)
{
    struct metrics *m = self;

    if (fact->kind == PAWL_FACT_SAVE && fact->save->state == PAWL_SAVE_DURABLE)
        m->durable_wall_ns = pawl_io()->wall_ns();
    if ((fact->kind == PAWL_FACT_SAVE && fact->save->state != PAWL_SAVE_TAKEN)
        || fact->kind == PAWL_FACT_START || fact->kind == PAWL_FACT_DONE)
        write_all(m);
}

static int close_metrics(void *self)
{
    struct metrics *m = self;
    const int rc = m->rc ? pawl_fail(m->rc, "%s: the figures of the end are missing there",
                                     m->told->options.metrics)
                         : 0;

    pawl_text_free(&m->text);
    pawl_free(m);
    return rc;
}

const struct pawl_sink_kind pawl_sink_metrics = { "metrics", wanted, open_metrics,
                                                  take,      NULL,   close_metrics };
