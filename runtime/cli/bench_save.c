// bench_save.c - pawl bench save: what a save costs a run, until it is durable.
//
// Windows of K steps alternate, with and without a save at their start (AB, BA, ...). A save window
// goes on until the snapshot is durable, so one save never reaches into the next window.
//
//     extra steps = (time of the save window - its steps * mean step of the plain window beside it)
//                   / median plain step
//
// noise is the same figure between neighbouring plain windows: below it, extra says nothing.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/saver.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/cli/bench.h"
#include "runtime/cli/bench_raw.h"
#include "runtime/cli/exits.h"

enum { WINDOW_STEPS = 8, WINDOWS_MAX = 1000, WINDOW_STEPS_MAX = 4096, WARM_STEPS = 3 };

struct window {
    int64_t steps;
    double total_ms, worst_ms;
    double stall_ms, durable_s;  // save windows
};

struct save_bench {
    struct bench bench;
    struct pawl_saver *saver;
    char where[4096];
    int64_t pairs;
    struct window *plain, *save;  // pairs + 1 each: the first pair holds the first save
    double *step_ms;              // of all plain windows
    int64_t step_count;
    double raw_write;
};

static int take_step(struct save_bench *b, double *ms)
{
    struct pawl_step_result result;
    const int64_t start = pawl_io()->now_ns();
    const int rc = pawl_trainer_step(b->bench.trainer, b->saver, &result);

    *ms = (double)(pawl_io()->now_ns() - start) / 1e6;
    return rc;
}

static void note(struct window *window, double ms)
{
    window->steps++;
    window->total_ms += ms;
    if (ms > window->worst_ms) window->worst_ms = ms;
}

static int plain_window(struct save_bench *b, struct window *out)
{
    double ms;
    int rc = 0;

    *out = (struct window){ 0 };
    for (int i = 0; !rc && i < WINDOW_STEPS; i++) {
        rc = take_step(b, &ms);
        note(out, ms);
        b->step_ms[b->step_count++] = ms;
    }
    return rc;
}

// Whether the snapshot asked for is durable by now; a failure is the bench's.
static int look(struct save_bench *b, struct window *out, bool *durable)
{
    struct pawl_save_event event;

    while (pawl_saver_poll(b->saver, &event)) {
        if (event.state == PAWL_SAVE_FAILED || event.state == PAWL_SAVE_SKIPPED)
            return pawl_fail(PAWL_EIO, "%s: the save of step %llu was lost: %s", b->where,
                             (unsigned long long)event.step, event.error);
        if (event.state != PAWL_SAVE_DURABLE) continue;
        *durable = true;
        out->durable_s = (double)(event.write_end_ns - event.write_start_ns) / 1e9;
    }
    return 0;
}

static int save_window(struct save_bench *b, struct window *out)
{
    struct pawl_progress progress = { .metric = NAN };
    bool durable = false;
    double ms;

    *out = (struct window){ 0 };
    const int64_t start = pawl_io()->now_ns();
    pawl_trainer_progress(b->bench.trainer, &progress);
    int rc = pawl_saver_save(b->saver, pawl_trainer_stream(b->bench.trainer), &progress);
    out->stall_ms = (double)(pawl_io()->now_ns() - start) / 1e6;
    for (int64_t i = 0; !rc && (i < WINDOW_STEPS || !durable); i++) {
        if (i == WINDOW_STEPS_MAX)
            return pawl_fail(PAWL_EIO, "%s: no save became durable within %d steps", b->where,
                             WINDOW_STEPS_MAX);
        rc = take_step(b, &ms);
        if (!i) ms += out->stall_ms;
        note(out, ms);
        if (!rc) rc = look(b, out, &durable);
    }
    return rc;
}

static int open_saver(struct save_bench *b, const struct pawl_options *options, bool read_only)
{
    int rc = pawl_saver_open(&b->saver,
                             &(struct pawl_saver_options){
                                 .where = b->where, .keep = "latest=2", .read_only = read_only,
                                 .host_memory_bytes = options->host_memory < 0
                                                          ? 0 : (uint64_t)options->host_memory },
                             b->bench.device);
    if (!rc) rc = pawl_trainer_register(b->bench.trainer, b->saver);
    return rc ? rc : pawl_saver_ready(b->saver);
}

