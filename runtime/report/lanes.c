// lanes.c - the picture of compute, copy and persist over time, and the verdict in words.
//
//     compute ████▓▓▓▓████▓▓▓▓████▓▓▓▓████▓▓▓▓████▓▓▓▓    steps, in turn full and shaded
//     copy            ▅█▂                                 the host copy being made
//     persist            ██████████████                   written, synced, committed
//             0      ^                ^           0.84s   asked for, durable
//
// A column is a stretch of time; how full it is says how much of it the lane was busy.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/report/sink.h"
#include "runtime/report/words.h"

enum lane { COMPUTE, COPY, PERSIST, LANES };
enum { COLUMNS_MAX = 200, NARROW = 40 };

// ---- what to show

static bool worth_showing(const struct pawl_history *h, const struct pawl_save_record *save)
{
    return save->state == PAWL_SAVE_DURABLE && save->followed && save->end_ns > save->asked_ns
           && pawl_history_recent(h) > 0
           && pawl_history_recent_step(h, 0)->start_ns <= save->asked_ns;
}

void pawl_lanes_window(const struct pawl_history *h, int64_t *from_ns, int64_t *to_ns,
                       const struct pawl_save_record **save)
{
    int64_t end_ns = h->last_end_ns;

    *save = NULL;
    *from_ns = h->bucket_count ? h->buckets[0].start_ns : 0;
    for (int64_t i = pawl_history_saves(h) - 1; i >= 0; i--) {
        const struct pawl_save_record *one = pawl_history_save_at(h, i);

        if (one->end_ns > end_ns)
            end_ns = one->end_ns;
        // The newest that training went on beside: the last save of a run stands alone.
        if (!*save && worth_showing(h, one))
            *save = one;
    }
    *to_ns = end_ns;
    if (!*save)
        return;
    // Half as much again on either side, and not less than three steps.
    const struct pawl_recent_step *step = pawl_history_recent_step(h, pawl_history_recent(h) - 1);
    int64_t margin_ns = ((*save)->end_ns - (*save)->asked_ns) / 2;
    if (margin_ns < 3 * (step->end_ns - step->before_ns))
        margin_ns = 3 * (step->end_ns - step->before_ns);
    if ((*save)->asked_ns - margin_ns > *from_ns)
        *from_ns = (*save)->asked_ns - margin_ns;
    if ((*save)->end_ns + margin_ns < *to_ns)
        *to_ns = (*save)->end_ns + margin_ns;
}

// ---- how busy a lane was in a column

static double overlap(int64_t a_ns, int64_t b_ns, int64_t from_ns, int64_t to_ns)
{
    const int64_t start = a_ns > from_ns ? a_ns : from_ns, end = b_ns < to_ns ? b_ns : to_ns;

    return end > start ? (double)(end - start) : 0;
}

// Share of [from, to) that steps took; *odd: whether the step in its middle has an odd number.
static double compute_share(const struct pawl_history *h, int64_t from_ns, int64_t to_ns, bool *odd)
{
    const int64_t middle_ns = from_ns + (to_ns - from_ns) / 2;
    double busy = 0;

    *odd = false;
    // Before the recent steps only buckets are left, of which the busy share is known.
    const int64_t recent = pawl_history_recent(h);
    const int64_t first_ns = recent ? pawl_history_recent_step(h, 0)->start_ns : INT64_MAX;
    for (int64_t i = 0; from_ns < first_ns && i < h->bucket_count; i++) {
        const struct pawl_bucket *b = &h->buckets[i];
        const int64_t end_ns = b->end_ns < first_ns ? b->end_ns : first_ns;

        if (b->end_ns > b->start_ns)
            busy += overlap(b->start_ns, end_ns, from_ns, to_ns) * (double)b->busy_ns
                    / (double)(b->end_ns - b->start_ns);
    }
    for (int64_t i = 0; i < recent; i++) {
        const struct pawl_recent_step *s = pawl_history_recent_step(h, i);

        busy += overlap(s->start_ns, s->end_ns, from_ns, to_ns);
        // A step shorter than two columns cannot be told apart from the next.
        if (s->start_ns <= middle_ns && middle_ns < s->end_ns
            && s->end_ns - s->start_ns >= 2 * (to_ns - from_ns))
            *odd = s->step % 2;
    }
    return busy / (double)(to_ns - from_ns);
}

