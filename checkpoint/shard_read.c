// shard_read.c - reads a rank's file: several chunks at a time, each checked as it lands.

#include "checkpoint/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "kernels/thread.h"

enum { PAGE = 4096, OPEN_TRIES = 8 };

static int open_file(const char *path, int flags)
{
    int fd = -EINTR;

    for (int i = 0; i < OPEN_TRIES && fd == -EINTR; i++)
        fd = pawl_io()->open(path, flags | O_NOFOLLOW | O_CLOEXEC, 0666);
    return fd;
}

static void close_file(int *fd)
{
    if (*fd >= 0) pawl_io()->close(*fd);
    *fd = -1;
}

// More readers than cores, because a reader that sums or copies asks storage for nothing.
enum { READERS_MAX = 6 };

// Chunks are taken from one counter by a few threads; the first failure ends them all.
struct reading {
    const char *path;
    const struct pawl_sums *sums;
    const struct pawl_sink *sink;  // or NULL
    _Atomic int readers;    // that have begun: the number of each
    bool direct;
    _Atomic uint64_t next;  // the next chunk to read
    _Atomic bool failed;
    pthread_mutex_t lock;   // guards rc and words
    int rc;
    char words[1024];
};

static int refuse(struct reading *reading, int rc)
{
    pthread_mutex_lock(&reading->lock);
    if (!reading->rc) {
        reading->rc = rc;
        snprintf(reading->words, sizeof(reading->words), "%s", pawl_error());
    }
    pthread_mutex_unlock(&reading->lock);
    atomic_store_explicit(&reading->failed, true, memory_order_relaxed);
    return rc;
}

// direct reads must ask for whole pages; the last one then ends early, as it should.
static int read_chunk(const struct reading *reading, int fd, int spare, char *to, uint64_t start,
                      size_t size)
{
    const size_t pages = reading->direct ? size / PAGE * PAGE : 0;
    int rc = 0;

    if (pages) rc = pawl_io_read_all(fd, to, pages, (off_t)start);
    if (rc == -EINVAL) return pawl_io_read_all(spare, to, size, (off_t)start);
    if (!rc && size > pages)
        rc = pawl_io_read_all(spare, to + pages, size - pages, (off_t)(start + pages));
    return rc;
}

static int check_chunk(const struct reading *reading, const char *bytes, size_t size,
                       uint64_t chunk)
{
    const uint32_t wanted = pawl_sums_get(reading->sums, chunk), found = pawl_crc32c(bytes, size);

    if (wanted == found) return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s: bytes %llu to %llu are not the ones written (CRC-32C "
                     "%08lx, should be %08lx)", reading->path,
                     (unsigned long long)(chunk << PAWL_CHUNK_LOG2),
                     (unsigned long long)((chunk << PAWL_CHUNK_LOG2) + size),
                     (unsigned long)found, (unsigned long)wanted);
}

static int read_chunks(struct reading *reading, int fd, int spare, char *room)
{
    while (!atomic_load_explicit(&reading->failed, memory_order_relaxed)) {
        const uint64_t chunk =
            atomic_fetch_add_explicit(&reading->next, 1, memory_order_relaxed);
        if (chunk >= reading->sums->chunk_count) break;
        const uint64_t start = chunk << PAWL_CHUNK_LOG2, left = reading->sums->file_bytes - start;
        const size_t size = left < PAWL_CHUNK_BYTES ? (size_t)left : PAWL_CHUNK_BYTES;
        const struct pawl_sink *sink = reading->sink;
        char *place = sink && sink->place ? sink->place(sink->context, start, size) : NULL;
        char *to = place ? place : room;
        int rc = read_chunk(reading, fd, spare, to, start, size);
        if (rc == -ENODATA)
            return pawl_fail(PAWL_ECORRUPT, "%s: ends before byte %llu", reading->path,
                             (unsigned long long)(start + size));
        if (rc) return pawl_io_fail(rc, "read", reading->path);
        rc = check_chunk(reading, to, size, chunk);
        if (!rc && sink && !place) rc = sink->take(sink->context, start, to, size);
        if (rc) return rc;
    }
    return 0;
}

