// queue.c - a ring of facts under one mutex.

#include "runtime/report/queue.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernels/memory.h"

// The parts that would make every fact 5 kB long.
union large {
    struct pawl_save_event save;
    char note[1024];
};

struct pawl_queue {
    pthread_mutex_t mutex;  // guards everything below but eager
    pthread_cond_t filled;  // the taker waits for a fact
    pthread_cond_t freed;   // the putter waits for room
    struct pawl_fact *facts;
    union large *large;
    uint64_t put, taken;              // facts ever put and released: facts[n % 4096]
    uint64_t large_put, large_taken;  // the same of large parts
    bool ended, eager;
};

int pawl_queue_open(struct pawl_queue **out, bool eager)
{
    struct pawl_queue *q = NULL;
    pthread_condattr_t monotonic;
    int rc = pawl_alloc(&q, sizeof(*q), "report queue");

    if (rc)
        return rc;
    q->eager = eager;
    rc = pawl_alloc(&q->facts, PAWL_QUEUE_FACTS * sizeof(*q->facts), "report queue");
    if (!rc)
        rc = pawl_alloc(&q->large, PAWL_QUEUE_LARGE * sizeof(*q->large), "report queue");
    if (rc) {
        pawl_free(q->facts);
        pawl_free(q);
        return rc;
    }
    pthread_mutex_init(&q->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&q->filled, &monotonic);
    pthread_cond_init(&q->freed, NULL);
    pthread_condattr_destroy(&monotonic);
    *out = q;
    return 0;
}

void pawl_queue_close(struct pawl_queue *q)
{
    if (!q)
        return;
    pthread_cond_destroy(&q->filled);
    pthread_cond_destroy(&q->freed);
    pthread_mutex_destroy(&q->mutex);
    pawl_free(q->facts);
    pawl_free(q->large);
    pawl_free(q);
}

void pawl_queue_put(struct pawl_queue *q, const struct pawl_fact *fact,
                    const struct pawl_save_event *save, const char *note)
{
    pthread_mutex_lock(&q->mutex);
    while (q->put - q->taken == PAWL_QUEUE_FACTS
           || ((save || note) && q->large_put - q->large_taken == PAWL_QUEUE_LARGE))
        pthread_cond_wait(&q->freed, &q->mutex);

    struct pawl_fact *slot = &q->facts[q->put % PAWL_QUEUE_FACTS];
    *slot = *fact;
    if (save || note) {
        union large *large = &q->large[q->large_put++ % PAWL_QUEUE_LARGE];

        if (save) {
            large->save = *save;
            slot->save = &large->save;
        } else {
            snprintf(large->note, sizeof(large->note), "%s", note);
            slot->note = large->note;
        }
    }
    q->put++;
    // A step each wakes nobody by itself: a wake-up costs a short step more than the rest of this.
    if (q->eager || fact->kind != PAWL_FACT_STEP || q->put - q->taken > PAWL_QUEUE_FACTS / 2)
        pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->mutex);
}

void pawl_queue_drain(struct pawl_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    const uint64_t target = q->put;

    pthread_cond_signal(&q->filled);
    while (q->taken < target)
        pthread_cond_wait(&q->freed, &q->mutex);
    pthread_mutex_unlock(&q->mutex);
}

void pawl_queue_end(struct pawl_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->ended = true;
    pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->mutex);
}

const struct pawl_fact *pawl_queue_take(struct pawl_queue *q, int64_t wait_ns, bool *ended)
{
    const struct pawl_fact *fact = NULL;
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (until.tv_nsec + wait_ns) / 1000000000;
    until.tv_nsec = (until.tv_nsec + wait_ns) % 1000000000;
    pthread_mutex_lock(&q->mutex);
    // One wait: a wake-up for nothing is a tick that comes early.
    if (q->put == q->taken && !q->ended)
        pthread_cond_timedwait(&q->filled, &q->mutex, &until);
    if (q->put > q->taken)
        fact = &q->facts[q->taken % PAWL_QUEUE_FACTS];
    *ended = !fact && q->ended;
    pthread_mutex_unlock(&q->mutex);
    return fact;
}

void pawl_queue_release(struct pawl_queue *q)
{
    pthread_mutex_lock(&q->mutex);
    const enum pawl_fact_kind kind = q->facts[q->taken % PAWL_QUEUE_FACTS].kind;

    if (kind == PAWL_FACT_SAVE || kind == PAWL_FACT_NOTE)
        q->large_taken++;
    q->taken++;
    pthread_cond_signal(&q->freed);
    pthread_mutex_unlock(&q->mutex);
}
