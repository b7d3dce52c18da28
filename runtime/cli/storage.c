// storage.c - see storage.h.

#include "runtime/cli/storage.h"

#include <string.h>

#include "checkpoint/store/uring.h"
#include "kernels/error.h"

int storage_choose(const struct pawl_options *options)
{
    const bool wanted = options->io && !strcmp(options->io, "uring");
    const char *why = "";

    if (options->host_memory >= 0 && options->host_memory < STORAGE_MEMORY_LEAST)
        return pawl_fail(PAWL_EINVAL, "--host-memory %lld bytes: too little. try: 256MiB, the "
                         "least", (long long)options->host_memory);
    if (options->io && !wanted) return 0;
    const struct pawl_io *table = pawl_io_uring(&why);
    if (table)
        pawl_io_set(table);
    else if (wanted)
        return pawl_fail(PAWL_ENOTSUP, "--io uring: the kernel refuses it (%s). try: --io posix",
                         why);
    return 0;
}
