// vec.h - one vector of floats, as wide as the instruction set: 16, 8 or 4 lanes.
//
// GCC's and clang's vector extension, so that one source serves every instruction set and the
// 16-lane code can be tested on a machine without it (the compiler splits it). `a * b + c` becomes
// a fused multiply-add where there is one (-ffp-contract=fast).

#ifndef PAWL_VEC_H
#define PAWL_VEC_H

#include <stdint.h>
#include <string.h>

#ifndef PAWL_LANES
#error "PAWL_LANES comes from CMakeLists.txt: 16, 8 or 4"
#endif

enum { LANES = PAWL_LANES };

typedef float vec __attribute__((vector_size(PAWL_LANES * 4)));
typedef int32_t veci __attribute__((vector_size(PAWL_LANES * 4)));
typedef float vec_unaligned __attribute__((vector_size(PAWL_LANES * 4), aligned(4)));

static inline vec vec_load(const float *p) { return *(const vec_unaligned *)p; }
static inline void vec_store(float *p, vec x) { *(vec_unaligned *)p = x; }
static inline vec vec_set(float x) { return x - (vec){ 0 }; }
static inline vec vec_select(veci mask, vec yes, vec no)
{
    return (vec)((mask & (veci)yes) | (~mask & (veci)no));
}
static inline vec vec_max(vec a, vec b) { return vec_select(a > b, a, b); }
static inline vec vec_min(vec a, vec b) { return vec_select(a < b, a, b); }

// Sum over lanes in a fixed tree order.
static inline float vec_sum(vec x)
{
    float lane[PAWL_LANES];

    memcpy(lane, &x, sizeof(lane));
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    return lane[0];
}

#endif
