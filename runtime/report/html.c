// html.c - the run as one page that needs nothing else: no script, no font, no request.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/memory.h"
#include "runtime/report/chart.h"
#include "runtime/report/sink.h"
#include "runtime/report/words.h"

enum { ROWS_MAX = 100 };

struct page {
    const struct pawl_told *told;
};

static bool wanted(const struct pawl_told *told)
{
    return told->options.html;
}

static int open_page(void **self, const struct pawl_told *told)
{
    struct page *p = NULL;
    int rc = pawl_put_check(told->options.html, "report");

    if (!rc)
        rc = pawl_alloc(&p, sizeof(*p), "report");
    if (rc)
        return rc;
    p->told = told;
    *self = p;
    return 0;
}

static void take(void *self, const struct pawl_fact *fact)
{
    (void)self;
    (void)fact;  // the history remembers
}

static const char style[] =
    ":root{color-scheme:light dark;--bg:#fcfcfa;--ink:#1f2328;--soft:#636c76;--line:#d8dadd;"
    "--loss:#2563a8;--val:#c2571a;--long:#9db4cc;--compute:#2f855a;--odd:#71b48d;--copy:#c98a0c;"
    "--persist:#2b6cb0}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#14171a;--ink:#e6e8ea;--soft:#9aa4ae;"
    "--line:#353b42;--loss:#6cb0f2;--val:#f0a06a;--long:#43566b;--compute:#55b783;--odd:#2f7a53;"
    "--copy:#e3b341;--persist:#5a9de0}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:1040px;padding:20px 16px 48px;"
    "background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:22px;margin:0}h2{font-size:16px;margin:32px 0 8px}p{margin:6px 0}\n"
    ".soft,.legend,.y,.x,.names,th{color:var(--soft)}.legend{font-weight:400;font-size:13px;"
    "margin-left:8px;white-space:nowrap}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(136px,1fr));gap:8px;"
    "margin:20px 0}.tiles div{border:1px solid var(--line);border-radius:8px;padding:8px 12px}"
    ".tiles b{display:block;font-size:20px;font-variant-numeric:tabular-nums}"
    ".tiles span{font-size:13px;color:var(--soft)}\n"
    ".chart{display:grid;grid-template-columns:64px minmax(0,1fr);gap:0 8px}"
    ".chart svg{width:100%;height:200px;display:block;overflow:visible}"
    ".lanes svg{height:84px}.y{position:relative;font-size:12px;text-align:right}"
    ".y span{position:absolute;right:0;transform:translateY(50%);white-space:nowrap}"
    ".x{grid-column:2;display:flex;justify-content:space-between;font-size:12px;padding-top:4px}"
    ".names{display:grid;grid-template-rows:repeat(3,28px);font-size:13px;text-align:right;"
    "line-height:28px}\n"
    "path{vector-effect:non-scaling-stroke;fill:none;stroke-linejoin:round;stroke-linecap:round}"
    ".grid{stroke:var(--line);stroke-width:1}.loss{stroke:var(--loss);stroke-width:2}"
    ".val{stroke:var(--val);stroke-width:7}.time{stroke:var(--loss);stroke-width:2}"
    ".long{stroke:var(--long);stroke-width:1.5}\n"
    "path.compute{fill:var(--compute)}path.compute.odd{fill:var(--odd)}path.copy{fill:var(--copy)}"
    "path.persist{fill:var(--persist);stroke:var(--persist)}path.copy{stroke:var(--copy)}\n"
    ".key{display:inline-block;width:10px;height:10px;border-radius:5px;margin:0 4px 0 10px}"
    ".key.loss,.key.time{background:var(--loss)}.key.val{background:var(--val)}"
    ".key.long{background:var(--long)}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px;"
    "font-variant-numeric:tabular-nums}th{font-weight:400;text-align:right;padding:4px 10px}"
    "td{text-align:right;padding:4px 10px;border-top:1px solid var(--line);white-space:nowrap}"
    "td:nth-child(2),th:nth-child(2),td:last-child,th:last-child{text-align:left}"
    "td:last-child{white-space:normal;min-width:8em}\n";

// ---- the top

static void add_head(struct pawl_text *out, const struct pawl_told *told)
{
    const struct pawl_report_start *s = &told->start;
    char time[PAWL_WORDS];

    pawl_text_format(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                          "<title>pawl: ");
    pawl_html_text(out, s->model ? s->model : "a run");
    pawl_text_format(out, "</title>\n<style>\n%s</style></head><body>\n<h1>", style);
    pawl_html_text(out, s->model ? s->model : "a run");
    pawl_text_format(out, "</h1>\n<p class=\"soft\">");
    pawl_html_text(out, s->device_words ? s->device_words : "");
    if (s->data)
        pawl_text_format(out, " · "), pawl_html_text(out, s->data);
    pawl_text_format(out, "</p>\n<p>Step %llu of %llu", (unsigned long long)told->step,
                     (unsigned long long)s->last_step);
    if (told->ended)
        pawl_text_format(out, " after %s", pawl_words_time(time, told->end_seconds));
    if (s->resumed_from >= 0)
        pawl_text_format(out, ", resumed from step %lld", (long long)s->resumed_from);
    if (told->ended && told->status == 75)
        pawl_text_format(out, "; saved, and the same command goes on from there");
    else if (told->ended && told->status)
        pawl_text_format(out, "; ended with exit code %d", told->status);
    pawl_text_format(out, ".</p>\n");
}

