// bench_restore.c - pawl bench restore: how fast a snapshot comes back from storage, beside as many
// bytes read raw. Both in turn, the cache dropped before each; raw with one request and
// several at a time, and the better counts.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/saver.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/cli/bench.h"
#include "runtime/cli/bench_raw.h"
#include "runtime/cli/exits.h"

enum { ROUNDS = 6, ROUNDS_MAX = 1000, DEEP = 6 };

struct restoring {
    struct bench bench;
    struct pawl_saver *saver;
    char where[4096], file[4200];  // file: for the raw reads
    double bytes;
    double seconds[ROUNDS_MAX], raw[2][ROUNDS_MAX];
    int64_t count, raw_count[2];
    bool cold;
};

static int open_saver(struct restoring *r, bool read_only)
{
    int rc = pawl_saver_open(&r->saver,
                             &(struct pawl_saver_options){ .where = r->where,
                                                           .read_only = read_only },
                             r->bench.device);
    if (!rc) rc = pawl_trainer_register(r->bench.trainer, r->saver);
    return rc ? rc : pawl_saver_ready(r->saver);
}

static int make_files(struct restoring *r, const struct pawl_options *options)
{
    struct pawl_progress progress = { .metric = NAN };
    struct pawl_step_result result;
    char scratch[4000];
    double ignored;

    int rc = bench_scratch(scratch, sizeof(scratch), options->dir ? options->dir : ".");
    if (rc) return rc;
    snprintf(r->where, sizeof(r->where), "%s", scratch);
    snprintf(r->file, sizeof(r->file), "%s/raw", r->where);
    rc = open_saver(r, false);
    if (!rc) rc = pawl_trainer_step(r->bench.trainer, NULL, &result);
    if (rc) return rc;
    pawl_trainer_progress(r->bench.trainer, &progress);
    rc = pawl_saver_save_now(r->saver, pawl_trainer_stream(r->bench.trainer), &progress);
    r->bytes = (double)pawl_saver_state_bytes(r->saver);
    pawl_saver_close(r->saver);
    r->saver = NULL;
    if (!rc)
        rc = bench_raw_write(r->file, (uint64_t)r->bytes, DEEP, &ignored);
    return rc ? rc : open_saver(r, true);
}

static int one_round(struct restoring *r, int64_t round)
{
    const int deep = (int)(round % 2);
    struct pawl_progress progress = { .metric = NAN };
    struct pawl_stream *stream = pawl_trainer_stream(r->bench.trainer);
    double *rate = &r->raw[deep][r->raw_count[deep]++];

    r->cold = bench_drop_caches() && r->cold;
    int rc = bench_raw_read(r->file, (uint64_t)r->bytes, deep ? DEEP : 1, rate);
    if (rc) return rc;
    r->cold = bench_drop_caches() && r->cold;
    const int64_t start = pawl_io()->now_ns();
    rc = pawl_saver_load(r->saver, stream, &progress);
    r->seconds[r->count++] = (double)(pawl_io()->now_ns() - start) / 1e9;
    return rc;
}

static void tell(const struct pawl_options *options, struct restoring *r)
{
    const struct bench_stat seconds = bench_stat(r->seconds, r->count);
    const double one = bench_stat(r->raw[0], r->raw_count[0]).p50;
    const double deep = bench_stat(r->raw[1], r->raw_count[1]).p50;
    const double raw = one > deep ? one : deep, rate = r->bytes / seconds.p50;
    const struct bench_figure row[] = {
        { "model", r->bench.model, 0, 0 }, { "state MB", NULL, r->bytes / 1e6, 4 },
        { "s p50", NULL, seconds.p50, 3 }, { "s sd", NULL, seconds.sd, 3 },
        { "s p99", NULL, seconds.p99, 3 }, { "GB/s", NULL, rate / 1e9, 3 },
        { "of raw", NULL, rate / raw, 3 }, { "cold", r->cold ? "yes" : "no", 0, 0 },
    };

    if (bench_as_rows(options))
        bench_row(options, row, sizeof(row) / sizeof(row[0]));
    else if (bench_as_json(options))
        printf("{\"preset\":\"%s\",\"state_bytes\":%.0f,\"seconds\":%.17g,\"seconds_sd\":%.17g,"
               "\"seconds_p99\":%.17g,\"bytes_per_s\":%.17g,\"raw_read_bytes_per_s\":%.17g,"
               "\"cold\":%s}\n", r->bench.model, r->bytes, seconds.p50, seconds.sd, seconds.p99,
               rate, raw, r->cold ? "true" : "false");
    else
        printf("%s: %.4g MB back in %.3g s (sd %.2g, %lld times): %.3g GB/s, %.2f of %.3g GB/s "
               "raw%s\n",
               r->bench.model, r->bytes / 1e6, seconds.p50, seconds.sd, (long long)r->count,
               rate / 1e9, rate / raw, raw / 1e9, r->cold ? "" : " (cache not dropped: not root)");
    fflush(stdout);
}

static int one(const struct pawl_options *options, const char *model)
{
    static struct restoring r;
    const int64_t rounds = options->windows > 0 && options->windows < ROUNDS_MAX
                               ? options->windows : ROUNDS;

    memset(&r, 0, sizeof(r));
    r.cold = true;
    int rc = bench_open(&r.bench, options, model);
    if (!rc) rc = make_files(&r, options);
    for (int64_t i = 0; !rc && i < rounds; i++)
        rc = one_round(&r, i);
    if (rc)
        pawl_exit_telling(rc);
    else
        tell(options, &r);
    pawl_saver_close(r.saver);
    if (r.where[0]) bench_remove(r.where);
    bench_close(&r.bench);
    return pawl_exit_of(rc);
}

int bench_restore(const struct pawl_options *options)
{
    return bench_models(options, one);
}
