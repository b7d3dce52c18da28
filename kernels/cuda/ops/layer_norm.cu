// layer_norm.cu - rows normalised (Ba, Kiros, Hinton, 2016); without a mean: RMS norm (Zhang and
// Sennrich, 2019). A row is read once, into registers, where both looks at it are taken: the mean,
// then the squares around it.

#include "kernels/cuda/lanes.h"

struct norm {
    value *out;
    float *mean, *rstd;
    const value *x, *weight, *bias;
    int64_t rows, cols;
    float epsilon;
    int team;
};

template <int W, int H>
static __device__ inline float sum_of(const struct norm &a, const struct team &t,
                                      const struct held<W, H> &h, const value *x)
{
    float sum = 0;

    PACKS(t, j, i, H, a.cols / W) {
        const struct lanes<W> v = part<W, H>(h, j, x, i);
        UNROLL
        for (int l = 0; l < W; l++)
            sum += v.at[l];
    }
    return team_sum(t, sum);
}

template <int W, int H>
static __device__ inline float squares_of(const struct norm &a, const struct team &t,
                                          const struct held<W, H> &h, const value *x, float mean)
{
    float sum = 0;

    PACKS(t, j, i, H, a.cols / W) {
        const struct lanes<W> v = part<W, H>(h, j, x, i);
        UNROLL
        for (int l = 0; l < W; l++)
            sum += (v.at[l] - mean) * (v.at[l] - mean);
    }
    return team_sum(t, sum);
}

template <int W, int H>
static __device__ inline void norm_row(const struct norm &a, const struct team &t, int64_t row)
{
    const value *x = a.x + row * a.cols;
    struct held<W, H> h;

    if (H) {
        PACKS(t, j, i, H, a.cols / W) h.at[j] = load_raw<W>(x + i * W);
    }
    const float mean = a.mean ? sum_of<W, H>(a, t, h, x) / (float)a.cols : 0;
    const float squares = squares_of<W, H>(a, t, h, x, mean);
    const float rstd = 1.0f / sqrtf(squares / (float)a.cols + a.epsilon);

    if (t.rank == 0 && a.mean) a.mean[row] = mean;
    if (t.rank == 0) a.rstd[row] = rstd;
    PACKS(t, j, i, H, a.cols / W) {
        struct lanes<W> v = part<W, H>(h, j, x, i);
        const struct lanes<W> weight = load_or<W>(a.weight, i * W, 1);
        const struct lanes<W> bias = load_or<W>(a.bias, i * W, 0);
        UNROLL
        for (int l = 0; l < W; l++)
            v.at[l] = (v.at[l] - mean) * rstd * weight.at[l] + bias.at[l];
        store<W>(a.out + row * a.cols + i * W, v);
    }
}

static __global__ void __launch_bounds__(TEAM_MOST) norm_held(const struct norm a)
{
    SHARED(float, room);
    const struct team t = team_of(a.team, room);

    for (int64_t row = t.row; row < a.rows; row += t.step)
        norm_row<WIDE, HELD / WIDE>(a, t, row);
}

template <int W> static __global__ void __launch_bounds__(TEAM_MOST) norm_long(const struct norm a)
{
    SHARED(float, room);
    const struct team t = team_of(a.team, room);

    for (int64_t row = t.row; row < a.rows; row += t.step)
        norm_row<W, 0>(a, t, row);
}

void CUDA(layer_norm)(struct pawl_stream *s, pawl_value *out, float *mean, float *rstd,
                      const pawl_value *x, const pawl_value *weight, const pawl_value *bias,
                      int64_t rows, int64_t cols, float epsilon)
{
    const bool fits = wide(cols, (value *)out, (const value *)x, (const value *)weight,
                           (const value *)bias);
    const struct teams t = teams_for(rows, cols, fits);
    const struct norm a = { (value *)out, mean, rstd, (const value *)x, (const value *)weight,
                            (const value *)bias, rows, cols, epsilon, t.size };

    if (t.held)
        LAUNCH(norm_held, t.grid, t.block, TEAM_ROOM_BYTES, s, a);
    else
        LAUNCH_LANES(fits, norm_long, t.grid, t.block, TEAM_ROOM_BYTES, s, a);
}
