// chart.c - inline SVG.

#include "runtime/report/chart.h"

#include <math.h>
#include <string.h>

#include "runtime/report/words.h"

enum { WIDTH = 1000, HEIGHT = 260, TICKS = 4, LANE_HEIGHT = 26, SHADED_BARS = 300 };

void pawl_html_text(struct pawl_text *out, const char *text)
{
    char clean[4096];

    pawl_words_clean(clean, sizeof(clean), text);
    for (const char *c = clean; *c; c++)
        switch (*c) {
        case '&':
            pawl_text_format(out, "&amp;");
            break;
        case '<':
            pawl_text_format(out, "&lt;");
            break;
        case '>':
            pawl_text_format(out, "&gt;");
            break;
        case '"':
            pawl_text_format(out, "&quot;");
            break;
        default:
            pawl_text_add(out, c, 1);
        }
}

// ---- curves

struct range {
    double least, most, tick;
};

// The range of all values, widened to whole ticks of 1, 2 or 5 times a power of ten.
static struct range y_range(const struct pawl_chart *chart)
{
    struct range r = { INFINITY, -INFINITY, 1 };

    for (int i = 0; i < chart->series_count; i++)
        for (int j = 0; j < chart->series[i].count; j++) {
            const double y = chart->series[i].y[j];

            if (!isfinite(y))
                continue;
            r.least = fmin(r.least, y);
            r.most = fmax(r.most, isnan(chart->y_most) ? y : fmin(y, chart->y_most));
        }
    if (!isnan(chart->y_least))
        r.least = fmin(r.least, chart->y_least);
    if (!(r.least <= r.most))
        return (struct range){ 0, 1, 0.25 };
    if (r.most - r.least < 1e-9 * fmax(fabs(r.most), 1e-30)) {
        const double half = fmax(fabs(r.most) * 0.5, 1e-6);
        r.least -= half;
        r.most += half;
    }
    const double rough = (r.most - r.least) / TICKS, ten = pow(10, floor(log10(rough)));
    r.tick = rough / ten <= 1   ? ten
             : rough / ten <= 2 ? 2 * ten
             : rough / ten <= 5 ? 5 * ten
                                : 10 * ten;
    r.least = floor(r.least / r.tick) * r.tick;
    r.most = ceil(r.most / r.tick) * r.tick;
    return r;
}

static double y_of(const struct range *r, double y)
{
    return HEIGHT * (1 - (fmin(y, r->most) - r->least) / (r->most - r->least));
}

static void add_series(struct pawl_text *out, const struct pawl_chart *chart,
                       const struct pawl_series *s, const struct range *r)
{
    const double span = chart->x_most > chart->x_least ? chart->x_most - chart->x_least : 1;
    bool open = false;

    pawl_text_format(out, "<path class=\"%s\" d=\"", s->style);
    for (int i = 0; i < s->count; i++) {
        const double x = WIDTH * (s->x[i] - chart->x_least) / span;

        if (!isfinite(s->y[i])) {
            open = false;
            continue;
        }
        pawl_text_format(out, "%c%.1f %.1f", open ? 'L' : 'M', x, y_of(r, s->y[i]));
        // A line of no length with round ends is a dot that no stretching makes oval.
        if (s->dots || s->count == 1)
            pawl_text_format(out, "h0.01");
        open = !s->dots;
    }
    pawl_text_format(out, "\"/>");
}

static void add_legend(struct pawl_text *out, const struct pawl_chart *chart)
{
    pawl_text_format(out, "<h2>%s <span class=\"legend\">", chart->title);
    for (int i = 0; i < chart->series_count; i++)
        if (chart->series[i].count)
            pawl_text_format(out, "<i class=\"key %s\"></i>%s ", chart->series[i].style,
                             chart->series[i].name);
    pawl_text_format(out, "</span></h2>\n");
}

void pawl_chart_add(struct pawl_text *out, const struct pawl_chart *chart)
{
    const struct range r = y_range(chart);
    const int ticks = (int)lround((r.most - r.least) / r.tick);

    add_legend(out, chart);
    pawl_text_format(out, "<div class=\"chart\"><div class=\"y\">");
    for (int i = 0; i <= ticks; i++)
        pawl_text_format(out, "<span style=\"bottom:%.2f%%\">%.4g%s</span>", 100.0 * i / ticks,
                         r.least + i * r.tick, i == ticks ? chart->y_unit : "");
    pawl_text_format(out,
                     "</div><svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" "
                     "aria-label=\"%s\"><path class=\"grid\" d=\"",
                     WIDTH, HEIGHT, chart->title);
    for (int i = 0; i <= ticks; i++)
        pawl_text_format(out, "M0 %.1fH%d", (double)HEIGHT * i / ticks, WIDTH);
    pawl_text_format(out, "\"/>");
    for (int i = 0; i < chart->series_count; i++)
        if (chart->series[i].count)
            add_series(out, chart, &chart->series[i], &r);
    pawl_text_format(
        out,
        "</svg><div class=\"x\"><span>step %.0f</span><span>%.0f</span><span>%.0f</span>"
        "</div></div>\n",
        chart->x_least, floor((chart->x_least + chart->x_most) / 2), chart->x_most);
}

