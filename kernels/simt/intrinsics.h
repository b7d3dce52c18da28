// intrinsics.h - CUDA's arithmetic words for g++. The fast ones are exact here, so a kernel that
// needs the difference must say so in its test's tolerance.

#ifndef PAWL_SIMT_INTRINSICS_H
#define PAWL_SIMT_INTRINSICS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

// Macros, because the C library has functions of these names.
#define __expf expf
#define __logf logf
#define __sinf sinf
#define __cosf cosf
#define __powf powf

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
static inline float __saturatef(float x) { return x > 0.0f ? x < 1.0f ? x : 1.0f : 0.0f; }

// Never joined with a neighbour to one fused operation.
static inline float __fmul_rn(float x, float y)
{
    volatile float out = x * y;

    return out;
}

static inline float __fadd_rn(float x, float y)
{
    volatile float out = x + y;

    return out;
}

static inline float __fsub_rn(float x, float y) { return __fadd_rn(x, -y); }
static inline float __fdiv_rn(float x, float y) { return x / y; }

template <class To, class From> static inline To simt_bits(From x)
{
    To out;

    static_assert(sizeof(out) == sizeof(x));
    memcpy(&out, &x, sizeof(out));
    return out;
}

static inline int __float_as_int(float x) { return simt_bits<int>(x); }
static inline float __int_as_float(int x) { return simt_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return simt_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return simt_bits<float>(x); }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline unsigned __umulhi(unsigned x, unsigned y)
{
    return (unsigned)((uint64_t)x * y >> 32);
}

template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T> static inline T __ldcg(const T *p) { return *p; }
template <class T> static inline void __stcs(T *p, T x) { *p = x; }
template <class T> static inline void __stcg(T *p, T x) { *p = x; }

static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }

// One fiber runs at a time, so these are whole as they stand. Integers only: sums of floats would
// depend on who comes first.
template <class T> static inline T atomicAdd(T *p, T x)
{
    static_assert(T(1) / T(2) == T(0), "no atomics on floats: their sum depends on the order");
    const T before = *p;

    *p = before + x;
    return before;
}

template <class T> static inline T atomicMax(T *p, T x)
{
    const T before = *p;

    if (x > before) *p = x;
    return before;
}

template <class T> static inline T atomicMin(T *p, T x)
{
    const T before = *p;

    if (x < before) *p = x;
    return before;
}

template <class T> static inline T atomicExch(T *p, T x)
{
    const T before = *p;

    *p = x;
    return before;
}

template <class T> static inline T atomicCAS(T *p, T expected, T x)
{
    const T before = *p;

    if (before == expected) *p = x;
    return before;
}

static inline void __threadfence(void) {}
static inline void __threadfence_block(void) {}

#endif
