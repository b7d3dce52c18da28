// npy: NumPy's files, whole and in pairs, well-formed and not.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/npy.h"
#include "tests/runtime/data_support.h"

#define HEAD(descr, shape) "{'descr': '" descr "', 'fortran_order': False, 'shape': " shape ", }\n"

static void assert_array(const char *path, enum pawl_dtype dtype, const double *expected, int count)
{
    struct pawl_npy npy;

    cr_assert_eq(pawl_npy_read(path, &npy), 0, "%s", pawl_error());
    cr_assert_eq(npy.dtype, dtype);
    cr_assert_eq(npy.count, count);
    for (int i = 0; i < count; i++) {
        const double value =
            dtype == PAWL_F32 ? (double)((float *)npy.data)[i] : ((int32_t *)npy.data)[i];
        cr_assert(value == expected[i] || (isnan(value) && isnan(expected[i])), "%s: %d: %g not %g",
                  path, i, value, expected[i]);
    }
    pawl_npy_free(&npy);
}

// The same numbers in each type: bytes as NumPy stores them.
static const struct {
    const char *header;
    const char *bytes;
    int count, size;
    enum pawl_dtype dtype;
    double expected[6];
} types[] = {
    { HEAD("<f4", "(2,)"), "\0\0\x80\x3f\0\0\x20\xc0", 2, 8, PAWL_F32, { 1, -2.5 } },
    { HEAD(">f4", "(2,)"), "\x3f\x80\0\0\xc0\x20\0\0", 2, 8, PAWL_F32, { 1, -2.5 } },
    { HEAD("<f8", "(1,)"), "\0\0\0\0\0\0\x04\xc0", 1, 8, PAWL_F32, { -2.5 } },
    { HEAD(">f8", "(1,)"), "\xc0\x04\0\0\0\0\0\0", 1, 8, PAWL_F32, { -2.5 } },
    { HEAD("<f2", "(6,)"),
      "\0\x3c\0\xc1\x01\0\xff\x7b\0\xfc\x01\x7e",
      6,
      12,
      PAWL_F32,
      { 1, -2.5, 0x1p-24, 65504, -INFINITY, NAN } },
    { HEAD(">f2", "(1,)"), "\x3c\0", 1, 2, PAWL_F32, { 1 } },
    { HEAD("|u1", "(3,)"), "\x00\x7f\xff", 3, 3, PAWL_I32, { 0, 127, 255 } },
    { HEAD("|i1", "(3,)"), "\x00\x7f\xff", 3, 3, PAWL_I32, { 0, 127, -1 } },
    { HEAD("<u2", "(2,)"), "\x01\x02\xff\xff", 2, 4, PAWL_I32, { 513, 65535 } },
    { HEAD(">i2", "(2,)"), "\x01\x02\xff\xfe", 2, 4, PAWL_I32, { 258, -2 } },
    { HEAD("<i4", "(1,)"), "\xfe\xff\xff\xff", 1, 4, PAWL_I32, { -2 } },
    { HEAD("<u4", "(1,)"), "\xfe\xff\xff\x7f", 1, 4, PAWL_I32, { 2147483646 } },
    { HEAD("<i8", "(1,)"), "\xfe\xff\xff\xff\xff\xff\xff\xff", 1, 8, PAWL_I32, { -2 } },
    { HEAD(">u8", "(1,)"), "\0\0\0\0\0\0\x01\0", 1, 8, PAWL_I32, { 256 } },
    { HEAD("|b1", "(2,)"), "\0\1", 2, 2, PAWL_I32, { 0, 1 } },
    // Written by other hands: another order of keys, double quotes, no comma at the end, Python 2.
    { "{\"shape\":(2L , 1) ,\"descr\": \"<u2\",\"fortran_order\":False}",
      "\1\0\2\0",
      2,
      4,
      PAWL_I32,
      { 1, 2 } },
    { "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }",  // column after column
      "\1\4\2\5\3\6",
      6,
      6,
      PAWL_I32,
      { 1, 2, 3, 4, 5, 6 } },
    { HEAD("<i4", "()"), "\7\0\0\0", 1, 4, PAWL_I32, { 7 } },
    { HEAD("<i4", "(3, 0)"), "", 0, 0, PAWL_I32, { 0 } },
};

Test(npy, reads_each_type_of_each_version)
{
    const char *root = make_directory();

    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        for (int version = 1; version <= 3; version++) {
            write_npy(at(root, "a.npy"), version, types[i].header, types[i].bytes,
                      (size_t)types[i].size);
            assert_array(at(root, "a.npy"), types[i].dtype, types[i].expected, types[i].count);
        }
    }
}

