// mma_simt.h - the instructions of mma.h among fibers: what each lane holds goes through a room
// that its warp shares, by the layouts of the PTX ISA (section 9.7.14, mma.m16n8k16 and ldmatrix).
//
// A copy happens at its wait and not before, so that a wait or a barrier left out shows.

#ifndef PAWL_CUDA_MMA_SIMT_H
#define PAWL_CUDA_MMA_SIMT_H

#include <string.h>

#define UNROLL
#define ROLL

template <class Kernel>
static inline void allow_shared(Kernel *kernel, int bytes)
{
    (void)kernel;
    (void)bytes;
}

typedef uint32_t simt_chunk __attribute__((vector_size(16), may_alias));

enum { SIMT_WARPS = 32, SIMT_COPIES = 128 };

struct simt_copy {
    void *to;
    const void *from;
    bool there;
    int group;
};

struct simt_copies {
    struct simt_copy copy[SIMT_COPIES];
    int count, group;
};

// What a lane shows its warp. Two in turn: who is past the barrier of one meeting may write for
// the next while others still read.
struct simt_shown {
    const void *row;
    uint32_t a[4], b[2];
};

struct simt_meeting {
    struct simt_shown shown[2][32];
    int turn[32];
};

static thread_local struct simt_copies simt_copies[SIMT_WARPS * 32];
static thread_local struct simt_meeting simt_meetings[SIMT_WARPS];

static inline void copy_16(void *shared, const void *from, bool there)
{
    struct simt_copies *mine = simt_copies + threadIdx.x;

    if (mine->count == SIMT_COPIES) __builtin_trap();
    mine->copy[mine->count++] = { shared, from, there, mine->group };
}

static inline void copy_close() { simt_copies[threadIdx.x].group++; }

template <int LEFT>
static inline void copy_wait()
{
    struct simt_copies *mine = simt_copies + threadIdx.x;
    int kept = 0;

    for (int i = 0; i < mine->count; i++) {
        const struct simt_copy c = mine->copy[i];
        if (c.group >= mine->group - LEFT)
            mine->copy[kept++] = c;
        else
            *(simt_chunk *)c.to = c.there ? *(const simt_chunk *)c.from : simt_chunk{};
    }
    mine->count = kept;
    if (kept == 0) mine->group = 0;
}

// Shows mine, and returns what all lanes of the warp show.
static inline const struct simt_shown *meet(const struct simt_shown &mine)
{
    const unsigned lane = threadIdx.x % 32;
    struct simt_meeting *m = simt_meetings + threadIdx.x / 32;
    const int turn = m->turn[lane] ^= 1;

    m->shown[turn][lane] = mine;
    __syncwarp();
    return m->shown[turn];
}

static inline uint32_t two_of(uint16_t low, uint16_t high)
{
    return (uint32_t)low | (uint32_t)high << 16;
}

static inline void load_matrices(uint32_t out[4], const void *row)
{
    const unsigned lane = threadIdx.x % 32;
    const struct simt_shown *all = meet({ row, {}, {} });

    for (unsigned i = 0; i < 4; i++)
        memcpy(out + i, (const char *)all[8 * i + lane / 4].row + lane % 4 * 4, 4);
}

static inline void load_matrices_across(uint32_t out[4], const void *row)
{
    const unsigned lane = threadIdx.x % 32;
    const struct simt_shown *all = meet({ row, {}, {} });

    for (unsigned i = 0; i < 4; i++) {
        uint16_t two[2];
        for (unsigned e = 0; e < 2; e++)
            memcpy(two + e, (const char *)all[8 * i + lane % 4 * 2 + e].row + lane / 4 * 2, 2);
        out[i] = two_of(two[0], two[1]);
    }
}

static inline float low_of(uint32_t pair)
{
    float x;

    pair <<= 16;
    memcpy(&x, &pair, 4);
    return x;
}

static inline float high_of(uint32_t pair) { return low_of(pair >> 16); }

static inline void multiply_16_8_16(float sum[4], const uint32_t a[4], const uint32_t b[2])
{
    const unsigned lane = threadIdx.x % 32;
    const struct simt_shown *all = meet({ NULL, { a[0], a[1], a[2], a[3] }, { b[0], b[1] } });

    for (unsigned p = 0; p < 8; p++) {  // pairs along k
        const uint32_t *row = all[lane / 4 * 4 + p % 4].a + p / 4 * 2;
        for (unsigned e = 0; e < 2; e++) {
            const uint32_t column = all[(lane % 4 * 2 + e) * 4 + p % 4].b[p / 4];
            sum[e] += low_of(row[0]) * low_of(column) + high_of(row[0]) * high_of(column);
            sum[2 + e] += low_of(row[1]) * low_of(column) + high_of(row[1]) * high_of(column);
        }
    }
}

static inline uint16_t bits_of(float x)
{
    const __nv_bfloat16 rounded = __float2bfloat16(x);
    uint16_t bits;

    memcpy(&bits, &rounded, 2);
    return bits;
}

static inline uint32_t pair_of(float low, float high)
{
    return two_of(bits_of(low), bits_of(high));
}

#endif
