// fault.c - see fault.h. Each entry asks should_fail() first and passes the call on otherwise.

#include "checkpoint/store/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { DESCRIPTORS = 4096 };

// lock guards everything here but below, which is constant in between.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pawl_fault plan;
static struct pawl_fault_found found;
static uint64_t written, turn;
static bool is_open[DESCRIPTORS], is_poisoned[DESCRIPTORS];
static const struct pawl_io *below;

const char *pawl_fault_call_name(enum pawl_fault_call call)
{
    static const char *const names[PAWL_CALLS] = {
        "open", "close", "pread", "pwrite", "reserve", "datasync", "sync", "fstat", "lstat",
        "mkdir", "rename", "unlink", "rmdir", "list", "space", "lock", "random",
    };

    return names[call];
}

// 0, or the -errno with which this call must fail.
static int should_fail(enum pawl_fault_call call)
{
    int rc = 0;

    pthread_mutex_lock(&lock);
    if (!plan.only || plan.only & 1u << call) {
        found.calls++;
        if (plan.at && (found.calls == plan.at || (plan.sticky && found.calls > plan.at))) {
            if (plan.kill) raise(SIGKILL);
            found.failed++;
            rc = -plan.error;
        }
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static void note_open(int fd, bool open)
{
    if (fd < 0 || fd >= DESCRIPTORS) return;
    pthread_mutex_lock(&lock);
    is_open[fd] = open;
    is_poisoned[fd] = false;
    pthread_mutex_unlock(&lock);
}

static int fault_open(const char *path, int flags, mode_t mode)
{
    const int rc = should_fail(PAWL_CALL_OPEN);

    if (rc) return rc;
    if (plan.no_direct && flags & O_DIRECT) return -EINVAL;
    const int fd = below->open(path, flags, mode);
    note_open(fd, true);
    return fd;
}

static int fault_close(int fd)
{
    const int rc = should_fail(PAWL_CALL_CLOSE);

    note_open(fd, false);
    const int closed = below->close(fd);  // a close that fails has closed all the same
    return rc ? rc : closed;
}

// How much of a transfer is done this time: 0 means that it is interrupted.
static size_t part_of(size_t size)
{
    static const unsigned parts[] = { 2, 0, 1, 3, 7 };

    if (!plan.short_io || size < 2) return size;
    pthread_mutex_lock(&lock);
    const unsigned part = parts[turn++ % 5];
    pthread_mutex_unlock(&lock);
    return part ? (size + part - 1) / part : 0;
}

static ssize_t fault_pread(int fd, void *bytes, size_t size, off_t offset)
{
    const int rc = should_fail(PAWL_CALL_PREAD);
    const size_t part = part_of(size);

    if (rc) return rc;
    return part ? below->pread(fd, bytes, part, offset) : -EINTR;
}

static ssize_t fault_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    const int rc = should_fail(PAWL_CALL_PWRITE);
    size_t part = part_of(size);

    if (rc && !plan.late) return rc;
    if (!part) return -EINTR;
    pthread_mutex_lock(&lock);
    if (plan.space && written + part > plan.space) part = (size_t)(plan.space - written);
    written += part;
    pthread_mutex_unlock(&lock);
    if (!part) return -ENOSPC;
    const ssize_t done = below->pwrite(fd, bytes, part, offset);
    return rc ? rc : done;
}

static int fault_reserve(int fd, off_t size)
{
    const int rc = should_fail(PAWL_CALL_RESERVE);

    if (rc) return rc;
    return plan.space ? -EOPNOTSUPP : below->reserve(fd, size);  // so that writing runs out
}

static int sync_with(enum pawl_fault_call call, int (*sync)(int fd), int fd)
{
    const int rc = should_fail(call);
    const bool known = fd >= 0 && fd < DESCRIPTORS;

    pthread_mutex_lock(&lock);
    if (known && is_poisoned[fd]) found.resynced++;
    if (known && rc) is_poisoned[fd] = true;
    pthread_mutex_unlock(&lock);
    if (rc && !plan.late) return rc;
    const int synced = sync(fd);
    return rc ? rc : synced;
}

static int fault_datasync(int fd) { return sync_with(PAWL_CALL_DATASYNC, below->datasync, fd); }
static int fault_sync(int fd) { return sync_with(PAWL_CALL_SYNC, below->sync, fd); }

static int fault_fstat(int fd, struct stat *out)
{
    const int rc = should_fail(PAWL_CALL_FSTAT);

    return rc ? rc : below->fstat(fd, out);
}

static int fault_lstat(const char *path, struct stat *out)
{
    const int rc = should_fail(PAWL_CALL_LSTAT);

    return rc ? rc : below->lstat(path, out);
}

static int fault_mkdir(const char *path, mode_t mode)
{
    const int rc = should_fail(PAWL_CALL_MKDIR);

    if (rc && !plan.late) return rc;
    const int done = below->mkdir(path, mode);
    return rc ? rc : done;
}

static int fault_rename(const char *from, const char *to)
{
    const int rc = should_fail(PAWL_CALL_RENAME);

    if (rc && !plan.late) return rc;
    const int done = below->rename(from, to);
    return rc ? rc : done;
}

static int fault_rename_noreplace(const char *from, const char *to)
{
    const int rc = should_fail(PAWL_CALL_RENAME);

    if (rc && !plan.late) return rc;
    const int done = below->rename_noreplace(from, to);
    return rc ? rc : done;
}

static int fault_unlink(const char *path)
{
    const int rc = should_fail(PAWL_CALL_UNLINK);

    if (rc && !plan.late) return rc;
    const int done = below->unlink(path);
    return rc ? rc : done;
}

static int fault_rmdir(const char *path)
{
    const int rc = should_fail(PAWL_CALL_RMDIR);

    if (rc && !plan.late) return rc;
    const int done = below->rmdir(path);
    return rc ? rc : done;
}

static int fault_list(const char *path, int (*each)(void *context, const char *name),
                      void *context)
{
    const int rc = should_fail(PAWL_CALL_LIST);

    if (rc && !plan.late) return rc;
    const int done = below->list(path, each, context);  // late: an error in the middle of it
    return rc ? rc : done;
}

static int fault_space(const char *path, uint64_t *free_bytes)
{
    const int rc = should_fail(PAWL_CALL_SPACE);

    return rc ? rc : below->space(path, free_bytes);
}

static int fault_lock(int fd)
{
    const int rc = should_fail(PAWL_CALL_LOCK);

    return rc ? rc : below->lock(fd);
}

static int64_t fault_now_ns(void) { return below->now_ns(); }
static int64_t fault_wall_ns(void) { return below->wall_ns(); }
static void fault_sleep_ns(int64_t ns) { (void)ns; }  // faults pass or stay, whatever the time

static int fault_random(void *bytes, size_t size)
{
    const int rc = should_fail(PAWL_CALL_RANDOM);

    return rc ? rc : below->random(bytes, size);
}

static const struct pawl_io table = {
    .name = "fault",
    .open = fault_open,
    .close = fault_close,
    .pread = fault_pread,
    .pwrite = fault_pwrite,
    .reserve = fault_reserve,
    .datasync = fault_datasync,
    .sync = fault_sync,
    .fstat = fault_fstat,
    .lstat = fault_lstat,
    .mkdir = fault_mkdir,
    .rename = fault_rename,
    .rename_noreplace = fault_rename_noreplace,
    .unlink = fault_unlink,
    .rmdir = fault_rmdir,
    .list = fault_list,
    .space = fault_space,
    .lock = fault_lock,
    .now_ns = fault_now_ns,
    .wall_ns = fault_wall_ns,
    .sleep_ns = fault_sleep_ns,
    .random = fault_random,
};

void pawl_fault_begin(const struct pawl_fault *fault)
{
    plan = *fault;
    found = (struct pawl_fault_found){ 0 };
    written = turn = 0;
    memset(is_open, 0, sizeof(is_open));
    memset(is_poisoned, 0, sizeof(is_poisoned));
    below = pawl_io();
    pawl_io_set(&table);
}

uint64_t pawl_fault_end(struct pawl_fault_found *found_or_null)
{
    pawl_io_set(below);
    for (int i = 0; i < DESCRIPTORS; i++)
        found.left_open += is_open[i];
    if (found_or_null) *found_or_null = found;
    return found.calls;
}
