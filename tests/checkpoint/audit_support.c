// audit_support.c - see audit_support.h.

#include "audit_support.h"

#include <math.h>

#include "checkpoint/run.h"

static const char *audit_list(const char *run)
{
    const char *wrong = NULL;
    struct pawl_run list;

    const int rc = pawl_run_list(&list, run);
    if (rc == PAWL_ENONE) return NULL;  // the directory's own name did not survive
    if (rc) return "the run cannot be listed";
    for (int i = 0; i < list.count && !wrong; i++)
        if (list.snapshots[i].state != PAWL_UNCOMMITTED
            && pawl_snapshot_verify(&list.snapshots[i]))
            wrong = "I3: a committed snapshot does not verify";
    pawl_run_free(&list);
    return wrong;
}

static const char *audit_load(struct state *state, struct pawl_saver *saver, uint64_t promised,
                              uint64_t *step)
{
    struct pawl_progress back = { 0 };

    state_clear(state);
    const int rc = pawl_saver_load(saver, state->stream, &back);
    if (rc && promised) return "I1: a promised step is lost";
    if (rc && rc != PAWL_ENONE) return "a cut made a run that refuses to start";
    if (back.step < promised) return "I1: an older step came back";
    if (!rc && state_wrong(state, back.step)) return "I2: the bytes are not the step's";
    *step = back.step;
    return NULL;
}

const char *audit_run(struct state *state, const char *run, uint64_t promised)
{
    struct pawl_progress next = { .epoch = -1, .loss = NAN, .metric = NAN };
    struct pawl_saver *saver = NULL;
    const char *wrong = audit_list(run);

    if (wrong) return wrong;
    if (pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run }, state->device))
        return "the run cannot be opened";
    state_add(state, saver);
    wrong = audit_load(state, saver, promised, &next.step);
    next.step++;
    if (!wrong && pawl_saver_save_now(saver, state->stream, &next))
        wrong = "I5: the next save failed";
    pawl_saver_close(saver);
    return wrong;
}
