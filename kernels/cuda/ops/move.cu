// move.cu - values from one place to another: transposed, cut, put beside others.

#include "kernels/cuda/lanes.h"

enum { LAST = PAWL_MOVE_RANK - 1, THREADS = 256, SIDE = 32, ROWS = 8 };

struct move {
    value *out;
    const value *x;
    struct pawl_move m;
    int64_t n;  // packs of the plain kernel, squares of the other
    bool add;
};

struct place {
    int64_t to, from;
};

// The number of element (or pack) i, split into the dimensions `up to` and what is left over.
template <class I>
static __device__ inline struct place place_of(const struct pawl_move &m, I i, int last)
{
    struct place p = { 0, 0 };

    UNROLL
    for (int d = LAST; d >= 0; d--) {
        if (d > last) continue;
        const I size = (I)m.dim[d], at = i % size;
        i /= size;
        p.to += (int64_t)at * m.to[d];
        p.from += (int64_t)at * m.from[d];
    }
    return p;
}

template <int W, class I> static __global__ void move_packs(const struct move a)
{
    EACH(i, a.n) {
        const struct place p = place_of<I>(a.m, (I)i, LAST);
        if (!a.add) {
            *reinterpret_cast<struct raw<W> *>(a.out + p.to) = load_raw<W>(a.x + p.from);
            continue;
        }
        struct lanes<W> out = load<W>(a.out + p.to);
        const struct lanes<W> x = load<W>(a.x + p.from);
        UNROLL
        for (int l = 0; l < W; l++)
            out.at[l] += x.at[l];
        store<W>(a.out + p.to, out);
    }
}

// The two innermost dimensions crossed: a square at a time goes through shared memory, so that
// reading and writing both use whole lines. A column more keeps the banks apart.
static __global__ void __launch_bounds__(SIDE *ROWS) move_squares(const struct move a)
{
    SHARED(value, room);
    const int64_t rows = a.m.dim[LAST - 1], cols = a.m.dim[LAST];
    const int64_t tall = (rows + SIDE - 1) / SIDE, wide = (cols + SIDE - 1) / SIDE;
    const int lane = (int)threadIdx.x % SIDE, first = (int)threadIdx.x / SIDE;

    for (int64_t square = blockIdx.x; square < a.n; square += gridDim.x) {
        const int64_t c = square % wide * SIDE, r = square / wide % tall * SIDE;
        const struct place p = place_of<int64_t>(a.m, square / wide / tall, LAST - 2);
        __syncthreads();
        for (int i = first; i < SIDE; i += ROWS)
            if (r + lane < rows && c + i < cols)
                room[i * (SIDE + 1) + lane]
                    = a.x[p.from + (r + lane) * a.m.from[LAST - 1] + (c + i) * a.m.from[LAST]];
        __syncthreads();
        for (int i = first; i < SIDE; i += ROWS)
            if (r + i < rows && c + lane < cols) {
                value *out = a.out + p.to + (r + i) * a.m.to[LAST - 1] + (c + lane) * a.m.to[LAST];
                const value x = room[lane * (SIDE + 1) + i];
                *out = a.add ? put(get(*out) + get(x)) : x;
            }
    }
}

// Rows of whole packs, which begin where 16 bytes can be read and written.
static bool packs(const struct move &a)
{
    const struct pawl_move &m = a.m;
    bool whole = m.to[LAST] == 1 && m.from[LAST] == 1 && wide(m.dim[LAST], a.out, a.x);

    for (int d = 0; d < LAST; d++)
        whole = whole && (m.dim[d] == 1 || (m.to[d] % WIDE == 0 && m.from[d] % WIDE == 0));
    return whole;
}

template <int W> static void move_plain(struct pawl_stream *s, struct move a)
{
    const unsigned grid = blocks_for(a.n / W, THREADS);

    a.n /= W;
    a.m.dim[LAST] /= W;
    a.m.to[LAST] *= W;
    a.m.from[LAST] *= W;
    if (a.n <= INT32_MAX)
        LAUNCH((move_packs<W, uint32_t>), grid, THREADS, 0, s, a);
    else
        LAUNCH((move_packs<W, int64_t>), grid, THREADS, 0, s, a);
}

static void move_crossed(struct pawl_stream *s, struct move a)
{
    const int64_t rows = a.m.dim[LAST - 1], cols = a.m.dim[LAST];
    const int64_t tall = (rows + SIDE - 1) / SIDE, wide = (cols + SIDE - 1) / SIDE;

    a.n = a.n / rows / cols * tall * wide;
    // Two squares a block: one is read while the other's lines are still being written.
    LAUNCH(move_squares, blocks_for(a.n, 2), SIDE * ROWS, SIDE * (SIDE + 1) * sizeof(value), s, a);
}

void CUDA(move)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                const struct pawl_move *move, bool add)
{
    struct move a = { (value *)out, (const value *)x, *move, 1, add };

    for (int d = 0; d < PAWL_MOVE_RANK; d++)
        a.n *= move->dim[d];
    if (a.n == 0) return;
    if (packs(a))
        move_plain<WIDE>(s, a);
    else if (move->from[LAST - 1] == 1 && move->from[LAST] != 1 && move->dim[LAST] > 1)
        move_crossed(s, a);
    else
        move_plain<1>(s, a);
}
