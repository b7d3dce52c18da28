// test: timeout=600
// snapshot.c - a trainer on four streams overwrites every buffer the moment that save and fence
// allow it; each element carries its step. No snapshot holds another step's element (torn) or is
// another step's as a whole (stale): 500 times, or as often as the first argument says.
//
//     feed:  ......... wait used, copy gradients up, mark fed
//     a:     wait fed, fence, mark forked, update its half, wait joined, mark used, save
//     b:     ................ wait forked, update its half, mark joined
//     saver's own:                                          wait asked, copy, mark copied
//
// Then the same with one edge left out at a time, the trainer's and the saver's: each must show,
// else the first figure says nothing. (Not under ThreadSanitizer, which ends at the first race.)

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../saver_support.h"

enum { SNAPSHOTS = 500, LIFE = 100, MUTANT_SNAPSHOTS = 2000, PARTS = 2, TENSORS = 3 };

// Sizes in floats of each half's tensors: several pieces of a copy, one piece, an odd one.
static const int64_t sizes[TENSORS] = { 24576, 4096, 77 };
enum { HALF = 24576 + 4096 + 77 + 3 };

enum mutant {
    CORRECT,
    NO_FED, NO_FORKED, NO_JOINED, NO_USED,  // edges of the trainer
    NO_FENCE,                               // it does not call pawl_saver_fence
    NO_ASKED, NO_COPIED, NO_LANDED,         // edges of the saver
    MUTANTS
};

static const char *const mutant_names[MUTANTS] = {
    "correct", "gradients are not waited for", "the second stream does not wait for the fence",
    "the first stream does not wait for the second", "gradients are overwritten while in use",
    "no fence", "the saver's copy does not wait for the step", "the fence does not wait for the "
    "copy", "the saver's thread does not wait for the copy",
};

static enum mutant mutant;
static struct pawl_device *device;
static struct pawl_stream *a, *b, *feed;
static struct pawl_event *fed, *forked, *joined, *used;
static float *half[PARTS], *gradient, *pinned;
static char run[4096];
static long torn, stale, whole;

static void check(int rc, const char *what)
{
    if (!rc) return;
    fprintf(stderr, "%s: %s\n", what, pawl_error());
    exit(1);
}

// ---- a device that leaves one edge out

static const struct pawl_device_kind *sim;
static struct pawl_device_kind lax;

static bool is_ours(const struct pawl_stream *stream)
{
    return stream == a || stream == b || stream == feed;
}

static enum mutant edge(const struct pawl_event *event, const struct pawl_stream *stream)
{
    if (event == fed) return NO_FED;
    if (event == forked) return NO_FORKED;
    if (event == joined) return NO_JOINED;
    if (event == used) return NO_USED;
    return is_ours(stream) ? NO_COPIED : NO_ASKED;
}

static void lax_before(struct pawl_event *event, struct pawl_stream *stream)
{
    if (edge(event, stream) != mutant) sim->event_before(event, stream);
}

static int lax_wait(struct pawl_stream *stream)
{
    return mutant == NO_LANDED && !is_ours(stream) ? 0 : sim->wait(stream);
}

static bool lax_done(struct pawl_event *event)
{
    return mutant == NO_LANDED || sim->event_done(event);
}

// ---- the trainer

static float increment(uint64_t step) { return (float)(1 + step % 5); }

// What every element is after that many steps; below 2^24, so exact.
static float tag(uint64_t step)
{
    double sum = 0;

    for (uint64_t i = 1; i <= step % 5; i++)
        sum += (double)increment(i);
    return (float)(sum + (double)(step / 5) * 15);
}

static void open_bed(uint64_t seed)
{
    char text[32];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)seed);
    setenv("PAWL_SIM_SEED", text, 1);
    check(pawl_device_open(&device, "sim", 1), "device");
    sim = device->kind;
    lax = *sim;
    lax.event_before = lax_before;
    lax.wait = lax_wait;
    lax.event_done = lax_done;
    device->kind = &lax;
    check(pawl_stream_open(&a, device) || pawl_stream_open(&b, device)
          || pawl_stream_open(&feed, device), "streams");
    check(pawl_event_open(&fed, device) || pawl_event_open(&forked, device)
          || pawl_event_open(&joined, device) || pawl_event_open(&used, device), "events");
    for (int i = 0; i < PARTS; i++)
        check(pawl_device_alloc(device, &half[i], HALF * sizeof(float), PAWL_ON_DEVICE), "half");
    check(pawl_device_alloc(device, &gradient, HALF * sizeof(float), PAWL_ON_DEVICE), "gradient");
    check(pawl_device_alloc(device, &pinned, HALF * sizeof(float), PAWL_ON_HOST), "pinned");
}

static void close_bed(void)
{
    for (int i = 0; i < PARTS; i++)
        pawl_device_free(device, half[i], HALF * sizeof(float), PAWL_ON_DEVICE);
    pawl_device_free(device, gradient, HALF * sizeof(float), PAWL_ON_DEVICE);
    pawl_device_free(device, pinned, HALF * sizeof(float), PAWL_ON_HOST);
    pawl_event_close(fed);
    pawl_event_close(forked);
    pawl_event_close(joined);
    pawl_event_close(used);
    pawl_stream_close(a);
    pawl_stream_close(b);
    pawl_stream_close(feed);
    pawl_device_close(device);
}

