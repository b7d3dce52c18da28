// shard.h - one rank's file of a snapshot, and the table of its checksums.
//
//     rc = pawl_shard_write(&receipt, directory, &shard);   // R1 to R4 of docs/snapshot.md
//     rc = pawl_shard_read(directory, manifest, rank, &sink);
//
// Writing goes in chunks of 4 MiB, past the page cache (O_DIRECT) where the file system takes it.
// Several chunks are under way at once, and while storage has them the next one is summed. An
// error leaves the files as they are: whoever asked begins again under another name.

#ifndef PAWL_SHARD_H
#define PAWL_SHARD_H

#include "checkpoint/manifest.h"
#include "checkpoint/store/transfers.h"
#include "checkpoint/sums.h"

// Chunks under way at once: at most, and at least (where there are so many). Between them it is
// what storage takes in 50 ms: the thread that writes shares its core with a training step and
// comes to run a few ms late, and 12 MB are gone by then on a disk that takes 2 GB/s; while on one
// that takes 100 MB/s more would only make others wait.
enum { PAWL_SHARD_DEPTH = 16, PAWL_SHARD_DEPTH_LEAST = 3, PAWL_SHARD_AHEAD_MS = 50 };

// Where the bytes come from: chunk by chunk, in any order, each once.
struct pawl_chunks {
    void *context;
    // 1: *chunk is complete, *bytes (4096-aligned, readable up to the next multiple of 4096) stay
    // as they are until it is written. 0: none yet; with wait, which blocks for one: no more at
    // all. Negative: the snapshot cannot be completed.
    int (*next)(void *context, bool wait, uint64_t *chunk, const char **bytes);
    // Its bytes are not needed any more.
    void (*written)(void *context, uint64_t chunk);
    // Or NULL: called when as many are under way as may be, for what can be prepared meanwhile.
    void (*ahead)(void *context);
};

// What a rank has to write.
struct pawl_shard {
    struct pawl_attempt attempt;
    int rank, ranks;
    const char *bytes;    // all of it, aligned and readable as above; NULL: chunks give them
    uint64_t size_bytes;
    unsigned char *sums;  // pawl_sums_bytes(size_bytes), for use while writing
    _Atomic uint64_t *written;  // told after each chunk how many bytes are written, or NULL
    _Atomic int64_t *sums_cpu_ns;  // grows by the CPU time that checksums take, or NULL
    const struct pawl_chunks *chunks;
    struct pawl_transfers *transfers;  // borrowed; NULL: some of its own
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

// Where chunks go that were read and checked.
struct pawl_sink {
    void *context;
    // From several threads at once, each chunk once, in any order; offset is in the file.
    int (*take)(void *context, uint64_t offset, const char *bytes, size_t size);
    // Where those bytes may be read to straight away, 4096-aligned, and are then not given to take;
    // NULL: nowhere. The member itself may be NULL, too.
    char *(*place)(void *context, uint64_t offset, size_t size);
    char *room;     // 4096-aligned memory to read into, or NULL: it takes some
    int room_chunks;
};

// Reads a rank's whole shard and checks it all: the table against the manifest, each chunk against
// the table. A chunk that holds goes to the sink at once (NULL: nowhere), while others are still
// being read: after a failure some have gone there. PAWL_ECORRUPT: file, chunk and why. PAWL_EIO:
// it cannot be read. Else: what take returned.
int pawl_shard_read(const char *directory, const struct pawl_manifest *manifest, int rank,
                    const struct pawl_sink *sink);

// A small file written at once: O_EXCL, all its bytes, fsync, close. PAWL_EIO.
int pawl_shard_write_small(const char *path, const void *bytes, size_t size);

#endif
