// test: main timeout=600
// kill9.c - a child trains and saves; the parent kills it with SIGKILL at any moment, 100 times.
//
// After each: every committed snapshot verifies (I3), the newest step is at least the last one that
// the child was told is durable (I1), its bytes are that step's (I2), reading changed nothing (I4),
// and the next child goes on from there without cleaning up (I5).

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint/run.h"
#include "checkpoint/store/fault.h"
#include "saver_support.h"

enum { KILLS = 100 };

static char run[4096];
static enum state_kind kind;

static void die(const char *words)
{
    fprintf(stderr, "%s: %s\n", words, pawl_error());
    exit(1);
}

// ---- the child: each durable step goes to the pipe after it was reported

static void report(struct pawl_saver *saver, int pipe)
{
    struct pawl_save_event event;

    while (pawl_saver_poll(saver, &event)) {
        if (event.state == PAWL_SAVE_FAILED) {
            fprintf(stderr, "child: %s\n", event.error);
            _exit(2);
        }
        if (event.state == PAWL_SAVE_DURABLE
            && write(pipe, &event.step, sizeof(event.step)) != sizeof(event.step))
            _exit(3);
    }
}

static void train(int pipe)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN };
    struct state state;

    state_open(&state, kind);
    struct pawl_saver *saver = open_saver(&state, run, "latest=2,every=50", NULL);
    const int rc = pawl_saver_load(saver, state.stream, &progress);
    if (rc && rc != PAWL_ENONE) die("child: load");
    if (!rc && state_wrong(&state, progress.step)) die("child: the state is not its step's");
    for (;;) {
        pawl_saver_fence(saver, state.stream);
        state_fill(&state, ++progress.step);
        const int saved = pawl_saver_save(saver, state.stream, &progress);
        if (saved && saved != PAWL_EBUSY) die("child: save");
        report(saver, pipe);
    }
}

// ---- the parent

static void count_bytes(const char *what, char text[32])
{
    char command[5000];

    // Of committed files: what recovery must not touch.
    snprintf(command, sizeof(command), "cd '%s' && cat step-*/* 2>/dev/null | cksum", run);
    FILE *pipe = popen(command, "r");
    if (!pipe || !fgets(text, 32, pipe)) die(what);
    pclose(pipe);
}

static uint64_t audit(uint64_t acknowledged, int *committed, int *attempts)
{
    struct pawl_progress back = { 0 };
    struct pawl_saver *reader = NULL;
    struct pawl_run list;
    struct state state;
    char before[32], after[32];

    count_bytes("before", before);
    if (pawl_run_list(&list, run)) die("list");
    for (int i = 0; i < list.count; i++) {
        if (list.snapshots[i].state == PAWL_UNCOMMITTED) {
            ++*attempts;
            continue;
        }
        ++*committed;
        if (pawl_snapshot_verify(&list.snapshots[i])) die("I3");
    }
    pawl_run_free(&list);
    state_open(&state, kind);
    if (pawl_saver_open(&reader, &(struct pawl_saver_options){ .where = run, .read_only = true },
                        state.device))
        die("open");
    state_add(&state, reader);
    const int rc = pawl_saver_load(reader, state.stream, &back);
    if (rc && (rc != PAWL_ENONE || acknowledged)) die("I1: nothing to load");
    if (back.step < acknowledged) die("I1: an acknowledged step is lost");
    if (!rc && state_wrong(&state, back.step)) die("I2");
    pawl_saver_close(reader);
    state_close(&state);
    count_bytes("after", after);
    if (strcmp(before, after)) die("I4: recovery changed something");
    return back.step;
}

