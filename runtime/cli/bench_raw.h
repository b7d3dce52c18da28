// bench_raw.h - what the disk itself does: the figure that saving and restoring are held against.

#ifndef PAWL_CLI_BENCH_RAW_H
#define PAWL_CLI_BENCH_RAW_H

#include <stdint.h>

// Bytes per second of a fresh file written whole with O_DIRECT (without, where the file system
// refuses it) in 4 MiB requests, depth of them under way at a time, into space reserved before,
// with the final fdatasync. The file stays for bench_raw_read.
int bench_raw_write(const char *path, uint64_t bytes, int depth, double *bytes_per_s);
int bench_raw_read(const char *path, uint64_t bytes, int depth, double *bytes_per_s);

// Drops the page cache. false: not allowed to; what is read may come from memory.
int bench_drop_caches(void);

// A scratch directory under `where`, and its removal with what is in it (two levels).
int bench_scratch(char *out, unsigned long size, const char *where);
void bench_remove(const char *path);

#endif
