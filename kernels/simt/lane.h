// lane.h - CUDA C for g++: what a kernel's thread, played by a fiber, sees. Part of simt.h.
//
//     SIMT_LAUNCH --> simt_run: for each block, for each thread: a fiber runs the kernel
//                                  __syncthreads, __syncwarp, __shfl_*: the next fiber's turn
//
// Blocks run one after the other, all on the thread that launches; a launch has run when it
// returns. What goes wrong in it (engine.cc, watch.cc) becomes the stream's fault:
//
//     barriers      some threads of a block wait at one, others left or wait at another
//     warps         a lane left, or came to another exchange than its warp
//     shared memory read before anybody wrote it, touched past what the launch asked for, or
//                   touched by two threads without a barrier between them
//
// Read when libpawl-simt.so is opened:
//
//     PAWL_SIMT_SEED=7   blocks come in a seeded random order, and at every barrier and exchange
//                        any fiber that may run goes on; 0 or unset: by their numbers
//     PAWL_SIMT_WATCH=0  no watch over shared memory

#ifndef PAWL_SIMT_LANE_H
#define PAWL_SIMT_LANE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

#include "kernels/simt/bf16.h"
#include "kernels/simt/intrinsics.h"
#include "kernels/simt/vectors.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

// The thread whose turn it is.
struct simt_now {
    uint3 thread, block;
    dim3 block_size, grid_size;
    unsigned lane;  // in its warp
};
extern struct simt_now simt_now;

#define threadIdx (simt_now.thread)
#define blockIdx (simt_now.block)
#define blockDim (simt_now.block_size)
#define gridDim (simt_now.grid_size)
enum { warpSize = 32 };

// A launch, of any kernel.
struct simt_call {
    const char *name;
    void (*run)(const void *kernel);  // of the thread whose turn it is
    const void *kernel;
    dim3 grid, block;
    size_t shared_bytes;
};
void simt_run(const struct simt_call *call);
extern "C" void simt_open(void);  // reads the environment, at first and again

// Where it happened, for people: the caller's line, by the default arguments below.
struct simt_place {
    const char *file;
    int line;
};

enum simt_exchange { SIMT_SYNCWARP, SIMT_SHUFFLE, SIMT_VOTE };

void simt_barrier(struct simt_place place);
// Gives the warp's 32 values once each lane has given its own. full: the mask names all lanes.
const uint64_t *simt_swap(uint64_t own, bool full, enum simt_exchange kind,
                          struct simt_place place);
unsigned char *simt_shared(void);

#define SHARED(type, name) type *const name = reinterpret_cast<type *>(simt_shared())

#define SIMT_LAUNCH(kernel, grid, block, shared_bytes, queue, ...) \
    simt_launch(#kernel, (kernel), (grid), (block), (shared_bytes) __VA_OPT__(, ) __VA_ARGS__)

// Arguments become the kernel's parameters where the launch stands, as nvcc has it.
template <class... P>
static inline void simt_launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block,
                               size_t shared_bytes, std::type_identity_t<P>... arguments)
{
    const auto body = [&] { kernel(arguments...); };
    using body_type = decltype(body);

    const struct simt_call call = {
        name, [](const void *opaque) { (*static_cast<body_type *>(opaque))(); }, &body, grid,
        block, shared_bytes
    };
    simt_run(&call);
}

// ---- barriers and warps

#define SIMT_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

static inline void __syncthreads(SIMT_HERE) { simt_barrier({ file, line }); }

static inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_HERE)
{
    simt_swap(0, mask == 0xffffffffu, SIMT_SYNCWARP, { file, line });
}

// What lane `from` gave; of lanes outside the segment of `width` lanes: this one's own.
template <class T>
static inline T simt_shuffle(unsigned mask, T x, int from, int width, struct simt_place place)
{
    const int lane = (int)simt_now.lane, start = lane & ~(width - 1);
    uint64_t bits = 0;
    T out;

    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "lanes exchange 4 or 8 bytes");
    memcpy(&bits, &x, sizeof(x));
    const uint64_t *all = simt_swap(bits, mask == 0xffffffffu, SIMT_SHUFFLE, place);
    memcpy(&out, all + (from < start || from >= start + width ? lane : from), sizeof(out));
    return out;
}

template <class T>
static inline T __shfl_sync(unsigned mask, T x, int source, int width = 32, SIMT_HERE)
{
    const int start = (int)simt_now.lane & ~(width - 1);

    return simt_shuffle(mask, x, start + (source & (width - 1)), width, { file, line });
}

template <class T>
static inline T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32, SIMT_HERE)
{
    return simt_shuffle(mask, x, (int)simt_now.lane ^ bits, width, { file, line });
}

template <class T>
static inline T __shfl_down_sync(unsigned mask, T x, int by, int width = 32, SIMT_HERE)
{
    return simt_shuffle(mask, x, (int)simt_now.lane + by, width, { file, line });
}

template <class T>
static inline T __shfl_up_sync(unsigned mask, T x, int by, int width = 32, SIMT_HERE)
{
    return simt_shuffle(mask, x, (int)simt_now.lane - by, width, { file, line });
}

static inline unsigned __ballot_sync(unsigned mask, int vote, SIMT_HERE)
{
    const uint64_t *all = simt_swap(vote != 0, mask == 0xffffffffu, SIMT_VOTE, { file, line });
    unsigned out = 0;

    for (int lane = 0; lane < 32; lane++)
        out |= (unsigned)all[lane] << lane;
    return out;
}

static inline int __any_sync(unsigned mask, int vote, SIMT_HERE)
{
    return __ballot_sync(mask, vote, file, line) != 0;
}

static inline int __all_sync(unsigned mask, int vote, SIMT_HERE)
{
    return __ballot_sync(mask, vote, file, line) == 0xffffffffu;
}

#endif
