// streaming.c - chunks on their way: through io_uring, through threads, through a queue that lies;
// over a belt smaller than the state; several snapshots at once; without asking for memory.

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/run.h"
#include "checkpoint/store/transfers.h"
#include "checkpoint/store/uring.h"
#include "kernels/memory.h"
#include "saver_support.h"

static char run[4096];
static struct state state;
static const struct pawl_progress plain = { .epoch = -1, .loss = NAN, .metric = NAN };

static void set_up(void) { scratch_make_on_disk(run); }
static void tear_down(void)
{
    pawl_io_set(NULL);
    scratch_remove(run);
}

TestSuite(streaming, .init = set_up, .fini = tear_down);

static struct pawl_saver *open_with(uint64_t memory)
{
    struct pawl_saver *saver = NULL;

    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run,
                                 .host_memory_bytes = memory }, state.device), 0);
    state_add(&state, saver);
    return saver;
}

// Saves, overwrites at once what was saved, and looks at what came back.
static void there_and_back(enum state_kind kind, uint64_t memory, int saves)
{
    struct pawl_progress progress = plain, back;

    state_open(&state, kind);
    struct pawl_saver *saver = open_with(memory);
    for (progress.step = 1; progress.step <= (uint64_t)saves; progress.step++) {
        state_fill(&state, progress.step);
        cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0, "%s", pawl_error());
        if (progress.step % 2) usleep(20000);  // forward and backward
        pawl_saver_fence(saver, state.stream);
        state_clear(&state);
        pawl_saver_passed(saver, state.stream);
        cr_assert_eq(pawl_saver_wait(saver), 0, "%s", pawl_error());
        cr_assert_eq(pawl_saver_state(saver, progress.step), PAWL_STEP_DURABLE);
        cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0, "%s", pawl_error());
        cr_assert_eq(back.step, progress.step);
        cr_assert_eq(state_wrong(&state, progress.step), 0);
    }
    state_fill(&state, progress.step);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s", pawl_error());
    state_clear(&state);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0, "%s", pawl_error());
    cr_assert_eq(state_wrong(&state, progress.step), 0);
    cr_assert_eq(pawl_saver_close(saver), 0);
    state_close(&state);
}

static bool use_uring(void)
{
    const char *why;
    const struct pawl_io *table = pawl_io_uring(&why);

    if (!table) fprintf(stderr, "io_uring cannot be used here (%s): not tested\n", why);
    if (table) pawl_io_set(table);
    return table;
}

Test(streaming, through_io_uring)
{
    if (!use_uring()) return;
    there_and_back(STATE_LARGE, 0, 3);
    there_and_back(STATE_MIXED, 0, 3);
}

Test(streaming, through_threads) { there_and_back(STATE_LARGE, 0, 2); }

// ---- a queue that lies

static struct {
    ssize_t answer;   // what the at-th transfer gives instead; SHORT: a part; MORE: too much
    uint64_t at, count;
    bool broken;      // reaping fails from then on
    int syncs;        // of anything, after it
} lie;
enum { SHORT = 1, ODD = 2, MORE = 3 };

static struct pawl_io liar;

struct pawl_io_queue {
    struct pawl_io_transfer *entry[PAWL_TRANSFERS_MAX];
    unsigned count;
};

static int liar_open(struct pawl_io_queue **out, unsigned depth)
{
    (void)depth;
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : -ENOMEM;
}

static int liar_submit(struct pawl_io_queue *queue, struct pawl_io_transfer *transfer)
{
    queue->entry[queue->count++] = transfer;
    return 0;
}

// The newest first: order is nobody's to rely on.
static int liar_reap(struct pawl_io_queue *queue, struct pawl_io_transfer **out)
{
    const bool now = ++lie.count == lie.at;
    struct pawl_io_transfer *t = queue->entry[--queue->count];
    size_t size = t->size;

    if (now && lie.broken) return -EBADF;
    if (now && lie.answer == SHORT) size = size / 2 / 4096 * 4096;
    if (now && lie.answer == ODD) size = size / 2 + 12;
    if (now && lie.answer <= 0)
        t->done = lie.answer;
    else if (now && lie.answer == ODD)  // as far as O_DIRECT is concerned, the disk took a part
        t->done = pawl_io_posix.pwrite(t->fd, t->bytes, size / 4096 * 4096, t->offset) < 0
                      ? -EIO : (ssize_t)size / 4096 * 4096;
    else
        t->done = pawl_io_posix.pwrite(t->fd, t->bytes, size, t->offset);
    if (now && lie.answer == MORE) t->done = (ssize_t)t->size + 4096;
    *out = t;
    return 0;
}

static void liar_close(struct pawl_io_queue *queue) { free(queue); }

static int liar_datasync(int fd)
{
    if (lie.at && lie.count >= lie.at) lie.syncs++;
    return pawl_io_posix.datasync(fd);
}

static void use_liar(void)
{
    liar = pawl_io_posix;
    liar.queue_open = liar_open;
    liar.queue_submit = liar_submit;
    liar.queue_reap = liar_reap;
    liar.queue_close = liar_close;
    liar.datasync = liar_datasync;
    pawl_io_set(&liar);
}