static const struct {
    const char *header, *words;
} malformed[] = {
    { HEAD("<f4", "(3,)"), "float32 of shape [3] is more than the 8 bytes" },
    { HEAD("<f4", "(4611686018427387904, 4)"), "is more than the 8 bytes" },
    { HEAD("<f4", "(99999999999999999999,)"), "expected a smaller number" },
    { HEAD("<f4", "(1,)"), "4 bytes follow the float32 [1]" },
    { HEAD("<f4", "(-2,)"), "expected a number" },
    { HEAD("<f4", "(1,1,1,1,1,1,1,1,2)"), "more than 8 dimensions" },
    { HEAD("<f4", "(2 2)"), "expected ',' or ')'" },
    { HEAD("<f4", "(2"), "expected a number" },
    { HEAD("<c8", "(1,)"), "complex64; a model takes no complex" },
    { HEAD("|O", "(1,)"), "dtype '|O'" },
    { HEAD("f4", "(2,)"), "dtype 'f4'" },
    { HEAD("<f4aaaaaaaaaaaaaaaaaaa", "(2,)"), "expected a short string" },
    { "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "holds structures" },
    { "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", "expected True or False" },
    { "{'descr': '<f4', 'shape': (2,)}", "expected the keys" },
    { "{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}", "each of three known keys once" },
    { "{'descr': '<f4', 'fortran_order': False, 'more': (2,)}", "each of three known keys once" },
    { "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", "expected nothing more" },
    { "{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}", "expected ',' or '}'" },
    { "{'descr' '<f4'}", "expected ':'" },
    { "{'descr", "malformed at byte 11: expected a short string" },
    { "{", "expected a string" },
    { "", "malformed at byte 10: expected '{'" },
};

static void *no_large_memory(void *context, void *memory, size_t bytes)
{
    (void)context;
    if (bytes > 1 << 20)
        return NULL;
    if (bytes)
        return realloc(memory, bytes);
    free(memory);
    return NULL;
}

Test(npy, says_what_is_malformed)
{
    const char *root = make_directory();
    const char *path = at(root, "a.npy");
    struct pawl_npy npy;

    pawl_memory_set(&(struct pawl_memory){ .resize = no_large_memory });
    for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
        write_npy(path, 1, malformed[i].header, "\0\0\0\0\0\0\0\0", 8);
        assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, malformed[i].words);
        cr_assert(strstr(pawl_error(), path), "no file in: %s", pawl_error());
    }
    write_bytes(path, "\x93NUMPY\1\0\xff\xff{}", 12);
    assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "header of 65535 bytes at byte 8");
    write_bytes(path, "\x93NUMPY\2\0\0\0\0\x40", 12);
    assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "header of 1073741824 bytes");
    char *large = calloc(1, 70012);
    memcpy(large, "\x93NUMPY\2\0\x70\x11\1\0", 12);
    write_bytes(path, large, 70012);
    free(large);
    assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "header of 70000 bytes at byte 8");
    write_bytes(path, "\x93NUMPY\4\0\0\0\0\0", 12);
    assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "version 4.0; pawl reads 1 to 3");
    write_bytes(path, "\x93NUMPX\1\0\0\0\0\0", 12);
    assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "is no .npy file");
    write_bytes(path, "", 0);
    assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "has 0 bytes, too few");
    assert_fails(pawl_npy_read(root, &npy), PAWL_ECORRUPT, "is a directory");
    assert_fails(pawl_npy_read(at(root, "gone"), &npy), PAWL_ENONE, "No such file");
    write_npy(path, 1, HEAD("<i8", "(2,)"), "\1\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\0", 16);
    assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "element 1 does not fit in 32 bits");
    write_npy(path, 1, HEAD("<u8", "(1,)"), "\1\0\0\0\0\0\0\x80", 8);
    assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "element 0 does not fit in 32 bits");
    write_npy(path, 1, HEAD("<u8", "(1,)"), "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    assert_fails(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "element 0 does not fit in 32 bits");
}

// Every cut of a good file is found.
Test(npy, a_cut_file_never_passes)
{
    const char *root = make_directory();
    const char *path = at(root, "a.npy");
    struct pawl_npy npy;
    char *bytes;
    size_t size;

    write_npy(path, 1, HEAD("<f4", "(2,)"), "\0\0\0\0\0\0\0\0", 8);
    cr_assert_eq(pawl_io_read_file(path, &bytes, &size, 1000), 0);
    for (size_t cut = 0; cut < size; cut++) {
        write_bytes(path, bytes, cut);
        cr_assert_eq(pawl_npy_read(path, &npy), PAWL_ECORRUPT, "cut at %zu", cut);
    }
    pawl_free(bytes);
}

