// digest.h - proof that what landed in a frame of the ring is what lay in device memory when the
// snapshot was asked for, and that what landed in device memory when it was loaded is the same.
//
//     device memory --copy--> frame --> shard ....... shard --> device memory
//        digest       equal? digest --> MANIFEST .... MANIFEST   equal? digest
//
// Of each stretch of the state one digest (kernels/digest.h), computed on the trainer's stream
// before anything may overwrite it. It shows a copy that is torn or stale (an event missing, a
// fence not called, a copy engine that lies) as a failed save instead of a snapshot of nothing
// that ever was, and a load that did not arrive as a damaged snapshot. Costs the device one read
// of the state per save; off unless asked for. With host memory of the ring's own there is no copy
// to check; over a belt there is no frame: both take none.

#ifndef PAWL_CHECKPOINT_DIGEST_H
#define PAWL_CHECKPOINT_DIGEST_H

#include "checkpoint/layout.h"
#include "checkpoint/manifest.h"
#include "checkpoint/ring.h"
#include "kernels/device.h"

struct pawl_digests {
    struct pawl_device *device;
    uint64_t *sums;  // (frames, stretches by offset, 2) in pinned memory; NULL: not asked for
    size_t bytes;
};

// The entry of the manifest gets room for the digests, too.
int pawl_digests_open(struct pawl_digests *digests, struct pawl_device *device,
                      const struct pawl_layout *layout, const struct pawl_ring *ring,
                      struct pawl_manifest_file *shard);
void pawl_digests_close(struct pawl_digests *digests);

// Queues the digests of the state as it is when stream gets there.
void pawl_digests_take(struct pawl_digests *digests, const struct pawl_layout *layout, int frame,
                       struct pawl_stream *stream);
// Once stream and copy are done: PAWL_EDEVICE says which bytes of the file are not the state's.
// Those that are go into the manifest's entry of the shard.
int pawl_digests_check(const struct pawl_digests *digests, const struct pawl_layout *layout,
                       int frame, const char *memory, struct pawl_manifest_file *shard);

// Where the bytes of a shard landed: pieces by offset, in device memory; room is host memory of the
// device's, for what does not lie there as it lies in the file.
struct pawl_landed {
    struct pawl_device *device;
    struct pawl_stream *stream;
    const struct pawl_stretch *pieces;
    size_t piece_count;
    char *room;
    size_t room_bytes;  // at least 8
};

// Whether what landed is what was there when the snapshot was taken. PAWL_ECORRUPT: which bytes of
// the file path are not; else what the device said. Without digests: 0 at once.
int pawl_digests_landed(const struct pawl_landed *landed, const struct pawl_manifest_file *shard,
                        const char *path);
// The same of the file's own bytes, for who looks at it without a device.
int pawl_digests_verify(const char *path, const struct pawl_manifest_file *shard);

#endif
