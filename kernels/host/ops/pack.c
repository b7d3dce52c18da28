// pack.c - copies plain and transposed matrices into the panels of gemm.h.

#include <string.h>

#include "kernels/host/ops/gemm.h"
#include "kernels/host/ops/tile.h"
#include "kernels/host/ops/transpose.h"

// One panel's lanes [lane, lane + SQUARE) for all k: rows that are not there read as zero. Writes
// SQUARE lanes even where the panel has fewer left: what spills over belongs to the next k's first
// lanes, so lanes are packed from the last group to the first, and k ascending. The next panel's
// rows are fetched meanwhile: each is a run too short for the caches to guess.
static inline __attribute__((always_inline)) void
pack_rows(float *out, int64_t width, const value *data, int64_t stride, int64_t rows, int64_t k)
{
    int64_t p = 0;

    for (; p + SQUARE <= k; p += SQUARE) {
        square_row r[SQUARE];
#pragma GCC unroll 8
        for (int i = 0; i < SQUARE; i++)
            if (i < rows) __builtin_prefetch(data + (i + width) * stride + p);
#pragma GCC unroll 8
        for (int i = 0; i < SQUARE; i++)
            r[i] = i < rows ? square_load(data + i * stride + p) : (square_row){ 0 };
        square_transpose(r);
#pragma GCC unroll 8
        for (int i = 0; i < SQUARE; i++)
            square_store(out + (p + i) * width, r[i]);
    }
    for (; p < k; p++) {
        square_row r = { 0 };
        for (int64_t i = 0; i < rows && i < SQUARE; i++)
            r[i] = get(data[i * stride + p]);
        square_store(out + p * width, r);
    }
}

// The loads of the two common counts need no tests.
static void pack_lanes(float *out, int64_t width, const value *data, int64_t stride, int64_t rows,
                       int64_t k)
{
    if (rows >= SQUARE)
        pack_rows(out, width, data, stride, SQUARE, k);
    else if (rows == TILE_ROWS % SQUARE)
        pack_rows(out, width, data, stride, TILE_ROWS % SQUARE, k);
    else
        pack_rows(out, width, data, stride, rows, k);
}

void HOST(pack_along)(const struct gemm_factor *f, const struct gemm_panels *panels)
{
    const int64_t width = panels->width, k = panels->k_count;
    float *out = panels->out;

    for (int64_t i = 0; i < panels->count; i += width, out += panels->stride) {
        const value *data = f->data + (panels->first + i) * f->stride + panels->k_first;
        for (int64_t lane = (width - 1) / SQUARE * SQUARE; lane >= 0; lane -= SQUARE) {
            const int64_t rows = panels->count - i - lane;
            pack_lanes(out + lane, width, data + lane * f->stride, f->stride, rows, k);
        }
    }
}

enum { BAND = 16 };  // k's at a time, so that a line of data is read by all panels while in L1

// The caches' own guesses are of little use here: few lines of each row are wanted. Inlined by
// force: gcc takes a function that only fetches for one without effect and drops it.
static inline __attribute__((always_inline)) void
fetch_band(const value *data, int64_t stride, int64_t rows, int64_t k)
{
    for (int64_t p = 0; p < k; p++)
        for (int64_t i = 0; i < rows; i += LINE_OF(data))
            __builtin_prefetch(data + p * stride + i);
}

// What is written next is fetched too: a store that misses holds up all behind it.
static inline __attribute__((always_inline)) void
copy_wide(float *out, int64_t width, const value *data, int64_t stride, int64_t k,
          const float *next)
{
#pragma GCC unroll 1
    for (int64_t p = 0; p < k; p++) {
#pragma GCC unroll 3
        for (int64_t lane = 0; lane < width; lane += LINE_OF(next))
            __builtin_prefetch(next + p * width + lane, 1);
#pragma GCC unroll 6
        for (int64_t lane = 0; lane < width; lane += SQUARE)
            square_store(out + p * width + lane, square_load(data + p * stride + lane));
    }
}

static void copy_exact(float *out, int64_t width, const value *data, int64_t stride, int64_t rows,
                       int64_t k)
{
    for (int64_t p = 0; p < k; p++)
        for (int64_t i = 0; i < width; i++)
            out[p * width + i] = i < rows ? get(data[p * stride + i]) : 0;
}

// Panels of 6: whole squares of several k's side by side, since stores that straddle two lines
// would cost more than the copy. Every read lies between the first and the last row's 6 elements.
#if PAWL_LANES < 8
static void copy_six(float *out, const value *data, int64_t stride, int64_t k, const float *next)
{
    const square_mask split = { 0, 1, 6, 7 };
    int64_t p = 0;

#pragma GCC unroll 1
    for (; p + 2 <= k; p += 2, out += 12, data += 2 * stride) {
        const value *a = data, *b = a + stride;
        __builtin_prefetch(next + p * 6, 1);
        square_store(out, square_load(a));
        square_store(out + 4, __builtin_shuffle(square_load(a + 4), square_load(b - 2), split));
        square_store(out + 8, square_load(b + 2));
    }
    copy_exact(out, 6, data, stride, 6, k - p);
}
#else
static void copy_six(float *out, const value *data, int64_t stride, int64_t k, const float *next)
{
    const square_mask six = { 0, 1, 2, 3, 4, 5, 14, 15 }, four = { 0, 1, 2, 3, 12, 13, 14, 15 };
    const square_mask two = { 0, 1, 10, 11, 12, 13, 14, 15 };
    int64_t p = 0;

#pragma GCC unroll 1
    for (; p + 4 <= k; p += 4, out += 24, data += 4 * stride) {
        const value *a = data, *b = a + stride, *c = b + stride, *d = c + stride;
        __builtin_prefetch(next + p * 6, 1);
        __builtin_prefetch(next + p * 6 + LINE_OF(next), 1);
        square_store(out, __builtin_shuffle(square_load(a), square_load(b - 6), six));
        square_store(out + 8, __builtin_shuffle(square_load(b + 2), square_load(c - 4), four));
        square_store(out + 16, __builtin_shuffle(square_load(c + 4), square_load(d - 2), two));
    }
    copy_exact(out, 6, data, stride, 6, k - p);
}
#endif

// Only whole panels.
static void copy_panel(float *out, int64_t width, const value *data, int64_t stride, int64_t k,
                       const float *next)
{
    if (width == TILE_COLS)
        copy_wide(out, TILE_COLS, data, stride, k, next);
    else if (width == 6)
        copy_six(out, data, stride, k, next);
    else if (width % SQUARE == 0)
        copy_wide(out, width, data, stride, k, next);
    else
        copy_exact(out, width, data, stride, width, k);
}

void HOST(pack_across)(const struct gemm_factor *f, const struct gemm_panels *panels)
{
    const int64_t width = panels->width, k = panels->k_count;
    const value *all = f->data + panels->k_first * f->stride + panels->first;

    for (int64_t p = 0; p < k; p += BAND) {
        const int64_t band = k - p < BAND ? k - p : BAND;
        float *out = panels->out + p * width;
        if (p + BAND < k)
            fetch_band(all + (p + BAND) * f->stride, f->stride, panels->count, BAND);
        for (int64_t i = 0; i < panels->count; i += width, out += panels->stride) {
            const int64_t left = panels->count - i;
            const value *data = all + p * f->stride + i;
            const float *next = left > width ? out + panels->stride
                                             : panels->out + (p + band) * width;
            if (left >= width)
                copy_panel(out, width, data, f->stride, band, next);
            else
                copy_exact(out, width, data, f->stride, left, band);
        }
    }
}
