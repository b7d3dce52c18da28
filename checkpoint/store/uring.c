// uring.c - a queue of transfers in an io_uring.

#include "checkpoint/store/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>

#include "kernels/memory.h"

struct pawl_io_queue {
    struct io_uring ring;
    unsigned depth, under_way;
};

static int queue_open(struct pawl_io_queue **out, unsigned depth)
{
    struct pawl_io_queue *queue = NULL;

    if (pawl_alloc(&queue, sizeof(*queue), "an io_uring")) return -ENOMEM;
    const int rc = io_uring_queue_init(depth, &queue->ring, 0);
    if (rc) {
        pawl_free(queue);
        return rc;
    }
    (void)io_uring_ring_dontfork(&queue->ring);
    queue->depth = depth;
    *out = queue;
    return 0;
}

static int queue_submit(struct pawl_io_queue *queue, struct pawl_io_transfer *transfer)
{
    struct io_uring_sqe *entry;
    int rc;

    if (queue->under_way == queue->depth || !(entry = io_uring_get_sqe(&queue->ring)))
        return -EAGAIN;
    // One call moves what an int can say; the rest is then a short transfer, as with pwrite.
    const unsigned size = transfer->size < 1u << 30 ? (unsigned)transfer->size : 1u << 30;
    if (transfer->write)
        io_uring_prep_write(entry, transfer->fd, transfer->bytes, size, (__u64)transfer->offset);
    else
        io_uring_prep_read(entry, transfer->fd, transfer->bytes, size, (__u64)transfer->offset);
    io_uring_sqe_set_data(entry, transfer);
    // A submit that is interrupted has taken nothing: the entry still stands in the ring.
    do
        rc = io_uring_submit(&queue->ring);
    while (rc == -EINTR);
    if (rc == 1) {
        queue->under_way++;
        return 0;
    }
    // Not taken: it must not go along with a later one, when its memory may be another's.
    io_uring_prep_nop(entry);
    io_uring_sqe_set_data(entry, NULL);
    return rc < 0 ? rc : -EIO;
}

static int queue_reap(struct pawl_io_queue *queue, struct pawl_io_transfer **out)
{
    struct io_uring_cqe *entry;

    for (;;) {
        const int rc = io_uring_wait_cqe(&queue->ring, &entry);
        if (rc == -EINTR) continue;
        if (rc) return rc;
        struct pawl_io_transfer *transfer = io_uring_cqe_get_data(entry);
        const int done = entry->res;
        io_uring_cqe_seen(&queue->ring, entry);
        if (!transfer) continue;  // a submit that had failed
        transfer->done = done;
        queue->under_way--;
        *out = transfer;
        return 0;
    }
}

static void queue_close(struct pawl_io_queue *queue)
{
    if (!queue) return;
    io_uring_queue_exit(&queue->ring);
    pawl_free(queue);
}

// A ring that is made may still not be allowed to work.
static int try_it(void)
{
    struct pawl_io_queue *queue = NULL;
    struct pawl_io_transfer *back = NULL;
    char byte = 1;
    const int fd = pawl_io_posix.open("/dev/zero", O_RDONLY, 0);
    struct pawl_io_transfer transfer = { .fd = fd, .bytes = &byte, .size = 1 };

    if (fd < 0) return fd;
    int rc = queue_open(&queue, 2);
    if (!rc) rc = queue_submit(queue, &transfer);
    if (!rc) rc = queue_reap(queue, &back);
    if (!rc && (back != &transfer || transfer.done != 1 || byte))
        rc = transfer.done < 0 ? (int)transfer.done : -EIO;
    queue_close(queue);
    pawl_io_posix.close(fd);
    return rc;
}

const struct pawl_io *pawl_io_uring(const char **why)
{
    static struct pawl_io table;
    static int refused;

    if (!table.name && !refused) refused = try_it();
    if (refused) {
        const char *words = strerrordesc_np(-refused);
        *why = words ? words : "unknown error";
        return NULL;
    }
    if (!table.name) {
        table = pawl_io_posix;
        table.queue_open = queue_open;
        table.queue_submit = queue_submit;
        table.queue_reap = queue_reap;
        table.queue_close = queue_close;
        table.name = "uring";
    }
    return &table;
}
