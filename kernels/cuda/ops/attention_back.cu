// attention_back.cu - the gradients of attention.cu, with the weights computed anew from lse (Dao,
// 2023). With p = exp(q k^T / sqrt(dim) - lse), d the row sums of out_grad * out:
//
//     v_grad = p^T out_grad        s_grad = p * (out_grad v^T - d) / sqrt(dim)
//     k_grad = s_grad^T q          q_grad = s_grad k
//
// Three passes, so that every sum has one owner and one order:
//
//     1  d, kept where q_grad will lie
//     2  a block has keys, and meets all queries that see them: k_grad, v_grad
//     3  a block has queries, and meets all keys they see:      q_grad
//
// 2 and 3 are the same sweep. Rows are the block's own (keys; queries), columns stream by (queries;
// keys), each a pair of tiles: k and v, q and out_grad.
//
//     score = own[0] met[0]^T      back = own[1] met[1]^T      weights, s_grad from both
//     grad[0] += s_grad met[0]     grad[1] += weights met[1]   (the second in pass 2 only)
//
// Weights turn from sums into factors within a lane's registers, whichever way round they are.

#include "kernels/cuda/attention.h"

namespace {

struct backward {
    value *qkv_grad;
    const value *out_grad, *qkv, *out;
    const float *lse;
    attention_shape a;
};

enum { KEYS_OF_QUERIES = 1, GRAD_0 = 2, GRAD_1 = 4 };  // what a sweep does: pass 2, and which sums

// As attention.cu's, with up to 2 * MI * DIM / 2 + MI * cols sums per lane. Beyond dim 128 pass 2
// runs once for each of its gradients.
template <int DIM, int WHAT>
struct sweep_plan {
    static constexpr bool half = sizeof(value) == 2, two = DIM <= 64;
    static constexpr int mi = half && two ? 2 : 1;
    static constexpr int warps = half ? DIM > 128 ? 2 : 4 : two ? 4 : DIM > 128 ? 1 : 2;
    static constexpr int cols = half ? DIM > 128 ? 16 : 32 : two ? 32 : DIM > 128 ? 8 : 16;
    static constexpr int threads = warps * 32, rows = warps * mi * 16, line = DIM + TILE_PAD;
    static constexpr int room = sums_room(mi * 16, cols);
    // Per tile of columns, two numbers each: lse in powers of two, and d. Two tiles in turn.
    static constexpr int facts_bytes = 2 * 2 * cols * (int)sizeof(float);
    static constexpr int bytes
        = facts_bytes + (2 * rows * line + 4 * cols * line + warps * room) * (int)sizeof(value);
    static_assert(bytes <= 99 << 10, "the least that sm_80 to sm_120 have");
};

// ---- d, in the place of the first elements of q_grad

__device__ inline void keep_sum(value *at, float x, int dim)
{
#if PAWL_BF16
    const unsigned bits = __float_as_uint(x);

    if (dim == 1) {
        at[0] = put(x);  // no room for more
        return;
    }
    at[0] = __ushort_as_bfloat16((unsigned short)(bits & 0xffff));
    at[1] = __ushort_as_bfloat16((unsigned short)(bits >> 16));
#else
    (void)dim;
    at[0] = x;
#endif
}

__device__ inline float kept_sum(const value *at, int dim)
{
#if PAWL_BF16
    if (dim == 1) return get(at[0]);
    return __uint_as_float((unsigned)__bfloat16_as_ushort(at[0])
                           | (unsigned)__bfloat16_as_ushort(at[1]) << 16);
#else
    (void)dim;
    return at[0];
#endif
}

// A warp has one query of one head.
__global__ void sum_products(backward b, int64_t count)
{
    const int lane = (int)threadIdx.x % 32, warps = (int)blockDim.x / 32;
    const attention_shape &a = b.a;

    for (int64_t i = (int64_t)blockIdx.x * warps + threadIdx.x / 32; i < count;
         i += (int64_t)gridDim.x * warps) {
        const int64_t place = i / a.heads, head = i % a.heads;
        const int64_t from = place * a.out_row + head * a.dim;
        float sum = 0;
        for (int d = lane; d < a.dim; d += 32)
            sum += get(b.out_grad[from + d]) * get(b.out[from + d]);
        sum = warp_sum(sum);
        if (lane == 0) keep_sum(b.qkv_grad + place * a.qkv_row + head * a.dim, sum, a.dim);
    }
}

// ---- the sweep

// Where a block is, and what streams past it: tiles begin.. of each of its heads.
struct course {
    int item, own, start;   // head of the own rows, their first position
    int begin, tiles;       // first position of the columns, tiles per head
    int met, heads;         // first head of the columns, and how many in turn
};

template <class Plan, int WHAT>
__device__ inline course course_of(const attention_shape &a)
{
    const int own_heads = WHAT & KEYS_OF_QUERIES ? a.kv_heads : a.heads;
    const int runs = (a.time + Plan::rows - 1) / Plan::rows, both_heads = (int)gridDim.x / runs;
    const int both = (int)blockIdx.x % both_heads, run = (int)blockIdx.x / both_heads;
    const int group = a.heads / a.kv_heads;
    course c = { both / own_heads, both % own_heads, 0, 0, 0, 0, 1 };
    int end = a.time;

    // The rows that meet the most go first: early keys, late queries.
    if (WHAT & KEYS_OF_QUERIES) {
        c.start = run * Plan::rows;
        c.begin = a.causal ? c.start / Plan::cols * Plan::cols : 0;
        c.met = c.own * group;
        c.heads = group;
    } else {
        c.start = (runs - 1 - run) * Plan::rows;
        if (a.causal && c.start + Plan::rows < end) end = c.start + Plan::rows;
        c.met = c.own / group;
    }
    c.tiles = (end - c.begin + Plan::cols - 1) / Plan::cols;
    return c;
}

template <class Plan, int DIM, int WHAT>
__device__ inline void copy_met(value *tile, const backward &b, const course &c, int turn)
{
    const int head = c.met + turn / c.tiles, first = c.begin + turn % c.tiles * Plan::cols;
    const attention_shape &a = b.a;
    const bool queries = WHAT & KEYS_OF_QUERIES;

    copy_rows<Plan::cols, DIM, Plan::threads>(
        tile, queries ? query_strip(a, b.qkv, c.item, head) : key_strip(a, b.qkv, c.item, head),
        first, a);
    copy_rows<Plan::cols, DIM, Plan::threads>(
        tile + Plan::cols * Plan::line,
        queries ? out_strip(a, b.out_grad, c.item, head) : value_strip(a, b.qkv, c.item, head),
        first, a);
}

template <class Plan, int DIM, int WHAT>
__device__ inline void copy_own(value *own, const backward &b, const course &c)
{
    const attention_shape &a = b.a;
    const bool keys = WHAT & KEYS_OF_QUERIES;

    copy_rows<Plan::rows, DIM, Plan::threads>(
        own, keys ? key_strip(a, b.qkv, c.item, c.own) : query_strip(a, b.qkv, c.item, c.own),
        c.start, a);
    copy_rows<Plan::rows, DIM, Plan::threads>(
        own + Plan::rows * Plan::line,
        keys ? value_strip(a, b.qkv, c.item, c.own) : out_strip(a, b.out_grad, c.item, c.own),
        c.start, a);
}

// lse, in powers of two, and d of a query; 0 where there is none.
__device__ inline float2 facts_of(const backward &b, int item, int head, int t)
{
    const attention_shape &a = b.a;
    const int64_t place = (int64_t)item * a.time + t;

    if (t >= a.time) return make_float2(0.0f, 0.0f);
    return make_float2(b.lse[((int64_t)item * a.heads + head) * a.time + t] * log2_e,
                       kept_sum(b.qkv_grad + place * a.qkv_row + (int64_t)head * a.dim, a.dim));
}

// Scores become weights, and back becomes s_grad but for its factor. own: the facts of the lane's
// rows; met: of the tile's columns. row and col: the lane's first positions.
template <int WHAT, int MI, int NJ>
__device__ inline void weigh(float (&score)[MI][NJ][4], float (&back)[MI][NJ][4],
                             const float2 (&own)[MI][2], const float2 *met, int row, int col,
                             bool edge, const attention_shape &a)
{
    const bool by_keys = WHAT & KEYS_OF_QUERIES;

    UNROLL
    for (int j = 0; j < NJ; j++) {
        UNROLL
        for (int e = 0; e < 2; e++) {
            const int c = col + j * 8 + e;
            const float2 column = by_keys ? met[j * 8 + (int)threadIdx.x % 4 * 2 + e]
                                          : make_float2(0.0f, 0.0f);
            UNROLL
            for (int i = 0; i < MI * 2; i++) {
                const int r = row + i * 8, query = by_keys ? c : r, key = by_keys ? r : c;
                const float2 fact = by_keys ? column : own[i / 2][i % 2];
                float &weight = score[i / 2][j][i % 2 * 2 + e];
                float &grad = back[i / 2][j][i % 2 * 2 + e];
                weight = exp2f(weight * a.scale_2 - fact.x);
                grad = weight * (grad - fact.y);
                if (edge && (query >= a.time || key >= a.time || (a.causal && key > query)))
                    weight = grad = 0.0f;
            }
        }
    }
}

template <int DIM, int WHAT>
__device__ inline void write_grads(const backward &b, const course &c, int first,
                                   const float (&grad_0)[sweep_plan<DIM, WHAT>::mi][DIM / 8][4],
                                   const float (&grad_1)[sweep_plan<DIM, WHAT>::mi][DIM / 8][4])
{
    constexpr int mi = sweep_plan<DIM, WHAT>::mi;
    const attention_shape &a = b.a;
    float factor[mi][2];

    UNROLL
    for (int i = 0; i < mi * 2; i++)
        factor[i / 2][i % 2] = a.scale;
    if (WHAT & GRAD_0) {
        const strip to = WHAT & KEYS_OF_QUERIES ? key_strip(a, b.qkv_grad, c.item, c.own)
                                                : query_strip(a, b.qkv_grad, c.item, c.own);
        write_rows((value *)to.at, to.row, first, grad_0, factor, a);
    }
    UNROLL
    for (int i = 0; i < mi * 2; i++)
        factor[i / 2][i % 2] = 1.0f;
    if (WHAT & GRAD_1) {
        const strip to = value_strip(a, b.qkv_grad, c.item, c.own);
        write_rows((value *)to.at, to.row, first, grad_1, factor, a);
    }
}

template <int DIM, int WHAT>
__global__ void __launch_bounds__(sweep_plan<DIM, WHAT>::threads)
sweep(backward b)
{
    typedef sweep_plan<DIM, WHAT> plan;
    constexpr bool by_keys = WHAT & KEYS_OF_QUERIES;
    constexpr int nj = plan::cols / 8, met_size = 2 * plan::cols * plan::line;
    SHARED(float2, facts);
    const attention_shape &a = b.a;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    value *own = (value *)(facts + 2 * plan::cols), *tiles = own + 2 * plan::rows * plan::line;
    value *room = tiles + 2 * met_size + warp * plan::room;
    const course c = course_of<plan, WHAT>(a);
    const int first = c.start + warp * plan::mi * 16, turns = c.heads * c.tiles;
    const value *mine = own + warp * plan::mi * 16 * plan::line;
    float grad_0[plan::mi][DIM / 8][4] = {}, grad_1[plan::mi][DIM / 8][4] = {};
    float2 row_facts[plan::mi][2], next = make_float2(0.0f, 0.0f);

    copy_own<plan, DIM, WHAT>(own, b, c);
    copy_met<plan, DIM, WHAT>(tiles, b, c, 0);
    copy_close();
    UNROLL
    for (int i = 0; i < plan::mi * 2; i++)
        row_facts[i / 2][i % 2] = by_keys ? next
                                          : facts_of(b, c.item, c.own, first + i * 8 + lane / 4);
    if (by_keys && (int)threadIdx.x < plan::cols)
        facts[threadIdx.x] = facts_of(b, c.item, c.met, c.begin + (int)threadIdx.x);
    ROLL
    for (int turn = 0; turn < turns; turn++) {
        const int at = c.begin + turn % c.tiles * plan::cols, ahead = turn + 1;
        const value *met = tiles + turn % 2 * met_size;
        float score[plan::mi][nj][4] = {}, back[plan::mi][nj][4] = {};
        // This turn's tiles are there, and nobody reads the ones before any more.
        copy_wait<0>();
        __syncthreads();
        if (ahead < turns) {
            copy_met<plan, DIM, WHAT>(tiles + ahead % 2 * met_size, b, c, ahead);
            if (by_keys && (int)threadIdx.x < plan::cols)
                next = facts_of(b, c.item, c.met + ahead / c.tiles,
                                c.begin + ahead % c.tiles * plan::cols + (int)threadIdx.x);
        }
        copy_close();
        multiply<DIM, false, false>(score, mine, plan::line, met, plan::line);
        multiply<DIM, false, false>(back, mine + plan::rows * plan::line, plan::line,
                                    met + plan::cols * plan::line, plan::line);
        const int key_end = by_keys ? first + plan::mi * 16 : at + plan::cols;
        const bool edge = first + plan::mi * 16 > a.time || at + plan::cols > a.time
                          || (a.causal && key_end > (by_keys ? at : first) + 1);
        weigh<WHAT>(score, back, row_facts, facts + turn % 2 * plan::cols, first + lane / 4,
                    at + lane % 4 * 2, edge, a);
        if (WHAT & GRAD_1)
            multiply_sums<true>(grad_1, score, met + plan::cols * plan::line, plan::line, room);
        if (WHAT & GRAD_0) multiply_sums<true>(grad_0, back, met, plan::line, room);
        if (by_keys && (int)threadIdx.x < plan::cols)
            facts[ahead % 2 * plan::cols + (int)threadIdx.x] = next;
    }
    write_grads<DIM, WHAT>(b, c, first, grad_0, grad_1);
}

template <int DIM, int WHAT>
void launch_sweep(struct pawl_stream *s, const backward &b, const struct pawl_attention *p)
{
    typedef sweep_plan<DIM, WHAT> plan;
    const int64_t runs = (p->time + plan::rows - 1) / plan::rows;
    const int64_t heads = WHAT & KEYS_OF_QUERIES ? p->kv_heads : p->heads;
    const auto attention_sweep = sweep<DIM, WHAT>;

    allow_shared(attention_sweep, plan::bytes);
    LAUNCH(attention_sweep, (unsigned)(runs * heads * p->batch), plan::threads, plan::bytes, s, b);
}

template <int DIM>
void launch_sweeps(struct pawl_stream *s, const backward &b, const struct pawl_attention *p)
{
    if constexpr (DIM > 128) {
        launch_sweep<DIM, KEYS_OF_QUERIES | GRAD_0>(s, b, p);
        launch_sweep<DIM, KEYS_OF_QUERIES | GRAD_1>(s, b, p);
    } else {
        launch_sweep<DIM, KEYS_OF_QUERIES | GRAD_0 | GRAD_1>(s, b, p);
    }
    launch_sweep<DIM, GRAD_0>(s, b, p);
}

}  // namespace

void CUDA(attention_back)(struct pawl_stream *s, pawl_value *qkv_grad, const pawl_value *out_grad,
                          const pawl_value *qkv, const pawl_value *out, const float *lse,
                          const struct pawl_attention *shape)
{
    const uintptr_t memory = (uintptr_t)qkv_grad | (uintptr_t)out_grad | (uintptr_t)qkv;
    const backward b = { (value *)qkv_grad, (const value *)out_grad, (const value *)qkv,
                         (const value *)out, lse, attention_shape_of(shape, memory) };
    const int64_t queries = shape->batch * shape->time * shape->heads;
    const auto launch = shape->dim <= 32 ? launch_sweeps<32> : shape->dim <= 64 ? launch_sweeps<64>
                        : shape->dim <= 128 ? launch_sweeps<128> : launch_sweeps<256>;

    if (queries < 1 || !attention_fits(s, shape)) return;
    LAUNCH(sum_products, blocks_for(queries, 8), 256, 0, s, b, queries);
    launch(s, b, shape);
}
