// test: main timeout=900
// powercut.c - the power fails 2,000 times, anywhere in a run of saves, removals and recoveries,
// under two models of storage; nothing that was promised is lost, and all that is committed
// verifies. Then the same with one sync at a time left out: each must be noticed, else the first
// figure says nothing. `powercut 2000 alone` leaves these out.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_support.h"
#include "cut_support.h"
#include "saver_support.h"

enum { CUTS = 2000, MUTANT_CUTS = 6000 };

static struct state state;
static char run[4096], after[4096];
static const char *wrong;  // what the last cut broke, or NULL

static void save_step(struct pawl_saver *saver, uint64_t step)
{
    const struct pawl_progress progress = { .step = step, .epoch = -1, .loss = NAN,
                                            .metric = NAN };

    state_fill(&state, step);
    if (!pawl_saver_save_now(saver, state.stream, &progress)) cut_promise(step);
}

// Three lives. The second ends between the rename of MANIFEST and its sync, so that the third
// finds a snapshot that is visible and, as far as anyone knows, not on storage.
static void record(enum cut_mutant mutant)
{
    struct pawl_progress back = { 0 };
    uint64_t step = 0;

    scratch_make(run);
    cut_record_begin(run, mutant);
    for (int life = 0; life < 3; life++) {
        struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);
        cut_recovering(true);
        if (!pawl_saver_load(saver, state.stream, &back)) {
            step = back.step;
            cut_promise(step);  // whoever was told to go on from here relies on it
        }
        cut_recovering(false);
        for (int i = 0; i < 3; i++) {
            if (life == 1 && i == 2) cut_fail_commit();
            save_step(saver, ++step);
        }
        pawl_saver_close(saver);
    }
    cut_record_end();
    scratch_remove(run);
}

// The number of cuts that broke a promise; stops at the first when eager.
static int cut_many(int cuts, bool eager, bool talk)
{
    int broken = 0;

    for (int i = 0; i < cuts && !(eager && broken); i++) {
        const enum cut_model model = i % 2 ? CUT_JOURNAL : CUT_STRICT;
        const int k = (int)((uint64_t)i * 7919 % (uint64_t)(cut_operations() + 1));
        scratch_make(after);
        wrong = audit_run(&state, after, cut_make(after, k, model, (uint64_t)i / 2));
        scratch_remove(after);
        if (!wrong) continue;
        broken++;
        if (talk)
            fprintf(stderr, "cut %d after operation %d of %d, %s: %s (%s)\n", i, k,
                    cut_operations(), model == CUT_STRICT ? "strict" : "journal", wrong,
                    pawl_error());
    }
    return broken;
}

int main(int argc, char **argv)
{
    const int cuts = argc > 1 ? atoi(argv[1]) : CUTS;
    int caught = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    state_open(&state, STATE_SMALL);
    record(CUT_CORRECT);
    const int broken = cut_many(cuts, false, true);
    printf("%d cuts in %d operations: %d promises broken\n", cuts, cut_operations(), broken);
    if (argc > 2) return broken != 0;
    for (enum cut_mutant mutant = 1; mutant < CUT_MUTANTS; mutant++) {
        record(mutant);
        const bool found = cut_many(MUTANT_CUTS, true, false) > 0;
        caught += found;
        printf("%-36s %s\n", cut_mutant_name(mutant), found ? wrong : "NOT NOTICED");
    }
    printf("mutants caught: %d of %d\n", caught, CUT_MUTANTS - 1);
    state_close(&state);
    return broken || caught != CUT_MUTANTS - 1;
}
