// generations.c - the order that keeps the trainer out of a frame, or of a slot of the belt, while
// storage has it is broken on purpose: the save is refused and no snapshot holds another's bytes.

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/saver_private.h"
#include "kernels/io.h"
#include "saver_support.h"

enum { WAIT_MS = 10000, CHUNKS = 64 };

static char run[4096];
static struct state state;
static struct pawl_saver *saver;

// ---- storage that stops at a place until it is let go

static struct pawl_io table;
static _Atomic bool held_reserve, held_reap, waiting;
static _Atomic int given[CHUNKS];     // how often storage was given each chunk
static void (*meddle)(void);          // called once, while the first chunks are under way

struct pawl_io_queue {
    struct pawl_io_transfer *entry[PAWL_TRANSFERS_MAX];
    unsigned count;
};

static void wait_for(const _Atomic bool *gate, bool value)
{
    for (int i = 0; i < WAIT_MS && *gate != value; i++)
        usleep(1000);
    cr_assert_eq(*gate, value, "nothing happens");
}

static int queue_open(struct pawl_io_queue **out, unsigned depth)
{
    (void)depth;
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : -ENOMEM;
}

static int queue_submit(struct pawl_io_queue *queue, struct pawl_io_transfer *transfer)
{
    queue->entry[queue->count++] = transfer;
    given[transfer->offset >> PAWL_CHUNK_LOG2]++;
    return 0;
}

static int queue_reap(struct pawl_io_queue *queue, struct pawl_io_transfer **out)
{
    struct pawl_io_transfer *t = queue->entry[0];

    memmove(queue->entry, queue->entry + 1, --queue->count * sizeof(t));
    waiting = true;
    for (int i = 0; i < WAIT_MS && held_reap; i++)
        usleep(1000);
    void (*const now)(void) = meddle;
    meddle = NULL;
    if (now) now();  // and once more when it says so
    t->done = pawl_io_posix.pwrite(t->fd, t->bytes, t->size, t->offset);
    *out = t;
    return 0;
}

static void queue_close(struct pawl_io_queue *queue) { free(queue); }

static int reserve(int fd, off_t size)
{
    if (held_reserve) waiting = true;
    for (int i = 0; i < WAIT_MS && held_reserve; i++)
        usleep(1000);
    return pawl_io_posix.reserve(fd, size);
}

static void set_up(void)
{
    scratch_make_on_disk(run);
    table = pawl_io_posix;
    table.queue_open = queue_open;
    table.queue_submit = queue_submit;
    table.queue_reap = queue_reap;
    table.queue_close = queue_close;
    table.reserve = reserve;
    pawl_io_set(&table);
}

static void tear_down(void)
{
    pawl_io_set(NULL);
    scratch_remove(run);
}

TestSuite(generations, .init = set_up, .fini = tear_down);

static void open_with(enum state_kind kind, uint64_t memory)
{
    state_open(&state, kind);
    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run,
                                 .host_memory_bytes = memory }, state.device), 0);
    state_add(&state, saver);
}

static void take(uint64_t step)
{
    const struct pawl_progress progress = { .step = step, .epoch = -1, .loss = NAN,
                                            .metric = NAN };

    state_fill(&state, step);
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0, "%s", pawl_error());
    pawl_saver_fence(saver, state.stream);
    pawl_saver_passed(saver, state.stream);
}

// Step 1 was refused with those words, step 2 is what comes back.
static void refused(const char *words)
{
    struct pawl_save_event event;
    struct pawl_progress back;
    int failed = 0;

    pawl_saver_wait(saver);
    while (pawl_saver_poll(saver, &event))
        if (event.state == PAWL_SAVE_FAILED) {
            failed++;
            cr_assert_eq(event.step, 1);
            cr_assert_not_null(strstr(event.error, words), "%s", event.error);
        }
    cr_assert_eq(failed, 1);
    cr_assert_eq(pawl_saver_state(saver, 1), PAWL_STEP_FAILED);
    cr_assert_eq(pawl_saver_state(saver, 2), PAWL_STEP_DURABLE);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0, "%s", pawl_error());
    cr_assert_eq(back.step, 2);
    cr_assert_eq(state_wrong(&state, 2), 0);
    cr_assert_eq(pawl_saver_close(saver), 0, "%s", pawl_error());
    state_close(&state);
}

