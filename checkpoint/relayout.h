// relayout.h - a tensor seen in another shape, its axes in another order.
//
//     (in, out) kernel -> (out, in) weight      view (in, out),          axes 1, 0
//     HWIO -> OHWI                               view (h, w, i, o),       axes 3, 0, 1, 2
//     dense after a flatten, HWC -> CHW          view (units, h, w, c),   axes 0, 3, 1, 2
//
// Threads: any; nothing is kept.

#ifndef PAWL_RELAYOUT_H
#define PAWL_RELAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/tensor.h"

// The source, row-major, has shape dim; axis i of the result is the source's axis[i].
struct pawl_relayout {
    int rank;  // 0: the bytes stay as they lie
    int64_t dim[PAWL_RANK_MAX];
    int axis[PAWL_RANK_MAX];
};

// The axes of a (rows, columns) matrix swapped.
struct pawl_relayout pawl_relayout_swap(int64_t rows, int64_t columns);
// axis: rank indices.
struct pawl_relayout pawl_relayout_of(int rank, const int64_t *dim, const int *axis);
// Whether it is a permutation of a shape of `elements`. PAWL_EINVAL.
int pawl_relayout_check(const struct pawl_relayout *relayout, int64_t elements);
// Whether the order of the elements changes at all.
bool pawl_relayout_moves(const struct pawl_relayout *relayout);

// Elements [start, start + count) of the result into out. `in` is the whole source.
void pawl_relayout_apply(const struct pawl_relayout *relayout, void *out, const void *in,
                         size_t element_bytes, int64_t start, int64_t count);

#endif
