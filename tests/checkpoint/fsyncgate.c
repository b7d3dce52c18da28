// test: tool
// fsyncgate.c - the disk below a real ext4 fails from the n-th write, sync or rename of a save on,
// for each n: to the end of the save, or for that call alone. (After such an error the kernel marks
// its pages clean, so that a second fsync succeeds although the disk has old bytes.)
//
//     saver -> ext4 -> loop device -> nbdfuse -> nbdkit, its error filter -> disk
//
// Whatever was reported durable must be on the disk itself, mounted anew without what the kernel
// remembers. Then the same with a table that syncs again after a failed sync: that must be noticed.

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_support.h"
#include "block_support.h"
#include "checkpoint/store/uring.h"
#include "kernels/io.h"

struct how {
    bool briefly;   // the disk heals after the call
    bool buffered;  // without O_DIRECT
    bool retries;   // the mutant
    bool uring;     // transfers through io_uring
};

static struct state state;
static char dir[4096], disk[4200], mount_point[4200], run[4300], fails[4200];
static struct how how;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // guards calls
static long calls, fail_at;  // counted in the save that meets the fault; 0: not counting

static void give_up(const char *words)
{
    fprintf(stderr, "fsyncgate: %s: %s (%s)\n", words, strerror(errno), pawl_error());
    block_unmount(mount_point);
    block_shell("kill $(cat %s/pid)", dir);
    block_shell("fusermount3 -uz %s/fuse", dir);
    scratch_remove(dir);
    exit(1);
}

// ---- the disk that fails

static void heal(void) { unlink(fails); }

static void break_disk(void)
{
    const int fd = open(fails, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0) give_up(fails);
    close(fd);
}

static void start_disk(void)
{
    char path[4300];

    heal();
    const int rc = block_shell(
        "D=%s; cp --sparse=always $D/base $D/image && "
        "nbdkit -P $D/pid -U $D/socket --filter=error file $D/image error-pwrite=EIO "
        "error-pwrite-rate=100%% error-zero=EIO error-zero-rate=100%% error-file=%s && "
        "{ nbdfuse $D/fuse/disk --unix $D/socket & i=0; "
        "while ! [ -e $D/fuse/disk ] && [ $i -lt 500 ]; do sleep 0.01; i=$((i+1)); done; }",
        dir, fails);

    snprintf(path, sizeof(path), "%s/fuse/disk", dir);
    if (rc || block_mount(path, "ext4", mount_point)) give_up("the failing disk");
}

static void stop_disk(void)
{
    block_unmount(mount_point);
    block_shell("D=%s; i=0; while ! fusermount3 -u $D/fuse && [ $i -lt 100 ]; do sleep 0.02; "
                "i=$((i+1)); done; fusermount3 -uz $D/fuse; kill -9 $(cat $D/pid); "
                "rm -f $D/pid $D/socket", dir);
}

// ---- a table of I/O that breaks the disk at the n-th call

static bool before(void)
{
    bool now = false;

    pthread_mutex_lock(&lock);
    if (fail_at) now = ++calls == fail_at;
    pthread_mutex_unlock(&lock);
    if (now) break_disk();
    return now;
}

static int after(bool broke, int rc)
{
    if (broke && how.briefly) heal();
    return rc;
}

static int gate_open(const char *path, int flags, mode_t mode)
{
    return how.buffered && flags & O_DIRECT ? -EINVAL : pawl_io_posix.open(path, flags, mode);
}

static ssize_t gate_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    const bool broke = before();
    const ssize_t done = pawl_io_posix.pwrite(fd, bytes, size, offset);

    after(broke, 0);
    return done;
}

static int gate_sync(int fd)
{
    const bool broke = before();
    int rc = pawl_io_posix.sync(fd);

    after(broke, 0);
    if (rc && how.retries) {
        heal();
        rc = pawl_io_posix.sync(fd);
    }
    return rc;
}

static int gate_rename(const char *from, const char *to)
{
    const bool broke = before();

    return after(broke, pawl_io_posix.rename(from, to));
}

static int gate_rename_noreplace(const char *from, const char *to)
{
    const bool broke = before();

    return after(broke, pawl_io_posix.rename_noreplace(from, to));
}

// A queue's write counts when it is submitted; the disk heals when something ended.
static const struct pawl_io *uring;  // NULL: not here
static _Atomic bool queue_broke;

static int gate_submit(struct pawl_io_queue *queue, struct pawl_io_transfer *transfer)
{
    if (transfer->write && before()) queue_broke = true;
    return uring->queue_submit(queue, transfer);
}

static int gate_reap(struct pawl_io_queue *queue, struct pawl_io_transfer **out)
{
    return after(atomic_exchange(&queue_broke, false), uring->queue_reap(queue, out));
}