// The second save meets the lie; the first one must be there afterwards, or the second.
static void meet(ssize_t answer, bool broken, uint64_t at, int expected)
{
    struct pawl_progress progress = plain, back;

    state_open(&state, STATE_LARGE);
    use_liar();
    memset(&lie, 0, sizeof(lie));
    struct pawl_saver *saver = open_with(0);
    for (progress.step = 1; progress.step <= 2; progress.step++) {
        lie.count = 0;
        lie.at = progress.step == 2 ? at : 0;
        lie.answer = answer;
        lie.broken = broken;
        state_fill(&state, progress.step);
        const int rc = pawl_saver_save_now(saver, state.stream, &progress);
        cr_assert_eq(rc, progress.step == 1 ? 0 : expected, "answer %zd at %lu: %d (%s)", answer,
                     at, rc, pawl_error());
    }
    if (expected) cr_assert_eq(lie.syncs, 0, "a file that was not written was made durable");
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0, "%s", pawl_error());
    cr_assert_eq(back.step, expected ? 1 : 2);
    cr_assert_eq(state_wrong(&state, back.step), 0);
    pawl_saver_close(saver);
    state_close(&state);
    scratch_remove(run);
    scratch_make_on_disk(run);
}

Test(streaming, what_a_queue_may_say)
{
    for (uint64_t at = 1; at <= 3; at++) {
        meet(SHORT, false, at, 0);
        meet(ODD, false, at, 0);
        meet(-EINTR, false, at, 0);
        meet(-EAGAIN, false, at, 0);
        meet(-EINVAL, false, at, 0);  // as from a disk with larger sectors: goes another way
        meet(0, false, at, PAWL_EIO);
        meet(MORE, false, at, PAWL_EIO);
        meet(-EIO, false, at, PAWL_EIO);
        meet(-ENOSPC, false, at, PAWL_EIO);
        meet(-EIO, true, at, PAWL_EIO);
    }
}

// ---- less memory than the state

enum { LEAST = PAWL_HOST_MEMORY_LEAST };

Test(streaming, a_belt_on_the_host) { there_and_back(STATE_BIG, LEAST, 4); }

Test(streaming, a_belt_through_io_uring)
{
    if (use_uring()) there_and_back(STATE_BIG, LEAST, 3);
}

Test(streaming, too_little_memory_is_refused)
{
    state_open(&state, STATE_BIG);
    struct pawl_saver *saver = open_with(LEAST - 1);
    cr_assert_eq(pawl_saver_ready(saver), PAWL_EINVAL);
    cr_assert_not_null(strstr(pawl_error(), "at least 16777216"), "%s", pawl_error());
    pawl_saver_close(saver);
    state_close(&state);
}

