// mma.h - what the products and attention share: tiles in shared memory, and a warp's part of
// their product, for both element types.
//
//     float sum[2][4][4] = {};                            // 32 rows, 32 columns
//     multiply<32, true, false>(sum, a, a_line, b, b_line);   // sum += a (32, 32) b (32, 32)^T
//
// A tile holds a matrix (rows, depth), either "along", each line a row, or "across", each line
// one step of the depth. Its lines are TILE_PAD elements longer than what they hold, which keeps
// lanes out of each other's banks.
//
// sum[i][j] is the lane's part of 16 rows and 8 columns, for fp32 as for bf16:
//
//     [0] [1]   row 16 i + lane / 4        columns 8 j + lane % 4 * 2 and the next
//     [2] [3]   row 16 i + lane / 4 + 8    the same
//
// which is how mma.m16n8k16 of the PTX ISA deals them out. bf16 is multiplied by that instruction
// (exact products, fp32 sums), fp32 lane by lane. All lanes of a warp must call.
//
// The instructions: copy_16 (asynchronous, zeros where not there; copy_close ends a group,
// copy_wait<LEFT> waits for all but LEFT groups), load_matrices, multiply_16_8_16, pair_of.
// allow_shared(kernel, bytes) comes before the launch of whoever needs more than 48 KiB.

#ifndef PAWL_CUDA_MMA_H
#define PAWL_CUDA_MMA_H

#include "kernels/cuda/cuda.h"

#ifdef __CUDACC__
#include "kernels/cuda/mma_ptx.h"
#else
#include "kernels/cuda/mma_simt.h"
#endif

enum {
    TILE_CHUNK = 16 / (int)sizeof(value),  // elements of one copy_16
    TILE_PAD = TILE_CHUNK,
};

#if PAWL_BF16

enum { DEPTH_STEP = 16 };

// 16 rows and 16 of the depth, as the left factor; the lane's place is one row of four matrices.
template <bool ACROSS>
static __device__ inline void load_left(uint32_t out[4], const value *tile, int line)
{
    const int lane = (int)threadIdx.x % 32;

    if (ACROSS)
        load_matrices_across(out, tile + (lane % 8 + lane / 16 * 8) * line + lane / 8 % 2 * 8);
    else
        load_matrices(out, tile + lane % 16 * line + lane / 16 * 8);
}

// 16 columns and 16 of the depth, as two right factors of 8 columns.
template <bool ACROSS>
static __device__ inline void load_right(uint32_t out[4], const value *tile, int line)
{
    const int lane = (int)threadIdx.x % 32;

    if (ACROSS)
        load_matrices_across(out, tile + lane % 16 * line + lane / 16 * 8);
    else
        load_matrices(out, tile + (lane % 8 + lane / 16 * 8) * line + lane / 8 % 2 * 8);
}

template <int MI, int NJ, bool B_ACROSS>
static __device__ inline void multiply_step(float (&sum)[MI][NJ][4], const uint32_t (&left)[MI][4],
                                            const value *b, int b_line)
{
    static_assert(NJ % 2 == 0, "columns come in sixteens");
    UNROLL
    for (int j = 0; j < NJ; j += 2) {
        uint32_t right[4];
        load_right<B_ACROSS>(right, b + j * 8 * (B_ACROSS ? 1 : b_line), b_line);
        UNROLL
        for (int i = 0; i < MI; i++) {
            multiply_16_8_16(sum[i][j], left[i], right);
            multiply_16_8_16(sum[i][j + 1], left[i], right + 2);
        }
    }
}

// sum += a b^T over DEPTH.
template <int DEPTH, bool A_ACROSS, bool B_ACROSS, int MI, int NJ>
static __device__ inline void multiply(float (&sum)[MI][NJ][4], const value *a, int a_line,
                                       const value *b, int b_line)
{
    UNROLL
    for (int k = 0; k < DEPTH; k += DEPTH_STEP) {
        uint32_t left[MI][4];
        UNROLL
        for (int i = 0; i < MI; i++)
            load_left<A_ACROSS>(left[i],
                                a + (A_ACROSS ? k * a_line + i * 16 : i * 16 * a_line + k), a_line);
        multiply_step<MI, NJ, B_ACROSS>(sum, left, b + k * (B_ACROSS ? b_line : 1), b_line);
    }
}