static void add_tile(struct pawl_text *out, const char *value, const char *name)
{
    pawl_text_format(out, "<div><b>%s</b><span>%s</span></div>", value, name);
}

static void add_tiles(struct pawl_text *out, const struct pawl_told *told)
{
    struct pawl_save_summary s;
    char w[PAWL_WORDS], unit[48];

    pawl_history_summary(&told->history, &s);
    snprintf(unit, sizeof(unit), "%.32s a second", told->start.unit ? told->start.unit : "steps");
    pawl_text_format(out, "<div class=\"tiles\">");
    if (told->last.end_ns)
        add_tile(out, pawl_words_loss(w, told->last.loss), "loss");
    if (told->eval.at_ns)
        add_tile(out, pawl_words_loss(w, told->eval.loss), "validation loss");
    if (told->eval.at_ns && !isnan(told->eval.accuracy)) {
        snprintf(w, sizeof(w), "%.2f %%", told->eval.accuracy * 100);
        add_tile(out, w, "validation accuracy");
    }
    if (!isnan(s.step_ms_p50)) {
        add_tile(out, pawl_words_span(w, s.step_ms_p50 / 1e3), "a step (p50)");
        if (told->start.units_per_step > 0)
            add_tile(out, pawl_words_count(w, told->start.units_per_step / s.step_ms_p50 * 1e3),
                     unit);
    }
    if (s.count) {
        snprintf(w, sizeof(w), "%lld", (long long)s.count);
        add_tile(out, w, s.count == 1 ? "save durable" : "saves durable");
        add_tile(out, pawl_words_span(w, s.stall_ms_p50 / 1e3), "stall of a save (p50)");
    }
    if (!isnan(s.extra_steps_per_save)) {
        snprintf(w, sizeof(w), "%.2f", s.extra_steps_per_save);
        add_tile(out, w, "extra steps per save");
    }
    pawl_text_format(out, "</div>\n<p>");
    struct pawl_text verdict = { 0 };
    pawl_verdict(&verdict, told, 10000);
    if (!verdict.rc)
        pawl_html_text(out, verdict.bytes);
    pawl_text_free(&verdict);
    pawl_text_format(out, "</p>\n");
}

// ---- the curves

struct curves {
    double x[PAWL_CHART_POINTS], loss[PAWL_CHART_POINTS];
    double mean_ms[PAWL_CHART_POINTS], longest_ms[PAWL_CHART_POINTS], sorted[PAWL_CHART_POINTS];
    double eval_x[PAWL_EVALS_MAX], eval_loss[PAWL_EVALS_MAX];
    int count, eval_count;
};

