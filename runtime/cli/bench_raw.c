// bench_raw.c - sequential O_DIRECT transfers, scratch directories.

#include "runtime/cli/bench_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/store/transfers.h"
#include "kernels/error.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { REQUEST_BYTES = 4 << 20, BLOCK_BYTES = 4096 };

static int open_direct(const char *path, int flags)
{
    const int fd = pawl_io()->open(path, flags | O_DIRECT, 0666);

    return fd == -EINVAL ? pawl_io()->open(path, flags & ~O_EXCL, 0666) : fd;
}

// Depth requests of one buffer each: what the disk does, and nothing else.
struct raw {
    struct pawl_transfers *transfers;
    struct pawl_io_transfer *request;
    char *buffer;
    int fd, depth;
    bool writing;
};

static int raw_start(struct raw *raw, struct pawl_io_transfer *request, uint64_t at,
                     uint64_t bytes)
{
    const int slot = (int)(request - raw->request);

    *request = (struct pawl_io_transfer){
        .fd = raw->fd, .write = raw->writing, .offset = (off_t)at,
        .bytes = raw->buffer + (size_t)slot * REQUEST_BYTES,
        .size = bytes - at < REQUEST_BYTES ? (size_t)(bytes - at) : REQUEST_BYTES };
    return pawl_transfers_submit(raw->transfers, request);
}

static int raw_all(struct raw *raw, uint64_t bytes)
{
    struct pawl_io_transfer *ended;
    uint64_t at = 0;
    int rc = 0;

    for (int i = 0; !rc && i < raw->depth && at < bytes; i++, at += REQUEST_BYTES)
        rc = raw_start(raw, &raw->request[i], at, bytes);
    while (!rc && pawl_transfers_under_way(raw->transfers)) {
        rc = pawl_transfers_reap(raw->transfers, &ended);
        if (!rc && ended->done != (ssize_t)ended->size)
            rc = ended->done < 0 ? (int)ended->done : -EIO;
        if (!rc && at < bytes) {
            rc = raw_start(raw, ended, at, bytes);
            at += REQUEST_BYTES;
        }
    }
    return rc;
}

// Bytes that no storage below can make fewer of, like a state's. A repeated one reads 1.1 to 1.4
// times as fast here.
static int fill(void *buffer, size_t bytes)
{
    uint64_t *word = buffer, x;
    const int error = pawl_io()->random(&x, sizeof(x));

    if (error) return pawl_fail(PAWL_EIO, "no random numbers: %s", strerror(-error));
    x |= 1;  // xorshift (Marsaglia 2003): any state but 0
    for (size_t i = 0; i < bytes / sizeof(*word); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        word[i] = x;
    }
    return 0;
}

static int transfer(const char *path, int flags, uint64_t bytes, int depth, double *bytes_per_s)
{
    const struct pawl_io *io = pawl_io();
    struct pawl_io_transfer requests[PAWL_TRANSFERS_MAX];
    struct raw raw = { .request = requests, .depth = depth, .fd = -1,
                       .writing = (flags & O_ACCMODE) == O_WRONLY };
    void *buffer = NULL;
    int rc = pawl_pages_alloc(&buffer, (size_t)depth * REQUEST_BYTES, "the transfer buffers");

    if (!rc) rc = pawl_transfers_open(&raw.transfers, depth);
    if (rc) goto out;
    rc = fill(buffer, (size_t)depth * REQUEST_BYTES);
    if (rc) goto out;
    raw.buffer = buffer;
    bytes = bytes / BLOCK_BYTES * BLOCK_BYTES;
    const int64_t start = io->now_ns();
    raw.fd = open_direct(path, flags);
    int error = raw.fd < 0 ? raw.fd : 0;
    if (!error && raw.writing) (void)io->reserve(raw.fd, (off_t)bytes);
    if (!error) error = raw_all(&raw, bytes);
    if (!error && raw.writing) error = io->datasync(raw.fd);
    *bytes_per_s = (double)bytes / ((double)(io->now_ns() - start) / 1e9);
    if (error)
        rc = pawl_fail(PAWL_EIO, "%s: raw transfer failed: %s", path, strerror(-error));
out:
    pawl_transfers_close(raw.transfers);
    if (raw.fd >= 0) io->close(raw.fd);
    pawl_pages_free(buffer, (size_t)depth * REQUEST_BYTES);
    return rc;
}

int bench_raw_write(const char *path, uint64_t bytes, int depth, double *bytes_per_s)
{
    return transfer(path, O_WRONLY | O_CREAT | O_EXCL, bytes, depth, bytes_per_s);
}

int bench_raw_read(const char *path, uint64_t bytes, int depth, double *bytes_per_s)
{
    return transfer(path, O_RDONLY, bytes, depth, bytes_per_s);
}

int bench_drop_caches(void)
{
    sync();
    const int fd = pawl_io()->open("/proc/sys/vm/drop_caches", O_WRONLY, 0);
    if (fd < 0) return 0;
    const int error = pawl_io_write_all(fd, "3", 1, 0);
    pawl_io()->close(fd);
    return !error;
}

int bench_scratch(char *out, unsigned long size, const char *where)
{
    snprintf(out, size, "%s/pawl-bench-%d", where, (int)getpid());
    const int error = pawl_io()->mkdir(out, 0777);
    return error ? pawl_fail(PAWL_EIO, "%s: cannot be created: %s", out, strerror(-error)) : 0;
}

// Entries are collected before they are removed: a directory that changes while it is listed may
// name an entry twice or not at all.
struct names {
    char name[64][256];
    int count;
};

static int collect(void *context, const char *name)
{
    struct names *names = context;

    if (names->count == 64) return 1;
    snprintf(names->name[names->count++], sizeof(names->name[0]), "%s", name);
    return 0;
}

void bench_remove(const char *path)
{
    const struct pawl_io *io = pawl_io();
    char inner[4096];

    for (int round = 0; round < 64; round++) {
        struct names names = { .count = 0 };
        io->list(path, collect, &names);
        for (int i = 0; i < names.count; i++) {
            struct stat of;
            snprintf(inner, sizeof(inner), "%s/%s", path, names.name[i]);
            if (io->lstat(inner, &of)) continue;
            if (S_ISDIR(of.st_mode))
                bench_remove(inner);
            else
                io->unlink(inner);
        }
        if (!names.count) break;
    }
    io->rmdir(path);
}
