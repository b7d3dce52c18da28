// loss.cu - losses by row, and their gradients in place of what they judge. Logits are read twice,
// the second time from a cache where a row is not too long, and probabilities are never stored.

#include "kernels/cuda/activation.h"
#include "kernels/cuda/lanes.h"

struct loss {
    float *loss, *hit;
    value *x;               // (rows, cols): in, logits or values; out, gradients
    const int32_t *target;  // (rows)
    const float *wanted;    // (rows, cols)
    int64_t rows, cols;
    float scale;
    int team;
};

// A row from any address: some elements up to the first that 16 bytes can be read from, packs of
// WIDE, and the rest.
struct parts {
    int64_t head, packs, cols;
};

static __device__ inline struct parts parts_of(const value *row, int64_t cols)
{
    const int64_t past = (int64_t)(reinterpret_cast<uintptr_t>(row) % 16 / sizeof(value));
    const int64_t head = past ? WIDE - past : 0;

    if (head >= cols) return { cols, 0, cols };
    return { head, (cols - head) / WIDE, cols };
}

// f.at<W>(i) for all of the row, each thread of the team a share.
template <class F>
static __device__ inline void row_each(const struct team &t, const struct parts &p, F *f)
{
    const int64_t rest = p.head + p.packs * WIDE;

    for (int64_t i = t.rank; i < p.head; i += t.size)
        f->template at<1>(i);
    for (int64_t i = t.rank; i < p.packs; i += t.size)
        f->template at<WIDE>(p.head + i * WIDE);
    for (int64_t i = rest + t.rank; i < p.cols; i += t.size)
        f->template at<1>(i);
}

// ---- softmax cross-entropy

// The largest of what a thread has seen, the sum of exp(x - top), and whether anything comes before
// the target: is larger, or as large and further ahead.
struct online {
    const value *x;
    float top, sum, of_target;
    int64_t target;
    bool beaten;

    template <int W> __device__ __forceinline__ void at(int64_t i)
    {
        const struct lanes<W> v = load<W>(x + i);
        float most = top;

        UNROLL
        for (int l = 0; l < W; l++) {
            most = fmaxf(most, v.at[l]);
            beaten |= i + l < target ? v.at[l] >= of_target : v.at[l] > of_target;
        }
        // While all are minus infinity (masked classes) their weights are 0, not NaN.
        const float base = most == -INFINITY ? 0.0f : most;
        if (most > top) sum *= expf(top - base);
        top = most;
        UNROLL
        for (int l = 0; l < W; l++)
            sum += expf(v.at[l] - base);
    }
};

struct gradient {
    value *x;
    float top, factor, scale;
    int64_t target;

    template <int W> __device__ __forceinline__ void at(int64_t i)
    {
        struct lanes<W> v = load<W>(x + i);

        UNROLL
        for (int l = 0; l < W; l++)
            v.at[l] = expf(v.at[l] - top) * factor - (i + l == target ? scale : 0.0f);
        store<W>(x + i, v);
    }
};

struct nothing {
    value *x;

    template <int W> __device__ __forceinline__ void at(int64_t i) { store<W>(x + i, lanes<W>{}); }
};

static __device__ inline void cross_entropy_row(const struct loss &a, const struct team &t,
                                                int64_t row)
{
    value *x = a.x + row * a.cols;
    const struct parts p = parts_of(x, a.cols);
    const int64_t target = a.target[row];

    if (target < 0) {
        struct nothing zero = { x };
        if (t.rank == 0) a.loss[row] = 0;
        if (t.rank == 0 && a.hit) a.hit[row] = 0;
        if (a.scale != 0) row_each(t, p, &zero);
        return;
    }
    const float of_target = get(x[target]);
    struct online o = { x, -INFINITY, 0, of_target, target, false };
    row_each(t, p, &o);
    const float top = team_max(t, o.top), base = top == -INFINITY ? 0.0f : top;
    const float sum = team_sum(t, o.top == -INFINITY ? o.sum : o.sum * expf(o.top - base));
    const bool beaten = team_max(t, o.beaten ? 1.0f : 0.0f) != 0;
    if (t.rank == 0) a.loss[row] = logf(sum) + (base - of_target);
    if (t.rank == 0 && a.hit) a.hit[row] = beaten || of_target != of_target ? 0.0f : 1.0f;
    if (a.scale == 0) return;
    struct gradient g = { x, base, a.scale / sum, a.scale, target };
    row_each(t, p, &g);
}

