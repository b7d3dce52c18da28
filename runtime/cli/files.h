// files.h - what the verbs about model files share.

#ifndef PAWL_FILES_H
#define PAWL_FILES_H

#include "checkpoint/document.h"

// pawl_exit_telling for a verb whose subject is a file: a format that this version cannot read is
// the file's fault (65), not the machine's.
int pawl_exit_telling_file(int rc);

// What the elements of one tensor are; NaNs count in none of min, max and mean.
struct pawl_tensor_facts {
    uint32_t crc32;  // zlib's, of the little-endian row-major bytes
    int64_t zeros, nan, inf;
    double min, max, mean;  // NaN: no element is a number
    bool real;              // complex tensors have no figures
};

// Streams the tensor once through one megabyte. figures false: only the checksum.
int pawl_tensor_facts(struct pawl_tensor_facts *out, const struct pawl_document *document,
                      const struct pawl_entry *entry, bool figures);

#endif
