// bench_save.c - pawl bench save: what a save costs a run, until it is durable.
//
// Windows of K steps alternate, with and without a save at their start (AB, BA, ...). A save window
// goes on until the snapshot is durable, so one save never reaches into the next window.
//
//     extra steps = (time of the save window - its steps * mean step of the plain windows beside
//                   it) / median plain step
//
// noise is the same figure between neighbouring plain windows: below it, extra says nothing. floor
// is the time of one copy of the state by all threads: a save writes the state to memory and reads
// it again for its checksums, which no software can spare. The disk's own rate is measured between
// the windows, one request and several at a time, and the better counts; and what it costs to have
// as many bytes written beside the steps by something that does nothing else (disk).

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/saver.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/cli/bench.h"
#include "runtime/cli/bench_raw.h"
#include "runtime/cli/exits.h"

enum {
    WINDOW_STEPS = 8, WINDOWS_MAX = 1000, WARM_STEPS = 3,
    WINDOW_MS = 4000,      // longer steps make shorter windows, of at least 2
    COPY_BYTES = 256 << 20,
    COPIES = 5,
    DEEP = 16,             // requests at a time, for the disk's own rate: the saver's most
};

static const int64_t SAVE_MAX_NS = INT64_C(600) * 1000000000;

struct window {
    int64_t steps;
    double total_ms, worst_ms;
    double stall_ms, fence_ms, durable_s, written_s;  // save windows
};

