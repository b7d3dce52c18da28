// map.h - flat arrays, element by element: 16 bytes at a time where every address allows it, and
// what is left over one at a time, in the same launch.
//
//     struct product {
//         value *out;
//         const value *a, *b;
//         template <int W> __device__ __forceinline__ void at(int64_t i) const;  // W from i on
//     };
//     launch_map<WIDE>(s, n, product{ out, a, b }, out, a, b);   // and all that at() reads, writes
//
// at() is inline by force: a copy of it out of line would have the same name for both element
// types, and where both are linked to one library (libpawl-simt.so) only one of them is kept.

#ifndef PAWL_CUDA_MAP_H
#define PAWL_CUDA_MAP_H

#include "kernels/cuda/lanes.h"

enum { MAP_BLOCK = 256 };

template <int W, class F> static __global__ void map(const F f, int64_t n)
{
    const int64_t rest = n / W * W + (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    EACH(i, n / W) f.template at<W>(i * W);
    if (W > 1 && rest < n) f.template at<1>(rest);
}

template <int W, class F, class... P>
static inline void launch_map(struct pawl_stream *s, int64_t n, const F &f, const P *...memory)
{
    if (n <= 0) return;
    if (wide(0, memory...))
        LAUNCH((map<W, F>), blocks_for((n + W - 1) / W, MAP_BLOCK), MAP_BLOCK, 0, s, f, n);
    else
        LAUNCH((map<1, F>), blocks_for(n, MAP_BLOCK), MAP_BLOCK, 0, s, f, n);
}

// out = f(a) or out += f(a); the same of two.
template <class F> struct map_one {
    value *out;
    const value *a;
    F f;
    bool add;

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        struct lanes<W> x = load<W>(a + i), before = {};

        if (add) before = load<W>(out + i);
        UNROLL
        for (int l = 0; l < W; l++)
            x.at[l] = add ? before.at[l] + f(x.at[l]) : f(x.at[l]);
        store<W>(out + i, x);
    }
};

template <class F> struct map_two {
    value *out;
    const value *a, *b;
    F f;
    bool add;

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        struct lanes<W> x = load<W>(a + i), before = {};
        const struct lanes<W> y = load<W>(b + i);

        if (add) before = load<W>(out + i);
        UNROLL
        for (int l = 0; l < W; l++)
            x.at[l] = add ? before.at[l] + f(x.at[l], y.at[l]) : f(x.at[l], y.at[l]);
        store<W>(out + i, x);
    }
};

#endif
