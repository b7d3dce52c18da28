// columns.cu - sums down columns. Threads keep sums of their own rows; a block adds up its threads,
// a second kernel the blocks, both in order. Spreads are merged by the rule of Chan, Golub and
// LeVeque (1979): one look at x, and no difference of large sums.

#include "kernels/cuda/columns.h"

enum { WARPS = TILE_THREADS / 32, CHUNK = 4, LINE = 32 };

// n: of how many rows, for the spread.
template <int W> struct sums {
    float n;
    struct lanes<W> a, b;
};

template <int TERM, int W>
static __device__ inline void merge(struct sums<W> &to, float n, const struct lanes<W> &a,
                                    const struct lanes<W> &b)
{
    if (TERM == COLUMNS_SPREAD && n == 0) return;
    const float all = to.n + n, share = n / all, weight = to.n * share;

    UNROLL
    for (int l = 0; l < W; l++) {
        if (TERM == COLUMNS_SPREAD) {
            const float apart = a.at[l] - to.a.at[l];
            to.a.at[l] += apart * share;
            to.b.at[l] += b.at[l] + apart * apart * weight;
        } else {
            to.a.at[l] += a.at[l];
            to.b.at[l] += b.at[l];
        }
    }
    to.n = all;
}

// The next few rows of a thread, at most CHUNK: their mean, and the squares around it.
template <int W>
static __device__ inline void add_spread(struct sums<W> &to, const value *x, int64_t step,
                                         int64_t rows)
{
    const int n = rows < CHUNK ? (int)rows : CHUNK;
    struct lanes<W> v[CHUNK], mean = {}, squares = {};

    UNROLL
    for (int j = 0; j < CHUNK; j++)
        v[j] = j < n ? load<W>(x + j * step) : lanes<W>{};
    UNROLL
    for (int l = 0; l < W; l++) {
        UNROLL
        for (int j = 0; j < CHUNK; j++)
            mean.at[l] += v[j].at[l];
        mean.at[l] *= 1.0f / (float)n;
        UNROLL
        for (int j = 0; j < CHUNK; j++)
            if (j < n)
                squares.at[l] += (v[j].at[l] - mean.at[l]) * (v[j].at[l] - mean.at[l]);
    }
    merge<COLUMNS_SPREAD, W>(to, (float)n, mean, squares);
}

template <int W, int TERM>
static __device__ inline struct sums<W> sum_rows(const struct columns &c, const struct tile &at)
{
    const int64_t column = at.pack * W, start = at.sample * c.rows;
    const int64_t offset = start * c.cols + c.first + column;
    struct sums<W> to = {};

    if (TERM == COLUMNS_SPREAD) {
        for (int64_t r = at.row; r < at.end; r += CHUNK * at.down)
            add_spread<W>(to, c.x + offset + r * c.cols, at.down * c.cols,
                          (at.end - r + at.down - 1) / at.down);
        return to;
    }
    struct lanes<W> mean = {}, rstd = {};
    if (TERM == COLUMNS_GRADS) mean = load_groups<W>(c.mean, c, at.sample, column);
    if (TERM == COLUMNS_GRADS) rstd = load_groups<W>(c.rstd, c, at.sample, column);
    UNROLL_4
    for (int64_t r = at.row; r < at.end; r += at.down) {
        const struct lanes<W> x = load<W>(c.x + offset + r * c.cols);
        struct lanes<W> grad = x;
        if (TERM == COLUMNS_GRADS) grad = load<W>(c.grad + offset + r * c.cols);
        UNROLL
        for (int l = 0; l < W; l++) {
            to.a.at[l] += grad.at[l];
            to.b.at[l] += grad.at[l] * ((x.at[l] - mean.at[l]) * rstd.at[l]);
        }
    }
    return to;
}

// Over the lanes of a warp that have the same columns.
template <int W, int TERM>
static __device__ inline void merge_lanes(struct sums<W> &to, int across)
{
    for (int apart = across; apart < 32; apart *= 2) {
        struct sums<W> other = {};
        other.n = __shfl_xor_sync(0xffffffffu, to.n, apart);
        UNROLL
        for (int l = 0; l < W; l++) {
            other.a.at[l] = __shfl_xor_sync(0xffffffffu, to.a.at[l], apart);
            if (TERM != COLUMNS_SUM)
                other.b.at[l] = __shfl_xor_sync(0xffffffffu, to.b.at[l], apart);
        }
        merge<TERM, W>(to, other.n, other.a, other.b);
    }
}

// What one thread of a line keeps in shared memory: count, and two sums.
struct kept {
    float n, a, b;
};

// The kept ones of one column, `apart` from each other, in order.
template <int TERM>
static __device__ inline struct kept merge_kept(const struct kept *from, int count, int apart)
{
    struct sums<1> to = {};

    for (int i = 0; i < count; i++) {
        const struct kept k = from[i * apart];
        merge<TERM, 1>(to, k.n, lanes<1>{ { k.a } }, lanes<1>{ { k.b } });
    }
    return kept{ to.n, to.a.at[0], to.b.at[0] };
}

template <int W, int TERM>
static __device__ inline void sum_tiles(const struct columns &c, const struct tiles &t,
                                        float *partial)
{
    SHARED(struct kept, room);  // (WARPS, across * W)
    enum { WAYS = TERM == COLUMNS_SUM ? 1 : 2 };
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, line = t.across * W;

    for (int64_t i = blockIdx.x; i < c.batch * t.blocks * t.tiles; i += gridDim.x) {
        const struct tile at = tile_of(c, t, i);
        struct sums<W> sum = {};
        if (at.pack < t.packs) sum = sum_rows<W, TERM>(c, at);
        merge_lanes<W, TERM>(sum, t.across);
        __syncthreads();
        if (lane < t.across)
            for (int l = 0; l < W; l++)
                room[warp * line + lane * W + l] = kept{ sum.n, sum.a.at[l], sum.b.at[l] };
        __syncthreads();
        for (int l = (int)threadIdx.x; l < line; l += (int)blockDim.x) {
            const int64_t column = i % t.tiles * line + l;
            if (column >= c.n) break;
            const struct kept k = merge_kept<TERM>(room + l, WARPS, line);
            float *to = partial + (at.sample * t.blocks + at.block) * WAYS * c.n + column;
            to[0] = k.a;
            if (WAYS == 2) to[c.n] = k.b;
        }
    }
}

