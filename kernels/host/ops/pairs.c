// pairs.c - see pairs.h. Each lane of both factors is a pair, and vdpbf16ps (AVX-512 BF16) adds the
// products of two pairs to each of 16 sums, at twice the rate of a multiply-add. Elsewhere the same
// in two multiply-adds, so that tests can follow.

#include "kernels/host/ops/pairs.h"

#include "kernels/host/ops/tile.h"

bool HOST(pairs);

#if defined(__AVX512F__) && PAWL_LANES == 16
// Chosen by cpuid (host.c), so only these functions may use the instruction.
#define PAIRS __attribute__((target("avx512bf16")))
PAIRS static inline __attribute__((always_inline)) vec add_pairs(vec sum, vecu a, vecu b)
{
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
#else
#define PAIRS
static inline __attribute__((always_inline)) vec add_pairs(vec sum, vecu a, vecu b)
{
    sum += (vec)(a & 0xffff0000u) * (vec)(b & 0xffff0000u);
    return sum + (vec)(a << 16) * (vec)(b << 16);
}
#endif

void HOST(pairs_make)(float *panel, int64_t width, int64_t k)
{
    for (int64_t p = 0; p < k; p += 2)
        for (int64_t i = 0; i < width; i++) {
            uint32_t first, second = 0;
            memcpy(&first, panel + p * width + i, sizeof(first));
            if (p + 1 < k) memcpy(&second, panel + (p + 1) * width + i, sizeof(second));
            // Every number here came from a bfloat16: its lower half is 0.
            first = first >> 16 | second;
            memcpy(panel + p / 2 * width + i, &first, sizeof(first));
        }
}

static inline __attribute__((always_inline)) vecu load_pairs(const float *p)
{
    vecu x;

    memcpy(&x, p, sizeof(x));
    return x;
}

// As tile_multiply.
PAIRS static inline __attribute__((always_inline)) void
multiply_pairs(float *tile, const float *a, const float *b, int64_t k, bool add, int rows, int vecs)
{
    vec sum[TILE_ROWS][TILE_VECS];

#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++)
            sum[i][v] = add ? vec_load(tile + (i * vecs + v) * LANES) : (vec){ 0 };
    for (; k > 0; k -= 2, a += TILE_ROWS, b += vecs * LANES) {
        vecu y[TILE_VECS];
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++)
            y[v] = load_pairs(b + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const vecu x = (vecu)vec_set(a[i]);
#pragma GCC unroll 3
            for (int v = 0; v < vecs; v++)
                sum[i][v] = add_pairs(sum[i][v], x, y[v]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vecs; v++)
            vec_store(tile + (i * vecs + v) * LANES, sum[i][v]);
}

#define MULTIPLY(name, rows, vecs)                                                                 \
    PAIRS static void name(float *tile, const float *a, const float *b, int64_t k, bool add)       \
    {                                                                                              \
        multiply_pairs(tile, a, b, k, add, rows, vecs);                                            \
    }
MULTIPLY(multiply_1_1, 1, 1)
MULTIPLY(multiply_1_2, 1, 2)
MULTIPLY(multiply_1_all, 1, TILE_VECS)
MULTIPLY(multiply_4_1, 4, 1)
MULTIPLY(multiply_4_2, 4, 2)
MULTIPLY(multiply_4_all, 4, TILE_VECS)
MULTIPLY(multiply_all_1, TILE_ROWS, 1)
MULTIPLY(multiply_all_2, TILE_ROWS, 2)
MULTIPLY(multiply_all_all, TILE_ROWS, TILE_VECS)
#undef MULTIPLY

gemm_multiply *HOST(pairs_multiply)(int64_t rows, int64_t vecs)
{
    static gemm_multiply *const all[3][3] = {
        { multiply_1_1, multiply_1_2, multiply_1_all },
        { multiply_4_1, multiply_4_2, multiply_4_all },
        { multiply_all_1, multiply_all_2, multiply_all_all },
    };

    return all[rows > 4 ? 2 : rows > 1][vecs - 1];
}
