// tables.c - protocol buffers, snappy and LevelDB's tables: what is taken, what is refused.
//
// tests/data/savedmodel/dense is a directory that TensorFlow reads.

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/containers/snappy.h"
#include "checkpoint/containers/table.h"
#include "checkpoint/sums.h"
#include "kernels/io.h"
#include "kernels/memory.h"

#define LITERAL(text) (const unsigned char *)(text), sizeof(text) - 1

static void said(const char *words)
{
    cr_assert(strstr(pawl_error(), words), "'%s' lacks '%s'", pawl_error(), words);
}

// ---- protocol buffers

static int walk(const unsigned char *bytes, size_t size)
{
    unsigned char *own = malloc(size ? size : 1);  // its own block: a sanitizer sees what is beyond
    struct pawl_pb in;
    struct pawl_pb_field field;
    int rc;

    memcpy(own, bytes, size);
    pawl_pb_open(&in, own, size, "test", 0);
    do
        rc = pawl_pb_next(&in, &field);
    while (!rc && field.number);
    free(own);
    return rc;
}

Test(protobuf, refused)
{
    static const struct { const char *bytes; size_t size; const char *words; } row[] = {
#define ROW(bytes, words) { bytes, sizeof(bytes) - 1, words }
        ROW("\x80", "truncated"),
        ROW("\x08", "truncated"),
        ROW("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "more than 64 bits"),
        ROW("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "more than 64 bits"),
        ROW("\x0a\x05" "abcd", "field 1 has 5 bytes, but 4 are left"),
        ROW("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "but 0 are left"),
        ROW("\x0d\1\2\3", "truncated"),
        ROW("\x09\1\2\3\4\5\6\7", "truncated"),
        ROW("\x00\x01", "number is 0"),
        ROW("\xf8\xff\xff\xff\xff\x01\x01", "too large"),
        ROW("\x0b", "wire type 3"),
        ROW("\x0e", "wire type 6"),
#undef ROW
    };

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        cr_assert_eq(walk((const unsigned char *)row[i].bytes, row[i].size), PAWL_ECORRUPT,
                     "row %zu", i);
        said(row[i].words);
    }
}

Test(protobuf, written_and_read)
{
    struct pawl_text out = { 0 };
    struct pawl_pb in, sub;
    struct pawl_pb_field field;
    char name[8];
    int64_t number;
    uint32_t fixed;

    const size_t outer = pawl_pb_begin(&out, 2);
    pawl_pb_put_int(&out, 1, -1);
    pawl_pb_put_string(&out, 300, "seven!!");
    pawl_pb_put_fixed32(&out, 6, 0x01020304);
    for (int i = 0; i < 100; i++)  // so that the length takes two bytes
        pawl_pb_put_varint(&out, 0x08), pawl_pb_put_varint(&out, 1);
    pawl_pb_end(&out, outer);
    cr_assert_eq(pawl_text_check(&out), 0);

    pawl_pb_open(&in, out.bytes, out.size, "test", 0);
    cr_assert_eq(pawl_pb_next(&in, &field), 0);
    cr_assert_eq(pawl_pb_enter(&in, &field, &sub), 0);
    cr_assert_eq(pawl_pb_next(&sub, &field), 0);
    cr_assert_eq(pawl_pb_int(&sub, &field, &number), 0);
    cr_assert_eq(number, -1);
    cr_assert_eq(pawl_pb_string(&sub, &field, name, sizeof(name)), PAWL_ECORRUPT);
    cr_assert_eq(pawl_pb_next(&sub, &field), 0);
    cr_assert_eq(field.number, 300);
    cr_assert_eq(pawl_pb_string(&sub, &field, name, 7), PAWL_ECORRUPT);
    cr_assert_eq(pawl_pb_string(&sub, &field, name, sizeof(name)), 0);
    cr_assert_str_eq(name, "seven!!");
    cr_assert_eq(pawl_pb_next(&sub, &field), 0);
    cr_assert_eq(pawl_pb_fixed32(&sub, &field, &fixed), 0);
    cr_assert_eq(fixed, 0x01020304);
    cr_assert_eq(pawl_pb_next(&in, &field), 0);
    cr_assert_eq(field.number, 0);
    pawl_text_free(&out);
}

// ---- snappy

static int unsnap(const unsigned char *in, size_t in_size, char *out, size_t room)
{
    unsigned char *own = malloc(in_size ? in_size : 1), *to = NULL;
    size_t size = 0;

    memcpy(own, in, in_size);
    int rc = pawl_snappy_length(&size, own, in_size);
    if (!rc) to = malloc(size ? size : 1);
    if (!rc) rc = pawl_snappy_decode(to, size, own, in_size);
    if (!rc) snprintf(out, room, "%.*s", (int)size, (char *)to);
    free(own);
    free(to);
    return rc;
}

Test(snappy, every_kind_of_element)
{
    char out[400];

    cr_assert_eq(unsnap(LITERAL("\x00"), out, sizeof(out)), 0);
    cr_assert_str_eq(out, "");
    cr_assert_eq(unsnap(LITERAL("\x0b\x08" "abc" "\x11\x03"), out, sizeof(out)), 0);
    cr_assert_str_eq(out, "abcabcabcab");  // a copy that overlaps itself
    cr_assert_eq(unsnap(LITERAL("\x06\x08" "xyz" "\x0a\x03\x00"), out, sizeof(out)), 0);
    cr_assert_str_eq(out, "xyzxyz");
    cr_assert_eq(unsnap(LITERAL("\x05\x08" "xyz" "\x07\x02\x00\x00\x00"), out, sizeof(out)), 0);
    cr_assert_str_eq(out, "xyzyz");
    cr_assert_eq(unsnap(LITERAL("\x03\xf0\x02" "xyz"), out, sizeof(out)), 0);
    cr_assert_eq(unsnap(LITERAL("\x03\xfc\x02\0\0\0" "xyz"), out, sizeof(out)), 0);
    cr_assert_str_eq(out, "xyz");
}

Test(snappy, refused)
{
    static const struct { const char *bytes; size_t size; const char *words; } row[] = {
#define ROW(bytes, words) { bytes, sizeof(bytes) - 1, words }
        ROW("", "no length"),
        ROW("\xff\xff\xff\xff\xff\x01", "no length"),
        ROW("\xff\xff\xff\xff\x0f\x00", "cannot expand"),
        ROW("\x04\x08" "abc", "3 of 4"),
        ROW("\x03\x0c" "abcd", "too long"),
        ROW("\x04\x0c" "abc", "too long"),
        ROW("\x08\x08" "abc" "\x11\x04", "outside"),
        ROW("\x08\x08" "abc" "\x11\x00", "outside"),
        ROW("\x06\x08" "abc" "\x11\x03", "outside"),
        ROW("\x08\x08" "abc" "\x11", "truncated"),
        ROW("\x08\xfc\xff\xff\xff\xff" "abc", "too long"),
#undef ROW
    };
    char out[64];

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        cr_assert_eq(unsnap((const unsigned char *)row[i].bytes, row[i].size, out, sizeof(out)),
                     PAWL_ECORRUPT, "row %zu", i);
        said(row[i].words);
    }
}

// ---- tables

static int again(void *context, const unsigned char *key, size_t key_size,
                 const unsigned char *value, size_t value_size)
{
    pawl_table_add(context, key, key_size, value, value_size);
    return 0;
}

static int none(void *context, const unsigned char *key, size_t key_size,
                const unsigned char *value, size_t value_size)
{
    (void)context, (void)key, (void)key_size, (void)value, (void)value_size;
    return 0;
}

static void load(char **bytes, size_t *size)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/tests/data/savedmodel/dense/variables/variables.index",
             getenv("PAWL_SOURCE"));
    cr_assert_eq(pawl_io_read_file(path, bytes, size, 1 << 20), 0);
}