Test(npy, writes_what_numpy_writes)
{
    const char *root = make_directory();
    const char *path = at(root, "a.npy");
    const float data[6] = { 1, 2, 3, 4, 5, 6 };
    const char *header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    char *bytes;
    size_t size;

    cr_assert_eq(pawl_npy_write(path, 2, (int64_t[]){ 2, 3 }, PAWL_F32, data), 0);
    cr_assert_eq(pawl_io_read_file(path, &bytes, &size, 1000), 0);
    cr_assert_eq(size, 128 + sizeof(data));
    cr_assert(!memcmp(bytes, "\x93NUMPY\x01\0\x76\0", 10));
    cr_assert(!memcmp(bytes + 10, header, strlen(header)));
    for (size_t i = 10 + strlen(header); i < 127; i++)
        cr_assert_eq(bytes[i], ' ');
    cr_assert_eq(bytes[127], '\n');
    cr_assert(!memcmp(bytes + 128, data, sizeof(data)));
    pawl_free(bytes);
    // A tuple of one has a comma in Python.
    cr_assert_eq(pawl_npy_write(path, 1, (int64_t[]){ 6 }, PAWL_F32, data), 0);
    cr_assert_eq(pawl_io_read_file(path, &bytes, &size, 1000), 0);
    cr_assert(strstr(bytes + 10, "'shape': (6,), }"), "%s", bytes + 10);
    pawl_free(bytes);
}

Test(npy, reads_back_what_it_wrote)
{
    const char *root = make_directory();
    const char *path = at(root, "a.npy");
    const int64_t dim[PAWL_RANK_MAX] = { 1, 2, 1, 3, 1, 1, 1, 2 };
    int32_t data[12];

    for (int i = 0; i < 12; i++)
        data[i] = i * 1000 - 5;
    for (int rank = 0; rank <= PAWL_RANK_MAX; rank++) {
        struct pawl_npy npy;
        cr_assert_eq(pawl_npy_write(path, rank, dim, PAWL_I32, data), 0);
        cr_assert_eq(pawl_npy_read(path, &npy), 0, "%s", pawl_error());
        cr_assert_eq(npy.rank, rank);
        cr_assert_eq(npy.dtype, PAWL_I32);
        cr_assert(!memcmp(npy.dim, dim, (size_t)rank * sizeof(*dim)));
        cr_assert(!memcmp(npy.data, data, (size_t)npy.count * 4));
        pawl_npy_free(&npy);
    }
    cr_assert_eq(pawl_npy_write(path, 2, (int64_t[]){ INT64_MAX, 2 }, PAWL_F32, data), PAWL_EINVAL);
    cr_assert_eq(pawl_npy_write(path, 1, (int64_t[]){ -1 }, PAWL_F32, data), PAWL_EINVAL);
}

static ssize_t full_disk(int fd, const void *bytes, size_t size, off_t offset)
{
    (void)fd, (void)bytes, (void)size, (void)offset;
    return -28;  // ENOSPC
}

static int count_entry(void *context, const char *name)
{
    (void)name;
    ++*(int *)context;
    return 0;
}

Test(npy, writes_whole_or_not_at_all)
{
    const char *root = make_directory();
    const char *path = at(root, "a.npy");
    const float data[2] = { 1, 2 };
    struct pawl_io io = pawl_io_posix;
    int entries = 0;

    assert_fails(pawl_npy_write(at(root, "no/a.npy"), 1, (int64_t[]){ 2 }, PAWL_F32, data),
                 PAWL_EIO, "no/a.npy: cannot write: No such file");
    assert_fails(pawl_npy_write(path, 1, (int64_t[]){ 2 }, PAWL_BF16, data), PAWL_ENOTSUP,
                 "NumPy has no bfloat16");
    assert_fails(pawl_npy_write(path, 9, (int64_t[9]){ 2 }, PAWL_F32, data), PAWL_EINVAL, "rank 9");
    io.pwrite = full_disk;
    pawl_io_set(&io);
    assert_fails(pawl_npy_write(path, 1, (int64_t[]){ 2 }, PAWL_F32, data), PAWL_EIO, "No space");
    pawl_io_set(NULL);
    cr_assert_eq(pawl_io()->list(root, count_entry, &entries), 0);
    cr_assert_eq(entries, 0);
}

