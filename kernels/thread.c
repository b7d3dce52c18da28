// thread.c - the pool: one atomic counter hands out blocks; idle threads spin a little, then sleep.

#include "kernels/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kernels/memory.h"

// A step runs some hundred operations with microseconds between them; longer gaps (data, saving)
// should leave the core to others.
enum { SPINS = 4000 };

struct pawl_pool {
    int threads;
    pthread_t thread[PAWL_THREADS_MAX];
    // Written by the caller before round moves (release), read by workers after (acquire).
    pawl_work *work;
    void *arguments;
    int64_t blocks;
    _Atomic int64_t next;      // the next block to hand out
    _Atomic int32_t round;     // futex: moves when there is work, or when closing
    _Atomic int32_t busy;      // futex: workers still in this round
    _Atomic int32_t sleepers;  // workers inside futex_wait on round
    bool closing;
};

struct worker {
    struct pawl_pool *pool;
    int index;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void sleep_while(_Atomic int32_t *word, int32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(_Atomic int32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void take_blocks(struct pawl_pool *pool, int index)
{
    for (;;) {
        const int64_t block = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (block >= pool->blocks) return;
        pool->work(pool->arguments, block, index);
    }
}

static void wait_for_round(struct pawl_pool *pool, int32_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->round, memory_order_acquire) != seen) return;
        relax();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->round) == seen)
        sleep_while(&pool->round, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void *serve(void *context)
{
    struct pawl_pool *pool = ((struct worker *)context)->pool;
    const int index = ((struct worker *)context)->index;
    int32_t seen = 0;
    char name[16];

    pawl_free(context);
    snprintf(name, sizeof(name), "pawl-work-%d", index);
    pawl_thread_name(name);
    for (;;) {
        wait_for_round(pool, seen);
        seen = atomic_load_explicit(&pool->round, memory_order_acquire);
        if (pool->closing) return NULL;
        take_blocks(pool, index);
        // Release: what the blocks wrote is visible to the caller, who reads busy with acquire.
        if (atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_acq_rel) == 1)
            wake(&pool->busy);
    }
}

static void start_round(struct pawl_pool *pool)
{
    atomic_fetch_add(&pool->round, 1);
    if (atomic_load(&pool->sleepers)) wake(&pool->round);
}

void pawl_pool_run(struct pawl_pool *pool, int64_t blocks, pawl_work *work, void *arguments)
{
    if (pool->threads == 1 || blocks <= 1) {
        for (int64_t i = 0; i < blocks; i++)
            work(arguments, i, 0);
        return;
    }
    pool->work = work;
    pool->arguments = arguments;
    pool->blocks = blocks;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->busy, pool->threads - 1, memory_order_relaxed);
    start_round(pool);
    take_blocks(pool, 0);
    for (int i = 0; i < SPINS; i++) {
        if (!atomic_load_explicit(&pool->busy, memory_order_acquire)) return;
        relax();
    }
    for (int32_t left; (left = atomic_load_explicit(&pool->busy, memory_order_acquire));)
        sleep_while(&pool->busy, left);
}

int pawl_pool_threads(const struct pawl_pool *pool)
{
    return pool->threads;
}

int pawl_pool_open(struct pawl_pool **out, int threads)
{
    struct pawl_pool *pool = NULL;
    int rc;

    if (!threads) threads = pawl_cores();
    if (threads < 1 || threads > PAWL_THREADS_MAX)
        return pawl_fail(PAWL_EINVAL, "threads must be 1 to %d, not %d", PAWL_THREADS_MAX, threads);
    rc = pawl_alloc(&pool, sizeof(*pool), "the thread pool");
    if (rc) return rc;
    pool->threads = 1;  // grows as threads start, so that closing joins those there are
    for (int i = 1; i < threads; i++) {
        struct worker *worker = NULL;
        rc = pawl_alloc(&worker, sizeof(*worker), "a worker");
        if (rc) goto out;
        *worker = (struct worker){ pool, i };
        const int error = pthread_create(&pool->thread[i], NULL, serve, worker);
        if (error) {
            pawl_free(worker);
            rc = pawl_fail(PAWL_ENOMEM, "cannot start thread %d of %d: %s", i + 1, threads,
                           strerror(error));
            goto out;
        }
        pool->threads = i + 1;
    }
    *out = pool;
    return 0;
out:
    pawl_pool_close(pool);
    return rc;
}

void pawl_pool_close(struct pawl_pool *pool)
{
    if (!pool) return;
    pool->closing = true;
    start_round(pool);
    for (int i = 1; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    pawl_free(pool);
}

static int64_t cpu_ns(clockid_t clock)
{
    struct timespec used;

    return clock_gettime(clock, &used) ? 0 : (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

int64_t pawl_thread_cpu_ns(void) { return cpu_ns(CLOCK_THREAD_CPUTIME_ID); }
int64_t pawl_process_cpu_ns(void) { return cpu_ns(CLOCK_PROCESS_CPUTIME_ID); }

void pawl_thread_name(const char *name)
{
    prctl(PR_SET_NAME, name, 0, 0, 0);
}

// A container's share of the machine, in cores, rounded up; large when there is no limit.
static int quota(void)
{
    long long limit = 0, period = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    int found = 0;

    if (file) {
        found = fscanf(file, "%lld %lld", &limit, &period);
        fclose(file);
    }
    if (found != 2 || limit <= 0 || period <= 0) return PAWL_THREADS_MAX;
    return (int)((limit + period - 1) / period);
}

int pawl_cores(void)
{
    cpu_set_t set;
    int cores = 1;

    if (!sched_getaffinity(0, sizeof(set), &set)) cores = CPU_COUNT(&set);
    if (cores > quota()) cores = quota();
    if (cores > PAWL_THREADS_MAX) cores = PAWL_THREADS_MAX;
    return cores < 1 ? 1 : cores;
}
