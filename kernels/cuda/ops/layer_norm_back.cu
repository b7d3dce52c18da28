// layer_norm_back.cu - the gradients of layer_norm.cu, in one look at x and out_grad. A team walks
// down its rows and keeps the parameters' sums of its columns in registers; blocks leave theirs in
// scratch, which a second kernel adds up in order.
//
// Rows too long for that (8192 elements), or not WIDE: the parameters' sums have a kernel of their
// own, a thread per column.

#include "kernels/cuda/lanes.h"

// Blocks of 128 threads: as many as an H200's 132 processors have registers for, 3 and 2 each.
enum { BLOCK = 128, WARPS = BLOCK / 32, BLOCKS = 396, BLOCKS_HELD = 264, LINE = 32 };
enum { HOLD = 32, LONGEST = 256 * HOLD, HOLD_SHORT = 24, SHORT = 32 * HOLD_SHORT };

struct back {
    value *x_grad;
    float *weight_grad, *bias_grad, *partial;  // partial (blocks, 2, cols)
    const value *out_grad, *x, *weight;
    const float *mean, *rstd;
    int64_t rows, cols, blocks;
    int team;
    bool add_x, add;
};

// A row's part of one thread, and the means that its gradient needs.
struct row_means {
    float mean, rstd, g, gx;
};

template <int W, int H>
static __device__ inline struct row_means means_of(const struct back &a, const struct team &t,
                                                   int64_t row, const struct held<W, H> &x,
                                                   const struct held<W, H> &grad)
{
    struct row_means m = { a.mean ? a.mean[row] : 0, a.rstd[row], 0, 0 };
    const int64_t start = row * a.cols;

    PACKS(t, j, i, H, a.cols / W) {
        const struct lanes<W> v = part<W, H>(x, j, a.x + start, i);
        const struct lanes<W> d = part<W, H>(grad, j, a.out_grad + start, i);
        const struct lanes<W> weight = load_or<W>(a.weight, i * W, 1);
        UNROLL
        for (int l = 0; l < W; l++) {
            m.g += d.at[l] * weight.at[l];
            m.gx += d.at[l] * weight.at[l] * ((v.at[l] - m.mean) * m.rstd);
        }
    }
    m.g = a.mean ? team_sum(t, m.g) / (float)a.cols : 0;
    m.gx = team_sum(t, m.gx) / (float)a.cols;
    return m;
}

template <int W, int H>
static __device__ inline void write_row(const struct back &a, const struct team &t, int64_t row,
                                        const struct held<W, H> &x, const struct held<W, H> &grad,
                                        const struct row_means &m)
{
    const int64_t start = row * a.cols;

    PACKS(t, j, i, H, a.cols / W) {
        const struct lanes<W> v = part<W, H>(x, j, a.x + start, i);
        const struct lanes<W> d = part<W, H>(grad, j, a.out_grad + start, i);
        const struct lanes<W> weight = load_or<W>(a.weight, i * W, 1);
        struct lanes<W> out = load_or<W>(a.add_x ? a.x_grad : NULL, start + i * W, 0);
        UNROLL
        for (int l = 0; l < W; l++) {
            const float hat = (v.at[l] - m.mean) * m.rstd;
            out.at[l] += (d.at[l] * weight.at[l] - m.g - hat * m.gx) * m.rstd;
        }
        store<W>(a.x_grad + start + i * W, out);
    }
}

// A thread's sums of the parameters' gradients.
template <int W, int H> struct parameter_sums {
    struct lanes<W> weight[H], bias[H];
};

template <int W, int H>
static __device__ inline void add_row(struct parameter_sums<W, H> &to, const struct back &a,
                                      const struct team &t, const struct held<W, H> &x,
                                      const struct held<W, H> &grad, const struct row_means &m)
{
    PACKS(t, j, i, H, a.cols / W) {
        const struct lanes<W> v = widen<W>(x.at[j]), d = widen<W>(grad.at[j]);
        UNROLL
        for (int l = 0; l < W; l++) {
            to.weight[j].at[l] += d.at[l] * ((v.at[l] - m.mean) * m.rstd);
            to.bias[j].at[l] += d.at[l];
        }
    }
}

