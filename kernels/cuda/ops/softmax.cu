// softmax.cu - exp(x - top) / sum, row by row; its logarithm; and the gradients of both. Rows are
// held in registers (lanes.h).

#include "kernels/cuda/lanes.h"

struct softmax {
    value *out;
    const value *x, *grad;
    int64_t rows, cols;
    int team;
    bool log;
};

// The largest number of the row; NaN does not count here, and comes out by way of the sum.
template <int W, int H>
static __device__ inline float top_of(const struct softmax &a, const struct team &t,
                                      const struct held<W, H> &h, const value *x)
{
    float top = -INFINITY;

    PACKS(t, j, i, H, a.cols / W) {
        const struct lanes<W> v = part<W, H>(h, j, x, i);
        UNROLL
        for (int l = 0; l < W; l++)
            top = fmaxf(top, v.at[l]);
    }
    return team_max(t, top);
}

template <int W, int H>
static __device__ inline float sum_of(const struct softmax &a, const struct team &t,
                                      const struct held<W, H> &h, const value *x, float top)
{
    float sum = 0;

    PACKS(t, j, i, H, a.cols / W) {
        const struct lanes<W> v = part<W, H>(h, j, x, i);
        UNROLL
        for (int l = 0; l < W; l++)
            sum += expf(v.at[l] - top);
    }
    return team_sum(t, sum);
}

template <int W, int H>
static __device__ inline void forward_row(const struct softmax &a, const struct team &t,
                                          int64_t row)
{
    const value *x = a.x + row * a.cols;
    struct held<W, H> h;

    if (H) {
        PACKS(t, j, i, H, a.cols / W) h.at[j] = load_raw<W>(x + i * W);
    }
    const float top = top_of<W, H>(a, t, h, x), sum = sum_of<W, H>(a, t, h, x, top);
    const float scale = 1.0f / sum, off = logf(sum);
    PACKS(t, j, i, H, a.cols / W) {
        struct lanes<W> v = part<W, H>(h, j, x, i);
        UNROLL
        for (int l = 0; l < W; l++)
            v.at[l] = a.log ? v.at[l] - top - off : expf(v.at[l] - top) * scale;
        store<W>(a.out + row * a.cols + i * W, v);
    }
}

// softmax: out * (grad - sum of grad * out). Its logarithm: grad - exp(out) * sum of grad.
template <int W, int H>
static __device__ inline void back_row(const struct softmax &a, const struct team &t, int64_t row)
{
    const value *x = a.x + row * a.cols, *grad = a.grad + row * a.cols;
    struct held<W, H> h, g;
    float sum = 0;

    if (H) {
        PACKS(t, j, i, H, a.cols / W) h.at[j] = load_raw<W>(x + i * W);
        PACKS(t, j, i, H, a.cols / W) g.at[j] = load_raw<W>(grad + i * W);
    }
    PACKS(t, j, i, H, a.cols / W) {
        const struct lanes<W> v = part<W, H>(h, j, x, i), d = part<W, H>(g, j, grad, i);
        UNROLL
        for (int l = 0; l < W; l++)
            sum += a.log ? d.at[l] : d.at[l] * v.at[l];
    }
    sum = team_sum(t, sum);
    PACKS(t, j, i, H, a.cols / W) {
        const struct lanes<W> v = part<W, H>(h, j, x, i);
        struct lanes<W> d = part<W, H>(g, j, grad, i);
        UNROLL
        for (int l = 0; l < W; l++)
            d.at[l] = a.log ? d.at[l] - expf(v.at[l]) * sum : v.at[l] * (d.at[l] - sum);
        store<W>(a.out + row * a.cols + i * W, d);
    }
}

#define ROW_KERNEL(name, W, H, row_of) \
    static __global__ void __launch_bounds__(TEAM_MOST) name(const struct softmax a) \
    { \
        SHARED(float, room); \
        const struct team t = team_of(a.team, room); \
        for (int64_t row = t.row; row < a.rows; row += t.step) \
            row_of<W, H>(a, t, row); \
    }
ROW_KERNEL(forward_held, WIDE, HELD / WIDE, forward_row)
ROW_KERNEL(back_held, WIDE, HELD / WIDE, back_row)
template <int W> ROW_KERNEL(forward_long, W, 0, forward_row)
template <int W> ROW_KERNEL(back_long, W, 0, back_row)

static void run(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                const pawl_value *grad_or_null, int64_t rows, int64_t cols, bool log)
{
    struct softmax a = { (value *)out, (const value *)x, (const value *)grad_or_null,
                         rows, cols, 0, log };
    const bool fits = wide(cols, a.out, a.x, a.grad);
    const struct teams t = teams_for(rows, cols, fits);

    a.team = t.size;
    if (t.held && a.grad)
        LAUNCH(back_held, t.grid, t.block, TEAM_ROOM_BYTES, s, a);
    else if (t.held)
        LAUNCH(forward_held, t.grid, t.block, TEAM_ROOM_BYTES, s, a);
    else if (a.grad)
        LAUNCH_LANES(fits, back_long, t.grid, t.block, TEAM_ROOM_BYTES, s, a);
    else
        LAUNCH_LANES(fits, forward_long, t.grid, t.block, TEAM_ROOM_BYTES, s, a);
}

void CUDA(softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
                   int64_t cols)
{
    run(s, out, x, NULL, rows, cols, false);
}

void CUDA(log_softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
                       int64_t cols)
{
    run(s, out, x, NULL, rows, cols, true);
}

void CUDA(softmax_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                        const pawl_value *out, int64_t rows, int64_t cols, bool log)
{
    run(s, x_grad, out, out_grad, rows, cols, log);
}
