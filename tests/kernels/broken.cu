// broken.cu - see broken.h.

#include "tests/kernels/broken.h"

#include "kernels/cuda/cuda.h"

enum { THREADS = 64 };

static __global__ void left(float *out)
{
    if (threadIdx.x < 32) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}

static __global__ void apart(float *out)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 1;
}

static __global__ void lane(float *out)
{
    if (threadIdx.x == 7) return;
    out[threadIdx.x] = warp_sum(1);
}

static __global__ void exchanges(float *out)
{
    if (threadIdx.x % 32 < 16)
        out[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0);
    else
        out[threadIdx.x] = (float)__any_sync(0xffffffffu, 1);
}

static __global__ void mask(float *out) { out[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 0); }

static __global__ void whole(float *out) { out[threadIdx.x] = warp_sum(1); }

static __global__ void unwritten(float *out, bool first)
{
    SHARED(float, room);

    if (first && blockIdx.x == 0) room[threadIdx.x] = 1;
    __syncthreads();
    if (!first || blockIdx.x == 1) out[threadIdx.x] = room[63 - threadIdx.x];
}

static __global__ void past(float *out)
{
    SHARED(short, room);

    room[threadIdx.x] = 1;
    out[threadIdx.x] = 1;
}

static __global__ void race_read(float *out)
{
    SHARED(float, room);

    room[threadIdx.x] = 0;
    __syncthreads();
    room[threadIdx.x] = 1;
    out[threadIdx.x] = room[63 - threadIdx.x];
}

static __global__ void race_write(float *out)
{
    SHARED(float, room);

    room[threadIdx.x] = 1;
    __syncthreads();
    const float x = room[63 - threadIdx.x];
    room[threadIdx.x] = x + 1;
    out[threadIdx.x] = x;
}

// Neighbours of a warp exchange through shared memory.
static __global__ void race_warp(float *out, int vote)
{
    SHARED(float, room);

    room[threadIdx.x] = 0;
    __syncwarp();
    room[threadIdx.x] = 1;
    if (vote) __any_sync(0xffffffffu, vote);
    out[threadIdx.x] = room[threadIdx.x ^ 1];
}

static __global__ void race_same(float *out)
{
    SHARED(float, room);

    room[0] = 1;
    out[threadIdx.x] = 1;
}

static __global__ void sum(float *out)
{
    SHARED(float, room);
    float x = 0;

    for (int i = 0; i < 3; i++)
        x = block_sum((float)threadIdx.x + x, room);
    out[threadIdx.x] = x - block_max((float)threadIdx.x, room);
}

static __global__ void warps(float *out)
{
    const unsigned all = 0xffffffffu;
    const int lane = (int)threadIdx.x % 32;
    bool good = __shfl_sync(all, lane, 5) == 5;

    good = good && __shfl_sync(all, lane, 9, 8) == lane / 8 * 8 + 1;
    good = good && __shfl_xor_sync(all, (double)lane, 3) == (lane ^ 3);
    good = good && __shfl_down_sync(all, lane, 4) == (lane < 28 ? lane + 4 : lane);
    good = good && __shfl_up_sync(all, lane, 4, 16) == (lane % 16 < 4 ? lane : lane - 4);
    good = good && __ballot_sync(all, lane % 2) == 0xaaaaaaaau;
    good = good && __any_sync(all, lane == 3) && !__all_sync(all, lane == 3);
    good = good && __all_sync(all, lane < 32) && !__any_sync(all, lane > 31);
    out[threadIdx.x] = good;
}

static __global__ void syncwarp(float *out)
{
    SHARED(float, room);
    float x = 1;

    for (int i = 0; i < 5; i++) {
        room[threadIdx.x] = x;
        __syncwarp();
        for (int j = 1; j < 32; j++)
            x += room[threadIdx.x ^ (unsigned)j];
        __syncwarp();
    }
    out[threadIdx.x] = x;
}

// One element for each of (2, 3, 2) blocks of (4, 2, 3) threads.
static __global__ void places(float *out)
{
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;

    out[block * 24 + thread] += (float)(block * 24 + thread);
}

static void launch_broken(enum broken kind, struct pawl_stream *s, float *out)
{
    switch (kind) {
    case BROKEN_LEFT: LAUNCH(left, 2, THREADS, 0, s, out); break;
    case BROKEN_APART: LAUNCH(apart, 1, THREADS, 0, s, out); break;
    case BROKEN_LANE: LAUNCH(lane, 1, THREADS, 0, s, out); break;
    case BROKEN_EXCHANGES: LAUNCH(exchanges, 1, THREADS, 0, s, out); break;
    case BROKEN_MASK: LAUNCH(mask, 1, THREADS, 0, s, out); break;
    case BROKEN_PART: LAUNCH(whole, 1, 48, 0, s, out); break;
    case BROKEN_THREADS: LAUNCH(whole, 1, 2048, 0, s, out); break;
    case BROKEN_SHARED: LAUNCH(whole, 1, 32, 1 << 20, s, out); break;
    case BROKEN_UNWRITTEN: LAUNCH(unwritten, 1, THREADS, 256, s, out, false); break;
    case BROKEN_STALE: LAUNCH(unwritten, 2, THREADS, 256, s, out, true); break;
    case BROKEN_PAST: LAUNCH(past, 1, THREADS, 127, s, out); break;
    case BROKEN_RACE_READ: LAUNCH(race_read, 1, THREADS, 256, s, out); break;
    case BROKEN_RACE_WRITE: LAUNCH(race_write, 1, THREADS, 256, s, out); break;
    case BROKEN_RACE_WARP: LAUNCH(race_warp, 1, THREADS, 256, s, out, 0); break;
    case BROKEN_RACE_VOTE: LAUNCH(race_warp, 1, THREADS, 256, s, out, 1); break;
    case BROKEN_RACE_SAME: LAUNCH(race_same, 1, THREADS, 4, s, out); break;
    default: break;
    }
}

// What SOUND_* leave in out[i].
static float wanted(enum broken kind, int i)
{
    // 2016 of one sum of 0 to 63; then each sum adds 64 times what was there before.
    if (kind == SOUND_SUM) return 2016.0f * (1 + 64 * (1 + 64)) - 63;
    if (kind == SOUND_SYNCWARP) return 33554432;  // 32^5
    return kind == SOUND_PLACES ? (float)i : 1;
}

const char *broken_run(enum broken kind)
{
    struct pawl_stream s = {};
    float out[2048] = {};
    int n = kind == SOUND_PLACES ? 12 * 24 : THREADS;

    simt_open();
    switch (kind) {
    case SOUND_SUM: LAUNCH(sum, 1, THREADS, 32 * sizeof(float), &s, out); break;
    case SOUND_WARPS: LAUNCH(warps, 1, THREADS, 0, &s, out); break;
    case SOUND_SYNCWARP: LAUNCH(syncwarp, 1, THREADS, 256, &s, out); break;
    case SOUND_PLACES: LAUNCH(places, dim3(2, 3, 2), dim3(4, 2, 3), 0, &s, out); break;
    default: launch_broken(kind, &s, out); return s.reason;
    }
    for (int i = 0; i < n && !s.reason; i++)
        if (out[i] != wanted(kind, i)) return "wrong";
    return s.reason;
}
