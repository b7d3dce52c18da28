// attention.cu - softmax(q k^T / sqrt(dim)) v without the (time, time) matrix: keys in tiles, the
// softmax carried along (Milakov and Gimelshein, 2018; Dao, 2023).
//
// A block is one head's run of queries, each warp a part of them:
//
//     copy q and the first k
//     for each tile of keys up to the diagonal:
//         wait for k      copy v        scores = q k^T, weights = exp(scores - top), sums
//         wait for v      copy next k   out = out * shrink + weights v
//     out / sums
//
// Sums stay in registers, dealt out as mma.h says: four lanes share a row.

#include "kernels/cuda/attention.h"

namespace {

// Rows of 16 per warp, keys per tile. Registers hold MI * (DIM + KEYS) / 2 sums per lane; shared
// memory stays below the 99 KiB of sm_86, 89 and 120.
template <int DIM>
struct forward_plan {
    static constexpr bool half = sizeof(value) == 2;
    static constexpr int warps = DIM > 128 && !half ? 2 : 4;
    static constexpr int mi = half && DIM <= 128 ? 2 : 1;
    static constexpr int keys = half ? DIM > 128 ? 32 : 64 : DIM > 128 ? 16 : 32;
    static constexpr int threads = warps * 32, queries = warps * mi * 16, line = DIM + TILE_PAD;
    static constexpr int room = sums_room(mi * 16, keys);
    static constexpr int bytes
        = ((queries + 2 * keys) * line + warps * room) * (int)sizeof(value);
    static_assert(bytes <= 99 << 10, "the least that sm_80 to sm_120 have");
};

// Scores of keys that a query does not see; the lane's first row and the tile's first key given.
template <int MI, int NJ>
__device__ inline void hide(float (&score)[MI][NJ][4], int query, int key, const attention_shape &a)
{
    UNROLL
    for (int i = 0; i < MI; i++) {
        UNROLL
        for (int j = 0; j < NJ * 4; j++) {
            const int k = key + j / 4 * 8 + j % 2, q = query + i * 16 + j % 4 / 2 * 8;
            if (k >= a.time || (a.causal && k > q)) score[i][j / 4][j % 4] = -INFINITY;
        }
    }
}

// One row's scores become weights; its top and sum move on, and what it has gathered shrinks.
template <int NJ, int DJ>
__device__ inline void weigh_row(float (&score)[NJ][4], float (&out)[DJ][4], int h, float &top,
                                 float &sum, float scale_2)
{
    float most = top;

    UNROLL
    for (int j = 0; j < NJ; j++)
        most = fmaxf(most, fmaxf(score[j][h * 2], score[j][h * 2 + 1]));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
    // While all scores are -infinity or NaN there is no top; weights are 0 or NaN then.
    const float base = most == -INFINITY ? 0.0f : most * scale_2;
    const float shrink = exp2f(top * scale_2 - base);
    float part = 0;
    UNROLL
    for (int j = 0; j < NJ; j++) {
        UNROLL
        for (int e = h * 2; e < h * 2 + 2; e++) {
            score[j][e] = exp2f(score[j][e] * scale_2 - base);
            part += score[j][e];
        }
    }
    top = most;
    sum = sum * shrink + part;
    UNROLL
    for (int j = 0; j < DJ; j++) {
        out[j][h * 2] *= shrink;
        out[j][h * 2 + 1] *= shrink;
    }
}

// The rows' sums become what their outputs are multiplied by, once the four lanes' are added; lse.
template <int MI>
__device__ inline void close_rows(float (&sum)[MI][2], const float (&top)[MI][2], float *lse,
                                  int first, const attention_shape &a)
{
    const int lane = (int)threadIdx.x % 32;

    UNROLL
    for (int i = 0; i < MI * 2; i++) {
        float &total = sum[i / 2][i % 2];
        const int t = first + i * 8 + lane / 4;
        total += __shfl_xor_sync(0xffffffffu, total, 1);
        total += __shfl_xor_sync(0xffffffffu, total, 2);
        if (lane % 4 == 0 && t < a.time) lse[t] = top[i / 2][i % 2] * a.scale + logf(total);
        total = 1.0f / total;
    }
}

// Where a block is: runs of queries that see the most keys go first, so that blocks end together.
struct run_place {
    int item, head, kv, start, end;  // queries from start, keys before end
};

template <int QUERIES>
__device__ inline run_place run_of(const attention_shape &a)
{
    const int runs = (a.time + QUERIES - 1) / QUERIES, heads = (int)gridDim.x / runs;
    const int both = (int)blockIdx.x % heads, head = both % a.heads;
    const int start = (runs - 1 - (int)blockIdx.x / heads) * QUERIES;
    const bool whole = !a.causal || start + QUERIES > a.time;

    return { both / a.heads, head, head / (a.heads / a.kv_heads), start,
             whole ? a.time : start + QUERIES };
}

template <int DIM>
__global__ void __launch_bounds__(forward_plan<DIM>::threads)
attend(value *out, float *lse, const value *qkv, attention_shape a)
{
    typedef forward_plan<DIM> plan;
    constexpr int nj = plan::keys / 8, dj = DIM / 8;
    SHARED(value, queries);
    value *keys = queries + plan::queries * plan::line, *values = keys + plan::keys * plan::line;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    value *room = values + plan::keys * plan::line + warp * plan::room;
    const run_place at = run_of<plan::queries>(a);
    const int first = at.start + warp * plan::mi * 16, last = first + plan::mi * 16 - 1;
    const strip k = key_strip(a, qkv, at.item, at.kv), v = value_strip(a, qkv, at.item, at.kv);
    float sum_v[plan::mi][dj][4] = {}, top[plan::mi][2], sum[plan::mi][2] = {};

    UNROLL
    for (int i = 0; i < plan::mi * 2; i++)
        top[i / 2][i % 2] = -INFINITY;
    copy_rows<plan::queries, DIM, plan::threads>(queries, query_strip(a, qkv, at.item, at.head),
                                                 at.start, a);
    copy_rows<plan::keys, DIM, plan::threads>(keys, k, 0, a);
    copy_close();
    ROLL
    for (int key = 0; key < at.end; key += plan::keys) {
        const bool seen = !a.causal || key <= last;
        float score[plan::mi][nj][4] = {};
        // The keys are there, and nobody reads the values before any more.
        copy_wait<0>();
        __syncthreads();
        copy_rows<plan::keys, DIM, plan::threads>(values, v, key, a);
        copy_close();
        if (seen) {
            multiply<DIM, false, false>(score, queries + warp * plan::mi * 16 * plan::line,
                                        plan::line, keys, plan::line);
            if (key + plan::keys > (a.causal ? first + 1 : a.time) || key + plan::keys > a.time)
                hide(score, first + lane / 4, key + lane % 4 * 2, a);
            UNROLL
            for (int i = 0; i < plan::mi; i++) {
                UNROLL
                for (int h = 0; h < 2; h++)
                    weigh_row(score[i], sum_v[i], h, top[i][h], sum[i][h], a.scale_2);
            }
        }
        // The values are there, and nobody reads these keys any more.
        copy_wait<0>();
        __syncthreads();
        if (key + plan::keys < at.end)
            copy_rows<plan::keys, DIM, plan::threads>(keys, k, key + plan::keys, a);
        copy_close();
        if (seen) multiply_sums<true>(sum_v, score, values, plan::line, room);
    }
    close_rows(sum, top, lse + ((int64_t)at.item * a.heads + at.head) * a.time, first, a);
    const strip to = out_strip(a, out, at.item, at.head);
    write_rows((value *)to.at, to.row, first, sum_v, sum, a);
}

template <int DIM>
void launch_attend(struct pawl_stream *s, value *out, float *lse, const value *qkv,
                   const struct pawl_attention *p)
{
    typedef forward_plan<DIM> plan;
    const attention_shape a = attention_shape_of(p, (uintptr_t)qkv | (uintptr_t)out);
    const int64_t runs = (p->time + plan::queries - 1) / plan::queries;
    const auto attention = attend<DIM>;

    allow_shared(attention, plan::bytes);
    LAUNCH(attention, (unsigned)(runs * p->heads * p->batch), plan::threads, plan::bytes, s, out,
           lse, qkv, a);
}

}  // namespace

void CUDA(attention)(struct pawl_stream *s, pawl_value *out, float *lse, const pawl_value *qkv,
                     const struct pawl_attention *shape)
{
    const auto launch = shape->dim <= 32 ? launch_attend<32> : shape->dim <= 64 ? launch_attend<64>
                        : shape->dim <= 128 ? launch_attend<128> : launch_attend<256>;

    if (shape->batch < 1 || shape->time < 1 || !attention_fits(s, shape)) return;
    launch(s, (value *)out, lse, (const value *)qkv, shape);
}