// ---- pairs

static const char *pair(const char *root, const char *prefix)
{
    static char text[8600];

    snprintf(text, sizeof(text), "%s%s/x.npy,%s/y.npy", prefix, root, root);
    return text;
}

Test(npy, pairs_rows_with_classes)
{
    const char *root = make_directory();
    float x[12];
    int32_t y[3];

    write_npy(at(root, "x.npy"), 1, HEAD("|u1", "(3, 2, 2)"), "\0\1\2\3\4\5\6\7\x08\x09\x0a\x0b",
              12);
    write_npy(at(root, "y.npy"), 1, HEAD(">i2", "(3, 1)"), "\0\2\0\0\0\1", 6);
    struct pawl_data *data = open_plain(pair(root, "npy:"));
    const struct pawl_data_info *info = pawl_data_info(data);
    cr_assert(info->samples == 3 && info->classes == 3 && info->targets == 0);
    cr_assert(info->shape.rank == 2 && info->shape.dim[0] == 2 && info->shape.dim[1] == 2);
    cr_assert_eq(pawl_data_batch(data, 0, 3, x, y), 0);
    for (int i = 0; i < 12; i++)
        cr_assert_eq(x[i], (float)i);
    cr_assert(y[0] == 2 && y[1] == 0 && y[2] == 1);
    assert_fails(pawl_data_expect(data, 2, 0), PAWL_ECORRUPT,
                 "y.npy: label 2 at row 0; the model's classes are 0..1");
    pawl_data_close(data);
    data = open_plain(pair(root, ""));  // by its content
    cr_assert_str_eq(pawl_data_info(data)->words, "npy: 3 samples of [2, 2], 3 classes");
    pawl_data_close(data);
}

Test(npy, pairs_rows_with_targets)
{
    const char *root = make_directory();
    float x[2], y[4];

    write_npy(at(root, "x.npy"), 1, HEAD("<i4", "(2,)"), "\7\0\0\0\x08\0\0\0", 8);
    write_npy(at(root, "y.npy"), 1, HEAD("<f2", "(2, 2)"), "\0\x3c\0\xc0\0\0\0\x3c", 8);
    struct pawl_data *data = open_plain(pair(root, "npy:"));
    const struct pawl_data_info *info = pawl_data_info(data);
    cr_assert(info->samples == 2 && info->classes == 0 && info->targets == 2);
    cr_assert(info->shape.rank == 1 && info->shape.dim[0] == 1);
    cr_assert_eq(pawl_data_batch(data, 0, 2, x, y), 0);
    cr_assert(x[0] == 7 && x[1] == 8 && y[0] == 1 && y[1] == -2 && y[2] == 0 && y[3] == 1);
    cr_assert_eq(pawl_data_expect(data, 5, 0), 0);
    pawl_data_close(data);
}

Test(npy, rows_of_tokens_have_a_label_each)
{
    const char *root = make_directory();
    const struct pawl_data_options tokens = { .tokens = true };
    struct pawl_data *data = NULL;
    int32_t x[6], y[6];

    write_npy(at(root, "x.npy"), 1, HEAD("|u1", "(2, 3)"), "\1\2\3\4\5\x09", 6);
    write_npy(at(root, "y.npy"), 1, HEAD("|u1", "(2, 3)"), "\2\3\0\1\1\6", 6);
    cr_assert_eq(pawl_data_open(&data, pair(root, "npy:"), &tokens), 0, "%s", pawl_error());
    const struct pawl_data_info *info = pawl_data_info(data);
    cr_assert(info->tokens && info->labels == 3 && info->classes == 7);
    cr_assert_eq(pawl_data_expect(data, 7, 10), 0);
    cr_assert_eq(pawl_data_batch(data, 0, 2, x, y), 0);
    cr_assert(x[0] == 1 && x[5] == 9 && y[0] == 2 && y[5] == 6);
    cr_assert_eq(pawl_data_expect(data, 7, 9), 0);
    assert_fails(pawl_data_batch(data, 0, 2, x, y), PAWL_ECORRUPT,
                 "x.npy: token 9 in row 1; the model's are 0..8");
    assert_fails(pawl_data_expect(data, 6, 10), PAWL_ECORRUPT, "label 6 at row 1");
    pawl_data_close(data);
}

