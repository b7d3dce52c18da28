// run.h - the snapshots of a run directory: list, look at, verify, remove, pin. Never trains.
//
//     RUN/step-<16 hex step>-<8 hex epoch>/  shard-00000.safetensors shard-00000.sums
//                                            document.json MANIFEST
//         LATEST  run.json  events.jsonl  LEASE
//
// Used by recovery, retention, `pawl ckpt`, `pawl verify` and the `pawl` format's reader.

#ifndef PAWL_RUN_H
#define PAWL_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/error.h"

enum pawl_snapshot_state {
    PAWL_DURABLE,      // the manifest verifies itself and every file is there with its size
    PAWL_UNCOMMITTED,  // no manifest: never promised
    PAWL_DAMAGED,      // a manifest that does not hold
    PAWL_UNREADABLE,   // an error other than "not there" kept us from knowing
};

struct pawl_snapshot {
    uint64_t step;
    uint32_t lease;  // the fencing epoch in the directory's name
    enum pawl_snapshot_state state;
    int64_t epoch;   // of the data; -1 unknown
    double metric;   // NaN unknown
    uint64_t bytes;  // of all files the manifest lists
    int ranks;
    bool pinned;
    char path[4096];
    char why[512];   // for damaged and unreadable: file and reason
};

struct pawl_run {
    struct pawl_snapshot *snapshots;  // newest (lease, step) first; owned
    int count;
    bool commit_traced;  // a MANIFEST or LATEST was seen: a fresh start would forget promised work
};

const char *pawl_snapshot_state_name(enum pawl_snapshot_state state);

// PAWL_ENONE: no such directory. PAWL_EIO: it cannot be listed. An empty run is count 0.
int pawl_run_list(struct pawl_run *out, const char *where);
void pawl_run_free(struct pawl_run *run);
// Whether a directory looks like a run, or like one snapshot of one.
bool pawl_run_is(const char *path);
bool pawl_snapshot_is(const char *path);
// One snapshot by its directory. PAWL_ENONE: not there.
int pawl_snapshot_look(struct pawl_snapshot *out, const char *path);

// Reads every byte of one snapshot against its checksums. 0, or PAWL_ECORRUPT with the file and
// chunk, PAWL_EIO when it cannot be read.
int pawl_snapshot_verify(const struct pawl_snapshot *snapshot);

// In the order of CHECKPOINT.md section 5. Refuses (PAWL_EINVAL) a pinned one.
int pawl_snapshot_remove(const char *where, const struct pawl_snapshot *snapshot);
int pawl_snapshot_pin(const struct pawl_snapshot *snapshot, bool pin);
// Which snapshots a keep rule would remove: marks[i] true. PAWL_EINVAL: the rule is wrong.
int pawl_run_prune(const struct pawl_run *run, const char *keep, bool *marks);

#endif
