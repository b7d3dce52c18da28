// recognise.h - which source a text on the command line means.

#ifndef PAWL_RECOGNISE_H
#define PAWL_RECOGNISE_H

#include "runtime/data/source.h"

// The row, and in *where what follows the prefix (within `source`). A text without a prefix is a
// path, told by what is there: a directory with train-images* or t10k-images* is idx, any other is
// text; a file without a NUL in its first 8 KiB is text; one with a NUL and an even size, tokens.
// PAWL_EINVAL, PAWL_ENONE: what was found instead.
int pawl_recognise(const struct pawl_source_row **row, const char **where, const char *source);

#endif
