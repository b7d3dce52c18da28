// terminal.c - a progress line that is redrawn in place, and lines above it.
//
// Each change is one write: back to the line's start, the new text over the old, the rest of the
// line cleared. Nothing is cleared first, so nothing flickers; the cursor is never hidden and no
// mode is changed, so there is nothing to restore however the process ends. The line stays one
// column short of the width, where terminals begin to wrap.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "runtime/report/progress.h"
#include "runtime/report/sink.h"
#include "runtime/report/words.h"

static const int64_t draw_ns = 100000000;    // ten frames a second
static const int64_t line_ns = 2000000000;   // saves' own lines come no thicker
static const int64_t shown_ns = 3000000000;  // how long "saved 1200" stays in the line

struct terminal {
    const struct pawl_told *told;
    struct pawl_text text;
    struct pawl_progress_facts facts;
    double period_s, step_s;  // of the latest steps
    int64_t last_end_ns, drawn_ns, save_line_ns;
    int drawn_columns;  // of the line on the screen; 0: none
    uint64_t saving_step, written, total;
    int64_t asked_ns, write_start_ns, shown_until_ns;  // asked 0: no save on its way
    bool broken;
};

static bool wanted(const struct pawl_told *told)
{
    return !told->options.json && told->terminal;
}

static int open_terminal(void **self, const struct pawl_told *told)
{
    struct terminal *t = NULL;
    const char *no_colour = getenv("NO_COLOR");
    const int rc = pawl_alloc(&t, sizeof(*t), "report");

    if (rc)
        return rc;
    t->told = told;
    t->facts.utf8 = pawl_words_utf8();
    t->facts.colour = !no_colour || !no_colour[0];
    t->facts.loss = t->facts.step_s = t->facts.left_s = NAN;
    *self = t;
    return 0;
}

static int width(void)
{
    struct winsize size;

    // Asked before each frame, which follows a change of size without a signal's help.
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
        return 80;
    return size.ws_col;
}

static void flush(struct terminal *t)
{
    if (!t->text.rc && !t->broken && t->text.size
        && pawl_put(STDOUT_FILENO, t->text.bytes, t->text.size))
        t->broken = true;  // the terminal hung up; the run goes on
    if (t->text.rc)
        pawl_text_free(&t->text);
    pawl_text_clear(&t->text);
}

// Columns of a text with colours: escape sequences here are ESC [ ... m and ESC [ K.
static int visible(const char *text)
{
    int columns = 0;

    for (; *text; text++) {
        if (*text == '\x1b') {
            text += strcspn(text, "mK");
            if (!*text)
                break;
        } else {
            columns += ((unsigned char)*text & 0xc0) != 0x80;
        }
    }
    return columns;
}

// To the start of what stands there. A terminal that became narrower has wrapped the old line into
// several rows: the cursor is in the last of them.
static void begin(struct terminal *t, int columns)
{
    const int rows_up = t->drawn_columns > columns ? (t->drawn_columns - 1) / columns : 0;

    pawl_text_format(&t->text, "\r");
    if (rows_up)
        pawl_text_format(&t->text, "\x1b[%dA\x1b[J", rows_up);
}

static void save_facts(struct terminal *t, int64_t now_ns)
{
    struct pawl_progress_facts *f = &t->facts;
    char words[PAWL_WORDS];

    f->save[0] = f->save_rate[0] = '\0';
    if (!t->asked_ns) {
        if (now_ns < t->shown_until_ns)
            snprintf(f->save, sizeof(f->save), "saved %llu", (unsigned long long)t->saving_step);
        return;
    }
    const double seconds =
        (double)(now_ns - (t->write_start_ns ? t->write_start_ns : t->asked_ns)) / 1e9;
    if (!t->total) {
        snprintf(f->save, sizeof(f->save), "saving %s", pawl_words_time(words, seconds));
        return;
    }
    snprintf(f->save, sizeof(f->save), "save %.0f%%",
             fmin(floor((double)t->written * 100 / (double)t->total), 100));
    if (seconds > 0.05 && t->written)
        snprintf(f->save_rate, sizeof(f->save_rate), "%.12s/s",
                 pawl_words_bytes(words, (double)t->written / seconds));
}

static void draw(struct terminal *t, int64_t now_ns)
{
    struct pawl_progress_facts *f = &t->facts;
    const int columns = width();
    const size_t before = t->text.size;

    if (t->told->options.quiet || !t->told->started || t->told->ended) {
        flush(t);
        return;
    }
    f->step = t->told->step;
    f->last_step = t->told->start.last_step;
    f->loss = t->told->last.end_ns ? t->told->last.loss : NAN;
    f->step_s = t->last_end_ns ? t->step_s : NAN;
    f->left_s = t->last_end_ns && f->last_step >= f->step
                    ? (double)(f->last_step - f->step) * t->period_s
                    : NAN;
    save_facts(t, now_ns);
    if (!before)
        begin(t, columns);
    const size_t start = t->text.size;
    pawl_progress_line(&t->text, f, columns - 1);
    t->drawn_columns = t->text.rc ? 0 : visible(t->text.bytes + start);
    pawl_text_format(&t->text, "\x1b[K");
    t->drawn_ns = now_ns;
    flush(t);
}