static void read_share(struct reading *reading)
{
    const int number = atomic_fetch_add_explicit(&reading->readers, 1, memory_order_relaxed);
    const bool has_room = reading->sink && number < reading->sink->room_chunks;
    const size_t bytes = reading->sums->file_bytes < PAWL_CHUNK_BYTES
                             ? (size_t)reading->sums->file_bytes : PAWL_CHUNK_BYTES;
    int fd = -1, rc = 0;
    void *own = NULL;

    int spare = open_file(reading->path, O_RDONLY);
    if (spare < 0) {
        refuse(reading, pawl_io_fail(spare, "open", reading->path));
        return;
    }
    if (reading->direct) fd = open_file(reading->path, O_RDONLY | O_DIRECT);
    if (!has_room) rc = pawl_pages_alloc(&own, bytes, "a chunk");
    char *to = has_room ? reading->sink->room + (size_t)number * PAWL_CHUNK_BYTES : own;
    // Without O_DIRECT here the spare descriptor serves for all.
    if (!rc) rc = read_chunks(reading, fd < 0 ? spare : fd, spare, to);
    if (rc) refuse(reading, rc);
    pawl_pages_free(own, bytes);
    close_file(&fd);
    close_file(&spare);
}

static void *read_thread(void *reading)
{
    pawl_thread_name("pawl-load");
    read_share(reading);
    return NULL;
}

static int read_all(struct reading *reading)
{
    pthread_t threads[READERS_MAX];
    int started = 0;

    pthread_mutex_init(&reading->lock, NULL);
    while (started < READERS_MAX - 1 && (uint64_t)started + 1 < reading->sums->chunk_count
           && !pthread_create(&threads[started], NULL, read_thread, reading))
        started++;
    read_share(reading);  // the caller is one of them, so that no thread at all is enough
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&reading->lock);
    return reading->rc ? pawl_fail(reading->rc, "%s", reading->words) : 0;
}

// The table of a rank's sums, checked against the manifest. *table is freed by pawl_free.
static int read_sums(struct pawl_sums *out, char **table, const char *directory,
                     const struct pawl_manifest *manifest, int rank)
{
    const struct pawl_manifest_file *file = &manifest->files[2 + 2 * rank];
    const struct pawl_manifest_file *shard = &manifest->files[1 + 2 * rank];
    char path[PAWL_PATH_MAX], *bytes = NULL;
    struct pawl_sums sums;
    size_t size = 0;

    int rc = pawl_path_join(path, directory, file->name);
    if (rc) return rc;
    rc = pawl_io_read_file(path, &bytes, &size, (size_t)file->bytes);
    if (rc == -ENOENT) return pawl_fail(PAWL_ECORRUPT, "%s is missing", path);
    if (rc == -EFBIG || rc == -EINVAL)
        return pawl_fail(PAWL_ECORRUPT, "%s: not the file that was written", path);
    if (rc == -ENOMEM) return PAWL_ENOMEM;
    if (rc) return pawl_io_fail(rc, "read", path);
    if (size != file->bytes || size < 4 || pawl_crc32c(bytes, size - 4) != file->crc)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: not the bytes that the manifest names", path);
    if (!rc) rc = pawl_sums_open(&sums, (unsigned char *)bytes, size, path);
    if (!rc && (!pawl_attempt_same(&sums.attempt, &manifest->attempt)
                || sums.rank != (uint32_t)rank || sums.ranks != (uint32_t)manifest->ranks
                || sums.file_bytes != shard->bytes))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: belongs to another snapshot or rank", path);
    if (rc) {
        pawl_free(bytes);
        return rc;
    }
    *out = sums;
    *table = bytes;
    return 0;
}

int pawl_shard_read(const char *directory, const struct pawl_manifest *manifest, int rank,
                    const struct pawl_sink *sink)
{
    struct reading reading = { .sink = sink, .direct = true };
    char path[PAWL_PATH_MAX], *table = NULL;
    struct pawl_sums sums;
    struct stat of;

    int rc = pawl_path_join(path, directory, manifest->files[1 + 2 * rank].name);
    if (!rc) rc = read_sums(&sums, &table, directory, manifest, rank);
    if (rc) return rc;
    reading.path = path;
    reading.sums = &sums;
    rc = pawl_io()->lstat(path, &of);
    if (rc == -ENOENT)
        rc = pawl_fail(PAWL_ECORRUPT, "%s is missing", path);
    else if (rc)
        rc = pawl_io_fail(rc, "look at", path);
    else if (!S_ISREG(of.st_mode) || (uint64_t)of.st_size != sums.file_bytes)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: not a file of %llu bytes", path,
                       (unsigned long long)sums.file_bytes);
    if (!rc) rc = read_all(&reading);
    pawl_free(table);
    return rc;
}