static double save_share(const struct pawl_history *h, enum lane lane, int64_t from_ns,
                         int64_t to_ns)
{
    double busy = 0;

    for (int64_t i = 0; i < pawl_history_saves(h); i++) {
        const struct pawl_save_record *s = pawl_history_save_at(h, i);
        const int64_t start = lane == COPY ? s->copy_start_ns : s->write_start_ns;
        const int64_t end = lane == COPY ? s->copy_end_ns : s->write_end_ns;

        if (start > 0)
            busy += overlap(start, end > 0 ? end : h->last_end_ns, from_ns, to_ns);
    }
    return fmin(busy / (double)(to_ns - from_ns), 1);
}

// ---- drawing

static const char *glyph(double share, bool odd, bool utf8)
{
    static const char *const eighths[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };

    if (share <= 0)
        return " ";
    if (share > 0.93)
        return utf8 ? (odd ? "▓" : "█") : odd ? "=" : "#";
    if (!utf8)
        return share < 0.5 ? "." : "-";
    const int n = (int)lround(share * 8);
    return eighths[n < 1 ? 1 : n > 7 ? 7 : n];
}

struct picture {
    const struct pawl_history *history;
    int64_t from_ns, to_ns;
    int columns, label;
};

static int64_t column_ns(const struct picture *p, int column)
{
    return p->from_ns + (p->to_ns - p->from_ns) * column / p->columns;
}

static void add_lane(struct pawl_text *out, const struct picture *p, enum lane lane,
                     const struct pawl_lanes_look *look)
{
    static const char *const names[] = { "compute", "copy", "persist" };
    static const char *const colours[] = { "\x1b[32m", "\x1b[33m", "\x1b[34m" };

    pawl_text_format(out, "%-*.*s%s", p->label, p->label - 1, names[lane],
                     look->colour ? colours[lane] : "");
    for (int c = 0; c < p->columns; c++) {
        const int64_t from = column_ns(p, c), to = column_ns(p, c + 1);
        bool odd = false;
        const double share = lane == COMPUTE ? compute_share(p->history, from, to, &odd)
                                             : save_share(p->history, lane, from, to);

        pawl_text_format(out, "%s", glyph(share, odd, look->utf8));
    }
    pawl_text_format(out, "%s\n", look->colour ? "\x1b[0m" : "");
}

// 0 at the left, the span at the right, ^ where the save was asked for and where it was durable.
static void add_axis(struct pawl_text *out, const struct picture *p,
                     const struct pawl_save_record *save)
{
    char axis[COLUMNS_MAX + 1], span[PAWL_WORDS];
    const double width_ns = (double)(p->to_ns - p->from_ns);

    memset(axis, ' ', (size_t)p->columns);
    axis[p->columns] = '\0';
    axis[0] = '0';
    pawl_words_span(span, width_ns / 1e9);
    const int length = (int)strlen(span);
    if (length < p->columns)
        memcpy(axis + p->columns - length, span, (size_t)length);
    for (int i = 0; save && i < 2; i++) {
        const double at = (double)((i ? save->end_ns : save->asked_ns) - p->from_ns) / width_ns;
        const int column = (int)(at * p->columns);

        if (column >= 0 && column < p->columns && axis[column] == ' ')
            axis[column] = '^';
    }
    pawl_text_format(out, "%*s%s\n", p->label, "", axis);
}

void pawl_wrap(struct pawl_text *out, const char *text, int columns)
{
    int column = 0;

    while (*text) {
        const int length = (int)strcspn(text, " ");

        if (column && column + 1 + length > columns) {
            pawl_text_format(out, "\n");
            column = 0;
        }
        pawl_text_format(out, "%s%.*s", column ? " " : "", length, text);
        column += length + (column ? 1 : 0);
        text += length;
        text += strspn(text, " ");
    }
    if (column)
        pawl_text_format(out, "\n");
}

