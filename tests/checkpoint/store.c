// store.c - every row of the I/O table is asked the same questions, and carries a saver: the disk,
// the disk through io_uring, faults without a fault, the trace, the recorder of power cuts. Then
// the order in which a save changes its storage, as the trace tells it.

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/store/fault.h"
#include "checkpoint/store/trace.h"
#include "checkpoint/store/uring.h"
#include "cut_support.h"
#include "kernels/memory.h"
#include "saver_support.h"

static char root[4096];
static long lines;

static void count_line(void *context, const char *line)
{
    (void)context, (void)line;
    lines++;
}

// ---- the rows: false when this machine cannot have it

static bool posix_begin(void)
{
    pawl_io_set(&pawl_io_posix);
    return true;
}
static void plain_end(void) { pawl_io_set(NULL); }

static bool uring_begin(void)
{
    const char *why;
    const struct pawl_io *table = pawl_io_uring(&why);

    if (!table) {
        printf("io_uring: skipped: %s\n", why);
        return false;
    }
    pawl_io_set(table);
    return true;
}

static bool fault_begin(void)
{
    pawl_fault_begin(&(struct pawl_fault){ 0 });
    return true;
}
static void fault_end(void)
{
    struct pawl_fault_found found;

    pawl_fault_end(&found);
    cr_assert_eq(found.left_open, 0u);
    cr_assert_eq(found.failed, 0u);
}

static bool trace_begin(void)
{
    lines = 0;
    pawl_trace_begin(count_line, NULL);
    return true;
}

// With a queue below it.
static bool trace_uring_begin(void)
{
    return uring_begin() && trace_begin();
}
static void trace_uring_end(void)
{
    pawl_trace_end();
    pawl_io_set(NULL);
}

static bool cut_begin(void)
{
    cut_record_begin(root, CUT_CORRECT);
    return true;
}

