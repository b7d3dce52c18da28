// add.cu - sums, products and maxima of elements.

#include "kernels/cuda/cuda.h"

static __global__ void add(value *out, const value *a, const value *b, int64_t n)
{
    EACH(i, n) out[i] = put(get(a[i]) + get(b[i]));
}

void CUDA(add)(struct pawl_stream *s, pawl_value *out, const pawl_value *a, const pawl_value *b,
               int64_t n)
{
    LAUNCH(add, blocks_for(n, 256), 256, 0, s, (value *)out, (const value *)a, (const value *)b,
           n);
}
