// text: which bytes of a tree are taken, how they are cut, and whether they are still the same.

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/runtime/data_support.h"

static const char *join(const char *prefix, const char *path)
{
    static char text[4300];

    snprintf(text, sizeof(text), "%s%s", prefix, path);
    return text;
}

// The whole source as a string, read in windows of one.
static void assert_reads(const char *source, const char *expected)
{
    struct pawl_data *data = NULL;
    int32_t x, y;

    cr_assert_eq(pawl_data_open(&data, source, &(struct pawl_data_options){ .sequence = 1 }), 0);
    cr_assert_eq(pawl_data_info(data)->samples, strlen(expected) - 1);
    for (uint64_t i = 0; i + 1 < strlen(expected); i++) {
        cr_assert_eq(pawl_data_batch(data, i, 1, &x, &y), 0);
        cr_assert_eq(x, expected[i], "byte %lu is '%c'", (unsigned long)i, x);
        cr_assert_eq(y, expected[i + 1]);
    }
    pawl_data_close(data);
}

static void make_tree(const char *root)
{
    static const char *const directories[] = { "b",     "b/deep", ".git", "build",
                                               "cache", "CVS",    "run",  "empty" };
    for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++)
        cr_assert_eq(mkdir(at(root, directories[i]), 0777), 0);
    write_text(at(root, "c"), "CC");
    write_text(at(root, "b/z"), "ZZ");
    write_text(at(root, "b/deep/y"), "YY");
    write_text(at(root, "a"), "AA");
    write_text(at(root, "nothing"), "");
    write_text(at(root, ".hidden"), "no");
    write_text(at(root, ".git/config"), "no");
    write_text(at(root, "CVS/Root"), "no");
    write_text(at(root, "build/CMakeCache.txt"), "no");
    write_text(at(root, "build/other"), "no");
    write_text(at(root, "cache/CACHEDIR.TAG"), "no");
    write_text(at(root, "run/run.json"), "no");
    write_text(at(root, "run/events.jsonl"), "no");
    write_bytes(at(root, "binary"), "n\0o", 3);
    cr_assert_eq(symlink("..", at(root, "b/loop")), 0);
    cr_assert_eq(symlink("a", at(root, "link")), 0);
    cr_assert_eq(mkfifo(at(root, "fifo"), 0666), 0);
}

Test(text, takes_the_text_of_a_tree_by_name)
{
    const char *root = make_directory();

    make_tree(root);
    assert_reads(join("text:", root), "AAYYZZCC");
    assert_reads(root, "AAYYZZCC");
    assert_reads(at(root, ""), "AAYYZZCC");   // a slash at the end
    assert_reads(at(root, "build"), "nono");  // asked for by name
    assert_reads(at(root, "link"), "AA");
    struct pawl_data *data = open_plain(root);
    cr_assert_str_eq(pawl_data_info(data)->words, "text: 4 files, 8 bytes");
    pawl_data_close(data);
    write_text(at(root, "run/events.jsonl"), "a run grows while it trains");
    assert_reads(root, "AAYYZZCC");
}

Test(text, of_one_file_is_any_bytes)
{
    const char *root = make_directory();

    write_bytes(at(root, "f"), "\xff\x00\x80", 3);
    struct pawl_data *data = NULL;
    int32_t x[2], y[2];
    cr_assert_eq(pawl_data_open(&data, join("text:", at(root, "f")),
                                &(struct pawl_data_options){ .sequence = 2 }),
                 0);
    cr_assert_eq(pawl_data_info(data)->samples, 1);
    cr_assert_eq(pawl_data_info(data)->classes, 256);
    cr_assert_eq(pawl_data_info(data)->kind, PAWL_DATA_TOKENS);
    cr_assert_eq(pawl_data_batch(data, 0, 1, x, y), 0);
    cr_assert(x[0] == 0xff && x[1] == 0 && y[0] == 0 && y[1] == 0x80);
    pawl_data_close(data);
}

