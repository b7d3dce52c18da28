// tokens: uint16 little-endian, read from the file as it is then.

#include <stdio.h>
#include <unistd.h>

#include "tests/runtime/data_support.h"

static void write_tokens(const char *path, int count)
{
    unsigned char bytes[4096];

    for (int i = 0; i < count; i++) {
        bytes[2 * i] = (unsigned char)((i * 300) & 255);
        bytes[2 * i + 1] = (unsigned char)(i * 300 >> 8);
    }
    write_bytes(path, bytes, 2 * (size_t)count);
}

static const char *named(const char *path)
{
    static char text[4300];

    snprintf(text, sizeof(text), "tokens:%s", path);
    return text;
}

Test(tokens, are_read_little_endian)
{
    const char *root = make_directory();
    int32_t x[8], y[8];

    write_tokens(at(root, "t.bin"), 10);
    struct pawl_data *data = open_plain(named(at(root, "t.bin")));
    cr_assert_eq(pawl_data_info(data)->samples, 2);
    cr_assert_eq(pawl_data_info(data)->classes, 65536);
    cr_assert_eq(pawl_data_batch(data, 0, 2, x, y), 0);
    for (int i = 0; i < 8; i++)
        cr_assert(x[i] == 300 * i && y[i] == 300 * (i + 1), "%d: %d %d", i, x[i], y[i]);
    pawl_data_close(data);
    data = open_plain(at(root, "t.bin"));  // by its content
    cr_assert_str_eq(pawl_data_info(data)->words, "tokens: 1 file, 20 bytes");
    pawl_data_close(data);
}

Test(tokens, say_what_is_wrong)
{
    const char *root = make_directory();
    const struct pawl_data_options options = { .sequence = 4 };

    write_bytes(at(root, "odd"), "\0\0\0\0\0\0\0\0\0\0\0", 11);
    write_bytes(at(root, "empty"), "", 0);
    write_tokens(at(root, "short"), 4);
    assert_fails(try_open(named(at(root, "odd")), &options), PAWL_ECORRUPT, "has 11 bytes, an odd");
    assert_fails(try_open(at(root, "odd"), &options), PAWL_EINVAL, "neither text nor uint16");
    assert_fails(try_open(named(at(root, "empty")), &options), PAWL_ENONE, "is empty");
    assert_fails(try_open(named(at(root, "gone")), &options), PAWL_ENONE, "No such file");
    assert_fails(try_open(named(root), &options), PAWL_ECORRUPT, "is a directory");
    assert_fails(try_open(named(at(root, "short")), &options), PAWL_EINVAL, "4 tokens to train on");
}

Test(tokens, beyond_the_model_are_refused_as_they_are_read)
{
    const char *root = make_directory();
    int32_t x[8], y[8];

    write_tokens(at(root, "t"), 10);  // 0, 300 ... 2700
    struct pawl_data *data = open_plain(named(at(root, "t")));
    cr_assert_eq(pawl_data_expect(data, 1500, 0), 0);
    assert_fails(pawl_data_batch(data, 1, 1, x, y), PAWL_ECORRUPT,
                 "token 1500 at place 5; the model's are 0..1499");
    cr_assert_eq(pawl_data_expect(data, 1501, 0), 0);
    cr_assert_eq(pawl_data_batch(data, 0, 1, x, y), 0);
    cr_assert_eq(pawl_data_expect(data, 65536, 0), 0);
    cr_assert_eq(pawl_data_batch(data, 0, 2, x, y), 0);
    pawl_data_close(data);
}

Test(tokens, a_file_cut_short_is_an_error)
{
    const char *root = make_directory();
    int32_t x[8], y[8];

    write_tokens(at(root, "t"), 10);
    struct pawl_data *data = open_plain(named(at(root, "t")));
    json_t *identity = pawl_data_identity(data);
    cr_assert_eq(truncate(at(root, "t"), 12), 0);
    cr_assert_eq(pawl_data_batch(data, 0, 1, x, y), 0);
    assert_fails(pawl_data_batch(data, 1, 1, x, y), PAWL_EIO, "/t: ends before byte 18");
    pawl_data_close(data);
    data = open_plain(named(at(root, "t")));
    assert_fails(pawl_data_same(data, identity), PAWL_ECORRUPT,
                 "t has 12 bytes; at the snapshot it had 20");
    json_decref(identity);
    pawl_data_close(data);
}
