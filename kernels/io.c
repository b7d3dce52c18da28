// io.c - the POSIX row of the I/O table, and the loops over short transfers.

#include "kernels/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "kernels/memory.h"

static int answer(int rc)
{
    return rc < 0 ? -errno : rc;
}

static int posix_open(const char *path, int flags, mode_t mode)
{
    return answer(open(path, flags | O_CLOEXEC, mode));
}

static int posix_close(int fd)
{
    // After EINTR Linux has closed the descriptor all the same: closing again could hit another's.
    const int rc = answer(close(fd));
    return rc == -EINTR ? 0 : rc;
}

static ssize_t posix_pread(int fd, void *bytes, size_t size, off_t offset)
{
    const ssize_t n = pread(fd, bytes, size, offset);
    return n < 0 ? -errno : n;
}

static ssize_t posix_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    const ssize_t n = pwrite(fd, bytes, size, offset);
    return n < 0 ? -errno : n;
}

static int posix_reserve(int fd, off_t size) { return answer(fallocate(fd, 0, 0, size)); }
static int posix_datasync(int fd) { return answer(fdatasync(fd)); }
static int posix_sync(int fd) { return answer(fsync(fd)); }
static int posix_fstat(int fd, struct stat *out) { return answer(fstat(fd, out)); }
static int posix_lstat(const char *path, struct stat *out) { return answer(lstat(path, out)); }
static int posix_mkdir(const char *path, mode_t mode) { return answer(mkdir(path, mode)); }
static int posix_unlink(const char *path) { return answer(unlink(path)); }
static int posix_rmdir(const char *path) { return answer(rmdir(path)); }
static int posix_lock(int fd) { return answer(flock(fd, LOCK_EX | LOCK_NB)); }

static int posix_rename(const char *from, const char *to)
{
    return answer(rename(from, to));
}

static int posix_rename_noreplace(const char *from, const char *to)
{
    const int rc = answer(renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE));

    if (rc != -EINVAL && rc != -ENOSYS)
        return rc;
    // A file system without RENAME_NOREPLACE (NFS): a hard link never replaces either.
    const int linked = answer(link(from, to));
    return linked ? linked : answer(unlink(from));
}

static int posix_list(const char *path, int (*each)(void *context, const char *name), void *context)
{
    DIR *directory = opendir(path);
    int rc = 0;

    if (!directory) return -errno;
    while (!rc) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry) {
            rc = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            rc = each(context, entry->d_name);
    }
    closedir(directory);
    return rc;
}

static int posix_space(const char *path, uint64_t *free_bytes)
{
    struct statvfs of;

    if (statvfs(path, &of)) return -errno;
    *free_bytes = (uint64_t)of.f_bavail * of.f_frsize;
    return 0;
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t posix_now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static int64_t posix_wall_ns(void) { return clock_ns(CLOCK_REALTIME); }

static void posix_sleep_ns(int64_t ns)
{
    nanosleep(&(struct timespec){ ns / 1000000000, ns % 1000000000 }, NULL);
}

static int posix_random(void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = getrandom((char *)bytes + done, size - done, 0);
        if (n < 0 && errno != EINTR) return -errno;
        if (n > 0) done += (size_t)n;
    }
    return 0;
}

const struct pawl_io pawl_io_posix = {
    .name = "posix",
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .reserve = posix_reserve,
    .datasync = posix_datasync,
    .sync = posix_sync,
    .fstat = posix_fstat,
    .lstat = posix_lstat,
    .mkdir = posix_mkdir,
    .rename = posix_rename,
    .rename_noreplace = posix_rename_noreplace,
    .unlink = posix_unlink,
    .rmdir = posix_rmdir,
    .list = posix_list,
    .space = posix_space,
    .lock = posix_lock,
    .now_ns = posix_now_ns,
    .wall_ns = posix_wall_ns,
    .sleep_ns = posix_sleep_ns,
    .random = posix_random,
};

