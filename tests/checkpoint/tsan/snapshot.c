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
// Lives take turns with one frame of host memory and with three; some more go over a belt, with
// less memory than the state has. Then the same with one edge left out at a time, the trainer's and
// the saver's: each must show, else the first figure says nothing. (Not under ThreadSanitizer,
// which ends at the first race.)

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../saver_support.h"

enum { SNAPSHOTS = 500, LIFE = 100, MUTANT_SNAPSHOTS = 2000, PARTS = 2, TENSORS = 3 };
enum { BELT_SHARE = 50, BELT_BYTES = 16 << 20, BELT_SCALE = 80 };

// Sizes in floats of each half's tensors: several pieces of a copy, one piece, an odd one. Over a
// belt they are larger: 18 MB in all.
static int64_t sizes[TENSORS];
static size_t half_floats;

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
static long torn, stale, whole, together, refused;
static bool digest;  // the saver proves its copies

#ifdef __SANITIZE_THREAD__
enum { RACES_ABORT = 1 };  // an edge left out is a race, which the sanitizer ends
#else
enum { RACES_ABORT = 0 };
#endif

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

static void open_bed(uint64_t seed, bool belt)
{
    const int64_t scale = belt ? BELT_SCALE : 1;
    char text[32];

    sizes[0] = 24576 * scale;
    sizes[1] = 4096 * scale;
    sizes[2] = 77;
    half_floats = (size_t)(sizes[0] + sizes[1] + sizes[2] + 3);

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
    const size_t bytes = half_floats * sizeof(float);
    for (int i = 0; i < PARTS; i++)
        check(pawl_device_alloc(device, &half[i], bytes, PAWL_ON_DEVICE), "half");
    check(pawl_device_alloc(device, &gradient, bytes, PAWL_ON_DEVICE), "gradient");
    check(pawl_device_alloc(device, &pinned, bytes, PAWL_ON_HOST), "pinned");
}

static void close_bed(void)
{
    for (int i = 0; i < PARTS; i++)
        pawl_device_free(device, half[i], half_floats * sizeof(float), PAWL_ON_DEVICE);
    pawl_device_free(device, gradient, half_floats * sizeof(float), PAWL_ON_DEVICE);
    pawl_device_free(device, pinned, half_floats * sizeof(float), PAWL_ON_HOST);
    pawl_event_close(fed);
    pawl_event_close(forked);
    pawl_event_close(joined);
    pawl_event_close(used);
    pawl_stream_close(a);
    pawl_stream_close(b);
    pawl_stream_close(feed);
    pawl_device_close(device);
}

static struct pawl_saver *open_sim_saver(uint64_t memory_bytes)
{
    const struct pawl_saver_options options = { .where = run, .keep = "latest=9",
                                                .host_memory_bytes = memory_bytes,
                                                .digest = digest };
    struct pawl_saver *saver = NULL;
    char name[16];

    check(pawl_saver_open(&saver, &options, device), "saver");
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

    device->ops->update(stream, memory, NULL, NULL, gradient, (int64_t)half_floats, &rule,
                        NULL, NULL, NULL, NULL);
}

static void train_step(struct pawl_saver *saver, uint64_t step)
{
    check(pawl_stream_wait(feed), "feed");  // the pinned gradients are free again
    for (int i = 0; i < (int)half_floats; i++)
        pinned[i] = -increment(step);
    if (step > 1) pawl_event_before(used, feed);
    pawl_stream_copy(feed, gradient, pinned, half_floats * sizeof(float));
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
    float *values = malloc(PARTS * half_floats * sizeof(float));
    char path[8192];
    uint64_t header = 0;
    size_t other = 0, same = 0, count = 0;

    for (int i = 0; i < TENSORS; i++)
        count += PARTS * (size_t)sizes[i];
    snprintf(path, sizeof(path), "%s/shard-00000.safetensors", directory);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !values || pread(fd, &header, sizeof(header), 0) != sizeof(header)
        || pread(fd, values, count * sizeof(float), (off_t)(8 + header))
               != (ssize_t)(count * sizeof(float))) {
        // With an edge left out, the header itself may be of another time.
        if (fd < 0 || !values || mutant == CORRECT) {
            fprintf(stderr, "%s cannot be read\n", path);
            exit(1);
        }
        torn++;
        close(fd);
        free(values);
        return;
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
    free(values);
}

// Asks for a snapshot unless as many as may be are on their way.
static void ask(struct pawl_saver *saver, const struct pawl_progress *progress, int *under_way)
{
    const bool now = progress->step % 16 == 0;
    const int rc = now ? pawl_saver_save_now(saver, a, progress)
                       : pawl_saver_save(saver, a, progress);

    if (rc == PAWL_EBUSY) return;
    if (!(digest && mutant && now && rc == PAWL_EDEVICE)) check(rc, "save");
    ++*under_way;
    together += *under_way > 1;
}

