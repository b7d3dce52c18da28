// gemm.h - out (m, n) = a (m, k) b (k, n), the product behind every matrix-shaped operation.
//
// A factor is described, not stored: a function copies any part of it into panels, so that plain
// rows, transposed rows and the patches of a convolution all meet the same inner loop.
//
//     a, packed       b, packed         one tile of out: TILE_ROWS x TILE_COLS sums in registers,
//     |k->            |k->              carried over one chunk of k, then over chunks in order,
//     TILE_ROWS wide  TILE_COLS wide    then finished (bias, activation, ...) while it is hot
//
// The chunks of k, and the parts that long sums of few elements are cut into, depend on (m, n, k)
// alone. So the order of each sum, and with it every bit, is the same for any number of threads;
// how m and n are cut is free to follow the threads.
//
// Memory: the thread scratch holds packed a and unfinished tiles, the shared scratch holds packed
// b or the parts' sums. Nothing else.

#ifndef PAWL_HOST_GEMM_H
#define PAWL_HOST_GEMM_H

#include "kernels/host/host.h"
#include "kernels/host/value.h"

// A rectangle of a factor, copied into panels of width rows each:
// out[(i / width) * stride + p * width + i % width] = element (first + i, k_first + p), and 0 for
// the rows that the last panel lacks. Where width is no multiple of 8, up to GEMM_SLACK elements
// behind each panel may be spoilt; panels are filled in ascending order.
struct gemm_panels {
    float *out;
    int64_t width, stride;
    int64_t first, count;
    int64_t k_first, k_count;
};

enum { GEMM_SLACK = 16 };

struct gemm_patches;  // patches.h

// Either factor, seen as rows of k elements: a as (m, k), b as (n, k).
struct gemm_factor {
    void (*pack)(const struct gemm_factor *factor, const struct gemm_panels *panels);
    const value *data;
    int64_t stride;                      // elements between rows (along) or between k's (across)
    int64_t rows;                        // m or n
    const struct gemm_patches *patches;  // of a convolution
};

// element (i, p) = data[i * stride + p]: k lies along the rows.
void HOST(pack_along)(const struct gemm_factor *factor, const struct gemm_panels *panels);
// element (i, p) = data[p * stride + i]: k lies across them.
void HOST(pack_across)(const struct gemm_factor *factor, const struct gemm_panels *panels);

// What becomes of a sum, in the order of the members:
//     v = sum + bias; pre = v; v = activation(v) + residual      where saved is NULL
//     v = sum * activation'(saved)                               where it is not
//     out = add ? out + v : v
struct gemm_finish {
    value *out;
    float *grad;         // a parameter's gradient, in out's stead; then only add counts
    int64_t stride;      // elements between rows of out, pre, residual and saved alike
    const value *bias;   // (n), or NULL, as the next three
    value *pre;
    const value *residual, *saved;
    enum pawl_activation activation;
    bool add;
    // Where row i starts, for outputs that are not evenly spaced; NULL: i * stride.
    int64_t (*row)(const struct gemm_patches *patches, int64_t i);
    const struct gemm_patches *patches;
};

struct gemm {
    int64_t m, n, k;
    struct gemm_factor a, b;
    struct gemm_finish finish;
    float *row_sum;  // (m), or NULL: sums of a over k; added to where finish.add
};

void HOST(gemm)(struct pawl_stream *s, const struct gemm *g);

// Finishes one tile: rows x cols elements at tile, stride elements apart (a multiple of LANES),
// whose rows start at finish->out + offset[i] + col.
void HOST(finish)(const struct gemm_finish *finish, const float *tile, int64_t stride,
                  const int64_t *offset, int64_t col, int64_t rows, int64_t cols);

// Fetches what finishing a tile will touch, so that it arrives while the tile is multiplied.
// Inlined by force: gcc takes a function that only fetches for one without effect and drops it.
static inline __attribute__((always_inline)) void
gemm_fetch_rows(const void *from, size_t element, const int64_t *offset, int64_t rows,
                int64_t cols)
{
    const int64_t line = (int64_t)(64 / element);

    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols + line; j += line)
            __builtin_prefetch((const char *)from
                               + (offset[i] + (j < cols ? j : cols - 1)) * (int64_t)element);
}
static inline __attribute__((always_inline)) void
gemm_fetch(const struct gemm_finish *f, const int64_t *offset, int64_t col, int64_t rows,
           int64_t cols)
{
    if (f->grad) {
        gemm_fetch_rows(f->grad + col, sizeof(float), offset, rows, cols);
        return;
    }
    gemm_fetch_rows(f->out + col, sizeof(value), offset, rows, cols);
    if (f->pre) gemm_fetch_rows(f->pre + col, sizeof(value), offset, rows, cols);
    if (f->residual) gemm_fetch_rows(f->residual + col, sizeof(value), offset, rows, cols);
    if (f->saved) gemm_fetch_rows(f->saved + col, sizeof(value), offset, rows, cols);
}

#endif
