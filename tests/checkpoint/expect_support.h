// expect_support.h - files that frameworks wrote, held against a table of what is in them.

#ifndef EXPECT_SUPPORT_H
#define EXPECT_SUPPORT_H

// Reads every file of DIRECTORY/EXPECT.tsv (below tests/checkpoint/data): format, optimizer, step,
// epoch, and each tensor's part, name, dtype, shape and CRC-32. Criterion's expectations fail.
void expect_files(const char *directory);

// Of DIRECTORY/EXPECT.tsv: each file is refused in words that the table asks for, or read whole.
void expect_verdicts(const char *directory);

// The path of a file below tests/checkpoint/data.
const char *data_path(const char *name);

// Both documents hold the same tensors, bit for bit, in weights (and training state).
struct pawl_document;
void expect_same_tensors(const struct pawl_document *a, const struct pawl_document *b);

#endif
