// test: main timeout=900
// faults.c - each I/O call of a save, a load and another save fails once, and from then on, with
// each of nine errors; reads and writes come short; space ends anywhere; rename lies.
//
// After each: what was acknowledged is there (I1), equals what was saved (I2), every committed
// snapshot verifies (I3) and none was touched by recovery (I4), the next save works without
// cleaning up (I5), all calls came back (I6: the test ends) with one of the eight codes (I7).
// No descriptor stays open and no file is synced again after a sync of it failed.

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/run.h"
#include "checkpoint/store/fault.h"
#include "saver_support.h"

static struct state state;
static char run[4096];
static int runs, failures;
static char what[256];  // the fault of this run, for messages

static void complain(const char *words)
{
    fprintf(stderr, "%s: %s (%s)\n", what, words, pawl_error());
    if (++failures > 20) exit(1);
}

static void must(bool fine, const char *words)
{
    if (!fine) complain(words);
}

static bool is_code(int rc)
{
    return rc <= 0 && rc >= PAWL_ENOTSUP;
}

// ---- the scenario

struct outcome {
    uint64_t acknowledged;  // the largest step reported durable
    bool saved_any;
};

static void save_step(struct pawl_saver *saver, uint64_t step, struct outcome *outcome)
{
    const struct pawl_progress progress = { .step = step, .epoch = -1, .loss = NAN,
                                            .metric = NAN, .training = "{\"seed\":1}" };

    state_fill(&state, step);
    const int rc = pawl_saver_save_now(saver, state.stream, &progress);
    must(is_code(rc), "save: no code");
    if (rc) return;
    if (step > outcome->acknowledged) outcome->acknowledged = step;
    outcome->saved_any = true;
}

// Two saves, then a new life that loads and saves again. Any of it may fail.
static void scenario(struct outcome *outcome)
{
    struct pawl_progress back;

    for (int life = 0; life < 2; life++) {
        struct pawl_saver *saver = NULL;
        int rc = pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run,
                                 .keep = "latest=2" }, state.device);
        must(is_code(rc), "open: no code");
        if (rc) continue;
        state_add(&state, saver);
        rc = pawl_saver_load(saver, state.stream, &back);
        must(is_code(rc), "load: no code");
        if (!rc) must(state_wrong(&state, back.step) == 0, "I2: loaded bytes are not the saved");
        const uint64_t step = rc ? 0 : back.step;
        // A load that fails for another reason than an empty run stops the program, as pawl does.
        for (int i = 1; i <= 2 && (!rc || rc == PAWL_ENONE); i++)
            save_step(saver, step + (uint64_t)i, outcome);
        rc = pawl_saver_close(saver);
        must(is_code(rc), "close: no code");
    }
}

// ---- the audit

static void audit(void)
{
    struct pawl_run list;

    if (pawl_run_list(&list, run)) {
        complain("the run cannot be listed");
        return;
    }
    for (int i = 0; i < list.count; i++) {
        if (list.snapshots[i].state == PAWL_UNCOMMITTED) continue;
        must(list.snapshots[i].state == PAWL_DURABLE, "I3: a committed snapshot is damaged");
        must(!pawl_snapshot_verify(&list.snapshots[i]), "I3: a committed snapshot does not verify");
    }
    pawl_run_free(&list);
}

// A clean life afterwards.
static void clean_retry(struct outcome *outcome)
{
    struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);
    struct pawl_progress back = { 0 };

    state_clear(&state);
    const int rc = pawl_saver_load(saver, state.stream, &back);
    if (outcome->saved_any) {
        must(!rc, "I1: what was acknowledged cannot be loaded");
        must(back.step >= outcome->acknowledged, "I1: an older step came back");
    } else {
        must(!rc || rc == PAWL_ENONE, "load after failed saves");
    }
    if (!rc) must(state_wrong(&state, back.step) == 0, "I2: recovered bytes are not the saved");
    const uint64_t next = (rc ? 0 : back.step) + 1;
    struct outcome again = { 0 };
    save_step(saver, next, &again);
    must(again.acknowledged == next, "I5: the next save failed");
    must(!pawl_saver_close(saver), "close");
    audit();
}

