// bench_save.c - pawl bench save: what a save costs a run, until it is durable.
//
// Windows of K steps alternate, with and without a save at their start (AB, BA, ...). A save window
// goes on until the snapshot is durable, so one save never reaches into the next window.
//
//     extra steps = (time of the save window - its steps * mean step of the plain windows beside
//                   it) / median plain step
//
// Time on a shared machine is noise; bench_save_tell.c gives CPU time beside it: of the saver's
// threads by cause, and of the update with the copy in passing against the update without.
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
#include "runtime/cli/bench_save.h"
#include "runtime/cli/exits.h"

enum {
    WINDOW_STEPS = 8, WARM_STEPS = 3,
    WINDOW_MS = 4000,      // longer steps make shorter windows, of at least 2
    COPY_BYTES = 256 << 20,
    COPIES = 5,
    DEEP = 16,             // requests at a time, for the disk's own rate: the saver's most
};

static const int64_t SAVE_MAX_NS = INT64_C(600) * 1000000000;

static int take_step(struct save_bench *b, double *ms, double *update_cpu_ms)
{
    struct pawl_step_result result = { 0 };
    const int64_t start = pawl_io()->now_ns();
    const int rc = pawl_trainer_step(b->bench.trainer, b->saver, &result);

    *ms = (double)(pawl_io()->now_ns() - start) / 1e6;
    *update_cpu_ms = (double)result.update_cpu_ns / 1e6;
    return rc;
}

static void start_window(struct window *window)
{
    *window = (struct window){ 0 };
    window->cores = bench_cores();
}

static void end_window(struct window *window)
{
    const struct bench_cores now = bench_cores();

    window->shares = bench_shares(&window->cores, &now);
    window->cpu_ms = (double)(now.own_ns - window->cores.own_ns) / 1e6;
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

    start_window(out);
    for (int i = 0; !rc && i < b->window_steps; i++) {
        rc = take_step(b, &ms, &b->update_cpu_ms[b->step_count]);
        note(out, ms);
        b->step_ms[b->step_count++] = ms;
    }
    end_window(out);
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
    double ms, update_cpu_ms;

    start_window(out);
    pawl_saver_cpu(b->saver, &out->saver);
    const int64_t start = pawl_io()->now_ns();
    pawl_trainer_progress(b->bench.trainer, &progress);
    int rc = pawl_saver_save(b->saver, pawl_trainer_stream(b->bench.trainer), &progress);
    out->stall_ms = (double)(pawl_io()->now_ns() - start) / 1e6;
    for (int64_t i = 0; !rc && (i < b->window_steps || !durable); i++) {
        if (i >= b->window_steps && pawl_io()->now_ns() - start > SAVE_MAX_NS)
            return pawl_fail(PAWL_EIO, "%s: no save became durable within ten minutes", b->where);
        rc = take_step(b, &ms, &update_cpu_ms);
        if (!i) ms += out->stall_ms;
        if (!i) out->update_cpu_ms = update_cpu_ms;
        note(out, ms);
        if (!rc) rc = look(b, out, &durable);
    }
    end_window(out);
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
    rc = pawl_alloc(&b->update_cpu_ms, windows * WINDOW_STEPS * sizeof(double), "the windows");
    if (!rc) rc = pawl_alloc(&b->plain, windows * sizeof(*b->plain), "the windows");
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
    pawl_free(b->update_cpu_ms);
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
    double rate;
    int rc;
};

static void *write_beside(void *context)
{
    struct beside *beside = context;
    struct save_bench *b = beside->bench;
    char path[4200];

    snprintf(path, sizeof(path), "%s/beside", b->where);
    beside->rc = bench_raw_write(path, pawl_saver_state_bytes(b->saver), DEEP, &beside->rate);
    pawl_io()->unlink(path);
    atomic_store(&beside->ended, true);
    return NULL;
}

static int beside_window(struct save_bench *b, struct window *out)
{
    struct beside beside = { .bench = b };
    pthread_t thread;
    double ms, ignored;
    int rc = 0;

    start_window(out);
    if (pthread_create(&thread, NULL, write_beside, &beside))
        return pawl_fail(PAWL_ENOMEM, "cannot start a thread");
    for (int64_t i = 0; !rc && (i < b->window_steps || !atomic_load(&beside.ended)); i++) {
        rc = take_step(b, &ms, &ignored);
        note(out, ms);
    }
    pthread_join(thread, NULL);
    end_window(out);
    out->rate = beside.rate;
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
    double ms = 0, ignored;
    int rc = 0;

    for (int i = 0; !rc && i < WARM_STEPS; i++)
        rc = take_step(b, &ms, &ignored);
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
    pawl_saver_cpu(b->saver, &b->saver_end);
    return rc;
}

static int one(const struct pawl_options *options, const char *model)
{
    struct save_bench b = { 0 };
    struct save_figures figures = { 0 };
    int rc = open_all(&b, options, model);

    if (!rc) rc = measure(&b, options);
    if (!rc) rc = time_copy(&b);
    if (!rc) rc = bench_save_sum_up(&b, &figures);
    if (rc)
        pawl_exit_telling(rc);
    else
        bench_save_tell(options, &b, &figures);
    fflush(stdout);
    close_all(&b);
    return pawl_exit_of(rc);
}

int bench_save(const struct pawl_options *options)
{
    return bench_models(options, one);
}
