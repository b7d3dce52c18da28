// snappy.h - decodes snappy's raw format: what TensorFlow's tables may be compressed with.
//
//     varint of the decoded length, then elements by their first byte's two low bits:
//     00 literal (length - 1 in the upper 6 bits, or 60..63: in 1..4 bytes that follow)
//     01 copy of 4..11 bytes, offset of 11 bits     10 offset of 2 bytes     11 offset of 4 bytes
//
// Memory: none of its own. Source: snappy's format_description.txt.

#ifndef PAWL_SNAPPY_H
#define PAWL_SNAPPY_H

#include <stddef.h>

#include "kernels/error.h"

// The decoded length. PAWL_ECORRUPT: none, or more than the input can hold (an element of three
// bytes makes at most 64), so that nobody allocates for a lie.
int pawl_snappy_length(size_t *out, const unsigned char *in, size_t in_size);
// Into out, which has room for exactly that length.
int pawl_snappy_decode(unsigned char *out, size_t out_size, const unsigned char *in,
                       size_t in_size);

#endif
