// retention.c - which snapshots stay, in which order the others go, and what keeps them.

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/keep.h"
#include "checkpoint/retain.h"
#include "checkpoint/run.h"
#include "checkpoint/store/fault.h"
#include "saver_support.h"

static char run[4096];
static struct state state;

static void set_up(void)
{
    scratch_make(run);
    state_open(&state, STATE_SMALL);
}

static void tear_down(void)
{
    state_close(&state);
    scratch_remove(run);
}

TestSuite(retention, .init = set_up, .fini = tear_down);

static void save_step(struct pawl_saver *saver, uint64_t step, double metric)
{
    const struct pawl_progress progress = { .step = step, .epoch = -1, .loss = NAN,
                                            .metric = metric };

    state_fill(&state, step);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s", pawl_error());
}

// The steps that are there, newest first, as text.
static const char *steps(void)
{
    static char text[512];
    struct pawl_run list;

    text[0] = 0;
    cr_assert_eq(pawl_run_list(&list, run), 0);
    for (int i = 0; i < list.count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%lu%s", i ? " " : "",
                 list.snapshots[i].step,
                 list.snapshots[i].state == PAWL_DURABLE ? "" : "?");
    pawl_run_free(&list);
    return text;
}

static void train(const char *keep, uint64_t from, uint64_t to, uint64_t by)
{
    struct pawl_saver *saver = open_saver(&state, run, keep, NULL);

    for (uint64_t step = from; step <= to; step += by)
        save_step(saver, step, fabs((double)step - 33));
    pawl_saver_close(saver);
}

Test(retention, latest)
{
    train(NULL, 1, 8, 1);
    cr_expect_str_eq(steps(), "8 7 6");
    train("latest=2", 9, 9, 1);
    cr_expect_str_eq(steps(), "9 8");
}

Test(retention, every_and_best)
{
    train("latest=2,every=50,best=3:val_loss:min", 10, 120, 10);
    cr_expect_str_eq(steps(), "120 110 100 50 40 30 20");
    train("best=1:val_loss:max", 130, 130, 10);
    cr_expect_str_eq(steps(), "130 120");
}

Test(retention, pinned_ones_stay)
{
    struct pawl_run list;

    train("latest=9", 1, 3, 1);
    cr_assert_eq(pawl_run_list(&list, run), 0);
    cr_assert_eq(list.snapshots[2].step, 1);
    cr_assert_eq(pawl_snapshot_pin(&list.snapshots[2], true), 0);
    pawl_run_free(&list);
    train("latest=2", 4, 7, 1);
    cr_expect_str_eq(steps(), "7 6 1");
    cr_assert_eq(pawl_run_list(&list, run), 0);
    cr_assert(list.snapshots[2].pinned);
    cr_assert_eq(pawl_snapshot_remove(run, &list.snapshots[2]), PAWL_EINVAL);
    cr_assert_eq(pawl_snapshot_verify(&list.snapshots[2]), 0);
    cr_assert_eq(pawl_snapshot_pin(&list.snapshots[2], false), 0);
    pawl_run_free(&list);
    train("latest=2", 8, 8, 1);
    cr_expect_str_eq(steps(), "8 7");
}

// Going back on purpose: what was made since is newest, whatever its number, and the branch that
// was left goes by the same rule as everything older.
Test(retention, going_back_makes_a_branch)
{
    struct pawl_progress back;

    train("latest=2", 100, 103, 1);
    struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);
    cr_assert_eq(pawl_saver_load_step(saver, state.stream, 102, &back), 0);
    save_step(saver, 50, 0);
    save_step(saver, 51, 0);
    save_step(saver, 52, 0);
    pawl_saver_close(saver);
    cr_expect_str_eq(steps(), "52 51");
}

// ---- attempts that were never committed

static void make_attempt(const char *name)
{
    char path[8192];

    snprintf(path, sizeof(path), "%s/%s", run, name);
    cr_assert_eq(mkdir(path, 0777), 0);
    snprintf(path, sizeof(path), "%s/%s/shard-00000.safetensors", run, name);
    fclose(fopen(path, "w"));
    snprintf(path, sizeof(path), "%s/%s/MANIFEST.tmp-00000001", run, name);
    fclose(fopen(path, "w"));
}

