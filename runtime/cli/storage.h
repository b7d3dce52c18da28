// storage.h - chooses the I/O table that a verb's snapshots go through.

#ifndef PAWL_CLI_STORAGE_H
#define PAWL_CLI_STORAGE_H

#include "runtime/cli/flags.h"

enum { STORAGE_MEMORY_LEAST = 256 << 20 };  // of --host-memory; PAWL_EINVAL below it

// --io uring: that or PAWL_ENOTSUP with the kernel's reason. --io posix: that. Not given: uring
// where it works. Call it before anything is open.
int storage_choose(const struct pawl_options *options);

#endif
