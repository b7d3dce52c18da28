// dropout.cu - values dropped where Philox says so (philox.h): the same bits as the host's.

#include "kernels/cuda/map.h"

struct words {
    uint32_t at[4];
};

struct dropping {
    value *out;
    const value *x;
    float rate, scale;
    uint64_t seed, step;
    uint32_t layer;

    // Philox-4x32-10 (Salmon et al., SC'11).
    __device__ struct words draw(uint32_t index) const
    {
        uint32_t key_0 = (uint32_t)seed, key_1 = (uint32_t)(seed >> 32);
        uint32_t x0 = index, x1 = layer, x2 = (uint32_t)step, x3 = (uint32_t)(step >> 32);

        UNROLL
        for (int round = 0; round < 10; round++) {
            const uint32_t high_0 = __umulhi(0xD2511F53u, x0), low_0 = 0xD2511F53u * x0;
            const uint32_t high_2 = __umulhi(0xCD9E8D57u, x2), low_2 = 0xCD9E8D57u * x2;
            x0 = high_2 ^ x1 ^ key_0;
            x1 = low_2;
            x2 = high_0 ^ x3 ^ key_1;
            x3 = low_0;
            key_0 += 0x9E3779B9u;
            key_1 += 0xBB67AE85u;
        }
        return { { x0, x1, x2, x3 } };
    }

    // A product, so that NaN stays NaN where it is dropped.
    __device__ float drop(float a, uint32_t word) const
    {
        return a * ((float)(word >> 8) * 0x1p-24f >= rate ? scale : 0.0f);
    }

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        struct lanes<W> a = load<W>(x + i);
        struct words word = draw((uint32_t)(i / 4));

        UNROLL
        for (int l = 0; l < W; l++) {
            if (l && l % 4 == 0) word = draw((uint32_t)(i / 4) + l / 4);
            a.at[l] = drop(a.at[l], word.at[W == 1 ? i % 4 : l % 4]);
        }
        store<W>(out + i, a);
    }
};

void CUDA(dropout)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                   float rate, uint64_t seed, uint64_t step, uint32_t layer)
{
    const dropping f = { (value *)out, (const value *)x, rate, 1.0f / (1.0f - rate), seed, step,
                         layer };

    launch_map<WIDE>(s, n, f, f.out, f.x);
}