Test(text, says_what_is_wrong)
{
    const char *root = make_directory();
    const struct pawl_data_options options = { .sequence = 4 };

    write_text(at(root, "short"), "abcd");
    write_text(at(root, "empty"), "");
    mkdir(at(root, "none"), 0777);
    write_bytes(at(root, "none/binary"), "\0", 1);
    mkfifo(at(root, "fifo"), 0666);
    assert_fails(try_open(at(root, "gone"), &options), PAWL_ENONE, "gone: cannot open: No such");
    assert_fails(try_open(join("text:", at(root, "gone")), &options), PAWL_ENONE, "No such file");
    assert_fails(try_open(at(root, "short"), &options), PAWL_EINVAL,
                 "4 tokens to train on; a sample needs 5");
    assert_fails(try_open(at(root, "empty"), &options), PAWL_ENONE, "empty: is empty");
    assert_fails(try_open(at(root, "none"), &options), PAWL_ENONE,
                 "holds no text (1 binary files, 0");
    assert_fails(try_open(at(root, "fifo"), &options), PAWL_ECORRUPT, "fifo: is a FIFO");
    assert_fails(try_open("text:", &options), PAWL_EINVAL, "needs something after the colon");
    assert_fails(try_open("", &options), PAWL_EINVAL, "no data named");
    assert_fails(try_open("words:x", &options), PAWL_EINVAL, "no such kind of source. try: text:");
    assert_fails(try_open(at(root, "short"), &(struct pawl_data_options){ .sequence = 0 }),
                 PAWL_EINVAL, "sequence must be 1");
    assert_fails(
        try_open(at(root, "short"), &(struct pawl_data_options){ .sequence = 1, .fraction = 1 }),
        PAWL_EINVAL, "below 1");
    if (getuid()) {
        chmod(at(root, "short"), 0);
        assert_fails(try_open(at(root, "short"), &options), PAWL_ENONE, "Permission denied");
    }
}

Test(text, refuses_more_than_memory_should_hold)
{
    const char *root = make_directory();
    const struct pawl_data_options options = { .sequence = 4 };

    mkdir(at(root, "tree"), 0777);
    char *head = malloc(8192);
    memset(head, 'a', 8192);
    write_bytes(at(root, "tree/f"), head, 8192);
    free(head);
    cr_assert_eq(truncate(at(root, "tree/f"), (off_t)(2L << 30) + 1), 0);
    assert_fails(try_open(at(root, "tree"), &options), PAWL_EINVAL, "tree/f: more than 2048 MiB");
    assert_fails(try_open(join("text:", at(root, "tree/f")), &options), PAWL_EINVAL,
                 "try: tokens:");
}

Test(text, refuses_a_tree_without_end)
{
    const char *root = make_directory();
    char path[512];

    int length = snprintf(path, sizeof(path), "%s", root);
    for (int i = 0; i < 101; i++) {
        length += snprintf(path + length, sizeof(path) - (size_t)length, "/d");
        cr_assert_eq(mkdir(path, 0777), 0);
    }
    assert_fails(try_open(root, &(struct pawl_data_options){ .sequence = 4 }), PAWL_EINVAL,
                 "more than 100 directories deep");
}

enum { LENGTH = 1000, SEQUENCE = 16 };

static void write_counted(const char *path)
{
    unsigned char text[LENGTH];

    // The first 900 are 'a' to 'y', the last 100 'Z'.
    for (int i = 0; i < LENGTH; i++)
        text[i] = (unsigned char)(i < 900 ? 'a' + i % 25 : 'Z');
    write_bytes(path, text, sizeof(text));
}

Test(text, windows_follow_one_another_in_order)
{
    const char *root = make_directory();
    struct pawl_data *data;
    int32_t x[SEQUENCE], y[SEQUENCE];

    write_counted(at(root, "f"));
    cr_assert_eq(
        pawl_data_open(&data, at(root, "f"), &(struct pawl_data_options){ .sequence = SEQUENCE }),
        0);
    cr_assert_eq(pawl_data_info(data)->samples, (LENGTH - 1) / SEQUENCE);
    for (int i = 0; i < 56; i++) {
        cr_assert_eq(pawl_data_batch(data, (uint64_t)i, 1, x, y), 0);
        for (int k = 0; k < SEQUENCE; k++) {
            cr_assert_eq(x[k], 'a' + (i * SEQUENCE + k) % 25);
            if (i * SEQUENCE + k + 1 < 900)
                cr_assert_eq(y[k], 'a' + (i * SEQUENCE + k + 1) % 25);
        }
    }
    pawl_data_close(data);
}

