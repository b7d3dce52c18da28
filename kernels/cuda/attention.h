// attention.h - what attention's forward and backward share: heads in memory, their tiles, and
// which keys a query sees.

#ifndef PAWL_CUDA_ATTENTION_H
#define PAWL_CUDA_ATTENTION_H

#include "kernels/cuda/mma.h"

namespace {

// A kernel's copy of struct pawl_attention, in what it reckons with.
struct attention_shape {
    int time, heads, kv_heads, dim;
    bool causal;
    bool whole;                 // 16 bytes at once
    bool pairs;                 // two elements at once
    int64_t qkv_row, out_row;   // elements of a position
    float scale, scale_2;       // 1 / sqrt(dim), and times log2(e): weights are powers of two
};

enum { ATTENTION_DIM_MOST = 256 };

// Whether the kernels have room for such heads; where not, it is the stream's fault.
static inline bool attention_fits(struct pawl_stream *s, const struct pawl_attention *p)
{
    if (p->dim <= ATTENTION_DIM_MOST) return true;
    if (!s->fault) {
        s->reason = "attention heads of more than 256 dimensions";
        s->fault = 1;  // cudaErrorInvalidValue
    }
    return false;
}

static constexpr float log2_e = 1.44269504f, ln_2 = 0.693147181f;

static inline attention_shape attention_shape_of(const struct pawl_attention *p, uintptr_t memory)
{
    attention_shape a = {};

    a.time = (int)p->time;
    a.heads = (int)p->heads;
    a.kv_heads = (int)p->kv_heads;
    a.dim = (int)p->dim;
    a.causal = p->causal;
    a.whole = a.dim % TILE_CHUNK == 0 && memory % 16 == 0;
    a.pairs = a.dim % 2 == 0 && memory % (2 * sizeof(value)) == 0;
    a.qkv_row = (p->heads + 2 * p->kv_heads) * p->dim;
    a.out_row = p->heads * p->dim;
    a.scale = 1.0f / sqrtf((float)a.dim);
    a.scale_2 = a.scale * log2_e;
    return a;
}

// A head's numbers at position 0 of an item: element d of position t lies at + t * row + d.
struct strip {
    const value *at;
    int64_t row;
};

static __device__ inline strip query_strip(const attention_shape &a, const value *qkv, int item,
                                           int head)
{
    return { qkv + (int64_t)item * a.time * a.qkv_row + (int64_t)head * a.dim, a.qkv_row };
}

static __device__ inline strip key_strip(const attention_shape &a, const value *qkv, int item,
                                         int kv)
{
    return query_strip(a, qkv, item, a.heads + kv);
}

static __device__ inline strip value_strip(const attention_shape &a, const value *qkv, int item,
                                           int kv)
{
    return query_strip(a, qkv, item, a.heads + a.kv_heads + kv);
}

static __device__ inline strip out_strip(const attention_shape &a, const value *out, int item,
                                         int head)
{
    return { out + (int64_t)item * a.time * a.out_row + (int64_t)head * a.dim, a.out_row };
}

// Positions first.. of a strip into a tile of ROWS lines of DIM + TILE_PAD; zeros where there is no
// such position or dimension.
template <int ROWS, int DIM, int THREADS>
static __device__ inline void copy_rows(value *tile, const strip &from, int first,
                                        const attention_shape &a)
{
    constexpr int in_line = DIM / TILE_CHUNK, line = DIM + TILE_PAD;

    ROLL
    for (int chunk = (int)threadIdx.x; chunk < ROWS * in_line; chunk += THREADS) {
        const int r = chunk / in_line, d = chunk % in_line * TILE_CHUNK, t = first + r;
        const bool there = t < a.time && d < a.dim;
        const value *source = from.at + (there ? t * from.row + d : 0);
        value *to = tile + r * line + d;
        if (a.whole) {
            copy_16(to, source, there);
        } else {
            for (int e = 0; e < TILE_CHUNK; e++)
                to[e] = there && d + e < a.dim ? source[e] : put(0.0f);
        }
    }
}

struct alignas(2 * sizeof(value)) two_values {
    value x[2];
};

// A warp's sums, times factor[..], to positions first.. of a strip.
template <int MI, int NJ>
static __device__ inline void write_rows(value *at, int64_t row, int first,
                                         const float (&sum)[MI][NJ][4],
                                         const float (&factor)[MI][2], const attention_shape &a)
{
    const int lane = (int)threadIdx.x % 32;

    UNROLL
    for (int i = 0; i < MI * 2; i++) {
        const int t = first + i * 8 + lane / 4;
        if (t >= a.time) continue;
        value *to = at + t * row;
        UNROLL
        for (int j = 0; j < NJ; j++) {
            const int d = j * 8 + lane % 4 * 2;
            const float *x = &sum[i / 2][j][i % 2 * 2], by = factor[i / 2][i % 2];
            if (a.pairs) {
                if (d < a.dim) *(two_values *)(to + d) = { { put(x[0] * by), put(x[1] * by) } };
            } else {
                if (d < a.dim) to[d] = put(x[0] * by);
                if (d + 1 < a.dim) to[d + 1] = put(x[1] * by);
            }
        }
    }
}

}  // namespace

#endif
