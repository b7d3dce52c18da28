// block_support.h - real file systems on files, for tests that cut their power or break their disk.
//
// Needs root. Nothing here writes to a mount point before /proc/mounts names it.

#ifndef BLOCK_SUPPORT_H
#define BLOCK_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// Runs a shell command, quiet unless it fails; the exit code.
int block_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Whether a command can be found.
bool block_has(const char *command);
// Why this user cannot do any of it, or NULL.
const char *block_refusal(void);

// A new file system of that kind (ext4, xfs, btrfs) in a sparse file.
int block_make(const char *file, const char *kind);
// Mounts a file through a loop device, which goes when the mount does. Says why it cannot.
int block_mount(const char *file, const char *kind, const char *where);
void block_unmount(const char *where);  // lazily when it will not otherwise
// Copies a file, its holes as holes.
int block_copy(const char *to, const char *from);

#endif
