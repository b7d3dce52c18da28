// bench_raw.c - sequential O_DIRECT transfers, scratch directories.

#include "runtime/cli/bench_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/error.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { REQUEST_BYTES = 4 << 20, BLOCK_BYTES = 4096 };

static int open_direct(const char *path, int flags)
{
    const int fd = pawl_io()->open(path, flags | O_DIRECT, 0666);

    return fd == -EINVAL ? pawl_io()->open(path, flags & ~O_EXCL, 0666) : fd;
}

static int transfer(const char *path, int flags, uint64_t bytes, double *bytes_per_s)
{
    const struct pawl_io *io = pawl_io();
    const bool writing = (flags & O_ACCMODE) == O_WRONLY;
    void *buffer = NULL;
    int rc = pawl_pages_alloc(&buffer, REQUEST_BYTES, "the transfer buffer");

    if (rc) return rc;
    memset(buffer, 0x5a, REQUEST_BYTES);
    const int64_t start = io->now_ns();
    const int fd = open_direct(path, flags);
    int error = fd < 0 ? fd : 0;
    bytes = bytes / BLOCK_BYTES * BLOCK_BYTES;
    for (uint64_t at = 0; !error && at < bytes; at += REQUEST_BYTES) {
        const size_t size = bytes - at < REQUEST_BYTES ? (size_t)(bytes - at) : REQUEST_BYTES;
        error = writing ? pawl_io_write_all(fd, buffer, size, (off_t)at)
                        : pawl_io_read_all(fd, buffer, size, (off_t)at);
    }
    if (!error && writing) error = io->datasync(fd);
    *bytes_per_s = (double)bytes / ((double)(io->now_ns() - start) / 1e9);
    if (fd >= 0) io->close(fd);
    pawl_pages_free(buffer, REQUEST_BYTES);
    return error ? pawl_fail(PAWL_EIO, "%s: raw transfer failed: %s", path, strerror(-error)) : 0;
}

int bench_raw_write(const char *path, uint64_t bytes, double *bytes_per_s)
{
    return transfer(path, O_WRONLY | O_CREAT | O_EXCL, bytes, bytes_per_s);
}

int bench_raw_read(const char *path, uint64_t bytes, double *bytes_per_s)
{
    return transfer(path, O_RDONLY, bytes, bytes_per_s);
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
