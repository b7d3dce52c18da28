// chart.h - curves and lanes as inline SVG, for the HTML report.
//
// The drawing stretches to whatever width the page gives it; words stand beside it as HTML, so that
// they keep their size on a phone.

#ifndef PAWL_CHART_H
#define PAWL_CHART_H

#include "checkpoint/text.h"
#include "runtime/report/history.h"

enum { PAWL_CHART_POINTS = 800 };

struct pawl_series {
    const char *name, *style;  // the class that page.css colours
    int count;                 // at most PAWL_CHART_POINTS
    const double *x, *y;       // ascending x; a y that is no number breaks the line
    bool dots;
};

struct pawl_chart {
    const char *title, *y_unit;
    double y_least;  // the axis begins there at most; NaN: where the values do
    double y_most;   // values above are drawn at the top; NaN: none are
    double x_least, x_most;
    int series_count;
    const struct pawl_series *series;
};

void pawl_chart_add(struct pawl_text *out, const struct pawl_chart *chart);
// Compute, copy and persist from one time to another.
void pawl_chart_lanes(struct pawl_text *out, const struct pawl_history *history, int64_t from_ns,
                      int64_t to_ns);
// Text with & < > " escaped.
void pawl_html_text(struct pawl_text *out, const char *text);

#endif
