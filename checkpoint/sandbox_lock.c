// sandbox_lock.c - shuts all doors of a process: limits, Landlock, seccomp.

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "checkpoint/sandbox.h"
#include "kernels/io.h"

// The machine's name in a system call's record; 0: none known here, so no filter.
#if defined(__x86_64__)
enum { MACHINE = (int)AUDIT_ARCH_X86_64 };
#elif defined(__aarch64__)
enum { MACHINE = (int)AUDIT_ARCH_AARCH64 };
#else
enum { MACHINE = 0 };
#endif

// What a reader needs. Everything else fails with EPERM, and does nothing.
static const int allowed[] = {
    SYS_read, SYS_pread64, SYS_sendmsg, SYS_recvmsg, SYS_close, SYS_brk, SYS_munmap, SYS_mremap,
    SYS_madvise, SYS_futex, SYS_exit, SYS_exit_group, SYS_rt_sigreturn, SYS_clock_gettime,
    SYS_getpid, SYS_gettid,
};

enum { CALLS = sizeof(allowed) / sizeof(*allowed) };

// mmap and mprotect are allowed where the protection (argument 2) has no PROT_EXEC.
static int filter(void)
{
    struct sock_filter code[CALLS * 2 + 16];
    unsigned short n = 0;
    const uint32_t nr = offsetof(struct seccomp_data, nr);
    const uint32_t arch = offsetof(struct seccomp_data, arch);
    const uint32_t protection = offsetof(struct seccomp_data, args[2]);

#define PUT(...) code[n++] = (struct sock_filter)__VA_ARGS__
    PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arch));
    PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)MACHINE, 1, 0));
    PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
    PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr));
    for (int i = 0; i < CALLS; i++) {
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1));
        PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 2, 0));
    PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 1, 0));
    PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
    PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, protection));
    PUT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0));
    PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
#undef PUT
    struct sock_fprog program = { .len = n, .filter = code };
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

// No rule at all: nothing on any file system may be opened, made or removed by name. The rights of
// version 1; newer kernels know more, but those go with an open that is refused.
static int landlock(void)
{
    enum { CREATE = 444, RESTRICT = 446, RIGHTS = (1 << 13) - 1 };
    const struct { uint64_t files; } rules = { RIGHTS };
    const long fd = syscall(CREATE, &rules, sizeof(rules), 0);

    if (fd < 0) return -errno;
    const long rc = syscall(RESTRICT, (int)fd, 0);
    close((int)fd);
    return rc ? -errno : 0;
}

// Bytes of address space in use, or 0.
static uint64_t used(void)
{
    char line[128] = "";
    unsigned long pages = 0;
    const int fd = pawl_io_posix.open("/proc/self/statm", 0, 0);

    if (fd < 0) return 0;
    if (pawl_io_posix.pread(fd, line, sizeof(line) - 1, 0) > 0) pages = strtoul(line, NULL, 10);
    pawl_io_posix.close(fd);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool limit(int what, uint64_t soft, uint64_t hard)
{
    const struct rlimit both = { soft, hard };

    return setrlimit((__rlimit_resource_t)what, &both) == 0;
}

int pawl_sandbox_lock(int channel, unsigned *locks)
{
    const uint64_t now = used();

    *locks = 0;
    if (channel != 0 && dup2(channel, 0) < 0) return -errno;
    if (syscall(SYS_close_range, 1U, ~0U, 0U)) {
        const long most = sysconf(_SC_OPEN_MAX);
        for (int fd = 1; fd < (most > 65536 || most < 0 ? 65536 : (int)most); fd++)
            close(fd);
    }
    bool limited = limit(RLIMIT_CORE, 0, 0) && limit(RLIMIT_FSIZE, 0, 0)
                   && limit(RLIMIT_CPU, PAWL_SANDBOX_CPU_SECONDS, RLIM_INFINITY);
    // A sanitizer's shadow is counted, being there already.
    const uint64_t most_bytes = now + PAWL_SANDBOX_BYTES;
    if (now) limited = limit(RLIMIT_AS, most_bytes, most_bytes) && limited;
    if (limited) *locks |= PAWL_LOCK_LIMITS;
    prctl(PR_SET_DUMPABLE, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -errno;
    if (!landlock()) *locks |= PAWL_LOCK_LANDLOCK;
    if (MACHINE && !filter()) *locks |= PAWL_LOCK_SECCOMP;
    return 0;
}
