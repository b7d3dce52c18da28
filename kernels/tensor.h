// tensor.h - a named place in a slab of memory: the vocabulary that every room shares.
//
//     slab   | wte.weight | blocks.0.ln1.weight | ... | out.bias |      one allocation
//     table  |  tensor 0  |      tensor 1       | ... | tensor n |      names what lies where
//
// Shapes are row-major, outermost first. Elements are little-endian.

#ifndef PAWL_TENSOR_H
#define PAWL_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/error.h"

enum { PAWL_NAME_MAX = 255, PAWL_RANK_MAX = 8, PAWL_ALIGN_BYTES = 256 };

// What files may hold; kernels work on PAWL_F32 and PAWL_BF16.
enum pawl_dtype {
    PAWL_F32, PAWL_BF16, PAWL_F16, PAWL_F64, PAWL_F8_E4M3, PAWL_F8_E5M2,
    PAWL_I8, PAWL_I16, PAWL_I32, PAWL_I64, PAWL_U8, PAWL_U16, PAWL_U32, PAWL_U64,
    PAWL_BOOL, PAWL_C64, PAWL_C128,
    PAWL_DTYPES
};

struct pawl_tensor {
    char name[PAWL_NAME_MAX + 1];  // unique within its table
    enum pawl_dtype dtype;
    int rank;                      // 0 to PAWL_RANK_MAX; 0 is a scalar
    int64_t dim[PAWL_RANK_MAX];    // the unused ones are 1
    size_t offset_bytes;           // from the start of its slab or file
    size_t size_bytes;             // without any padding that follows
};

PAWL_API size_t pawl_dtype_bytes(enum pawl_dtype dtype);      // of one element
PAWL_API const char *pawl_dtype_name(enum pawl_dtype dtype);  // numpy's: "float32", "bfloat16"
const char *pawl_dtype_safetensors(enum pawl_dtype dtype);    // "F32"; NULL: that format has none

// 0 and *out, or PAWL_EINVAL with the known names ("float32", ..., also "fp32", "bf16", "F32").
PAWL_API int pawl_dtype_parse(enum pawl_dtype *out, const char *name);

int64_t pawl_tensor_elements(const struct pawl_tensor *tensor);

// Elements in a shape. PAWL_EINVAL when a dimension is negative or the count overflows.
PAWL_API int pawl_shape_count(int64_t *out, int rank, const int64_t *dim);

// Writes "[3, 4]" and returns text.
PAWL_API const char *pawl_shape_text(char *text, size_t text_bytes, int rank, const int64_t *dim);

#endif
