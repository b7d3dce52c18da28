// hammer.c - saves as fast as they go, for ThreadSanitizer: the trainer's threads overwrite the
// state between passing and passed and right after it, while the saver writes what it was given.

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../saver_support.h"
#include "checkpoint/run.h"
#include "kernels/thread.h"

enum { STEPS = 400, BLOCK = 4096 };

static struct state state;

struct update {
    char *to;  // NULL: nothing to pass
    char *memory;
    size_t bytes;
    uint64_t step;
};

// An update as the host's kernels do it: read, write the old values away, write the new ones.
// Volatile words, because the compiler expands memcpy and memset of known lengths in place, after
// ThreadSanitizer has looked: with them this program noticed nothing at all.
static void update_block(void *arguments, int64_t block, int thread)
{
    const struct update *update = arguments;
    const size_t start = (size_t)block * BLOCK, left = update->bytes - start;
    const size_t bytes = left < BLOCK ? left : BLOCK;

    (void)thread;
    volatile uint64_t *memory = (volatile uint64_t *)(void *)(update->memory + start);
    volatile uint64_t *to = update->to ? (volatile uint64_t *)(void *)(update->to + start) : NULL;
    for (size_t i = 0; i < bytes / sizeof(*memory); i++) {
        if (to) to[i] = memory[i];
        memory[i] = (update->step & 0xff) * 0x0101010101010101u;
    }
}

static int passed;  // snapshots taken in passing

static void step_once(struct pawl_saver *saver, struct pawl_pool *pool, uint64_t step)
{
    struct pawl_save_event event;
    struct update update = { .memory = state.slab, .bytes = state.slab_bytes, .step = step };

    update.to = step % 3 ? pawl_saver_passing(saver, state.slab, state.slab_bytes) : NULL;
    passed += update.to != NULL;
    pawl_saver_fence(saver, state.stream);
    pawl_pool_run(pool, (int64_t)((update.bytes + BLOCK - 1) / BLOCK), update_block, &update);
    pawl_saver_passed(saver, state.stream);
    while (pawl_saver_poll(saver, &event))
        if (event.state == PAWL_SAVE_FAILED) {
            fprintf(stderr, "step %lu: %s\n", event.step, event.error);
            exit(1);
        }
}

// Every byte of a snapshot of step n is n: what the update before wrote.
static void check(const char *run, uint64_t *steps)
{
    struct pawl_progress back;
    struct pawl_saver *reader = NULL;

    if (pawl_saver_open(&reader, &(struct pawl_saver_options){ .where = run, .read_only = true },
                        state.device))
        exit(1);
    state_add(&state, reader);
    if (pawl_saver_load(reader, state.stream, &back)) {
        fprintf(stderr, "load: %s\n", pawl_error());
        exit(1);
    }
    for (size_t i = 0; i < state.slab_bytes; i++)
        if ((unsigned char)state.slab[i] != (back.step & 0xff)) {
            fprintf(stderr, "step %lu: byte %zu is of step %d\n", back.step, i, state.slab[i]);
            exit(1);
        }
    *steps = back.step;
    pawl_saver_close(reader);
}

// memory: of the ring, in bytes; 0: the state's size.
static int hammer(enum state_kind kind, uint64_t memory, int steps)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN,
                                      .training = "{\"seed\":1}" };
    struct pawl_saver *saver = NULL;
    struct pawl_pool *pool = NULL;
    char run[4096];
    int accepted = 0, busy = 0;
    uint64_t last;

    passed = 0;
    scratch_make(run);
    state_open(&state, kind);
    if (pawl_pool_open(&pool, 3)) return 1;
    if (pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run, .keep = "latest=2",
                        .host_memory_bytes = memory }, state.device))
        return 1;
    state_add(&state, saver);
    for (progress.step = 1; progress.step <= (uint64_t)steps; progress.step++) {
        step_once(saver, pool, progress.step);
        const int rc = progress.step % 50 ? pawl_saver_save(saver, state.stream, &progress)
                                          : pawl_saver_save_now(saver, state.stream, &progress);
        accepted += rc == 0;
        busy += rc == PAWL_EBUSY;
        (void)pawl_saver_state(saver, progress.step);
    }
    if (pawl_saver_close(saver)) {
        fprintf(stderr, "close: %s\n", pawl_error());
        return 1;
    }
    check(run, &last);
    printf("%d steps: %d saves accepted, %d of them in passing, %d skipped; the last is step %lu\n",
           steps, accepted, passed, busy, last);
    pawl_pool_close(pool);
    state_close(&state);
    scratch_remove(run);
    return accepted < steps / 50 || (kind == STATE_EVEN && passed < 2) || last != (uint64_t)steps;
}

int main(void)
{
    return hammer(STATE_EVEN, 0, STEPS)                       // one frame
           || hammer(STATE_EVEN, 4 << 20, STEPS)              // several
           || hammer(STATE_BIG, PAWL_HOST_MEMORY_LEAST, 50);  // a belt
}