Test(retention, attempts_go_when_their_epoch_is_over)
{
    char path[8192];

    train("latest=2", 1, 2, 1);  // epoch 1
    make_attempt("step-0000000000000003-00000001");
    make_attempt("step-0000000000000009-00000002");
    snprintf(path, sizeof(path), "%s/LATEST.tmp-1234", run);
    fclose(fopen(path, "w"));
    // The next process takes an epoch above all names, 3: both are of the past.
    train("latest=2", 3, 3, 1);
    cr_expect_str_eq(steps(), "3 2");
    cr_expect_neq(access(path, F_OK), 0, "LATEST.tmp stays");

    // An attempt of an epoch that is not over stays: somebody may be writing it.
    struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);  // 4
    make_attempt("step-0000000000000008-00000004");
    make_attempt("step-0000000000000009-00000005");
    save_step(saver, 4, 0);
    pawl_saver_close(saver);
    cr_expect_str_eq(steps(), "9? 8? 4 3");
}

// Whose MANIFEST cannot be read is not an attempt.
Test(retention, unreadable_and_damaged_ones_stay)
{
    char path[4096], manifest[8192];

    train("latest=9", 1, 4, 1);
    cr_assert(scratch_find(run, 1, path));
    scratch_flip(path, "MANIFEST", 3, 1);
    cr_assert(scratch_find(run, 2, path));
    snprintf(manifest, sizeof(manifest), "%s/MANIFEST", path);
    cr_assert_eq(unlink(manifest), 0);
    cr_assert_eq(mkdir(manifest, 0777), 0);
    train("latest=2", 5, 6, 1);
    cr_expect_str_eq(steps(), "6 5 2? 1?");
}

// ---- the order

// A table that notes what is removed and made durable.
static char journal[4096];
static const struct pawl_io *below;

static void note(const char *what, const char *path)
{
    const char *slash = strrchr(path, '/');

    snprintf(journal + strlen(journal), sizeof(journal) - strlen(journal), "%s %.8s\n", what,
             slash + 1);
}

static int note_unlink(const char *path)
{
    note("unlink", path);
    return below->unlink(path);
}

static int note_rmdir(const char *path)
{
    note("rmdir", path);
    return below->rmdir(path);
}

static int note_sync(int fd)
{
    char link[64], path[4096] = { 0 };

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    cr_assert_gt(readlink(link, path, sizeof(path) - 1), 0);
    note("sync", path);
    return below->sync(fd);
}

Test(retention, manifest_first_then_durable_then_the_rest)
{
    struct pawl_run list;
    struct pawl_io table = pawl_io_posix;

    train("latest=9", 1, 3, 1);
    cr_assert_eq(pawl_run_list(&list, run), 0);
    below = &pawl_io_posix;
    table.unlink = note_unlink;
    table.rmdir = note_rmdir;
    table.sync = note_sync;
    pawl_io_set(&table);
    cr_assert_eq(pawl_snapshot_remove(run, &list.snapshots[2]), 0);
    pawl_io_set(NULL);
    pawl_run_free(&list);
    cr_expect_eq(strncmp(journal, "unlink MANIFEST\nsync step-000\nunlink ", 37), 0, "%s", journal);
    const char *last = strstr(journal, "rmdir step-000\nsync pawl-tes\n");
    cr_assert_not_null(last, "%s", journal);
    cr_expect_eq(strlen(last), strlen("rmdir step-000\nsync pawl-tes\n"), "%s", journal);
    cr_expect_null(strstr(last, "unlink"));
    int unlinked = 0;
    for (const char *c = journal; (c = strstr(c, "unlink ")); c++)
        unlinked++;
    cr_expect_eq(unlinked, 4);
}