void pawl_lanes(struct pawl_text *out, const struct pawl_told *told,
                const struct pawl_lanes_look *look)
{
    const struct pawl_save_record *save;
    struct picture p = { .history = &told->history, .label = look->columns < NARROW ? 5 : 8 };
    char title[160];

    p.columns = look->columns - p.label - 1;
    if (p.columns > COLUMNS_MAX)
        p.columns = COLUMNS_MAX;
    pawl_lanes_window(p.history, &p.from_ns, &p.to_ns, &save);
    if (p.columns < 4 || p.to_ns - p.from_ns < 4 * p.columns || !p.history->step_count)
        return;
    if (save)
        snprintf(title, sizeof(title), "around the save of step %llu (^ asked for, ^ durable):",
                 (unsigned long long)save->step);
    else
        snprintf(title, sizeof(title), "the whole run:");
    pawl_wrap(out, title, look->columns - 1);
    for (int lane = 0; lane < LANES; lane++)
        add_lane(out, &p, (enum lane)lane, look);
    add_axis(out, &p, save);
}

// ---- the verdict

static void add_counts(struct pawl_text *out, const struct pawl_history *h)
{
    const char *comma = "";

    if (h->durable_count || !(h->failed_count || h->skipped_count)) {
        pawl_text_format(out, "%lld %s durable", (long long)h->durable_count,
                         h->durable_count == 1 ? "save" : "saves");
        comma = ", ";
    }
    if (h->failed_count)
        pawl_text_format(out, "%s%lld failed", comma, (long long)h->failed_count), comma = ", ";
    if (h->skipped_count)
        pawl_text_format(out, "%s%lld skipped", comma, (long long)h->skipped_count);
}

// Whether the save that held training up longest is the run's last, which is waited for.
static bool longest_is_last(const struct pawl_history *h)
{
    const int64_t count = pawl_history_saves(h);
    const struct pawl_save_record *last = count ? pawl_history_save_at(h, count - 1) : NULL;

    return last && last->step == h->longest_stall_step && !last->followed;
}

void pawl_verdict(struct pawl_text *out, const struct pawl_told *told, int columns)
{
    struct pawl_save_summary s;
    struct pawl_text words = { 0 };
    char a[PAWL_WORDS], b[PAWL_WORDS];

    pawl_history_summary(&told->history, &s);
    add_counts(&words, &told->history);
    if (!isnan(s.stall_ms_p50))
        pawl_text_format(
            &words, "; one held training up for %s (p50), %s at most%s",
            pawl_words_span(a, s.stall_ms_p50 / 1e3), pawl_words_span(b, s.stall_ms_max / 1e3),
            s.count > 1 && longest_is_last(&told->history) ? " (the last, which is waited for)"
                                                           : "");
    pawl_text_format(&words, ".");
    if (!isnan(s.step_ms_p50) && !isnan(s.step_ms_p50_while_saving))
        pawl_text_format(&words, " A step took %s without a save and %s beside one",
                         pawl_words_span(a, s.step_ms_p50 / 1e3),
                         pawl_words_span(b, s.step_ms_p50_while_saving / 1e3));
    else if (!isnan(s.step_ms_p50))
        pawl_text_format(&words, " A step took %s", pawl_words_span(a, s.step_ms_p50 / 1e3));
    else if (!isnan(s.step_ms_p50_while_saving))
        pawl_text_format(&words, " Every step ran beside a save and took %s",
                         pawl_words_span(a, s.step_ms_p50_while_saving / 1e3));
    // Below what a median can resolve, and its sign with it.
    if (s.extra_steps_per_save < 0.01)
        pawl_text_format(&words, "; a save cost no extra time");
    else if (!isnan(s.extra_steps_per_save))
        pawl_text_format(&words, "; a save cost %.2f extra steps", s.extra_steps_per_save);
    if (told->history.step_count)
        pawl_text_format(&words, ".");
    if (!words.rc)
        pawl_wrap(out, words.bytes, columns - 1);
    pawl_text_free(&words);
}
