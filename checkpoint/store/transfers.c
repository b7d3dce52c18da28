// transfers.c - see transfers.h.
//
// Without a queue in the table: "todo" and "ended" are two rings of pointers. The user puts into
// todo, a thread takes from it, makes the transfer and puts it into ended.

#include "checkpoint/store/transfers.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kernels/memory.h"
#include "kernels/thread.h"

enum { THREADS = 2 };

struct line {
    struct pawl_io_transfer *entry[PAWL_TRANSFERS_MAX];
    unsigned put, taken;
};

struct pawl_transfers {
    int depth, under_way;        // the user's
    bool broken;                 // the queue lost track: nothing may be given to it any more
    struct pawl_io_queue *queue; // or NULL: the threads below
    const struct pawl_io *io;    // the table that made the queue
    pthread_t threads[THREADS];
    int thread_count;
    _Atomic bool idle;           // set by the user, read by the threads
    pthread_mutex_t lock;        // guards todo, ended, closing
    pthread_cond_t some_todo, some_ended;
    struct line todo, ended;
    bool closing;
};

void pawl_transfers_idle_self(bool idle)
{
    const int value = idle ? IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)
                           : IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4);

    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value);
}

void pawl_transfers_idle(struct pawl_transfers *transfers, bool idle)
{
    atomic_store_explicit(&transfers->idle, idle, memory_order_relaxed);
    // io_uring takes the priority of the thread that submits.
    if (transfers->queue) pawl_transfers_idle_self(idle);
}

int64_t pawl_transfers_cpu_ns(const struct pawl_transfers *transfers)
{
    int64_t sum = 0;

    for (int i = 0; i < transfers->thread_count; i++) {
        struct timespec used;
        clockid_t clock;
        if (!pthread_getcpuclockid(transfers->threads[i], &clock) && !clock_gettime(clock, &used))
            sum += (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
    }
    return sum;
}

static void put(struct line *line, struct pawl_io_transfer *transfer)
{
    line->entry[line->put++ % PAWL_TRANSFERS_MAX] = transfer;
}

static struct pawl_io_transfer *take(struct line *line)
{
    return line->put == line->taken ? NULL : line->entry[line->taken++ % PAWL_TRANSFERS_MAX];
}

static void make(struct pawl_io_transfer *transfer)
{
    const struct pawl_io *io = pawl_io();

    transfer->done = transfer->write
        ? io->pwrite(transfer->fd, transfer->bytes, transfer->size, transfer->offset)
        : io->pread(transfer->fd, transfer->bytes, transfer->size, transfer->offset);
}

static void *work(void *context)
{
    struct pawl_transfers *transfers = context;
    struct pawl_io_transfer *transfer;
    bool idle = false;

    pawl_thread_name("pawl-write");
    pthread_mutex_lock(&transfers->lock);
    for (;;) {
        while (!(transfer = take(&transfers->todo)) && !transfers->closing)
            pthread_cond_wait(&transfers->some_todo, &transfers->lock);
        if (!transfer) break;
        pthread_mutex_unlock(&transfers->lock);
        const bool wanted = atomic_load_explicit(&transfers->idle, memory_order_relaxed);
        if (wanted != idle) pawl_transfers_idle_self(idle = wanted);
        make(transfer);
        pthread_mutex_lock(&transfers->lock);
        put(&transfers->ended, transfer);
        pthread_cond_signal(&transfers->some_ended);
    }
    pthread_mutex_unlock(&transfers->lock);
    return NULL;
}

// They take no signals: those are the trainer's to see. One is enough, none is not.
static int start_threads(struct pawl_transfers *transfers)
{
    sigset_t all, old;
    int error = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (!error && transfers->thread_count < THREADS) {
        error = pthread_create(&transfers->threads[transfers->thread_count], NULL, work,
                               transfers);
        if (!error) transfers->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (transfers->thread_count) return 0;
    return pawl_fail(PAWL_ENOMEM, "cannot start a writing thread: %s", strerrordesc_np(error));
}

int pawl_transfers_open(struct pawl_transfers **out, int depth)
{
    struct pawl_transfers *transfers = NULL;
    const struct pawl_io *io = pawl_io();

    int rc = pawl_alloc(&transfers, sizeof(*transfers), "transfers");
    if (rc) return rc;
    transfers->depth = depth;
    transfers->io = io;
    pthread_mutex_init(&transfers->lock, NULL);
    pthread_cond_init(&transfers->some_todo, NULL);
    pthread_cond_init(&transfers->some_ended, NULL);
    // What the table's queue refuses, threads can do.
    if (!io->queue_open || io->queue_open(&transfers->queue, (unsigned)depth))
        rc = start_threads(transfers);
    if (rc) {
        pawl_transfers_close(transfers);
        return rc;
    }
    *out = transfers;
    return 0;
}

void pawl_transfers_close(struct pawl_transfers *transfers)
{
    struct pawl_io_transfer *ended;

    if (!transfers) return;
    while (transfers->under_way && !pawl_transfers_reap(transfers, &ended))
        continue;
    pthread_mutex_lock(&transfers->lock);
    transfers->closing = true;
    pthread_cond_broadcast(&transfers->some_todo);
    pthread_mutex_unlock(&transfers->lock);
    for (int i = 0; i < transfers->thread_count; i++)
        pthread_join(transfers->threads[i], NULL);
    if (transfers->queue) transfers->io->queue_close(transfers->queue);
    pthread_mutex_destroy(&transfers->lock);
    pthread_cond_destroy(&transfers->some_todo);
    pthread_cond_destroy(&transfers->some_ended);
    pawl_free(transfers);
}

int pawl_transfers_depth(const struct pawl_transfers *transfers) { return transfers->depth; }
int pawl_transfers_under_way(const struct pawl_transfers *transfers)
{
    return transfers->under_way;
}

int pawl_transfers_submit(struct pawl_transfers *transfers, struct pawl_io_transfer *transfer)
{
    int rc = 0;

    if (transfers->broken) return -EIO;
    if (transfers->under_way == transfers->depth) return -EAGAIN;
    if (transfers->queue) {
        rc = transfers->io->queue_submit(transfers->queue, transfer);
    } else {
        pthread_mutex_lock(&transfers->lock);
        put(&transfers->todo, transfer);
        pthread_cond_signal(&transfers->some_todo);
        pthread_mutex_unlock(&transfers->lock);
    }
    if (!rc) transfers->under_way++;
    return rc;
}

int pawl_transfers_reap(struct pawl_transfers *transfers, struct pawl_io_transfer **out)
{
    struct pawl_io_transfer *ended = NULL;
    int rc = 0;

    if (!transfers->under_way) return -EIO;
    if (transfers->queue) {
        rc = transfers->io->queue_reap(transfers->queue, &ended);
    } else {
        pthread_mutex_lock(&transfers->lock);
        while (!(ended = take(&transfers->ended)))
            pthread_cond_wait(&transfers->some_ended, &transfers->lock);
        pthread_mutex_unlock(&transfers->lock);
    }
    if (rc) {
        transfers->broken = true;
        transfers->under_way = 0;
        return rc;
    }
    transfers->under_way--;
    *out = ended;
    return 0;
}