static int open_all(struct save_bench *b, const struct pawl_options *options)
{
    char scratch[4000];
    int rc = bench_open(&b->bench, options);

    b->pairs = options->windows > 0 && options->windows < WINDOWS_MAX ? options->windows : 6;
    if (!rc) rc = bench_scratch(scratch, sizeof(scratch), options->dir ? options->dir : ".");
    if (rc) return rc;
    snprintf(b->where, sizeof(b->where), "%s", scratch);
    const size_t windows = (size_t)b->pairs + 1;
    rc = pawl_alloc(&b->plain, windows * sizeof(*b->plain), "the windows");
    if (!rc) rc = pawl_alloc(&b->save, windows * sizeof(*b->save), "the windows");
    if (!rc) rc = pawl_alloc(&b->step_ms, windows * WINDOW_STEPS * sizeof(double), "the windows");
    return rc ? rc : open_saver(b, options, false);
}

static void close_all(struct save_bench *b)
{
    pawl_saver_close(b->saver);
    if (b->where[0]) bench_remove(b->where);
    bench_close(&b->bench);
    pawl_free(b->plain);
    pawl_free(b->save);
    pawl_free(b->step_ms);
}

static int raw_write(struct save_bench *b)
{
    char path[4200];

    snprintf(path, sizeof(path), "%s/raw", b->where);
    const int rc = bench_raw_write(path, pawl_saver_state_bytes(b->saver), &b->raw_write);
    pawl_io()->unlink(path);
    return rc;
}

static int measure(struct save_bench *b)
{
    double ms;
    int rc = 0;

    for (int i = 0; !rc && i < WARM_STEPS; i++)
        rc = take_step(b, &ms);
    for (int64_t i = 0; !rc && i <= b->pairs; i++) {
        if (i % 2) rc = save_window(b, &b->save[i]);
        if (!rc) rc = plain_window(b, &b->plain[i]);
        if (!rc && i % 2 == 0) rc = save_window(b, &b->save[i]);
    }
    return rc ? rc : raw_write(b);
}

struct save_figures {
    double extra_mean, extra_sd, noise, worst, stall_p50, stall_max, base, durable_rate, first;
    double first_extra;
};

static double extra_of(const struct window *save, const struct window *plain, double base)
{
    return (save->total_ms - (double)save->steps * plain->total_ms / (double)plain->steps) / base;
}

static void mean_and_sd(const double *values, int64_t count, double *mean, double *sd)
{
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < count; i++)
        sum += values[i];
    *mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += (values[i] - *mean) * (values[i] - *mean);
    *sd = count > 1 ? sqrt(squares / (double)(count - 1)) : 0;
}

static void sum_up(struct save_bench *b, struct save_figures *f)
{
    double extra[WINDOWS_MAX], noise[WINDOWS_MAX], stall[WINDOWS_MAX], durable[WINDOWS_MAX], mean;

    bench_sort(b->step_ms, b->step_count);
    f->base = bench_quantile(b->step_ms, b->step_count, 0.5);
    for (int64_t i = 1; i <= b->pairs; i++) {
        extra[i - 1] = extra_of(&b->save[i], &b->plain[i], f->base);
        noise[i - 1] = extra_of(&b->plain[i], &b->plain[i - 1], f->base);
        stall[i - 1] = b->save[i].stall_ms;
        durable[i - 1] = b->save[i].durable_s;
        if (b->save[i].worst_ms / f->base > f->worst) f->worst = b->save[i].worst_ms / f->base;
    }
    mean_and_sd(extra, b->pairs, &f->extra_mean, &f->extra_sd);
    mean_and_sd(noise, b->pairs, &mean, &f->noise);
    bench_sort(stall, b->pairs);
    bench_sort(durable, b->pairs);
    f->stall_p50 = bench_quantile(stall, b->pairs, 0.5);
    f->stall_max = stall[b->pairs - 1];
    const double steady = bench_quantile(durable, b->pairs, 0.5);
    f->durable_rate = (double)pawl_saver_state_bytes(b->saver) / steady;
    f->first = b->save[0].durable_s / steady;
}

