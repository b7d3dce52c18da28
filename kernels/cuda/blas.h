// blas.h - products through cuBLASLt, which is opened with dlopen; else pawl's own kernels do them.
//
//     D (m, n) = epilogue(op(A) op(B) + beta C), column-major, as cuBLASLt thinks
//
// What cuBLASLt is told of a shape (descriptors) and what it chose for it (heuristics) is a plan,
// kept in a table of fixed size, so a step asks only once. Deterministic: sums split over blocks
// are added up in a step of their own, never with atomics, and a plan depends on nothing but the
// product's shape, the GPU and cuBLASLt's version.
//
// PAWL_CUBLASLT names another library file; "off": none.

#ifndef PAWL_CUDA_BLAS_H
#define PAWL_CUDA_BLAS_H

#include <cublasLt.h>

#include <stdbool.h>
#include <stdint.h>

#include "kernels/stream.h"

struct pawl_blas;

// Everything that makes a plan. Hashed and compared as bytes: zero it first.
struct pawl_blas_shape {
    int64_t m, n, k;                      // of D and the sum
    int64_t a_stride, b_stride, d_stride;  // from column to column, in elements; C's is D's
    int32_t a_across, b_across;           // transposed
    int32_t in, out;                      // cudaDataType of A and B, of C and D
    int32_t epilogue;                     // cublasLtEpilogue_t
    int32_t align;                        // of all the pointers, in bytes: a power of 2 <= 256
};

struct pawl_blas_product {
    struct pawl_blas_shape shape;
    const void *a, *b, *c;  // c NULL: beta is 0
    void *d;
    const void *bias;       // of the epilogue: read, or where the gradient goes
    const void *aux;        // the same; rows as D's
};

// *out NULL where there is no cuBLASLt or it cannot start, which is no failure.
int pawl_blas_open(struct pawl_blas **out);
void pawl_blas_close(struct pawl_blas *blas);  // accepts NULL

// Queues the product, or returns false where cuBLASLt has no algorithm for it. Once it has one the
// stream keeps what fails.
bool pawl_blas_multiply(struct pawl_blas *blas, struct pawl_stream *stream,
                        const struct pawl_blas_product *product);

// linear.c: puts the products over cuBLASLt into a table; own does what cuBLASLt cannot.
struct pawl_ops;
void pawl_blas_linear(struct pawl_ops *fp32, struct pawl_ops *bf16);

#endif