Test(text, parts_do_not_overlap)
{
    const char *root = make_directory();
    struct pawl_data *train, *validate;
    struct pawl_data_options options = { .sequence = SEQUENCE, .shuffle = true, .fraction = 0.1 };
    int32_t x[SEQUENCE], y[SEQUENCE];

    write_counted(at(root, "f"));
    cr_assert_eq(pawl_data_open(&train, at(root, "f"), &options), 0);
    options.part = PAWL_DATA_VALIDATE;
    cr_assert_eq(pawl_data_open(&validate, at(root, "f"), &options), 0);
    cr_assert_eq(pawl_data_info(train)->samples, 899 / SEQUENCE);
    cr_assert_eq(pawl_data_info(validate)->samples, 99 / SEQUENCE);
    for (uint64_t i = 0; i < 2000; i++) {
        pawl_data_batch(train, i, 1, x, y);
        for (int k = 0; k < SEQUENCE; k++)
            cr_assert(x[k] != 'Z' && y[k] != 'Z');
        pawl_data_batch(validate, i % 6, 1, x, y);
        for (int k = 0; k < SEQUENCE; k++)
            cr_assert(x[k] == 'Z' && y[k] == 'Z');
    }
    options.fraction = 0;
    pawl_data_close(validate);
    cr_assert_eq(pawl_data_open(&validate, at(root, "f"), &options), 0);
    cr_assert_eq(pawl_data_info(validate)->samples, (LENGTH - 1) / SEQUENCE, "the whole source");
    pawl_data_batch(validate, 1, 1, x, y);
    cr_assert_eq(x[0], 'a' + SEQUENCE, "validation is in order");
    pawl_data_close(train);
    pawl_data_close(validate);
    options.fraction = 0.01;
    assert_fails(try_open(at(root, "f"), &options), PAWL_EINVAL, "10 tokens to validate on");
}

