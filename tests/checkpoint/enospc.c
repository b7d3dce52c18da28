// test: main timeout=600 once
// enospc.c - space on a small file system ends at each 4 KiB of two saves, with and without the
// saver knowing beforehand; so do its inodes and the largest size of a file. What was durable stays
// so, the saver answers with a code and goes on, and once there is room the next save succeeds.
// Skipped where nothing may be mounted.

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "checkpoint/run.h"
#include "kernels/io.h"
#include "saver_support.h"

enum { STEP_BYTES = 4096 };
enum limit { SPACE, SPACE_UNTOLD, INODES, FILE_SIZE, LIMITS };

static const char *const limits[LIMITS] = { "space", "space, not told before", "inodes",
                                            "size of a file" };
static struct state state;
static char mount_point[4096], run[4200];
static int failures;

static void must(bool fine, const char *words, enum limit limit, uint64_t room)
{
    if (fine) return;
    printf("%s, %llu left: %s (%s)\n", limits[limit], (unsigned long long)room, words,
           pawl_error());
    if (++failures > 20) exit(1);
}

// ---- a file system that one can fill

static bool may_mount(void)
{
    if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS)) return false;
    return !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
           && !mount("pawl-test", mount_point, "tmpfs", 0, "size=64m");
}

// Never fills anything but what was mounted here.
static void check_mount(void)
{
    struct statfs of;

    if (statfs(mount_point, &of) || of.f_type != TMPFS_MAGIC
        || of.f_blocks * (uint64_t)of.f_bsize > 64u << 20) {
        fprintf(stderr, "%s is not the small file system of this test\n", mount_point);
        exit(1);
    }
}

static void resize(uint64_t bytes, uint64_t inodes)
{
    char options[64];

    snprintf(options, sizeof(options), "size=%llu,nr_inodes=%llu", (unsigned long long)bytes,
             (unsigned long long)inodes);
    if (mount(NULL, mount_point, NULL, MS_REMOUNT, options)) {
        perror(options);
        exit(1);
    }
}

static void used(uint64_t *bytes, uint64_t *inodes)
{
    struct statfs of;

    if (statfs(mount_point, &of)) exit(1);
    *bytes = (of.f_blocks - of.f_bfree) * (uint64_t)of.f_bsize;
    *inodes = of.f_files - of.f_ffree;
}

static void set_limit(enum limit limit, uint64_t room)
{
    uint64_t bytes, inodes;

    used(&bytes, &inodes);
    if (limit == INODES) resize(64 << 20, inodes + room);
    if (limit == SPACE || limit == SPACE_UNTOLD) resize(bytes + room, 10000);
    if (limit == FILE_SIZE)
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){ room, RLIM_INFINITY });
}

static void lift_limit(void)
{
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
    resize(64 << 20, 10000);
}

// Quotas and remote file systems tell of space that is not there.
static int much_space(const char *path, uint64_t *free_bytes)
{
    (void)path;
    *free_bytes = UINT64_MAX / 2;
    return 0;
}

static int no_reserve(int fd, off_t size)
{
    (void)fd, (void)size;
    return -EOPNOTSUPP;
}

// ---- one run

static int save(struct pawl_saver *saver, uint64_t step, uint64_t *acknowledged)
{
    const struct pawl_progress progress = { .step = step, .epoch = -1, .loss = NAN,
                                            .metric = NAN };

    state_fill(&state, step);
    const int rc = pawl_saver_save_now(saver, state.stream, &progress);
    if (!rc) *acknowledged = step;
    return rc;
}

// The saver may be removing an old snapshot meanwhile: that one is no longer committed.
static bool is_damaged(const struct pawl_snapshot *snapshot)
{
    struct pawl_snapshot again;

    if (snapshot->state == PAWL_UNCOMMITTED || !pawl_snapshot_verify(snapshot)) return false;
    return !pawl_snapshot_look(&again, snapshot->path) && again.state != PAWL_UNCOMMITTED;
}

static void audit(enum limit limit, uint64_t room, uint64_t acknowledged)
{
    struct pawl_saver *reader = NULL;
    struct pawl_progress back = { 0 };
    struct pawl_run list;

    must(!pawl_run_list(&list, run), "the run cannot be listed", limit, room);
    for (int i = 0; i < list.count; i++)
        must(!is_damaged(&list.snapshots[i]), "I3: a committed snapshot does not verify", limit,
             room);
    pawl_run_free(&list);
    if (pawl_saver_open(&reader, &(struct pawl_saver_options){ .where = run, .read_only = true },
                        state.device))
        exit(1);
    state_add(&state, reader);
    state_clear(&state);
    must(!pawl_saver_load(reader, state.stream, &back), "I1: nothing to load", limit, room);
    must(back.step >= acknowledged, "I1: an older step came back", limit, room);
    must(!state_wrong(&state, back.step), "I2", limit, room);
    pawl_saver_close(reader);
}

// The number of the two saves that failed.
static int run_once(enum limit limit, uint64_t room)
{
    uint64_t acknowledged = 0;
    int failed = 0;

    check_mount();
    snprintf(run, sizeof(run), "%s/run", mount_point);
    struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);
    must(!save(saver, 1, &acknowledged), "the first save", limit, room);
    set_limit(limit, room);
    for (uint64_t step = 2; step <= 3; step++) {
        const int rc = save(saver, step, &acknowledged);
        must(!rc || rc == PAWL_EIO || rc == PAWL_ENOMEM, "another code", limit, room);
        failed += rc != 0;
        audit(limit, room, acknowledged);
    }
    lift_limit();
    must(!save(saver, 4, &acknowledged), "I5: the next save failed", limit, room);
    // A failure that was told stays told.
    must(!pawl_saver_close(saver), "close", limit, room);
    audit(limit, room, 4);
    scratch_remove(run);
    return failed;
}

int main(void)
{
    const struct pawl_io *real = pawl_io();
    struct pawl_io lying = *real;

    lying.space = much_space;
    lying.reserve = no_reserve;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGXFSZ, SIG_IGN);
    scratch_make_on_disk(mount_point);
    if (!may_mount()) {
        printf("skipped: this user may not mount a file system of its own\n");
        scratch_remove(mount_point);
        return 77;
    }
    state_open(&state, STATE_EVEN);
    for (enum limit limit = SPACE; limit < LIMITS; limit++) {
        const uint64_t step = limit == INODES ? 1 : STEP_BYTES;
        int runs = 0, failed = 0, whole = 0;
        pawl_io_set(limit == SPACE_UNTOLD ? &lying : NULL);
        // Until both saves fit, and a little more.
        for (uint64_t room = 0; whole < 3 && runs < 2000; room += step, runs++) {
            const int bad = run_once(limit, room);
            failed += bad;
            whole += !bad;
        }
        printf("%-24s %4d sizes, %4d saves failed, %d failures\n", limits[limit], runs, failed,
               failures);
        must(failed > 4 && whole, "the limit was never met, or always", limit, 0);
    }
    pawl_io_set(NULL);
    state_close(&state);
    umount(mount_point);
    rmdir(mount_point);
    return failures != 0;
}