Test(table, the_same_bytes_again)
{
    struct pawl_table table;
    char *bytes;
    size_t size;

    load(&bytes, &size);
    pawl_table_begin(&table, 0);
    cr_assert_eq(pawl_table_read((unsigned char *)bytes, size, "test", again, &table), 0, "%s",
                 pawl_error());
    cr_assert_eq(pawl_table_finish(&table), 0);
    cr_assert_eq(table.out.size, size);
    cr_assert_eq(memcmp(table.out.bytes, bytes, size), 0);
    pawl_table_free(&table);
    pawl_free(bytes);
}

static int sum(void *context, const unsigned char *key, size_t key_size,
               const unsigned char *value, size_t value_size)
{
    int *count = context;
    char want[32];

    snprintf(want, sizeof(want), "key-%05d", *count);
    cr_assert_eq(key_size, strlen(want));
    cr_assert_eq(memcmp(key, want, key_size), 0);
    cr_assert_eq(value_size, (size_t)(*count % 7));
    cr_assert_eq(value_size ? value[0] : 0, value_size ? '0' : 0);
    ++*count;
    return 0;
}

static void build(struct pawl_table *table, int entries, size_t block)
{
    char key[32];

    pawl_table_begin(table, block);
    for (int i = 0; i < entries; i++) {
        snprintf(key, sizeof(key), "key-%05d", i);
        pawl_table_add(table, key, strlen(key), "0123456", (size_t)(i % 7));
    }
    cr_assert_eq(pawl_table_finish(table), 0);
}

Test(table, many_blocks)
{
    for (size_t block = 1; block <= 100000; block *= 10)
        for (int entries = 0; entries <= 1000; entries = entries ? entries * 10 : 1) {
            struct pawl_table table;
            int count = 0;
            build(&table, entries, block);
            cr_assert_eq(pawl_table_read((unsigned char *)table.out.bytes, table.out.size, "test",
                                         sum, &count), 0, "%s", pawl_error());
            cr_assert_eq(count, entries);
            pawl_table_free(&table);
        }
}

