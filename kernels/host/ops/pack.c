// pack.c - copies plain and transposed matrices into the panels of gemm.h.

#include <string.h>

#include "kernels/host/ops/gemm.h"
#include "kernels/host/ops/tile.h"
#include "kernels/host/ops/transpose.h"

// One panel's lanes [lane, lane + SQUARE) for all k: rows that are not there read as zero. Writes
// SQUARE lanes even where the panel has fewer left: what spills over belongs to the next k's first
// lanes, so lanes are packed from the last group to the first, and k ascending.
static inline __attribute__((always_inline)) void
pack_rows(float *out, int64_t width, const float *data, int64_t stride, int64_t rows, int64_t k)
{
    int64_t p = 0;

    for (; p + SQUARE <= k; p += SQUARE) {
        square_row r[SQUARE];
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
            r[i] = data[i * stride + p];
        square_store(out + p * width, r);
    }
}

// The loads of the two common counts need no tests.
static void pack_lanes(float *out, int64_t width, const float *data, int64_t stride, int64_t rows,
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
        const float *data = f->data + (panels->first + i) * f->stride + panels->k_first;
        for (int64_t lane = (width - 1) / SQUARE * SQUARE; lane >= 0; lane -= SQUARE) {
            const int64_t rows = panels->count - i - lane;
            pack_lanes(out + lane, width, data + lane * f->stride, f->stride, rows, k);
        }
    }
}

enum { BAND = 16 };  // k's at a time, so that a line of data is read by all panels while in L1

// Copies whole squares: reads and writes up to SQUARE - 1 elements beyond width. The next k's copy
// mends what that spoils, so the panel's last k must not be copied this way.
static void copy_wide(float *out, int64_t width, const float *data, int64_t stride, int64_t k)
{
    for (int64_t p = 0; p < k; p++)
        for (int64_t lane = 0; lane < width; lane += SQUARE)
            square_store(out + p * width + lane, square_load(data + p * stride + lane));
}

static void copy_exact(float *out, int64_t width, const float *data, int64_t stride, int64_t rows,
                       int64_t k)
{
    for (int64_t p = 0; p < k; p++)
        for (int64_t i = 0; i < width; i++)
            out[p * width + i] = i < rows ? data[p * stride + i] : 0;
}

void HOST(pack_across)(const struct gemm_factor *f, const struct gemm_panels *panels)
{
    const int64_t width = panels->width, k = panels->k_count;
    const int64_t reach = (width + SQUARE - 1) / SQUARE * SQUARE;

    for (int64_t p = 0; p < k; p += BAND) {
        const int64_t band = k - p < BAND ? k - p : BAND;
        float *out = panels->out + p * width;
        for (int64_t i = 0; i < panels->count; i += width, out += panels->stride) {
            const int64_t left = panels->count - i;
            const float *data = f->data + (panels->k_first + p) * f->stride + panels->first + i;
            // Reading on into the matrix's next rows is fine where they are there.
            const bool room = left >= width && panels->first + i + reach <= f->rows;
            const int64_t wide = !room ? 0 : p + band < k || width == reach ? band : band - 1;
            copy_wide(out, width, data, f->stride, wide);
            copy_exact(out + wide * width, width, data + wide * f->stride, f->stride, left,
                       band - wide);
        }
    }
}
