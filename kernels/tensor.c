// tensor.c - element types and shapes.

#include "kernels/tensor.h"

#include <stdio.h>
#include <string.h>

static const struct {
    size_t bytes;
    const char *name;         // numpy's
    const char *short_name;   // the flag's, or NULL
    const char *safetensors;  // or NULL
} row[PAWL_DTYPES] = {
    [PAWL_F32] = { 4, "float32", "fp32", "F32" },
    [PAWL_BF16] = { 2, "bfloat16", "bf16", "BF16" },
    [PAWL_F16] = { 2, "float16", "fp16", "F16" },
    [PAWL_F64] = { 8, "float64", "fp64", "F64" },
    [PAWL_F8_E4M3] = { 1, "float8_e4m3fn", NULL, "F8_E4M3" },
    [PAWL_F8_E5M2] = { 1, "float8_e5m2", NULL, "F8_E5M2" },
    [PAWL_I8] = { 1, "int8", NULL, "I8" },
    [PAWL_I16] = { 2, "int16", NULL, "I16" },
    [PAWL_I32] = { 4, "int32", NULL, "I32" },
    [PAWL_I64] = { 8, "int64", NULL, "I64" },
    [PAWL_U8] = { 1, "uint8", NULL, "U8" },
    [PAWL_U16] = { 2, "uint16", NULL, "U16" },
    [PAWL_U32] = { 4, "uint32", NULL, "U32" },
    [PAWL_U64] = { 8, "uint64", NULL, "U64" },
    [PAWL_BOOL] = { 1, "bool", NULL, "BOOL" },
    [PAWL_C64] = { 8, "complex64", NULL, "C64" },
    [PAWL_C128] = { 16, "complex128", NULL, NULL },
};

size_t pawl_dtype_bytes(enum pawl_dtype dtype)
{
    return row[dtype].bytes;
}

int64_t pawl_tensor_elements(const struct pawl_tensor *tensor)
{
    return (int64_t)(tensor->size_bytes / pawl_dtype_bytes(tensor->dtype));
}

const char *pawl_dtype_name(enum pawl_dtype dtype)
{
    return row[dtype].name;
}

const char *pawl_dtype_safetensors(enum pawl_dtype dtype)
{
    return row[dtype].safetensors;
}

static int same(const char *name, const char *known)
{
    return known && strcmp(name, known) == 0;
}

int pawl_dtype_parse(enum pawl_dtype *out, const char *name)
{
    for (int i = 0; i < PAWL_DTYPES; i++)
        if (same(name, row[i].name) || same(name, row[i].short_name)
            || same(name, row[i].safetensors)) {
            *out = (enum pawl_dtype)i;
            return 0;
        }
    return pawl_fail(PAWL_EINVAL, "element type '%.32s' is unknown; known: float32 bfloat16 "
                     "float16 float64 float8_e4m3fn float8_e5m2 int8..int64 uint8..uint64 bool "
                     "complex64 complex128", name);
}

int pawl_shape_count(int64_t *out, int rank, const int64_t *dim)
{
    int64_t count = 1;

    if (rank < 0 || rank > PAWL_RANK_MAX)
        return pawl_fail(PAWL_EINVAL, "a tensor has 0 to %d dimensions, not %d", PAWL_RANK_MAX,
                         rank);
    for (int i = 0; i < rank; i++)
        if (dim[i] < 0 || __builtin_mul_overflow(count, dim[i], &count))
            return pawl_fail(PAWL_EINVAL, "a shape's dimension %d is negative or its element count "
                             "overflows 64 bits", i);
    *out = count;
    return 0;
}

const char *pawl_shape_text(char *text, size_t text_bytes, int rank, const int64_t *dim)
{
    size_t used = (size_t)snprintf(text, text_bytes, "[");

    for (int i = 0; i < rank && used < text_bytes; i++)
        used += (size_t)snprintf(text + used, text_bytes - used, "%s%lld", i ? ", " : "",
                                 (long long)dim[i]);
    if (used < text_bytes)
        snprintf(text + used, text_bytes - used, "]");
    return text;
}
