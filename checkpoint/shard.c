// shard.c - writes a rank's file: several chunks at a time, the next one summed meanwhile.

#include "checkpoint/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/thread.h"

enum { PAGE = 4096, OPEN_TRIES = 8 };

static int open_file(const char *path, int flags)
{
    int fd = -EINTR;

    for (int i = 0; i < OPEN_TRIES && fd == -EINTR; i++)
        fd = pawl_io()->open(path, flags | O_NOFOLLOW | O_CLOEXEC, 0666);
    return fd;
}

// ---- chunks on their way

// One chunk, or what is left of it.
struct slot {
    struct pawl_io_transfer transfer;
    uint64_t chunk;
    size_t size;  // of the whole chunk
    int tries;
    bool busy;
};

// Whole pages go through direct (-1 when the file system does not take O_DIRECT), the rest
// through buffered, which is opened when it is first needed.
struct writer {
    const struct pawl_shard *shard;
    const struct pawl_chunks *chunks;
    struct pawl_transfers *transfers;
    const char *path;
    int direct, buffered;
    int64_t start_ns;  // of the writing
    uint64_t written;
    struct slot slots[PAWL_TRANSFERS_MAX];
    int lost;  // what next() said, when it cannot go on
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

static int write_buffered(struct writer *writer, const char *bytes, size_t size, off_t offset)
{
    if (writer->buffered < 0) {
        writer->buffered = open_file(writer->path, O_WRONLY);
        if (writer->buffered < 0) return writer->buffered;
    }
    return pawl_io_write_all(writer->buffered, bytes, size, offset);
}

static void finish_chunk(struct writer *writer, uint64_t chunk, size_t size)
{
    writer->written += size;
    if (writer->shard->written)
        atomic_store_explicit(writer->shard->written, writer->written, memory_order_relaxed);
    writer->chunks->written(writer->chunks->context, chunk);
}

// How many chunks may be under way, from the rate so far. What the first few bring is a guess.
static int depth_now(const struct writer *writer)
{
    const int most = pawl_transfers_depth(writer->transfers);
    const int64_t ns = pawl_io()->now_ns() - writer->start_ns;
    const double ahead = PAWL_SHARD_AHEAD_MS * 1e6 * (double)writer->written
                         / ((double)(ns > 0 ? ns : 1) * PAWL_CHUNK_BYTES);

    if (most < PAWL_SHARD_DEPTH_LEAST || ahead >= most) return most;
    return ahead > PAWL_SHARD_DEPTH_LEAST ? (int)ahead : PAWL_SHARD_DEPTH_LEAST;
}

static struct slot *free_slot(struct writer *writer)
{
    for (int i = 0; i < pawl_transfers_depth(writer->transfers); i++)
        if (!writer->slots[i].busy) return &writer->slots[i];
    return NULL;
}

static void sum_chunk(const struct pawl_shard *shard, uint64_t chunk, const char *bytes,
                      size_t size)
{
    const int64_t start = shard->sums_cpu_ns ? pawl_thread_cpu_ns() : 0;

    pawl_sums_set(shard->sums, chunk, pawl_crc32c(bytes, size));
    if (shard->sums_cpu_ns)
        atomic_fetch_add_explicit(shard->sums_cpu_ns, pawl_thread_cpu_ns() - start,
                                  memory_order_relaxed);
}

// The last pages of the file may be a part of one: that part goes through the cache, at once.
static int begin_chunk(struct writer *writer, uint64_t chunk, const char *bytes)
{
    const uint64_t start = chunk << PAWL_CHUNK_LOG2, left = writer->shard->size_bytes - start;
    const size_t size = left < PAWL_CHUNK_BYTES ? (size_t)left : PAWL_CHUNK_BYTES;
    const size_t pages = writer->direct < 0 ? size : size / PAGE * PAGE;
    int rc = 0;

    sum_chunk(writer->shard, chunk, bytes, size);
    if (size > pages)
        rc = write_buffered(writer, bytes + pages, size - pages, (off_t)(start + pages));
    if (rc || !pages) {
        if (!rc) finish_chunk(writer, chunk, size);
        return rc;
    }
    struct slot *slot = free_slot(writer);
    *slot = (struct slot){
        .transfer = { .fd = writer->direct < 0 ? writer->buffered : writer->direct,
                      .write = true, .bytes = (void *)(uintptr_t)bytes, .size = pages,
                      .offset = (off_t)start },
        .chunk = chunk, .size = size };
    rc = pawl_transfers_submit(writer->transfers, &slot->transfer);
    slot->busy = !rc;
    return rc;
}

// A storm of signals ends, a broken file system may interrupt for ever.
enum { INTERRUPTIONS_MAX = 1000 };

// What is to be done about a transfer that has ended: 0 with slot->busy when it goes on.
static int look_at(struct writer *writer, struct slot *slot)
{
    struct pawl_io_transfer *transfer = &slot->transfer;
    const ssize_t done = transfer->done;

    if (done == 0 || done > (ssize_t)transfer->size) return -EIO;
    if (done > 0) {
        slot->tries = 0;
        transfer->bytes = (char *)transfer->bytes + done;
        transfer->size -= (size_t)done;
        transfer->offset += done;
        if (!transfer->size) return 0;
    } else if ((done == -EINTR || done == -EAGAIN) && ++slot->tries < INTERRUPTIONS_MAX) {
        // Again.
    } else if (done != -EINVAL || transfer->fd != writer->direct) {
        return (int)done;
    }
    // A device with larger sectors, or a short write that broke the alignment.
    if (transfer->fd == writer->direct && (done == -EINVAL || transfer->offset % PAGE))
        return write_buffered(writer, transfer->bytes, transfer->size, transfer->offset);
    const int rc = pawl_transfers_submit(writer->transfers, transfer);
    slot->busy = !rc;
    return rc;
}

static int reap(struct writer *writer)
{
    struct pawl_io_transfer *ended;

    int rc = pawl_transfers_reap(writer->transfers, &ended);
    if (rc) return rc;
    struct slot *slot = (struct slot *)ended;  // its first field
    slot->busy = false;
    rc = look_at(writer, slot);
    if (!rc && !slot->busy) finish_chunk(writer, slot->chunk, slot->size);
    return rc;
}

// 1: go on. 0: all chunks are written. Negative: -errno.
static int advance(struct writer *writer)
{
    const int under_way = pawl_transfers_under_way(writer->transfers);
    const char *bytes;
    uint64_t chunk;
    int rc;

    if (under_way < depth_now(writer)) {
        const int got = writer->chunks->next(writer->chunks->context, !under_way, &chunk, &bytes);
        if (got < 0) writer->lost = got;
        if (got < 0 || (!got && !under_way)) return 0;
        rc = got ? begin_chunk(writer, chunk, bytes) : reap(writer);
    } else {
        if (writer->chunks->ahead) writer->chunks->ahead(writer->chunks->context);
        rc = reap(writer);
    }
    return rc ? rc : 1;
}

static int write_chunks(struct writer *writer)
{
    struct pawl_io_transfer *ended;
    int rc = 1;

    writer->start_ns = pawl_io()->now_ns();
    while (rc > 0)
        rc = advance(writer);
    // After an error: nothing more is begun, but the memory of what was is storage's until it ends.
    while (pawl_transfers_under_way(writer->transfers)
           && !pawl_transfers_reap(writer->transfers, &ended))
        continue;
    return rc;
}

// ---- the file

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

static int write_payload(struct writer *writer)
{
    const uint64_t need = writer->shard->size_bytes;
    const char *doing = "create";

    int rc = create(writer);
    if (rc) goto out;
    const int main_fd = writer->direct >= 0 ? writer->direct : writer->buffered;
    doing = "reserve space for";
    rc = reserve(main_fd, need);
    if (rc) goto out;
    doing = "write";
    rc = write_chunks(writer);
    if (rc || writer->lost) goto out;
    // One descriptor's fdatasync covers the file, whichever descriptor wrote. It was open before
    // the first write, so it hears of every write-back error. Its failure is final: a second
    // call would report success although the pages are lost.
    doing = "make durable";
    rc = pawl_io()->datasync(main_fd);
out:;
    const int closed_1 = close_file(&writer->direct), closed_2 = close_file(&writer->buffered);
    if (writer->lost) return writer->lost;
    if (!rc && (closed_1 || closed_2)) {
        doing = "close";
        rc = closed_1 ? closed_1 : closed_2;
    }
    return rc ? fail_write(rc, doing, writer->path, need) : 0;
}

// ---- bytes that are all there

struct whole {
    const char *bytes;
    uint64_t chunk, count;
};

static int whole_next(void *context, bool wait, uint64_t *chunk, const char **bytes)
{
    struct whole *whole = context;

    (void)wait;
    if (whole->chunk == whole->count) return 0;
    *chunk = whole->chunk++;
    *bytes = whole->bytes + (*chunk << PAWL_CHUNK_LOG2);
    return 1;
}

static void whole_written(void *context, uint64_t chunk)
{
    (void)context, (void)chunk;
}

static int write_shard(const char *path, const struct pawl_shard *shard)
{
    struct whole whole = { shard->bytes, 0, pawl_sums_chunks(shard->size_bytes) };
    const struct pawl_chunks chunks = { &whole, whole_next, whole_written, NULL };
    struct writer writer = { .shard = shard, .path = path, .direct = -1, .buffered = -1,
                             .chunks = shard->bytes ? &chunks : shard->chunks,
                             .transfers = shard->transfers };
    int rc = shard->transfers ? 0 : pawl_transfers_open(&writer.transfers, PAWL_SHARD_DEPTH);

    if (!rc) rc = write_payload(&writer);
    if (!shard->transfers) pawl_transfers_close(writer.transfers);
    return rc;
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
    if (!rc) rc = write_shard(path, shard);
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

