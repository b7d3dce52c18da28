// support.h - what the fuzz targets share: files in memory, and everything a document offers.
//
// A target is one reader: tests/fuzz/NAME.c, its seeds in seeds/NAME, its words in NAME.dict, and
// what once broke it in crashes/NAME. tests/fuzz/run.sh runs them all.

#ifndef PAWL_FUZZ_SUPPORT_H
#define PAWL_FUZZ_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

#include "checkpoint/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// From here on pawl_io() sees these files and nothing else. Bytes are borrowed.
void fuzz_forget_files(void);
void fuzz_put_file(const char *path, const void *bytes, size_t size);
// Reads path as any format would be, and uses what was read: fetches, binds, verifies, sends it
// through the sandbox's encoding. What was fetched whole must be the same in parts.
void fuzz_document(const char *path);

#endif
