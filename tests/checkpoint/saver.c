// saver.c - what comes back is what was saved: every kind of state, mode and progress.

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/run.h"
#include "common_saver.h"

static char run[4096];
static struct state state;

static void set_up(void) { scratch_make(run); }
static void tear_down(void) { scratch_remove(run); }

TestSuite(saver, .init = set_up, .fini = tear_down);

static const struct pawl_progress plain = { .epoch = -1, .loss = NAN, .metric = NAN };

static void round_trip(enum state_kind kind, const char *mode)
{
    struct pawl_progress progress = plain, back;

    state_open(&state, kind);
    struct pawl_saver *saver = open_saver(&state, run, NULL, mode);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), PAWL_ENONE);
    for (progress.step = 1; progress.step <= 3; progress.step++) {
        state_fill(&state, progress.step);
        cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0, "%s", pawl_error());
        pawl_saver_fence(saver, state.stream);
        state_clear(&state);  // the update comes at once
        cr_assert_eq(pawl_saver_wait(saver), 0, "%s", pawl_error());
    }
    cr_assert_eq(drain(saver, PAWL_SAVE_DURABLE), 3);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0, "%s", pawl_error());
    cr_assert_eq(back.step, 3);
    cr_assert_eq(state_wrong(&state, 3), 0);
    cr_assert_eq(pawl_saver_close(saver), 0);

    state_clear(&state);
    saver = open_saver(&state, run, NULL, mode);
    cr_assert_eq(pawl_saver_load_step(saver, state.stream, 2, &back), 0, "%s", pawl_error());
    cr_assert_eq(state_wrong(&state, 2), 0);
    cr_assert_eq(pawl_saver_load_step(saver, state.stream, 9, &back), PAWL_ENONE);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
    cr_assert_eq(state_wrong(&state, 3), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

Test(saver, even_async) { round_trip(STATE_EVEN, "async"); }
Test(saver, mixed_async) { round_trip(STATE_MIXED, "async"); }
Test(saver, many_async) { round_trip(STATE_MANY, "async"); }
Test(saver, large_async) { round_trip(STATE_LARGE, "async"); }
Test(saver, mixed_sync) { round_trip(STATE_MIXED, "sync"); }
Test(saver, large_sync) { round_trip(STATE_LARGE, "sync"); }
