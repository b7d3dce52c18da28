// cuda.h - what the files of kernels/cuda/ops share: the element type, launches, sums.
//
// Every .cu file is compiled once per element type (PAWL_TYPE is fp32 or bf16); names that cross
// files need CUDA(), which appends the type's:
//
//     extern "C" void CUDA(add)(struct pawl_stream *s, ...);   // pawl_cuda_add_fp32
//
// Kernels compute in float: get() and put() are the only way to and from a `value`.

#ifndef PAWL_CUDA_H
#define PAWL_CUDA_H

#include <stdint.h>

#include <type_traits>

#include "kernels/cuda/simt.h"

extern "C" {
#include "kernels/ops.h"
}

#define PAWL_JOIN3_(a, b, c) a##b##_##c
#define PAWL_JOIN3(a, b, c) PAWL_JOIN3_(a, b, c)
#define CUDA(name) PAWL_JOIN3(pawl_cuda_, name, PAWL_TYPE)

#define PAWL_TYPE_IS_fp32 1
#define PAWL_TYPE_IS_bf16 2
#define PAWL_TYPE_IS_(type) PAWL_TYPE_IS_##type
#define PAWL_TYPE_IS(type) PAWL_TYPE_IS_(type)
#define PAWL_BF16 (PAWL_TYPE_IS(PAWL_TYPE) == PAWL_TYPE_IS_bf16)

#if PAWL_BF16
typedef __nv_bfloat16 value;
static __device__ inline float get(value x) { return __bfloat162float(x); }
static __device__ inline value put(float x) { return __float2bfloat16(x); }  // to nearest even
#else
typedef float value;
static __device__ inline float get(value x) { return x; }
static __device__ inline value put(float x) { return x; }
#endif

// Blocks such that each thread of `threads` has one of n pieces, as far as a grid may be wide.
static inline unsigned blocks_for(int64_t n, int threads)
{
    const int64_t blocks = (n + threads - 1) / threads;

    return (unsigned)(blocks < 1 ? 1 : blocks < 1 << 20 ? blocks : 1 << 20);
}

// The loop of a kernel over n pieces, whatever its grid: i counts from this thread's first.
#define EACH(i, n) \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); \
         i += (int64_t)gridDim.x * blockDim.x)

// Keeps the first failure of a launch in the stream (kernels/cuda/device.c, or simt's engine).
extern "C" void pawl_cuda_launched(struct pawl_stream *s);

// Memory for what an operation needs between its own kernels; the stream's, so that two streams
// never meet in it. What lies there is anyone's from the next operation on.
enum { PAWL_CUDA_SCRATCH_BYTES = 64 << 20 };
extern "C" void *pawl_cuda_scratch(struct pawl_stream *s);

#define LAUNCH(kernel, grid, block, shared_bytes, s, ...) \
    do { \
        if ((s)->fault) break; \
        SIMT_LAUNCH(kernel, grid, block, shared_bytes, (s)->queue, __VA_ARGS__); \
        pawl_cuda_launched(s); \
    } while (0)

// Sums and maxima over a warp's 32 lanes, given to all; the same tree in every run.
static __device__ inline float warp_sum(float x)
{
    for (int lane = 16; lane; lane /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

static __device__ inline float warp_max(float x)
{
    for (int lane = 16; lane; lane /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

// Over a block of whole warps, given to all of its threads. room: 32 floats of shared memory that
// nobody uses between the barrier before and the one after.
static __device__ inline float block_sum(float x, float *room)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;

    x = warp_sum(x);
    __syncthreads();
    if (lane == 0) room[warp] = x;
    __syncthreads();
    x = lane < (int)(blockDim.x + 31) / 32 ? room[lane] : 0.0f;
    return warp_sum(x);
}

static __device__ inline float block_max(float x, float *room)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;

    x = warp_max(x);
    __syncthreads();
    if (lane == 0) room[warp] = x;
    __syncthreads();
    x = lane < (int)(blockDim.x + 31) / 32 ? room[lane] : -INFINITY;
    return warp_max(x);
}

// The prototypes, from ops.h: a definition that differs does not compile.
#define CUDA_OPERATIONS(X) \
    X(linear) X(linear_back_x) X(linear_back_weight) X(conv2d) X(conv2d_back_x) \
    X(conv2d_back_weight) X(max_pool2d) X(max_pool2d_back) X(avg_pool2d) X(avg_pool2d_back) \
    X(embed) X(embed_back) X(layer_norm) X(layer_norm_back) X(batch_norm) X(batch_norm_back) \
    X(group_norm) X(group_norm_back) X(cell) X(prelu) X(prelu_back) X(rope) X(attention) \
    X(attention_back) X(activate) X(activate_back) X(add) X(dropout) X(softmax) X(log_softmax) \
    X(softmax_back) X(move) X(fill) X(multiply) X(scale) X(maximum) X(maximum_back) X(bias) \
    X(column_sum) X(cross_entropy) X(mean_square) X(binary_cross_entropy) X(narrow) \
    X(widen) X(sum) X(digest) X(norm) X(update)

#define CUDA_PROTOTYPE(name) \
    extern "C" std::remove_pointer<decltype(pawl_ops::name)>::type CUDA(name);
CUDA_OPERATIONS(CUDA_PROTOTYPE)

#endif
