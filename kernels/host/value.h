// value.h - the element type of the table under way: float, or bfloat16 (PAWL_BF16), which is kept
// in 16 bits and computed with as float.
//
//     const vec y = vec_load(x + i) * scale;       // x: value or float
//     vec_store(out + i, y);                       // rounds to nearest even where out is bf16
//     out[i] = put(get(x[i]) * scale);             // one element
//
// A bf16 is a struct, so that arithmetic on it by mistake does not compile.

#ifndef PAWL_VALUE_H
#define PAWL_VALUE_H

#include "kernels/host/vec.h"

typedef struct {
    uint16_t bits;
} bf16;

static inline float bf16_widen(bf16 x)
{
    const uint32_t bits = (uint32_t)x.bits << 16;
    float y;

    memcpy(&y, &bits, sizeof(y));
    return y;
}

static inline bf16 bf16_narrow(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    // A NaN keeps its upper bits and stays one; a carry out of the mantissa is the next exponent.
    bits = x != x ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1);
    return (bf16){ (uint16_t)(bits >> 16) };
}

#ifdef PAWL_BF16
typedef bf16 value;
static inline float get(value x) { return bf16_widen(x); }
static inline value put(float x) { return bf16_narrow(x); }
#define VALUE_NAME "bf16"
#else
typedef float value;
static inline float get(value x) { return x; }
static inline value put(float x) { return x; }
#define VALUE_NAME "fp32"
#endif

// ---- whole vectors

typedef uint16_t vec_half __attribute__((vector_size(PAWL_LANES * 2)));
typedef int16_t vec_half_signed __attribute__((vector_size(PAWL_LANES * 2)));

// One instruction each where there is one; gcc 12 takes conversions of another width apart.
#if defined(__AVX512F__) && PAWL_LANES == 16
static inline vecu half_wide(vec_half x) { return (vecu)_mm512_cvtepu16_epi32((__m256i)x); }
static inline vec_half half_of(veci x) { return (vec_half)_mm512_cvtepi32_epi16((__m512i)x); }
#elif defined(__AVX2__) && PAWL_LANES == 8
static inline vecu half_wide(vec_half x) { return (vecu)_mm256_cvtepu16_epi32((__m128i)x); }
static inline vec_half half_of(veci x)
{
    const __m256i all = (__m256i)x;

    return (vec_half)_mm_packs_epi32(_mm256_castsi256_si128(all),
                                     _mm256_extracti128_si256(all, 1));
}
#else
static inline vecu half_wide(vec_half x) { return __builtin_convertvector(x, vecu); }
static inline vec_half half_of(veci x)
{
    return (vec_half)__builtin_convertvector(x, vec_half_signed);
}
#endif

static inline vec half_widen(vec_half x) { return (vec)(half_wide(x) << 16); }
static inline vec_half half_narrow(vec x)
{
    const vecu bits = (vecu)x, rounded = bits + 0x7fffu + (bits >> 16 & 1);
    const vec kept = vec_select(x != x, (vec)(bits | 0x400000u), (vec)rounded);

    return half_of((veci)kept >> 16);
}

static inline vec vec_load_bf16(const bf16 *p)
{
    vec_half x;

    memcpy(&x, p, sizeof(x));
    return half_widen(x);
}
static inline void vec_store_bf16(bf16 *p, vec x)
{
    const vec_half y = half_narrow(x);

    memcpy(p, &y, sizeof(y));
}
static inline vec vec_load_some_bf16(const bf16 *p, int64_t n)
{
    vec_half x = { 0 };

    memcpy(&x, p, (size_t)n * sizeof(*p));
    return half_widen(x);
}
static inline void vec_store_some_bf16(bf16 *p, vec x, int64_t n)
{
    const vec_half y = half_narrow(x);

    memcpy(p, &y, (size_t)n * sizeof(*p));
}

#define VALUE_CALL(name, p)                                                                        \
    _Generic((p), float *: name##_float, const float *: name##_float, bf16 *: name##_bf16,         \
             const bf16 *: name##_bf16)
#define vec_load(p) VALUE_CALL(vec_load, p)(p)
#define vec_store(p, x) VALUE_CALL(vec_store, p)(p, x)
#define vec_load_some(p, n) VALUE_CALL(vec_load_some, p)(p, n)
#define vec_store_some(p, x, n) VALUE_CALL(vec_store_some, p)(p, x, n)

// A whole vector, or the n < LANES that are left.
#define vec_load_left(p, n) ((n) < LANES ? vec_load_some(p, n) : vec_load(p))
#define vec_store_left(p, x, n)                                                                    \
    do {                                                                                           \
        if ((n) < LANES)                                                                           \
            vec_store_some(p, x, n);                                                               \
        else                                                                                       \
            vec_store(p, x);                                                                       \
    } while (0)

// ---- lines of memory

// Elements of x in a cache line.
#define LINE_OF(x) ((int64_t)(64 / sizeof(*(x))))

#endif