// Whatever one byte becomes, the table is refused or (in the footer's padding) reads the same.
Test(table, every_byte_matters)
{
    struct pawl_table table;

    build(&table, 40, 100);
    unsigned char *bytes = (unsigned char *)table.out.bytes;
    const size_t size = table.out.size;
    for (size_t i = 0; i < size; i++)
        for (int bit = 0; bit < 8; bit++) {
            int count = 0;
            bytes[i] ^= (unsigned char)(1 << bit);
            const int rc = pawl_table_read(bytes, size, "test", sum, &count);
            cr_assert(rc == PAWL_ECORRUPT || (i >= size - 44 && count == 40), "byte %zu", i);
            bytes[i] ^= (unsigned char)(1 << bit);
        }
    for (size_t cut = 0; cut < size; cut++)
        cr_assert_eq(pawl_table_read(bytes + size - cut, cut, "test", none, NULL), PAWL_ECORRUPT);
    for (size_t cut = 0; cut < size; cut++)
        cr_assert_eq(pawl_table_read(bytes, cut, "test", none, NULL), PAWL_ECORRUPT);
    pawl_table_free(&table);
}

// Replaces the first block of a table by `content`, of a type, and seals it.
static int with_block(const char *content, size_t content_size, char type, int *count)
{
    struct pawl_text file = { 0 };
    struct pawl_text index = { 0 };
    unsigned char crc[4];

    for (int block = 0; block < 3; block++) {  // data, metaindex, index
        const size_t start = file.size;
        if (block == 0) pawl_text_add(&file, content, content_size);
        if (block == 1) pawl_text_add(&file, "\0\0\0\0\1\0\0\0", 8);
        if (block == 2) pawl_text_add(&file, index.bytes, index.size);
        const size_t size = file.size - start;
        pawl_text_add(&file, block == 0 ? &type : "\0", 1);
        const uint32_t mask = pawl_table_mask(pawl_crc32c(file.bytes + start, size + 1));
        for (int i = 0; i < 4; i++)
            crc[i] = (unsigned char)(mask >> 8 * i);
        pawl_text_add(&file, crc, 4);
        if (block == 0) {
            struct pawl_text place = { 0 };
            pawl_pb_put_varint(&place, 0);
            pawl_pb_put_varint(&place, content_size);
            pawl_text_add(&index, "\0\1", 2);
            pawl_pb_put_varint(&index, place.size);
            pawl_text_add(&index, "z", 1);
            pawl_text_add(&index, place.bytes, place.size);
            pawl_text_add(&index, "\0\0\0\0\1\0\0\0", 8);
            pawl_text_free(&place);
        }
    }
    const size_t footer = file.size, index_at = footer - index.size - 5;
    pawl_pb_put_varint(&file, content_size + 5);
    pawl_pb_put_varint(&file, 8);
    pawl_pb_put_varint(&file, index_at);
    pawl_pb_put_varint(&file, index.size);
    while (file.size < footer + 40)
        pawl_text_add(&file, "\0", 1);
    pawl_text_add(&file, "\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8);
    const int rc = pawl_table_read((unsigned char *)file.bytes, file.size, "test", sum, count);
    pawl_text_free(&file);
    pawl_text_free(&index);
    return rc;
}

#define ENTRY "\0\x09\0" "key-00000"
#define END "\0\0\0\0\1\0\0\0"

Test(table, blocks)
{
    static const struct { const char *bytes; size_t size; char type; const char *words; } row[] = {
#define ROW(bytes, type, words) { bytes, sizeof(bytes) - 1, type, words }
        ROW(ENTRY END, 2, "compressed in a way"),
        ROW(ENTRY "\1\0\0\0\0\x10\0\0", 0, "more restarts"),
        ROW(ENTRY "\xff\0\0\0\1\0\0\0", 0, "outside its block"),
        ROW(ENTRY ENTRY END, 0, "do not ascend"),
        ROW("\1\x09\0" "key-00000" END, 0, "beyond its block"),
        ROW("\0\x0a\0" "key-00000" END, 0, "beyond its block"),
        ROW("\0\x09\1" "key-00000" END, 0, "beyond its block"),
        ROW("\0\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff\1" "key-00000" END, 0, "beyond its block"),
        ROW("\x10\x11" ENTRY END, 1, "snappy"),
        ROW("", 0, "without an end"),
#undef ROW
    };
    int count = 0;

    cr_assert_eq(with_block(ENTRY END, sizeof(ENTRY END) - 1, 0, &count), 0, "%s", pawl_error());
    cr_assert_eq(count, 1);
    count = 0;
    cr_assert_eq(with_block("\x14\x4c" ENTRY END, sizeof("\x14\x4c" ENTRY END) - 1, 1, &count), 0,
                 "%s", pawl_error());
    cr_assert_eq(count, 1);
    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        count = 0;
        cr_assert_eq(with_block(row[i].bytes, row[i].size, row[i].type, &count), PAWL_ECORRUPT,
                     "row %zu", i);
        said(row[i].words);
    }
}