// Fails at each call: the snapshot is either still committed and whole, or not committed at all.
Test(retention, a_removal_that_fails_leaves_no_holes)
{
    struct pawl_snapshot victim, now;
    struct pawl_run list;
    uint64_t calls = 1;

    for (uint64_t at = 0; at <= calls; at++) {
        for (int sticky = 0; sticky < 2; sticky++) {
            train("latest=9", 1, 3, 1);
            cr_assert_eq(pawl_run_list(&list, run), 0);
            victim = list.snapshots[2];
            pawl_run_free(&list);
            pawl_fault_begin(&(struct pawl_fault){ .at = at, .error = EIO, .sticky = sticky });
            const int rc = pawl_snapshot_remove(run, &victim);
            const uint64_t made = pawl_fault_end(NULL);
            if (!at) calls = made;
            cr_assert_eq(rc, at ? PAWL_EIO : 0, "call %lu of %lu", at, calls);
            const int there = pawl_snapshot_look(&now, victim.path);
            cr_assert(there == PAWL_ENONE || now.state == PAWL_UNCOMMITTED
                          || !pawl_snapshot_verify(&now),
                      "call %lu: half removed and still committed", at);
            scratch_remove(run);
            mkdir(run, 0777);
        }
    }
    cr_assert_gt(calls, 8);
}

// ---- the rules' text

Test(retention, rules)
{
    static const struct {
        const char *rule, *words;
        struct pawl_keep keep;
    } rows[] = {
        { "", NULL, { .latest = 3 } },
        { "latest=2", NULL, { .latest = 2 } },
        { "latest=5,every=1000", NULL, { .latest = 5, .every = 1000 } },
        { "every=7", NULL, { .latest = 2, .every = 7 } },
        { "best=2:val_loss:min", NULL, { .latest = 2, .best = 2, .name = "val_loss" } },
        { "best=1:acc:max,latest=4", NULL,
          { .latest = 4, .best = 1, .name = "acc", .max = true } },
        { "latest=1", "nothing to go back to", { 0 } },
        { "latest=0", "number", { 0 } },
        { "latest=-3", "number", { 0 } },
        { "latest=3x", "number", { 0 } },
        { "latest", "no rule", { 0 } },
        { "newest=3", "latest=N every=N", { 0 } },
        { "latest=3,latest=4", "twice", { 0 } },
        { "latest=3,", "no rule", { 0 } },
        { "every=0", "number", { 0 } },
        { "every=99999999999999999999", "number", { 0 } },
        { "best=2", "best=2:val_loss:min", { 0 } },
        { "best=2:x", "best=2:val_loss:min", { 0 } },
        { "best=2:x:least", "best=2:val_loss:min", { 0 } },
        { "best=0:x:min", "best=2:val_loss:min", { 0 } },
        { "best=2::min", "best=2:val_loss:min", { 0 } },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pawl_keep keep = { 0 };
        const int rc = pawl_keep_parse(&keep, rows[i].rule);
        cr_expect_eq(rc, rows[i].words ? PAWL_EINVAL : 0, "%s", rows[i].rule);
        if (rows[i].words)
            cr_expect_not_null(strstr(pawl_error(), rows[i].words), "%s: %s", rows[i].rule,
                               pawl_error());
        cr_expect(keep.latest == rows[i].keep.latest && keep.every == rows[i].keep.every
                      && keep.best == rows[i].keep.best && keep.max == rows[i].keep.max
                      && !strcmp(keep.name, rows[i].keep.name),
                  "%s", rows[i].rule);
    }
    struct pawl_saver *saver;
    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run,
                                 .keep = "latest=1" }, state.device), PAWL_EINVAL);
    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run,
                                 .mode = "fast" }, state.device), PAWL_EINVAL);
}

Test(retention, prune_marks)
{
    struct pawl_run list;
    bool marks[16];
    char text[17] = { 0 };

    train("latest=9", 1, 8, 1);
    cr_assert_eq(pawl_run_list(&list, run), 0);
    cr_assert_eq(list.count, 8);
    cr_assert_eq(pawl_run_prune(&list, "latest=2,every=4", marks), 0);
    for (int i = 0; i < list.count; i++)
        text[i] = marks[i] ? 'x' : '.';
    cr_expect_str_eq(text, "..xx.xxx");  // 8 7 6 5 4 3 2 1
    list.snapshots[7].pinned = true;
    cr_assert_eq(pawl_run_prune(&list, "latest=2,every=4", marks), 0);
    cr_expect(marks[6] && !marks[7], "a pinned one is marked");
    cr_assert_eq(pawl_run_prune(&list, "latest=1", marks), PAWL_EINVAL);
    pawl_run_free(&list);
}