static const struct pawl_io *current = &pawl_io_posix;

const struct pawl_io *pawl_io(void)
{
    return current;
}

void pawl_io_set(const struct pawl_io *table)
{
    current = table ? table : &pawl_io_posix;
}

// A storm of signals ends, a broken file system may interrupt for ever.
enum { INTERRUPTIONS_MAX = 1000 };

int pawl_io_read_all(int fd, void *bytes, size_t size, off_t offset)
{
    int interrupted = 0;

    for (size_t done = 0; done < size;) {
        const ssize_t n = current->pread(fd, (char *)bytes + done, size - done,
                                         offset + (off_t)done);
        if (n == 0) return -ENODATA;
        if (n < 0 && (n != -EINTR || ++interrupted > INTERRUPTIONS_MAX)) return (int)n;
        if (n > 0) done += (size_t)n, interrupted = 0;
    }
    return 0;
}

int pawl_io_write_all(int fd, const void *bytes, size_t size, off_t offset)
{
    int interrupted = 0;

    for (size_t done = 0; done < size;) {
        const ssize_t n = current->pwrite(fd, (const char *)bytes + done, size - done,
                                          offset + (off_t)done);
        if (n == 0) return -EIO;
        if (n < 0 && (n != -EINTR || ++interrupted > INTERRUPTIONS_MAX)) return (int)n;
        if (n > 0) done += (size_t)n, interrupted = 0;
    }
    return 0;
}

int pawl_io_read_file(const char *path, char **out, size_t *size, size_t max_bytes)
{
    const int fd = current->open(path, O_RDONLY | O_NONBLOCK, 0);
    struct stat of;
    char *bytes = NULL;

    if (fd < 0) return fd;
    int rc = current->fstat(fd, &of);
    if (!rc && !S_ISREG(of.st_mode)) rc = -EINVAL;
    if (!rc && (uint64_t)of.st_size > max_bytes) rc = -EFBIG;
    if (!rc && pawl_alloc(&bytes, (size_t)of.st_size + 1, path)) rc = -ENOMEM;
    if (!rc) rc = pawl_io_read_all(fd, bytes, (size_t)of.st_size, 0);
    current->close(fd);
    if (rc) {
        pawl_free(bytes);
        return rc;
    }
    *out = bytes;
    *size = (size_t)of.st_size;
    return 0;
}

int pawl_io_sync_dir(const char *path)
{
    const int fd = current->open(path, O_RDONLY | O_DIRECTORY, 0);

    if (fd < 0) return fd;
    const int rc = current->sync(fd);
    const int closed = current->close(fd);
    return rc ? rc : closed;
}

int pawl_io_write_file(const char *path, const void *bytes, size_t size, bool replace)
{
    char temporary[4096], directory[4096];
    uint64_t salt = 0;
    const char *slash = strrchr(path, '/');

    int rc = current->random(&salt, sizeof(salt));
    if (rc) return rc;
    if (snprintf(temporary, sizeof(temporary), "%s.tmp-%016llx", path, (unsigned long long)salt)
        >= (int)sizeof(temporary))
        return -ENAMETOOLONG;
    snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");

    const int fd = current->open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (fd < 0) return fd;
    rc = pawl_io_write_all(fd, bytes, size, 0);
    if (!rc) rc = current->sync(fd);
    const int closed = current->close(fd);
    if (!rc) rc = closed;
    if (!rc)
        rc = replace ? current->rename(temporary, path)
                     : current->rename_noreplace(temporary, path);
    if (rc) {
        current->unlink(temporary);
        return rc;
    }
    return pawl_io_sync_dir(directory);
}

int pawl_io_fail(int error, const char *doing, const char *path)
{
    const char *words = strerrordesc_np(error < 0 ? -error : error);

    return pawl_fail(PAWL_EIO, "cannot %s %s: %s", doing, path, words ? words : "unknown error");
}
