// uring.h - the store of a disk through io_uring: the POSIX row of the I/O table, with a queue.
//
//     const char *why;
//     const struct pawl_io *table = pawl_io_uring(&why);
//     if (table) pawl_io_set(table);
//
// Everything but the queue is pawl_io_posix. Whether the kernel lets us is asked by using it: a
// ring is made, reads a byte and is closed. Containers often forbid it (seccomp), and
// kernel.io_uring_disabled may.

#ifndef PAWL_STORE_URING_H
#define PAWL_STORE_URING_H

#include "kernels/io.h"

// The table, constant from the first call on; NULL and *why (static words): it cannot be used here.
// Threads: call it first while there is one.
const struct pawl_io *pawl_io_uring(const char **why);

#endif
