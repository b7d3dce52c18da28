// digest.h - proof that what landed in a frame of the ring is what lay in device memory when the
// snapshot was asked for: a digest of each stretch, computed on the trainer's stream before
// anything may overwrite it, and computed again from the frame.
//
// It shows a copy that is torn or stale (an event missing, a fence not called, a copy engine that
// lies) as a failed save instead of a snapshot of nothing that ever was. Costs the device one read
// of the state per save; off unless asked for. With host memory of the ring's own there is no copy
// to check; over a belt there is no frame: both ignore it.

#ifndef PAWL_CHECKPOINT_DIGEST_H
#define PAWL_CHECKPOINT_DIGEST_H

#include "checkpoint/layout.h"
#include "checkpoint/ring.h"
#include "kernels/device.h"

struct pawl_digests {
    struct pawl_device *device;
    uint64_t *sums;  // (frames, stretches, 2) in pinned memory; NULL: not asked for
    size_t bytes;
};

int pawl_digests_open(struct pawl_digests *digests, struct pawl_device *device,
                      const struct pawl_layout *layout, const struct pawl_ring *ring);
void pawl_digests_close(struct pawl_digests *digests);

// Queues the digests of the state as it is when stream gets there.
void pawl_digests_take(struct pawl_digests *digests, const struct pawl_layout *layout, int frame,
                       struct pawl_stream *stream);
// Once stream and copy are done: PAWL_EDEVICE says which bytes of the file are not the state's.
int pawl_digests_check(const struct pawl_digests *digests, const struct pawl_layout *layout,
                       int frame, const char *memory);

#endif