Test(npy, shuffled_rows_keep_their_labels)
{
    const char *root = make_directory();
    unsigned char rows[200];
    struct pawl_data *data;
    float x;
    int32_t y;
    int moved = 0;

    for (int i = 0; i < 200; i++)
        rows[i] = (unsigned char)i;
    write_npy(at(root, "x.npy"), 1, HEAD("|u1", "(200,)"), rows, sizeof(rows));
    write_npy(at(root, "y.npy"), 1, HEAD("|u1", "(200,)"), rows, sizeof(rows));
    cr_assert_eq(pawl_data_open(&data, pair(root, "npy:"),
                                &(struct pawl_data_options){ .shuffle = true, .fraction = 0.25 }),
                 0);
    cr_assert_eq(pawl_data_info(data)->samples, 150);
    unsigned char seen[200] = { 0 };
    for (uint64_t i = 0; i < 150; i++) {
        cr_assert_eq(pawl_data_batch(data, 150 + i, 1, &x, &y), 0);
        cr_assert(x == (float)y && y < 150 && !seen[y]);
        seen[y] = 1;
        moved += y != (int32_t)i;
    }
    cr_assert_gt(moved, 100);
    pawl_data_close(data);
}

Test(npy, pairs_that_do_not_fit_are_refused)
{
    const char *root = make_directory();
    const struct pawl_data_options options = { .sequence = 4 };
    const char *x = at(root, "x.npy"), *y = at(root, "y.npy");

    write_npy(x, 1, HEAD("|u1", "(3, 1)"), "\0\1\2", 3);
    write_npy(y, 1, HEAD("|u1", "(2,)"), "\0\1", 2);
    assert_fails(try_open(pair(root, "npy:"), &options), PAWL_ECORRUPT, "has shape [3, 1] and ");
    write_npy(y, 1, HEAD("|i1", "(3,)"), "\0\xff\1", 3);
    assert_fails(try_open(pair(root, "npy:"), &options), PAWL_ECORRUPT,
                 "y.npy: label -1 at row 1; classes are 0 and above");
    write_npy(y, 1, HEAD("<f4", "()"), "\0\0\0\0", 4);
    assert_fails(try_open(pair(root, "npy:"), &options), PAWL_ECORRUPT, "the same rows");
    write_npy(y, 1, HEAD("|i1", "(3, 0)"), "", 0);
    assert_fails(try_open(pair(root, "npy:"), &options), PAWL_ECORRUPT, "holds nothing");
    write_npy(y, 1, HEAD("|i1", "(3,)"), "\0\1\1", 3);
    write_npy(x, 1, HEAD("|u1", "(3, 1, 1, 1, 1, 1)"), "\0\1\2", 3);
    assert_fails(try_open(pair(root, "npy:"), &options), PAWL_ECORRUPT, "at most 4 dimensions");
    write_npy(x, 1, HEAD("|u1", "(1,)"), "\0", 1);
    write_npy(y, 1, HEAD("|u1", "(1,)"), "\0", 1);
    assert_fails(try_open(pair(root, "npy:"), &(struct pawl_data_options){ .fraction = 0.5 }),
                 PAWL_EINVAL, "nothing is left when 0.5 of it is kept");
    assert_fails(try_open(x, &options), PAWL_EINVAL, "is one array, and two are needed");
    assert_fails(try_open("npy:x.npy", &options), PAWL_EINVAL, "npy:X.npy,Y.npy");
    assert_fails(try_open("npy:x.npy,", &options), PAWL_EINVAL, "npy:X.npy,Y.npy");
    assert_fails(try_open("npy:,y.npy", &options), PAWL_EINVAL, "npy:X.npy,Y.npy");
    unlink(y);
    assert_fails(try_open(pair(root, "npy:"), &options), PAWL_ENONE, "y.npy: cannot open");
}

Test(npy, a_file_cut_short_is_an_error)
{
    const char *root = make_directory();
    float x[3];
    int32_t y[3];

    write_npy(at(root, "x.npy"), 1, HEAD("|u1", "(3,)"), "\0\1\2", 3);
    write_npy(at(root, "y.npy"), 1, HEAD("|u1", "(3,)"), "\0\1\2", 3);
    struct pawl_data *data = open_plain(pair(root, "npy:"));
    struct stat of;
    cr_assert_eq(pawl_io()->lstat(at(root, "x.npy"), &of), 0);
    cr_assert_eq(truncate(at(root, "x.npy"), of.st_size - 1), 0);
    cr_assert_eq(pawl_data_batch(data, 0, 2, x, y), 0);
    assert_fails(pawl_data_batch(data, 2, 1, x, y), PAWL_EIO, "x.npy: ends before byte");
    pawl_data_close(data);
}
