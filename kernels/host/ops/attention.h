// attention.h - where the heads lie in qkv, and how they are copied into the caches for product.h.

#ifndef PAWL_HOST_ATTENTION_H
#define PAWL_HOST_ATTENTION_H

#include <math.h>

#include "kernels/host/host.h"
#include "kernels/host/ops/math.h"
#include "kernels/host/ops/product.h"
#include "kernels/host/value.h"

static inline int64_t pad(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static inline int64_t pad_lanes(int64_t n) { return pad(n, LANES); }
static inline int64_t pad_rows(int64_t n) { return pad(n, PRODUCT_ROWS); }

// Elements from one position to the next in qkv and in out.
static inline int64_t qkv_row(const struct pawl_attention *a)
{
    return (a->heads + 2 * a->kv_heads) * a->dim;
}
static inline int64_t out_row(const struct pawl_attention *a) { return a->heads * a->dim; }

// Offsets in a row of qkv.
static inline int64_t query_at(const struct pawl_attention *a, int64_t head)
{
    return head * a->dim;
}
static inline int64_t key_at(const struct pawl_attention *a, int64_t kv)
{
    return (a->heads + kv) * a->dim;
}
static inline int64_t value_at(const struct pawl_attention *a, int64_t kv)
{
    return (a->heads + a->kv_heads + kv) * a->dim;
}

static inline int64_t max_0(int64_t n) { return n > 0 ? n : 0; }

// How many keys of the tile that starts at key 0 position t may see; can be below 1.
static inline int64_t keys_seen(const struct pawl_attention *a, int64_t t, int64_t key,
                                int64_t keys)
{
    return a->causal && t - key + 1 < keys ? t - key + 1 : keys;
}

// Heads lie apart, a few cache lines in each row, which no prefetcher of the processor follows:
// whoever walks over rows asks for those that come PREFETCH_ROWS later.
enum { PREFETCH_ROWS = 12 };

static inline void prefetch_row(const value *row, int64_t n)
{
    for (int64_t i = 0; i < n; i += LINE_OF(row))
        __builtin_prefetch(row + i);
}

// to (rows, padded) = scale * from (rows, n), zeros behind each row.
static inline void pack_rows(float *to, int64_t padded, const value *from, int64_t from_row,
                             int64_t rows, int64_t n, float scale)
{
    for (int64_t r = 0; r < rows; r++, to += padded, from += from_row) {
        int64_t i = 0;
        prefetch_row(from + PREFETCH_ROWS * from_row, n);
        for (; i + LANES <= n; i += LANES)
            vec_store(to + i, vec_load(from + i) * scale);
        if (i < n) vec_store(to + i, vec_load_some(from + i, n - i) * scale);
    }
}

static inline vec_quarter quarter_load(const value *p)
{
    vec_quarter x = { 0 };

    for (int i = 0; i < 4; i++)
        x[i] = get(p[i]);
    return x;
}

static inline void transpose_quarters(float *to, int64_t to_row, const value *from,
                                      int64_t from_row)
{
    vec_quarter r[4], t[4];

    for (int i = 0; i < 4; i++)
        r[i] = quarter_load(from + i * from_row);
    t[0] = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
    t[1] = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    t[2] = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    t[3] = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(t[0], t[1], 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(t[0], t[1], 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(t[2], t[3], 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(t[2], t[3], 2, 3, 6, 7);
    for (int i = 0; i < 4; i++)
        memcpy(to + i * to_row, &r[i], sizeof(r[i]));
}

// to (n, to_row) = from (rows, n)^T, zeros behind column `rows` up to whole vectors.
static inline void pack_transposed(float *to, int64_t to_row, const value *from, int64_t from_row,
                                   int64_t rows, int64_t n)
{
    int64_t r = 0;

    for (; r + 4 <= rows; r += 4) {
        int64_t i = 0;
        for (int64_t j = r; j < r + 4; j++)
            prefetch_row(from + (j + PREFETCH_ROWS) * from_row, n);
        for (; i + 4 <= n; i += 4)
            transpose_quarters(to + i * to_row + r, to_row, from + r * from_row + i, from_row);
        for (; i < n; i++)
            for (int64_t j = r; j < r + 4; j++)
                to[i * to_row + j] = get(from[j * from_row + i]);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = r; j < pad_lanes(rows); j++)
            to[i * to_row + j] = j < rows ? get(from[j * from_row + i]) : 0;
}

#endif