// ---- lanes

struct window {
    int64_t from_ns, to_ns;
};

// A bar of one lane, cut to the window; bars thinner than a hair are drawn as one.
static void add_bar(struct pawl_text *out, const struct window *w, int lane, int64_t from_ns,
                    int64_t to_ns)
{
    const double span = (double)(w->to_ns - w->from_ns);
    const double from = fmax((double)(from_ns - w->from_ns) / span, 0) * WIDTH;
    const double to = fmin((double)(to_ns - w->from_ns) / span, 1) * WIDTH;

    if (from_ns >= w->to_ns || to_ns <= w->from_ns)
        return;
    pawl_text_format(out, "M%.2f %dh%.2fv%dh-%.2fz", from, lane * LANE_HEIGHT + 4,
                     fmax(to - from, 0.4), LANE_HEIGHT - 8, fmax(to - from, 0.4));
}

// The i-th bar of the compute lane: a step where the window's are remembered one by one, else a
// bucket. false: no more.
static bool compute_bar(const struct pawl_history *h, const struct window *w, int64_t i,
                        struct window *bar)
{
    const int64_t recent = pawl_history_recent(h);

    if (recent && pawl_history_recent_step(h, 0)->start_ns <= w->from_ns) {
        if (i >= recent)
            return false;
        *bar = (struct window){ pawl_history_recent_step(h, i)->start_ns,
                                pawl_history_recent_step(h, i)->end_ns };
        return true;
    }
    if (i >= h->bucket_count)
        return false;
    *bar = (struct window){ h->buckets[i].start_ns, h->buckets[i].end_ns };
    return true;
}

// Few bars in two shades in turn, so that each is seen; of many only the gaps between them.
static void add_compute(struct pawl_text *out, const struct pawl_history *h, const struct window *w)
{
    const int64_t gap_ns = (w->to_ns - w->from_ns) / 1000;
    struct window bar, joined = { 0, 0 };
    int64_t count = 0;

    for (int64_t i = 0; compute_bar(h, w, i, &bar); i++)
        count += bar.from_ns < w->to_ns && bar.to_ns > w->from_ns;
    for (int odd = 0; odd < 2 && count <= SHADED_BARS; odd++) {
        pawl_text_format(out, "<path class=\"compute%s\" d=\"", odd ? " odd" : "");
        for (int64_t i = odd; compute_bar(h, w, i, &bar); i += 2)
            add_bar(out, w, 0, bar.from_ns, bar.to_ns);
        pawl_text_format(out, "\"/>");
    }
    if (count <= SHADED_BARS)
        return;
    pawl_text_format(out, "<path class=\"compute\" d=\"");
    for (int64_t i = 0; compute_bar(h, w, i, &bar); i++) {
        if (i && bar.from_ns - joined.to_ns > gap_ns)
            add_bar(out, w, 0, joined.from_ns, joined.to_ns);
        if (!i || bar.from_ns - joined.to_ns > gap_ns)
            joined.from_ns = bar.from_ns;
        joined.to_ns = bar.to_ns;
    }
    add_bar(out, w, 0, joined.from_ns, joined.to_ns);
    pawl_text_format(out, "\"/>");
}

void pawl_chart_lanes(struct pawl_text *out, const struct pawl_history *h, int64_t from_ns,
                      int64_t to_ns)
{
    static const char *const names[] = { "compute", "copy", "persist" };
    const struct window w = { from_ns, to_ns };
    char span[PAWL_WORDS];

    pawl_text_format(out, "<div class=\"chart lanes\"><div class=\"names\">");
    for (int i = 0; i < 3; i++)
        pawl_text_format(out, "<span>%s</span>", names[i]);
    pawl_text_format(out,
                     "</div><svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" "
                     "aria-label=\"lanes\">",
                     WIDTH, 3 * LANE_HEIGHT);
    add_compute(out, h, &w);
    for (int lane = 1; lane < 3; lane++) {
        pawl_text_format(out, "<path class=\"%s\" d=\"", names[lane]);
        for (int64_t i = 0; i < pawl_history_saves(h); i++) {
            const struct pawl_save_record *s = pawl_history_save_at(h, i);
            const int64_t a = lane == 1 ? s->copy_start_ns : s->write_start_ns;
            const int64_t b = lane == 1 ? s->copy_end_ns : s->write_end_ns;

            if (a > 0)
                add_bar(out, &w, lane, a, b > 0 ? b : h->last_end_ns);
        }
        pawl_text_format(out, "\"/>");
    }
    pawl_text_format(out, "</svg><div class=\"x\"><span>0</span><span>%s</span></div></div>\n",
                     pawl_words_span(span, (double)(to_ns - from_ns) / 1e9));
}
