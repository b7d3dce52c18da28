// philox.h - random numbers by counter: Philox-4x32-10 (Salmon et al., SC'11).
//
// The same (seed, step, stream, index) gives the same bits on every device, in any order and from
// any thread, so nothing about randomness has to be saved but the seed and the step.

#ifndef PAWL_PHILOX_H
#define PAWL_PHILOX_H

#include <stdint.h>

struct pawl_philox {
    uint32_t word[4];
};

static inline struct pawl_philox pawl_philox(uint64_t seed, uint64_t step, uint32_t stream,
                                             uint32_t index)
{
    uint32_t key_0 = (uint32_t)seed, key_1 = (uint32_t)(seed >> 32);
    uint32_t x0 = index, x1 = stream, x2 = (uint32_t)step, x3 = (uint32_t)(step >> 32);

    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * x0, b = (uint64_t)0xCD9E8D57u * x2;
        const uint32_t y0 = (uint32_t)(b >> 32) ^ x1 ^ key_0;
        const uint32_t y2 = (uint32_t)(a >> 32) ^ x3 ^ key_1;
        x1 = (uint32_t)b;
        x3 = (uint32_t)a;
        x0 = y0;
        x2 = y2;
        key_0 += 0x9E3779B9u;
        key_1 += 0xBB67AE85u;
    }
    return (struct pawl_philox){ { x0, x1, x2, x3 } };
}

// 24 random bits as [0, 1).
static inline float pawl_uniform(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

#endif
