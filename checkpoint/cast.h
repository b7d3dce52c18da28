// cast.h - elements of one floating type as another. Rounds to nearest, ties to even; beyond the
// largest value lies infinity; a NaN stays one.

#ifndef PAWL_CAST_H
#define PAWL_CAST_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/tensor.h"

// float32, bfloat16, float16 or float64: what pawl_cast takes.
bool pawl_dtype_casts(enum pawl_dtype dtype);
// n elements; `to` and `from` are apart.
void pawl_cast(void *to, enum pawl_dtype to_dtype, const void *from, enum pawl_dtype from_dtype,
               int64_t n);
// One element of any real type as a double (integers beyond 2^53 round).
double pawl_element(const void *bytes, enum pawl_dtype dtype);

#endif