// Into room (2, cols), the block's warps in turn; then out to scratch. A team that has its block to
// itself writes there at once.
template <int W, int H>
static __device__ inline void keep_sums(const struct back &a, const struct team &t,
                                        const struct parameter_sums<W, H> &sums, float *room)
{
    const int teams = (int)blockDim.x / t.size, mine = (int)threadIdx.x / t.size;
    float *to = a.partial + (int64_t)blockIdx.x * 2 * a.cols;

    if (teams == 1) room = to;
    for (int turn = 0; turn < teams; turn++) {
        __syncthreads();
        if (turn != mine) continue;
        PACKS(t, j, i, H, a.cols / W) {
            UNROLL
            for (int l = 0; l < W; l++) {
                float *weight = room + i * W + l, *bias = weight + a.cols;
                *weight = (turn ? *weight : 0) + sums.weight[j].at[l];
                *bias = (turn ? *bias : 0) + sums.bias[j].at[l];
            }
        }
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < 2 * a.cols && teams > 1; i += blockDim.x)
        to[i] = room[i];
}

template <int H> static __device__ inline void back_rows(const struct back &a)
{
    SHARED(float, room);  // of the teams' sums (32), then (2, cols)
    const struct team t = team_of(a.team, room);
    struct parameter_sums<WIDE, H> sums = {};

    for (int64_t row = t.row; row < a.rows; row += t.step) {
        struct held<WIDE, H> x, grad;
        PACKS(t, j, i, H, a.cols / WIDE) x.at[j] = load_raw<WIDE>(a.x + row * a.cols + i * WIDE);
        PACKS(t, j, i, H, a.cols / WIDE)
            grad.at[j] = load_raw<WIDE>(a.out_grad + row * a.cols + i * WIDE);
        const struct row_means m = means_of<WIDE, H>(a, t, row, x, grad);
        add_row<WIDE, H>(sums, a, t, x, grad, m);
        write_row<WIDE, H>(a, t, row, x, grad, m);
    }
    if (a.weight_grad || a.bias_grad) keep_sums<WIDE, H>(a, t, sums, room + 32);
}

// Up to SHORT columns fewer registers do, and more threads are on their way at once.
static __global__ void __launch_bounds__(256) back_held(const struct back a)
{
    back_rows<HOLD / WIDE>(a);
}
static __global__ void __launch_bounds__(BLOCK, 3) back_short(const struct back a)
{
    back_rows<HOLD_SHORT / WIDE>(a);
}

template <int W> static __global__ void __launch_bounds__(TEAM_MOST) back_long(const struct back a)
{
    SHARED(float, room);
    const struct team t = team_of(a.team, room);
    const struct held<W, 0> none = {};

    for (int64_t row = t.row; row < a.rows; row += t.step) {
        const struct row_means m = means_of<W, 0>(a, t, row, none, none);
        write_row<W, 0>(a, t, row, none, none, m);
    }
}

// Of block b's rows, for back_long: 32 columns, WARPS threads share the rows.
static __global__ void __launch_bounds__(BLOCK) sum_parameters(const struct back a)
{
    SHARED(float, room);  // (2, WARPS, LINE)
    const int x = (int)threadIdx.x % LINE, y = (int)threadIdx.x / LINE;
    const int64_t lines = (a.cols + LINE - 1) / LINE;
    const int64_t each = (a.rows + a.blocks - 1) / a.blocks;

    for (int64_t i = blockIdx.x; i < lines * a.blocks; i += gridDim.x) {
        const int64_t column = i % lines * LINE + x, block = i / lines;
        const int64_t end = (block + 1) * each < a.rows ? (block + 1) * each : a.rows;
        float weight = 0, bias = 0;
        for (int64_t r = block * each + y; r < end && column < a.cols; r += WARPS) {
            const float d = get(a.out_grad[r * a.cols + column]);
            const float v = get(a.x[r * a.cols + column]);
            weight += d * ((v - (a.mean ? a.mean[r] : 0)) * a.rstd[r]);
            bias += d;
        }
        __syncthreads();
        room[y * LINE + x] = weight;
        room[(WARPS + y) * LINE + x] = bias;
        __syncthreads();
        if (y != 0 || column >= a.cols) continue;
        for (int w = 1; w < WARPS; w++) {
            weight += room[w * LINE + x];
            bias += room[(WARPS + w) * LINE + x];
        }
        a.partial[block * 2 * a.cols + column] = weight;
        a.partial[(block * 2 + 1) * a.cols + column] = bias;
    }
}

