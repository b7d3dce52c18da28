// streams.c - the pretend GPU keeps what device.h and stream.h promise: order within a stream and
// through events, memory that the host cannot touch, failures that skip what follows.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/device.h"

enum { FLOATS = 20000, ROUNDS = 300 };

static int failures;

static void must(bool fine, const char *what)
{
    if (fine) return;
    printf("FAILED: %s (%s)\n", what, pawl_error());
    failures++;
}

// A device with two streams, two pieces of its memory and one of pinned memory, all FLOATS long.
struct bed {
    struct pawl_device *device;
    struct pawl_stream *a, *b;
    struct pawl_event *event;
    float *x, *y, *pinned;
};

static void bed_open(struct bed *bed, const char *seed, const char *fault)
{
    const size_t bytes = FLOATS * sizeof(float);

    unsetenv("PAWL_SIM_SEED");
    unsetenv("PAWL_SIM_FAULT");
    if (seed) setenv("PAWL_SIM_SEED", seed, 1);
    if (fault) setenv("PAWL_SIM_FAULT", fault, 1);
    if (pawl_device_open(&bed->device, "sim", 2) || pawl_stream_open(&bed->a, bed->device)
        || pawl_stream_open(&bed->b, bed->device) || pawl_event_open(&bed->event, bed->device)
        || pawl_device_alloc(bed->device, &bed->x, bytes, PAWL_ON_DEVICE)
        || pawl_device_alloc(bed->device, &bed->y, bytes, PAWL_ON_DEVICE)
        || pawl_device_alloc(bed->device, &bed->pinned, bytes, PAWL_ON_HOST)) {
        printf("cannot open: %s\n", pawl_error());
        exit(1);
    }
}

static void bed_close(struct bed *bed)
{
    const size_t bytes = FLOATS * sizeof(float);

    pawl_device_free(bed->device, bed->x, bytes, PAWL_ON_DEVICE);
    pawl_device_free(bed->device, bed->y, bytes, PAWL_ON_DEVICE);
    pawl_device_free(bed->device, bed->pinned, bytes, PAWL_ON_HOST);
    pawl_event_close(bed->event);
    pawl_stream_close(bed->a);
    pawl_stream_close(bed->b);
    pawl_device_close(bed->device);
}

// x += 1, as an optimizer does it: every gradient is y's, -1.
static void count_up(struct bed *bed, struct pawl_stream *stream)
{
    const struct pawl_update rule = { .kind = PAWL_SGD, .rate = 1, .grad_scale = 1, .step = 1 };

    bed->device->ops->update(stream, bed->x, NULL, NULL, bed->y, FLOATS, &rule, NULL, NULL, NULL,
                              NULL);
}

static void start_counting(struct bed *bed)
{
    for (int i = 0; i < FLOATS; i++)
        bed->pinned[i] = -1;
    pawl_stream_copy(bed->a, bed->y, bed->pinned, FLOATS * sizeof(float));
    must(!pawl_stream_wait(bed->a), "the copy up");
}

static size_t wrong(struct bed *bed, float wanted)
{
    size_t count = 0;

    pawl_stream_copy(bed->a, bed->pinned, bed->x, FLOATS * sizeof(float));
    must(!pawl_stream_wait(bed->a), "the copy back");
    for (int i = 0; i < FLOATS; i++)
        count += bed->pinned[i] != wanted;
    return count;
}

static void order(void)
{
    struct bed bed;

    bed_open(&bed, "1", NULL);
    start_counting(&bed);
    // More calls than a queue holds: its caller waits, and none is lost.
    for (int i = 0; i < ROUNDS; i++)
        count_up(&bed, bed.a);
    must(!wrong(&bed, ROUNDS), "one stream counts");
    // The same event again and again, to and fro.
    for (int i = 0; i < ROUNDS; i++) {
        struct pawl_stream *to = i % 2 ? bed.a : bed.b;
        pawl_event_record(bed.event, i % 2 ? bed.b : bed.a);
        pawl_event_before(bed.event, to);
        count_up(&bed, to);
    }
    must(!wrong(&bed, 2 * ROUNDS), "two streams take turns");
    must(!pawl_stream_wait(bed.b) && pawl_event_done(bed.event), "an event passes");
    bed_close(&bed);
}

// Host code runs ahead of a stream: nothing is done when a call returns, and done after the wait.
static void runs_beside(void)
{
    struct bed bed;
    bool ahead = false;

    bed_open(&bed, "5", NULL);
    start_counting(&bed);
    for (int i = 0; i < 100 && !ahead; i++) {
        count_up(&bed, bed.a);
        pawl_event_record(bed.event, bed.a);
        ahead = !pawl_event_done(bed.event);
    }
    must(ahead, "calls return before their work is done");
    must(!pawl_stream_wait(bed.a) && pawl_event_done(bed.event), "wait waits");
    bed_close(&bed);
}

