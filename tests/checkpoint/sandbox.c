// sandbox.c - a reader that was taken over can do nothing: no file, no network, no process, no
// io_uring; and what it says is not believed.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "checkpoint/document_inside.h"
#include "checkpoint/sandbox.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { RESULTS = 20 };

static const char *data(const char *name)
{
    static char path[4096];

    snprintf(path, sizeof(path), "%s/tests/data/savedmodel/%s", getenv("PAWL_SOURCE"), name);
    return path;
}

// ---- system calls

#define TRY(...) (errno = 0, syscall(__VA_ARGS__) < 0 ? errno : 0)

static const char *const tries[] = {
    "openat", "open of /proc/self/mem", "socket", "connect on a socket", "io_uring_setup", "execve",
    "clone", "kill of the parent", "ptrace", "prlimit of the own limits", "mmap of code",
    "mprotect into code", "unlink", "write to a file", "getdents", "memfd_create",
    "process_vm_readv",
};

static void try_all(void *context)
{
    static struct pawl_packet packet;
    int32_t *got = (int32_t *)packet.bytes;
    char *const none[] = { NULL };
    const pid_t parent = *(pid_t *)context;
    const int rights = PROT_READ | PROT_EXEC;
    static char page[8192] __attribute__((aligned(4096)));
    int n = 0;

    got[n++] = TRY(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
    got[n++] = TRY(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR, 0);
    got[n++] = TRY(SYS_socket, AF_INET, SOCK_STREAM, 0);
    got[n++] = TRY(SYS_connect, 0, "", 0);
    got[n++] = TRY(SYS_io_uring_setup, 8, page);
    got[n++] = TRY(SYS_execve, "/bin/true", none, none);
    got[n++] = TRY(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    got[n++] = TRY(SYS_kill, parent, 0);
    got[n++] = TRY(SYS_ptrace, 16, parent, 0, 0);
    got[n++] = TRY(SYS_prlimit64, 0, 0, 0, page);
    got[n++] = TRY(SYS_mmap, 0, 4096, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    got[n++] = TRY(SYS_mprotect, page, 4096, rights);
    got[n++] = TRY(SYS_unlinkat, AT_FDCWD, "/tmp/nothing-by-that-name", 0);
    got[n++] = TRY(SYS_write, 0, "x", 1);
    got[n++] = TRY(SYS_getdents64, 0, page, sizeof(page));
    got[n++] = TRY(SYS_memfd_create, "x", 0);
    got[n++] = TRY(SYS_process_vm_readv, parent, 0, 0, 0, 0, 0);
    packet.kind = 100;
    packet.a = n;
    packet.size = (uint32_t)n * 4;
    pawl_packet_send(0, &packet, -1);
}

Test(sandbox, a_reader_that_was_taken_over_can_do_nothing)
{
    struct pawl_sandbox *sandbox = NULL;
    pid_t own = getpid();
    int32_t got[RESULTS];

    cr_assert_eq(pawl_sandbox_start(&sandbox, "/nowhere", try_all, &own), 0);
    cr_assert_eq(pawl_sandbox_next(sandbox), 0, "%s", pawl_error());
    cr_assert_eq(sandbox->packet.a, (int64_t)(sizeof(tries) / sizeof(*tries)));
    memcpy(got, sandbox->packet.bytes, sandbox->packet.size);
    for (int i = 0; i < sandbox->packet.a; i++)
        cr_assert_eq(got[i], EPERM, "%s: %s", tries[i], got[i] ? strerror(got[i]) : "it worked");
    pawl_sandbox_free(sandbox);
}

static void count_locks(void *context)
{
    static struct pawl_packet packet;

    (void)context;
    packet.kind = 100;
    packet.a = fcntl(0, F_GETFD) < 0;  // refused by seccomp; so by the packets alone we speak
    packet.b = 0;
    for (int fd = 1; fd < 256; fd++)
        packet.b += close(fd) == 0;  // allowed: whether one was still open
    pawl_packet_send(0, &packet, -1);
}

Test(sandbox, no_descriptor_is_left)
{
    struct pawl_sandbox *sandbox = NULL;

    cr_assert_eq(pawl_sandbox_start(&sandbox, "/nowhere", count_locks, NULL), 0);
    cr_assert_eq(pawl_sandbox_next(sandbox), 0, "%s", pawl_error());
    cr_assert_eq(sandbox->packet.b, 0);
    pawl_sandbox_free(sandbox);
}

// ---- the broker

static void ask_names(void *context)
{
    static const char *const names[] = {
        "/etc/passwd", "%s/../../../../etc/passwd", "%s/..", "%s/variables/../../x", "%s/", "%s",
        "%s/variables/variables.index", "%s/../dense", "%sx/../y", "/", "",
    };
    static struct pawl_packet packet;
    int64_t opened = 0;
    char path[4096];

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), names[i], (const char *)context);
        if (pawl_io()->open(path, O_RDONLY, 0) >= 0) opened |= 1 << i;
        if (pawl_io()->open(path, O_WRONLY, 0) >= 0 && pawl_io()->pwrite(0, "", 0, 0) >= 0)
            opened |= 1 << 20;
    }
    packet.kind = 100;
    packet.a = opened;
    packet.size = 0;
    pawl_packet_send(0, &packet, -1);
}

