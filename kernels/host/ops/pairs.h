// pairs.h - the inner loop of gemm.h for bfloat16 two k's at a time.
//
//     panel (k, width) of floats  ->  ((k + 1) / 2, width) of pairs, in place; an odd k ends in 0

#ifndef PAWL_HOST_PAIRS_H
#define PAWL_HOST_PAIRS_H

#include "kernels/host/host.h"

// Whether bfloat16's gemm works by pairs: host.c says so when it opens a device of a processor with
// AVX-512 BF16; tests say so for others. One per set, since a process has one processor.
extern bool HOST(pairs);

// A tile of sums, carried on where add: packed a (k, rows of a panel), packed b (k, whole vectors).
typedef void gemm_multiply(float *tile, const float *a, const float *b, int64_t k, bool add);

void HOST(pairs_make)(float *panel, int64_t width, int64_t k);
gemm_multiply *HOST(pairs_multiply)(int64_t rows, int64_t vecs);

#endif
