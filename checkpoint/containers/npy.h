// npy.h - the header of NumPy's array files (.npy, format versions 1 to 3), also inside of .npz.
//
//     "\x93NUMPY" | major minor | header length (2 bytes; 4 from version 2) | header | elements
//     header: {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 784), }
//
// Read: f2 f4 f8, i1 i2 i4 i8, u1 u2 u4 u8, b1, c8 c16, of either byte order. Not read: structures
// and objects (nothing is ever unpickled). A claim is checked against the file's size before memory
// is taken. Format: numpy.lib.format (NEP 1).

#ifndef PAWL_NPY_H
#define PAWL_NPY_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/tensor.h"

enum { PAWL_NPY_HEAD_MAX = 65548, PAWL_NPY_HEAD_ROOM = 512 };

struct pawl_npy_header {
    enum pawl_dtype dtype;
    bool big_endian, fortran;    // fortran: column-major
    int rank;
    int64_t dim[PAWL_RANK_MAX];  // the unused ones are 1
    int64_t count;               // elements
    uint64_t offset_bytes;       // of the first element
};

// head: the file's first head_bytes bytes, the smaller of file_bytes and PAWL_NPY_HEAD_MAX.
// PAWL_ECORRUPT: what, the byte and why.
int pawl_npy_parse(struct pawl_npy_header *out, const char *what, const void *head,
                   size_t head_bytes, uint64_t file_bytes);
// "<f4"; NULL: NumPy has no such type.
const char *pawl_npy_descr(enum pawl_dtype dtype);
// The header of an array, row-major and little-endian; a multiple of 64 bytes, which are returned.
size_t pawl_npy_format(char out[PAWL_NPY_HEAD_ROOM], enum pawl_dtype dtype, int rank,
                       const int64_t *dim);

#endif
