// test: timeout=600
// passing.c - snapshots taken in passing: 500 of them, each overwritten the moment it may be, and
// not a byte of another step in any.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "saver_support.h"

enum { SNAPSHOTS = 500, PARTS_MAX = 64 };

static char run[4096];
static struct state state, copy;
static uint64_t draws;

static void set_up(void) { scratch_make(run); }
static void tear_down(void) { scratch_remove(run); }

TestSuite(passing, .init = set_up, .fini = tear_down);

// Below n, from a fixed seed: a failure is found again.
static size_t draw(size_t n)
{
    uint64_t x = ++draws * 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (size_t)((x ^ x >> 31) % n);
}

struct part {
    char *memory, *to;
    size_t bytes;
};

// Asks for parts of the slab at random: some large, some small, some unaligned, some twice.
static int ask(struct pawl_saver *saver, struct part parts[PARTS_MAX])
{
    int count = 0;

    for (int i = 0; i < 40 && count < PARTS_MAX; i++) {
        const struct pawl_tensor *tensor = &state.tensors[draw((size_t)state.count)];
        if (!tensor->size_bytes) continue;
        size_t start = draw(4) ? 0 : draw(tensor->size_bytes) / (draw(3) ? 64 : 1);
        if (draw(2)) start = start / 64 * 64;
        size_t bytes = draw(3) ? tensor->size_bytes - start : draw(tensor->size_bytes - start + 1);
        // Sometimes more than one tensor: a stretch of the slab.
        if (!draw(4)) bytes += draw(state.slab_bytes - tensor->offset_bytes - start - bytes + 1);
        char *memory = state.slab + tensor->offset_bytes + start;
        char *to = pawl_saver_passing(saver, memory, bytes);
        if (!to) continue;
        cr_assert_eq((uintptr_t)to % 64, 0);
        parts[count++] = (struct part){ memory, to, bytes };
    }
    return count;
}

static void check(struct pawl_saver *reader, uint64_t step)
{
    struct pawl_progress back;

    state_clear(&copy);
    cr_assert_eq(pawl_saver_load(reader, copy.stream, &back), 0, "%s", pawl_error());
    cr_assert_eq(back.step, step, "stale: step %lu instead of %lu", back.step, step);
    const size_t wrong = state_wrong(&copy, step);
    cr_assert_eq(wrong, 0, "torn: step %lu has %zu bytes of others", step, wrong);
}

static void hundreds(enum state_kind kind, int snapshots)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN };
    struct pawl_saver *reader = NULL;
    struct part parts[PARTS_MAX];
    int handed = 0;

    state_open(&state, kind);
    state_open(&copy, kind);
    struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);
    cr_assert_eq(pawl_saver_open(&reader, &(struct pawl_saver_options){ .where = run,
                                 .read_only = true }, copy.device), 0);
    state_add(&copy, reader);
    state_fill(&state, 1);
    for (progress.step = 1; progress.step <= (uint64_t)snapshots; progress.step++) {
        cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0, "%s", pawl_error());
        const int count = ask(saver, parts);
        handed += count;
        pawl_saver_fence(saver, state.stream);
        cr_assert_null(pawl_saver_passing(saver, state.slab, 64), "all is copied by now");
        for (int i = 0; i < count; i++)
            memcpy(parts[i].to, parts[i].memory, parts[i].bytes);
        // The update: with nothing handed out it may come before passed, else only with it.
        if (!count) state_fill(&state, progress.step + 1);
        pawl_saver_passed(saver, state.stream);
        if (count) state_fill(&state, progress.step + 1);
        cr_assert_eq(drain(saver, PAWL_SAVE_DURABLE), 1, "%s", pawl_error());
        check(reader, progress.step);
    }
    cr_expect_gt(handed, snapshots, "hardly anything was taken in passing: %d", handed);
    pawl_saver_close(reader);
    pawl_saver_close(saver);
    state_close(&copy);
    state_close(&state);
}

Test(passing, even) { hundreds(STATE_EVEN, SNAPSHOTS); }
Test(passing, mixed) { hundreds(STATE_MIXED, SNAPSHOTS); }
Test(passing, many) { hundreds(STATE_MANY, 60); }

// A slab of tensors whose sizes are multiples of 64 is one stretch from first to last byte.
Test(passing, a_slab_is_one_piece)
{
    struct pawl_progress progress = { .step = 1, .epoch = -1, .loss = NAN, .metric = NAN };

    state_open(&state, STATE_EVEN);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    cr_assert_null(pawl_saver_passing(saver, state.slab, 64), "no snapshot is due");
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
    char *to = pawl_saver_passing(saver, state.slab, state.slab_bytes - 64);
    cr_assert_not_null(to);
    cr_assert_null(pawl_saver_passing(saver, state.slab + 128, 64), "handed out already");
    cr_assert_null(pawl_saver_passing(saver, state.slab + state.slab_bytes - 64, 128), "too long");
    cr_assert_null(pawl_saver_passing(saver, state.slab + state.slab_bytes - 60, 32), "unaligned");
    cr_assert_eq(pawl_saver_passing(saver, state.slab + state.slab_bytes - 64, 64),
                 to + state.slab_bytes - 64);
    memcpy(to, state.slab, state.slab_bytes);
    pawl_saver_fence(saver, state.stream);
    pawl_saver_passed(saver, state.stream);
    cr_assert_eq(pawl_saver_wait(saver), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

// What cannot be a whole snapshot must not become one.
Test(passing, misuse_fails_the_snapshot)
{
    struct pawl_progress progress = { .step = 1, .epoch = -1, .loss = NAN, .metric = NAN };

    state_open(&state, STATE_EVEN);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
    cr_assert_not_null(pawl_saver_passing(saver, state.slab, 64));
    pawl_saver_passed(saver, state.stream);  // without a fence
    cr_assert_eq(pawl_saver_wait(saver), PAWL_EINVAL);
    progress.step = 2;
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
    cr_assert_not_null(pawl_saver_passing(saver, state.slab, 64));
    cr_assert_eq(pawl_saver_wait(saver), PAWL_EINVAL);  // promised, never written
    progress.step = 3;
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
    state.stream->fault = 1;  // as after a failed kernel: copies are skipped from now on
    state.stream->reason = "a kernel failed";
    pawl_saver_fence(saver, state.stream);
    cr_assert_eq(pawl_saver_wait(saver), PAWL_EDEVICE);
    cr_assert_not_null(strstr(pawl_error(), "a kernel failed"));
    pawl_stream_wait(state.stream);
    cr_assert_eq(scratch_count(run), 0);
    cr_assert_eq(drain(saver, PAWL_SAVE_FAILED), 3);
    progress.step = 4;
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

// Devices other than the host copy on a stream of their own.
Test(passing, the_other_way)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN }, back;
    struct pawl_saver *saver = NULL;

    state_open(&state, STATE_MIXED);
    state.device->host = false;
    saver = open_saver(&state, run, NULL, NULL);
    for (progress.step = 1; progress.step <= 20; progress.step++) {
        state_fill(&state, progress.step);
        cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
        cr_assert_null(pawl_saver_passing(saver, state.slab, 64));
        pawl_saver_fence(saver, state.stream);
        state_clear(&state);
        pawl_saver_passed(saver, state.stream);
        cr_assert_eq(drain(saver, PAWL_SAVE_TAKEN), 1);
        cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
        cr_assert_eq(state_wrong(&state, progress.step), 0);
    }
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    cr_assert_eq(pawl_saver_close(saver), 0);
    state.device->host = true;
    state_close(&state);
}
