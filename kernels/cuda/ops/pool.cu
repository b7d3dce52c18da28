// pool.cu - the largest, or the mean, of each window of an image; and their gradients, gathered:
// each element of x asks the windows that cover it, in the order of the outputs.

#include "kernels/cuda/lanes.h"

struct pool {
    value *out;             // of x's gradient, in backward
    int32_t *index;
    const value *x;         // out_grad, in backward
    const int32_t *taken;
    struct pawl_window w;
    bool add;
};

// What lies along one side of the image: taps at first, first + step .. below end.
struct taps {
    int64_t first, end, step, count;
};

static __device__ inline int64_t pieces(int64_t n, int64_t of) { return (n + of - 1) / of; }

// The taps of output `at` that are inside.
static __device__ inline struct taps inside(int64_t at, int64_t stride, int64_t pad, int64_t taps,
                                            int64_t step, int64_t size)
{
    struct taps t = { at * stride - pad, at * stride - pad + taps * step, step, 0 };

    if (t.first < 0) t.first += pieces(-t.first, step) * step;
    if (t.end > size) t.end = size;
    if (t.first < t.end) t.count = pieces(t.end - t.first, step);
    return t;
}

static __device__ inline struct taps rows_of(const struct pawl_window &w, int64_t row)
{
    return inside(row, w.stride_h, w.pad_top, w.kernel_h, w.dilation_h, w.in_h);
}

static __device__ inline struct taps cols_of(const struct pawl_window &w, int64_t col)
{
    return inside(col, w.stride_w, w.pad_left, w.kernel_w, w.dilation_w, w.in_w);
}

// One over what a window's sum is divided by; 0 for one that lies in padding.
static __device__ inline float share(const struct pawl_window &w, const struct taps &rows,
                                     const struct taps &cols)
{
    const int64_t count = rows.count * cols.count;

    return !count ? 0 : 1.0f / (float)(w.count_pads ? w.kernel_h * w.kernel_w : count);
}

template <int W>
static __device__ inline void max_of(const struct pool &a, const value *image,
                                     const struct taps &rows, const struct taps &cols, int64_t at)
{
    struct lanes<W> best = {};
    struct ints<W> from;

    UNROLL
    for (int l = 0; l < W; l++)
        from.at[l] = -1;
    for (int64_t row = rows.first; row < rows.end; row += rows.step)
        for (int64_t col = cols.first; col < cols.end; col += cols.step) {
            const int64_t pixel = row * a.w.in_w + col;
            const struct lanes<W> x = load<W>(image + pixel * a.w.in_c);
            UNROLL
            for (int l = 0; l < W; l++) {
                const bool nan = x.at[l] != x.at[l];
                const bool better = from.at[l] < 0 || x.at[l] > best.at[l] || nan;
                best.at[l] = better ? x.at[l] : best.at[l];
                from.at[l] = better ? (int32_t)pixel : from.at[l];
            }
        }
    store<W>(a.out + at, best);
    move_out(a.index + at, from);
}

template <int W>
static __device__ inline void mean_of(const struct pool &a, const value *image,
                                      const struct taps &rows, const struct taps &cols, int64_t at)
{
    const float scale = share(a.w, rows, cols);
    struct lanes<W> sum = {};

    for (int64_t row = rows.first; row < rows.end; row += rows.step)
        for (int64_t col = cols.first; col < cols.end; col += cols.step) {
            const struct lanes<W> x = load<W>(image + (row * a.w.in_w + col) * a.w.in_c);
            UNROLL
            for (int l = 0; l < W; l++)
                sum.at[l] += x.at[l];
        }
    UNROLL
    for (int l = 0; l < W; l++)
        sum.at[l] *= scale;
    store<W>(a.out + at, sum);
}

// A block is a row of outputs, a thread some channels of one.
template <int W> static __global__ void forward(const struct pool a)
{
    const int64_t packs = a.w.out_c / W;

    for (int64_t i = blockIdx.x; i < a.w.batch * a.w.out_h; i += gridDim.x) {
        const struct taps rows = rows_of(a.w, i % a.w.out_h);
        const value *image = a.x + i / a.w.out_h * a.w.in_h * a.w.in_w * a.w.in_c;
        for (int64_t j = threadIdx.x; j < a.w.out_w * packs; j += blockDim.x) {
            const struct taps cols = cols_of(a.w, j / packs);
            const int64_t channel = j % packs * W;
            const int64_t at = (i * a.w.out_w + j / packs) * a.w.out_c + channel;
            if (a.index)
                max_of<W>(a, image + channel, rows, cols, at);
            else
                mean_of<W>(a, image + channel, rows, cols, at);
        }
    }
}

// The outputs whose windows may cover a place of x: first .. end.
struct covers {
    int64_t first, end;
};

static __device__ inline struct covers covering(int64_t at, int64_t stride, int64_t pad,
                                                int64_t taps, int64_t step, int64_t outs)
{
    const int64_t low = at + pad - (taps - 1) * step;
    struct covers c = { low > 0 ? pieces(low, stride) : 0, (at + pad) / stride + 1 };

    if (c.end > outs) c.end = outs;
    return c;
}

