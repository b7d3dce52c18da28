// reduce.c - sums over everything. Each block adds pieces short enough for floats in vector lanes
// and carries them in double; the blocks' sums are added in block order.

#include <math.h>

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

enum { BLOCK_FLOATS = 1 << 16, PIECE_FLOATS = 1 << 10 };

struct reduce {
    double *partial;  // one per block, in shared scratch
    const float *x;
    int64_t n, block_floats;
    bool squares;
};

static inline vec term(const float *x, bool squares)
{
    const vec v = vec_load(x);

    return squares ? v * v : v;
}

static double piece_sum(const float *x, int64_t n, bool squares)
{
    vec sum[4] = { 0 };
    double rest = 0;
    int64_t i = 0;

    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int j = 0; j < 4; j++)
            sum[j] += term(x + i + j * LANES, squares);
    for (; i < n; i++)
        rest += squares ? (double)x[i] * (double)x[i] : (double)x[i];
    return (double)vec_sum((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

static void reduce_block(void *arguments, int64_t block, int thread)
{
    const struct reduce *r = arguments;
    const int64_t start = block * r->block_floats;
    const int64_t end = start + host_piece(r->n, r->block_floats, start);
    double sum = 0;

    (void)thread;
    for (int64_t i = start; i < end; i += PIECE_FLOATS)
        sum += piece_sum(r->x + i, host_piece(end, PIECE_FLOATS, i), r->squares);
    r->partial[block] = sum;
}

static double reduce(struct pawl_stream *s, const float *x, int64_t n, bool squares)
{
    struct reduce r = { (double *)(void *)host_of(s)->shared_scratch, x, n, BLOCK_FLOATS,
                        squares };
    double sum = 0;

    while (host_pieces(n, r.block_floats) > HOST_SHARED_BYTES / (int64_t)sizeof(double))
        r.block_floats *= 2;
    const int64_t blocks = host_pieces(n, r.block_floats);
    host_run(s, blocks, reduce_block, &r);
    for (int64_t i = 0; i < blocks; i++)
        sum += r.partial[i];
    return sum;
}

void HOST(sum)(struct pawl_stream *s, float *out, const float *x, int64_t n)
{
    *out = (float)reduce(s, x, n, false);
}

void HOST(norm)(struct pawl_stream *s, float *norm, const float *x, int64_t n, float scale)
{
    *norm = (float)(sqrt(reduce(s, x, n, true)) * (double)scale);
}
