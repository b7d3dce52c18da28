// peak.c - what the multipliers can do when nothing else holds them up.

#include "kernels/host/host.h"
#include "kernels/host/value.h"

// A multiply-add takes 4 cycles and two start in each, so 8 chains would do; multiply and add
// apart take 6 to 8. More chains than registers would measure the stack.
enum { CHAINS = PAWL_LANES == 16 ? 24 : 12, STEPS = 16 };

double HOST(spin)(int64_t rounds)
{
    volatile float seed = 0.5f, sink = 0;  // unknown to the compiler, so that nothing folds
    const vec factor = vec_set(seed), term = vec_set(seed + 0.25f);
    vec x[CHAINS];

#pragma GCC unroll 24
    for (int i = 0; i < CHAINS; i++)
        x[i] = vec_set(seed + (float)i);
    for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 16
        for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 24
            for (int i = 0; i < CHAINS; i++)
                x[i] = x[i] * factor + term;
#pragma GCC unroll 24
    for (int i = 1; i < CHAINS; i++)
        x[0] += x[i];
    sink = vec_sum(x[0]);
    (void)sink;
    return 2.0 * LANES * CHAINS * STEPS * (double)rounds;
}
