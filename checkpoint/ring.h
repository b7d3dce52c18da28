// ring.h - the pinned memory that holds a snapshot: the bytes of the file, as they will be written.
//
//     frame   | header | stretch ........ | stretch ... |
//                        ^ handed to the update: it writes the old values here in passing
//                                 ^ the rest is copied by pawl_ring_copy_rest
//
// One frame, or as many as the memory that was asked for holds: then the next snapshot is taken
// while one is written. With less memory than a frame has, the ring is the slots of a belt (belt.h)
// and there is no frame.
//
// Memory: taken at open, nothing later. Threads: a frame has one owner at a time (the trainer while
// a snapshot is being taken, the saver's thread while it is written).

#ifndef PAWL_RING_H
#define PAWL_RING_H

#include <stdatomic.h>

#include "checkpoint/layout.h"
#include "kernels/device.h"

enum { PAWL_FRAMES_MAX = 4 };

struct pawl_span {
    uint64_t start, end;  // of the ring, in bytes
};

struct pawl_ring {
    struct pawl_device *device;
    char *memory;          // 4096-aligned
    uint64_t size_bytes;   // of all frames, or of the slots
    uint64_t frame_bytes;  // the file's length, rounded up to 4096
    int frames;            // 0: slots
    // Which snapshot a frame holds: set by the trainer before the first byte, looked at by the
    // saver's thread before and after storage has each chunk. It orders nothing; it shows when
    // what does order them (saver_private.h, released) has failed.
    _Atomic uint64_t generation[PAWL_FRAMES_MAX];
    char *frame;           // the one that is being taken
    struct pawl_span *handed;  // ascending, disjoint: promised to be written by others
    int handed_count, handed_room;
};

// memory_bytes: at most so many; 0: one frame. At least 4 chunks, or PAWL_EINVAL.
int pawl_ring_open(struct pawl_ring *ring, struct pawl_device *device,
                   const struct pawl_layout *layout, uint64_t memory_bytes);
void pawl_ring_close(struct pawl_ring *ring);

char *pawl_ring_frame(const struct pawl_ring *ring, int frame);
// That snapshot is taken into that frame from now on; forgets what was handed out.
void pawl_ring_begin(struct pawl_ring *ring, int frame, uint64_t generation);
// Whether the frame holds it, still.
bool pawl_ring_holds(const struct pawl_ring *ring, int frame, uint64_t generation);
// Where the bytes of [memory, memory + bytes) go, 64-byte aligned; NULL when they are not within
// one stretch, not aligned, handed out already, or no more can be remembered.
void *pawl_ring_hand(struct pawl_ring *ring, const struct pawl_layout *layout, const void *memory,
                     size_t bytes);
// Queues the copies of everything that was not handed out.
void pawl_ring_copy_rest(struct pawl_ring *ring, const struct pawl_layout *layout,
                         struct pawl_stream *stream);

#endif