// Looks at what became durable; the number.
static int look(struct pawl_saver *saver)
{
    struct pawl_save_event event;
    int looked = 0;

    while (pawl_saver_poll(saver, &event)) {
        if (event.state == PAWL_SAVE_FAILED && digest && mutant) {
            looked += strstr(event.error, "torn or stale") != NULL;
            refused += strstr(event.error, "torn or stale") != NULL;
            continue;
        }
        if (event.state == PAWL_SAVE_FAILED) {
            fprintf(stderr, "step %llu: %s\n", (unsigned long long)event.step, event.error);
            exit(1);
        }
        if (event.state != PAWL_SAVE_DURABLE) continue;
        look_at(event.path, event.step);
        looked++;
    }
    return looked;
}

// Until as many snapshots were looked at, or one was wrong.
static void live(long snapshots, uint64_t seed, bool belt)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN };
    int under_way = 0;
    long asked = 0;

    scratch_make(run);
    open_bed(seed, belt);
    // One frame, or three and a little for their headers.
    const uint64_t frames = 3 * (PARTS * half_floats * sizeof(float) + (64 << 10));
    struct pawl_saver *saver = open_sim_saver(belt ? BELT_BYTES : seed % 2 ? 0 : frames);
    while ((asked < snapshots || under_way) && !torn && !stale) {
        const int before = under_way;
        train_step(saver, ++progress.step);
        if (asked < snapshots) ask(saver, &progress, &under_way);
        asked += under_way - before;
        under_way -= look(saver);
    }
    const int rc = pawl_saver_close(saver);
    if (!(digest && mutant)) check(rc, "close");
    close_bed();
    scratch_remove(run);
}

static void many(long snapshots, uint64_t seed, bool belt)
{
    torn = stale = whole = together = refused = 0;
    for (; snapshots > 0 && !torn && !stale; snapshots -= LIFE)
        live(snapshots < LIFE ? snapshots : LIFE, seed++, belt);
}

static bool noticed(const char *way)
{
    const bool found = torn || stale;

    printf("%-48s %-7s %s after %ld\n", mutant_names[mutant], way,
           torn ? "torn" : stale ? "stale" : "NOT NOTICED", whole);
    return found;
}

// With frames each edge; over a belt those that it has.
static bool mutants(void)
{
    int caught = 0, tried = 0;

    for (mutant = CORRECT + 1; mutant < MUTANTS; mutant++, tried++) {
        many(MUTANT_SNAPSHOTS, 1000, false);
        caught += noticed("frames");
    }
    for (mutant = NO_FENCE; mutant < MUTANTS; mutant++) {
        if (mutant == NO_COPIED) continue;  // there the fence waits for the copy itself
        many(MUTANT_SNAPSHOTS / BELT_SHARE, 1000, true);
        caught += noticed("belt");
        tried++;
    }
    printf("mutants caught: %d of %d\n", caught, tried);
    return caught == tried;
}

// With a digest the saver itself notices each of its edges that is missing: nothing torn or stale
// is ever committed.
static bool proves(void)
{
    int proven = 0;

    digest = true;
    mutant = CORRECT;
    many(200, 1, false);
    bool good = whole == 200;
    printf("%ld snapshots with a digest: %ld torn, %ld stale\n", whole + torn + stale, torn, stale);
    for (mutant = NO_FENCE; mutant < MUTANTS; mutant++) {
        many(100, 1000, false);
        proven += refused && !torn && !stale;
        printf("%-48s digest  %ld refused, %ld whole, %ld torn, %ld stale\n", mutant_names[mutant],
               refused, whole, torn, stale);
    }
    digest = false;
    return good && proven == MUTANTS - NO_FENCE;
}

static bool correct(long snapshots, bool belt)
{
    many(snapshots, 1, belt);
    printf("%ld snapshots %swhile the state was overwritten: %ld torn, %ld stale; %ld began beside "
           "another\n", torn + stale + whole, belt ? "over a belt " : "", torn, stale, together);
    return whole == snapshots && !torn && !stale;
}

int main(int argc, char **argv)
{
    const long snapshots = argc > 1 ? atol(argv[1]) : SNAPSHOTS;

    setvbuf(stdout, NULL, _IOLBF, 0);
    bool good = correct(snapshots, false) && together > snapshots / 20;
    good &= correct(snapshots / BELT_SHARE, true);
    if (!RACES_ABORT) {
        good &= mutants();
        good &= proves();
    }
    return !good;
}
