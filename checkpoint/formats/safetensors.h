// safetensors.h - one safetensors file, read strictly. For the format's row and for indexes.
//
//     u64 N | N bytes of JSON: {"name": {"dtype", "shape", "data_offsets": [begin, end]}} | data
//
// What is refused: a header beyond 100 MB or the file, what is not strict JSON, a name twice, an
// element type that is unknown, a shape that does not fit its bytes, bytes that belong to no tensor
// or to two, metadata that is not text. As the reference reader does, and names twice on top.

#ifndef PAWL_SAFETENSORS_H
#define PAWL_SAFETENSORS_H

#include "checkpoint/document.h"

// Appends the file's tensors to document->weights and its metadata to document->metadata.
// PAWL_ECORRUPT names the file, the tensor or byte, and why.
int pawl_safetensors_read(struct pawl_document *document, const char *path);
// All weights into one new file.
int pawl_safetensors_write(const struct pawl_document *document, const char *path,
                           const struct pawl_write_options *options);

#endif
