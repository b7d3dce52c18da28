// product.h - small products of matrices that lie in the caches: what attention is made of.
//
//     out (rows <= 6, n) = keep (rows) * out + a (rows, k) b (k, n)
//
// b is walked a vector at a time and is padded to whole vectors; each element of a is spread over
// a vector. Six rows by two vectors (four where there are 32 registers) stay in registers.

#ifndef PAWL_HOST_PRODUCT_H
#define PAWL_HOST_PRODUCT_H

#include <stdbool.h>

#include "kernels/host/value.h"

enum { PRODUCT_ROWS = 6, PRODUCT_VECS = LANES == 16 ? 4 : 2 };

#define PRODUCT_INLINE static inline __attribute__((always_inline))

struct product {
    float *out;
    int64_t out_row;     // elements from row to row
    const float *keep;   // one factor per row, or NULL: out is overwritten
    const float *a;
    int64_t a_row, a_k;  // elements from row to row, and along k: one of them is 1
    const float *b;
    int64_t b_row;
    int64_t rows, n, k;
};

// A row of a panel at the last rows or columns of out.
static void product_store_some(const struct product *t, const vec sum[], int64_t row, int64_t col,
                            int vecs)
{
    float *out = t->out + row * t->out_row + col;

    for (int j = 0; j < vecs; j++, out += LANES) {
        const int64_t left = t->n - col - j * LANES, n = left < LANES ? left : LANES;
        vec x = sum[j];
        if (t->keep) x += vec_load_some(out, n) * t->keep[row];
        vec_store_some(out, x, n);
    }
}

// One panel: `vecs` vectors of columns from col on. Rows beyond the last repeat it, unstored.
PRODUCT_INLINE void product_panel(const struct product *t, int64_t col, const int vecs,
                                  const bool along)
{
    vec sum[PRODUCT_ROWS][PRODUCT_VECS] = { 0 };
    const float *a[PRODUCT_ROWS], *b = t->b + col;
    const int64_t step = along ? 1 : t->a_k, b_row = t->b_row;

    for (int i = 0; i < PRODUCT_ROWS; i++)
        a[i] = along ? t->a + (i < t->rows ? i : t->rows - 1) * t->a_row : t->a + i;
    for (int64_t k = 0; k < t->k; k++, b += b_row) {
        vec x[PRODUCT_VECS];
        for (int j = 0; j < vecs; j++)
            x[j] = vec_load(b + j * LANES);
        for (int i = 0; i < PRODUCT_ROWS; i++) {
            const vec y = vec_set(a[i][k * step]);
            for (int j = 0; j < vecs; j++)
                sum[i][j] += x[j] * y;
        }
    }
    if (t->rows == PRODUCT_ROWS && col + vecs * LANES <= t->n) {
        float *out = t->out + col;
#pragma GCC unroll 6
        for (int i = 0; i < PRODUCT_ROWS; i++, out += t->out_row)
            for (int j = 0; j < vecs; j++) {
                if (t->keep) sum[i][j] += vec_load(out + j * LANES) * t->keep[i];
                vec_store(out + j * LANES, sum[i][j]);
            }
        return;
    }
    vec spill[PRODUCT_ROWS][PRODUCT_VECS];  // sum itself must not need an address
#pragma GCC unroll 6
    for (int i = 0; i < PRODUCT_ROWS; i++)
        for (int j = 0; j < vecs; j++)
            spill[i][j] = sum[i][j];
    for (int i = 0; i < t->rows; i++)
        product_store_some(t, spill[i], i, col, vecs);
}

PRODUCT_INLINE void product_panels(const struct product *t, const bool along)
{
    int64_t col = 0;

    for (; col + PRODUCT_VECS * LANES <= t->n; col += PRODUCT_VECS * LANES)
        product_panel(t, col, PRODUCT_VECS, along);
    switch ((t->n - col + LANES - 1) / LANES) {
    case 4:
        product_panel(t, col, PRODUCT_VECS, along);
        break;
    case 3:
        product_panel(t, col, LANES == 16 ? 3 : PRODUCT_VECS, along);
        break;
    case 2:
        product_panel(t, col, 2, along);
        break;
    case 1:
        product_panel(t, col, 1, along);
        break;
    }
}

// a's rows lie in memory as rows: a_k is 1.
__attribute__((unused)) static void product_rows(const struct product *t)
{
    product_panels(t, true);
}
// a's columns do (a_row is 1), and six of them may be read.
__attribute__((unused)) static void product_columns(const struct product *t)
{
    product_panels(t, false);
}

#endif
