// sandbox.c - the two processes, their channel, and the broker of files.

#include "checkpoint/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/io.h"
#include "kernels/memory.h"

enum { OPENED_MAX = PAWL_SANDBOX_FILES, HEAD_BYTES = offsetof(struct pawl_packet, bytes) };

// ---- the channel: one packet is one message of a SOCK_SEQPACKET socket

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

int pawl_packet_send(int channel, const struct pawl_packet *packet, int fd)
{
    struct iovec part = { (void *)(uintptr_t)packet, HEAD_BYTES + packet->size };
    union control control = { .bytes = { 0 } };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &fd, sizeof(fd));
    }
    for (;;) {
        if (sendmsg(channel, &message, MSG_NOSIGNAL) >= 0) return 0;
        if (errno != EINTR) return -errno;
    }
}

int pawl_packet_recv(int channel, struct pawl_packet *packet, int *fd)
{
    struct iovec part = { packet, sizeof(*packet) };
    union control control = { .bytes = { 0 } };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    ssize_t got;

    do
        got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    int passed = -1;
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&passed, CMSG_DATA(head), sizeof(passed));
    if (passed >= 0 && !fd) close(passed);
    if (fd) *fd = passed;
    if (got == 0) return -EPIPE;
    if ((size_t)got < HEAD_BYTES || packet->size != (size_t)got - HEAD_BYTES) return -EPROTO;
    return 0;
}

// ---- the child's pawl_io(): every name goes to the broker

static struct pawl_packet request;  // one at a time: the child has one thread
static int number_of[OPENED_MAX];   // by descriptor; 0: none, else the number + 1
static struct stat stat_of[OPENED_MAX];

static int ask(uint32_t kind, const char *path, int64_t a, int *fd)
{
    const size_t size = strlen(path) + 1;

    if (size > sizeof(request.bytes)) return -ENAMETOOLONG;
    request.kind = kind;
    request.size = (uint32_t)size;
    request.a = a;
    memcpy(request.bytes, path, size);
    int rc = pawl_packet_send(0, &request, -1);
    if (!rc) rc = pawl_packet_recv(0, &request, fd);
    if (rc) _exit(1);  // without a broker there is nothing to be done
    return (int)request.a;
}

static int far_open(const char *path, int flags, mode_t mode)
{
    int fd = -1;

    (void)mode;
    const int rc = ask(PAWL_PACKET_OPEN, path, flags, &fd);
    if (rc < 0) return rc;
    if (fd < 0 || fd >= OPENED_MAX || request.size != sizeof(struct stat)) return -EMFILE;
    number_of[fd] = (int)request.b + 1;
    memcpy(&stat_of[fd], request.bytes, sizeof(struct stat));
    return fd;
}

static int far_close(int fd)
{
    number_of[fd] = 0;
    return close(fd) ? -errno : 0;
}

static int far_fstat(int fd, struct stat *out)
{
    if (fd < 0 || fd >= OPENED_MAX || !number_of[fd]) return -EBADF;
    *out = stat_of[fd];
    return 0;
}

static int far_lstat(const char *path, struct stat *out)
{
    const int rc = ask(PAWL_PACKET_LOOK, path, 0, NULL);

    if (rc < 0) return rc;
    if (request.size != sizeof(*out)) return -EIO;
    memcpy(out, request.bytes, sizeof(*out));
    return 0;
}

// The broker answers with all names in one packet, each with its zero.
static int far_list(const char *path, int (*each)(void *context, const char *name), void *context)
{
    int rc = ask(PAWL_PACKET_LIST, path, 0, NULL);
    char *names = NULL;

    if (rc < 0) return rc;
    const size_t size = request.size;
    if (pawl_alloc(&names, size + 1, "names")) return -ENOMEM;
    memcpy(names, request.bytes, size);  // each() may ask, too
    for (size_t at = 0; at < size && !rc; at += strlen(names + at) + 1)
        rc = each(context, names + at);
    pawl_free(names);
    return rc;
}

static ssize_t no_write(int fd, const void *bytes, size_t size, off_t offset)
{
    (void)fd, (void)bytes, (void)size, (void)offset;
    return -EPERM;
}

static int no_path(const char *path)
{
    (void)path;
    return -EPERM;
}

static int no_file(int fd)
{
    (void)fd;
    return -EPERM;
}

