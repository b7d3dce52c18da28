// embed_back.cu - the gradients of embed.cu: rows are sorted by token, stably, and each token's are
// added up in that order, however many they are.
//
// The sort goes by 8 bits of the token at a time. A tile of 2048 tokens counts its digits; a scan
// of (digit, tile) says where each tile's go; the tile then puts them there. The sorted rows are
// cut into pieces. A token's run that lies in one piece is added to the table by its block. Of one
// that crosses borders each block leaves its part, the tail of the piece where the run begins and
// the heads of those that follow, and a last kernel adds those up in order.
//
//     piece      |  a a b c c  |  c c c c c  |  c d d e e  |
//                 table a, b    head           head, table d, e
//                       tail c

#include "kernels/cuda/lanes.h"

enum {
    THREADS = 256, WARPS = THREADS / 32, ROUNDS = 8, TILE = THREADS * ROUNDS, DIGITS = 256,
    ROWS_MOST = 1 << 20,  // at once; what scratch holds of them are 4 arrays
    PIECE_LEAST = 16, PIECES_MOST = 2048, PARTIAL_FLOATS = 8 << 20,
};

// One pass of the sort: pairs of token and row. rows in NULL: row i is the i-th.
struct pass {
    const int32_t *token, *row;
    int32_t *to_token, *to_row, *count;  // count (DIGITS, tiles)
    int64_t n, tiles;
    int shift;
};

static __device__ inline int digit_of(const struct pass &p, int64_t i)
{
    return i < p.n ? p.token[i] >> p.shift & (DIGITS - 1) : -1;
}

// The lanes of a warp that have this lane's digit; none for -1.
static __device__ inline unsigned peers_of(int digit)
{
    unsigned peers = __ballot_sync(0xffffffffu, digit >= 0);

    for (int bit = 0; bit < 8; bit++) {
        const unsigned set = __ballot_sync(0xffffffffu, digit >= 0 && (digit >> bit & 1));
        peers &= digit >> bit & 1 ? set : ~set;
    }
    return digit >= 0 ? peers : 0;
}

static __device__ inline int lanes_before(unsigned peers, int lane)
{
    return __popc(peers & ((1u << lane) - 1));
}

// A warp has a stretch of ROUNDS * 32 of its tile: this lane's element in a round.
static __device__ inline int64_t element_of(int64_t tile, int round)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;

    return tile * TILE + (warp * ROUNDS + round) * 32 + lane;
}

// How many of each digit each warp's stretch has: counts (WARPS, DIGITS).
static __device__ inline void count_tile(const struct pass &p, int64_t tile, int32_t *counts)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;

    __syncthreads();
    for (int w = 0; w < WARPS; w++)
        counts[w * DIGITS + threadIdx.x] = 0;
    __syncthreads();
    for (int round = 0; round < ROUNDS; round++) {
        const int digit = digit_of(p, element_of(tile, round));
        const unsigned peers = peers_of(digit);
        if (peers && lanes_before(peers, lane) == 0)
            counts[warp * DIGITS + digit] += __popc(peers);
        __syncthreads();  // another lane may be the first of that digit in the next round
    }
}

static __global__ void __launch_bounds__(THREADS) count_digits(const struct pass p)
{
    SHARED(int32_t, counts);
    const int digit = (int)threadIdx.x;

    for (int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        int32_t sum = 0;
        count_tile(p, tile, counts);
        for (int w = 0; w < WARPS; w++)
            sum += counts[w * DIGITS + digit];
        p.count[digit * p.tiles + tile] = sum;
    }
}

// One block: each count becomes the sum of those before it.
static __global__ void __launch_bounds__(THREADS) scan_counts(int32_t *count, int64_t n)
{
    SHARED(int32_t, sums);  // (THREADS)
    const int64_t each = (n + THREADS - 1) / THREADS, start = threadIdx.x * each;
    const int64_t end = start + each < n ? start + each : n;
    int32_t sum = 0;

    for (int64_t i = start; i < end; i++)
        sum += count[i];
    sums[threadIdx.x] = sum;
    for (int apart = 1; apart < THREADS; apart *= 2) {
        __syncthreads();
        const int32_t other = (int)threadIdx.x >= apart ? sums[threadIdx.x - apart] : 0;
        __syncthreads();
        sums[threadIdx.x] += other;
    }
    int32_t before = sums[threadIdx.x] - sum;
    for (int64_t i = start; i < end; i++) {
        const int32_t own = count[i];
        count[i] = before;
        before += own;
    }
}