static uint64_t run_once(const struct pawl_fault *fault)
{
    struct outcome outcome = { 0 };
    struct pawl_fault_found found;

    scratch_make(run);
    pawl_fault_begin(fault);
    scenario(&outcome);
    pawl_fault_end(&found);
    must(!found.left_open, "a descriptor stays open");
    must(!found.resynced, "a file was synced again after its sync had failed");
    audit();
    clean_retry(&outcome);
    scratch_remove(run);
    runs++;
    return found.calls;
}

// ---- the rows

static const struct {
    int error;
    const char *name;
} errors[] = {
    { EIO, "EIO" },       { ENOSPC, "ENOSPC" }, { EDQUOT, "EDQUOT" },
    { EINTR, "EINTR" },   { ENOMEM, "ENOMEM" }, { EACCES, "EACCES" },
    { EROFS, "EROFS" },   { EMFILE, "EMFILE" }, { ESTALE, "ESTALE" },
};
enum { ERRORS = sizeof(errors) / sizeof(errors[0]) };

static void each_call(bool sticky, bool late, unsigned only, int stride)
{
    for (int i = 0; i < ERRORS; i++) {
        struct pawl_fault fault = { .error = errors[i].error, .sticky = sticky, .late = late,
                                    .only = only };
        strcpy(what, "no fault");
        const uint64_t calls = run_once(&fault);
        for (fault.at = 1 + (uint64_t)(i % stride); fault.at <= calls;
             fault.at += (uint64_t)stride) {
            snprintf(what, sizeof(what), "call %lu of %lu: %s%s%s", (unsigned long)fault.at,
                     (unsigned long)calls, errors[i].name, sticky ? ", sticky" : "",
                     late ? ", late" : "");
            run_once(&fault);
        }
    }
}

static void count(const char *row)
{
    printf("%-38s %5d runs, %d failures\n", row, runs, failures);
    runs = 0;
}

// Two faults: one in a run's first lives, one in the lives that recover from it.
static void pairs(int count_of)
{
    uint64_t random = 20260101;

    for (int i = 0; i < count_of; i++) {
        struct outcome outcome = { 0 };
        struct pawl_fault_found found;
        scratch_make(run);
        for (int part = 0; part < 2; part++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            const unsigned draw = (unsigned)(random >> 33);
            const struct pawl_fault fault = { .at = 1 + draw % 420, .late = draw / 420 % 4 == 0,
                                              .error = errors[draw / 1680 % ERRORS].error,
                                              .sticky = draw / 15120 % 4 == 0 };
            snprintf(what, sizeof(what), "pair %d, fault %d at call %lu: error %d%s%s", i, part,
                     (unsigned long)fault.at, fault.error, fault.sticky ? ", sticky" : "",
                     fault.late ? ", late" : "");
            pawl_fault_begin(&fault);
            scenario(&outcome);
            pawl_fault_end(&found);
            must(!found.left_open, "a descriptor stays open");
            must(!found.resynced, "a file was synced again after its sync had failed");
            audit();
        }
        clean_retry(&outcome);
        scratch_remove(run);
        runs++;
    }
    count("pairs, the second in recovery");
}

// An argument: that many pairs instead.
int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    state_open(&state, STATE_SMALL);
    if (argc > 1) {
        pairs(atoi(argv[1]));
        state_close(&state);
        return failures != 0;
    }
    each_call(false, false, 0, 1);
    count("each call fails once");
    each_call(true, false, 0, 1);
    count("each call and all after it fail");
    each_call(false, true, 0, 3);
    count("each third call fails after its work");
    each_call(false, true, 1u << PAWL_CALL_RENAME, 1);
    count("rename happens and reports an error");
    strcpy(what, "short transfers");
    run_once(&(struct pawl_fault){ .short_io = true });
    strcpy(what, "no O_DIRECT");
    run_once(&(struct pawl_fault){ .no_direct = true });
    strcpy(what, "short transfers without O_DIRECT");
    run_once(&(struct pawl_fault){ .no_direct = true, .short_io = true });
    count("short transfers, no O_DIRECT");
    for (uint64_t space = 512; space < 40000; space += 512) {
        snprintf(what, sizeof(what), "space ends after %lu bytes", (unsigned long)space);
        run_once(&(struct pawl_fault){ .space = space });
    }
    count("space ends at each 512 bytes");
    state_close(&state);
    return failures != 0;
}
