// host.c - the host device: memory is memory, a stream is the calling thread, and the table of
// operations is the widest that the processor (and PAWL_ISA, for tests) allows.

#include "kernels/host/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"

static bool has_plain(void) { return true; }

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
           && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

// kernels/host/ops/pairs.h: the one difference of avx512bf16.
extern bool pawl_host_pairs_avx512_bf16;

static bool has_avx512bf16(void) { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif

// Widest first.
static const struct {
    const char *name;
    bool (*supported)(void);
    const struct pawl_ops *ops, *bf16;
    double (*spin)(int64_t rounds);
    bool *pairs, by_pairs;  // ops/pairs.h; NULL: never
} sets[] = {
#if defined(__x86_64__)
    { "avx512bf16", has_avx512bf16, &pawl_host_ops_avx512, &pawl_host_ops_avx512_bf16,
      pawl_host_spin_avx512, &pawl_host_pairs_avx512_bf16, true },
    { "avx512", has_avx512, &pawl_host_ops_avx512, &pawl_host_ops_avx512_bf16,
      pawl_host_spin_avx512, &pawl_host_pairs_avx512_bf16, false },
    { "avx2", has_avx2, &pawl_host_ops_avx2, &pawl_host_ops_avx2_bf16, pawl_host_spin_avx2,
      NULL, false },
#endif
    { "plain", has_plain, &pawl_host_ops_plain, &pawl_host_ops_plain_bf16, pawl_host_spin_plain,
      NULL, false },
};
enum { SETS = sizeof(sets) / sizeof(sets[0]) };

static int choose(void)
{
    const char *wanted = getenv("PAWL_ISA");

    for (int i = 0; i < SETS; i++)
        if (sets[i].supported() && (!wanted || !strcmp(wanted, sets[i].name))) return i;
    return pawl_fail(PAWL_ENOTSUP, "PAWL_ISA=%.16s: this processor or build does not have it; "
                     "known: avx512bf16 avx512 avx2 plain", wanted);
}

static void processor(char *name, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];

    snprintf(name, size, "CPU");
    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
            snprintf(name, size, "%s", strchr(line, ':') + 2);
            name[strcspn(name, "\n")] = 0;
            break;
        }
    if (file) fclose(file);
}

static void host_close(struct pawl_device *device)
{
    struct pawl_host *host = (struct pawl_host *)device;

    if (host->thread_scratch)
        pawl_pages_free(host->thread_scratch, (size_t)device->threads * HOST_THREAD_BYTES);
    pawl_pages_free(host->shared_scratch, HOST_SHARED_BYTES);
    pawl_pool_close(host->pool);
    pawl_free(host);
}

extern const struct pawl_device_kind pawl_device_host;

static int host_open(struct pawl_device **out, const char *name, int threads)
{
    struct pawl_host *host = NULL;
    char cpu[80];
    void *scratch = NULL;

    if (strcmp(name, "host"))
        return pawl_fail(PAWL_EINVAL, "device '%.32s': host takes no number", name);
    const int set = choose();
    if (set < 0) return set;
    int rc = pawl_alloc(&host, sizeof(*host), "the host device");
    if (rc) return rc;
    host->device.kind = &pawl_device_host;
    host->device.ops = sets[set].ops;
    host->device.bf16 = sets[set].bf16;
    if (sets[set].pairs) *sets[set].pairs = sets[set].by_pairs;
    host->device.host = true;
    rc = pawl_pool_open(&host->pool, threads);
    if (rc) goto out;
    host->device.threads = pawl_pool_threads(host->pool);
    rc = pawl_pages_alloc(&scratch, (size_t)host->device.threads * HOST_THREAD_BYTES, "scratch");
    if (rc) goto out;
    host->thread_scratch = scratch;
    rc = pawl_pages_alloc(&scratch, HOST_SHARED_BYTES, "scratch");
    if (rc) goto out;
    host->shared_scratch = scratch;
    processor(cpu, sizeof(cpu));
    snprintf(host->device.words, sizeof(host->device.words), "%s, %s, %d thread%s", cpu,
             sets[set].name, host->device.threads, host->device.threads == 1 ? "" : "s");
    *out = &host->device;
    return 0;
out:
    host_close(&host->device);
    return rc;
}

