// product.h - tiled products: out (m, n) = finish(a (m, k) b (n, k)^T), whatever a and b are read
// from.
//
// A block has one tile of the output. Tiles of both factors come in by asynchronous copies, STAGES
// at a time, while the warps multiply those that are there:
//
//     steps of DEPTH    | copy 0 | copy 1 | copy 2  | copy 3  |
//                                         | times 0 | times 1 | ...
//     then, warp by warp through shared memory: bias, activation, derivative, residual
//
// A source says where an element lies: source.row(r) and source.step(k), each made once for many,
// then source.at(row, step), NULL where the element is a zero that lies nowhere (padding). It has
//
//     across      the tile's lines are steps of the depth, since rows lie side by side in memory
//     whole       chunks of 16 bytes are wholly inside or outside, and aligned
//     rows, depth, data, group (elements from one group to the next)
//
// Every sum runs over k in the same order, whatever the grid: results do not vary. Where outputs
// are too few for a GPU and k is long (gradients of weights), k is cut into parts, whose sums lie
// in scratch until add_parts adds them in their order. The shape alone decides.

#ifndef PAWL_CUDA_PRODUCT_H
#define PAWL_CUDA_PRODUCT_H

#include "kernels/cuda/finish.h"

namespace {  // types of one element type must not meet the other's at link time

enum { STAGES = 3, DEPTH = 64 / (int)sizeof(value) };

template <int ROWS, int COLS, int DOWN, int BESIDE>  // warps down and beside each other
struct block_shape {
    static constexpr int rows = ROWS, cols = COLS, beside = BESIDE, threads = DOWN * BESIDE * 32;
    static constexpr int mi = ROWS / DOWN / 16, nj = COLS / BESIDE / 8;
};

typedef block_shape<128, 128, 2, 4> large_block;
typedef block_shape<64, 64, 2, 2> small_block;
typedef block_shape<128, 32, 4, 1> narrow_block;

// ---- sources

// A matrix in memory. Lines are rows (along) or steps (across).
template <bool ACROSS>
struct matrix {
    static constexpr bool across = ACROSS;
    typedef int64_t row_place;
    typedef int64_t step_place;

    const value *data;
    int64_t line, group;
    int rows, depth;
    bool whole;

    __device__ int64_t row(int r) const { return ACROSS ? r : r * line; }
    __device__ int64_t step(int k) const { return ACROSS ? k * line : k; }
    __device__ const value *at(int64_t r, int64_t k) const { return data + r + k; }
};

static inline bool chunks_fit(const void *data, int64_t line, int64_t count, int64_t group)
{
    return ((uintptr_t)data | (uintptr_t)(line * (int64_t)sizeof(value))
            | (uintptr_t)(count * (int64_t)sizeof(value))
            | (uintptr_t)(group * (int64_t)sizeof(value))) % 16 == 0;
}

template <bool ACROSS>
static inline matrix<ACROSS> matrix_of(const pawl_value *data, int64_t line, int64_t group,
                                       int64_t rows, int64_t depth)
{
    matrix<ACROSS> m;

    m.data = (const value *)data;
    m.line = line;
    m.group = group;
    m.rows = (int)rows;
    m.depth = (int)depth;
    m.whole = chunks_fit(data, line, ACROSS ? rows : depth, group);
    return m;
}

// One thread's share of bringing a source's tiles into shared memory.
template <int ROWS, int THREADS, class Source>
struct loader {
    static constexpr bool across = Source::across;
    static constexpr int in_line = (across ? ROWS : DEPTH) / TILE_CHUNK;
    static constexpr int line = in_line * TILE_CHUNK + TILE_PAD;
    static constexpr int elements = (across ? DEPTH : ROWS) * line;
    static constexpr int each = ROWS * DEPTH / TILE_CHUNK / THREADS;
    static constexpr int row_places = across ? 1 : each;
    static_assert(THREADS % in_line == 0 && each * THREADS * TILE_CHUNK == ROWS * DEPTH, "shares");

    int first;
    typename Source::row_place row[row_places];

    __device__ void open(const Source &source, int first_row)
    {
        first = first_row;
        UNROLL
        for (int i = 0; i < row_places; i++) {
            const int r = first + (across ? in_of(i) : line_of(i));
            row[i] = source.row(r < source.rows ? r : 0);
        }
    }

    // The thread's share i: a chunk of line `at_line`, from `in` on.
    static __device__ int line_of(int i) { return ((int)threadIdx.x + i * THREADS) / in_line; }
    static __device__ int in_of(int i)
    {
        return ((int)threadIdx.x + i * THREADS) % in_line * TILE_CHUNK;
    }

