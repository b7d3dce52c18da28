// test: tool
// blockcut.c - the power of a real file system fails: blockcut KIND CUTS.
//
//     saver -> ext4, xfs or btrfs -> loop device -> FUSE -> qemu-storage-daemon -> disk and log
//
// The log (dm-log-writes' format) has every write and flush in order. A cut is a fresh disk with a
// prefix of it: all up to the last flush, and of what follows all, nothing, some, or some of them
// torn at 4 KiB. That disk is mounted, which replays the file system's journal, and audited. Then
// the same with syncs left out: none at all must be noticed, else the first figure says nothing.

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit_support.h"
#include "block_support.h"
#include "checkpoint/store/uring.h"
#include "kernels/io.h"

enum { SECTOR = 512, PAGE = 4096, LIVES = 3, SAVES = 3, MUTANT_CUTS = 400 };
enum { FLUSH = 1, FUA = 2, DISCARD = 4 };  // of an entry
enum mutant { CORRECT, NO_SYNC, NO_SHARD_SYNC, NO_MANIFEST_SYNC, NO_DIRECTORY_SYNC, MUTANTS };

static const char *const mutant_names[MUTANTS] = {
    "correct", "no sync at all", "no sync of the shard", "no sync of the manifest",
    "no sync of directories",
};

struct entry {
    uint64_t offset, size, flags;
    const char *bytes;
};

static struct state state;
static const char *kind;
static char dir[4096], mount_point[4200], run[4300];
static enum mutant mutant;
static char *log_bytes;
static struct entry *entries;
static uint64_t entry_count, first_entry;
static struct {
    uint64_t position, step;
} promises[LIVES * SAVES];
static int promise_count;
static uint64_t random_state = 1;

static void give_up(const char *words)
{
    fprintf(stderr, "blockcut: %s: %s (%s)\n", words, strerror(errno), pawl_error());
    block_unmount(mount_point);
    block_shell("kill $(cat %s/pid)", dir);
    block_shell("fusermount3 -uz %s/disk", dir);
    scratch_remove(dir);
    exit(1);
}

static bool chance(int percent)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % 100) < percent;
}

// ---- a table of I/O that leaves syncs out

static bool left_out(int fd)
{
    char link[64], path[4096] = "";
    struct stat of;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof(path) - 1) < 0 || fstat(fd, &of)) return false;
    switch (mutant) {
    case NO_SYNC: return true;
    case NO_SHARD_SYNC: return strstr(path, ".safetensors") != NULL;
    case NO_MANIFEST_SYNC: return strstr(path, "MANIFEST") != NULL;
    case NO_DIRECTORY_SYNC: return S_ISDIR(of.st_mode);
    case CORRECT:
    case MUTANTS: break;
    }
    return false;
}

static int lax_sync(int fd) { return left_out(fd) ? 0 : pawl_io_posix.sync(fd); }
static int lax_datasync(int fd) { return left_out(fd) ? 0 : pawl_io_posix.datasync(fd); }

// ---- recording

static uint64_t logged(void)
{
    char path[4200];
    uint64_t count = 0;

    snprintf(path, sizeof(path), "%s/log", dir);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) give_up(path);
    if (pread(fd, &count, sizeof(count), 16) != sizeof(count)) count = 0;  // no write so far
    close(fd);
    return count;
}

static void live(void)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN };

    for (int i = 0; i < LIVES; i++) {
        struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);
        const int rc = pawl_saver_load(saver, state.stream, &progress);
        if (rc && rc != PAWL_ENONE) give_up("load");
        progress.training = progress.metadata = NULL;
        for (int j = 0; j < SAVES; j++) {
            state_fill(&state, ++progress.step);
            if (pawl_saver_save_now(saver, state.stream, &progress)) give_up("save");
            promises[promise_count].step = progress.step;
            promises[promise_count++].position = logged();
        }
        pawl_saver_close(saver);
    }
}

static void start_disk(void)
{
    const int rc = block_shell(
        "D=%s; cp --sparse=always $D/base $D/image && : > $D/log && : > $D/disk && "
        "qemu-storage-daemon --daemonize --pidfile $D/pid "
        "--blockdev driver=file,node-name=d,filename=$D/image "
        "--blockdev driver=file,node-name=l,filename=$D/log "
        "--blockdev driver=blklogwrites,node-name=w,file=d,log=l,log-super-update-interval=1 "
        "--export type=fuse,id=e,node-name=w,mountpoint=$D/disk,writable=on,allow-other=off",
        dir);

    if (rc) give_up("qemu-storage-daemon");
}

static void stop_disk(void)
{
    block_unmount(mount_point);
    block_shell("D=%s; p=$(cat $D/pid); kill $p; while kill -0 $p; do sleep 0.01; done; "
                "fusermount3 -uz $D/disk", dir);
}

static uint64_t number(const char *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static void parse_log(void)
{
    char path[4200];
    struct stat of;
    size_t at = SECTOR;

    snprintf(path, sizeof(path), "%s/log", dir);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &of)) give_up(path);
    free(log_bytes);
    free(entries);
    log_bytes = malloc((size_t)of.st_size);
    if (!log_bytes || read(fd, log_bytes, (size_t)of.st_size) != of.st_size) give_up(path);
    close(fd);
    entry_count = number(log_bytes + 16);
    entries = calloc(entry_count, sizeof(*entries));
    if (number(log_bytes) != 0x6a736677736872 || !entries) give_up("not a log of writes");
    for (uint64_t i = 0; i < entry_count; i++) {
        struct entry *entry = &entries[i];
        *entry = (struct entry){ number(log_bytes + at) * SECTOR,
                                 number(log_bytes + at + 8) * SECTOR,
                                 number(log_bytes + at + 16), log_bytes + at + SECTOR };
        at += SECTOR + (entry->flags & DISCARD ? 0 : entry->size);
        if (at > (size_t)of.st_size) give_up("the log is cut short");
    }
}

