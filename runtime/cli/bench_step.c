// bench_step.c - pawl bench step: how long one training step takes, beside the fraction of the
// multiply-add peak that registers alone reach in the same run.

#include <math.h>
#include <stdio.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/cli/bench.h"
#include "runtime/cli/exits.h"

enum { SAMPLES_MAX = 100000, WARM_STEPS = 3, LEAST_STEPS = 5 };

struct step_figures {
    double min, median, p99, peak_gflops;
};

static int measure(struct bench *bench, double seconds, struct step_figures *out)
{
    struct pawl_step_result result;
    double *ms = NULL;
    int64_t count = 0;
    int rc = pawl_alloc(&ms, SAMPLES_MAX * sizeof(*ms), "the samples");

    for (int i = 0; !rc && i < WARM_STEPS; i++)
        rc = pawl_trainer_step(bench->trainer, NULL, &result);
    out->peak_gflops = bench->device->kind->peak_gflops(bench->device, 0.5);
    const int64_t end = pawl_io()->now_ns() + (int64_t)(seconds * 1e9);
    while (!rc && count < SAMPLES_MAX && (count < LEAST_STEPS || pawl_io()->now_ns() < end)) {
        const int64_t start = pawl_io()->now_ns();
        rc = pawl_trainer_step(bench->trainer, NULL, &result);
        ms[count++] = (double)(pawl_io()->now_ns() - start) / 1e6;
    }
    const double again = bench->device->kind->peak_gflops(bench->device, 0.5);
    if (again > out->peak_gflops) out->peak_gflops = again;
    if (!rc) {
        bench_sort(ms, count);
        out->min = ms[0];
        out->median = bench_quantile(ms, count, 0.5);
        out->p99 = bench_quantile(ms, count, 0.99);
    }
    pawl_free(ms);
    return rc;
}

static void tell(const struct pawl_options *options, struct bench *bench,
                 const struct step_figures *f)
{
    const bool tokens = bench->document->architecture->layers[0].in.tokens;
    const double units = (double)bench->batch * (tokens ? (double)bench->sequence : 1.0);
    const double flops = pawl_plan_flops(pawl_trainer_plan(bench->trainer));
    const double fraction = flops / (f->median * 1e6) / f->peak_gflops;
    const char *dtype = pawl_model_type_name(pawl_trainer_model(bench->trainer)->type);
    const long long params = (long long)pawl_trainer_model(bench->trainer)->param_count;

    if (bench_as_rows(options)) {
        const struct bench_figure row[] = {
            { "model", bench->model, 0, 0 }, { "dtype", dtype, 0, 0 },
            { "params", NULL, (double)params, 12 },
            { "batch", NULL, (double)bench->batch, 12 },
            { "threads", NULL, (double)bench->device->threads, 12 },
            { "step ms p50", NULL, f->median, 4 }, { "step ms min", NULL, f->min, 4 },
            { "step ms p99", NULL, f->p99, 4 },
            { tokens ? "tokens/s" : "samples/s", NULL, units / f->median * 1e3, 4 },
            { "of peak", NULL, fraction, 3 },
        };
        bench_row(options, row, sizeof(row) / sizeof(row[0]));
        return;
    }
    if (bench_as_json(options)) {
        printf("{\"preset\":\"%s\",\"dtype\":\"%s\",\"threads\":%d,\"params\":%lld,"
               "\"step_ms\":{\"min\":%.17g,\"median\":%.17g,\"p99\":%.17g},\"rate\":%.17g,"
               "\"unit\":\"%s/s\",\"flops_per_step\":%.17g,\"peak_gflops\":%.17g,"
               "\"fraction_of_peak\":%.17g,\"peak_rss_bytes\":%llu}\n",
               bench->model, dtype, bench->device->threads, params, f->min, f->median, f->p99,
               units / f->median * 1e3, tokens ? "tokens" : "samples", flops, f->peak_gflops,
               fraction, (unsigned long long)bench_peak_rss_bytes());
        return;
    }
    printf("%s, %s, batch %lld: %.3g M parameters on %s\n", bench->model, dtype,
           (long long)bench->batch, (double)params / 1e6, bench->device->words);
    printf("  step    %.2f ms median, %.2f min, %.2f p99: %.4g %s/s\n", f->median, f->min, f->p99,
           units / f->median * 1e3, tokens ? "tokens" : "samples");
    printf("  work    %.4g GFLOP a step, %.2f of the %.4g GFLOP/s that multiply-adds alone reach\n",
           flops / 1e9, fraction, f->peak_gflops);
    printf("  memory  %.4g MB at most\n", (double)bench_peak_rss_bytes() / 1e6);
}

static int one(const struct pawl_options *options, const char *model)
{
    struct bench bench = { 0 };
    struct step_figures figures = { 0 };
    int rc = bench_open(&bench, options, model);

    if (!rc) rc = measure(&bench, isnan(options->seconds) ? 10 : options->seconds, &figures);
    if (!rc)
        tell(options, &bench, &figures);
    else
        pawl_exit_telling(rc);
    bench_close(&bench);
    return pawl_exit_of(rc);
}

int bench_step(const struct pawl_options *options)
{
    return bench_models(options, one);
}
