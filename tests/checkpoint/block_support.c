// block_support.c - see block_support.h.

#include "block_support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

int block_shell(const char *format, ...)
{
    char command[8192], quiet[8400];
    va_list list;

    va_start(list, format);
    vsnprintf(command, sizeof(command), format, list);
    va_end(list);
    snprintf(quiet, sizeof(quiet), "{ %s; } >/dev/null 2>&1", command);
    const int status = system(quiet);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

bool block_has(const char *command)
{
    return !block_shell("command -v %s", command);
}

const char *block_refusal(void)
{
    if (geteuid()) return "needs root, for loop devices and mounts";
    if (access("/dev/loop-control", R_OK | W_OK)) return "needs loop devices";
    return access("/dev/fuse", R_OK | W_OK) ? "needs /dev/fuse" : NULL;
}

int block_make(const char *file, const char *kind)
{
    static const struct {
        const char *kind, *command;
        int mebibytes;
    } kinds[] = {
        { "ext4", "mkfs.ext4 -q -F -b 4096 -J size=4", 48 },
        { "xfs", "mkfs.xfs -q -f", 320 },
        { "btrfs", "mkfs.btrfs -q -f", 128 },
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (!strcmp(kinds[i].kind, kind))
            return block_shell("f='%s'; rm -f $f && truncate -s %dM $f && %s $f && fallocate -d $f",
                               file, kinds[i].mebibytes, kinds[i].command);
    return 1;
}

static bool is_mounted(const char *where)
{
    char line[9000], wanted[4200];
    FILE *file = fopen("/proc/mounts", "re");
    bool found = false;

    snprintf(wanted, sizeof(wanted), " %s ", where);
    while (file && !found && fgets(line, sizeof(line), file))
        found = strstr(line, wanted) != NULL;
    if (file) fclose(file);
    return found;
}

// A free loop device with the file behind it; it goes when its last user does.
static int attach(int file, char loop[32])
{
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

    for (int tries = 0; control >= 0 && tries < 20; tries++) {
        const struct loop_config config = { .fd = (unsigned)file,
                                            .info.lo_flags = LO_FLAGS_AUTOCLEAR };
        const int number = ioctl(control, LOOP_CTL_GET_FREE);
        snprintf(loop, 32, "/dev/loop%d", number);
        const int fd = number < 0 ? -1 : open(loop, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && !ioctl(fd, LOOP_CONFIGURE, &config)) {
            close(control);
            return fd;
        }
        if (fd >= 0) close(fd);
    }
    if (control >= 0) close(control);
    return -1;
}

int block_mount(const char *file, const char *kind, const char *where)
{
    char loop[32];
    const int fd = open(file, O_RDWR | O_CLOEXEC);
    const int device = fd < 0 ? -1 : attach(fd, loop);
    int rc = 1;

    if (fd >= 0) close(fd);
    if (device < 0) return 1;
    if (!mount(loop, where, kind, 0, NULL) && is_mounted(where)) rc = 0;
    if (rc) fprintf(stderr, "mount %s (%s) at %s: %s\n", file, kind, where, strerror(errno));
    close(device);  // from here on the mount alone keeps it
    return rc;
}

void block_unmount(const char *where)
{
    if (umount2(where, 0) && errno != EINVAL) umount2(where, MNT_DETACH);
}

int block_copy(const char *to, const char *from)
{
    static char buffer[1 << 20];
    const int in = open(from, O_RDONLY | O_CLOEXEC);
    const int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const off_t size = in < 0 ? -1 : lseek(in, 0, SEEK_END);
    int rc = out < 0 || size < 0 || ftruncate(out, size);
    off_t at = 0;

    while (!rc && (at = lseek(in, at, SEEK_DATA)) >= 0 && at < size) {
        const off_t end = lseek(in, at, SEEK_HOLE);
        while (!rc && at < end) {
            const off_t left = end - at;
            const size_t part = left < (off_t)sizeof(buffer) ? (size_t)left : sizeof(buffer);
            const ssize_t got = pread(in, buffer, part, at);
            rc = got <= 0 || pwrite(out, buffer, (size_t)got, at) != got;
            at += got;
        }
    }
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    return rc;
}
