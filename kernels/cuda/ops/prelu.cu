// prelu.cu - slopes below 0 that are learnt, one per column or one for all (He and others, 2015).

#include "kernels/cuda/lanes.h"

struct prelu {
    value *out, *part;
    const value *x, *slope, *grad;
    int64_t packs, row;  // of all elements; of one row
    bool shared, add;
};

template <int W>
static __device__ inline struct lanes<W> slopes(const struct prelu &a, int64_t i)
{
    if (!a.shared) return load<W>(a.slope + i % a.row * W);
    const float slope = get(a.slope[0]);
    struct lanes<W> all;
    UNROLL
    for (int l = 0; l < W; l++)
        all.at[l] = slope;
    return all;
}

template <int W> static __global__ void forward(const struct prelu a)
{
    EACH(i, a.packs) {
        const struct lanes<W> slope = slopes<W>(a, i);
        struct lanes<W> x = load<W>(a.x + i * W);
        UNROLL
        for (int l = 0; l < W; l++)
            x.at[l] = x.at[l] < 0 ? slope.at[l] * x.at[l] : x.at[l];
        store<W>(a.out + i * W, x);
    }
}

template <int W> static __global__ void backward(const struct prelu a)
{
    EACH(i, a.packs) {
        const struct lanes<W> slope = slopes<W>(a, i), x = load<W>(a.x + i * W);
        const struct lanes<W> grad = load<W>(a.grad + i * W);
        struct lanes<W> out = load_or<W>(a.add ? a.out : NULL, i * W, 0), part;
        UNROLL
        for (int l = 0; l < W; l++) {
            out.at[l] += x.at[l] < 0 ? slope.at[l] * grad.at[l] : grad.at[l];
            part.at[l] = x.at[l] < 0 ? x.at[l] * grad.at[l] : 0;
        }
        store<W>(a.out + i * W, out);
        store<W>(a.part + i * W, part);
    }
}

void CUDA(prelu)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                 const pawl_value *slope, int64_t rows, int64_t cols, bool shared)
{
    const int64_t row = shared ? rows * cols : cols;
    struct prelu a = { (value *)out, NULL, (const value *)x, (const value *)slope, NULL,
                       rows * cols, row, shared, false };
    const bool fits = wide(row, a.out, a.x, shared ? NULL : a.slope);

    a.packs /= fits ? WIDE : 1;
    a.row /= fits ? WIDE : 1;
    LAUNCH_LANES(fits, forward, blocks_for(a.packs, 256), 256, 0, s, a);
}

void CUDA(prelu_back)(struct pawl_stream *s, pawl_value *x_grad, pawl_value *part,
                      const pawl_value *out_grad, const pawl_value *x, const pawl_value *slope,
                      int64_t rows, int64_t cols, bool shared, bool add_x)
{
    const int64_t row = shared ? rows * cols : cols;
    struct prelu a = { (value *)x_grad, (value *)part, (const value *)x, (const value *)slope,
                       (const value *)out_grad, rows * cols, row, shared, add_x };
    const bool fits = wide(row, a.out, a.part, a.x, a.grad, shared ? NULL : a.slope);

    a.packs /= fits ? WIDE : 1;
    a.row /= fits ? WIDE : 1;
    LAUNCH_LANES(fits, backward, blocks_for(a.packs, 256), 256, 0, s, a);
}