// How a child ends that touches memory at an address.
static int touch(const volatile char *memory, bool write)
{
    int status = 0;

    fflush(stdout);
    const pid_t child = fork();
    if (!child) {
        signal(SIGSEGV, SIG_DFL);  // a sanitizer's would report and exit
        if (write)
            *(volatile char *)(uintptr_t)memory = 1;
        else
            (void)*memory;
        _exit(0);
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void poison(void)
{
    struct bed bed;
    float ordinary[4] = { 0 };

    bed_open(&bed, NULL, NULL);
    must(touch((char *)bed.x, false) == SIGSEGV, "host code may not read device memory");
    must(touch((char *)bed.x, true) == SIGSEGV, "host code may not write device memory");
    must(touch((char *)bed.pinned, true) == 0, "host code may write pinned memory");
    must(touch((char *)bed.pinned + FLOATS * sizeof(float) + 4096, false) == SIGSEGV,
         "nothing lies behind pinned memory");
    bed.device->ops->add(bed.a, bed.x, bed.y, (float *)bed.pinned, 4);
    must(!pawl_stream_wait(bed.a), "kernels reach pinned memory");
    bed.device->ops->add(bed.a, bed.x, bed.y, ordinary, 4);
    must(pawl_stream_wait(bed.a) == PAWL_EDEVICE, "kernels do not reach ordinary memory");
    bed_close(&bed);
}

static void faults(void)
{
    struct bed bed;

    bed_open(&bed, "9", "op:3");
    start_counting(&bed);
    for (int i = 0; i < 5; i++)
        count_up(&bed, bed.a);
    // b waits for what a did not do, so it does nothing, either.
    pawl_event_record(bed.event, bed.a);
    pawl_event_before(bed.event, bed.b);
    count_up(&bed, bed.b);
    must(pawl_stream_wait(bed.b) == PAWL_EDEVICE, "a failure goes through events");
    must(strstr(pawl_error(), "PAWL_SIM_FAULT"), "the failure says where it came from");
    must(pawl_stream_wait(bed.a) == PAWL_EDEVICE, "a failure is met by the wait");
    must(!pawl_stream_wait(bed.a), "once");
    must(!wrong(&bed, 2), "what follows a failure is skipped");
    count_up(&bed, bed.a);
    must(!wrong(&bed, 3), "after the wait the stream works again");
    bed_close(&bed);

    float *memory = NULL;
    bed_open(&bed, NULL, "alloc:4");
    must(pawl_device_alloc(bed.device, &memory, 64, PAWL_ON_DEVICE) == PAWL_ENOMEM && !memory,
         "the fourth request for memory fails");
    must(!pawl_device_alloc(bed.device, &memory, 64, PAWL_ON_DEVICE), "the fifth does not");
    pawl_device_free(bed.device, memory, 64, PAWL_ON_DEVICE);
    bed_close(&bed);
}

// What is freed while work waits for it is freed after that work.
static void free_waits(void)
{
    struct bed bed;
    float *memory = NULL;

    bed_open(&bed, "3", NULL);
    for (int i = 0; i < 50; i++) {
        if (pawl_device_alloc(bed.device, &memory, 1 << 20, PAWL_ON_DEVICE)) exit(1);
        for (int j = 0; j < 4; j++)
            pawl_stream_copy(bed.a, memory, bed.x, FLOATS * sizeof(float));
        pawl_device_free(bed.device, memory, 1 << 20, PAWL_ON_DEVICE);
    }
    must(!pawl_stream_wait(bed.a), "freeing waits");
    bed_close(&bed);
}

// Every operation that the host has is in the sim's table (kernels/sim/calls.h).
static void table_is_whole(void)
{
    struct pawl_device *host, *sim;
    void *const *of_host, *const *of_sim;

    if (pawl_device_open(&host, "host", 1) || pawl_device_open(&sim, "sim", 1)) exit(1);
    of_host = (void *const *)(const void *)host->ops;
    of_sim = (void *const *)(const void *)sim->ops;
    for (size_t i = 0; i < sizeof(struct pawl_ops) / sizeof(void *); i++)
        if (of_host[i] && !of_sim[i]) {
            printf("entry %zu of struct pawl_ops: ", i);
            must(false, "kernels/sim/calls.h lacks an operation that the host has");
        }
    pawl_device_close(host);
    pawl_device_close(sim);
}

int main(void)
{
    struct pawl_device *device = NULL;

    setenv("PAWL_SIM_FAULT", "soon", 1);
    must(pawl_device_open(&device, "sim", 1) == PAWL_EINVAL, "a fault that is no number");
    unsetenv("PAWL_SIM_FAULT");
    must(pawl_device_open(&device, "sim:1", 1) == PAWL_EINVAL, "sim takes no number");
    table_is_whole();
    order();
    runs_beside();
    poison();
    faults();
    free_waits();
    printf("%d failures\n", failures);
    return failures != 0;
}
