// source.c - files as every source needs them.

#include "runtime/data/source.h"

#include <errno.h>
#include <fcntl.h>
#include <isa-l.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"

int pawl_source_fail(int error, const char *path, const char *doing)
{
    const bool absent = error == -ENOENT || error == -ENOTDIR || error == -EACCES || error == -EPERM
                        || error == -ELOOP || error == -ENAMETOOLONG;

    return pawl_fail(absent ? PAWL_ENONE : PAWL_EIO, "%s: cannot %s: %s", path, doing,
                     strerror(-error));
}

static const char *kind_of(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a FIFO";
    if (S_ISSOCK(mode))
        return "a socket";
    return "a device";
}

int pawl_source_open_file(int *fd, uint64_t *bytes, const char *path)
{
    struct stat of;

    // O_NONBLOCK: a FIFO without a writer must be an error, not a wait without end.
    const int opened = pawl_io()->open(path, O_RDONLY | O_NONBLOCK, 0);
    if (opened == -ENXIO)
        return pawl_fail(PAWL_ECORRUPT, "%s: is no regular file", path);
    if (opened < 0)
        return pawl_source_fail(opened, path, "open");
    int rc = pawl_io()->fstat(opened, &of);
    if (rc < 0)
        rc = pawl_source_fail(rc, path, "stat");
    else if (!S_ISREG(of.st_mode))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: is %s, not a regular file", path, kind_of(of.st_mode));
    if (rc) {
        pawl_io()->close(opened);
        return rc;
    }
    *fd = opened;
    *bytes = (uint64_t)of.st_size;
    return 0;
}

int pawl_source_is_directory(bool *out, const char *path)
{
    const int fd = pawl_io()->open(path, O_RDONLY | O_DIRECTORY, 0);

    if (fd < 0 && fd != -ENOTDIR)
        return pawl_source_fail(fd, path, "open");
    if (fd >= 0)
        pawl_io()->close(fd);
    *out = fd >= 0;
    return 0;
}

int pawl_source_read(int fd, const char *path, void *out, size_t bytes, uint64_t offset)
{
    const int rc = pawl_io_read_all(fd, out, bytes, (off_t)offset);

    if (!rc)
        return 0;
    if (rc == -ENODATA)
        return pawl_fail(PAWL_EIO,
                         "%s: ends before byte %llu: it was cut short since it was opened", path,
                         (unsigned long long)(offset + bytes));
    return pawl_fail(PAWL_EIO, "%s: cannot read %zu bytes at byte %llu: %s", path, bytes,
                     (unsigned long long)offset, strerror(-rc));
}

int pawl_source_add(struct pawl_source *source, const char *path, size_t name_at, uint64_t bytes)
{
    int rc;

    if (source->file_count == source->file_room) {
        const size_t room = source->file_room ? 2 * source->file_room : 16;
        rc = pawl_realloc(&source->files, room * sizeof(*source->files), "list of data files");
        if (rc)
            return rc;
        source->file_room = room;
    }
    struct pawl_source_file *file = &source->files[source->file_count];
    *file = (struct pawl_source_file){ .name_at = name_at, .bytes = bytes };
    rc = pawl_strdup(&file->path, path);
    if (!rc)
        source->file_count++;
    return rc;
}

size_t pawl_source_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? (size_t)(slash - path) + 1 : 0;
}

bool pawl_source_is_text(const char *bytes, size_t count)
{
    return !memchr(bytes, 0, count);
}

uint32_t pawl_source_crc(uint32_t crc, const void *bytes, size_t count)
{
    enum { PIECE = 1 << 30 };  // ISA-L counts in int

    crc = ~crc;
    for (size_t done = 0; done < count;) {
        const size_t piece = count - done < PIECE ? count - done : PIECE;
        crc = crc32_iscsi((unsigned char *)bytes + done, (int)piece, crc);
        done += piece;
    }
    return ~crc;
}