Test(sandbox, the_broker_opens_the_model_and_what_is_beside_it)
{
    struct pawl_sandbox *sandbox = NULL;
    char root[4096];

    snprintf(root, sizeof(root), "%s", data("dense"));
    cr_assert_eq(pawl_sandbox_start(&sandbox, root, ask_names, root), 0);
    cr_assert_eq(pawl_sandbox_next(sandbox), 0, "%s", pawl_error());
    cr_assert_eq(sandbox->packet.a, 1 << 4 | 1 << 5 | 1 << 6, "%llx",
                 (unsigned long long)sandbox->packet.a);
    pawl_sandbox_free(sandbox);
}

// ---- its end

static void crash(void *context)
{
    if (context) raise(SIGSEGV);
    *(volatile int *)context = 1;
}

static void eat(void *context)
{
    char *bytes;

    (void)context;
    for (size_t size = 1 << 20; (bytes = malloc(size)); size *= 2)
        memset(bytes, 1, size);
    pawl_fail(PAWL_ENOMEM, "no memory");
}

// AddressSanitizer takes the signal itself and, having no files to report with, waits for ever.
#ifdef __SANITIZE_ADDRESS__
enum { SIGNALS_TAKEN = 1 };
#else
enum { SIGNALS_TAKEN = 0 };
#endif

Test(sandbox, its_death_is_told, .disabled = SIGNALS_TAKEN)
{
    struct pawl_sandbox *sandbox = NULL;

    cr_assert_eq(pawl_sandbox_start(&sandbox, "/nowhere", crash, NULL), 0);
    cr_assert_eq(pawl_sandbox_next(sandbox), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "died of signal") || strstr(pawl_error(), "ended early"));
    pawl_sandbox_free(sandbox);
    cr_assert_eq(pawl_sandbox_start(&sandbox, "/nowhere", eat, NULL), 0);
    cr_assert_eq(pawl_sandbox_next(sandbox), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "ended early"), "%s", pawl_error());
    pawl_sandbox_free(sandbox);
}

static void hang(void *context)
{
    static struct pawl_packet packet;

    (void)context;
    pawl_packet_recv(0, &packet, NULL);  // nobody sends
}

Test(sandbox, one_that_waits_for_ever_is_ended, .timeout = 30)
{
    struct pawl_sandbox *sandbox = NULL;

    cr_assert_eq(pawl_sandbox_start(&sandbox, "/nowhere", hang, NULL), 0);
    sandbox->patience_s = 1;
    cr_assert_eq(pawl_sandbox_next(sandbox), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "has not answered"), "%s", pawl_error());
    cr_assert_eq(sandbox->pid, 0);
    cr_assert_eq(pawl_sandbox_next(sandbox), PAWL_ECORRUPT);
    pawl_sandbox_free(sandbox);
}