// ---- frames

// The frame is given back too early, and the next snapshot is taken into it at once.
static void reuse(_Atomic bool *gate)
{
    *gate = true;
    open_with(STATE_LARGE, 0);
    take(1);
    wait_for(&waiting, true);
    atomic_fetch_add(&saver->released, 1);
    take(2);
    *gate = false;
}

Test(generations, a_frame_taken_before_it_is_written)
{
    reuse(&held_reserve);
    pawl_saver_wait(saver);
    cr_assert_eq(given[0], 1, "storage got %d chunks, 1 of them belongs to step 2", given[0]);
    refused("reused for another snapshot");
}

Test(generations, a_frame_taken_while_it_is_written)
{
    reuse(&held_reap);
    refused("reused for another snapshot");
}

// All chunks were given already: what is looked at afterwards alone can tell.
Test(generations, a_frame_taken_while_its_last_chunk_is_written)
{
    held_reap = true;
    open_with(STATE_EVEN, 0);
    take(1);
    wait_for(&waiting, true);
    cr_assert_eq(saver->layout.file_bytes >> PAWL_CHUNK_LOG2, 0, "one chunk");
    atomic_fetch_add(&saver->released, 1);
    take(2);
    held_reap = false;
    refused("reused for another snapshot");
}

// ---- the belt

static void free_first_slot(void)
{
    struct pawl_belt *belt = &saver->belt;
    bool reused = false;

    pthread_mutex_lock(&belt->lock);
    belt->busy[0] = false;
    pthread_cond_broadcast(&belt->changed);
    pthread_mutex_unlock(&belt->lock);
    for (int i = 0; i < WAIT_MS && !reused; i++) {
        usleep(1000);
        pthread_mutex_lock(&belt->lock);
        reused = belt->filled > belt->slots;
        pthread_mutex_unlock(&belt->lock);
    }
    cr_assert(reused);
}

// The trainer's fence fills it with the fifth chunk while storage still has the first.
Test(generations, a_slot_filled_while_it_is_written)
{
    open_with(STATE_BIG, PAWL_HOST_MEMORY_LEAST);
    meddle = free_first_slot;
    take(1);
    pawl_saver_wait(saver);
    take(2);
    refused("a slot of the host memory was reused");
}

// It breaks when there is no chunk left to be refused.
static void break_at_the_end(void)
{
    pthread_mutex_lock(&saver->belt.lock);
    const bool last = saver->belt.given == saver->belt.chunks;
    pthread_mutex_unlock(&saver->belt.lock);
    if (last) pawl_belt_break(&saver->belt, "a slot of the host memory was reused, says the test");
    else meddle = break_at_the_end;
}

Test(generations, a_belt_that_breaks_at_its_end)
{
    open_with(STATE_BIG, PAWL_HOST_MEMORY_LEAST);
    meddle = break_at_the_end;
    take(1);
    pawl_saver_wait(saver);
    take(2);
    refused("a slot of the host memory was reused");
}

// Its copies did not happen: what is in the frame is not the state.
Test(generations, a_stream_that_failed)
{
    open_with(STATE_EVEN, 0);
    state.stream->fault = true;
    take(1);
    state.stream->fault = false;
    take(2);
    refused("could not be taken");
}

static void take_fourth_slot(void)
{
    pthread_mutex_lock(&saver->belt.lock);
    cr_assert_eq(saver->belt.given, 3);
    cr_assert_geq(saver->belt.filled, 4);
    saver->belt.owner[3] += saver->belt.slots;
    pthread_mutex_unlock(&saver->belt.lock);
}

// As if the fourth had been filled again before it was given to storage.
Test(generations, a_slot_filled_before_it_is_written)
{
    open_with(STATE_BIG, PAWL_HOST_MEMORY_LEAST);
    meddle = take_fourth_slot;
    take(1);
    pawl_saver_wait(saver);
    cr_assert_eq(given[3], 0, "storage was given a chunk of another time");
    take(2);
    refused("a slot of the host memory was reused");
}
