// columns_apply.cu - what batch norm and group norm do to each element, once statistics are there:
// forward, and the gradient of x. A thread keeps what belongs to its columns in registers and goes
// down the rows.

#include "kernels/cuda/columns.h"

// Rows read before the first of them is written: stores bar the way of later loads.
enum { AHEAD = 4, AHEAD_BACK = 2 };

struct apply {
    struct columns c;
    struct tiles t;
    value *out;
    const float *means;  // backward: (batch, 2, n / width), of the groups' gradients
    bool add;
};

template <int W>
static __global__ void __launch_bounds__(TILE_THREADS) apply_columns(const struct apply a)
{
    for (int64_t i = blockIdx.x; i < a.c.batch * a.t.blocks * a.t.tiles; i += gridDim.x) {
        const struct tile at = tile_of(a.c, a.t, i);
        const int64_t column = at.pack * W, first = a.c.first + column;
        if (at.pack >= a.t.packs) continue;
        const struct lanes<W> mean = load_groups<W>(a.c.mean, a.c, at.sample, column);
        const struct lanes<W> shift = load_or<W>(a.c.bias, first, 0);
        struct lanes<W> scale = load_groups<W>(a.c.rstd, a.c, at.sample, column);
        const struct lanes<W> weight = load_or<W>(a.c.weight, first, 1);
        UNROLL
        for (int l = 0; l < W; l++)
            scale.at[l] *= weight.at[l];
        for (int64_t r = at.row; r < at.end; r += AHEAD * at.down) {
            const int64_t place = (at.sample * a.c.rows + r) * a.c.cols + first;
            const int64_t left = at.end - r, down = at.down;
            struct raw<W> in[AHEAD];
            UNROLL
            for (int j = 0; j < AHEAD; j++)
                if (j * down < left) in[j] = load_raw<W>(a.c.x + place + j * down * a.c.cols);
            UNROLL
            for (int j = 0; j < AHEAD; j++) {
                if (j * down >= left) break;
                struct lanes<W> x = widen<W>(in[j]);
                UNROLL
                for (int l = 0; l < W; l++)
                    x.at[l] = (x.at[l] - mean.at[l]) * scale.at[l] + shift.at[l];
                store<W>(a.out + place + j * down * a.c.cols, x);
            }
        }
    }
}

template <int W> struct back_row {
    struct raw<W> x, grad, out;
};

// (g - its mean - xhat * the mean of g * xhat) * rstd, g = grad * weight, means over the group.
template <int W>
static __global__ void __launch_bounds__(TILE_THREADS) apply_back(const struct apply a)
{
    const int64_t groups = a.c.n / a.c.width;

    for (int64_t i = blockIdx.x; i < a.c.batch * a.t.blocks * a.t.tiles; i += gridDim.x) {
        const struct tile at = tile_of(a.c, a.t, i);
        const int64_t column = at.pack * W, first = a.c.first + column;
        if (at.pack >= a.t.packs) continue;
        const struct lanes<W> mean = load_groups<W>(a.c.mean, a.c, at.sample, column);
        const struct lanes<W> rstd = load_groups<W>(a.c.rstd, a.c, at.sample, column);
        const struct lanes<W> weight = load_or<W>(a.c.weight, first, 1);
        struct lanes<W> mean_g, hat;
        UNROLL
        for (int l = 0; l < W; l++) {
            const float *means = a.means + at.sample * 2 * groups + (column + l) / a.c.width;
            mean_g.at[l] = means[0];
            hat.at[l] = means[groups] * rstd.at[l];
        }
        for (int64_t r = at.row; r < at.end; r += AHEAD_BACK * at.down) {
            const int64_t place = (at.sample * a.c.rows + r) * a.c.cols + first;
            const int64_t left = at.end - r, down = at.down;
            struct back_row<W> in[AHEAD_BACK];
            UNROLL
            for (int j = 0; j < AHEAD_BACK; j++) {
                const int64_t from = place + j * down * a.c.cols;
                if (j * down >= left) break;
                in[j].x = load_raw<W>(a.c.x + from);
                in[j].grad = load_raw<W>(a.c.grad + from);
                if (a.add) in[j].out = load_raw<W>(a.out + from);
            }
            UNROLL
            for (int j = 0; j < AHEAD_BACK; j++) {
                if (j * down >= left) break;
                const struct lanes<W> x = widen<W>(in[j].x), grad = widen<W>(in[j].grad);
                struct lanes<W> out = a.add ? widen<W>(in[j].out) : lanes<W>{};
                UNROLL
                for (int l = 0; l < W; l++) {
                    const float g = grad.at[l] * weight.at[l] - mean_g.at[l];
                    out.at[l] += (g - (x.at[l] - mean.at[l]) * hat.at[l]) * rstd.at[l];
                }
                store<W>(a.out + place + j * down * a.c.cols, out);
            }
        }
    }
}

void CUDA(columns_apply)(struct pawl_stream *s, value *out, const struct columns *c)
{
    const bool fits = c->n % WIDE == 0
                      && wide(c->cols, out + c->first, c->x + c->first,
                              c->weight ? c->weight + c->first : NULL,
                              c->bias ? c->bias + c->first : NULL);
    const struct apply a = { *c, tiles_for(c, fits ? WIDE : 1, INT64_MAX), out, NULL, false };

    LAUNCH_LANES(fits, apply_columns, blocks_for(tiles_total(c, &a.t), 1), TILE_THREADS, 0, s, a);
}

// A warp per group: the means over its columns' totals, each times its weight.
static __global__ void group_means(const struct columns c, float *means, const float *total)
{
    const struct team t = team_of(32, NULL);
    const int64_t groups = c.n / c.width;

    for (int64_t i = t.row; i < c.batch * groups; i += t.step) {
        const int64_t sample = i / groups, group = i % groups;
        const float *from = total + sample * 2 * c.n + group * c.width;
        const float scale = 1.0f / ((float)c.rows * (float)c.width);
        float sum = 0, hat = 0;
        for (int64_t l = t.rank; l < c.width; l += t.size) {
            const int64_t column = c.first + group * c.width + l;
            const float weight = c.weight ? get(c.weight[column]) : 1;
            sum += weight * from[l];
            hat += weight * from[c.n + l];
        }
        sum = warp_sum(sum) * scale;
        hat = warp_sum(hat) * scale;
        if (t.rank != 0) continue;
        means[sample * 2 * groups + group] = sum;
        means[(sample * 2 + 1) * groups + group] = hat;
    }
}

void CUDA(columns_apply_back)(struct pawl_stream *s, value *out, const struct columns *c, bool add)
{
    const bool fits = c->n % WIDE == 0
                      && wide(c->cols, out + c->first, c->x + c->first, c->grad + c->first,
                              c->weight ? c->weight + c->first : NULL);
    const struct apply a = { *c, tiles_for(c, fits ? WIDE : 1, INT64_MAX), out,
                             columns_means(s, c), add };

    LAUNCH(group_means, blocks_for(c->batch * (c->n / c->width), TEAM_BLOCK / 32), TEAM_BLOCK, 0,
           s, *c, columns_means(s, c), columns_total(s));
    LAUNCH_LANES(fits, apply_back, blocks_for(tiles_total(c, &a.t), 1), TILE_THREADS, 0, s, a);
}
