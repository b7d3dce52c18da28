// sandbox.h - a child process that reads a file nobody vouches for, with nothing but its bytes.
//
//     parent (broker)                          child (reader)
//     opens what is asked, beneath root  <---  asks for a file of the model by name
//     hands over a descriptor            --->  pread, parse; all other doors are shut
//     decodes and checks the answer      <---  a bounded encoding of what was found, or words
//     preads the payload itself
//     asks for bytes that must be made   --->  inflates, gathers strides
//
// The child loses, in this order: all descriptors but its channel; memory beyond PAWL_SANDBOX_BYTES
// more than it had, 60 s of CPU, files and core dumps (rlimits); new privileges; every file by name
// (Landlock with no rule); every system call but read, pread64, sendmsg, recvmsg, memory, close and
// exit (seccomp). So no open, no socket, no exec, no clone, no io_uring. A kernel that lacks one of
// the last two leaves the others in place. The readers themselves notice nothing: in the child,
// pawl_io() is a table that asks the broker.
//
// Threads: the parent may have many; the child runs the forking thread alone.

#ifndef PAWL_SANDBOX_H
#define PAWL_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kernels/error.h"

enum {
    PAWL_SANDBOX_CPU_SECONDS = 60,
    PAWL_SANDBOX_SILENT_SECONDS = 300,  // in all: a slow disk may take its time, a hang may not
    PAWL_SANDBOX_PACKET_BYTES = 60 << 10,
    PAWL_SANDBOX_FILES = 4096,
};
#define PAWL_SANDBOX_BYTES ((uint64_t)1 << 30)

// Which restrictions took hold.
enum { PAWL_LOCK_LIMITS = 1, PAWL_LOCK_LANDLOCK = 2, PAWL_LOCK_SECCOMP = 4 };
// Restricts the calling process for good; channel becomes descriptor 0, all others are closed.
int pawl_sandbox_lock(int channel, unsigned *locks);

// A packet: the bytes of a message, and its numbers. kind is the caller's beyond these.
enum { PAWL_PACKET_OPEN = 1, PAWL_PACKET_LIST, PAWL_PACKET_LOOK, PAWL_PACKET_DONE };
struct pawl_packet {
    uint32_t kind, size;  // size: of bytes
    int64_t a, b;
    char bytes[PAWL_SANDBOX_PACKET_BYTES];
};
// 0 or -errno; -EPIPE: the other side is gone. fd -1: none is passed. recv sets *fd to -1 or one.
int pawl_packet_send(int channel, const struct pawl_packet *packet, int fd);
int pawl_packet_recv(int channel, struct pawl_packet *packet, int *fd);

// The parent's side.
struct pawl_sandbox {
    pid_t pid;
    int channel, users;
    int patience_s;  // how many more seconds it may be silent; -1: for ever
    char root[4096];  // the model's path; files beside and beneath it may be asked for
    struct pawl_packet packet;  // the one in transit
    int opened[PAWL_SANDBOX_FILES];  // descriptors handed out, by number; -1: taken over
    int opened_count;
};

// Forks. In the child runs child(context), whose requests pawl_io() carries, and which then sends
// packets of its own over descriptor 0; it never returns. PAWL_ENOTSUP: no process to be had.
int pawl_sandbox_start(struct pawl_sandbox **out, const char *root, void (*child)(void *context),
                       void *context);
// The next packet that is not a request for a file; those are served. PAWL_ECORRUPT when the child
// died, saying of what, or was silent for too long: then it is ended.
int pawl_sandbox_next(struct pawl_sandbox *sandbox);
// Lifts the limits on CPU and silent seconds: a child that makes bytes may work as long as asked.
void pawl_sandbox_trust_time(struct pawl_sandbox *sandbox);
// One user less; the last one's call ends the child.
void pawl_sandbox_free(struct pawl_sandbox *sandbox);  // accepts NULL

// In the child: the number under which the parent knows descriptor fd, or -1.
int pawl_sandbox_number(int fd);

#endif
