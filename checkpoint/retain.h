// retain.h - removes the snapshots that no rule wants any more.
//
// Order within one: MANIFEST goes first, is checked to be gone and made durable, only then the
// rest. So a snapshot that is half removed was never committed, as far as anyone can see.

#ifndef PAWL_RETAIN_H
#define PAWL_RETAIN_H

#include "checkpoint/keep.h"
#include "checkpoint/lease.h"

// Applies keep to the run, and removes attempts that were never committed and whose epoch is
// older than the lease's. Stops at the first error of each snapshot and goes on with the next;
// returns the first failure. PAWL_EIO also when the lease is no longer ours.
//
// distrusted (or NULL) tells which snapshots, by their directory, loading found damaged although
// their manifests hold: they count for nothing, and are left for people to look at.
int pawl_retain(const char *where, const struct pawl_keep *keep, const struct pawl_lease *lease,
                bool (*distrusted)(void *context, const char *path), void *context);

#endif
