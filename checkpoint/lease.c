// lease.c - takes, checks and renews the right to write a run.

#include "checkpoint/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/sums.h"
#include "kernels/io.h"

enum { TEXT_MAX = 512, TRIES = 16 };

struct record {
    unsigned char job[PAWL_JOB_BYTES];
    uint32_t epoch;
    char host[128];
    int pid;
};

// ---- the text

static size_t write_record(char text[TEXT_MAX], const struct record *record)
{
    char job[33];

    pawl_job_text(job, record->job);
    const int size = snprintf(text, TEXT_MAX, "pawl lease 1\njob %s\nepoch %08" PRIx32
                              "\nhost %s\npid %d\n", job, record->epoch, record->host,
                              record->pid);
    return (size_t)(size + snprintf(text + size, TEXT_MAX - (size_t)size, "crc32c %08" PRIx32 "\n",
                                    pawl_crc32c(text, (size_t)size)));
}

// Older text behind the record (a longer host name) does not count.
static bool parse_record(struct record *out, char *text)
{
    struct record record = { 0 };
    char job[33], *crc = strstr(text, "\ncrc32c ");
    unsigned long wanted;

    if (!crc || sscanf(crc, "\ncrc32c %8lx\n", &wanted) != 1
        || pawl_crc32c(text, (size_t)(crc + 1 - text)) != wanted)
        return false;
    if (sscanf(text, "pawl lease 1 job %32s epoch %8" SCNx32 " host %127s pid %d", job,
               &record.epoch, record.host, &record.pid) != 4)
        return false;
    if (!pawl_job_parse(job, record.job)) return false;
    *out = record;
    return true;
}

// PAWL_ENONE: no valid record there.
static int read_record(struct record *out, int fd, const char *path)
{
    char text[TEXT_MAX + 1] = { 0 };

    ssize_t size = -EINTR;
    for (int i = 0; i < TRIES && size == -EINTR; i++)
        size = pawl_io()->pread(fd, text, TEXT_MAX, 0);
    if (size < 0) return pawl_io_fail((int)size, "read", path);
    return parse_record(out, text) ? 0 : PAWL_ENONE;
}

// In place, because the lock belongs to this very file. A record is shorter than a sector; one
// that is torn all the same is made up for by the directories' names.
static int store_record(const struct pawl_lease *lease, uint32_t epoch)
{
    struct record record = { .epoch = epoch, .pid = (int)getpid() };
    char text[TEXT_MAX];

    memcpy(record.job, lease->job, PAWL_JOB_BYTES);
    if (gethostname(record.host, sizeof(record.host) - 1) || !record.host[0])
        strcpy(record.host, "unknown");
    const size_t size = write_record(text, &record);
    int rc = pawl_io_write_all(lease->fd, text, size, 0);
    if (!rc) rc = pawl_io()->sync(lease->fd);
    return rc ? pawl_io_fail(rc, "write", lease->path) : 0;
}

// ---- what the run already holds

struct survey {
    uint32_t epoch;  // the largest in any name
    bool any;
};

static int look_at_name(void *context, const char *name)
{
    struct survey *survey = context;
    uint64_t step;
    uint32_t epoch;

    if (!pawl_attempt_parse(name, &step, &epoch)) return 0;
    if (epoch > survey->epoch) survey->epoch = epoch;
    survey->any = true;
    return 0;
}

// ---- the lock

// Opens and locks the file that the path names now: it may be replaced between the two.
static int lock(struct pawl_lease *lease)
{
    for (int i = 0; i < TRIES; i++) {
        struct stat ours, theirs;
        struct record holder;
        int fd = pawl_io()->open(lease->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd == -EINTR) continue;
        if (fd < 0) return pawl_io_fail(fd, "open", lease->path);
        int rc = pawl_io()->lock(fd);
        if (rc == -EWOULDBLOCK) {
            rc = read_record(&holder, fd, lease->path);
            pawl_io()->close(fd);
            if (rc)
                return pawl_fail(PAWL_EBUSY, "%s is held by another process", lease->path);
            return pawl_fail(PAWL_EBUSY, "%s is held by process %d on %s", lease->path, holder.pid,
                             holder.host);
        }
        if (!rc) rc = pawl_io()->fstat(fd, &ours);
        if (!rc) rc = pawl_io()->lstat(lease->path, &theirs);
        if (!rc && ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev) {
            lease->fd = fd;
            return 0;
        }
        pawl_io()->close(fd);
        if (rc && rc != -ENOENT && rc != -EINTR) return pawl_io_fail(rc, "lock", lease->path);
    }
    return pawl_fail(PAWL_EBUSY, "%s keeps being replaced", lease->path);
}

static int settle(struct pawl_lease *lease, const char *where)
{
    struct survey survey = { 0 };
    struct record old = { 0 };

    int rc = pawl_io()->list(where, look_at_name, &survey);
    if (rc) return pawl_io_fail(rc, "list", where);
    rc = read_record(&old, lease->fd, lease->path);
    if (rc && rc != PAWL_ENONE) return rc;
    if (rc) {
        // A new run, or its LEASE was lost: then the new job number says that much.
        rc = pawl_io()->random(old.job, PAWL_JOB_BYTES);
        if (rc) return pawl_io_fail(rc, "draw a number for", where);
    }
    memcpy(lease->job, old.job, PAWL_JOB_BYTES);
    lease->epoch = old.epoch > survey.epoch ? old.epoch : survey.epoch;
    rc = pawl_lease_renew(lease);
    if (rc) return rc;
    rc = pawl_io_sync_dir(where);
    return rc ? pawl_io_fail(rc, "make durable", where) : 0;
}

int pawl_lease_take(struct pawl_lease *out, const char *where)
{
    struct pawl_lease lease = { .fd = -1 };

    int rc = pawl_path_join(lease.path, where, "LEASE");
    if (!rc) rc = lock(&lease);
    if (!rc) rc = settle(&lease, where);
    if (rc) {
        pawl_lease_drop(&lease);
        return rc;
    }
    *out = lease;
    return 0;
}

int pawl_lease_check(const struct pawl_lease *lease)
{
    struct record now = { 0 };
    int fd = -EINTR;

    for (int i = 0; i < TRIES && fd == -EINTR; i++)
        fd = pawl_io()->open(lease->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd == -ENOENT)
        return pawl_fail(PAWL_EIO, "%s is gone: this process may not write here any more",
                         lease->path);
    if (fd < 0) return pawl_io_fail(fd, "open", lease->path);
    int rc = read_record(&now, fd, lease->path);
    pawl_io()->close(fd);
    if (rc == PAWL_ENONE)
        return pawl_fail(PAWL_EIO, "%s is damaged: this process may not write here any more",
                         lease->path);
    if (rc) return rc;
    if (now.epoch == lease->epoch && !memcmp(now.job, lease->job, PAWL_JOB_BYTES)) return 0;
    return pawl_fail(PAWL_EIO, "%s: epoch %lu, by process %d on %s, is newer than this process' "
                     "%lu", lease->path, (unsigned long)now.epoch, now.pid, now.host,
                     (unsigned long)lease->epoch);
}

int pawl_lease_renew(struct pawl_lease *lease)
{
    if (lease->epoch == UINT32_MAX)
        return pawl_fail(PAWL_EIO, "%s: no epoch is left", lease->path);
    const int rc = store_record(lease, lease->epoch + 1);
    if (!rc) lease->epoch++;
    return rc;
}

void pawl_lease_drop(struct pawl_lease *lease)
{
    if (lease->fd >= 0) pawl_io()->close(lease->fd);
    lease->fd = -1;
}