#define SUM_KERNEL(name, TERM) \
    template <int W> \
    static __global__ void __launch_bounds__(TILE_THREADS) \
        name(const struct columns c, const struct tiles t, float *partial) \
    { \
        sum_tiles<W, TERM>(c, t, partial); \
    }
SUM_KERNEL(sum_columns, COLUMNS_SUM)
SUM_KERNEL(spread_columns, COLUMNS_SPREAD)
SUM_KERNEL(grad_columns, COLUMNS_GRADS)

// Blocks of 32 columns: 8 threads each share the row blocks.
template <int TERM>
static __global__ void __launch_bounds__(TILE_THREADS)
    finish(const struct columns c, const struct tiles t, float *total, const float *partial,
           const struct columns_ends ends)
{
    SHARED(struct kept, room);  // (WARPS, LINE)
    enum { WAYS = TERM == COLUMNS_SUM ? 1 : 2 };
    const int x = (int)threadIdx.x % LINE, y = (int)threadIdx.x / LINE;
    const int64_t tiles = (c.n + LINE - 1) / LINE;

    for (int64_t i = blockIdx.x; i < c.batch * tiles; i += gridDim.x) {
        const int64_t sample = i / tiles, column = i % tiles * LINE + x;
        struct sums<1> sum = {};
        for (int64_t b = y; b < t.blocks && column < c.n; b += WARPS) {
            const float *from = partial + (sample * t.blocks + b) * WAYS * c.n + column;
            const int64_t rows = c.rows - b * t.block_rows;
            merge<TERM, 1>(sum, (float)(rows < t.block_rows ? rows : t.block_rows),
                           lanes<1>{ { from[0] } }, lanes<1>{ { WAYS == 2 ? from[c.n] : 0 } });
        }
        __syncthreads();
        room[y * LINE + x] = kept{ sum.n, sum.a.at[0], sum.b.at[0] };
        __syncthreads();
        if (y != 0 || column >= c.n) continue;
        const struct kept k = merge_kept<TERM>(room + x, WARPS, LINE);
        float *to = total + sample * WAYS * c.n + column;
        to[0] = k.a;
        if (WAYS == 2) to[c.n] = k.b;
        if (ends.sum) ends.sum[column] = (ends.add ? ends.sum[column] : 0) + k.a;
        if (ends.second) ends.second[column] = (ends.add ? ends.second[column] : 0) + k.b;
    }
}

void CUDA(columns)(struct pawl_stream *s, const struct columns *c, enum columns_term term,
                   const struct columns_ends *ends_or_null)
{
    const struct columns_ends none = { NULL, NULL, false };
    const struct columns_ends ends = ends_or_null ? *ends_or_null : none;
    const bool fits = c->n % WIDE == 0 && wide(c->cols, c->x + c->first,
                                               (c->grad ? c->grad : c->x) + c->first);
    const int64_t floats = PAWL_CUDA_SCRATCH_BYTES / (int64_t)sizeof(float);
    const struct tiles t = tiles_for(c, fits ? WIDE : 1, floats / (c->batch * 2 * c->n) - 2);
    const unsigned grid = blocks_for(tiles_total(c, &t), 1);
    const unsigned last = blocks_for(c->batch * ((c->n + LINE - 1) / LINE), 1);
    const size_t bytes = sizeof(struct kept) * WARPS * (size_t)(t.across * (fits ? WIDE : 1));
    const size_t last_bytes = sizeof(struct kept) * WARPS * LINE;
    float *total = columns_total(s), *partial = columns_partial(s, c);

    switch (term) {
    case COLUMNS_SUM:
        LAUNCH_LANES(fits, sum_columns, grid, TILE_THREADS, bytes, s, *c, t, partial);
        LAUNCH(finish<COLUMNS_SUM>, last, TILE_THREADS, last_bytes, s, *c, t, total, partial, ends);
        break;
    case COLUMNS_SPREAD:
        LAUNCH_LANES(fits, spread_columns, grid, TILE_THREADS, bytes, s, *c, t, partial);
        LAUNCH(finish<COLUMNS_SPREAD>, last, TILE_THREADS, last_bytes, s, *c, t, total, partial,
               ends);
        break;
    case COLUMNS_GRADS:
        LAUNCH_LANES(fits, grad_columns, grid, TILE_THREADS, bytes, s, *c, t, partial);
        LAUNCH(finish<COLUMNS_GRADS>, last, TILE_THREADS, last_bytes, s, *c, t, total, partial,
               ends);
        break;
    }
}

void CUDA(column_sum)(struct pawl_stream *s, float *out, const pawl_value *x, int64_t rows,
                      int64_t cols, bool add)
{
    for (int64_t first = 0; first < cols; first += COLUMNS_MOST) {
        struct columns c = {};
        const struct columns_ends ends = { out + first, NULL, add };
        c.x = (const value *)x;
        c.batch = c.width = 1;
        c.rows = rows;
        c.cols = cols;
        c.first = first;
        c.n = columns_some(cols, COLUMNS_MOST, first);
        CUDA(columns)(s, &c, COLUMNS_SUM, &ends);
    }
}
