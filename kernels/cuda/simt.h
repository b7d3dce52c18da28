// simt.h - CUDA C for two compilers: nvcc, for a GPU, and g++, where a fiber plays each thread.
//
//     __global__ void scale(float *x, int64_t n, float factor)
//     {
//         SHARED(float, part);                        // what the launch asked for, at its start
//         ...
//         __syncthreads();
//     }
//     LAUNCH(scale, blocks, 256, 256 * sizeof(float), s, x, n, factor);
//
// Rules of the house, so that both compile the same source and every run gives the same bits:
//
//     shared memory    only through SHARED(), one block per kernel, cut up by hand
//     sums             in a fixed order; no atomics on floats
//     warps            32 lanes; the *_sync shuffles and votes only, with full masks
//     block            at most 1024 threads; grids of any size, kernels stride over them
//
// LAUNCH takes the struct pawl_stream: it skips a faulty one and keeps a launch's failure there.

#ifndef PAWL_SIMT_H
#define PAWL_SIMT_H

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define SHARED(type, name) \
    extern __shared__ __align__(16) unsigned char simt_shared_memory[]; \
    type *const name = reinterpret_cast<type *>(simt_shared_memory)

#define SIMT_LAUNCH(kernel, grid, block, shared_bytes, queue, ...) \
    kernel<<<(grid), (block), (shared_bytes), (cudaStream_t)(queue)>>>(__VA_ARGS__)

#else

#include "kernels/simt/lane.h"

#endif
#endif
