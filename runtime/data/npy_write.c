// npy_write.c - one array as a .npy file, format version 1.0.

#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/npy.h"
#include "runtime/data/source.h"

enum { ALIGN = 64, HEADER_ROOM = 512, PREFIX_BYTES = 10 };

static const char *descr_of(enum pawl_dtype dtype)
{
    switch (dtype) {
    case PAWL_F16:
        return "<f2";
    case PAWL_F32:
        return "<f4";
    case PAWL_F64:
        return "<f8";
    case PAWL_I8:
        return "|i1";
    case PAWL_I16:
        return "<i2";
    case PAWL_I32:
        return "<i4";
    case PAWL_I64:
        return "<i8";
    case PAWL_U8:
        return "|u1";
    case PAWL_U16:
        return "<u2";
    case PAWL_U32:
        return "<u4";
    case PAWL_U64:
        return "<u8";
    case PAWL_BOOL:
        return "|b1";
    case PAWL_C64:
        return "<c8";
    case PAWL_C128:
        return "<c16";
    default:
        return NULL;
    }
}

// The header with its prefix, padded by spaces to a multiple of 64. Eight dimensions of at most 19
// digits need 8 * 21 bytes, so HEADER_ROOM holds any.
static size_t make_header(char out[HEADER_ROOM], const char *descr, int rank, const int64_t *dim)
{
    char *text = out + PREFIX_BYTES;
    const size_t room = HEADER_ROOM - PREFIX_BYTES;

    size_t at =
        (size_t)snprintf(text, room, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < rank; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%lld%s", i ? " " : "", (long long)dim[i],
                               i + 1 < rank || rank == 1 ? "," : "");
    at += (size_t)snprintf(text + at, room - at, "), }");
    const size_t whole = (PREFIX_BYTES + at + 1 + ALIGN - 1) / ALIGN * ALIGN;
    memset(text + at, ' ', whole - PREFIX_BYTES - at);
    out[whole - 1] = '\n';
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)((whole - PREFIX_BYTES) & 255);
    out[9] = (char)((whole - PREFIX_BYTES) >> 8);
    return whole;
}

int pawl_npy_write(const char *path, int rank, const int64_t *dim, enum pawl_dtype dtype,
                   const void *data)
{
    const char *descr = descr_of(dtype);
    char header[HEADER_ROOM];
    uint8_t *file;
    int64_t count;

    if (!descr)
        return pawl_fail(PAWL_ENOTSUP, "%s: NumPy has no %s; write float32", path,
                         pawl_dtype_name(dtype));
    if (rank < 0 || rank > PAWL_RANK_MAX)
        return pawl_fail(PAWL_EINVAL, "%s: rank %d; at most %d", path, rank, PAWL_RANK_MAX);
    int rc = pawl_shape_count(&count, rank, dim);
    if (rc)
        return rc;
    size_t bytes, all;
    const size_t begin = make_header(header, descr, rank, dim);
    if (__builtin_mul_overflow((size_t)count, pawl_dtype_bytes(dtype), &bytes)
        || __builtin_add_overflow(begin, bytes, &all))
        return pawl_fail(PAWL_EINVAL, "%s: the array is larger than memory can be", path);
    rc = pawl_alloc(&file, all, path);
    if (rc)
        return rc;
    memcpy(file, header, begin);
    if (bytes)
        memcpy(file + begin, data, bytes);
    rc = pawl_io_write_file(path, file, all, true);
    pawl_free(file);
    return rc < 0 ? pawl_fail(PAWL_EIO, "%s: cannot write: %s", path, strerror(-rc)) : 0;
}
