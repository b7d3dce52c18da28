// lease.h - the right to write a run: one process at a time, and each can be told from the last.
//
// RUN/LEASE is held with flock() as long as the process lives, so a dead one never blocks its
// successor. Its text holds a number, the epoch, which grows with every process that takes the
// run and after every failed attempt. Snapshots carry it in their names. A process that finds a
// newer number there (its lock was broken: the file replaced, a file system without locks) has
// been succeeded: it may neither commit nor collect any more.
//
//     pawl lease 1
//     job 0123456789abcdef0123456789abcdef
//     epoch 00000003
//     host node17
//     pid 4711
//     crc32c 89abcdef            CRC-32C of all lines before
//
// Threads: one at a time.

#ifndef PAWL_LEASE_H
#define PAWL_LEASE_H

#include <stdint.h>

#include "checkpoint/attempt.h"

struct pawl_lease {
    int fd;  // -1: not held
    uint32_t epoch;
    unsigned char job[PAWL_JOB_BYTES];
    char path[PAWL_PATH_MAX];
};

// Takes the run in directory where, with an epoch above every one seen there.
// PAWL_EBUSY: held, by whom. PAWL_EIO: cannot be written, and why.
int pawl_lease_take(struct pawl_lease *out, const char *where);
// Whether it is still ours. PAWL_EIO: no, naming the newer epoch; or it cannot be read now.
int pawl_lease_check(const struct pawl_lease *lease);
// A new epoch for the next attempt, durable before this returns.
int pawl_lease_renew(struct pawl_lease *lease);
void pawl_lease_drop(struct pawl_lease *lease);  // accepts one never taken (fd -1)

#endif
