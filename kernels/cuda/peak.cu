// peak.cu - multiply-adds of registers alone: what the fp32 units can do, for bench.

#include <cuda_runtime.h>
#include <stdint.h>

enum { CHAINS = 8, THREADS = 256, BLOCKS_EACH = 8 };

// Eight sums that do not wait for each other hide the latency of each. out is never written: no
// sum reaches what the last line looks for, but the compiler cannot know.
static __global__ void spin(float *out, int64_t rounds, float a, float b)
{
    float sum[CHAINS];

    for (int i = 0; i < CHAINS; i++)
        sum[i] = (float)threadIdx.x + (float)i;
    for (int64_t round = 0; round < rounds; round++) {
#pragma unroll
        for (int i = 0; i < CHAINS; i++)
            sum[i] = fmaf(sum[i], a, b);
    }
    float all = 0.0f;
    for (int i = 0; i < CHAINS; i++)
        all += sum[i];
    if (all == -1.0f) *out = all;
}

extern "C" cudaError_t pawl_cuda_probe(void)
{
    cudaFuncAttributes facts;

    return cudaFuncGetAttributes(&facts, (const void *)spin);
}

extern "C" double pawl_cuda_peak(int multiprocessors, double seconds, int64_t (*now_ns)(void))
{
    const int blocks = multiprocessors * BLOCKS_EACH;
    const int64_t end = now_ns() + (int64_t)(seconds * 1e9);
    int64_t rounds = 1 << 14;
    double best = 0;
    float *out = NULL;

    if (cudaMalloc(&out, sizeof(*out))) return 0;
    do {
        const int64_t start = now_ns();
        spin<<<blocks, THREADS>>>(out, rounds, 0.5f, 1.0f);
        if (cudaDeviceSynchronize()) break;
        const double ns = (double)(now_ns() - start);
        const double flops = 2.0 * CHAINS * THREADS * (double)blocks * (double)rounds;
        if (ns > 0 && flops / ns > best) best = flops / ns;
        if (ns < 5e6) rounds *= 2;
    } while (now_ns() < end);
    cudaFree(out);
    cudaGetLastError();
    return best;
}
