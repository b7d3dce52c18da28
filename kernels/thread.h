// thread.h - the pool that host kernels share their work on.
//
// Work is cut into blocks whose borders do not depend on the number of threads, and a sum is
// carried within a block or over blocks in block order. So the same bits come out for any
// number of threads; which thread takes which block is left to chance, and costs nothing.
//
//     pawl_pool_run(pool, blocks, scale_rows, &(struct scale_arguments){ ... });
//
// Threads: a pool serves one caller at a time. The caller works too, as thread 0.

#ifndef PAWL_THREAD_H
#define PAWL_THREAD_H

#include <stdint.h>

#include "kernels/error.h"

enum { PAWL_THREADS_MAX = 256 };

struct pawl_pool;

// A block of work. thread is 0 to threads - 1, for scratch that must not be shared.
typedef void pawl_work(void *arguments, int64_t block, int thread);

// Cores this process may use: affinity, cut by a cgroup quota. At least 1.
int pawl_cores(void);

// threads = 0 means pawl_cores(). PAWL_EINVAL: out of 1..PAWL_THREADS_MAX.
int pawl_pool_open(struct pawl_pool **out, int threads);
void pawl_pool_close(struct pawl_pool *pool);  // accepts NULL
int pawl_pool_threads(const struct pawl_pool *pool);

// Runs work(arguments, 0..blocks-1), in any order, and returns when all are done.
void pawl_pool_run(struct pawl_pool *pool, int64_t blocks, pawl_work *work, void *arguments);

// CPU time that the calling thread, and that all of the process, has taken.
int64_t pawl_thread_cpu_ns(void);
int64_t pawl_process_cpu_ns(void);

// Names the calling thread for top, gdb and perf: at most 15 bytes.
void pawl_thread_name(const char *name);

#endif
