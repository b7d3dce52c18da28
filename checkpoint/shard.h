// shard.h - one rank's file of a snapshot, and the table of its checksums.
//
//     rc = pawl_shard_write(&receipt, directory, &shard);   // R1 to R4 of docs/snapshot.md
//     rc = pawl_shard_read(directory, manifest, rank, buffer);
//
// Writing goes in chunks of 4 MiB, each summed just before it is written, past the page cache
// (O_DIRECT) where the file system takes it. An error leaves the files as they are: whoever
// asked begins again under another name.

#ifndef PAWL_SHARD_H
#define PAWL_SHARD_H

#include "checkpoint/manifest.h"
#include "checkpoint/sums.h"

// What a rank has to write. bytes is 4096-aligned and readable up to the next multiple of 4096.
struct pawl_shard {
    struct pawl_attempt attempt;
    int rank, ranks;
    const char *bytes;
    uint64_t size_bytes;
    unsigned char *sums;  // pawl_sums_bytes(size_bytes), for use while writing
    _Atomic uint64_t *written;  // told after each chunk how many bytes are written, or NULL
};

// What it tells the coordinator when that is safe on storage.
struct pawl_receipt {
    struct pawl_attempt attempt;
    int rank;
    uint64_t file_bytes, sums_bytes;
    uint32_t sums_crc;
};

// PAWL_EIO: what could not be done to which file, and why.
int pawl_shard_write(struct pawl_receipt *out, const char *directory,
                     const struct pawl_shard *shard);

// Reads a rank's whole shard into buffer (4096-aligned, room for its size rounded up to 4096), or
// nowhere when buffer is NULL, and checks it all: the table against the manifest, each chunk
// against the table. PAWL_ECORRUPT: file, chunk and why. PAWL_EIO: it cannot be read.
int pawl_shard_read(const char *directory, const struct pawl_manifest *manifest, int rank,
                    char *buffer);

// A small file written at once: O_EXCL, all its bytes, fsync, close. PAWL_EIO.
int pawl_shard_write_small(const char *path, const void *bytes, size_t size);

#endif