static void set_table(void)
{
    static struct pawl_io table;

    table = how.uring ? *uring : pawl_io_posix;
    table.open = gate_open;
    table.pwrite = gate_pwrite;
    table.sync = table.datasync = gate_sync;
    table.rename = gate_rename;
    table.rename_noreplace = gate_rename_noreplace;
    if (how.uring) {
        table.queue_submit = gate_submit;
        table.queue_reap = gate_reap;
    }
    pawl_io_set(&table);
}

// ---- one case

static int save(struct pawl_saver *saver, uint64_t step, uint64_t *acknowledged)
{
    const struct pawl_progress progress = { .step = step, .epoch = -1, .loss = NAN,
                                            .metric = NAN };

    state_fill(&state, step);
    const int rc = pawl_saver_save_now(saver, state.stream, &progress);
    if (!rc) *acknowledged = step;
    return rc;
}

struct tally {
    int cases, failed, broken;
};

// false: the save came to its end before call n.
static bool run_case(long n, struct tally *tally)
{
    uint64_t acknowledged = 0;
    char path[4200];

    start_disk();
    struct pawl_saver *saver = open_saver(&state, run, "latest=3", NULL);
    if (save(saver, 1, &acknowledged)) give_up("the first save");
    calls = 0;
    fail_at = n;
    const bool failed = save(saver, 2, &acknowledged) != 0;
    const bool met = calls >= n;
    fail_at = 0;
    heal();
    (void)save(saver, 3, &acknowledged);  // on what is left; ext4 mostly takes no writes any more
    pawl_saver_close(saver);
    stop_disk();
    if (!met) return false;
    tally->cases++;
    tally->failed += failed;
    if (block_mount(disk, "ext4", mount_point)) give_up("the disk afterwards");
    const char *wrong = audit_run(&state, run, acknowledged);
    block_unmount(mount_point);
    tally->broken += wrong != NULL;
    snprintf(path, sizeof(path), "%s", wrong ? wrong : "");
    if (wrong && !how.retries)
        fprintf(stderr, "call %ld, %s, %s: %s (%s)\n", n, how.briefly ? "that one" : "and after",
                how.buffered ? "buffered" : "direct", path, pawl_error());
    return true;
}

static struct tally each(struct how which, const char *words)
{
    struct tally tally = { 0 };

    how = which;
    set_table();
    for (long n = 1; run_case(n, &tally) && !(how.retries && tally.broken); n++)
        continue;
    pawl_io_set(NULL);
    printf("%-44s %3d cases, %3d saves failed, %d promises broken\n", words, tally.cases,
           tally.failed, tally.broken);
    return tally;
}

static int all(void)
{
    struct tally sum = { 0 };
    const char *why = NULL;

    uring = pawl_io_uring(&why);
    if (!uring) printf("io_uring: skipped: %s\n", why);
    for (int i = 0; i < (uring ? 6 : 4); i++) {
        static const char *const words[] = { "from the call on", "for the call",
                                             "from the call on, through the page cache",
                                             "for the call, through the page cache",
                                             "from the call on, io_uring",
                                             "for the call, io_uring" };
        const struct how one_way = { .briefly = i % 2, .buffered = i / 2 == 1, .uring = i > 3 };
        const struct tally one = each(one_way, words[i]);
        sum.failed += one.failed;
        sum.broken += one.broken;
    }
    const struct tally lie = each((struct how){ .buffered = true, .retries = true },
                                   "a second sync is believed");
    printf("mutants caught: %d of 1\n", lie.broken > 0);
    return sum.broken || sum.failed < 10 || !lie.broken;
}

int main(void)
{
    const char *refusal = block_refusal();
    char path[4200];

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!refusal && (!block_has("nbdkit") || !block_has("nbdfuse")))
        refusal = "needs nbdkit and nbdfuse";
    if (refusal) {
        printf("skipped: %s\n", refusal);
        return 77;
    }
    scratch_make(dir);
    snprintf(disk, sizeof(disk), "%s/image", dir);
    snprintf(mount_point, sizeof(mount_point), "%s/mnt", dir);
    snprintf(run, sizeof(run), "%s/run", mount_point);
    snprintf(fails, sizeof(fails), "%s/fails", dir);
    snprintf(path, sizeof(path), "%s/fuse", dir);
    if (mkdir(mount_point, 0700) || mkdir(path, 0700)) give_up("directories");
    snprintf(path, sizeof(path), "%s/base", dir);
    if (block_make(path, "ext4")) give_up("a file system");
    state_open(&state, STATE_MIXED);
    const int bad = all();
    state_close(&state);
    scratch_remove(dir);
    return bad;
}
