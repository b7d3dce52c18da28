// trace.c - see trace.h. The table is a copy of the one below with the changing calls replaced.

#include "checkpoint/store/trace.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DESCRIPTORS = 1024, PATH_BYTES = 512, LINE_BYTES = 3 * PATH_BYTES };

// lock guards paths and the calls of each; the rest is constant between begin and end.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char paths[DESCRIPTORS][PATH_BYTES];
static void (*tell)(void *context, const char *line);
static void *told;
static const struct pawl_io *below;
static struct pawl_io table;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char line[LINE_BYTES];
    va_list list;

    va_start(list, format);
    vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    pthread_mutex_lock(&lock);
    tell(told, line);
    pthread_mutex_unlock(&lock);
}

static const char *path_of(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS ? paths[fd] : "?";
}

static int trace_open(const char *path, int flags, mode_t mode)
{
    const int fd = below->open(path, flags, mode);

    if (fd >= 0 && fd < DESCRIPTORS) {
        pthread_mutex_lock(&lock);
        snprintf(paths[fd], PATH_BYTES, "%s", path);
        pthread_mutex_unlock(&lock);
    }
    if (flags & O_CREAT) say("create %s = %d", path, fd < 0 ? fd : 0);
    return fd;
}

static ssize_t trace_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    const ssize_t done = below->pwrite(fd, bytes, size, offset);

    say("write %s %lld+%zu = %zd", path_of(fd), (long long)offset, size, done);
    return done;
}

static int trace_reserve(int fd, off_t size)
{
    const int rc = below->reserve(fd, size);

    say("reserve %s %lld = %d", path_of(fd), (long long)size, rc);
    return rc;
}

static int trace_datasync(int fd)
{
    const int rc = below->datasync(fd);

    say("datasync %s = %d", path_of(fd), rc);
    return rc;
}

static int trace_sync(int fd)
{
    const int rc = below->sync(fd);

    say("sync %s = %d", path_of(fd), rc);
    return rc;
}

static int trace_mkdir(const char *path, mode_t mode)
{
    const int rc = below->mkdir(path, mode);

    say("mkdir %s = %d", path, rc);
    return rc;
}

static int trace_rename(const char *from, const char *to)
{
    const int rc = below->rename(from, to);

    say("rename %s %s = %d", from, to, rc);
    return rc;
}

static int trace_rename_noreplace(const char *from, const char *to)
{
    const int rc = below->rename_noreplace(from, to);

    say("rename_noreplace %s %s = %d", from, to, rc);
    return rc;
}

static int trace_unlink(const char *path)
{
    const int rc = below->unlink(path);

    say("unlink %s = %d", path, rc);
    return rc;
}

static int trace_rmdir(const char *path)
{
    const int rc = below->rmdir(path);

    say("rmdir %s = %d", path, rc);
    return rc;
}

static int trace_submit(struct pawl_io_queue *queue, struct pawl_io_transfer *transfer)
{
    const struct pawl_io_transfer asked = *transfer;  // it may end before this returns
    const int rc = below->queue_submit(queue, transfer);

    if (asked.write && !rc)
        say("write %s %lld+%zu", path_of(asked.fd), (long long)asked.offset, asked.size);
    return rc;
}

void pawl_trace_begin(void (*each)(void *context, const char *line), void *context)
{
    tell = each;
    told = context;
    memset(paths, 0, sizeof(paths));
    below = pawl_io();
    table = *below;
    table.name = "trace";
    table.open = trace_open;
    table.pwrite = trace_pwrite;
    table.reserve = trace_reserve;
    table.datasync = trace_datasync;
    table.sync = trace_sync;
    table.mkdir = trace_mkdir;
    table.rename = trace_rename;
    table.rename_noreplace = trace_rename_noreplace;
    table.unlink = trace_unlink;
    table.rmdir = trace_rmdir;
    if (table.queue_submit) table.queue_submit = trace_submit;
    pawl_io_set(&table);
}

void pawl_trace_end(void)
{
    pawl_io_set(below);
}