// sum += left b^T, where left (MI * 16, KJ * 8) is itself such sums, rounded to bf16: two tiles of
// 8 columns are, lane for lane, one left factor. No room needed.
template <bool B_ACROSS, int MI, int KJ, int NJ>
static __device__ inline void multiply_sums(float (&sum)[MI][NJ][4], const float (&left)[MI][KJ][4],
                                            const value *b, int b_line, value *room)
{
    (void)room;
    static_assert(KJ % 2 == 0, "the depth comes in sixteens");
    UNROLL
    for (int k = 0; k < KJ; k += 2) {
        uint32_t pairs[MI][4];
        UNROLL
        for (int i = 0; i < MI; i++) {
            UNROLL
            for (int p = 0; p < 4; p++)
                pairs[i][p] = pair_of(left[i][k + p / 2][p % 2 * 2],
                                      left[i][k + p / 2][p % 2 * 2 + 1]);
        }
        multiply_step<MI, NJ, B_ACROSS>(sum, pairs, b + k * 8 * (B_ACROSS ? b_line : 1), b_line);
    }
}

// Elements that multiply_sums needs of `room`, one warp's own.
static constexpr int sums_room(int, int) { return 0; }

#else

enum { DEPTH_STEP = 4 };

// Four of the depth for one row.
template <bool ACROSS>
static __device__ inline void load_four(float out[4], const value *tile, int line, int row, int k)
{
    if (ACROSS) {
        UNROLL
        for (int q = 0; q < 4; q++)
            out[q] = tile[(k + q) * line + row];
    } else {
        const float4 four = *(const float4 *)(tile + row * line + k);
        out[0] = four.x;
        out[1] = four.y;
        out[2] = four.z;
        out[3] = four.w;
    }
}

template <int MI, int NJ, bool B_ACROSS>
static __device__ inline void multiply_step(float (&sum)[MI][NJ][4],
                                            const float (&left)[MI][2][4], const value *b,
                                            int b_line, int k)
{
    const int pair = (int)threadIdx.x % 4 * 2;

    UNROLL
    for (int j = 0; j < NJ; j++) {
        UNROLL
        for (int e = 0; e < 2; e++) {
            float right[4];
            load_four<B_ACROSS>(right, b, b_line, j * 8 + pair + e, k);
            UNROLL
            for (int i = 0; i < MI; i++) {
                UNROLL
                for (int q = 0; q < 4; q++) {
                    sum[i][j][e] += left[i][0][q] * right[q];
                    sum[i][j][2 + e] += left[i][1][q] * right[q];
                }
            }
        }
    }
}

template <int DEPTH, bool A_ACROSS, bool B_ACROSS, int MI, int NJ>
static __device__ inline void multiply(float (&sum)[MI][NJ][4], const value *a, int a_line,
                                       const value *b, int b_line)
{
    const int row = (int)threadIdx.x % 32 / 4;

    ROLL
    for (int k = 0; k < DEPTH; k += DEPTH_STEP) {
        float left[MI][2][4];
        UNROLL
        for (int i = 0; i < MI; i++) {
            UNROLL
            for (int h = 0; h < 2; h++)
                load_four<A_ACROSS>(left[i][h], a, a_line, i * 16 + h * 8 + row, k);
        }
        multiply_step<MI, NJ, B_ACROSS>(sum, left, b, b_line, k);
    }
}

static constexpr int sums_room(int rows, int depth) { return rows * (depth + TILE_PAD); }

template <bool B_ACROSS, int MI, int KJ, int NJ>
static __device__ inline void multiply_sums(float (&sum)[MI][NJ][4], const float (&left)[MI][KJ][4],
                                            const value *b, int b_line, value *room)
{
    constexpr int line = KJ * 8 + TILE_PAD;
    const int lane = (int)threadIdx.x % 32;

    UNROLL
    for (int i = 0; i < MI; i++) {
        UNROLL
        for (int k = 0; k < KJ; k++) {
            UNROLL
            for (int e = 0; e < 4; e++)
                room[(i * 16 + e / 2 * 8 + lane / 4) * line + k * 8 + lane % 4 * 2 + e % 2]
                    = left[i][k][e];
        }
    }
    __syncwarp();
    multiply<KJ * 8, false, B_ACROSS>(sum, room, line, b, b_line);
    __syncwarp();
}

#endif
#endif