static __global__ void __launch_bounds__(THREADS) place_digits(const struct pass p)
{
    SHARED(int32_t, counts);
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;

    for (int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        count_tile(p, tile, counts);
        int32_t before = p.count[threadIdx.x * p.tiles + tile];
        for (int w = 0; w < WARPS; w++) {  // from counts to places: a thread per digit
            const int32_t own = counts[w * DIGITS + threadIdx.x];
            counts[w * DIGITS + threadIdx.x] = before;
            before += own;
        }
        __syncthreads();
        for (int round = 0; round < ROUNDS; round++) {
            const int64_t i = element_of(tile, round);
            const int digit = digit_of(p, i);
            const unsigned peers = peers_of(digit);
            const int ahead = lanes_before(peers, lane);
            const int32_t place = peers ? counts[warp * DIGITS + digit] + ahead : 0;
            __syncthreads();
            if (peers && ahead == 0) counts[warp * DIGITS + digit] += __popc(peers);
            __syncthreads();
            if (!peers) continue;
            p.to_token[place] = p.token[i];
            p.to_row[place] = p.row ? p.row[i] : (int32_t)i;
        }
    }
}

struct sums {
    float *table, *partial;  // partial (pieces, 2, cols): head, tail
    const value *out_grad;
    const int32_t *token, *row;  // sorted
    int64_t n, cols, piece, pieces;
    bool add;
};

template <int W>
static __device__ inline void add_to(float *to, const struct lanes<W> &sum, bool add)
{
    struct lanes<W> out = sum;

    if (add) {
        const struct lanes<W> before = load_floats<W>(to);
        UNROLL
        for (int l = 0; l < W; l++)
            out.at[l] = before.at[l] + sum.at[l];
    }
    store_floats<W>(to, out);
}

// The run of piece k that ends before `end` and began at `start`, to where it belongs.
template <int W>
static __device__ inline void keep_run(const struct sums &a, int64_t k, int64_t start, int64_t end,
                                       int64_t column, const struct lanes<W> &sum)
{
    const int32_t token = a.token[start];
    const bool first = start == k * a.piece, last = end == (k + 1) * a.piece;
    float *partial = a.partial + k * 2 * a.cols + column;

    if (first && k && a.token[start - 1] == token)
        store_floats<W>(partial, sum);
    else if (last && end < a.n && a.token[end] == token)
        store_floats<W>(partial + a.cols, sum);
    else
        add_to<W>(a.table + token * a.cols + column, sum, a.add);
}

// A thread has some columns of a piece, a block one piece's columns, or 256 packs of them.
template <int W> static __global__ void __launch_bounds__(THREADS) sum_pieces(const struct sums a)
{
    enum { AHEAD = 4 };
    const int64_t packs = a.cols / W, parts = (packs + blockDim.x - 1) / blockDim.x;

    for (int64_t b = blockIdx.x; b < a.pieces * parts; b += gridDim.x) {
        const int64_t k = b / parts, column = (b % parts * blockDim.x + threadIdx.x) * W;
        const int64_t begin = k * a.piece;
        const int64_t end = begin + a.piece < a.n ? begin + a.piece : a.n;
        struct lanes<W> sum = {};
        int64_t start = begin;
        if (column >= a.cols) continue;
        for (int64_t i = begin; i < end; i += AHEAD) {
            struct raw<W> in[AHEAD];
            UNROLL
            for (int j = 0; j < AHEAD; j++)
                if (i + j < end)
                    in[j] = load_raw<W>(a.out_grad + a.row[i + j] * a.cols + column);
            UNROLL
            for (int j = 0; j < AHEAD; j++) {
                if (i + j >= end) break;
                const struct lanes<W> x = widen<W>(in[j]);
                if (a.token[i + j] != a.token[start]) {
                    keep_run<W>(a, k, start, i + j, column, sum);
                    sum = lanes<W>{};
                    start = i + j;
                }
                UNROLL
                for (int l = 0; l < W; l++)
                    sum.at[l] += x.at[l];
            }
        }
        keep_run<W>(a, k, start, end, column, sum);
    }
}

// Where a run begins that goes on: its tail, and the heads of the pieces that it reaches.
template <int W> static __global__ void __launch_bounds__(THREADS) join_pieces(const struct sums a)
{
    const int64_t packs = a.cols / W, parts = (packs + blockDim.x - 1) / blockDim.x;

    for (int64_t b = blockIdx.x; b < (a.pieces - 1) * parts; b += gridDim.x) {
        const int64_t k = b / parts, column = (b % parts * blockDim.x + threadIdx.x) * W;
        const int64_t begin = k * a.piece, border = begin + a.piece;
        const int32_t token = a.token[border];
        const bool goes_on = a.token[border - 1] == token;
        const bool begins = a.token[begin] != token || k == 0 || a.token[begin - 1] != token;
        if (!goes_on || !begins || column >= a.cols) continue;
        struct lanes<W> sum = load_floats<W>(a.partial + (k * 2 + 1) * a.cols + column);
        UNROLL_4
        for (int64_t p = k + 1; p < a.pieces && a.token[p * a.piece] == token; p++) {
            const struct lanes<W> head = load_floats<W>(a.partial + p * 2 * a.cols + column);
            UNROLL
            for (int l = 0; l < W; l++)
                sum.at[l] += head.at[l];
        }
        add_to<W>(a.table + token * a.cols + column, sum, a.add);
    }
}