static void tell_save(const struct pawl_options *options, struct save_bench *b,
                      const struct save_figures *f)
{
    const unsigned long long state = pawl_saver_state_bytes(b->saver);

    if (options->json) {
        printf("{\"preset\":\"%s\",\"state_bytes\":%llu,\"windows\":%lld,\"step_ms\":%.17g,"
               "\"call_stall_ms\":{\"p50\":%.17g,\"max\":%.17g},\"call_stall_steps\":%.17g,"
               "\"extra_steps\":{\"mean\":%.17g,\"sd\":%.17g},\"noise_steps\":%.17g,"
               "\"worst_step_ratio\":%.17g,\"durable_bytes_per_s\":%.17g,"
               "\"raw_bytes_per_s\":%.17g,\"first_over_steady\":%.17g,"
               "\"host_memory_bytes\":%llu}\n",
               b->bench.model, state, (long long)b->pairs, f->base, f->stall_p50, f->stall_max,
               f->stall_p50 / f->base, f->extra_mean, f->extra_sd, f->noise, f->worst,
               f->durable_rate, b->raw_write, f->first,
               (unsigned long long)pawl_saver_ring_bytes(b->saver));
        return;
    }
    printf("%s: %.4g MB of state, step %.2f ms, %lld pairs of windows\n", b->bench.model,
           (double)state / 1e6, f->base, (long long)b->pairs);
    printf("  call stall   %.3f ms median, %.3f ms at most\n", f->stall_p50, f->stall_max);
    printf("  extra        %+.3f steps per save until durable (sd %.3f; noise without saves "
           "%.3f)\n",
           f->extra_mean, f->extra_sd, f->noise);
    printf("  worst step   %.2fx the median\n", f->worst);
    printf("  durable      %.3g GB/s with fsync, %.2f of %.3g GB/s raw\n", f->durable_rate / 1e9,
           f->durable_rate / b->raw_write, b->raw_write / 1e9);
    printf("  first save   %.2fx a steady one; host memory %.4g MB\n", f->first,
           (double)pawl_saver_ring_bytes(b->saver) / 1e6);
}

int bench_save(const struct pawl_options *options)
{
    struct save_bench b = { 0 };
    struct save_figures figures = { 0 };
    int rc = open_all(&b, options);

    if (!rc) rc = measure(&b);
    if (!rc) {
        sum_up(&b, &figures);
        tell_save(options, &b, &figures);
    } else {
        pawl_exit_telling(rc);
    }
    close_all(&b);
    return pawl_exit_of(rc);
}

// Saves once, drops the cache, and reads the snapshot back beside a raw read of as many bytes.
static int restore(struct save_bench *b, const struct pawl_options *options, double *seconds,
                   double *raw, int *cold)
{
    struct pawl_progress progress = { .metric = NAN };
    struct pawl_stream *stream = pawl_trainer_stream(b->bench.trainer);
    const uint64_t bytes = pawl_saver_state_bytes(b->saver);
    double ignored;
    char path[4200];

    int rc = take_step(b, &ignored);
    pawl_trainer_progress(b->bench.trainer, &progress);
    if (!rc) rc = pawl_saver_save_now(b->saver, stream, &progress);
    pawl_saver_close(b->saver);
    b->saver = NULL;
    snprintf(path, sizeof(path), "%s/raw", b->where);
    if (!rc) rc = bench_raw_write(path, bytes, &ignored);
    *cold = bench_drop_caches();
    if (!rc) rc = bench_raw_read(path, bytes, raw);
    pawl_io()->unlink(path);
    if (!rc) rc = open_saver(b, options, true);
    *cold = bench_drop_caches() && *cold;
    const int64_t start = pawl_io()->now_ns();
    if (!rc) rc = pawl_saver_load(b->saver, stream, &progress);
    *seconds = (double)(pawl_io()->now_ns() - start) / 1e9;
    return rc;
}

int bench_restore(const struct pawl_options *options)
{
    struct save_bench b = { 0 };
    double seconds = 0, raw = 0;
    int cold = 0;
    int rc = open_all(&b, options);

    if (!rc) rc = restore(&b, options, &seconds, &raw, &cold);
    if (rc) {
        pawl_exit_telling(rc);
    } else {
        const double bytes = (double)pawl_saver_state_bytes(b.saver);
        if (options->json)
            printf("{\"preset\":\"%s\",\"state_bytes\":%.0f,\"seconds\":%.17g,"
                   "\"bytes_per_s\":%.17g,\"raw_read_bytes_per_s\":%.17g,\"cold\":%s}\n",
                   b.bench.model, bytes, seconds, bytes / seconds, raw, cold ? "true" : "false");
        else
            printf("%s: %.4g MB back in %.3g s: %.3g GB/s, %.2f of %.3g GB/s raw%s\n",
                   b.bench.model, bytes / 1e6, seconds, bytes / seconds / 1e9,
                   bytes / seconds / raw, raw / 1e9, cold ? "" : " (cache not dropped: not root)");
    }
    close_all(&b);
    return pawl_exit_of(rc);
}
