// disk.c - writes a file, makes it durable, and takes the time.

#include "runtime/cli/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "kernels/error.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum {
    PIECE_BYTES = 4 << 20,
    PIECES = 32,  // 128 MiB, or a second
    SMALL_BYTES = 4096,
    SYNCS = 32,  // or a second
};
static const int64_t limit_ns = 1000000000;

static void name_kind(char *out, size_t size, const char *directory)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } kinds[] = {
        { 0xef53, "ext4" },         { 0x58465342, "xfs" },       { 0x9123683e, "btrfs" },
        { 0x01021994, "tmpfs" },    { 0x794c7630, "overlayfs" }, { 0x6969, "nfs" },
        { 0x2fc12fc1, "zfs" },      { 0xf2f52010, "f2fs" },      { 0x65735546, "fuse" },
        { 0x0bd00bd0, "lustre" },   { 0x47504653, "gpfs" },      { 0x00c36400, "ceph" },
        { 0xff534d42, "cifs" },     { 0x01021997, "9p" },        { 0x19830326, "beegfs" },
        { 0xca451a4e, "bcachefs" },
    };
    struct statfs of;

    snprintf(out, size, "unknown");
    if (statfs(directory, &of))
        return;
    snprintf(out, size, "0x%lx", (unsigned long)of.f_type & 0xffffffff);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (kinds[i].magic == ((unsigned long)of.f_type & 0xffffffff))
            snprintf(out, size, "%s", kinds[i].name);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

// Opens the file with O_DIRECT and tries one piece; without it where the file system refuses.
static int open_file(const char *path, const void *piece, bool *direct)
{
    const struct pawl_io *io = pawl_io();
    int fd = io->open(path, O_WRONLY | O_CREAT | O_EXCL | O_DIRECT, 0600);

    *direct = fd >= 0 && !pawl_io_write_all(fd, piece, SMALL_BYTES, 0);
    if (*direct)
        return fd;
    if (fd >= 0)
        io->close(fd);
    // The refused open may have made the file all the same.
    fd = io->open(path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
    return fd;
}

static int measure_speed(struct pawl_disk *out, int fd, const void *piece)
{
    const struct pawl_io *io = pawl_io();
    const int64_t start_ns = io->now_ns();
    int pieces = 0, rc = 0;

    while (!rc && pieces < PIECES && io->now_ns() - start_ns < limit_ns)
        rc = pawl_io_write_all(fd, piece, PIECE_BYTES, (off_t)pieces++ * PIECE_BYTES);
    if (!rc)
        rc = io->datasync(fd);
    if (rc)
        return rc;
    out->bytes_per_s = (double)pieces * PIECE_BYTES / ((double)(io->now_ns() - start_ns) / 1e9);
    return 0;
}

static int measure_syncs(struct pawl_disk *out, int fd, const void *piece)
{
    const struct pawl_io *io = pawl_io();
    const int64_t start_ns = io->now_ns();
    double ms[SYNCS];
    int count = 0;

    while (count < SYNCS && io->now_ns() - start_ns < limit_ns) {
        const int64_t before_ns = io->now_ns();
        int rc = pawl_io_write_all(fd, piece, SMALL_BYTES, (off_t)count * SMALL_BYTES);

        if (!rc)
            rc = io->datasync(fd);
        if (rc)
            return rc;
        ms[count++] = (double)(io->now_ns() - before_ns) / 1e6;
    }
    qsort(ms, (size_t)count, sizeof(*ms), by_value);
    out->sync_ms_p50 = ms[count / 2];
    out->sync_ms_max = ms[count - 1];
    return 0;
}

int pawl_disk_measure(struct pawl_disk *out, const char *directory)
{
    const struct pawl_io *io = pawl_io();
    struct pawl_disk disk = { .direct = false };
    char path[4096];
    void *piece = NULL;
    uint64_t salt = 0;
    int fd = -1;

    fd = io->open(directory, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return pawl_fail(PAWL_ENONE, "%s: %s. try: mkdir -p %s", directory, strerror(-fd),
                         directory);
    io->close(fd);
    name_kind(disk.kind, sizeof(disk.kind), directory);
    io->random(&salt, sizeof(salt));
    if (snprintf(path, sizeof(path), "%s/.pawl-doctor-%016llx", directory, (unsigned long long)salt)
        >= (int)sizeof(path))
        return pawl_fail(PAWL_EINVAL, "%.60s...: the name is too long", directory);
    int rc = pawl_pages_alloc(&piece, PIECE_BYTES, "a piece to write");
    if (rc)
        return rc;
    fd = open_file(path, piece, &disk.direct);
    if (fd < 0) {
        rc = pawl_fail(PAWL_EBUSY, "%s: cannot make a file there: %s", directory, strerror(-fd));
        goto out;
    }
    rc = measure_speed(&disk, fd, piece);
    if (!rc)
        rc = measure_syncs(&disk, fd, piece);
    const int closed = io->close(fd);
    const int gone = io->unlink(path);
    if (!rc)
        rc = closed ? closed : gone;
    if (!rc)
        rc = io->space(directory, &disk.free_bytes);
    if (rc)
        rc = pawl_fail(PAWL_EIO, "%s: cannot be written: %s", directory, strerror(-rc));
    else
        *out = disk;
out:
    pawl_pages_free(piece, PIECE_BYTES);
    return rc;
}
