// document_support.h - files and documents for the tests of formats.

#ifndef DOCUMENT_SUPPORT_H
#define DOCUMENT_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

#include "checkpoint/document.h"

// A fresh directory for this test, removed when the process ends; its paths by name.
const char *scratch(const char *name);
void write_bytes(const char *path, const void *bytes, size_t size);
// A safetensors file of this header and these data.
void write_safetensors_with(const char *path, const char *header, const void *data, size_t size);
// The same with so many data bytes 0, 1, 2, ...
void write_safetensors_file(const char *path, const char *header, size_t data_bytes);
// Whether both files hold the same bytes.
int same_files(const char *a, const char *b);
int exists(const char *path);
// How many names lie in the scratch directory.
int scratch_entries(void);

#endif
