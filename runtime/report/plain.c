// plain.c - lines for people where a line cannot be redrawn: files, pipes, TERM=dumb.

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "runtime/report/sink.h"
#include "runtime/report/words.h"

enum { COLUMNS = 80, PACE_NS = 1000000000 };

struct plain {
    const struct pawl_told *told;
    struct pawl_text text;
    int64_t step_ns, save_ns;    // when the last line of its kind was written
    struct pawl_fact unwritten;  // the newest step, when it has no line yet (kind DONE: it has)
    bool broken;
};

static bool wanted(const struct pawl_told *told)
{
    return !told->options.json && !told->terminal;
}

static int open_plain(void **self, const struct pawl_told *told)
{
    struct plain *p = NULL;
    const int rc = pawl_alloc(&p, sizeof(*p), "report");

    if (rc)
        return rc;
    p->told = told;
    p->unwritten.kind = PAWL_FACT_DONE;
    *self = p;
    return 0;
}

// Writes the text gathered so far to fd and forgets it.
static void flush(struct plain *p, int fd)
{
    int rc = 0;

    if (!p->text.rc && p->text.size && !(p->broken && fd == STDOUT_FILENO))
        rc = pawl_put(fd, p->text.bytes, p->text.size);
    if (rc && fd == STDOUT_FILENO) {
        p->broken = true;
        fprintf(stderr, "pawl: standard output: %s; the run goes on\n", strerror(-rc));
    }
    if (p->text.rc)
        pawl_text_free(&p->text);
    pawl_text_clear(&p->text);
}

static void write_line(struct plain *p, const struct pawl_fact *fact, int fd)
{
    if (fd == STDERR_FILENO && fact->kind == PAWL_FACT_SAVE)
        pawl_text_format(&p->text, "pawl: ");
    pawl_line(&p->text, p->told, fact);
    pawl_text_format(&p->text, "\n");
    flush(p, fd);
}

static void step(struct plain *p, const struct pawl_fact *fact)
{
    const int64_t every = p->told->options.log_every;
    const uint64_t n = fact->step.step;

    if (p->told->options.quiet)
        return;
    if (every ? n % (uint64_t)every && n != p->told->start.last_step
              : p->step_ns && fact->at_ns - p->step_ns < PACE_NS) {
        p->unwritten = *fact;
        return;
    }
    p->unwritten.kind = PAWL_FACT_DONE;
    p->step_ns = fact->at_ns;
    write_line(p, fact, STDOUT_FILENO);
}

static void save(struct plain *p, const struct pawl_fact *fact)
{
    const enum pawl_save_state state = fact->save->state;

    if (state == PAWL_SAVE_FAILED) {
        write_line(p, fact, STDERR_FILENO);
    } else if (state != PAWL_SAVE_TAKEN && !p->told->options.quiet) {
        // Saves that come thicker than lines are counted in the end's verdict.
        if (p->save_ns && fact->at_ns - p->save_ns < PACE_NS)
            return;
        p->save_ns = fact->at_ns;
        write_line(p, fact, STDOUT_FILENO);
    }
}

static void done(struct plain *p, const struct pawl_fact *fact)
{
    const struct pawl_lanes_look look = { COLUMNS, pawl_words_utf8(), false };

    if (p->unwritten.kind == PAWL_FACT_STEP)
        write_line(p, &p->unwritten, STDOUT_FILENO);
    write_line(p, fact, STDOUT_FILENO);
    if (!p->told->options.quiet)
        pawl_lanes(&p->text, p->told, &look);
    pawl_verdict(&p->text, p->told, COLUMNS);
    flush(p, STDOUT_FILENO);
}

static void take(void *self, const struct pawl_fact *fact)
{
    struct plain *p = self;

    switch (fact->kind) {
    case PAWL_FACT_STEP:
        step(p, fact);
        break;
    case PAWL_FACT_SAVE:
        save(p, fact);
        break;
    case PAWL_FACT_NOTE:
        write_line(p, fact, STDERR_FILENO);
        break;
    case PAWL_FACT_DONE:
        done(p, fact);
        break;
    case PAWL_FACT_START:
    case PAWL_FACT_EVAL:
        if (!p->told->options.quiet)
            write_line(p, fact, STDOUT_FILENO);
        break;
    case PAWL_FACT_SIGNAL:
        write_line(p, fact, STDOUT_FILENO);
        break;
    case PAWL_FACT_SAVING:
        break;
    }
}

static int close_plain(void *self)
{
    struct plain *p = self;

    pawl_text_free(&p->text);
    pawl_free(p);
    return 0;
}

const struct pawl_sink_kind pawl_sink_plain = {
    "plain", wanted, open_plain, take, NULL, close_plain
};
