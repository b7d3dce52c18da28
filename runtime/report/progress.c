// progress.c - chooses the parts of the progress line that fit.

#include "runtime/report/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/report/words.h"

enum part { PLACE, BAR, LEFT, PACE, LOSS, SAVE, RATE, PARTS };
enum { BAR_LEAST = 4, BAR_MOST = 40 };

// Which parts are given room first.
static const enum part order[] = { PLACE, LOSS, SAVE, LEFT, PACE, BAR, RATE };

static void add_bar(struct pawl_text *out, const struct pawl_progress_facts *f, int columns)
{
    const char *full = f->utf8 ? "\u2501" : "=", *rest = f->utf8 ? "\u2500" : "-";
    const double share = f->last_step ? (double)f->step / (double)f->last_step : 0;
    int filled = (int)(share * columns + 0.5);

    // Full only when it is; something as soon as there is something.
    if (filled >= columns)
        filled = share >= 1 ? columns : columns - 1;
    if (filled < 1 && f->step > 0)
        filled = 1;
    if (f->colour)
        pawl_text_format(out, "\x1b[32m");
    for (int i = 0; i < filled; i++)
        pawl_text_format(out, "%s", full);
    if (f->colour)
        pawl_text_format(out, "\x1b[0;2m");
    for (int i = filled; i < columns; i++)
        pawl_text_format(out, "%s", rest);
    if (f->colour)
        pawl_text_format(out, "\x1b[0m");
}

// Writes each part's text (the bar's stays empty) and counts its columns.
static void write_parts(char text[PARTS][48], int width[PARTS], const struct pawl_progress_facts *f,
                        int columns)
{
    char words[PAWL_WORDS];

    memset(text, 0, PARTS * sizeof(text[0]));
    snprintf(text[PLACE], sizeof(text[0]), f->last_step ? "%llu/%llu" : "%llu",
             (unsigned long long)f->step, (unsigned long long)f->last_step);
    if (!isnan(f->left_s))
        snprintf(text[LEFT], sizeof(text[0]), "%s", pawl_words_time(words, f->left_s));
    if (!isnan(f->step_s))
        snprintf(text[PACE], sizeof(text[0]), "%s/step", pawl_words_span(words, f->step_s));
    if (f->step > 0)
        snprintf(text[LOSS], sizeof(text[0]), "loss %s", pawl_words_loss(words, f->loss));
    if (f->save[0])
        snprintf(text[SAVE], sizeof(text[0]), "%s %s", f->utf8 ? "\u00b7" : "|", f->save);
    if (f->save[0])
        snprintf(text[RATE], sizeof(text[0]), "%s", f->save_rate);
    for (int i = 0; i < PARTS; i++)
        width[i] = pawl_words_columns(text[i]);
    if (f->last_step)
        width[BAR] = BAR_LEAST;
    // Too narrow for the total: the step alone still says that the run moves.
    if (width[PLACE] + 1 + width[LOSS] > columns) {
        snprintf(text[PLACE], sizeof(text[0]), "%llu", (unsigned long long)f->step);
        width[PLACE] = pawl_words_columns(text[PLACE]);
    }
}

void pawl_progress_line(struct pawl_text *out, const struct pawl_progress_facts *f, int columns)
{
    char text[PARTS][48];
    int width[PARTS], used = 0;
    bool chosen[PARTS] = { false };

    if (columns < 1)
        return;
    write_parts(text, width, f, columns);
    for (int i = 0; i < PARTS; i++) {
        const enum part p = order[i];
        const int needed = width[p] + (used ? 1 : 0);

        if (!width[p] || used + needed > columns || (p == RATE && !chosen[SAVE]))
            continue;
        chosen[p] = true;
        used += needed;
    }
    if (!chosen[PLACE]) {  // fewer columns than the step has digits
        pawl_text_format(out, "%.*s", columns, text[PLACE]);
        return;
    }
    const int spare = columns - used,
              stretch = spare < BAR_MOST - BAR_LEAST ? spare : BAR_MOST - BAR_LEAST;
    for (int p = 0, first = 1; p < PARTS; p++) {
        if (!chosen[p])
            continue;
        if (!first)
            pawl_text_format(out, " ");
        first = 0;
        if (p == BAR)
            add_bar(out, f, BAR_LEAST + stretch);
        else
            pawl_text_format(out, "%s", text[p]);
    }
}
