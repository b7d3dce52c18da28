// bf16.h - the part of cuda_bf16.h that pawl's kernels use, for g++ without a CUDA toolkit.

#ifndef PAWL_SIMT_BF16_H
#define PAWL_SIMT_BF16_H

#include <stdint.h>
#include <string.h>

#include "kernels/simt/vectors.h"

struct __nv_bfloat16 {
    uint16_t bits;
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

static inline float __bfloat162float(__nv_bfloat16 x)
{
    const uint32_t bits = (uint32_t)x.bits << 16;
    float out;

    memcpy(&out, &bits, sizeof(out));
    return out;
}

// To nearest, ties to even; any NaN becomes the one that the GPU makes.
static inline __nv_bfloat16 __float2bfloat16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    if (x != x) return { 0x7fff };
    return { (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16) };
}

static inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __float2bfloat16(x); }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return { bits }; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }

static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y)
{
    return { x, y };
}

static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
    return { __float2bfloat16(x), __float2bfloat16(y) };
}

static inline __nv_bfloat162 __float22bfloat162_rn(float2 x)
{
    return __floats2bfloat162_rn(x.x, x.y);
}

static inline float2 __bfloat1622float2(__nv_bfloat162 x)
{
    return { __bfloat162float(x.x), __bfloat162float(x.y) };
}

static inline float __low2float(__nv_bfloat162 x) { return __bfloat162float(x.x); }
static inline float __high2float(__nv_bfloat162 x) { return __bfloat162float(x.y); }

#endif