// As many points as a chart takes, each the mean of some buckets.
static void gather(struct curves *c, const struct pawl_history *h)
{
    const int64_t each = (h->bucket_count + PAWL_CHART_POINTS - 1) / PAWL_CHART_POINTS;

    c->count = 0;
    for (int64_t i = 0; i < h->bucket_count; i += each) {
        double loss = 0, busy = 0, longest = 0;
        int64_t steps = 0, losses = 0;

        for (int64_t j = i; j < i + each && j < h->bucket_count; j++) {
            const struct pawl_bucket *b = &h->buckets[j];

            if (isfinite(b->loss))
                loss += b->loss * (double)b->steps, losses += b->steps;
            busy += (double)b->busy_ns;
            longest = fmax(longest, (double)b->longest_ns);
            steps += b->steps;
        }
        c->x[c->count] = (double)h->buckets[i].first_step + (double)(steps - 1) / 2;
        c->loss[c->count] = losses ? loss / (double)losses : NAN;
        c->mean_ms[c->count] = busy / (double)steps / 1e6;
        c->longest_ms[c->count++] = longest / 1e6;
    }
    c->eval_count = (int)h->eval_count;
    for (int i = 0; i < c->eval_count; i++) {
        c->eval_x[i] = (double)h->evals[i].step;
        c->eval_loss[i] = h->evals[i].loss;
    }
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void add_curves(struct pawl_text *out, const struct pawl_history *h)
{
    struct curves *c = NULL;

    if (!h->bucket_count)
        return;
    // Too little memory for the curves leaves a page without them.
    if (pawl_alloc(&c, sizeof(*c), "curves"))
        return;
    gather(c, h);
    const struct pawl_series loss[] = {
        { "training", "loss", c->count, c->x, c->loss, false },
        { "validation", "val", c->eval_count, c->eval_x, c->eval_loss, true },
    };
    const struct pawl_series time[] = {
        { "longest", "long", h->bucket_steps > 1 || h->bucket_count > c->count ? c->count : 0, c->x,
          c->longest_ms, false },
        { "mean", "time", c->count, c->x, c->mean_ms, false },
    };
    // A few steps far above the rest (the first, a sleeping machine) must not flatten the others.
    for (int i = 0; i < c->count; i++)
        c->sorted[i] = c->longest_ms[i];
    qsort(c->sorted, (size_t)c->count, sizeof(double), by_value);
    const double most = 1.5 * c->sorted[(c->count - 1) * 97 / 100];
    const struct pawl_bucket *end = &h->buckets[h->bucket_count - 1];
    const double first = (double)h->buckets[0].first_step;
    const double last = fmax((double)(end->first_step + (uint64_t)end->steps - 1),
                             c->eval_count ? c->eval_x[c->eval_count - 1] : 0);

    pawl_chart_add(out, &(struct pawl_chart){ "Loss", "", NAN, NAN, first, last, 2, loss });
    pawl_chart_add(out,
                   &(struct pawl_chart){ "Time of a step", " ms", 0, most, first, last, 2, time });
    pawl_free(c);
}

static void add_lanes(struct pawl_text *out, const struct pawl_history *h)
{
    const struct pawl_save_record *save;
    int64_t from_ns, to_ns, end_ns = h->last_end_ns;

    if (!h->bucket_count)
        return;
    pawl_lanes_window(h, &from_ns, &to_ns, &save);
    if (save) {
        pawl_text_format(out, "<h2>Around the save of step %llu</h2>\n",
                         (unsigned long long)save->step);
        pawl_chart_lanes(out, h, from_ns, to_ns);
    }
    for (int64_t i = 0; i < pawl_history_saves(h); i++)
        if (pawl_history_save_at(h, i)->end_ns > end_ns)
            end_ns = pawl_history_save_at(h, i)->end_ns;
    pawl_text_format(out, "<h2>The whole run</h2>\n");
    pawl_chart_lanes(out, h, h->buckets[0].start_ns, end_ns);
}

// ---- the saves

static void add_cell_span(struct pawl_text *out, int64_t from_ns, int64_t to_ns)
{
    char w[PAWL_WORDS];

    if (from_ns > 0 && to_ns >= from_ns)
        pawl_text_format(out, "<td>%s</td>", pawl_words_span(w, (double)(to_ns - from_ns) / 1e9));
    else
        pawl_text_format(out, "<td></td>");
}

static void add_save(struct pawl_text *out, const struct pawl_save_record *s)
{
    static const char *const states[] = { "taken", "durable", "failed", "skipped" };
    const double seconds = (double)(s->write_end_ns - s->write_start_ns) / 1e9;
    const bool done = s->state == PAWL_SAVE_DURABLE && seconds > 0;
    char size[PAWL_WORDS], rate[PAWL_WORDS], stall[PAWL_WORDS];

    pawl_text_format(out, "<tr><td>%llu</td><td>%s</td><td>%s</td><td>%s</td>",
                     (unsigned long long)s->step, states[s->state],
                     pawl_words_bytes(size, (double)s->bytes),
                     pawl_words_span(stall, (double)s->stall_ns / 1e9));
    add_cell_span(out, s->copy_start_ns, s->copy_end_ns);
    add_cell_span(out, s->write_start_ns, s->write_end_ns);
    pawl_text_format(out, "<td>%s%s</td><td>",
                     done ? pawl_words_bytes(rate, (double)s->bytes / seconds) : "",
                     done ? "/s" : "");
    pawl_html_text(out, s->error);
    pawl_text_format(out, "</td></tr>\n");
}

static void add_saves(struct pawl_text *out, const struct pawl_history *h)
{
    const int64_t count = pawl_history_saves(h), shown = count < ROWS_MAX ? count : ROWS_MAX;

    if (!count)
        return;
    pawl_text_format(out, "<h2>Saves</h2>\n");
    if (h->save_count > shown)
        pawl_text_format(out, "<p class=\"soft\">The newest %lld of %lld.</p>\n", (long long)shown,
                         (long long)h->save_count);
    pawl_text_format(out,
                     "<div class=\"wide\"><table><tr><th>step</th><th>state</th><th>size</th>"
                     "<th>stall</th><th>copy</th><th>persist</th><th>speed</th><th></th></tr>\n");
    for (int64_t i = count - 1; i >= count - shown; i--)
        add_save(out, pawl_history_save_at(h, i));
    pawl_text_format(out, "</table></div>\n");
}

static int close_page(void *self)
{
    struct page *p = self;
    struct pawl_text out = { 0 };
    int rc;

    add_head(&out, p->told);
    add_tiles(&out, p->told);
    add_curves(&out, &p->told->history);
    add_lanes(&out, &p->told->history);
    add_saves(&out, &p->told->history);
    pawl_text_format(&out, "</body></html>\n");
    rc = pawl_put_file(p->told->options.html, &out);
    pawl_free(p);
    return rc;
}

const struct pawl_sink_kind pawl_sink_html = { "html", wanted, open_page, take, NULL, close_page };