struct save_bench {
    struct bench bench;
    struct pawl_saver *saver;
    char where[4096];
    int64_t pairs, window_steps;
    // pairs + 1 each: the first pair holds the first save. beside: a raw write goes on.
    struct window *plain, *save, *beside;
    double *step_ms;              // of all plain windows
    int64_t step_count;
    double *raw[2];               // by depth 1 and DEEP, in turn
    int64_t raw_count[2];
    double copy_s;                // one copy of the state
    double before_rss, with_rss;  // most resident before the saver took memory, and after a save
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
    for (int i = 0; !rc && i < b->window_steps; i++) {
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
        out->written_s = (double)(event.written_ns - event.write_start_ns) / 1e9;
        out->fence_ms = (double)event.stall_ns / 1e6 - out->stall_ms;
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
    for (int64_t i = 0; !rc && (i < b->window_steps || !durable); i++) {
        if (i >= b->window_steps && pawl_io()->now_ns() - start > SAVE_MAX_NS)
            return pawl_fail(PAWL_EIO, "%s: no save became durable within ten minutes", b->where);
        rc = take_step(b, &ms);
        if (!i) ms += out->stall_ms;
        note(out, ms);
        if (!rc) rc = look(b, out, &durable);
    }
    return rc;
}

static int open_saver(struct save_bench *b, const struct pawl_options *options)
{
    int rc = pawl_saver_open(&b->saver,
                             &(struct pawl_saver_options){
                                 .where = b->where, .keep = "latest=2",
                                 .host_memory_bytes = options->host_memory < 0
                                                          ? 0 : (uint64_t)options->host_memory },
                             b->bench.device);
    if (!rc) rc = pawl_trainer_register(b->bench.trainer, b->saver);
    return rc ? rc : pawl_saver_ready(b->saver);
}

static int open_all(struct save_bench *b, const struct pawl_options *options, const char *model)
{
    char scratch[4000];
    int rc = bench_open(&b->bench, options, model);

    b->pairs = options->windows > 0 && options->windows < WINDOWS_MAX ? options->windows : 6;
    if (!rc) rc = bench_scratch(scratch, sizeof(scratch), options->dir ? options->dir : ".");
    if (rc) return rc;
    snprintf(b->where, sizeof(b->where), "%s", scratch);
    const size_t windows = (size_t)b->pairs + 1;
    rc = pawl_alloc(&b->plain, windows * sizeof(*b->plain), "the windows");
    if (!rc) rc = pawl_alloc(&b->beside, windows * sizeof(*b->beside), "the windows");
    if (!rc) rc = pawl_alloc(&b->save, windows * sizeof(*b->save), "the windows");
    if (!rc) rc = pawl_alloc(&b->step_ms, windows * WINDOW_STEPS * sizeof(double), "the windows");
    for (int i = 0; !rc && i < 2; i++)
        rc = pawl_alloc(&b->raw[i], windows * sizeof(double), "the windows");
    return rc;
}

static void close_all(struct save_bench *b)
{
    pawl_saver_close(b->saver);
    if (b->where[0]) bench_remove(b->where);
    bench_close(&b->bench);
    pawl_free(b->plain);
    pawl_free(b->beside);
    pawl_free(b->save);
    pawl_free(b->step_ms);
    pawl_free(b->raw[0]);
    pawl_free(b->raw[1]);
}

static int raw_write(struct save_bench *b, int64_t turn)
{
    const int deep = (int)(turn % 2);
    char path[4200];
    double rate;

    snprintf(path, sizeof(path), "%s/raw", b->where);
    const int rc = bench_raw_write(path, pawl_saver_state_bytes(b->saver), deep ? DEEP : 1, &rate);
    pawl_io()->unlink(path);
    if (!rc) b->raw[deep][b->raw_count[deep]++] = rate;
    return rc;
}

// A raw write in a thread of its own, with steps until it has ended.
struct beside {
    struct save_bench *bench;
    _Atomic bool ended;
    int rc;
};

static void *write_beside(void *context)
{
    struct beside *beside = context;
    struct save_bench *b = beside->bench;
    char path[4200];
    double ignored;

    snprintf(path, sizeof(path), "%s/beside", b->where);
    beside->rc = bench_raw_write(path, pawl_saver_state_bytes(b->saver), DEEP, &ignored);
    pawl_io()->unlink(path);
    atomic_store(&beside->ended, true);
    return NULL;
}

static int beside_window(struct save_bench *b, struct window *out)
{
    struct beside beside = { .bench = b };
    pthread_t thread;
    double ms;
    int rc = 0;

    *out = (struct window){ 0 };
    if (pthread_create(&thread, NULL, write_beside, &beside))
        return pawl_fail(PAWL_ENOMEM, "cannot start a thread");
    for (int64_t i = 0; !rc && (i < b->window_steps || !atomic_load(&beside.ended)); i++) {
        rc = take_step(b, &ms);
        note(out, ms);
    }
    pthread_join(thread, NULL);
    return rc ? rc : beside.rc;
}

// The best of a few copies by all threads, of a part of the state that is too large for caches.
static int time_copy(struct save_bench *b)
{
    const uint64_t state = pawl_saver_state_bytes(b->saver);
    const size_t bytes = state < COPY_BYTES ? (size_t)state : COPY_BYTES;
    struct pawl_stream *stream = pawl_trainer_stream(b->bench.trainer);
    void *from = NULL, *to = NULL;
    double best = INFINITY;
    int rc = pawl_pages_alloc(&from, bytes, "the copy");

    if (!rc) rc = pawl_pages_alloc(&to, bytes, "the copy");
    for (int i = 0; !rc && i < COPIES; i++) {
        const int64_t start = pawl_io()->now_ns();
        pawl_stream_copy(stream, to, from, bytes);
        rc = pawl_stream_wait(stream);
        const double seconds = (double)(pawl_io()->now_ns() - start) / 1e9;
        if (seconds < best) best = seconds;
    }
    pawl_pages_free(from, bytes);
    pawl_pages_free(to, bytes);
    b->copy_s = best * (double)state / (double)bytes;
    return rc;
}

static int warm_up(struct save_bench *b, const struct pawl_options *options)
{
    double ms = 0;
    int rc = 0;

    for (int i = 0; !rc && i < WARM_STEPS; i++)
        rc = take_step(b, &ms);
    b->window_steps = ms > 0 ? (int64_t)(WINDOW_MS / ms) : WINDOW_STEPS;
    if (b->window_steps < 2) b->window_steps = 2;
    if (b->window_steps > WINDOW_STEPS) b->window_steps = WINDOW_STEPS;
    b->before_rss = (double)bench_peak_rss_bytes();
    return rc ? rc : open_saver(b, options);
}

static int measure(struct save_bench *b, const struct pawl_options *options)
{
    int rc = warm_up(b, options);

    for (int64_t i = 0; !rc && i <= b->pairs; i++) {
        if (i % 2) rc = save_window(b, &b->save[i]);
        if (!rc) rc = plain_window(b, &b->plain[i]);
        if (!rc && i % 2 == 0) rc = save_window(b, &b->save[i]);
        if (!i) b->with_rss = (double)bench_peak_rss_bytes();
        if (!rc) rc = beside_window(b, &b->beside[i]);
        if (!rc) rc = raw_write(b, i);
    }
    return rc;
}

// ---- the figures

struct save_figures {
    struct bench_stat extra, disk, noise, stall, fence, durable;
    double worst, plain_worst, base, rate, raw, first, memory, predicted_ms;
};

static double extra_of(const struct window *save, const struct window *plain,
                       const struct window *other, double base)
{
    const double step = (plain->total_ms + other->total_ms)
                        / (double)(plain->steps + other->steps);

    return (save->total_ms - (double)save->steps * step) / base;
}

static void sum_up(struct save_bench *b, struct save_figures *f)
{
    double extra[WINDOWS_MAX], disk[WINDOWS_MAX], noise[WINDOWS_MAX], stall[WINDOWS_MAX],
        fence[WINDOWS_MAX], durable[WINDOWS_MAX];
    const double bytes = (double)pawl_saver_state_bytes(b->saver);

    f->base = bench_stat(b->step_ms, b->step_count).p50;
    for (int64_t i = 1; i <= b->pairs; i++) {
        // An odd save window comes before its plain one, so between that and the one before.
        const struct window *other = i % 2 || i == b->pairs ? &b->plain[i - 1] : &b->plain[i + 1];
        extra[i - 1] = extra_of(&b->save[i], &b->plain[i], other, f->base);
        disk[i - 1] = extra_of(&b->beside[i], &b->plain[i], other, f->base);
        noise[i - 1] = extra_of(&b->plain[i], &b->plain[i - 1], &b->plain[i - 1], f->base);
        stall[i - 1] = b->save[i].stall_ms;
        fence[i - 1] = b->save[i].fence_ms;
        durable[i - 1] = b->save[i].durable_s;
        if (b->save[i].worst_ms / f->base > f->worst) f->worst = b->save[i].worst_ms / f->base;
        if (b->plain[i].worst_ms / f->base > f->plain_worst)
            f->plain_worst = b->plain[i].worst_ms / f->base;
    }
    f->extra = bench_stat(extra, b->pairs);
    f->disk = bench_stat(disk, b->pairs);
    f->noise = bench_stat(noise, b->pairs);
    f->stall = bench_stat(stall, b->pairs);
    f->fence = bench_stat(fence, b->pairs);
    f->durable = bench_stat(durable, b->pairs);
    f->rate = bytes / f->durable.p50;
    const double one = bench_stat(b->raw[0], b->raw_count[0]).p50;
    const double deep = bench_stat(b->raw[1], b->raw_count[1]).p50;
    f->raw = one > deep ? one : deep;
    f->first = b->save[0].durable_s / f->durable.p50;
    f->memory = (b->with_rss - b->before_rss) / bytes;
    f->predicted_ms = (double)pawl_saver_stall_ns(b->saver, bytes / b->save[b->pairs].written_s,
                                                   (int64_t)(f->base * 1e6))
                      / 1e6;
}

static void tell_row(const struct pawl_options *options, const struct save_bench *b,
                     const struct save_figures *f)
{
    const struct bench_figure row[] = {
        { "model", b->bench.model, 0, 0 },
        { "state MB", NULL, (double)pawl_saver_state_bytes(b->saver) / 1e6, 4 },
        { "step ms", NULL, f->base, 4 },
        { "windows", NULL, (double)b->pairs, 6 },
        { "call ms p50", NULL, f->stall.p50, 3 },
        { "call ms p99", NULL, f->stall.p99, 3 },
        { "extra steps mean", NULL, f->extra.mean, 3 },
        { "sd", NULL, f->extra.sd, 3 },
        { "p50", NULL, f->extra.p50, 3 },
        { "p99", NULL, f->extra.p99, 3 },
        { "noise sd", NULL, f->noise.sd, 3 },
        { "floor steps", NULL, b->copy_s * 1e3 / f->base, 3 },
        { "disk steps", NULL, f->disk.mean, 3 },
        { "worst step", NULL, f->worst, 3 },
        { "worst without", NULL, f->plain_worst, 3 },
        { "durable GB/s", NULL, f->rate / 1e9, 3 },
        { "of raw", NULL, f->rate / f->raw, 3 },
        { "first/steady", NULL, f->first, 3 },
        { "memory/state", NULL, f->memory, 3 },
    };

    bench_row(options, row, sizeof(row) / sizeof(row[0]));
}

static void print_stat(const char *name, const struct bench_stat *stat)
{
    printf("\"%s\":{\"mean\":%.17g,\"sd\":%.17g,\"p50\":%.17g,\"p99\":%.17g,\"max\":%.17g},",
           name, stat->mean, stat->sd, stat->p50, stat->p99, stat->max);
}

static void tell_json(const struct save_bench *b, const struct save_figures *f)
{
    printf("{\"preset\":\"%s\",\"io\":\"%s\",\"state_bytes\":%llu,\"windows\":%lld,"
           "\"step_ms\":%.17g,", b->bench.model, pawl_io()->name,
           (unsigned long long)pawl_saver_state_bytes(b->saver), (long long)b->pairs, f->base);
    print_stat("call_stall_ms", &f->stall);
    print_stat("fence_stall_ms", &f->fence);
    print_stat("extra_steps", &f->extra);
    print_stat("disk_steps", &f->disk);
    printf("\"call_stall_steps\":%.17g,\"fence_predicted_ms\":%.17g,\"noise_steps\":%.17g,"
           "\"floor_ms\":%.17g,\"worst_step_ratio\":%.17g,\"worst_plain_ratio\":%.17g,"
           "\"durable_bytes_per_s\":%.17g,\"raw_bytes_per_s\":%.17g,\"first_over_steady\":%.17g,"
           "\"host_memory_bytes\":%llu,\"memory_over_state\":%.17g,\"grace_s\":%.17g,"
           "\"peak_rss_bytes\":%llu}\n",
           f->stall.p50 / f->base, f->predicted_ms, f->noise.sd, b->copy_s * 1e3, f->worst,
           f->plain_worst, f->rate, f->raw, f->first,
           (unsigned long long)pawl_saver_ring_bytes(b->saver), f->memory,
           f->base / 1e3 + f->durable.p99, (unsigned long long)bench_peak_rss_bytes());
}

static void tell_people(const struct save_bench *b, const struct save_figures *f)
{
    const double state = (double)pawl_saver_state_bytes(b->saver), floor = b->copy_s * 1e3;
    const double grace_s = f->base / 1e3 + f->durable.p99;

    printf("%s: %.4g MB of state, step %.2f ms, %lld pairs of windows, through %s\n",
           b->bench.model, state / 1e6, f->base, (long long)b->pairs, pawl_io()->name);
    printf("  call stall   %.3f ms median, %.3f ms at most (%.4f %% of a step)\n", f->stall.p50,
           f->stall.max, f->stall.p50 / f->base * 100);
    printf("  extra        %+.3f steps per save until durable (sd %.3f, p50 %+.3f, p99 %+.3f; "
           "noise without saves %.3f)\n",
           f->extra.mean, f->extra.sd, f->extra.p50, f->extra.p99, f->noise.sd);
    printf("  floor        %.3f steps: %.2f ms to copy the state once, with all threads\n",
           floor / f->base, floor);
    printf("  disk         %+.3f steps (sd %.3f): as many bytes written raw beside the steps\n",
           f->disk.mean, f->disk.sd);
    printf("  worst step   %.2fx the median, %.2fx without saves\n", f->worst, f->plain_worst);
    if (pawl_saver_ring_bytes(b->saver) < pawl_saver_state_bytes(b->saver))
        printf("  small ring   an update waited %.1f ms median, %.1f ms at most; foreseen %.1f "
               "ms\n",
               f->fence.p50, f->fence.max, f->predicted_ms);
    printf("  durable      %.3g GB/s with fsync, %.2f of %.3g GB/s raw\n", f->rate / 1e9,
           f->rate / f->raw, f->raw / 1e9);
    printf("  first save   %.2fx a steady one; memory %.2fx the state above training alone\n",
           f->first, f->memory);
    printf("  grace        %.2g s: a step and the slowest save\n", grace_s);
}

static int one(const struct pawl_options *options, const char *model)
{
    struct save_bench b = { 0 };
    struct save_figures figures = { 0 };
    int rc = open_all(&b, options, model);

    if (!rc) rc = measure(&b, options);
    if (!rc) rc = time_copy(&b);
    if (!rc) sum_up(&b, &figures);
    if (rc)
        pawl_exit_telling(rc);
    else if (bench_as_rows(options))
        tell_row(options, &b, &figures);
    else if (bench_as_json(options))
        tell_json(&b, &figures);
    else
        tell_people(&b, &figures);
    fflush(stdout);
    close_all(&b);
    return pawl_exit_of(rc);
}

int bench_save(const struct pawl_options *options)
{
    return bench_models(options, one);
}
