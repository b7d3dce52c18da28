// transfers.h - several reads and writes under way at once: through the I/O table's queue where it
// has one (io_uring), else through a few threads that call its pread and pwrite.
//
//     pawl_transfers_open(&transfers, depth);
//     pawl_transfers_submit(transfers, &one);  pawl_transfers_submit(transfers, &another);
//     pawl_transfers_reap(transfers, &ended);      // whichever ends first
//
// Memory: everything at open. Threads: one user at a time.

#ifndef PAWL_STORE_TRANSFERS_H
#define PAWL_STORE_TRANSFERS_H

#include "kernels/io.h"

enum { PAWL_TRANSFERS_MAX = 32 };

struct pawl_transfers;

// depth: transfers under way at once, 1 to PAWL_TRANSFERS_MAX. PAWL_ENOMEM.
int pawl_transfers_open(struct pawl_transfers **out, int depth);
// Waits for what is under way. Accepts NULL.
void pawl_transfers_close(struct pawl_transfers *transfers);

int pawl_transfers_depth(const struct pawl_transfers *transfers);
int pawl_transfers_under_way(const struct pawl_transfers *transfers);

// 0, or -errno: it was not started. -EAGAIN: depth transfers are under way.
int pawl_transfers_submit(struct pawl_transfers *transfers, struct pawl_io_transfer *transfer);
// Waits for one that was submitted; its `done` says how it went. -EIO: none is under way. Another
// -errno: the queue itself failed; nothing can be submitted from then on.
int pawl_transfers_reap(struct pawl_transfers *transfers, struct pawl_io_transfer **out);

// CPU time that its threads have taken; 0 with a queue, which has none. Any thread, until close.
int64_t pawl_transfers_cpu_ns(const struct pawl_transfers *transfers);

// From the next transfer on storage serves it after others' (idle) or as any.
void pawl_transfers_idle(struct pawl_transfers *transfers, bool idle);
// The same for the calling thread.
void pawl_transfers_idle_self(bool idle);

#endif
