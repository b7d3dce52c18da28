// layout.h - where each tensor of the state lies in the file, and so in the ring.
//
//     file    | length, header JSON, spaces | tensor | tensor | ... | small ones |
//             0                             4096 k                               file_bytes
//     memory       stretch 0 (slab)    stretch 1 (slab)     stretch 2 ...
//
// The file is a safetensors file without holes. Tensors whose size is a multiple of 64 bytes come
// first, in the order in which they were added, so that a slab of them keeps 64-byte alignment;
// the others follow, those with larger elements first, so that each element is aligned.
// What lies side by side both in memory and in the file is one stretch.
//
// Memory: owned by the structure. Threads: constant after pawl_layout_finish.

#ifndef PAWL_LAYOUT_H
#define PAWL_LAYOUT_H

#include "checkpoint/attempt.h"
#include "checkpoint/text.h"
#include "kernels/tensor.h"

struct pawl_part {
    struct pawl_tensor tensor;  // offset_bytes is from the start of the file
    char *memory;               // the live tensor, borrowed
};

struct pawl_stretch {
    char *memory;
    uint64_t offset_bytes;  // in the file
    uint64_t size_bytes;
};

struct pawl_layout {
    struct pawl_part *parts;  // as added
    int *order;               // indices of parts as they lie in the file
    int *by_name;             // indices of parts by their names
    int part_count, part_room;
    struct pawl_stretch *stretches;  // by memory address; none is empty
    struct pawl_stretch *in_file;    // the same by offset
    int stretch_count;
    struct pawl_text header;  // the file's first bytes, a multiple of 4096
    size_t identity_at;       // where in the header pawl_layout_identify writes
    uint64_t file_bytes, data_bytes;
    struct pawl_text index;  // document.json's "tensors" array
};

// PAWL_EINVAL: the name is taken, empty or not UTF-8; the shape, the dtype or memory is wrong.
int pawl_layout_add(struct pawl_layout *layout, const char *name, void *memory,
                    enum pawl_dtype dtype, int rank, const int64_t *dim);
int pawl_layout_finish(struct pawl_layout *layout, const char *shard_name);
void pawl_layout_free(struct pawl_layout *layout);

// Copies the header to out (layout->header.size bytes) with the attempt's identity in it.
void pawl_layout_identify(const struct pawl_layout *layout, char *out,
                          const struct pawl_attempt *attempt);
// The part of that name, or NULL.
const struct pawl_part *pawl_layout_find(const struct pawl_layout *layout, const char *name);

#endif
