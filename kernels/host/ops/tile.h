// tile.h - the inner loop: a tile of sums that stays in registers while k runs.
//
// 6 x 2 vectors fill 12 of 16 registers, 8 x 3 fill 24 of the 32 of AVX-512: enough chains to hide
// the latency of a multiply-add, and 1.5 to 2.2 of them for each load. The compiler keeps every
// array here in registers, as all loop bounds are constants once it is inlined.

#ifndef PAWL_HOST_TILE_H
#define PAWL_HOST_TILE_H

#include <stdbool.h>

#include "kernels/host/value.h"

enum {
    TILE_ROWS = PAWL_LANES == 16 ? 8 : 6,
    TILE_VECS = PAWL_LANES == 16 ? 3 : 2,
    TILE_COLS = TILE_VECS * PAWL_LANES,
};

// tile (rows, vecs * LANES) = or += a (k, TILE_ROWS)^T b (k, vecs * LANES).
static inline __attribute__((always_inline)) void
tile_multiply(float *tile, const float *a, const float *b, int64_t k, bool add, int rows, int vecs)
{
    vec sum[TILE_ROWS][TILE_VECS];

#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++)
            sum[i][v] = add ? vec_load(tile + (i * vecs + v) * LANES) : (vec){ 0 };
    for (; k > 0; k--, a += TILE_ROWS, b += vecs * LANES) {
        vec y[TILE_VECS];
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++)
            y[v] = vec_load(b + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const vec x = vec_set(a[i]);
#pragma GCC unroll 3
            for (int v = 0; v < vecs; v++)
                sum[i][v] += x * y[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++)
            vec_store(tile + (i * vecs + v) * LANES, sum[i][v]);
}

// A stretch of k whose elements of a lie step apart, the first of them offset behind the pointer
// of each row.
struct tile_run {
    int64_t offset, count;
};

// The same with rows of a that are read where they lie: a[i][offset + p * step].
static inline __attribute__((always_inline)) void
tile_gather(float *tile, const float *const a[TILE_ROWS], int64_t step, const struct tile_run *run,
            int64_t runs, const float *b, bool add, int rows, int vecs)
{
    vec sum[TILE_ROWS][TILE_VECS];

#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++)
            sum[i][v] = add ? vec_load(tile + (i * vecs + v) * LANES) : (vec){ 0 };
    for (; runs > 0; runs--, run++) {
        int64_t at = run->offset;
        for (int64_t k = run->count; k > 0; k--, at += step, b += vecs * LANES) {
            vec y[TILE_VECS];
#pragma GCC unroll 3
            for (int v = 0; v < vecs; v++)
                y[v] = vec_load(b + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) {
                const vec x = vec_set(a[i][at]);
#pragma GCC unroll 3
                for (int v = 0; v < vecs; v++)
                    sum[i][v] += x * y[v];
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++)
            vec_store(tile + (i * vecs + v) * LANES, sum[i][v]);
}

#endif
