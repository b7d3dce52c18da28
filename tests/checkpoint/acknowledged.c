// acknowledged.c - what storage answers to a save's own calls is heeded: when any sync or close of
// what the save wrote fails, the save has failed; and what fails for lack of space begins nothing.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/commit.h"
#include "checkpoint/run.h"
#include "checkpoint/saver.h"
#include "kernels/io.h"
#include "saver_support.h"

enum { FILES = 1024 };

static char run[4096];
static struct state state;
static struct pawl_io table;
static bool written[FILES], hinted, armed;  // opened to be written; LATEST is being made
static int syncs, closes, fail_sync, fail_close;

static int open_it(const char *path, int flags, mode_t mode)
{
    const int fd = pawl_io_posix.open(path, flags, mode);

    if (armed && strstr(path, "/LATEST")) hinted = true;
    if (fd >= 0 && fd < FILES) written[fd] = (flags & O_ACCMODE) != O_RDONLY;
    return fd;
}

// The call is made, then it says that it failed: the worst there is.
static int answer(int rc, int *count, int fail)
{
    return armed && !hinted && ++*count == fail ? -EIO : rc;
}

static int sync_it(int fd) { return answer(pawl_io_posix.sync(fd), &syncs, fail_sync); }

static int datasync_it(int fd) { return answer(pawl_io_posix.datasync(fd), &syncs, fail_sync); }

static int close_it(int fd)
{
    const bool counts = fd >= 0 && fd < FILES && written[fd];
    const int rc = pawl_io_posix.close(fd);

    return counts ? answer(rc, &closes, fail_close) : rc;
}

static int space(const char *path, uint64_t *bytes)
{
    (void)path;
    *bytes = 100;
    return 0;
}

static void set_up(void)
{
    scratch_make_on_disk(run);
    state_open(&state, STATE_SMALL);
    table = pawl_io_posix;
    table.open = open_it;
    table.sync = sync_it;
    table.datasync = datasync_it;
    table.close = close_it;
    pawl_io_set(&table);
}

static void tear_down(void)
{
    pawl_io_set(NULL);
    state_close(&state);
    scratch_remove(run);
}

TestSuite(acknowledged, .init = set_up, .fini = tear_down);

static int save(struct pawl_saver *saver, uint64_t step)
{
    const struct pawl_progress progress = { .step = step, .epoch = -1, .loss = NAN,
                                            .metric = NAN };

    syncs = closes = 0;
    hinted = false;
    armed = true;
    const int rc = pawl_saver_save_now(saver, state.stream, &progress);
    armed = false;
    return rc;
}

// The first save of a run, whose fail-th call fails; the number of calls. A run for each, because
// collecting what a failed attempt left goes on beside the next save.
static int first_save(const int *count, int expected)
{
    scratch_remove(run);
    scratch_make_on_disk(run);
    struct pawl_saver *saver = open_saver(&state, run, "latest=9", NULL);
    cr_expect_eq(save(saver, 1), expected, "sync %d or close %d failed", fail_sync, fail_close);
    const int calls = *count;
    cr_expect_eq(pawl_saver_state(saver, 1), expected ? PAWL_STEP_FAILED : PAWL_STEP_DURABLE);
    cr_assert_eq(pawl_saver_close(saver), 0);
    return calls;
}

// Each of the save's own, one after the other; the number there are.
static int each(int *fail, const int *count)
{
    const int calls = first_save(count, 0);

    for (*fail = 1; *fail <= calls; ++*fail)
        first_save(count, PAWL_EIO);
    return calls;
}

// The run's; the shard's data; sums; directory; document; directory; manifest; directory.
Test(acknowledged, syncs) { cr_assert_eq(each(&fail_sync, &syncs), 8); }

// The shard's one or two, the sums', the document's, the manifest's.
Test(acknowledged, closes) { cr_assert_geq(each(&fail_close, &closes), 4); }

static int unlink_nothing(const char *path)
{
    (void)path;
    return 0;
}

// A MANIFEST that is still there after its removal keeps its files.
Test(acknowledged, a_removal_that_did_not_happen)
{
    struct pawl_saver *saver = open_saver(&state, run, "latest=9", NULL);
    struct pawl_snapshot seen;
    char path[4096];

    cr_assert_eq(save(saver, 1), 0);
    cr_assert_eq(pawl_saver_close(saver), 0);
    cr_assert(scratch_find(run, 1, path));
    cr_assert_eq(pawl_snapshot_look(&seen, path), 0);
    table.unlink = unlink_nothing;
    cr_assert_eq(pawl_snapshot_remove(run, &seen), PAWL_EIO);
    cr_assert_not_null(strstr(pawl_error(), "still there after its removal"), "%s", pawl_error());
    table.unlink = pawl_io_posix.unlink;
    cr_assert_eq(pawl_snapshot_verify(&seen), 0, "%s", pawl_error());
}

Test(acknowledged, no_space_begins_nothing)
{
    struct pawl_saver *saver = open_saver(&state, run, "latest=9", NULL);

    cr_assert_eq(save(saver, 1), 0);
    table.space = space;
    cr_assert_eq(save(saver, 2), PAWL_EIO);
    cr_assert_not_null(strstr(pawl_error(), "100 are free"), "%s", pawl_error());
    cr_assert_eq(scratch_count(run), 1, "an attempt was begun");
    pawl_saver_close(saver);
}
