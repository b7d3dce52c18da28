// shard.c - writes and reads a rank's file.

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

// ---- writing

// Whole pages go through direct (-1 when the file system does not take O_DIRECT), the rest
// through buffered, which is opened when it is first needed.
struct writer {
    const char *path;
    int direct, buffered;
};

static int create(struct writer *writer)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL;

    writer->direct = open_file(writer->path, flags | O_DIRECT);
    if (writer->direct >= 0) return 0;
    if (writer->direct != -EINVAL && writer->direct != -EOPNOTSUPP) return writer->direct;
    writer->direct = -1;
    // Some file systems create the file before they refuse O_DIRECT; the directory is ours alone.
    writer->buffered = open_file(writer->path, O_WRONLY | O_CREAT);
    return writer->buffered < 0 ? writer->buffered : 0;
}

static int write_buffered(struct writer *writer, const char *bytes, size_t size, uint64_t offset)
{
    if (writer->buffered < 0) {
        writer->buffered = open_file(writer->path, O_WRONLY);
        if (writer->buffered < 0) return writer->buffered;
    }
    return pawl_io_write_all(writer->buffered, bytes, size, (off_t)offset);
}

static int write_at(struct writer *writer, const char *bytes, size_t size, uint64_t offset)
{
    const size_t pages = writer->direct < 0 ? 0 : size / PAGE * PAGE;
    int rc = 0;

    if (pages) rc = pawl_io_write_all(writer->direct, bytes, pages, (off_t)offset);
    // A device with larger sectors, or a short write that broke the alignment.
    if (rc == -EINVAL) return write_buffered(writer, bytes, size, offset);
    if (!rc && size > pages)
        rc = write_buffered(writer, bytes + pages, size - pages, offset + pages);
    return rc;
}

static int write_chunks(struct writer *writer, const struct pawl_shard *shard)
{
    int rc = 0;

    for (uint64_t start = 0; !rc && start < shard->size_bytes; start += PAWL_CHUNK_BYTES) {
        const uint64_t left = shard->size_bytes - start;
        const size_t size = left < PAWL_CHUNK_BYTES ? (size_t)left : PAWL_CHUNK_BYTES;
        pawl_sums_set(shard->sums, start >> PAWL_CHUNK_LOG2,
                      pawl_crc32c(shard->bytes + start, size));
        rc = write_at(writer, shard->bytes + start, size, start);
        if (!rc && shard->written)
            atomic_store_explicit(shard->written, start + size, memory_order_relaxed);
    }
    return rc;
}

static int reserve(int fd, uint64_t size)
{
    int rc = -EINTR;

    for (int i = 0; i < OPEN_TRIES && rc == -EINTR; i++)
        rc = pawl_io()->reserve(fd, (off_t)size);
    return rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EINVAL ? 0 : rc;
}

static int close_file(int *fd)
{
    const int rc = *fd < 0 ? 0 : pawl_io()->close(*fd);

    *fd = -1;
    return rc;
}

// The words for a full disk say how much is needed and how much there is.
static int fail_write(int error, const char *doing, const char *path, uint64_t need)
{
    uint64_t have = 0;

    if ((error == -ENOSPC || error == -EDQUOT) && !pawl_io()->space(path, &have))
        return pawl_fail(PAWL_EIO, "cannot %s %s: %s (needs %llu bytes, %llu are free)", doing,
                         path, strerrordesc_np(-error), (unsigned long long)need,
                         (unsigned long long)have);
    return pawl_io_fail(error, doing, path);
}

static int write_payload(const char *path, const struct pawl_shard *shard)
{
    struct writer writer = { path, -1, -1 };
    const char *doing = "create";

    int rc = create(&writer);
    if (rc) goto out;
    const int main_fd = writer.direct >= 0 ? writer.direct : writer.buffered;
    doing = "reserve space for";
    rc = reserve(main_fd, shard->size_bytes);
    if (rc) goto out;
    doing = "write";
    rc = write_chunks(&writer, shard);
    if (rc) goto out;
    // One descriptor's fdatasync covers the file, whichever descriptor wrote. It was open before
    // the first write, so it hears of every write-back error. Its failure is final: a second
    // call would report success although the pages are lost.
    doing = "make durable";
    rc = pawl_io()->datasync(main_fd);
out:;
    const int closed_1 = close_file(&writer.direct), closed_2 = close_file(&writer.buffered);
    if (!rc && (closed_1 || closed_2)) {
        doing = "close";
        rc = closed_1 ? closed_1 : closed_2;
    }
    return rc ? fail_write(rc, doing, path, shard->size_bytes) : 0;
}