    // Elements one by one, where 16 bytes at once will not do.
    __device__ void copy_each(const Source &source, value *tile, int k) const
    {
        ROLL
        for (int i = 0; i < each; i++) {
            const int r = first + (across ? in_of(i) : line_of(i));
            const int at_k = k + (across ? line_of(i) : in_of(i));
            UNROLL
            for (int e = 0; e < TILE_CHUNK; e++) {
                const int er = r + (across ? e : 0), ek = at_k + (across ? 0 : e);
                const value *from = er < source.rows && ek < source.depth
                                        ? source.at(source.row(er), source.step(ek)) : NULL;
                tile[line_of(i) * line + in_of(i) + e] = from ? *from : put(0.0f);
            }
        }
    }

    __device__ void copy(const Source &source, value *tile, int k) const
    {
        if (!source.whole) {
            copy_each(source, tile, k);
            return;
        }
        UNROLL
        for (int i = 0; i < each; i++) {
            const int r = first + (across ? in_of(i) : line_of(i));
            const int at_k = k + (across ? line_of(i) : in_of(i));
            const value *from = r < source.rows && at_k < source.depth
                                    ? source.at(row[across ? 0 : i], source.step(at_k)) : NULL;
            copy_16(tile + line_of(i) * line + in_of(i), from ? from : source.data, from != NULL);
        }
    }
};

// ---- the kernel

// A warp's sums, sixteen rows at a time through its own shared memory, so that lanes have four
// columns each and code is there once for all sums.
template <int MI, int NJ, class Out>
static __device__ inline void finish_warp(const finish<Out> &f, const float (&sum)[MI][NJ][4],
                                          float *room, int row, int col, int m, int n)
{
    constexpr int line = NJ * 8 + 4, fours = NJ * 2;
    const int lane = (int)threadIdx.x % 32;

    ROLL
    for (int turn = 0; turn < MI; turn++) {
        UNROLL
        for (int i = 0; i < MI; i++) {
            if (i != turn) continue;
            UNROLL
            for (int j = 0; j < NJ * 4; j++)
                room[(j % 4 / 2 * 8 + lane / 4) * line + j / 4 * 8 + lane % 4 * 2 + j % 2]
                    = sum[i][j / 4][j % 4];
        }
        __syncwarp();
        ROLL
        for (int at = lane; at < 16 * fours; at += 32) {
            const int r = row + turn * 16 + at / fours, c = col + at % fours * 4;
            float x[4];
            read_four(x, room + at / fours * line + at % fours * 4, true, 4);
            if (r < m && c < n)
                finish_four(f, x, f.to.row(r) * f.line + c, c, n - c < 4 ? n - c : 4);
        }
        __syncwarp();
    }
}

// Tiles in strips of eight rows of tiles, so that blocks beside each other share their factors.
struct tile_place {
    int part, group, row, col;
};

static __device__ inline tile_place place_of(int block, int down, int beside, int parts)
{
    const int tiles = down * beside, tile = block % tiles, strip = tile / (8 * beside);
    const int high = down - strip * 8 < 8 ? down - strip * 8 : 8;

    return { block / tiles % parts, block / tiles / parts,
             strip * 8 + tile % (8 * beside) % high, tile % (8 * beside) / high };
}

template <class Shape, class A, class B>
struct stage_of {
    typedef loader<Shape::rows, Shape::threads, A> left;
    typedef loader<Shape::cols, Shape::threads, B> right;
    static constexpr int elements = left::elements + right::elements;
    static constexpr int finish_bytes = Shape::threads / 32 * 16 * (Shape::nj * 8 + 4) * 4;
    static constexpr int copy_bytes = STAGES * elements * (int)sizeof(value);
    static constexpr int bytes = copy_bytes > finish_bytes ? copy_bytes : finish_bytes;
};

template <class Shape, class A, class B, class Out>
static __global__ void __launch_bounds__(Shape::threads)
product(A a, B b, finish<Out> f)
{
    typedef stage_of<Shape, A, B> stage;
    SHARED(value, tiles);
    const int m = a.rows, n = b.rows, all_steps = (a.depth + DEPTH - 1) / DEPTH;
    const int down = (m + Shape::rows - 1) / Shape::rows;
    const int beside = (n + Shape::cols - 1) / Shape::cols;
    const tile_place at = place_of((int)blockIdx.x, down, beside, f.parts);
    const int each = (all_steps + f.parts - 1) / f.parts, begin = at.part * each;
    const int steps = all_steps - begin < each ? all_steps - begin : each;
    const int warp = (int)threadIdx.x / 32;
    const int row = warp / Shape::beside * Shape::mi * 16;
    const int col = warp % Shape::beside * Shape::nj * 8;
    float sum[Shape::mi][Shape::nj][4] = {};
    typename stage::left left;
    typename stage::right right;

    a.data += at.group * a.group;
    b.data += at.group * b.group;
    left.open(a, at.row * Shape::rows);
    right.open(b, at.col * Shape::cols);
    for (int step = 0; step < STAGES - 1; step++) {
        value *to = tiles + step * stage::elements;
        if (step < steps) left.copy(a, to, (begin + step) * DEPTH);
        if (step < steps) right.copy(b, to + stage::left::elements, (begin + step) * DEPTH);
        copy_close();
    }
    ROLL
    for (int step = 0; step < steps; step++) {
        // This step's tiles are there for all, and nobody multiplies the ones before any more.
        copy_wait<STAGES - 2>();
        __syncthreads();
        const int ahead = step + STAGES - 1;
        value *to = tiles + ahead % STAGES * stage::elements;
        if (ahead < steps) left.copy(a, to, (begin + ahead) * DEPTH);
        if (ahead < steps) right.copy(b, to + stage::left::elements, (begin + ahead) * DEPTH);
        copy_close();
        const value *have = tiles + step % STAGES * stage::elements;
        const value *in_a = have + row * (A::across ? 1 : stage::left::line);
        const value *in_b = have + stage::left::elements
                            + col * (B::across ? 1 : stage::right::line);
        multiply<DEPTH, A::across, B::across>(sum, in_a, stage::left::line, in_b,
                                              stage::right::line);
    }
    copy_wait<0>();
    __syncthreads();
    f.out += at.group * f.group + at.part * f.part;
    if (f.pre) f.pre += at.group * f.group;
    if (f.residual) f.residual += at.group * f.group;
    if (f.saved) f.saved += at.group * f.group;
    if (f.bias) f.bias += at.group * f.bias_group;
    finish_warp(f, sum, (float *)tiles + warp * 16 * (Shape::nj * 8 + 4),
                at.row * Shape::rows + row, at.col * Shape::cols + col, m, n);
}

template <class Shape, class A, class B, class Out>
static inline void launch_product(struct pawl_stream *s, const A &a, const B &b,
                                  const finish<Out> &f, int64_t groups)
{
    typedef stage_of<Shape, A, B> stage;
    const int64_t down = (a.rows + Shape::rows - 1) / Shape::rows;
    const int64_t beside = (b.rows + Shape::cols - 1) / Shape::cols;
    const auto tiled_product = product<Shape, A, B, Out>;

    allow_shared(tiled_product, stage::bytes);
    LAUNCH(tiled_product, (unsigned)(down * beside * groups * f.parts), Shape::threads,
           stage::bytes, s, a, b, f);
}

static __global__ void add_parts(float *out, const float *part, int64_t count, int parts, bool add)
{
    EACH(i, count)
    {
        float sum = part[i];
        for (int p = 1; p < parts; p++)
            sum += part[p * count + i];
        out[i] = add ? out[i] + sum : sum;
    }
}

// Large blocks once there are enough of them for most of a GPU; the shape alone decides.
template <class A, class B, class Out>
static inline void multiply_tiles(struct pawl_stream *s, const A &a, const B &b, finish<Out> f,
                                  int64_t groups)
{
    const int64_t large = (a.rows + (int64_t)127) / 128 * ((b.rows + (int64_t)127) / 128) * groups;

    if (a.rows < 1 || b.rows < 1 || groups < 1) return;
    f.whole = fours_fit(f, b.rows);
    if (b.rows <= 32)
        launch_product<narrow_block>(s, a, b, f, groups);
    else if (large >= 96)
        launch_product<large_block>(s, a, b, f, groups);
    else
        launch_product<small_block>(s, a, b, f, groups);
}

// The same for weight_grad (groups, m, n), which lies in one piece. Parts of at least SHORTEST
// steps, until there are BLOCKS or scratch is full.
template <class A, class B>
static inline void multiply_parts(struct pawl_stream *s, const A &a, const B &b, float *weight_grad,
                                  int64_t groups, bool add)
{
    enum { BLOCKS = 256, SHORTEST = 8 };
    const int64_t count = groups * a.rows * b.rows, steps = (a.depth + DEPTH - 1) / DEPTH;
    const int64_t blocks = (a.rows + (int64_t)63) / 64 * ((b.rows + (int64_t)63) / 64) * groups;
    const int64_t most = count ? PAWL_CUDA_SCRATCH_BYTES / (int64_t)sizeof(float) / count : 0;
    finish<float> f = finish_of<float>(weight_grad, b.rows);
    int64_t parts = blocks ? BLOCKS / blocks : 0;

    if (parts > steps / SHORTEST) parts = steps / SHORTEST;
    if (parts > most) parts = most;
    f.group = (int64_t)a.rows * b.rows;
    f.add = add;
    if (parts > 1 && pawl_cuda_scratch(s)) {
        const int64_t each = (steps + parts - 1) / parts;
        f.parts = (int)((steps + each - 1) / each);  // none is empty
        f.part = count;
        f.out = (float *)pawl_cuda_scratch(s);
        f.add = false;
    }
    multiply_tiles(s, a, b, f, groups);
    if (f.parts > 1)
        LAUNCH(add_parts, blocks_for(count, 256), 256, 0, s, weight_grad, f.out, count, f.parts,
               add);
}

}  // namespace

#endif