static const struct {
    const char *name;
    bool (*begin)(void);
    void (*end)(void);
} rows[] = {
    { "posix", posix_begin, plain_end },
    { "uring", uring_begin, plain_end },
    { "fault", fault_begin, fault_end },
    { "trace", trace_begin, pawl_trace_end },
    { "trace of uring", trace_uring_begin, trace_uring_end },
    { "cut", cut_begin, cut_record_end },
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static const char *in(const char *name)
{
    static char path[3][4200];
    static int turn;

    turn = (turn + 1) % 3;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", root, name);
    return path[turn];
}

// Asks every row in an empty directory.
static void ask(void (*question)(const struct pawl_io *io))
{
    for (int i = 0; i < ROWS; i++) {
        scratch_make(root);
        if (rows[i].begin()) {
            printf("%s\n", rows[i].name);
            question(pawl_io());
            rows[i].end();
        }
        scratch_remove(root);
    }
    cr_assert_eq(pawl_io(), &pawl_io_posix, "every row puts the old table back");
}

// ---- the questions

static int make(const struct pawl_io *io, const char *name, const char *text)
{
    const int fd = io->open(in(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    cr_assert(fd >= 0);
    cr_assert_eq(pawl_io_write_all(fd, text, strlen(text), 0), 0);
    return fd;
}

static void bytes(const struct pawl_io *io)
{
    const int fd = make(io, "a", "hello");
    char back[8] = "";
    struct stat of;

    cr_assert_eq(io->pread(fd, back, 8, 0), 5);
    cr_assert_str_eq(back, "hello");
    cr_assert_eq(io->pread(fd, back, 8, 5), 0, "the end is no error");
    cr_assert_eq(pawl_io_read_all(fd, back, 6, 0), -ENODATA);
    cr_assert_eq(io->pwrite(fd, "J", 1, 7), 1, "a gap is zeros");
    cr_assert_eq(pawl_io_read_all(fd, back, 8, 0), 0);
    cr_assert_eq(memcmp(back, "hello\0\0J", 8), 0);
    cr_assert(!io->fstat(fd, &of) && of.st_size == 8);
    cr_assert(!io->lstat(in("a"), &of) && of.st_size == 8);
    const int reserved = io->reserve(fd, 10000);
    cr_assert(!reserved || reserved == -EOPNOTSUPP);
    cr_assert(!io->fstat(fd, &of) && of.st_size == (reserved ? 8 : 10000));
    cr_assert(!io->datasync(fd) && !io->sync(fd) && !io->close(fd));
    cr_assert_eq(io->pread(fd, back, 1, 0), -EBADF);
    cr_assert(io->sync(1000) < 0 && io->datasync(1000) < 0);
}

static void names(const struct pawl_io *io)
{
    struct stat of;

    cr_assert_eq(io->open(in("none"), O_RDONLY | O_CLOEXEC, 0), -ENOENT);
    io->close(make(io, "a", "1"));
    cr_assert_eq(io->open(in("a"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), -EEXIST);
    io->close(make(io, "b", "22"));
    cr_assert_eq(io->rename_noreplace(in("a"), in("b")), -EEXIST);
    cr_assert(!io->lstat(in("a"), &of) && of.st_size == 1, "refused, so nothing moved");
    cr_assert_eq(io->rename_noreplace(in("a"), in("c")), 0);
    cr_assert_eq(io->rename(in("c"), in("b")), 0);
    cr_assert(!io->lstat(in("b"), &of) && of.st_size == 1, "replaced");
    cr_assert_eq(io->lstat(in("c"), &of), -ENOENT);
    cr_assert_eq(io->unlink(in("c")), -ENOENT);
    cr_assert_eq(io->rename(in("none"), in("d")), -ENOENT);
    cr_assert_eq(io->unlink(in("b")), 0);
    cr_assert_eq(io->lstat(in("b"), &of), -ENOENT);
}

static int gather(void *context, const char *name)
{
    char *all = context;

    strcat(all, name);
    return strlen(all) >= 3;
}

static void directories(const struct pawl_io *io)
{
    char all[64] = "";
    uint64_t space = 0;

    cr_assert_eq(io->mkdir(in("d"), 0700), 0);
    cr_assert_eq(io->mkdir(in("d"), 0700), -EEXIST);
    cr_assert_eq(io->mkdir(in("none/d"), 0700), -ENOENT);
    cr_assert_eq(io->list(in("d"), gather, all), 0);
    cr_assert_str_eq(all, "", "neither . nor ..");
    io->close(make(io, "d/x", ""));
    cr_assert_eq(io->rmdir(in("d")), -ENOTEMPTY);
    for (int i = 0; i < 4; i++) {
        const char name[] = { 'd', '/', (char)('p' + i), 0 };
        io->close(make(io, name, ""));
    }
    (void)io->list(in("d"), gather, all);
    cr_assert_eq(strlen(all), 3, "the caller ends a listing");
    cr_assert(io->list(in("none"), gather, all) == -ENOENT);
    const int fd = io->open(in("d"), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    cr_assert(fd >= 0 && !io->sync(fd) && !io->close(fd));
    cr_assert(!io->space(in("d"), &space) && space > 0);
    cr_assert(io->space(in("none"), &space) < 0);
    cr_assert_eq(io->rmdir(in("none")), -ENOENT);
}

static void whole_files(const struct pawl_io *io)
{
    char *text = NULL;
    size_t size = 0;

    cr_assert_eq(pawl_io_write_file(in("f"), "one", 3, false), 0);
    cr_assert_eq(pawl_io_write_file(in("f"), "two", 3, false), -EEXIST);
    cr_assert_eq(pawl_io_write_file(in("f"), "three", 5, true), 0);
    cr_assert_eq(pawl_io_read_file(in("f"), &text, &size, 4), -EFBIG);
    cr_assert_eq(pawl_io_read_file(in("f"), &text, &size, 5), 0);
    cr_assert(size == 5 && !strcmp(text, "three"));
    pawl_free(text);
    cr_assert_eq(pawl_io_read_file(root, &text, &size, 5), -EINVAL);
    cr_assert(!pawl_io_sync_dir(root));
    // A lock keeps others out, also of this process, until its file is closed.
    const int one = io->open(in("f"), O_RDWR | O_CLOEXEC, 0);
    const int two = io->open(in("f"), O_RDWR | O_CLOEXEC, 0);
    cr_assert(!io->lock(one) && io->lock(two) == -EWOULDBLOCK);
    io->close(one);
    cr_assert_eq(io->lock(two), 0);
    io->close(two);
}

static void clocks(const struct pawl_io *io)
{
    unsigned char a[16] = { 0 }, b[16] = { 0 };
    const int64_t start = io->now_ns();

    io->sleep_ns(1000);
    cr_assert(io->now_ns() >= start && io->wall_ns() > 1700000000000000000);
    cr_assert(!io->random(a, sizeof(a)) && !io->random(b, sizeof(b)) && memcmp(a, b, sizeof(a)));
}

static void queues(const struct pawl_io *io)
{
    struct pawl_io_queue *queue = NULL;
    struct pawl_io_transfer *ended = NULL;
    char back[4] = "";

    cr_assert_eq(!io->queue_open, !io->queue_submit, "all four or none");
    cr_assert_eq(!io->queue_open, !io->queue_reap);
    cr_assert_eq(!io->queue_open, !io->queue_close);
    if (!io->queue_open) return;
    const int fd = make(io, "q", "");
    cr_assert_eq(io->queue_open(&queue, 2), 0);
    char text[] = "abc";
    struct pawl_io_transfer write = { .fd = fd, .write = true, .bytes = text, .size = 3 };
    struct pawl_io_transfer read = { .fd = fd, .bytes = back, .size = 4 };
    cr_assert(!io->queue_submit(queue, &write) && !io->queue_reap(queue, &ended));
    cr_assert(ended == &write && write.done == 3);
    cr_assert(!io->queue_submit(queue, &read) && !io->queue_reap(queue, &ended));
    cr_assert(ended == &read && read.done == 3 && !strcmp(back, "abc"));
    write.fd = 1000;
    cr_assert(!io->queue_submit(queue, &write) && !io->queue_reap(queue, &ended));
    cr_assert_eq(write.done, -EBADF);
    io->queue_close(queue);
    io->close(fd);
}

static void savers(const struct pawl_io *io)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN };
    struct state state;

    (void)io;
    state_open(&state, STATE_MIXED);
    for (int life = 0; life < 2; life++) {
        struct pawl_saver *saver = open_saver(&state, in("run"), "latest=2", NULL);
        struct pawl_progress back = { 0 };
        const int rc = pawl_saver_load(saver, state.stream, &back);
        cr_assert_eq(rc, life ? 0 : PAWL_ENONE, "%s", pawl_error());
        if (life) cr_assert(back.step == 3 && !state_wrong(&state, 3));
        for (int i = 0; i < 3; i++) {
            state_fill(&state, ++progress.step);
            cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s",
                         pawl_error());
        }
        cr_assert_eq(pawl_saver_close(saver), 0);
    }
    cr_assert_eq(scratch_count(in("run")), 2, "retention works, too");
    state_close(&state);
}

TestSuite(store, .timeout = 120);
Test(store, bytes) { ask(bytes); }
Test(store, names) { ask(names); }
Test(store, directories) { ask(directories); }
Test(store, whole_files) { ask(whole_files); }
Test(store, clocks) { ask(clocks); }
Test(store, queues) { ask(queues); }
Test(store, savers) { ask(savers); }

// ---- the order of a save

enum { TRACE_LINES = 400 };
static char trace[TRACE_LINES][1600];

static void keep_line(void *context, const char *line)
{
    (void)context;
    cr_assert(lines < TRACE_LINES);
    snprintf(trace[lines++], sizeof(trace[0]), "%s", line);
}

// The first line from `from` on that begins so and holds so; it must be there.
static int find(int from, const char *what, const char *holds)
{
    for (int i = from; i < lines; i++)
        if (!strncmp(trace[i], what, strlen(what)) && strstr(trace[i], holds)) return i;
    cr_assert_fail("no '%s' of %s after line %d", what, holds, from);
    return -1;
}

static bool later_write(int from, const char *holds)
{
    for (int i = from; i < lines; i++)
        if (!strncmp(trace[i], "write ", 6) && strstr(trace[i], holds)) return true;
    return false;
}

Test(store, the_order_of_a_save)
{
    const struct pawl_progress progress = { .step = 7, .epoch = -1, .loss = NAN, .metric = NAN };
    const char *files[] = { ".safetensors", ".sums", "document.json" };
    struct state state;

    scratch_make(root);
    state_open(&state, STATE_MIXED);
    struct pawl_saver *saver = open_saver(&state, in("run"), "latest=2", NULL);
    lines = 0;
    pawl_trace_begin(keep_line, NULL);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    cr_assert_eq(pawl_saver_close(saver), 0);
    pawl_trace_end();
    const int made = find(0, "mkdir ", "/step-0000000000000007-");
    const int commit = find(made, "rename_noreplace ", "/MANIFEST = 0");
    cr_assert(find(made, "sync ", "/run = 0") < find(made, "create ", ".safetensors"));
    for (int i = 0; i < 3; i++) {
        const int wrote = find(made, "write ", files[i]);
        const int synced = i ? find(wrote, "sync ", files[i]) : find(wrote, "datasync ", files[i]);
        cr_assert(synced < commit, "%s is on storage before the commit", files[i]);
        cr_assert(!later_write(synced, files[i]), "%s is not written after its sync", files[i]);
        cr_assert(find(synced, "sync ", "-00000001 = 0") < commit, "and its name");
    }
    const int manifest = find(made, "sync ", "/MANIFEST.tmp");
    cr_assert(manifest < commit && !later_write(manifest, "MANIFEST"));
    cr_assert(find(commit, "sync ", "-00000001 = 0") < find(commit, "rename ", "/LATEST = 0"),
              "durable before it is hinted at");
    state_close(&state);
    scratch_remove(root);
}