// Kills after so many microseconds, counted from the first durable step when wait is true, else
// from birth; returns the last step that was acknowledged.
static uint64_t live_and_die(bool wait, long after_us)
{
    uint64_t step = 0, acknowledged = 0;
    int ends[2], status;

    if (pipe(ends)) die("pipe");
    const pid_t child = fork();
    if (!child) {
        close(ends[0]);
        train(ends[1]);
    }
    close(ends[1]);
    if (wait && read(ends[0], &acknowledged, sizeof(acknowledged)) != sizeof(acknowledged))
        die("the child never saved");
    nanosleep(&(struct timespec){ after_us / 1000000, after_us % 1000000 * 1000 }, NULL);
    kill(child, SIGKILL);
    while (read(ends[0], &step, sizeof(step)) == sizeof(step))
        acknowledged = step;
    close(ends[0]);
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) die("the child ended by itself");
    return acknowledged;
}

// ---- before each call

// Two lives of three saves each, with recovery and retention between. Each durable step goes to
// the pipe.
static void live_twice(int pipe)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN };
    struct state state;

    state_open(&state, kind);
    for (int life = 0; life < 2; life++) {
        struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);
        const int rc = pawl_saver_load(saver, state.stream, &progress);
        if (rc && rc != PAWL_ENONE) die("child: load");
        for (int i = 0; i < 3; i++) {
            state_fill(&state, ++progress.step);
            if (pawl_saver_save_now(saver, state.stream, &progress)) die("child: save");
            if (write(pipe, &progress.step, sizeof(progress.step)) != sizeof(progress.step))
                _exit(3);
        }
        pawl_saver_close(saver);
    }
}

// Killed before call n (0: never), the last acknowledged step. *ended: it came to its end.
static uint64_t live_until(uint64_t n, bool *ended)
{
    uint64_t step = 0, acknowledged = 0;
    int ends[2], status;

    if (pipe(ends)) die("pipe");
    const pid_t child = fork();
    if (!child) {
        close(ends[0]);
        if (n) pawl_fault_begin(&(struct pawl_fault){ .at = n, .kill = true });
        live_twice(ends[1]);
        _exit(0);
    }
    close(ends[1]);
    while (read(ends[0], &step, sizeof(step)) == sizeof(step))
        acknowledged = step;
    close(ends[0]);
    waitpid(child, &status, 0);
    *ended = WIFEXITED(status);
    if (*ended ? WEXITSTATUS(status) : WTERMSIG(status) != SIGKILL) die("the child failed");
    return acknowledged;
}

static void kill_at_each_call(void)
{
    int points = 0, committed = 0, attempts = 0;
    bool ended = false;

    for (uint64_t n = 1;; n++, points++) {
        scratch_make(run);
        uint64_t acknowledged = live_until(n, &ended);
        const uint64_t found = audit(acknowledged, &committed, &attempts);
        if (ended) break;
        acknowledged = live_until(0, &ended);
        if (acknowledged != found + 6) die("I5: the next life did not save its six steps");
        audit(acknowledged, &committed, &attempts);
        scratch_remove(run);
    }
    scratch_remove(run);
    printf("killed before each of %d calls: %d committed snapshots verified, %d attempts cut "
           "off\n", points, committed, attempts);
    if (points < 200 || attempts < points / 4) die("too few points");
}

int main(int argc, char **argv)
{
    const int kills = argc > 1 ? atoi(argv[1]) : KILLS;
    uint64_t acknowledged = 0, told = 0, step = 0;
    int committed = 0, attempts = 0, silent = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    kind = STATE_SMALL;
    kill_at_each_call();
    kind = STATE_MIXED;
    srand(20260101);
    scratch_make_on_disk(run);
    for (int i = 0; i < kills; i++) {
        const uint64_t now = i % 4 ? live_and_die(true, rand() % 80000)
                                   : live_and_die(false, rand() % 100000);
        told += now > acknowledged;
        silent += !now;
        if (now > acknowledged) acknowledged = now;
        const uint64_t found = audit(acknowledged, &committed, &attempts);
        if (found < step) die("I1: the run went backwards");
        step = found;
    }
    printf("%d kills: %llu steps, %d committed snapshots verified, %d attempts cut off, "
           "%d lives too short to save\n", kills, (unsigned long long)step, committed, attempts,
           silent);
    scratch_remove(run);
    // A run of kills that never hits a save shows nothing.
    return told < (uint64_t)kills / 2 || attempts < kills / 4;
}