static int no_mkdir(const char *path, mode_t mode)
{
    (void)mode;
    return no_path(path);
}

static int no_rename(const char *from, const char *to)
{
    (void)to;
    return no_path(from);
}

static int no_random(void *bytes, size_t size)
{
    (void)bytes, (void)size;
    return -EPERM;
}

static void enter_child(int channel, void (*child)(void *context), void *context)
{
    static struct pawl_io table;
    unsigned locks;

    table = pawl_io_posix;
    table.name = "sandbox";
    table.open = far_open;
    table.close = far_close;
    table.pwrite = no_write;
    table.datasync = table.sync = table.lock = no_file;
    table.fstat = far_fstat;
    table.lstat = far_lstat;
    table.mkdir = no_mkdir;
    table.rename = table.rename_noreplace = no_rename;
    table.unlink = table.rmdir = no_path;
    table.list = far_list;
    table.random = no_random;
    pawl_io_set(&table);
    if (!pawl_sandbox_lock(channel, &locks)) child(context);
    _exit(0);
}

int pawl_sandbox_number(int fd)
{
    return fd < 0 || fd >= OPENED_MAX ? -1 : number_of[fd] - 1;
}

// ---- the broker

// Whether a reader of root may ask for path: root itself, what is beneath, and what is beside.
static bool may(const struct pawl_sandbox *sandbox, const char *path)
{
    const char *root = sandbox->root, *slash = strrchr(root, '/');
    const size_t length = strlen(root), beside = slash ? (size_t)(slash - root) + 1 : 0;

    if (strcmp(path, root) == 0) return true;
    const char *rest = NULL;
    if (strncmp(path, root, length) == 0 && path[length] == '/')
        rest = path + length;
    else if (strncmp(path, root, beside) == 0)
        rest = path + beside;
    if (!rest || (beside == 0 && *path == '/')) return false;
    for (const char *part = rest; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == 0)) return false;
    }
    return true;
}