static const char *way;  // how the saves' bytes went

static void record(enum mutant which)
{
    static struct pawl_io table;
    const char *why;
    char path[4200];

    mutant = which;
    promise_count = 0;
    // As pawl does by itself: through io_uring where that works.
    const struct pawl_io *uring = pawl_io_uring(&why);
    table = uring ? *uring : pawl_io_posix;
    way = uring ? "io_uring" : "threads, because io_uring is refused";
    table.sync = lax_sync;
    table.datasync = lax_datasync;
    start_disk();
    snprintf(path, sizeof(path), "%s/disk", dir);
    if (block_mount(path, kind, mount_point)) give_up("mount");
    const int fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd)) give_up("sync");
    close(fd);
    first_entry = logged();
    pawl_io_set(&table);
    live();
    pawl_io_set(NULL);
    stop_disk();
    parse_log();
}

// ---- cuts

static void put(int disk, const struct entry *entry, bool torn)
{
    if (entry->flags & DISCARD) return;  // may or may not lose its bytes: here it does not
    for (uint64_t at = 0; at < entry->size; at += PAGE) {
        const uint64_t left = entry->size - at;
        if (torn && chance(50)) continue;
        if (pwrite(disk, entry->bytes + at, left < PAGE ? left : PAGE,
                   (off_t)(entry->offset + at)) < 0)
            give_up("the disk of a cut");
    }
}

// A new disk that has the first k writes, as far as it must. Its promise.
static uint64_t make_disk(const char *path, uint64_t k, int mode)
{
    static const int percents[] = { 100, 0, 50, 20, 80, 50 };
    uint64_t flushed = 0, promised = 0;
    char base[4200];

    snprintf(base, sizeof(base), "%s/base", dir);
    if (block_copy(path, base)) give_up("the disk of a cut");
    const int disk = open(path, O_WRONLY | O_CLOEXEC);
    for (uint64_t i = 0; i < k; i++)
        if (entries[i].flags & FLUSH) flushed = i + 1;
    for (uint64_t i = 0; i < k; i++) {
        if (i < flushed || entries[i].flags & FUA)
            put(disk, &entries[i], false);
        else if (chance(percents[mode]))
            put(disk, &entries[i], mode == 5 && chance(30));
    }
    close(disk);
    for (int i = 0; i < promise_count; i++)
        if (promises[i].position <= k) promised = promises[i].step;
    return promised;
}

// Cuts that broke a promise; *unmountable: those after which there was no file system.
static int cut_many(int cuts, bool eager, int *unmountable)
{
    char path[4200];
    int broken = 0;

    *unmountable = 0;
    for (int i = 0; i < cuts && !(eager && (broken || *unmountable)); i++) {
        const uint64_t span = entry_count - first_entry + 1;
        const uint64_t k = first_entry + (uint64_t)i * 7919 % span;
        // A name of its own: an old loop device may still be writing to the last one's.
        snprintf(path, sizeof(path), "%s/cut-%d", dir, i);
        const uint64_t promised = make_disk(path, k, i % 6);
        const char *wrong = NULL;
        if (block_mount(path, kind, mount_point)) {
            ++*unmountable;
        } else {
            wrong = audit_run(&state, run, promised);
            block_unmount(mount_point);
        }
        unlink(path);
        if (!wrong) continue;
        broken++;
        if (!eager)
            fprintf(stderr, "cut %d after write %llu of %llu: %s (%s)\n", i,
                    (unsigned long long)k, (unsigned long long)entry_count, wrong, pawl_error());
    }
    return broken;
}

static bool try_mutants(void)
{
    bool noticed_none = false;
    int lost;

    for (enum mutant which = NO_SYNC; which < MUTANTS; which++) {
        record(which);
        const bool found = cut_many(MUTANT_CUTS, true, &lost) > 0;
        if (which == NO_SYNC) noticed_none = found;
        printf("%-28s %s\n", mutant_names[which],
               found ? "noticed" : "this file system hides it; the model does not");
    }
    return noticed_none;
}

int main(int argc, char **argv)
{
    const int cuts = argc > 2 ? atoi(argv[2]) : 100;
    const char *refusal = block_refusal();
    char path[4200];
    int unmountable;

    kind = argc > 1 ? argv[1] : "ext4";
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(path, sizeof(path), "mkfs.%s", kind);
    if (!refusal && !block_has("qemu-storage-daemon"))
        refusal = "needs qemu-storage-daemon (Debian: qemu-system-common)";
    if (!refusal && !block_has(path)) refusal = "needs the file system's mkfs";
    if (refusal) {
        printf("skipped: %s\n", refusal);
        return 77;
    }
    scratch_make(dir);
    snprintf(mount_point, sizeof(mount_point), "%s/mnt", dir);
    snprintf(run, sizeof(run), "%s/run", mount_point);
    snprintf(path, sizeof(path), "%s/base", dir);
    if (mkdir(mount_point, 0700) || block_make(path, kind)) give_up("a file system");
    state_open(&state, STATE_MIXED);
    record(CORRECT);
    const int broken = cut_many(cuts, false, &unmountable);
    printf("%s, through %s: %d cuts in %llu writes and flushes: %d promises broken, %d "
           "unmountable\n", kind, way, cuts, (unsigned long long)(entry_count - first_entry),
           broken, unmountable);
    const bool sharp = try_mutants();
    if (!sharp) printf("a run without any sync was NOT NOTICED\n");
    free(log_bytes);
    free(entries);
    state_close(&state);
    scratch_remove(dir);
    return broken || unmountable || !sharp;
}