static struct pawl_saver *open_sim_saver(void)
{
    struct pawl_saver *saver = NULL;
    char name[16];

    check(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run, .keep = "latest=2" },
                          device), "saver");
    for (int i = 0; i < PARTS * TENSORS; i++) {
        const float *memory = half[i / TENSORS];
        for (int j = 0; j < i % TENSORS; j++)
            memory += sizes[j];
        snprintf(name, sizeof(name), "t%d", i);
        check(pawl_saver_add(saver, name, (void *)(uintptr_t)memory, PAWL_F32, 1,
                             &sizes[i % TENSORS]), "add");
    }
    return saver;
}

static void update(struct pawl_stream *stream, float *memory)
{
    const struct pawl_update rule = { .kind = PAWL_SGD, .rate = 1, .grad_scale = 1, .step = 1 };

    device->ops->update(stream, memory, NULL, NULL, gradient, HALF, &rule, NULL, NULL, NULL);
}

static void train_step(struct pawl_saver *saver, uint64_t step)
{
    check(pawl_stream_wait(feed), "feed");  // the pinned gradients are free again
    for (int i = 0; i < HALF; i++)
        pinned[i] = -increment(step);
    if (step > 1) pawl_event_before(used, feed);
    pawl_stream_copy(feed, gradient, pinned, HALF * sizeof(float));
    pawl_event_record(fed, feed);

    pawl_event_before(fed, a);
    if (mutant != NO_FENCE) pawl_saver_fence(saver, a);
    pawl_event_record(forked, a);
    update(a, half[0]);
    pawl_event_before(forked, b);
    update(b, half[1]);
    pawl_event_record(joined, b);
    pawl_event_before(joined, a);
    pawl_event_record(used, a);
}

// ---- what a snapshot holds

static void look_at(const char *directory, uint64_t step)
{
    static float values[PARTS * HALF];
    char path[8192];
    uint64_t header = 0;
    size_t other = 0, same = 0, count = 0;

    for (int i = 0; i < TENSORS; i++)
        count += PARTS * (size_t)sizes[i];
    snprintf(path, sizeof(path), "%s/shard-00000.safetensors", directory);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, &header, sizeof(header), 0) != sizeof(header)
        || pread(fd, values, count * sizeof(float), (off_t)(8 + header))
               != (ssize_t)(count * sizeof(float))) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(1);
    }
    close(fd);
    for (size_t i = 0; i < count; i++) {
        other += values[i] != tag(step);
        same += values[i] == values[0];
    }
    if (!other)
        whole++;
    else if (same == count)
        stale++;
    else
        torn++;
}

// Until as many snapshots were looked at, or one was wrong.
static void live(long snapshots, uint64_t seed)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN };
    struct pawl_save_event event;
    bool saving = false;

    scratch_make(run);
    open_bed(seed);
    struct pawl_saver *saver = open_sim_saver();
    for (long looked = 0; looked < snapshots && !torn && !stale;) {
        train_step(saver, ++progress.step);
        if (!saving) {
            check(progress.step % 16 ? pawl_saver_save(saver, a, &progress)
                                     : pawl_saver_save_now(saver, a, &progress), "save");
            saving = true;
        }
        while (pawl_saver_poll(saver, &event)) {
            if (event.state == PAWL_SAVE_FAILED) {
                fprintf(stderr, "step %llu: %s\n", (unsigned long long)event.step, event.error);
                exit(1);
            }
            if (event.state != PAWL_SAVE_DURABLE) continue;
            look_at(event.path, event.step);
            looked++;
            saving = false;
        }
    }
    check(pawl_saver_close(saver), "close");
    close_bed();
    scratch_remove(run);
}

static void many(long snapshots, uint64_t seed)
{
    torn = stale = whole = 0;
    for (; snapshots > 0 && !torn && !stale; snapshots -= LIFE)
        live(snapshots < LIFE ? snapshots : LIFE, seed++);
}

int main(int argc, char **argv)
{
    const long snapshots = argc > 1 ? atol(argv[1]) : SNAPSHOTS;
    int caught = 0, mutants = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    many(snapshots, 1);
    printf("%ld snapshots while the state was overwritten: %ld torn, %ld stale\n",
           torn + stale + whole, torn, stale);
    const bool good = whole == snapshots && !torn && !stale;
#ifndef __SANITIZE_THREAD__
    for (mutant = CORRECT + 1; mutant < MUTANTS; mutant++, mutants++) {
        many(MUTANT_SNAPSHOTS, 1000);
        caught += torn || stale;
        printf("%-48s %s after %ld\n", mutant_names[mutant],
               torn ? "torn" : stale ? "stale" : "NOT NOTICED", whole);
    }
    printf("mutants caught: %d of %d\n", caught, mutants);
#endif
    return !good || caught != mutants;
}
