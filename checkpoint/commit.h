// commit.h - makes one snapshot of a run exist: the steps C0 to C6 of docs/snapshot.md.
//
//     pawl_commit_begin -> each rank's pawl_shard_write -> receipts -> pawl_commit_finish
//
// An error abandons the attempt: nothing is removed, nothing is tried again under the same name.

#ifndef PAWL_COMMIT_H
#define PAWL_COMMIT_H

#include "checkpoint/lease.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shard.h"

struct pawl_commit {
    const char *where;
    const struct pawl_lease *lease;
    struct pawl_attempt attempt;
    char directory[PAWL_PATH_MAX];
    struct pawl_text manifest;  // kept from save to save for its room
};

// C0: the lease is ours, the space is there, the directory is new and durable.
int pawl_commit_begin(struct pawl_commit *commit, uint64_t step, uint64_t need_bytes);

// C1 to C5. manifest: made by pawl_manifest_new, with epoch, metric and previous set; the rest is
// filled in here. When this returns 0 the snapshot is durable: say so, then hint.
int pawl_commit_finish(struct pawl_commit *commit, struct pawl_manifest *manifest,
                       const struct pawl_receipt *receipts, const struct pawl_text *document);
// C6: LATEST names it.
void pawl_commit_hint(const struct pawl_commit *commit);

#endif
