// rope.cu - rotary position embedding (Su and others, 2021): pairs of a head's dimensions turn by
// an angle that grows with the position. Angles in double: at position 100,000 a float would be off
// by a hundredth of a turn. A block works out those of one position and turns some samples' rows.

#include "kernels/cuda/lanes.h"

struct rope {
    value *out;
    const value *x;
    struct pawl_rope r;
    int64_t parts, each;  // of the batch
};

static __device__ inline void turn(float &a, float &b, float cosine, float sine)
{
    const float turned = a * cosine - b * sine;

    b = b * cosine + a * sine;
    a = turned;
}

// W pairs of a head, the i-th first: neighbours, or half of what turns apart.
template <int W>
static __device__ inline void turn_pairs(const struct pawl_rope &r, value *out, const value *x,
                                         int64_t i, const float *cosine, const float *sine)
{
    const int64_t first = r.interleaved ? 2 * i : i;
    const int64_t second = r.interleaved ? 2 * i + W : i + r.rotary / 2;
    struct lanes<W> a = load<W>(x + first), b = load<W>(x + second);

    if (!r.interleaved) {
        UNROLL
        for (int l = 0; l < W; l++)
            turn(a.at[l], b.at[l], cosine[i + l], sine[i + l]);
    } else if (W == 1) {
        turn(a.at[0], b.at[0], cosine[i], sine[i]);
    } else {
        UNROLL
        for (int l = 0; l + 1 < W; l += 2) {
            turn(a.at[l], a.at[l + 1], cosine[i + l / 2], sine[i + l / 2]);
            turn(b.at[l], b.at[l + 1], cosine[i + (W + l) / 2], sine[i + (W + l) / 2]);
        }
    }
    store<W>(out + first, a);
    store<W>(out + second, b);
}

template <int W> static __global__ void rope_rows(const struct rope a)
{
    SHARED(float, cosine);  // (half), then the sines
    const struct pawl_rope &r = a.r;
    const int64_t half = r.rotary / 2, packs = half / W, turned = r.heads * r.dim;
    float *const sine = cosine + half;

    for (int64_t i = blockIdx.x; i < r.time * a.parts; i += gridDim.x) {
        const int64_t position = i / a.parts, first = i % a.parts * a.each;
        const int64_t end = first + a.each < r.batch ? first + a.each : r.batch;
        __syncthreads();
        for (int64_t j = threadIdx.x; j < half; j += blockDim.x) {
            const double speed = pow(r.theta, -2 * (double)j / (double)r.rotary);
            const double angle = (double)position * speed * (r.back ? -1 : 1);
            cosine[j] = (float)cos(angle);
            sine[j] = (float)sin(angle);
        }
        __syncthreads();
        for (int64_t j = threadIdx.x; j < (end - first) * r.heads * packs; j += blockDim.x) {
            const int64_t sample = first + j / packs / r.heads, head = j / packs % r.heads;
            const int64_t at = (sample * r.time + position) * r.width + head * r.dim;
            turn_pairs<W>(r, a.out + at, a.x + at, j % packs * W, cosine, sine);
        }
        if (a.out == a.x) continue;
        const int64_t head_rest = r.dim - r.rotary, rest = r.heads * head_rest + r.width - turned;
        for (int64_t j = threadIdx.x; j < (end - first) * rest; j += blockDim.x) {
            const int64_t k = j % rest, inside = r.heads * head_rest;
            const int64_t at = ((first + j / rest) * r.time + position) * r.width
                               + (k < inside ? k / head_rest * r.dim + r.rotary + k % head_rest
                                             : turned + k - inside);
            a.out[at] = a.x[at];
        }
    }
}

void CUDA(rope)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                const struct pawl_rope *rope)
{
    enum { ENOUGH = 1056, THREADS = 256 };  // 8 blocks for each of an H200's processors
    struct rope a = { (value *)out, (const value *)x, *rope, 1, 0 };
    const int64_t half = rope->rotary / 2;
    const bool fits = half % WIDE == 0 && wide(rope->dim, a.out, a.x) && rope->width % WIDE == 0;

    while (a.parts < rope->batch && a.parts * rope->time < ENOUGH)
        a.parts *= 2;
    a.each = (rope->batch + a.parts - 1) / a.parts;
    LAUNCH_LANES(fits, rope_rows, blocks_for(rope->time * a.parts, 1), THREADS,
                 2 * (size_t)half * sizeof(float), s, a);
}
