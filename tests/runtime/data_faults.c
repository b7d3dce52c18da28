// data_faults: every call to the disk and every request for memory fails once, in each source.
//
// What is asked: a code, words, nothing left behind (the sanitizers' build sees leaks), and the
// next attempt works.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "tests/runtime/data_support.h"

static int calls, fail_at;

static bool fails(void)
{
    return calls++ == fail_at;
}

static int bad_open(const char *path, int flags, mode_t mode)
{
    return fails() ? -EIO : pawl_io_posix.open(path, flags, mode);
}

static ssize_t bad_pread(int fd, void *bytes, size_t size, off_t offset)
{
    // Half of what was asked for, so that every loop has to go on.
    return fails() ? -EIO : pawl_io_posix.pread(fd, bytes, size > 3 ? size / 2 : size, offset);
}

static int bad_fstat(int fd, struct stat *out)
{
    return fails() ? -EIO : pawl_io_posix.fstat(fd, out);
}

static int bad_lstat(const char *path, struct stat *out)
{
    return fails() ? -EIO : pawl_io_posix.lstat(path, out);
}

static int bad_list(const char *path, int (*each)(void *context, const char *name), void *context)
{
    return fails() ? -EIO : pawl_io_posix.list(path, each, context);
}

static void *bad_resize(void *context, void *memory, size_t bytes)
{
    (void)context;
    if (!bytes) {
        free(memory);
        return NULL;
    }
    return fails() ? NULL : realloc(memory, bytes);
}

static void make_sources(const char *root)
{
    static const unsigned char images[] = { 0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7, 8 };
    static const unsigned char labels[] = { 0, 0, 8, 1, 0, 0, 0, 2, 0, 1 };

    mkdir(at(root, "tree"), 0777);
    mkdir(at(root, "tree/below"), 0777);
    write_text(at(root, "tree/one"), "some text");
    write_text(at(root, "tree/below/two"), "more text");
    write_bytes(at(root, "tokens"), "\0\1\0\1\0\1\0\1\0\1\0\1", 12);
    mkdir(at(root, "idx"), 0777);
    write_gzip(at(root, "idx/train-images-idx3-ubyte.gz"), images, sizeof(images));
    write_bytes(at(root, "idx/train-labels-idx1-ubyte"), labels, sizeof(labels));
    write_npy(at(root, "x.npy"), 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}",
              "\1\2", 2);
    write_npy(at(root, "y.npy"), 2, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}",
              "\0\1", 2);
}

static int use(const char *source)
{
    struct pawl_data *data = NULL;
    int32_t x[16], y[16];

    int rc = pawl_data_open(&data, source, &(struct pawl_data_options){ .sequence = 4 });
    if (!rc)
        rc = pawl_data_batch(data, 0, 2, x, y);
    pawl_data_close(data);
    return rc;
}

// Fails call after call until one attempt makes fewer calls than that; returns their number.
static int each_call_once(const char *source, int expected)
{
    for (fail_at = 0;; fail_at++) {
        cr_assert_lt(fail_at, 1000, "%s: no end", source);
        calls = 0;
        pawl_fail(0, "untouched");
        const int rc = use(source);
        if (calls <= fail_at) {
            cr_assert_eq(rc, 0, "%s: %s", source, pawl_error());
            return fail_at;
        }
        cr_assert_neq(rc, 0, "%s: call %d failed without notice", source, fail_at);
        cr_assert_eq(rc, expected, "%s: call %d: %s", source, fail_at, pawl_error());
        cr_assert(strcmp(pawl_error(), "untouched"), "%s: call %d has no words", source, fail_at);
    }
}

static int over_sources(const char *root, int expected)
{
    char pair[9000], paths[4][4300];
    int count = 0;

    snprintf(pair, sizeof(pair), "npy:%s/x.npy,%s/y.npy", root, root);
    snprintf(paths[0], sizeof(paths[0]), "text:%s/tree", root);
    snprintf(paths[1], sizeof(paths[1]), "tokens:%s/tokens", root);
    snprintf(paths[2], sizeof(paths[2]), "idx:%s/idx", root);
    snprintf(paths[3], sizeof(paths[3]), "%s/idx", root);
    for (int i = 0; i < 4; i++)
        count += each_call_once(paths[i], expected);
    return count + each_call_once(pair, expected);
}

Test(data_faults, every_call_to_the_disk_fails_once)
{
    const char *root = make_directory();
    struct pawl_io io = pawl_io_posix;

    make_sources(root);
    io.open = bad_open;
    io.pread = bad_pread;
    io.fstat = bad_fstat;
    io.lstat = bad_lstat;
    io.list = bad_list;
    pawl_io_set(&io);
    const int count = over_sources(root, PAWL_EIO);
    cr_assert_gt(count, 50, "only %d calls were tried", count);
    pawl_io_set(NULL);
}

Test(data_faults, every_request_for_memory_fails_once)
{
    const char *root = make_directory();

    make_sources(root);
    pawl_memory_set(&(struct pawl_memory){ .resize = bad_resize });
    const int count = over_sources(root, PAWL_ENOMEM);
    cr_assert_gt(count, 25, "only %d requests were tried", count);
}
