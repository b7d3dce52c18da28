// disk.h - what a directory's disk can do, measured with one temporary file.

#ifndef PAWL_DISK_H
#define PAWL_DISK_H

#include <stdbool.h>
#include <stdint.h>

struct pawl_disk {
    char kind[24];                    // "ext4", "tmpfs", ... or its magic number
    uint64_t free_bytes;              // that this user may still write
    bool direct;                      // O_DIRECT writes work there
    double bytes_per_s;               // written in 4 MiB pieces and made durable
    double sync_ms_p50, sync_ms_max;  // of a 4 KiB write that is made durable
};

// Takes at most about three seconds; the file is gone afterwards. PAWL_ENONE: no such directory.
// PAWL_EBUSY: no file can be made there. PAWL_EIO: it could not be written.
int pawl_disk_measure(struct pawl_disk *out, const char *directory);

#endif
