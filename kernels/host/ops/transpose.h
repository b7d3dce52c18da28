// transpose.h - small squares of floats turned in registers: 8 x 8, or 4 x 4 where vectors are 4.

#ifndef PAWL_HOST_TRANSPOSE_H
#define PAWL_HOST_TRANSPOSE_H

#include "kernels/host/value.h"

// AVX-512 stays with 8: its factor a is 8 rows wide, and packing is bound by memory anyway.
enum { SQUARE = PAWL_LANES < 8 ? PAWL_LANES : 8 };

typedef float square_row __attribute__((vector_size(SQUARE * 4)));
typedef int32_t square_mask __attribute__((vector_size(SQUARE * 4)));
typedef float square_row_unaligned __attribute__((vector_size(SQUARE * 4), aligned(4)));

static inline square_row square_load_float(const float *p)
{
    return *(const square_row_unaligned *)p;
}
static inline void square_store(float *p, square_row x) { *(square_row_unaligned *)p = x; }

typedef uint16_t square_half __attribute__((vector_size(SQUARE * 2)));
typedef uint32_t square_wide __attribute__((vector_size(SQUARE * 4)));

static inline square_row square_load_bf16(const bf16 *p)
{
    square_half x;

    memcpy(&x, p, sizeof(x));
#if defined(__AVX2__) && PAWL_LANES >= 8
    return (square_row)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)x), 16);
#else
    return (square_row)(__builtin_convertvector(x, square_wide) << 16);
#endif
}

#define square_load(p) VALUE_CALL(square_load, p)(p)

// n values one after the other, by squares as long as there are enough.
static inline void square_copy(float *out, const value *p, int64_t n)
{
    for (; n >= SQUARE; n -= SQUARE, out += SQUARE, p += SQUARE)
        square_store(out, square_load(p));
    for (int64_t i = 0; i < n; i++)
        out[i] = get(p[i]);
}

#if PAWL_LANES < 8
static inline void square_transpose(square_row r[SQUARE])
{
    const square_mask low = { 0, 4, 1, 5 }, high = { 2, 6, 3, 7 };
    const square_mask first = { 0, 1, 4, 5 }, second = { 2, 3, 6, 7 };
    const square_row a = __builtin_shuffle(r[0], r[1], low);
    const square_row b = __builtin_shuffle(r[0], r[1], high);
    const square_row c = __builtin_shuffle(r[2], r[3], low);
    const square_row d = __builtin_shuffle(r[2], r[3], high);

    r[0] = __builtin_shuffle(a, c, first);
    r[1] = __builtin_shuffle(a, c, second);
    r[2] = __builtin_shuffle(b, d, first);
    r[3] = __builtin_shuffle(b, d, second);
}
#else
// Pairs within each half, then quads, then the halves: one instruction per shuffle.
static inline void square_transpose(square_row r[SQUARE])
{
    const square_mask low = { 0, 8, 1, 9, 4, 12, 5, 13 }, high = { 2, 10, 3, 11, 6, 14, 7, 15 };
    const square_mask even = { 0, 1, 8, 9, 4, 5, 12, 13 }, odd = { 2, 3, 10, 11, 6, 7, 14, 15 };
    const square_mask left = { 0, 1, 2, 3, 8, 9, 10, 11 }, right = { 4, 5, 6, 7, 12, 13, 14, 15 };
    square_row pair[8], quad[8];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        pair[2 * i] = __builtin_shuffle(r[2 * i], r[2 * i + 1], low);
        pair[2 * i + 1] = __builtin_shuffle(r[2 * i], r[2 * i + 1], high);
    }
#pragma GCC unroll 2
    for (int half = 0; half < 8; half += 4) {
        quad[half] = __builtin_shuffle(pair[half], pair[half + 2], even);
        quad[half + 1] = __builtin_shuffle(pair[half], pair[half + 2], odd);
        quad[half + 2] = __builtin_shuffle(pair[half + 1], pair[half + 3], even);
        quad[half + 3] = __builtin_shuffle(pair[half + 1], pair[half + 3], odd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = __builtin_shuffle(quad[i], quad[i + 4], left);
        r[i + 4] = __builtin_shuffle(quad[i], quad[i + 4], right);
    }
}
#endif

#endif
