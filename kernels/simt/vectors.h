// vectors.h - CUDA's little structs for g++: dim3, float4 and their like.

#ifndef PAWL_SIMT_VECTORS_H
#define PAWL_SIMT_VECTORS_H

#include <stdint.h>

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;

    dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1)
        : x(width), y(height), z(depth) {}
};

// NAME2 and NAME4 of TYPE, aligned as nvcc does, and make_NAME2, make_NAME4.
#define SIMT_VECTORS(type, name) \
    struct alignas(2 * sizeof(type)) name##2 { \
        type x, y; \
    }; \
    struct name##3 { \
        type x, y, z; \
    }; \
    struct alignas(4 * sizeof(type) < 16 ? 4 * sizeof(type) : 16) name##4 { \
        type x, y, z, w; \
    }; \
    static inline struct name##2 make_##name##2(type x, type y) { return { x, y }; } \
    static inline struct name##3 make_##name##3(type x, type y, type z) { return { x, y, z }; } \
    static inline struct name##4 make_##name##4(type x, type y, type z, type w) \
    { \
        return { x, y, z, w }; \
    }

SIMT_VECTORS(float, float)
SIMT_VECTORS(double, double)
SIMT_VECTORS(int, int)
SIMT_VECTORS(short, short)
SIMT_VECTORS(unsigned short, ushort)
SIMT_VECTORS(long long, longlong)
SIMT_VECTORS(unsigned long long, ulonglong)

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline struct uint2 make_uint2(unsigned x, unsigned y) { return { x, y }; }
static inline struct uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return { x, y, z, w };
}

#endif
