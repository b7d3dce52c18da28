// belt.h - a snapshot through less memory than it has: chunks of the file pass over a few slots.
//
//     live state --fill--> | slot | slot | slot | --next--> storage --written--> free again
//
// While the trainer computes forward and backward the state does not change, so the saver's thread
// fills slots as storage empties them. At the fence what is left must be filled before the update
// may run, at the rate of storage once all slots are taken: that is the price of a small belt.
//
// Memory: two small arrays at open; the slots are the ring's. Threads: the trainer (begin, finish)
// and the saver's thread (the rest); lock guards what both change.

#ifndef PAWL_BELT_H
#define PAWL_BELT_H

#include <pthread.h>
#include <stdbool.h>

#include "checkpoint/layout.h"
#include "kernels/device.h"

struct pawl_belt {
    const struct pawl_layout *layout;
    char *memory;    // slots of PAWL_CHUNK_BYTES
    char *header;    // the file's first bytes, with the attempt's identity: set before next
    uint64_t slots, chunks;
    bool host;       // memcpy will do, and the trainer helps
    pthread_mutex_t lock;    // guards the rest
    pthread_cond_t changed;
    bool *busy;              // per slot: filled and not yet written
    uint64_t *owner;         // per slot: which chunk of which snapshot it was filled with last
    uint64_t generation;     // of the snapshot, never used twice
    uint64_t filled, given;  // chunks so far: copied from the state, given to be written
    bool named;              // the header is ready
    const char *broken;      // why it cannot be completed (static words), or NULL
};

int pawl_belt_open(struct pawl_belt *belt, const struct pawl_layout *layout, char *memory,
                   uint64_t slots, bool host);
void pawl_belt_close(struct pawl_belt *belt);  // also of one that was never opened (zeroed)

// A new snapshot; the one before has ended.
void pawl_belt_begin(struct pawl_belt *belt, uint64_t generation);
// The state may be overwritten when this returns: all is copied, or the snapshot is broken.
void pawl_belt_finish(struct pawl_belt *belt, struct pawl_stream *stream);

// The saver's thread: the header's identity is in place; as struct pawl_chunks; and one slot more
// filled while storage is busy. stream: its own, for devices other than the host.
void pawl_belt_name(struct pawl_belt *belt, const struct pawl_attempt *attempt);
int pawl_belt_next(struct pawl_belt *belt, struct pawl_stream *stream, bool wait, uint64_t *chunk,
                   const char **bytes);
void pawl_belt_ahead(struct pawl_belt *belt, struct pawl_stream *stream);
void pawl_belt_written(struct pawl_belt *belt, uint64_t chunk);
bool pawl_belt_is_filled(struct pawl_belt *belt);
// Nothing more will be written: whoever waits is let go. why: static words.
void pawl_belt_break(struct pawl_belt *belt, const char *why);

#endif