static void serve_open(struct pawl_sandbox *sandbox, int *fd)
{
    struct pawl_packet *packet = &sandbox->packet;
    struct stat of;
    int rc;

    packet->size = 0;
    if (sandbox->opened_count == OPENED_MAX) {
        packet->a = -EMFILE;
        return;
    }
    *fd = pawl_io_posix.open(packet->bytes, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
    rc = *fd < 0 ? *fd : pawl_io_posix.fstat(*fd, &of);
    packet->a = rc;
    if (rc < 0) {
        if (*fd >= 0) pawl_io_posix.close(*fd);
        *fd = -1;
        return;
    }
    packet->b = sandbox->opened_count;
    sandbox->opened[sandbox->opened_count++] = *fd;
    memcpy(packet->bytes, &of, sizeof(of));
    packet->size = sizeof(of);
}

static int add_name(void *context, const char *name)
{
    struct pawl_packet *packet = context;
    const size_t size = strlen(name) + 1;

    if (size > sizeof(packet->bytes) - packet->size) return -E2BIG;
    memcpy(packet->bytes + packet->size, name, size);
    packet->size += (uint32_t)size;
    return 0;
}

// Answers the packet just received when it asks for a file; false: it is the caller's.
static bool serve(struct pawl_sandbox *sandbox, int *rc)
{
    struct pawl_packet *packet = &sandbox->packet;
    char path[4200] = "";
    struct stat of;
    int fd = -1;

    if (packet->kind > PAWL_PACKET_LOOK || !packet->kind) return false;
    if (packet->size && packet->size <= sizeof(path)) memcpy(path, packet->bytes, packet->size);
    const bool fine = packet->size && packet->size <= sizeof(path) && !path[packet->size - 1]
                      && may(sandbox, path);
    packet->size = 0;
    packet->a = fine ? 0 : -EPERM;
    if (fine && packet->kind == PAWL_PACKET_OPEN) {
        memcpy(packet->bytes, path, sizeof(path));
        serve_open(sandbox, &fd);
    }
    if (fine && packet->kind == PAWL_PACKET_LIST) {
        packet->a = pawl_io_posix.list(path, add_name, packet);
        if (packet->a < 0) packet->size = 0;
    }
    if (fine && packet->kind == PAWL_PACKET_LOOK && !(packet->a = pawl_io_posix.lstat(path, &of))) {
        memcpy(packet->bytes, &of, sizeof(of));
        packet->size = sizeof(of);
    }
    *rc = pawl_packet_send(sandbox->channel, packet, fd);
    return true;
}

// Waits for the child's end and says how it came.
static int post_mortem(struct pawl_sandbox *sandbox)
{
    int status = 0;
    pid_t gone = 0;

    // Without a child left, waitpid would wait for any of the caller's.
    if (sandbox->pid)
        do
            gone = waitpid(sandbox->pid, &status, 0);
        while (gone < 0 && errno == EINTR);
    sandbox->pid = 0;
    if (gone > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        return pawl_fail(PAWL_ECORRUPT, "%s: reading it took more than %d s of CPU: it is damaged "
                         "or hostile", sandbox->root, PAWL_SANDBOX_CPU_SECONDS);
    if (gone > 0 && WIFSIGNALED(status))
        return pawl_fail(PAWL_ECORRUPT, "%s: its reader, a process without rights, died of signal "
                         "%d: the file is damaged or hostile", sandbox->root, WTERMSIG(status));
    return pawl_fail(PAWL_ECORRUPT, "%s: its reader, a process without rights, ended early",
                     sandbox->root);
}

// Second by second, so that time in which the whole program was stopped does not count.
static bool comes(struct pawl_sandbox *sandbox)
{
    struct pollfd channel = { .fd = sandbox->channel, .events = POLLIN };

    for (;;) {
        const int ready = poll(&channel, 1, 1000);
        if (ready > 0 || (ready < 0 && errno != EINTR)) return true;
        if (ready == 0 && sandbox->patience_s >= 0 && sandbox->patience_s-- == 0) return false;
    }
}

static int give_up(struct pawl_sandbox *sandbox)
{
    kill(sandbox->pid, SIGKILL);
    post_mortem(sandbox);
    return pawl_fail(PAWL_ECORRUPT, "%s: its reader, a process without rights, has not answered in "
                     "%d s: the file is damaged or hostile, or its disk hangs", sandbox->root,
                     PAWL_SANDBOX_SILENT_SECONDS);
}

int pawl_sandbox_next(struct pawl_sandbox *sandbox)
{
    int rc;

    if (!sandbox->pid) return post_mortem(sandbox);
    do {
        if (!comes(sandbox)) return give_up(sandbox);
        rc = pawl_packet_recv(sandbox->channel, &sandbox->packet, NULL);
    } while (!rc && serve(sandbox, &rc) && !rc);
    return rc ? post_mortem(sandbox) : 0;
}

int pawl_sandbox_start(struct pawl_sandbox **out, const char *root, void (*child)(void *context),
                       void *context)
{
    struct pawl_sandbox *sandbox = NULL;
    int pair[2] = { -1, -1 };

    int rc = pawl_alloc(&sandbox, sizeof(*sandbox), "a sandbox");
    if (rc) return rc;
    snprintf(sandbox->root, sizeof(sandbox->root), "%s", root);
    sandbox->users = 1;
    sandbox->patience_s = PAWL_SANDBOX_SILENT_SECONDS;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) goto fail;
    sandbox->channel = pair[0];
    sandbox->pid = fork();
    if (sandbox->pid < 0) goto fail;
    if (sandbox->pid == 0) enter_child(pair[1], child, context);
    close(pair[1]);
    *out = sandbox;
    return 0;
fail:
    rc = pawl_fail(PAWL_ENOTSUP, "no process for reading %.800s: %s", root, strerror(errno));
    if (pair[0] >= 0) close(pair[0]);
    if (pair[1] >= 0) close(pair[1]);
    pawl_free(sandbox);
    return rc;
}

void pawl_sandbox_trust_time(struct pawl_sandbox *sandbox)
{
    const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };

    prlimit(sandbox->pid, RLIMIT_CPU, &none, NULL);
    sandbox->patience_s = -1;
}

void pawl_sandbox_free(struct pawl_sandbox *sandbox)
{
    if (!sandbox || --sandbox->users) return;
    for (int i = 0; i < sandbox->opened_count; i++)
        if (sandbox->opened[i] >= 0) pawl_io_posix.close(sandbox->opened[i]);
    close(sandbox->channel);  // the child sees that, and ends
    if (sandbox->pid > 0) {
        kill(sandbox->pid, SIGKILL);  // a hostile one need not
        while (waitpid(sandbox->pid, NULL, 0) < 0 && errno == EINTR) continue;
    }
    pawl_free(sandbox);
}