Test(streaming, the_stall_that_is_foreseen)
{
    state_open(&state, STATE_BIG);
    struct pawl_saver *saver = open_with(LEAST);
    cr_assert_eq(pawl_saver_ready(saver), 0);
    const double left = (double)(pawl_saver_state_bytes(saver) - LEAST);
    const int64_t wait = pawl_saver_stall_ns(saver, 1e8, 0);
    cr_assert_float_eq((double)wait, left * 10, left * 0.01 + 1e6);
    cr_assert_eq(pawl_saver_stall_ns(saver, 1e8, wait + 1000000), 0);
    pawl_saver_close(saver);
    saver = open_with(0);
    cr_assert_eq(pawl_saver_ready(saver), 0);
    cr_assert_eq(pawl_saver_stall_ns(saver, 1e8, 0), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

// Storage that fails lets the fence go, and the state that was half taken is nobody's snapshot.
Test(streaming, a_belt_that_breaks)
{
    struct pawl_progress progress = plain, back;

    state_open(&state, STATE_BIG);
    use_liar();
    memset(&lie, 0, sizeof(lie));
    struct pawl_saver *saver = open_with(LEAST);
    for (progress.step = 1; progress.step <= 3; progress.step++) {
        lie.count = 0;
        lie.at = progress.step == 2 ? 3 : 0;
        lie.answer = -EIO;
        state_fill(&state, progress.step);
        cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
        pawl_saver_fence(saver, state.stream);
        state_clear(&state);
        cr_assert_eq(pawl_saver_wait(saver), progress.step == 2 ? PAWL_EIO : 0);
    }
    cr_assert_eq(pawl_saver_state(saver, 1), PAWL_STEP_DURABLE);
    cr_assert_eq(pawl_saver_state(saver, 2), PAWL_STEP_FAILED);
    cr_assert_eq(pawl_saver_state(saver, 3), PAWL_STEP_DURABLE);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
    cr_assert_eq(state_wrong(&state, 3), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

// The same on a device with a copy stream: the saver's thread does all the copying.
Test(streaming, a_belt_beside_the_device)
{
    struct pawl_progress progress = plain, back;

    state_open(&state, STATE_BIG);
    state.device->host = false;
    struct pawl_saver *saver = open_with(LEAST);
    for (progress.step = 1; progress.step <= 4; progress.step++) {
        state_fill(&state, progress.step);
        cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0, "%s", pawl_error());
        pawl_saver_fence(saver, state.stream);
        state_clear(&state);
        cr_assert_eq(pawl_saver_wait(saver), 0, "%s", pawl_error());
        cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
        cr_assert_eq(state_wrong(&state, progress.step), 0);
    }
    pawl_saver_close(saver);
    state.device->host = true;
    state_close(&state);
}

// ---- several at once

// fdatasync waits while held: a storage that is slow to make things durable.
static _Atomic int held;
static struct pawl_io slow;

static int slow_datasync(int fd)
{
    while (held)
        usleep(1000);
    return pawl_io_posix.datasync(fd);
}

static void take_one(struct pawl_saver *saver, uint64_t step, int expected)
{
    struct pawl_progress progress = plain;

    progress.step = step;
    state_fill(&state, step);
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), expected, "step %lu: %s", step,
                 pawl_error());
    pawl_saver_fence(saver, state.stream);
    pawl_saver_passed(saver, state.stream);
}

static void await_state(const struct pawl_saver *saver, uint64_t step, enum pawl_step_state wanted)
{
    for (int i = 0; i < 5000 && pawl_saver_state(saver, step) != wanted; i++)
        usleep(1000);
    cr_assert_eq(pawl_saver_state(saver, step), wanted, "step %lu is in state %d", step,
                 pawl_saver_state(saver, step));
}

Test(streaming, several_on_their_way)
{
    struct pawl_save_event event;
    uint64_t last = 0;

    state_open(&state, STATE_EVEN);
    slow = pawl_io_posix;
    slow.datasync = slow_datasync;
    pawl_io_set(&slow);
    struct pawl_saver *saver = open_with(0);
    cr_assert_eq(pawl_saver_ready(saver), 0);
    const uint64_t one = pawl_saver_ring_bytes(saver);
    pawl_saver_close(saver);
    saver = open_with(3 * one + 100);
    cr_assert_eq(pawl_saver_state(saver, 1), PAWL_STEP_UNKNOWN);
    held = 1;
    take_one(saver, 1, 0);
    cr_assert_eq(pawl_saver_ring_bytes(saver), 3 * one);
    take_one(saver, 2, 0);
    take_one(saver, 3, 0);
    await_state(saver, 1, PAWL_STEP_TAKEN);
    usleep(100000);  // the first is written by now, and waits: its frame is free again
    take_one(saver, 4, 0);
    take_one(saver, 5, PAWL_EBUSY);
    cr_assert_eq(pawl_saver_skips(saver), 1);
    cr_assert_eq(pawl_saver_state(saver, 5), PAWL_STEP_SKIPPED);
    cr_assert_eq(pawl_saver_state(saver, 4), PAWL_STEP_TAKEN);
    cr_assert_eq(scratch_count(run), 1, "the second began before the first ended");
    held = 0;
    cr_assert_eq(pawl_saver_wait(saver), 0);
    while (pawl_saver_poll(saver, &event)) {
        if (event.state != PAWL_SAVE_DURABLE) continue;
        cr_assert_eq(event.step, last + 1, "durable out of order: %lu after %lu", event.step, last);
        last = event.step;
    }
    cr_assert_eq(last, 4);
    pawl_saver_close(saver);
    state_close(&state);
}

// ---- no memory in a save

// Requests for memory while a save was on its way; retention, which lists the run, comes after it.
static _Atomic long requests;
static struct pawl_saver *_Atomic watched;
static _Atomic uint64_t watched_step;

static void *counting(void *context, void *memory, size_t bytes)
{
    (void)context;
    if (!bytes) {
        free(memory);
        return NULL;
    }
    if (watched && pawl_saver_state(watched, watched_step) != PAWL_STEP_DURABLE) requests++;
    return realloc(memory, bytes);
}

static void no_memory(uint64_t memory)
{
    struct pawl_progress progress = plain;

    progress.training = "{\"seed\":1}";
    pawl_memory_set(&(struct pawl_memory){ counting, NULL });
    state_open(&state, STATE_BIG);
    struct pawl_saver *saver = open_with(memory);
    cr_assert_eq(pawl_saver_ready(saver), 0);
    for (progress.step = 1; progress.step <= 3; progress.step++) {
        requests = 0;
        watched_step = progress.step;
        watched = saver;
        cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
        pawl_saver_fence(saver, state.stream);
        pawl_saver_passed(saver, state.stream);
        await_state(saver, progress.step, PAWL_STEP_DURABLE);
        watched = NULL;
        cr_assert_eq(requests, 0, "save %lu asked %ld times for memory", progress.step, requests);
        pawl_saver_wait(saver);
        usleep(300000);  // retention takes its memory before the next save
    }
    pawl_saver_close(saver);
    state_close(&state);
    pawl_memory_set(NULL);
}

Test(streaming, a_save_asks_for_no_memory)
{
    no_memory(0);
    scratch_remove(run);
    scratch_make_on_disk(run);
    no_memory(LEAST);
}