static int host_alloc(struct pawl_device *device, void **out, size_t bytes, enum pawl_place place)
{
    (void)device;
    return pawl_pages_alloc(out, bytes, place == PAWL_ON_HOST ? "host memory" : "device memory");
}

static void host_free(struct pawl_device *device, void *memory, size_t bytes,
                      enum pawl_place place)
{
    (void)device, (void)place;
    pawl_pages_free(memory, bytes);
}

static int host_stream_open(struct pawl_device *device, struct pawl_stream **out, bool background)
{
    (void)background;
    const int rc = pawl_alloc(out, sizeof(**out), "a stream");

    if (!rc) (*out)->device = device;
    return rc;
}

static void host_stream_close(struct pawl_stream *stream) { pawl_free(stream); }

enum { COPY_BYTES = 1 << 20 };

struct copy {
    char *out;
    const char *in;
    size_t bytes;
};

static void copy_block(void *arguments, int64_t block, int thread)
{
    const struct copy *copy = arguments;
    const size_t start = (size_t)block * COPY_BYTES, left = copy->bytes - start;

    (void)thread;
    memcpy(copy->out + start, copy->in + start, left < COPY_BYTES ? left : COPY_BYTES);
}

static void host_copy(struct pawl_stream *stream, void *out, const void *in, size_t bytes)
{
    struct copy copy = { out, in, bytes };

    host_run(stream, (int64_t)((bytes + COPY_BYTES - 1) / COPY_BYTES), copy_block, &copy);
}

static int host_wait(struct pawl_stream *stream)
{
    if (!stream->fault) return 0;
    const char *reason = stream->reason;
    stream->fault = 0;
    stream->reason = NULL;
    return pawl_fail(PAWL_EDEVICE, "host: %s", reason ? reason : "an operation failed");
}

// Work has run when a call returns, so an event is always done.
struct host_event {
    struct pawl_device *device;
};

static int host_event_open(struct pawl_device *device, struct pawl_event **out)
{
    struct host_event *event = NULL;
    const int rc = pawl_alloc(&event, sizeof(*event), "an event");

    if (rc) return rc;
    event->device = device;
    *out = (struct pawl_event *)event;
    return 0;
}

static void host_event_close(struct pawl_event *event) { pawl_free(event); }
static void host_event_mark(struct pawl_event *event, struct pawl_stream *stream)
{
    (void)event, (void)stream;
}
static bool host_event_done(struct pawl_event *event)
{
    (void)event;
    return true;
}

struct spin {
    double (*run)(int64_t rounds);
    int64_t rounds;
    double flops[PAWL_THREADS_MAX];
};

static void spin_block(void *arguments, int64_t block, int thread)
{
    struct spin *spin = arguments;

    (void)thread;
    spin->flops[block] = spin->run(spin->rounds);
}

static double host_peak(struct pawl_device *device, double seconds)
{
    struct pawl_host *host = (struct pawl_host *)device;
    struct spin spin = { sets[choose()].spin, 1 << 14, { 0 } };
    const int64_t end = pawl_io()->now_ns() + (int64_t)(seconds * 1e9);
    double best = 0;

    do {
        double flops = 0;
        const int64_t start = pawl_io()->now_ns();
        pawl_pool_run(host->pool, device->threads, spin_block, &spin);
        const double ns = (double)(pawl_io()->now_ns() - start);
        for (int i = 0; i < device->threads; i++)
            flops += spin.flops[i];
        if (ns > 0 && flops / ns > best) best = flops / ns;
        if (ns < 2e6) spin.rounds *= 2;
    } while (pawl_io()->now_ns() < end);
    return best;
}

const struct pawl_device_kind pawl_device_host = {
    .name = "host",
    .open = host_open,
    .close = host_close,
    .alloc = host_alloc,
    .free = host_free,
    .stream_open = host_stream_open,
    .stream_close = host_stream_close,
    .copy = host_copy,
    .wait = host_wait,
    .event_open = host_event_open,
    .event_close = host_event_close,
    .event_record = host_event_mark,
    .event_before = host_event_mark,
    .event_done = host_event_done,
    .peak_gflops = host_peak,
};
