// io.h - the one door to files, clocks and random numbers.
//
// Everything that can fail is a row of this table, so the same saver runs on a disk, in memory,
// under injected faults and under a trace: a test puts its own table in place of pawl_io_posix.
//
// Every int or ssize_t is >= 0 on success and -errno on failure: no global errno, no words. The
// callers say what they were doing. Short reads and writes and EINTR are passed on as they come;
// pawl_io_read_all() and pawl_io_write_all() loop over them.
//
// Threads: any. A table does not change while it is in use.

#ifndef PAWL_IO_H
#define PAWL_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "kernels/error.h"

struct pawl_io_queue;  // a table's own

// One transfer of a queue. The caller's until submitted, and again once it was reaped.
struct pawl_io_transfer {
    int fd;
    bool write;
    void *bytes;
    size_t size;
    off_t offset;
    ssize_t done;  // after reaping: as pread and pwrite return it, so perhaps less than size
};

struct pawl_io {
    const char *name;
    int (*open)(const char *path, int flags, mode_t mode);  // a descriptor
    int (*close)(int fd);
    ssize_t (*pread)(int fd, void *bytes, size_t size, off_t offset);
    ssize_t (*pwrite)(int fd, const void *bytes, size_t size, off_t offset);
    // fallocate: lack of space surfaces here; -EOPNOTSUPP is fine.
    int (*reserve)(int fd, off_t size);
    int (*datasync)(int fd);
    int (*sync)(int fd);  // also on directories
    int (*fstat)(int fd, struct stat *out);
    int (*lstat)(const char *path, struct stat *out);
    int (*mkdir)(const char *path, mode_t mode);
    int (*rename)(const char *from, const char *to);            // replaces
    int (*rename_noreplace)(const char *from, const char *to);  // -EEXIST when `to` is there
    int (*unlink)(const char *path);
    int (*rmdir)(const char *path);
    // Calls each(context, name) for every entry but . and .. until it returns non-zero.
    int (*list)(const char *path, int (*each)(void *context, const char *name), void *context);
    int (*space)(const char *path, uint64_t *free_bytes);  // that this user may still write
    int (*lock)(int fd);        // exclusive, at once or -EWOULDBLOCK; released by close
    int64_t (*now_ns)(void);    // monotonic
    int64_t (*wall_ns)(void);   // since 1970
    void (*sleep_ns)(int64_t ns);  // may be shorter; a test's table need not sleep at all
    int (*random)(void *bytes, size_t size);
    // Transfers beside the caller, up to depth at a time; all four are there or none (then threads
    // do the same by pread and pwrite, checkpoint/store/transfers.h). A queue has one user. Submit
    // starts one (-EAGAIN: too many are under way). Reap waits for any one to end. Close is called
    // when none is under way.
    int (*queue_open)(struct pawl_io_queue **out, unsigned depth);
    int (*queue_submit)(struct pawl_io_queue *queue, struct pawl_io_transfer *transfer);
    int (*queue_reap)(struct pawl_io_queue *queue, struct pawl_io_transfer **out);
    void (*queue_close)(struct pawl_io_queue *queue);
};

extern const struct pawl_io pawl_io_posix;

// The table in use; pawl_io_posix until pawl_io_set() chose another (NULL: back to it).
const struct pawl_io *pawl_io(void);
void pawl_io_set(const struct pawl_io *table);

// Loop over short transfers and EINTR (not for ever: -EINTR after 1,000 in a row). -ENODATA: the
// file ended first. -EIO: a write made no way.
int pawl_io_read_all(int fd, void *bytes, size_t size, off_t offset);
int pawl_io_write_all(int fd, const void *bytes, size_t size, off_t offset);

// A whole regular file of at most max_bytes as *out (zero-terminated, freed by pawl_free).
// -EFBIG: larger. -EINVAL: not a regular file.
int pawl_io_read_file(const char *path, char **out, size_t *size, size_t max_bytes);

// Makes `path` appear with these bytes or not at all: temporary name, fsync, rename, fsync of the
// directory. replace = false: -EEXIST when something is there.
int pawl_io_write_file(const char *path, const void *bytes, size_t size, bool replace);

// fsync of a directory by path.
int pawl_io_sync_dir(const char *path);

// Records "cannot DOING PATH: No space left on device" for a -errno; returns PAWL_EIO.
int pawl_io_fail(int error, const char *doing, const char *path);

#endif
