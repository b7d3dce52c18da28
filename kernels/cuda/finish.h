// finish.h - from sums to the output: bias, activation, derivative, residual, four elements at a
// time; and where in an image a row of the product lies.

#ifndef PAWL_CUDA_FINISH_H
#define PAWL_CUDA_FINISH_H

#include "kernels/cuda/activation.h"
#include "kernels/cuda/mma.h"

namespace {

// ---- numbers of either type

template <class T>
static __device__ inline float number(T x)
{
    if constexpr (std::is_same<T, float>::value)
        return x;
    else
        return get(x);
}

template <class T>
static __device__ inline T element(float x)
{
    if constexpr (std::is_same<T, float>::value)
        return x;
    else
        return put(x);
}

template <class T>
struct alignas(4 * sizeof(T)) four_of {
    T x[4];
};

// Four elements side by side, or the first `count` of them where not whole.
template <class T>
static __device__ inline void read_four(float out[4], const T *from, bool whole, int count)
{
    four_of<T> four = {};

    if (whole)
        four = *(const four_of<T> *)from;
    else
        for (int e = 0; e < count; e++)
            four.x[e] = from[e];
    UNROLL
    for (int e = 0; e < 4; e++)
        out[e] = number(four.x[e]);
}

template <class T>
static __device__ inline void write_four(T *to, const float x[4], bool whole, int count)
{
    four_of<T> four;

    UNROLL
    for (int e = 0; e < 4; e++)
        four.x[e] = element<T>(x[e]);
    if (whole)
        *(four_of<T> *)to = four;
    else
        for (int e = 0; e < count; e++)
            to[e] = four.x[e];
}

// ---- what becomes of the sums

// n / by by a multiplication (Granlund and Montgomery, 1994), for 0 <= n < 2^31.
struct divisor {
    uint32_t by, multiplier, shift;
};

static inline divisor divisor_of(int64_t by)
{
    divisor d = { (uint32_t)by, 0, 0 };

    while (((uint64_t)1 << d.shift) < (uint64_t)by)
        d.shift++;
    d.multiplier = (uint32_t)((((uint64_t)1 << (31 + d.shift)) + (uint64_t)by - 1) / (uint64_t)by);
    return d;
}

static __device__ inline int divide(int n, divisor d)
{
    return (int)((uint64_t)(uint32_t)n * d.multiplier >> (31 + d.shift));
}

// Rows that are places of a grid (batch, h, w) lying in images of their own size; plain: rows.
struct scatter {
    bool plain;
    divisor grid_w, grid_h;
    int64_t image_h, image_w, first_h, first_w, step_h, step_w;

    __device__ int64_t row(int r) const
    {
        if (plain) return r;
        const int line = divide(r, grid_w), x = r - line * (int)grid_w.by;
        const int image = divide(line, grid_h), y = line - image * (int)grid_h.by;
        return (image * image_h + first_h + y * step_h) * image_w + first_w + x * step_w;
    }
};

template <class Out>
struct finish {
    Out *out;
    value *pre;
    const value *bias, *residual, *saved;
    int64_t line, group, bias_group;  // elements from one group of outputs to the next
    int64_t part;                     // and from one part of k to the next
    int parts;
    enum pawl_activation activation;
    bool add, whole;
    scatter to;
};

template <class Out>
static inline finish<Out> finish_of(pawl_value *out, int64_t line)
{
    finish<Out> f = {};

    f.out = (Out *)out;
    f.line = line;
    f.parts = 1;
    f.to.plain = true;
    return f;
}

template <class Out>
static inline bool fours_fit(const finish<Out> &f, int64_t n)
{
    const uintptr_t values = (uintptr_t)f.pre | (uintptr_t)f.bias | (uintptr_t)f.residual
                             | (uintptr_t)f.saved;

    return values % (4 * sizeof(value)) == 0 && (uintptr_t)f.out % (4 * sizeof(Out)) == 0
           && (n | f.line | f.group | f.bias_group | f.part) % 4 == 0;
}

template <class Out>
static __device__ inline void finish_four(const finish<Out> &f, float x[4], int64_t at, int col,
                                          int count)
{
    const float alpha = activation_alpha(f.activation);
    float more[4];

    if (f.bias) {
        read_four(more, f.bias + col, f.whole, count);
        UNROLL
        for (int e = 0; e < 4; e++)
            x[e] += more[e];
    }
    if (f.pre) write_four(f.pre + at, x, f.whole, count);
    if (f.saved) {
        read_four(more, f.saved + at, f.whole, count);
        UNROLL
        for (int e = 0; e < 4; e++)
            x[e] *= activation_slope(more[e], f.activation, alpha);
    } else if (f.activation != PAWL_LINEAR) {
        UNROLL
        for (int e = 0; e < 4; e++)
            x[e] = activated(x[e], f.activation, alpha);
    }
    if (f.residual) {
        read_four(more, f.residual + at, f.whole, count);
        UNROLL
        for (int e = 0; e < 4; e++)
            x[e] += more[e];
    }
    if (f.add) {
        read_four(more, f.out + at, f.whole, count);
        UNROLL
        for (int e = 0; e < 4; e++)
            x[e] += more[e];
    }
    write_four(f.out + at, x, f.whole, count);
}

}  // namespace

#endif