// Lines of 32 of the 2 * cols sums: 32 threads each share the blocks.
static __global__ void __launch_bounds__(1024) finish(const struct back a)
{
    SHARED(float, room);  // (32, LINE)
    const int x = (int)threadIdx.x % LINE, y = (int)threadIdx.x / LINE;

    for (int64_t i = blockIdx.x; i < (2 * a.cols + LINE - 1) / LINE; i += gridDim.x) {
        const int64_t column = i * LINE + x;
        float sum = 0;
        for (int64_t b = y; b < a.blocks && column < 2 * a.cols; b += 32)
            sum += a.partial[b * 2 * a.cols + column];
        __syncthreads();
        room[y * LINE + x] = sum;
        __syncthreads();
        if (y != 0 || column >= 2 * a.cols) continue;
        for (int b = 1; b < 32; b++)
            sum += room[b * LINE + x];
        float *of = column < a.cols ? a.weight_grad : a.bias_grad;
        const int64_t at = column < a.cols ? column : column - a.cols;
        if (of) of[at] = (a.add ? of[at] : 0) + sum;
    }
}

static void run_held(struct pawl_stream *s, struct back *a)
{
    int size = 32;

    while ((int64_t)size * HOLD < a->cols)
        size *= 2;
    const int block = size == 32 ? BLOCK : size, teams = block / size;
    const size_t bytes = (32 + (teams > 1 ? 2 * (size_t)a->cols : 0)) * sizeof(float);
    const bool few = a->cols <= SHORT;

    a->team = size;
    a->blocks = (int64_t)(few ? BLOCKS : BLOCKS_HELD) * BLOCK / block;
    if (a->blocks > (a->rows + teams - 1) / teams) a->blocks = (a->rows + teams - 1) / teams;
    if (a->blocks < 1) a->blocks = 1;
    if (few)
        LAUNCH(back_short, (unsigned)a->blocks, block, bytes, s, *a);
    else
        LAUNCH(back_held, (unsigned)a->blocks, block, bytes, s, *a);
}

static void run_long(struct pawl_stream *s, struct back *a, bool fits)
{
    const struct teams t = teams_for(a->rows, a->cols, false);
    const int64_t most = PAWL_CUDA_SCRATCH_BYTES / 8 / a->cols;
    const size_t bytes = 2 * WARPS * LINE * sizeof(float);

    a->team = t.size;
    LAUNCH_LANES(fits, back_long, t.grid, t.block, TEAM_ROOM_BYTES, s, *a);
    if (!a->weight_grad && !a->bias_grad) return;
    a->blocks = (a->rows + 8 * WARPS - 1) / (8 * WARPS);
    if (a->blocks > BLOCKS) a->blocks = BLOCKS;
    if (a->blocks > most) a->blocks = most;
    if (a->blocks < 1) a->blocks = 1;
    LAUNCH(sum_parameters, blocks_for((a->cols + LINE - 1) / LINE * a->blocks, 1), BLOCK, bytes, s,
           *a);
}

void CUDA(layer_norm_back)(struct pawl_stream *s, pawl_value *x_grad, float *weight_grad,
                           float *bias_grad, const pawl_value *out_grad, const pawl_value *x,
                           const float *mean, const float *rstd, const pawl_value *weight,
                           int64_t rows, int64_t cols, bool add_x, bool add)
{
    struct back a = {};

    a.x_grad = (value *)x_grad;
    a.weight_grad = weight_grad;
    a.bias_grad = bias_grad;
    a.partial = (float *)pawl_cuda_scratch(s);
    a.out_grad = (const value *)out_grad;
    a.x = (const value *)x;
    a.weight = (const value *)weight;
    a.mean = mean;
    a.rstd = rstd;
    a.rows = rows;
    a.cols = cols;
    a.add_x = add_x;
    a.add = add;
    const bool fits = wide(cols, a.x_grad, a.out_grad, a.x, a.weight);
    if (fits && cols <= LONGEST)
        run_held(s, &a);
    else
        run_long(s, &a, fits);
    if (weight_grad || bias_grad)
        LAUNCH(finish, blocks_for((2 * cols + LINE - 1) / LINE, 1), 1024,
               32 * LINE * sizeof(float), s, a);
}
