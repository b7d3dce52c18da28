// host.h - what the files of the host device share: the device behind a stream, its pool, scratch.
//
// Every file of kernels/host/ops/ is compiled once per instruction set (PAWL_ISA is avx512, avx2 or
// plain, with the compiler flags to match) and once more for bfloat16 (PAWL_BF16 is defined, and
// PAWL_ISA ends in _bf16); host.c picks two tables of operations by cpuid when the device opens.
// Only names that cross files need HOST(), which appends the set's name:
//
//     void HOST(linear)(struct pawl_stream *s, ...);        // pawl_host_linear_avx2
//
// Scratch is fixed at open: a kernel fits its blocking to it, whatever the shapes.

#ifndef PAWL_HOST_H
#define PAWL_HOST_H

#include <stddef.h>

#include "kernels/device.h"
#include "kernels/thread.h"

#define PAWL_JOIN3_(a, b, c) a##b##_##c
#define PAWL_JOIN3(a, b, c) PAWL_JOIN3_(a, b, c)
#define HOST(name) PAWL_JOIN3(pawl_host_, name, PAWL_ISA)

enum {
    HOST_THREAD_BYTES = 4 << 20,   // scratch of each thread
    HOST_SHARED_BYTES = 32 << 20,  // scratch of the operation that runs
};

struct pawl_host {
    struct pawl_device device;  // first: a device pointer is a host pointer
    struct pawl_pool *pool;
    char *thread_scratch;       // HOST_THREAD_BYTES per thread, 4096-aligned
    char *shared_scratch;       // HOST_SHARED_BYTES, 4096-aligned
};

static inline struct pawl_host *host_of(const struct pawl_stream *s)
{
    return (struct pawl_host *)s->device;
}

// How many pieces of `size` cover n, and how much of n the piece that starts at `start` holds.
static inline int64_t host_pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }
static inline int64_t host_piece(int64_t n, int64_t size, int64_t start)
{
    return n - start < size ? n - start : size;
}

// Rows per block such that a block has some tens of microseconds to do.
static inline int64_t host_rows(int64_t cols)
{
    const int64_t rows = (1 << 14) / (cols > 0 ? cols : 1);

    return rows ? rows : 1;
}

// Runs the blocks of one operation on the pool.
static inline void host_run(const struct pawl_stream *s, int64_t blocks, pawl_work *work,
                            void *arguments)
{
    pawl_pool_run(host_of(s)->pool, blocks, work, arguments);
}

static inline void *host_thread_scratch(const struct pawl_host *host, int thread)
{
    return host->thread_scratch + (size_t)thread * HOST_THREAD_BYTES;
}

// One table per instruction set and element type, in kernels/host/ops/table.c.
extern const struct pawl_ops pawl_host_ops_avx512, pawl_host_ops_avx2, pawl_host_ops_plain;
extern const struct pawl_ops pawl_host_ops_avx512_bf16, pawl_host_ops_avx2_bf16,
    pawl_host_ops_plain_bf16;

// Register-only multiply-adds, for bench (kernels/host/ops/peak.c): flops done by `rounds` rounds.
double pawl_host_spin_avx512(int64_t rounds), pawl_host_spin_avx2(int64_t rounds),
    pawl_host_spin_plain(int64_t rounds);

#endif
