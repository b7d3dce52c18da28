// broken.h - kernels that break the rules of simt.h, one by one, and some that keep them.

#ifndef PAWL_TESTS_BROKEN_H
#define PAWL_TESTS_BROKEN_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum broken {
    BROKEN_LEFT,        // half of a block leaves before its barrier
    BROKEN_APART,       // two halves wait at two barriers
    BROKEN_LANE,        // a lane leaves before its warp's shuffle
    BROKEN_EXCHANGES,   // lanes of a warp come to two exchanges
    BROKEN_MASK,        // a shuffle of half a warp
    BROKEN_PART,        // a shuffle in a warp of 16 threads
    BROKEN_THREADS,     // a block of 2048
    BROKEN_SHARED,      // more shared memory than there is
    BROKEN_UNWRITTEN,   // shared memory is read before it is written
    BROKEN_STALE,       // likewise, but the block before wrote it
    BROKEN_PAST,        // one byte too far
    BROKEN_RACE_READ,   // no barrier between a write and a read
    BROKEN_RACE_WRITE,  // no barrier between a read and a write
    BROKEN_RACE_WARP,   // no __syncwarp between a write and a read in a warp
    BROKEN_RACE_VOTE,   // a vote in its place
    BROKEN_RACE_SAME,   // two threads write the same
    BROKEN_KINDS,
    SOUND_SUM = BROKEN_KINDS,  // block_sum; results are checked
    SOUND_WARPS,               // all shuffles and votes, against their definition
    SOUND_SYNCWARP,            // a warp's own shared memory, to and fro
    SOUND_PLACES,              // indices of blocks and threads in three dimensions
    SOUND_KINDS
};

// The reason that the launch left in its stream, "wrong" for wrong results, or NULL. Reads
// PAWL_SIMT_SEED anew.
__attribute__((visibility("default"))) const char *broken_run(enum broken kind);

#ifdef __cplusplus
}
#endif
#endif
