// columns.h - sums down the columns of (batch, rows, cols), each sample's own, in a fixed order;
// and what batch norm and group norm make of them.
//
// A sample's columns lie in groups of `width`; what belongs to a group (mean, rstd) is (batch,
// cols / width). Batch norm is one sample with groups of one column.
//
// Slabs: a call takes the columns first .. first + n, batch * n <= COLUMNS_MOST unless one group
// alone has more, so that all that lies in scratch has its place:
//
//     total (batch, 2, n) | means (batch, 2, n / width) | partial sums of the row blocks
//
// Values of all kernels: fp32. Two runs give the same bits; so does any GPU.

#ifndef PAWL_CUDA_COLUMNS_H
#define PAWL_CUDA_COLUMNS_H

#include "kernels/cuda/lanes.h"

enum { COLUMNS_MOST = 1 << 20 };

struct columns {
    const value *x, *grad;         // (batch, rows, cols); grad: backward
    const value *weight, *bias;    // (cols) or NULL
    const float *mean, *rstd;      // (batch, cols / width)
    int64_t batch, rows, cols, width, first, n;
};

enum columns_term {
    COLUMNS_SUM,     // total (batch, n): of x
    COLUMNS_SPREAD,  // of x: the mean, and the sum of squares around it
    COLUMNS_GRADS,   // the sums of grad, and of grad * xhat
};

// Where totals go besides scratch, all or none: (n) each, of one sample.
struct columns_ends {
    float *sum, *second;  // each or NULL
    bool add;
};

// Of n, the piece of `most` that begins at start.
static inline int64_t columns_some(int64_t n, int64_t most, int64_t start)
{
    return n - start < most ? n - start : most;
}

// Where a call's totals, its means, and its partial sums lie.
static inline float *columns_total(struct pawl_stream *s)
{
    return (float *)pawl_cuda_scratch(s);
}

static inline float *columns_means(struct pawl_stream *s, const struct columns *c)
{
    return columns_total(s) + c->batch * 2 * c->n;
}

static inline float *columns_partial(struct pawl_stream *s, const struct columns *c)
{
    return columns_total(s) + c->batch * 4 * c->n;
}

extern "C" {

void CUDA(columns)(struct pawl_stream *s, const struct columns *c, enum columns_term term,
                   const struct columns_ends *ends_or_null);

// out = (x - mean) * rstd * weight + bias
void CUDA(columns_apply)(struct pawl_stream *s, value *out, const struct columns *c);

// From the totals of COLUMNS_GRADS, which it takes the means of groups from: out = the gradient
// of x, or that added.
void CUDA(columns_apply_back)(struct pawl_stream *s, value *out, const struct columns *c, bool add);
}

// How a block's threads lie over the packs of a row, `across` of them side by side, and over rows;
// and how many blocks share the rows of a sample.
enum { TILE_THREADS = 256 };

struct tiles {
    int across;
    int64_t packs, tiles, blocks, block_rows;
};

struct tile {
    int64_t sample, block, pack, row, end;  // row: this thread's first; end: of the block
    int down;                               // to its next row
};

static inline struct tiles tiles_for(const struct columns *c, int w, int64_t blocks_most)
{
    enum { ENOUGH = 1056, ROWS_EACH = 8 };  // 8 blocks for each of an H200's processors
    struct tiles t = { 1, c->n / w, 0, 0, 0 };

    while (t.across < 32 && t.across < t.packs)
        t.across *= 2;
    t.tiles = (t.packs + t.across - 1) / t.across;
    const int64_t least = (int64_t)TILE_THREADS / t.across * ROWS_EACH;
    t.blocks = (ENOUGH + c->batch * t.tiles - 1) / (c->batch * t.tiles);
    if (t.blocks > (c->rows + least - 1) / least) t.blocks = (c->rows + least - 1) / least;
    if (t.blocks > blocks_most) t.blocks = blocks_most;
    if (t.blocks < 1) t.blocks = 1;
    t.block_rows = (c->rows + t.blocks - 1) / t.blocks;
    if (t.block_rows < 1) t.block_rows = 1;
    t.blocks = (c->rows + t.block_rows - 1) / t.block_rows;
    if (t.blocks < 1) t.blocks = 1;
    return t;
}

static inline int64_t tiles_total(const struct columns *c, const struct tiles *t)
{
    return c->batch * t->blocks * t->tiles;
}

static __device__ inline struct tile tile_of(const struct columns &c, const struct tiles &t,
                                             int64_t block)
{
    const int64_t rest = block / t.tiles;
    struct tile at;

    at.sample = rest / t.blocks;
    at.block = rest % t.blocks;
    at.pack = block % t.tiles * t.across + threadIdx.x % t.across;
    at.row = at.block * t.block_rows + threadIdx.x / t.across;
    at.end = (at.block + 1) * t.block_rows;
    if (at.end > c.rows) at.end = c.rows;
    at.down = (int)blockDim.x / t.across;
    return at;
}

// The group of each of W neighbouring columns: where its mean lies.
template <int W>
static __device__ inline struct lanes<W> load_groups(const float *of, const struct columns &c,
                                                     int64_t sample, int64_t column)
{
    const int64_t groups = c.cols / c.width;
    struct lanes<W> x;

    UNROLL
    for (int l = 0; l < W; l++)
        x.at[l] = of[sample * groups + (c.first + column + l) / c.width];
    return x;
}

#endif
