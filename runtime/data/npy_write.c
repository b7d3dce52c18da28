// npy_write.c - one array as a .npy file, format version 1.0.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/npy.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/npy.h"
#include "runtime/data/source.h"

int pawl_npy_write(const char *path, int rank, const int64_t *dim, enum pawl_dtype dtype,
                   const void *data)
{
    char header[PAWL_NPY_HEAD_ROOM];
    uint8_t *file;
    int64_t count;

    if (!pawl_npy_descr(dtype))
        return pawl_fail(PAWL_ENOTSUP, "%s: NumPy has no %s; write float32", path,
                         pawl_dtype_name(dtype));
    if (rank < 0 || rank > PAWL_RANK_MAX)
        return pawl_fail(PAWL_EINVAL, "%s: rank %d; at most %d", path, rank, PAWL_RANK_MAX);
    int rc = pawl_shape_count(&count, rank, dim);
    if (rc)
        return rc;
    size_t bytes, all;
    const size_t begin = pawl_npy_format(header, dtype, rank, dim);
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
