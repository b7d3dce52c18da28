// reduce.cu - sums over everything: as many blocks as the length says each sum their part, and one
// sums theirs, so the order is the same on every GPU. And the digest, whose order does not matter.

#include "kernels/cuda/lanes.h"

enum { BLOCKS = 1024, THREADS = 256, QUAD = 4 };
static_assert(BLOCKS * 2 * sizeof(uint64_t) <= PAWL_CUDA_SCRATCH_BYTES, "partial sums fit");

// Blocks for n pieces of 16 bytes: eight or more for each thread, up to what keeps any GPU busy.
static unsigned parts_for(int64_t n)
{
    const unsigned blocks = blocks_for(n / 8, THREADS);

    return blocks < BLOCKS ? blocks : (unsigned)BLOCKS;
}

// Over a block, given to its first thread. room: one for each warp.
template <class T> static __device__ inline T block_total(T x, T *room)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;

    for (int step = 16; step; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    __syncthreads();
    if (lane == 0) room[warp] = x;
    __syncthreads();
    T sum = 0;
    for (int i = 0; threadIdx.x == 0 && i < THREADS / 32; i++)
        sum += room[i];
    return sum;
}

// Four values are added in float; what grows is double.
template <int W> static __device__ inline float few(const float *x, bool squares)
{
    const struct lanes<W> v = load_floats<W>(x);
    float sum = 0;

    UNROLL
    for (int l = 0; l < W; l++)
        sum += squares ? v.at[l] * v.at[l] : v.at[l];
    return sum;
}

template <int W>
static __global__ void __launch_bounds__(THREADS) reduce_parts(double *part, const float *x,
                                                               int64_t n, bool squares)
{
    SHARED(double, room);
    const int64_t rest = n / W * W + (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    double sum = 0;

    EACH(i, n / W) sum += (double)few<W>(x + i * W, squares);
    if (rest < n) sum += (double)few<1>(x + rest, squares);
    sum = block_total(sum, room);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(THREADS) reduce_total(float *out, const double *part,
                                                               unsigned parts, float scale,
                                                               bool squares)
{
    SHARED(double, room);
    double sum = 0;

    for (unsigned i = threadIdx.x; i < parts; i += THREADS)
        sum += part[i];
    sum = block_total(sum, room);
    if (threadIdx.x == 0) *out = (float)(squares ? sqrt(sum) * (double)scale : sum);
}

static void reduce(struct pawl_stream *s, float *out, const float *x, int64_t n, float scale,
                   bool squares)
{
    const size_t room = THREADS / 32 * sizeof(double);
    const unsigned parts = parts_for(n / QUAD);
    double *part = (double *)pawl_cuda_scratch(s);

    if ((uintptr_t)x % 16 == 0)
        LAUNCH(reduce_parts<QUAD>, parts, THREADS, room, s, part, x, n, squares);
    else
        LAUNCH(reduce_parts<1>, parts, THREADS, room, s, part, x, n, squares);
    LAUNCH(reduce_total, 1, THREADS, room, s, out, part, parts, scale, squares);
}

void CUDA(sum)(struct pawl_stream *s, float *out, const float *x, int64_t n)
{
    reduce(s, out, x, n, 1, false);
}

void CUDA(norm)(struct pawl_stream *s, float *norm, const float *x, int64_t n, float scale)
{
    reduce(s, norm, x, n, scale, true);
}

// ---- digest (digest.h)

struct digest {
    uint64_t low, high;
};

static __device__ inline void add_word(struct digest *sum, uint64_t word, int64_t i)
{
    word ^= (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
    word = (word ^ word >> 33) * 0xff51afd7ed558ccdu;
    sum->low += word ^ word >> 33;
    sum->high += (word ^ word >> 29) * 0xc4ceb9fe1a85ec53u;
}

// The word at `at` of a piece that ends after `bytes` (1 to 8) more.
static __device__ inline uint64_t word_of(const unsigned char *at, int64_t bytes)
{
    uint64_t word = 0;

    for (int64_t b = 0; b < bytes; b++)
        word |= (uint64_t)at[b] << (8 * b);
    return word;
}

// Words in pairs of 16 bytes (A 16), or one by one from any address (A 1).
template <int A>
static __global__ void __launch_bounds__(THREADS) digest_parts(uint64_t *part,
                                                               const unsigned char *x,
                                                               int64_t bytes)
{
    SHARED(uint64_t, room);
    const int64_t pairs = A == 16 ? bytes / 16 : 0, words = (bytes + 7) / 8;
    struct digest sum = { 0, 0 };

    EACH(i, pairs) {
        const ulonglong2 pair = reinterpret_cast<const ulonglong2 *>(x)[i];
        add_word(&sum, pair.x, 2 * i);
        add_word(&sum, pair.y, 2 * i + 1);
    }
    EACH(i, words - 2 * pairs) {
        const int64_t at = 2 * pairs + i, left = bytes - 8 * at;
        add_word(&sum, word_of(x + 8 * at, left < 8 ? left : 8), at);
    }
    const uint64_t low = block_total(sum.low, room), high = block_total(sum.high, room);
    if (threadIdx.x) return;
    part[2 * blockIdx.x] = low;
    part[2 * blockIdx.x + 1] = high;
}

static __global__ void __launch_bounds__(THREADS) digest_total(uint64_t *out, const uint64_t *part,
                                                               unsigned parts)
{
    SHARED(uint64_t, room);

    for (int half = 0; half < 2; half++) {
        uint64_t sum = 0;
        for (unsigned i = threadIdx.x; i < parts; i += THREADS)
            sum += part[2 * i + (unsigned)half];
        sum = block_total(sum, room);
        if (threadIdx.x == 0) out[half] = sum;
    }
}

void CUDA(digest)(struct pawl_stream *s, uint64_t *out, const void *x, int64_t bytes)
{
    const size_t room = THREADS / 32 * sizeof(uint64_t);
    const unsigned parts = parts_for(bytes / 16);
    uint64_t *part = (uint64_t *)pawl_cuda_scratch(s);
    const unsigned char *at = (const unsigned char *)x;

    if ((uintptr_t)x % 16 == 0)
        LAUNCH(digest_parts<16>, parts, THREADS, room, s, part, at, bytes);
    else
        LAUNCH(digest_parts<1>, parts, THREADS, room, s, part, at, bytes);
    LAUNCH(digest_total, 1, THREADS, room, s, out, part, parts);
}
