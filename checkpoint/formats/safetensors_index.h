// safetensors_index.h - a model in several safetensors files, and the index that says which tensor
// lies in which: {"metadata": {...}, "weight_map": {"wte.weight": "model-1-of-2.safetensors"}}

#ifndef PAWL_SAFETENSORS_INDEX_H
#define PAWL_SAFETENSORS_INDEX_H

#include "checkpoint/document.h"

// The name within a directory of what holds its weights: an index, else the one file called
// model.safetensors; false: neither is there. name has 256 bytes.
bool pawl_safetensors_in(const char *directory, char *name, bool *index);

// Reads the index DIRECTORY/NAME and each file that it names, which must lie beside it. Each tensor
// of the index must be in its file; a tensor that the index does not name is a warning.
int pawl_safetensors_read_index(struct pawl_document *document, const char *directory,
                                const char *name);

#endif