// ---- its answer

static int no_number(int fd)
{
    (void)fd;
    return 0;
}

static int give_file(void *context, struct pawl_file *file, int number, int index)
{
    (void)context, (void)index;
    if (number != 0) return -1;
    file->fd = open("/dev/null", O_RDONLY);
    file->size = 5000;
    return 0;
}

// Every entry that came through lies where the parent may read.
static void check_tables(const struct pawl_document *document)
{
    for (int i = 0; i < document->weight_count; i++) {
        const struct pawl_entry *entry = &document->weights[i];
        cr_assert_lt(entry->of, PAWL_TENSORS_MAX);  // a weight's: its reader's own mark
        for (int p = 0; p < entry->piece_count; p++) {
            const struct pawl_piece *piece = &entry->pieces[p];
            cr_assert(piece->file >= 0 && piece->file < document->files->count);
            cr_assert_leq(piece->size_bytes, document->files->file[piece->file].size);
            cr_assert_leq(piece->offset_bytes + piece->size_bytes,
                          document->files->file[piece->file].size);
        }
    }
}

Test(sandbox, an_answer_is_not_believed)
{
    const struct pawl_wire_files files = { give_file, NULL };
    struct pawl_document *from = NULL, *to = NULL;
    struct pawl_text text = { 0 };
    uint64_t seed = 1;
    int taken = 0;

    setenv("PAWL_SANDBOX", "off", 1);
    cr_assert_eq(pawl_document_read(&from, data("dense")), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_encode(&text, from, no_number), 0);
    for (int round = 0; round < 20000; round++) {
        char *bytes = malloc(text.size);
        memcpy(bytes, text.bytes, text.size);
        for (int change = 0; change < round % 4; change++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[(seed >> 33) % text.size] = (char)(seed >> 25);
        }
        const size_t size = round % 5 == 4 ? (size_t)(seed >> 33) % text.size : text.size;
        cr_assert_eq(pawl_document_new(&to), 0);
        const int rc = pawl_document_decode(to, bytes, size, &files);
        cr_assert(rc == 0 || rc == PAWL_ECORRUPT || rc == PAWL_EINVAL, "%d", rc);
        cr_assert(rc == 0 || round % 20 != 0, "%s", pawl_error());
        if (!rc) check_tables(to);
        taken += rc == 0;
        pawl_document_free(to);
        free(bytes);
    }
    cr_assert_gt(taken, 4000);
    pawl_text_free(&text);
    pawl_document_free(from);
}

// The same document, read here and read apart.
Test(sandbox, nothing_is_lost)
{
    static const char *const names[] = { "dense", "adam", "slots", "exported" };

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct pawl_document *here = NULL, *apart = NULL;
        struct pawl_text a = { 0 }, b = { 0 };
        unsetenv("PAWL_SANDBOX");
        cr_assert_eq(pawl_document_read(&apart, data(names[i])), 0, "%s", pawl_error());
        cr_assert(apart->files->sandbox);
        setenv("PAWL_SANDBOX", "off", 1);
        cr_assert_eq(pawl_document_read(&here, data(names[i])), 0, "%s", pawl_error());
        cr_assert(!here->files->sandbox);
        cr_assert_eq(pawl_document_encode(&a, here, no_number), 0);
        cr_assert_eq(pawl_document_encode(&b, apart, no_number), 0);
        cr_assert_eq(a.size, b.size);
        cr_assert_eq(memcmp(a.bytes, b.bytes, a.size), 0, "%s", names[i]);
        pawl_text_free(&a);
        pawl_text_free(&b);
        pawl_document_free(here);
        pawl_document_free(apart);
    }
}