// Whether a tap of output o is there: between, dilated windows have holes.
static __device__ inline bool hits(int64_t at, int64_t o, int64_t stride, int64_t pad, int64_t step)
{
    return (at + pad - o * stride) % step == 0;
}

// What output (row, col) gives to a place.
template <int W>
static __device__ inline void take(struct lanes<W> &sum, const struct pool &a, int64_t pixel,
                                   int64_t row, int64_t col, int64_t at)
{
    const struct lanes<W> grad = load<W>(a.x + at);

    if (a.taken) {
        const struct ints<W> taken = *reinterpret_cast<const struct ints<W> *>(a.taken + at);
        UNROLL
        for (int l = 0; l < W; l++)
            if (taken.at[l] == pixel) sum.at[l] += grad.at[l];
        return;
    }
    const float scale = share(a.w, rows_of(a.w, row), cols_of(a.w, col));
    UNROLL
    for (int l = 0; l < W; l++)
        sum.at[l] += grad.at[l] * scale;
}

template <int W>
static __device__ inline struct lanes<W> gather(const struct pool &a, int64_t item, int64_t y,
                                                int64_t x, int64_t channel)
{
    const struct pawl_window &w = a.w;
    const struct covers rows = covering(y, w.stride_h, w.pad_top, w.kernel_h, w.dilation_h,
                                        w.out_h);
    const struct covers cols = covering(x, w.stride_w, w.pad_left, w.kernel_w, w.dilation_w,
                                        w.out_w);
    struct lanes<W> sum = {};

    for (int64_t row = rows.first; row < rows.end; row++) {
        if (!hits(y, row, w.stride_h, w.pad_top, w.dilation_h)) continue;
        for (int64_t col = cols.first; col < cols.end; col++) {
            const int64_t at = ((item * w.out_h + row) * w.out_w + col) * w.out_c + channel;
            if (hits(x, col, w.stride_w, w.pad_left, w.dilation_w))
                take<W>(sum, a, y * w.in_w + x, row, col, at);
        }
    }
    return sum;
}

// A block is a row of x.
template <int W> static __global__ void backward(const struct pool a)
{
    const int64_t packs = a.w.in_c / W;

    for (int64_t i = blockIdx.x; i < a.w.batch * a.w.in_h; i += gridDim.x)
        for (int64_t j = threadIdx.x; j < a.w.in_w * packs; j += blockDim.x) {
            const int64_t channel = j % packs * W;
            const int64_t at = (i * a.w.in_w + j / packs) * a.w.in_c + channel;
            struct lanes<W> sum = gather<W>(a, i / a.w.in_h, i % a.w.in_h, j / packs, channel);
            const struct lanes<W> before = load_or<W>(a.add ? a.out : NULL, at, 0);
            UNROLL
            for (int l = 0; l < W; l++)
                sum.at[l] += before.at[l];
            store<W>(a.out + at, sum);
        }
}

// Threads for a row of n packs: whole warps, 256 at most.
static int block_of(int64_t n) { return n < 256 ? (int)((n + 31) / 32 * 32) : 256; }

static void run(struct pawl_stream *s, const struct pool *a)
{
    const struct pawl_window *w = &a->w;
    const bool fits = wide(w->out_c, a->out, a->x, a->index);

    LAUNCH_LANES(fits, forward, blocks_for(w->batch * w->out_h, 1),
                 block_of(w->out_w * w->out_c / (fits ? WIDE : 1)), 0, s, *a);
}

static void run_back(struct pawl_stream *s, const struct pool *a)
{
    const struct pawl_window *w = &a->w;
    const bool fits = wide(w->in_c, a->out, a->x, a->taken);

    LAUNCH_LANES(fits, backward, blocks_for(w->batch * w->in_h, 1),
                 block_of(w->in_w * w->in_c / (fits ? WIDE : 1)), 0, s, *a);
}

void CUDA(max_pool2d)(struct pawl_stream *s, pawl_value *out, int32_t *index, const pawl_value *x,
                      const struct pawl_window *window)
{
    const struct pool a = { (value *)out, index, (const value *)x, NULL, *window, false };

    run(s, &a);
}

void CUDA(avg_pool2d)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                      const struct pawl_window *window)
{
    const struct pool a = { (value *)out, NULL, (const value *)x, NULL, *window, false };

    run(s, &a);
}

void CUDA(max_pool2d_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                           const int32_t *index, const struct pawl_window *window, bool add)
{
    const struct pool a = { (value *)x_grad, NULL, (const value *)out_grad, index, *window, add };

    run_back(s, &a);
}

void CUDA(avg_pool2d_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                           const struct pawl_window *window, bool add)
{
    const struct pool a = { (value *)x_grad, NULL, (const value *)out_grad, NULL, *window, add };

    run_back(s, &a);
}
