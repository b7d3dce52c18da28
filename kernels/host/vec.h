// vec.h - one vector of floats, as wide as the instruction set: 16, 8 or 4 lanes. What loads and
// stores it is named in value.h.
//
// GCC's and clang's vector extension, so that one source serves every instruction set and the
// 16-lane code can be tested on a machine without it (the compiler splits it). `a * b + c` becomes
// a fused multiply-add where there is one (-ffp-contract=fast).

#ifndef PAWL_VEC_H
#define PAWL_VEC_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef PAWL_LANES
#error "PAWL_LANES comes from CMakeLists.txt: 16, 8 or 4"
#endif

enum { LANES = PAWL_LANES };

typedef float vec __attribute__((vector_size(PAWL_LANES * 4)));
typedef int32_t veci __attribute__((vector_size(PAWL_LANES * 4)));
typedef uint32_t vecu __attribute__((vector_size(PAWL_LANES * 4)));  // wraps; veci may not
typedef float vec_unaligned __attribute__((vector_size(PAWL_LANES * 4), aligned(4)));
typedef float vec_quarter __attribute__((vector_size(16)));

static inline vec vec_load_float(const float *p) { return *(const vec_unaligned *)p; }
static inline void vec_store_float(float *p, vec x) { *(vec_unaligned *)p = x; }
static inline vec vec_set(float x) { return x - (vec){ 0 }; }
static inline vec vec_select(veci mask, vec yes, vec no)
{
    return (vec)((mask & (veci)yes) | (~mask & (veci)no));
}
static inline vec vec_abs(vec x) { return (vec)((veci)x & 0x7fffffff); }
// The magnitude of x with the sign of y; x must not be negative.
static inline vec vec_sign(vec x, vec y) { return (vec)((vecu)x | ((vecu)y & 0x80000000u)); }
// b where either is NaN, in one instruction. Written lane by lane, gcc 12 finds that instruction
// in short functions only, and takes the lanes apart in longer ones.
#if defined(__AVX512F__) && PAWL_LANES == 16
#define VEC_NATIVE(name, a, b) _mm512_##name##_ps(a, b)
#elif defined(__AVX__) && PAWL_LANES == 8
#define VEC_NATIVE(name, a, b) _mm256_##name##_ps(a, b)
#elif defined(__SSE2__) && PAWL_LANES == 4
#define VEC_NATIVE(name, a, b) _mm_##name##_ps(a, b)
#else
#define VEC_NATIVE(name, a, b) vec_select(vec_##name##_first(a, b), a, b)
#endif
static inline veci vec_max_first(vec a, vec b) { return a > b; }
static inline veci vec_min_first(vec a, vec b) { return a < b; }
static inline vec vec_max(vec a, vec b) { return VEC_NATIVE(max, a, b); }
static inline vec vec_min(vec a, vec b) { return VEC_NATIVE(min, a, b); }

// The first n < LANES floats of p, zeros behind them; and back.
static inline vec vec_load_some_float(const float *p, int64_t n)
{
    vec x = { 0 };

    memcpy(&x, p, (size_t)n * sizeof(float));
    return x;
}
static inline void vec_store_some_float(float *p, vec x, int64_t n)
{
    memcpy(p, &x, (size_t)n * sizeof(float));
}

// 0, 1, 2, ... to mask by position.
static inline vec vec_lane(void)
{
    vec x;

    for (int i = 0; i < LANES; i++)
        x[i] = (float)i;
    return x;
}
static inline vec vec_sqrt(vec x)
{
    vec y;

    for (int i = 0; i < LANES; i++)
        y[i] = __builtin_sqrtf(x[i]);
    return y;
}

typedef uint64_t vec_pair __attribute__((vector_size(16)));

// What the extension cannot say. quarter_stream stores around the caches, where p is aligned to 16
// bytes; vec_stream_end() before others look. pair_multiply is the whole product of the low halves.
#if defined(__x86_64__)
static inline vec_pair pair_multiply(vec_pair a, vec_pair b)
{
    return (vec_pair)_mm_mul_epu32((__m128i)a, (__m128i)b);
}
static inline void quarter_stream(float *p, vec_quarter x) { _mm_stream_ps(p, x); }
static inline void vec_stream_end(void) { _mm_sfence(); }
#else
static inline vec_pair pair_multiply(vec_pair a, vec_pair b)
{
    return (a & 0xffffffffu) * (b & 0xffffffffu);
}
static inline void quarter_stream(float *p, vec_quarter x) { memcpy(p, &x, sizeof(x)); }
static inline void vec_stream_end(void) {}
#endif
static inline void vec_stream(float *p, vec x)
{
    vec_quarter part[4] = { 0 };

    memcpy(part, &x, sizeof(x));
    for (int i = 0; i < LANES / 4; i++)
        quarter_stream(p + 4 * i, part[i]);
}

// Sum and maximum over lanes in a fixed tree order.
static inline float vec_sum(vec x)
{
    vec_quarter part[4] = { 0 };

    memcpy(part, &x, sizeof(x));
    if (LANES == 16) part[0] += part[2], part[1] += part[3];
    if (LANES >= 8) part[0] += part[1];
    part[0] += __builtin_shufflevector(part[0], part[0], 2, 3, 0, 1);
    return part[0][0] + part[0][1];
}
static inline vec_quarter quarter_max(vec_quarter a, vec_quarter b)
{
    vec_quarter y;

    for (int i = 0; i < 4; i++)
        y[i] = a[i] > b[i] ? a[i] : b[i];
    return y;
}
static inline float vec_top(vec x)
{
    vec_quarter part[4] = { 0 };

    memcpy(part, &x, sizeof(x));
    if (LANES == 16)
        part[0] = quarter_max(part[0], part[2]), part[1] = quarter_max(part[1], part[3]);
    if (LANES >= 8) part[0] = quarter_max(part[0], part[1]);
    part[0] = quarter_max(part[0], __builtin_shufflevector(part[0], part[0], 2, 3, 0, 1));
    return part[0][0] > part[0][1] ? part[0][0] : part[0][1];
}

#endif