int pawl_shard_write_small(const char *path, const void *bytes, size_t size)
{
    const char *doing = "create";
    int rc = 0, fd = open_file(path, O_WRONLY | O_CREAT | O_EXCL);

    if (fd < 0) return fail_write(fd, doing, path, size);
    doing = "write";
    rc = pawl_io_write_all(fd, bytes, size, 0);
    if (!rc) {
        doing = "make durable";
        rc = pawl_io()->sync(fd);
    }
    const int closed = close_file(&fd);
    if (!rc && closed) {
        doing = "close";
        rc = closed;
    }
    return rc ? fail_write(rc, doing, path, size) : 0;
}

int pawl_shard_write(struct pawl_receipt *out, const char *directory,
                     const struct pawl_shard *shard)
{
    const struct pawl_sums sums = { shard->attempt, (uint32_t)shard->rank, (uint32_t)shard->ranks,
                                    shard->size_bytes, 0, NULL };
    struct pawl_receipt receipt = { shard->attempt, shard->rank, shard->size_bytes,
                                    pawl_sums_bytes(shard->size_bytes), 0 };
    char name[40], path[PAWL_PATH_MAX];

    snprintf(name, sizeof(name), "shard-%05d.safetensors", shard->rank);
    int rc = pawl_path_join(path, directory, name);
    if (!rc) rc = write_payload(path, shard);
    if (rc) return rc;
    receipt.sums_crc = pawl_sums_seal(shard->sums, &sums);
    snprintf(name, sizeof(name), "shard-%05d.sums", shard->rank);
    rc = pawl_path_join(path, directory, name);
    if (!rc) rc = pawl_shard_write_small(path, shard->sums, receipt.sums_bytes);
    if (rc) return rc;
    rc = pawl_io_sync_dir(directory);
    if (rc) return pawl_io_fail(rc, "make durable", directory);
    *out = receipt;
    return 0;
}

// ---- reading

enum { READERS_MAX = 4 };

// Chunks are taken from one counter by a few threads; the first failure ends them all.
struct reading {
    const char *path;
    const struct pawl_sums *sums;
    char *buffer;           // NULL: each thread has a chunk of its own
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

static int read_chunks(struct reading *reading, int fd, int spare, char *own)
{
    while (!atomic_load_explicit(&reading->failed, memory_order_relaxed)) {
        const uint64_t chunk =
            atomic_fetch_add_explicit(&reading->next, 1, memory_order_relaxed);
        if (chunk >= reading->sums->chunk_count) break;
        const uint64_t start = chunk << PAWL_CHUNK_LOG2, left = reading->sums->file_bytes - start;
        const size_t size = left < PAWL_CHUNK_BYTES ? (size_t)left : PAWL_CHUNK_BYTES;
        char *to = own ? own : reading->buffer + start;
        const int rc = read_chunk(reading, fd, spare, to, start, size);
        if (rc == -ENODATA)
            return pawl_fail(PAWL_ECORRUPT, "%s: ends before byte %llu", reading->path,
                             (unsigned long long)(start + size));
        if (rc) return pawl_io_fail(rc, "read", reading->path);
        const int bad = check_chunk(reading, to, size, chunk);
        if (bad) return bad;
    }
    return 0;
}

static void read_share(struct reading *reading)
{
    const size_t own_bytes = reading->sums->file_bytes < PAWL_CHUNK_BYTES
                                 ? (size_t)reading->sums->file_bytes : PAWL_CHUNK_BYTES;
    int fd = -1, rc = 0;
    void *own = NULL;

    int spare = open_file(reading->path, O_RDONLY);
    if (spare < 0) {
        refuse(reading, pawl_io_fail(spare, "open", reading->path));
        return;
    }
    if (reading->direct) fd = open_file(reading->path, O_RDONLY | O_DIRECT);
    if (!reading->buffer) rc = pawl_pages_alloc(&own, own_bytes, "a chunk");
    // Without O_DIRECT here the spare descriptor serves for all.
    if (!rc) rc = read_chunks(reading, fd < 0 ? spare : fd, spare, own);
    if (rc) refuse(reading, rc);
    pawl_pages_free(own, own_bytes);
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
                    char *buffer)
{
    struct reading reading = { .buffer = buffer, .direct = true };
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
