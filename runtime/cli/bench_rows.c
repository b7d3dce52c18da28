// bench_rows.c - the sizes that a bench goes through, and its figures as rows.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench.h"
#include "runtime/cli/exits.h"

enum { VALUES_MAX = 64, MODEL_BYTES = 512 };

// ---- sizes

// "first..last" doubles, "first..last+stride" adds.
struct range {
    long long first, last, stride;  // stride 0: doubling
    const char *start, *end;        // in the text
};

static bool find_range(struct range *out, const char *text)
{
    const char *dots = strstr(text, "..");
    char *end;

    if (!dots || dots == text || dots[-1] < '0' || dots[-1] > '9') return false;
    out->start = dots;
    while (out->start > text && out->start[-1] >= '0' && out->start[-1] <= '9')
        out->start--;
    if (dots[2] < '0' || dots[2] > '9') return false;
    out->first = strtoll(out->start, NULL, 10);
    out->last = strtoll(dots + 2, &end, 10);
    out->stride = 0;
    if (*end == '+' && end[1] >= '0' && end[1] <= '9')
        out->stride = strtoll(end + 1, &end, 10);
    out->end = end;
    return true;
}

static int each_value(const struct pawl_options *options, const char *text,
                      int (*each)(const struct pawl_options *options, const char *model))
{
    struct range range;
    char model[MODEL_BYTES];
    int status = 0;

    if (!find_range(&range, text)) return each(options, text);
    if (range.first < 1 || range.last < range.first || range.last > 1LL << 40) {
        pawl_fail(PAWL_EINVAL, "%.200s: a range goes from a number above 0 to a larger one, as in "
                  "64..256 or 2..8+3", text);
        return pawl_exit_telling(PAWL_EINVAL);
    }
    for (int i = 0; !status && i < VALUES_MAX && range.first <= range.last; i++) {
        snprintf(model, sizeof(model), "%.*s%lld%.200s", (int)(range.start - text), text,
                 range.first, range.end);
        status = each(options, model);
        range.first += range.stride ? range.stride : range.first;
    }
    return status;
}

int bench_models(const struct pawl_options *options,
                 int (*each)(const struct pawl_options *options, const char *model))
{
    int status = 0;

    if (options->argument_count < 2) return each(options, "gpt-small");
    for (int i = 1; !status && i < options->argument_count; i++)
        status = each_value(options, options->arguments[i], each);
    return status;
}

// ---- figures

struct bench_stat bench_stat(double *values, int64_t count)
{
    struct bench_stat out = { 0 };
    double squares = 0;

    if (!count) return out;
    for (int64_t i = 0; i < count; i++)
        out.mean += values[i] / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += (values[i] - out.mean) * (values[i] - out.mean);
    out.sd = count > 1 ? sqrt(squares / (double)(count - 1)) : 0;
    bench_sort(values, count);
    out.p50 = bench_quantile(values, count, 0.5);
    out.p99 = bench_quantile(values, count, 0.99);
    out.max = values[count - 1];
    return out;
}

bool bench_as_json(const struct pawl_options *options)
{
    return options->json || (options->rows && !strcmp(options->rows, "json"));
}

bool bench_as_rows(const struct pawl_options *options)
{
    return !options->json && options->rows
           && (!strcmp(options->rows, "md") || !strcmp(options->rows, "csv"));
}

static void put(const struct bench_figure *figure, bool csv)
{
    const char *const quote = csv && figure->words && strchr(figure->words, ',') ? "\"" : "";

    if (figure->words)
        printf("%s%s%s", quote, figure->words, quote);
    else
        printf("%.*g", figure->digits, figure->value);
}

void bench_row(const struct pawl_options *options, const struct bench_figure *figures, int count)
{
    static bool headed;
    const bool csv = !strcmp(options->rows, "csv");
    const char *const between = csv ? "," : " | ";

    for (int i = 0; !headed && i < count; i++)
        printf("%s%s%s", i ? between : csv ? "" : "| ", figures[i].name,
               i < count - 1 ? "" : csv ? "\n" : " |\n");
    for (int i = 0; !headed && !csv && i < count; i++)
        printf("%s%s", figures[i].words ? "|---" : "|---:", i < count - 1 ? "" : "|\n");
    headed = true;
    for (int i = 0; i < count; i++) {
        printf("%s", i ? between : csv ? "" : "| ");
        put(&figures[i], csv);
    }
    puts(csv ? "" : " |");
}