// The fact's words, broken between words where the terminal would break within one.
static void add_line(struct terminal *t, const struct pawl_fact *fact, int columns)
{
    struct pawl_text words = { 0 };

    pawl_line(&words, t->told, fact);
    if (!words.rc)
        pawl_wrap(&t->text, words.bytes, columns - 1);
    pawl_text_free(&words);
}

// A line that stays, above the progress line, which is drawn again below it.
static void line(struct terminal *t, const struct pawl_fact *fact, int fd)
{
    const int columns = width();

    begin(t, columns);
    pawl_text_format(&t->text, "\x1b[K");
    t->drawn_columns = 0;
    if (fd == STDERR_FILENO) {
        // The cursor is at the start of an empty line now; whether stderr is this terminal or a
        // file, the words come whole.
        flush(t);
        if (fact->kind == PAWL_FACT_SAVE)
            pawl_text_format(&t->text, "pawl: ");
        pawl_line(&t->text, t->told, fact);
        if (!t->text.rc)
            dprintf(STDERR_FILENO, "%s\n", t->text.bytes);
        pawl_text_clear(&t->text);
        draw(t, fact->at_ns);
        return;
    }
    add_line(t, fact, columns);
    draw(t, fact->at_ns);
}

static void step(struct terminal *t, const struct pawl_fact *fact)
{
    const struct pawl_report_step *s = &fact->step;
    const double seconds = (double)(s->end_ns - s->start_ns) / 1e9;
    const double period = t->last_end_ns ? (double)(s->end_ns - t->last_end_ns) / 1e9 : seconds;
    const double weight = t->last_end_ns ? 0.1 : 1;
    const int64_t every = t->told->options.log_every;

    t->step_s += weight * (seconds - t->step_s);
    t->period_s += weight * (period - t->period_s);
    t->last_end_ns = s->end_ns;
    if (every && s->step % (uint64_t)every == 0 && !t->told->options.quiet)
        line(t, fact, STDOUT_FILENO);
    else if (fact->at_ns - t->drawn_ns >= draw_ns)
        draw(t, fact->at_ns);
}

static void save(struct terminal *t, const struct pawl_fact *fact)
{
    const struct pawl_save_event *e = fact->save;

    if (e->state == PAWL_SAVE_FAILED) {
        t->asked_ns = 0;
        line(t, fact, STDERR_FILENO);
        return;
    }
    if (e->state == PAWL_SAVE_TAKEN) {
        t->asked_ns = e->asked_ns;
        t->write_start_ns = e->write_start_ns;
        t->written = t->total = 0;
        t->saving_step = e->step;
    } else if (e->state == PAWL_SAVE_DURABLE) {
        t->asked_ns = 0;
        t->saving_step = e->step;
        t->shown_until_ns = fact->at_ns + shown_ns;
    }
    if (e->state == PAWL_SAVE_TAKEN || t->told->options.quiet
        || (t->save_line_ns && fact->at_ns - t->save_line_ns < line_ns))
        return;
    t->save_line_ns = fact->at_ns;
    line(t, fact, STDOUT_FILENO);
}

static void done(struct terminal *t, const struct pawl_fact *fact)
{
    const int columns = width();
    const struct pawl_lanes_look look = { columns, t->facts.utf8, t->facts.colour };

    begin(t, columns);
    pawl_text_format(&t->text, "\x1b[K");
    t->drawn_columns = 0;
    add_line(t, fact, columns);
    if (!t->told->options.quiet)
        pawl_lanes(&t->text, t->told, &look);
    pawl_verdict(&t->text, t->told, columns);
    flush(t);
}

static void take(void *self, const struct pawl_fact *fact)
{
    struct terminal *t = self;

    switch (fact->kind) {
    case PAWL_FACT_STEP:
        step(t, fact);
        break;
    case PAWL_FACT_SAVE:
        save(t, fact);
        break;
    case PAWL_FACT_SAVING:
        t->written = fact->saving.written;
        t->total = fact->saving.total;
        if (!t->write_start_ns)
            t->write_start_ns = fact->at_ns;
        break;
    case PAWL_FACT_NOTE:
        line(t, fact, STDERR_FILENO);
        break;
    case PAWL_FACT_DONE:
        done(t, fact);
        break;
    case PAWL_FACT_START:
    case PAWL_FACT_EVAL:
        if (!t->told->options.quiet)
            line(t, fact, STDOUT_FILENO);
        break;
    case PAWL_FACT_SIGNAL:
        line(t, fact, STDOUT_FILENO);
        break;
    }
}

static void tick(void *self, int64_t now_ns)
{
    struct terminal *t = self;

    // Long steps: the clock of a save and a change of the width still show, once a second.
    if (t->drawn_columns && now_ns - t->drawn_ns >= (t->asked_ns ? draw_ns : 10 * draw_ns))
        draw(t, now_ns);
}

static int close_terminal(void *self)
{
    struct terminal *t = self;

    // The run ended without a last word: leave the line as it is and the cursor below it.
    if (t->drawn_columns) {
        pawl_text_format(&t->text, "\n");
        flush(t);
    }
    pawl_text_free(&t->text);
    pawl_free(t);
    return 0;
}

const struct pawl_sink_kind pawl_sink_terminal = { "terminal", wanted, open_terminal,
                                                   take,       tick,   close_terminal };
