// npy.h - NumPy's array files (.npy, format versions 1 to 3), read within bounds and written
// exactly.
//
//     "\x93NUMPY" | major minor | header length (2 bytes; 4 from version 2) | header | elements
//     header: {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 784), }
//
// Whole arrays for `predict`, or an open file of which rows are read as batches need them
// (pairs.c). Read: f2 f4 f8, i1 i2 i4 i8, u1 u2 u4 u8 and b1, of either byte order; Fortran order
// by whole arrays only. The header: checkpoint/containers/npy.h.

#ifndef PAWL_NPY_FILE_H
#define PAWL_NPY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/tensor.h"

// A whole array in memory. Floats of any width become PAWL_F32, integers and booleans PAWL_I32.
struct pawl_npy {
    int rank;
    int64_t dim[PAWL_RANK_MAX];  // the unused ones are 1
    enum pawl_dtype dtype;       // PAWL_F32 or PAWL_I32
    int64_t count;               // elements
    void *data;                  // owned; pawl_npy_free
};

// PAWL_ENONE: not there. PAWL_ECORRUPT: file, offset and why; also an integer beyond int32.
int pawl_npy_read(const char *path, struct pawl_npy *out);
void pawl_npy_free(struct pawl_npy *npy);  // what it holds, not the structure; NULL is fine

// Writes a whole file or none, replacing what was there. dtype: any that NumPy has (not bfloat16
// or float8: PAWL_ENOTSUP). data: row-major, little-endian. PAWL_EIO says why it is not there.
int pawl_npy_write(const char *path, int rank, const int64_t *dim, enum pawl_dtype dtype,
                   const void *data);

// An open file: what its header says, checked against its size.
struct pawl_npy_file {
    char *path;  // owned
    int fd;
    uint64_t file_bytes;
    enum pawl_dtype dtype;  // as stored
    bool big_endian;
    bool fortran;           // column-major: rows are not runs of the file
    int rank;
    int64_t dim[PAWL_RANK_MAX];  // the unused ones are 1
    int64_t count;               // elements
    uint64_t offset_bytes;       // of the first element
};

int pawl_npy_open(struct pawl_npy_file *out, const char *path);
void pawl_npy_close(struct pawl_npy_file *file);
bool pawl_npy_is_float(const struct pawl_npy_file *file);

// Elements at .. at + count - 1 into out, by way of raw (count elements as stored).
int pawl_npy_floats(const struct pawl_npy_file *file, int64_t at, int64_t count, void *raw,
                    float *out);
// The same for integer and boolean files; what int32 cannot hold is PAWL_ECORRUPT with its index.
int pawl_npy_integers(const struct pawl_npy_file *file, int64_t at, int64_t count, void *raw,
                      int32_t *out);

#endif