static __global__ void __launch_bounds__(TEAM_MOST) cross_entropy_rows(const struct loss a)
{
    SHARED(float, room);
    const struct team t = team_of(a.team, room);

    for (int64_t row = t.row; row < a.rows; row += t.step)
        cross_entropy_row(a, t, row);
}

void CUDA(cross_entropy)(struct pawl_stream *s, float *loss, float *hit_or_null,
                         pawl_value *logits, const int32_t *target, int64_t rows, int64_t classes,
                         float scale)
{
    const struct teams t = teams_for(rows, classes, false);
    const struct loss a = { loss, hit_or_null, (value *)logits, target, NULL, rows, classes,
                            scale, t.size };

    LAUNCH(cross_entropy_rows, t.grid, t.block, TEAM_ROOM_BYTES, s, a);
}

// ---- means over a row

// One element's loss, and its gradient, both before the mean.
struct square {
    static __device__ float of(float x, float wanted, float *grad)
    {
        const float d = x - wanted;

        *grad = d * 2.0f;
        return d * d;
    }
};

struct binary {
    static __device__ float of(float x, float wanted, float *grad)
    {
        *grad = sigmoid(x) - wanted;
        return softplus(x) - x * wanted;
    }
};

template <class Term> struct mean {
    value *x;
    const float *wanted;
    float scale, sum;

    template <int W> __device__ __forceinline__ void at(int64_t i)
    {
        struct lanes<W> v = load<W>(x + i);

        UNROLL
        for (int l = 0; l < W; l++) {
            float grad;
            // The targets need not be aligned where the row is.
            sum += Term::of(v.at[l], wanted[i + l], &grad);
            v.at[l] = grad * scale;
        }
        if (scale != 0) store<W>(x + i, v);
    }
};

template <class Term>
static __global__ void __launch_bounds__(TEAM_MOST) mean_rows(const struct loss a)
{
    SHARED(float, room);
    const struct team t = team_of(a.team, room);

    for (int64_t row = t.row; row < a.rows; row += t.step) {
        value *x = a.x + row * a.cols;
        struct mean<Term> m = { x, a.wanted + row * a.cols, a.scale / (float)a.cols, 0 };
        row_each(t, parts_of(x, a.cols), &m);
        const float sum = team_sum(t, m.sum);
        if (t.rank == 0) a.loss[row] = sum / (float)a.cols;
    }
}

template <class Term>
static void launch_mean(struct pawl_stream *s, float *loss, pawl_value *x, const float *wanted,
                        int64_t rows, int64_t cols, float scale)
{
    const struct teams t = teams_for(rows, cols, false);
    const struct loss a = { loss, NULL, (value *)x, NULL, wanted, rows, cols, scale, t.size };

    LAUNCH(mean_rows<Term>, t.grid, t.block, TEAM_ROOM_BYTES, s, a);
}

void CUDA(mean_square)(struct pawl_stream *s, float *loss, pawl_value *out, const float *target,
                       int64_t rows, int64_t cols, float scale)
{
    launch_mean<square>(s, loss, out, target, rows, cols, scale);
}

void CUDA(binary_cross_entropy)(struct pawl_stream *s, float *loss, pawl_value *logits,
                                const float *target, int64_t rows, int64_t cols, float scale)
{
    launch_mean<binary>(s, loss, logits, target, rows, cols, scale);
}
