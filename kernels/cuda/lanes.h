// lanes.h - neighbouring elements moved as one, and rows that threads share out.
//
//     template <int W> static __global__ void scale(value *out, const value *x, int64_t packs)
//     {
//         EACH(i, packs) {
//             struct lanes<W> a = load<W>(x + i * W);
//             ...
//             store<W>(out + i * W, a);
//         }
//     }
//     LAUNCH_LANES(wide(n, out, x), scale, grid, 256, 0, s, out, x, ...);
//
// W is WIDE, 16 bytes, where every address and row length allows it; else 1.

#ifndef PAWL_CUDA_LANES_H
#define PAWL_CUDA_LANES_H

#include <string.h>

#include "kernels/cuda/cuda.h"

#define UNROLL _Pragma("unroll")
#define UNROLL_4 _Pragma("unroll 4")

// 16 bytes from `from` on, with one instruction: nvcc takes structs apart where a branch lies near.
static __device__ inline void store_words(void *p, const void *from)
{
#ifdef __CUDACC__
    uint4 x;

    memcpy(&x, from, sizeof(x));
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(x.x), "r"(x.y),
                 "r"(x.z), "r"(x.w)
                 : "memory");
#else
    memcpy(p, from, sizeof(uint4));
#endif
}

static constexpr int WIDE = 16 / (int)sizeof(value);

// What kernels compute with; and the same as it lies in memory.
template <int W> struct lanes {
    float at[W];
};
template <int W> struct alignas(W * sizeof(value)) raw {
    value at[W];
};
template <int W> struct alignas(W * sizeof(float) < 16 ? W * sizeof(float) : 16) floats {
    float at[W];
};
template <int W> struct alignas(W * sizeof(int32_t) < 16 ? W * sizeof(int32_t) : 16) ints {
    int32_t at[W];
};

template <int W> static __device__ inline struct raw<W> load_raw(const value *p)
{
    return *reinterpret_cast<const struct raw<W> *>(p);
}

template <int W> static __device__ inline struct lanes<W> widen(const struct raw<W> &in)
{
    struct lanes<W> x;

    UNROLL
    for (int i = 0; i < W; i++)
        x.at[i] = get(in.at[i]);
    return x;
}

template <int W> static __device__ inline struct lanes<W> load(const value *p)
{
    return widen<W>(load_raw<W>(p));
}

// Every lane `otherwise` where there is nothing to read.
template <int W>
static __device__ inline struct lanes<W> load_or(const value *p_or_null, int64_t i,
                                                 float otherwise)
{
    struct lanes<W> x;

    if (p_or_null) return load<W>(p_or_null + i);
    UNROLL
    for (int l = 0; l < W; l++)
        x.at[l] = otherwise;
    return x;
}

template <typename T> static __device__ inline void move_out(void *p, const T &from)
{
    if constexpr (sizeof(T) % sizeof(uint4) == 0) {
        UNROLL
        for (int i = 0; i < (int)(sizeof(T) / sizeof(uint4)); i++)
            store_words(static_cast<uint4 *>(p) + i, reinterpret_cast<const uint4 *>(&from) + i);
    } else {
        *static_cast<T *>(p) = from;
    }
}

template <int W> static __device__ inline void store(value *p, const struct lanes<W> &x)
{
    struct raw<W> out;

    UNROLL
    for (int i = 0; i < W; i++)
        out.at[i] = put(x.at[i]);
    move_out(p, out);
}

template <int W> static __device__ inline struct lanes<W> load_floats(const float *p)
{
    const struct floats<W> in = *reinterpret_cast<const struct floats<W> *>(p);
    struct lanes<W> x;

    UNROLL
    for (int i = 0; i < W; i++)
        x.at[i] = in.at[i];
    return x;
}

template <int W> static __device__ inline void store_floats(float *p, const struct lanes<W> &x)
{
    struct floats<W> out;

    UNROLL
    for (int i = 0; i < W; i++)
        out.at[i] = x.at[i];
    move_out(p, out);
}

// Rows of cols elements from these addresses (NULL: none) can be read WIDE at a time.
template <typename... P> static inline bool wide(int64_t cols, const P *...p)
{
    return cols % WIDE == 0 && ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...);
}

#define LAUNCH_LANES(wide, kernel, ...) \
    do { \
        if (wide) \
            LAUNCH(kernel<WIDE>, __VA_ARGS__); \
        else \
            LAUNCH(kernel<1>, __VA_ARGS__); \
    } while (0)

// ---- rows: a team of threads, a warp or a whole block, works on one row at a time ----

struct team {
    int rank, size;
    int64_t row, step;  // its first row, and how far it is to the next
    float *room;        // of block_sum; unused by a warp
};

static __device__ inline struct team team_of(int size, float *room)
{
    const int64_t thread = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    struct team t = { (int)(thread % size), size, thread / size,
                      (int64_t)gridDim.x * blockDim.x / size, room };

    return t;
}

static __device__ inline float team_sum(const struct team &t, float x)
{
    return t.size == 32 ? warp_sum(x) : block_sum(x, t.room);
}

static __device__ inline float team_max(const struct team &t, float x)
{
    return t.size == 32 ? warp_max(x) : block_max(x, t.room);
}

// How rows are shared out: a team keeps up to HELD elements of its row per thread in registers, so
// that memory is read once. What is longer than 16384, or not WIDE (held false), is read again for
// each look at it: from a cache, mostly.
enum { HELD = 32, TEAM_MOST = 512, TEAM_BLOCK = 256, TEAM_ROOM_BYTES = 32 * sizeof(float) };

struct teams {
    unsigned grid;
    int block, size;
    bool held;
};

static inline struct teams teams_for(int64_t rows, int64_t cols, bool wide)
{
    struct teams t = { 0, 0, 32, false };

    while (t.size < TEAM_MOST && (int64_t)t.size * HELD < cols)
        t.size *= 2;
    t.held = wide && (int64_t)t.size * HELD >= cols;
    t.block = t.size == 32 ? TEAM_BLOCK : t.size;
    t.grid = blocks_for(rows, t.block / t.size);
    return t;
}

// A thread's packs of W in a row: i counts packs of the row, j those of the thread. H is how many
// it holds, 0 for none.
#define PACKS(t, j, i, H, packs) \
    UNROLL \
    for (int64_t j = 0; j < ((H) ? (H) : ((packs) + (t).size - 1) / (t).size); j++) \
        if (const int64_t i = (t).rank + j * (t).size; i < (packs))

template <int W, int H> struct held {
    struct raw<W> at[H ? H : 1];
};

// The j-th pack that this thread holds; or pack i of the row, once more.
template <int W, int H>
static __device__ __forceinline__ struct lanes<W> part(const struct held<W, H> &h, int64_t j,
                                              const value *row, int64_t i)
{
    return H ? widen<W>(h.at[H ? j : 0]) : load<W>(row + i * W);
}

#endif