// Where each window of an epoch begins; the text's bytes are their own places.
static void begins(struct pawl_data *data, uint64_t epoch, int *out)
{
    const uint64_t samples = pawl_data_info(data)->samples;
    int32_t x[SEQUENCE], y[SEQUENCE];

    for (uint64_t i = 0; i < samples; i++) {
        cr_assert_eq(pawl_data_batch(data, epoch * samples + i, 1, x, y), 0);
        for (int k = 0; k < SEQUENCE; k++)
            cr_assert(x[k] == x[0] + k && y[k] == x[k] + 1);
        out[i] = x[0];
    }
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

Test(text, shuffled_epochs_are_cut_elsewhere)
{
    const char *root = make_directory();
    unsigned char text[256];
    struct pawl_data *data;
    int first[16] = { 0 }, kinds = 0, where[16];

    for (int i = 0; i < 256; i++)
        text[i] = (unsigned char)i;
    write_bytes(at(root, "f"), text, sizeof(text));
    cr_assert_eq(
        pawl_data_open(&data, join("text:", at(root, "f")),
                       &(struct pawl_data_options){ .sequence = SEQUENCE, .shuffle = true }),
        0);
    const int samples = (int)pawl_data_info(data)->samples;
    cr_assert_eq(samples, 15);
    for (uint64_t epoch = 0; epoch < 64; epoch++) {
        begins(data, epoch, where);
        qsort(where, (size_t)samples, sizeof(*where), by_value);
        // One offset for all, and the last window ends with the text at the latest.
        for (int i = 0; i < samples; i++) {
            const int expected = where[0] + i * SEQUENCE;
            cr_assert_eq(where[i], expected < 239 ? expected : 239);
        }
        cr_assert_lt(where[0], SEQUENCE);
        kinds += !first[where[0]]++;
    }
    cr_assert_geq(kinds, 12, "%d offsets in 64 epochs", kinds);
    pawl_data_close(data);
}

Test(text, a_batch_is_its_samples)
{
    const char *root = make_directory();
    struct pawl_data *data;
    int32_t x[8 * SEQUENCE], y[8 * SEQUENCE], one_x[SEQUENCE], one_y[SEQUENCE];

    write_counted(at(root, "f"));
    cr_assert_eq(pawl_data_open(&data, at(root, "f"),
                                &(struct pawl_data_options){
                                    .sequence = SEQUENCE, .seed = 9, .shuffle = true }),
                 0);
    // 62 samples: this batch crosses from epoch 0 to epoch 1.
    cr_assert_eq(pawl_data_batch(data, 58, 8, x, y), 0);
    for (uint64_t i = 0; i < 8; i++) {
        cr_assert_eq(pawl_data_batch(data, 58 + i, 1, one_x, one_y), 0);
        cr_assert(!memcmp(one_x, x + i * SEQUENCE, sizeof(one_x)));
        cr_assert(!memcmp(one_y, y + i * SEQUENCE, sizeof(one_y)));
    }
    pawl_data_close(data);
}

static int still_same(const char *root, const json_t *identity)
{
    struct pawl_data *data = open_plain(root);
    const int rc = pawl_data_same(data, identity);

    pawl_data_close(data);
    return rc;
}

Test(text, knows_its_data_again)
{
    const char *root = make_directory();

    mkdir(at(root, "t"), 0777);
    write_text(at(root, "t/a"), "first");
    write_text(at(root, "t/b\xff"), "the second");
    struct pawl_data *data = open_plain(at(root, "t"));
    json_t *identity = pawl_data_identity(data);
    pawl_data_close(data);
    char *text = json_dumps(identity, JSON_COMPACT);
    json_t *kept = json_loads(text, 0, NULL);
    cr_assert(strstr(text, "\"path\":\"a\",\"bytes\":5"), "%s", text);
    cr_assert(strstr(text, "\"file_count\":2,\"bytes\":15"), "%s", text);
    free(text);

    cr_assert_eq(still_same(at(root, "t"), kept), 0);
    rename(at(root, "t"), at(root, "moved"));
    cr_assert_eq(still_same(at(root, "moved"), kept), 0);
    write_text(at(root, "moved/a"), "longer");
    assert_fails(still_same(at(root, "moved"), kept), PAWL_ECORRUPT,
                 "moved: a has 6 bytes; at the snapshot it had 5");
    write_text(at(root, "moved/a"), "fIrst");
    assert_fails(still_same(at(root, "moved"), kept), PAWL_ECORRUPT, "a has other contents");
    unlink(at(root, "moved/a"));
    assert_fails(still_same(at(root, "moved"), kept), PAWL_ECORRUPT,
                 "a is gone; at the snapshot it had 5 bytes");
    write_text(at(root, "moved/a"), "first");
    write_text(at(root, "moved/c"), "third");
    assert_fails(still_same(at(root, "moved"), kept), PAWL_ECORRUPT, "c is new; it has 5 bytes");
    assert_fails(still_same(join("tokens:", at(root, "moved/b\xff")), kept), PAWL_ECORRUPT,
                 "is tokens; the snapshot was trained on text");
    json_decref(kept);
    json_decref(identity);
}

Test(text, knows_more_files_than_it_lists)
{
    const char *root = make_directory();
    char name[32];

    for (int i = 0; i < 1005; i++) {
        snprintf(name, sizeof(name), "%04d", i);
        write_text(at(root, name), "x");
    }
    struct pawl_data *data = open_plain(root);
    json_t *identity = pawl_data_identity(data);
    pawl_data_close(data);
    cr_assert_eq(json_array_size(json_object_get(identity, "files")), 1000);
    cr_assert_eq(still_same(root, identity), 0);
    write_text(at(root, "1003"), "y");
    assert_fails(still_same(root, identity), PAWL_ECORRUPT, "it has other names or contents");
    write_text(at(root, "1003"), "xx");
    assert_fails(still_same(root, identity), PAWL_ECORRUPT, "it has 1006 bytes");
    unlink(at(root, "1003"));
    assert_fails(still_same(root, identity), PAWL_ECORRUPT, "it has 1004 files");
    json_decref(identity);
}
