// test: main timeout=600
// oom.c - each request for memory of open, load, save and close fails, once and from then on.
//
// Every call comes back with a code (I7), a failed save leaves the run as it was (I1 to I3), the
// next one works (I5), and nothing leaks: what was handed out is counted here.

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/run.h"
#include "kernels/memory.h"
#include "saver_support.h"

static struct state state;
static char run[4096];
static int failures;
static char what[128];

static _Atomic long requests, live;
static long fail_at;
static bool sticky;

static void *resize(void *context, void *memory, size_t bytes)
{
    (void)context;
    if (!bytes) {
        live -= memory != NULL;
        free(memory);
        return NULL;
    }
    const long n = ++requests;
    if (fail_at && (n == fail_at || (sticky && n > fail_at))) return NULL;
    void *fresh = realloc(memory, bytes);
    live += fresh && !memory;
    return fresh;
}

static void must(bool fine, const char *words)
{
    if (fine) return;
    fprintf(stderr, "%s: %s (%s)\n", what, words, pawl_error());
    if (++failures > 20) exit(1);
}

static bool is_code(int rc)
{
    return rc <= 0 && rc >= PAWL_ENOTSUP;
}

// A life: open, add, load, two saves, close. The largest step that was acknowledged.
static uint64_t live_once(void)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN }, back = { 0 };
    struct pawl_saver *saver = NULL;
    char longer[100000];
    uint64_t acknowledged = 0;

    int rc = pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run,
                             .architecture = "{\"name\":\"x\"}" }, state.device);
    must(is_code(rc), "open: no code");
    if (rc) return 0;
    for (int i = 0; !rc && i < state.count; i++)
        rc = pawl_saver_add(saver, state.tensors[i].name, state.memory[i],
                            state.tensors[i].dtype, state.tensors[i].rank, state.tensors[i].dim);
    if (rc) goto out;
    rc = pawl_saver_load(saver, state.stream, &back);
    must(is_code(rc), "load: no code");
    must(rc != PAWL_ECORRUPT, "load: no memory is taken for damage");
    if (!rc) must(!state_wrong(&state, back.step), "I2: loaded bytes are not the saved");
    if (rc && rc != PAWL_ENONE) goto out;
    for (progress.step = back.step + 1; progress.step <= back.step + 2; progress.step++) {
        // The second one's strings are longer than any before: the one case where save allocates.
        memset(longer, ' ', sizeof(longer));
        memcpy(longer, "{\"a\":1}", 7);
        longer[sizeof(longer) - 1] = 0;
        progress.training = progress.step > back.step + 1 ? longer : "{\"a\":1}";
        state_fill(&state, progress.step);
        rc = pawl_saver_save_now(saver, state.stream, &progress);
        must(is_code(rc), "save: no code");
        if (!rc) acknowledged = progress.step;
    }
out:
    rc = pawl_saver_close(saver);
    must(is_code(rc), "close: no code");
    return acknowledged;
}

static void audit(uint64_t acknowledged, bool damaged)
{
    struct pawl_progress back = { 0 };
    struct pawl_run list;
    int bad = 0;

    must(!pawl_run_list(&list, run), "the run cannot be listed");
    for (int i = 0; i < list.count; i++)
        if (list.snapshots[i].state != PAWL_UNCOMMITTED)
            bad += pawl_snapshot_verify(&list.snapshots[i]) != 0;
    must(bad == 0 || (damaged && bad == 1), "I3: a committed snapshot does not verify");
    pawl_run_free(&list);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    state_clear(&state);
    const int rc = pawl_saver_load(saver, state.stream, &back);
    must(!rc || (rc == PAWL_ENONE && !acknowledged), "I1: what was acknowledged is gone");
    must(back.step >= acknowledged, "I1: an older step came back");
    if (!rc) must(!state_wrong(&state, back.step), "I2: recovered bytes are not the saved");
    pawl_saver_close(saver);
    must(live_once() == back.step + 2, "I5: the next saves failed");
}

// A listing that lacks memory says so: it takes nothing for unreadable or absent.
static void list_once(void)
{
    struct pawl_run list = { 0 };

    const int rc = pawl_run_list(&list, run);
    must(!rc || rc == PAWL_ENOMEM, "list: another code");
    for (int i = 0; !rc && i < list.count; i++)
        must(list.snapshots[i].state == PAWL_DURABLE, "list: no memory is taken for a state");
    must(rc || list.count == 2, "list: a snapshot is missing");
    pawl_run_free(&list);
}

static void list_each(void)
{
    long sites = 0;

    for (fail_at = 0; fail_at <= sites; fail_at++) {
        requests = 0;
        snprintf(what, sizeof(what), "list, request %ld of %ld", fail_at, sites);
        list_once();
        if (!fail_at) sites = requests;
    }
    fail_at = 0;
    must(sites > 4, "a listing asks for hardly any memory");
}

enum start { EMPTY, FILLED, DAMAGED, STARTS };
static const char *const start_names[] = { "empty", "filled", "damaged" };

static long once(enum start start)
{
    scratch_make(run);
    if (start != EMPTY) {
        const long at = fail_at;
        char path[4096];
        fail_at = 0;
        const uint64_t step = live_once();
        if (!at) list_each();
        if (start == DAMAGED && scratch_find(run, step, path))
            scratch_flip(path, "document.json", 5, 1);
        fail_at = at;
    }
    const long before = live;
    requests = 0;
    const uint64_t acknowledged = live_once();
    const long made = requests;
    must(live == before, "memory leaks");
    fail_at = 0;
    audit(acknowledged, start == DAMAGED);
    scratch_remove(run);
    return made;
}

int main(void)
{
    int runs = 0;

    pawl_memory_set(&(struct pawl_memory){ resize, NULL });
    state_open(&state, STATE_SMALL);
    for (enum start start = EMPTY; start < STARTS; start++) {
        fail_at = 0;
        const long sites = once(start);
        for (int i = 0; i < 2; i++) {
            sticky = i;
            for (long at = 1; at <= sites; at++, runs++) {
                fail_at = at;
                snprintf(what, sizeof(what), "request %ld of %ld%s, %s run", at, sites,
                         sticky ? ", sticky" : "", start_names[start]);
                once(start);
            }
        }
        sticky = false;
        printf("%s run: %ld requests\n", start_names[start], sites);
    }
    printf("%d runs, %d failures\n", runs, failures);
    state_close(&state);
    if (live) printf("%ld blocks leak in the end\n", live);
    return failures || live || runs < 100;
}