// Rows of one position are span apart.
struct positions {
    float *grad;
    const value *out_grad;
    int64_t rows, cols, span;
    bool add;
};

template <int W> static __global__ void sum_positions(const struct positions a)
{
    EACH(i, a.span * a.cols / W) {
        struct lanes<W> sum = {};
        UNROLL_4
        for (int64_t at = i * W; at < a.rows * a.cols; at += a.span * a.cols) {
            const struct lanes<W> x = load<W>(a.out_grad + at);
            UNROLL
            for (int l = 0; l < W; l++)
                sum.at[l] += x.at[l];
        }
        add_to<W>(a.grad + i * W, sum, a.add);
    }
}

template <int W> static __global__ void zero(float *out, int64_t packs)
{
    EACH(i, packs) store_floats<W>(out + i * W, lanes<W>{});
}

// The tokens of n rows, sorted, and their rows: in scratch, two pairs of arrays in turn.
static void sort(struct pawl_stream *s, struct sums *a, const int32_t *token, int64_t vocab)
{
    int32_t *room = (int32_t *)pawl_cuda_scratch(s);
    const size_t bytes = WARPS * DIGITS * sizeof(int32_t);
    struct pass p = { token, NULL, room, room + ROWS_MOST, room + 4 * ROWS_MOST, a->n,
                      (a->n + TILE - 1) / TILE, 0 };

    do {
        LAUNCH(count_digits, blocks_for(p.tiles, 1), THREADS, bytes, s, p);
        LAUNCH(scan_counts, 1, THREADS, THREADS * sizeof(int32_t), s, p.count, DIGITS * p.tiles);
        LAUNCH(place_digits, blocks_for(p.tiles, 1), THREADS, bytes, s, p);
        p.token = p.to_token;
        p.row = p.to_row;
        p.to_token = p.token == room ? room + 2 * ROWS_MOST : room;
        p.to_row = p.to_token + ROWS_MOST;
        p.shift += 8;
    } while (p.shift < 32 && (vocab - 1) >> p.shift);
    a->token = p.token;
    a->row = p.row;
    a->partial = (float *)(room + 4 * ROWS_MOST + DIGITS * (ROWS_MOST / TILE));
}

static void sum_rows(struct pawl_stream *s, struct sums *a, bool fits)
{
    const int64_t packs = a->cols / (fits ? WIDE : 1), room = PARTIAL_FLOATS / 2 / a->cols;
    int64_t pieces = PIECES_MOST;
    const int block = packs < THREADS ? (int)((packs + 31) / 32 * 32) : THREADS;
    const int64_t parts = (packs + block - 1) / block;

    if (pieces > room) pieces = room < 1 ? 1 : room;
    a->piece = (a->n + pieces - 1) / pieces;
    if (a->piece < PIECE_LEAST) a->piece = PIECE_LEAST;
    a->pieces = (a->n + a->piece - 1) / a->piece;
    LAUNCH_LANES(fits, sum_pieces, blocks_for(a->pieces * parts, 1), block, 0, s, *a);
    if (a->pieces > 1)
        LAUNCH_LANES(fits, join_pieces, blocks_for((a->pieces - 1) * parts, 1), block, 0, s, *a);
}

void CUDA(embed_back)(struct pawl_stream *s, float *table_grad, float *position_grad_or_null,
                      const pawl_value *out_grad, const int32_t *token, int64_t rows, int64_t cols,
                      int64_t vocab, int64_t span, bool add_table, bool add_position)
{
    const value *grad = (const value *)out_grad;
    const bool fits = wide(cols, table_grad, grad, position_grad_or_null);
    const int64_t floats = vocab * cols, packs = floats / (fits ? WIDE : 1);

    if (!add_table) LAUNCH_LANES(fits, zero, blocks_for(packs, 256), 256, 0, s, table_grad, packs);
    for (int64_t first = 0; first < rows; first += ROWS_MOST) {
        struct sums a = {};
        a.table = table_grad;
        a.out_grad = grad + first * cols;
        a.n = rows - first < ROWS_MOST ? rows - first : (int64_t)ROWS_MOST;
        a.cols = cols;
        a.add = add_table || first;
        sort(s, &a, token + first, vocab);
        sum_rows(s, &a, fits);
    }
    const struct positions p = { position_grad_or_null, grad, rows, cols, span, add_position };
    if (position_grad_or_null)
        LAUNCH_LANES(fits, sum_positions, blocks_for(span * cols / (fits ? WIDE : 1), 256), 256, 0,
                     s, p);
}
