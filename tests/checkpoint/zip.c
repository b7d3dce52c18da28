// zip.c - the archive reader against what it must read and must refuse, the writer against it.

#include "checkpoint/containers/zip.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "checkpoint/containers/bytes.h"
#include "kernels/memory.h"
#include "tests/checkpoint/document_support.h"

enum { BYTES_MAX = 4096 };

static const char FIRST[] = "the first payload", SECOND[] = "the second one, a little longer";

// Two stored members written by the writer, at base within the file.
static const char *write_archive(const char *name, uint64_t base)
{
    const char *path = scratch(name);
    struct pawl_zip_writer writer;
    uint64_t bytes = 0;
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    pawl_zip_create(&writer, fd, path, base);
    cr_assert_eq(pawl_zip_add(&writer, "a/first", FIRST, sizeof(FIRST)), 0);
    cr_assert_eq(pawl_zip_begin(&writer, "a/second", sizeof(SECOND)), 0);
    cr_assert_eq(pawl_zip_put(&writer, SECOND, 4), 0);
    cr_assert_eq(pawl_zip_put(&writer, SECOND + 4, sizeof(SECOND) - 4), 0);
    cr_assert_eq(pawl_zip_end(&writer), 0);
    cr_assert_eq(pawl_zip_finish(&writer, &bytes), 0);
    cr_assert_eq((off_t)(base + bytes), lseek(fd, 0, SEEK_END));
    close(fd);
    return path;
}

static size_t read_file(const char *path, unsigned char out[BYTES_MAX])
{
    FILE *file = fopen(path, "rb");
    const size_t size = fread(out, 1, BYTES_MAX, file);

    fclose(file);
    return size;
}

static int open_archive(struct pawl_document **document, struct pawl_zip **zip, const char *path,
                        uint64_t base)
{
    uint64_t size = 0;
    int file;

    cr_assert_eq(pawl_document_new(document), 0);
    cr_assert_eq(pawl_document_add_file(*document, path, &file, &size), 0);
    return pawl_zip_open(zip, *document, file, (uint64_t[2]){ base, size - base }, path);
}

static void must_refuse(const unsigned char *bytes, size_t size, const char *words)
{
    const char *path = scratch("bad.zip");
    struct pawl_document *document = NULL;
    struct pawl_zip *zip = NULL;
    char *payload = NULL;
    int rc;

    write_bytes(path, bytes, size);
    rc = open_archive(&document, &zip, path, 0);
    if (!rc) rc = pawl_zip_load(zip, &zip->members[0], 1000, &payload, NULL);
    cr_expect_eq(rc, PAWL_ECORRUPT, "not refused: %s", words);
    cr_expect(strstr(pawl_error(), words), "'%s' lacks '%s'", pawl_error(), words);
    pawl_free(payload);
    pawl_zip_free(zip);
    pawl_document_free(document);
}

Test(zip, what_is_written_is_read)
{
    for (uint64_t base = 0; base < 40; base += 13) {
        const char *path = write_archive("good.zip", base);
        struct pawl_document *document = NULL;
        struct pawl_zip *zip = NULL;
        char *bytes = NULL, part[8];
        size_t size = 0;
        int file;

        cr_assert_eq(open_archive(&document, &zip, path, base), 0, "%s", pawl_error());
        cr_assert_eq(zip->count, 2);
        cr_assert_null(pawl_zip_find(zip, "a/third"));
        const struct pawl_zip_member *second = pawl_zip_find(zip, "a/second");
        cr_assert_eq((second->offset - base) % PAWL_ZIP_ALIGN, 0);
        cr_assert_eq(pawl_zip_load(zip, second, 100, &bytes, &size), 0);
        cr_assert_eq(size, sizeof(SECOND));
        cr_assert_str_eq(bytes, SECOND);
        cr_assert_eq(pawl_zip_load(zip, second, 10, &bytes, &size), PAWL_ECORRUPT);
        cr_assert_eq(pawl_zip_file(zip, second, true, &file), 0);
        pawl_zip_free(zip);
        cr_assert_eq(pawl_document_read_at(document, file, 4, part, 6), 0);
        cr_assert_eq(memcmp(part, SECOND + 4, 6), 0);
        pawl_free(bytes);
        pawl_document_free(document);
    }
}

Test(zip, a_damaged_payload_is_noticed_in_order_and_out_of_order)
{
    unsigned char bytes[BYTES_MAX], part[64];
    const size_t size = read_file(write_archive("good.zip", 0), bytes);

    for (size_t i = 0; i < size; i++)
        if (!memcmp(bytes + i, "little", 6)) bytes[i] ^= 4;
    write_bytes(scratch("flip.zip"), bytes, size);
    for (int turn = 0; turn < 3; turn++) {
        struct pawl_document *document = NULL;
        struct pawl_zip *zip = NULL;
        int file, rc;

        cr_assert_eq(open_archive(&document, &zip, scratch("flip.zip"), 0), 0);
        cr_assert_eq(pawl_zip_file(zip, pawl_zip_find(zip, "a/second"), turn != 1, &file), 0);
        rc = pawl_document_read_at(document, file, turn == 2 ? 1 : 0, part, 4);
        cr_assert_eq(rc, turn == 0 ? 0 : PAWL_ECORRUPT);
        if (!rc) rc = pawl_document_read_at(document, file, 4, part, sizeof(SECOND) - 4);
        cr_assert_eq(rc, PAWL_ECORRUPT);
        cr_assert(strstr(pawl_error(), "CRC-32") && strstr(pawl_error(), "a/second"));
        pawl_zip_free(zip);
        pawl_document_free(document);
    }
}

// One deflated member made by zlib, in place of a payload that was stored.
static size_t deflate_archive(unsigned char *out, const unsigned char *payload, size_t size)
{
    z_stream z = { .next_in = (unsigned char *)payload, .avail_in = (uInt)size };
    unsigned char head[] = "PK\3\4\24\0\0\0\10\0\0\0\0\0";
    const uint32_t crc = (uint32_t)crc32(0, payload, (uInt)size);

    memset(out, 0, BYTES_MAX);
    memcpy(out, head, 14);
    cr_assert_eq(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = out + 31;
    z.avail_out = 2000;
    cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    const size_t packed = z.total_out, at = 31 + packed;
    deflateEnd(&z);
    pawl_put_le(out + 14, crc, 4);
    pawl_put_le(out + 18, packed, 4);
    pawl_put_le(out + 22, size, 4);
    pawl_put_le(out + 26, 1, 2);
    out[30] = 'x';
    memcpy(out + at, "PK\1\2\24\0", 6);
    memcpy(out + at + 6, out + 4, 26);
    out[at + 46] = 'x';
    memcpy(out + at + 47, "PK\5\6", 4);
    out[at + 47 + 8] = out[at + 47 + 10] = 1;
    pawl_put_le(out + at + 47 + 12, 47, 4);
    pawl_put_le(out + at + 47 + 16, at, 4);
    return at + 47 + 22;
}

Test(zip, deflated_members)
{
    unsigned char bytes[BYTES_MAX], *payload = calloc(1, 100000), part[100];
    struct pawl_document *document = NULL;
    struct pawl_zip *zip = NULL;
    int file;

    for (int i = 0; i < 100000; i++)
        payload[i] = (unsigned char)(i / 1000);
    const size_t size = deflate_archive(bytes, payload, 100000);
    write_bytes(scratch("deflated.zip"), bytes, size);
    cr_assert_eq(open_archive(&document, &zip, scratch("deflated.zip"), 0), 0, "%s", pawl_error());
    cr_assert_eq(pawl_zip_file(zip, &zip->members[0], true, &file), 0);
    static const uint64_t places[] = { 99900, 0, 50500, 50600, 10, 99900 };
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(pawl_document_read_at(document, file, places[i], part, 100), 0);
        cr_assert_eq(memcmp(part, payload + places[i], 100), 0, "at %d", (int)places[i]);
    }
    pawl_zip_free(zip);
    pawl_document_free(document);
    bytes[14] ^= 1;  // the CRC, in both headers
    bytes[size - 22 - 47 + 16] ^= 1;
    must_refuse(bytes, size, "has 100000 bytes, more than");
    pawl_put_le(bytes + 22, 200000000, 4);
    pawl_put_le(bytes + size - 22 - 47 + 24, 200000000, 4);
    must_refuse(bytes, size, "too large to be true");
    free(payload);
}

// What the last bytes of a stream stand for may be asked for when zlib has taken them all in.
Test(zip, the_end_of_a_deflated_member_in_a_read_of_its_own)
{
    unsigned char bytes[BYTES_MAX], *payload = calloc(1, 70000), *back = malloc(70000);

    for (size_t tail = 1; tail < 600; tail += 7) {
        struct pawl_document *document = NULL;
        struct pawl_zip *zip = NULL;
        int file;

        const size_t size = deflate_archive(bytes, payload, 65536 + tail);
        write_bytes(scratch("tail.zip"), bytes, size);
        cr_assert_eq(open_archive(&document, &zip, scratch("tail.zip"), 0), 0);
        cr_assert_eq(pawl_zip_file(zip, &zip->members[0], false, &file), 0);
        cr_expect_eq(pawl_document_read_at(document, file, 0, back, 65536), 0, "%zu: %s", tail,
                     pawl_error());
        cr_expect_eq(pawl_document_read_at(document, file, 65536, back, tail), 0, "%zu: %s", tail,
                     pawl_error());
        pawl_zip_free(zip);
        pawl_document_free(document);
    }
    free(payload);
    free(back);
}

// Where the signature of record n is.
static size_t find(const unsigned char *bytes, size_t size, const char *signature, int n)
{
    for (size_t i = 0; i + 4 <= size; i++)
        if (!memcmp(bytes + i, signature, 4) && n-- == 0) return i;
    cr_assert_fail("no signature");
    return 0;
}

Test(zip, what_is_refused)
{
    unsigned char good[BYTES_MAX], bad[BYTES_MAX];
    const size_t size = read_file(write_archive("good.zip", 0), good);
    const size_t central = find(good, size, "PK\1\2", 0), last = find(good, size, "PK\1\2", 1);
    const struct {
        size_t at;
        const char *put;
        int bytes;
        const char *words;
    } rows[] = {
        { central + 46, "../evil", 7, "'..'" },
        { central + 46, "/a/evil", 7, "absolute" },
        { central + 46, "a\\first", 7, "foreign" },
        { central + 46, "b/first", 7, "differs from the central directory (name" },
        { last + 46, "a/first", 7, "differs" },
        { central + 8, "\1\10", 2, "encrypted" },
        { 6, "\1", 1, "encrypted" },
        { central + 10, "\16", 1, "method 14" },
        { central + 20, "\20", 1, "is stored as" },
        { 18, "\20", 1, "size or CRC" },
        { 14, "\20", 1, "size or CRC" },
        { central + 42, "\1", 1, "differs" },
        { last + 42, "\0\0", 2, "differs" },
        { size - 2, "\1", 1, "without a central directory" },
        { find(good, size, "PK\6\6", 0) + 24, "\1", 1, "several disks" },
        { find(good, size, "PK\6\6", 0) + 40, "\1", 1, "does not end at byte" },
        { find(good, size, "PK\6\7", 0) + 8, "\1", 1, "prefix or a second directory" },
        { central, "x", 1, "damaged at member 0" },
        { 64, "x", 1, "CRC-32" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        memcpy(bad, good, size);
        memcpy(bad + rows[i].at, rows[i].put, (size_t)rows[i].bytes);
        must_refuse(bad, size, rows[i].words);
    }
    for (size_t cut = 1; cut < size; cut += 7)
        must_refuse(good, cut, "truncated");
    memcpy(bad + 3, good, size);
    must_refuse(bad, size + 3, "prefix");
    // One directory entry twice, both over one payload.
    memcpy(bad, good, size);
    memcpy(bad + last, good + central, 47 + 7 - 1);
    bad[last + 46 + 7] = good[last + 46 + 7];
    pawl_put_le(bad + last + 28, 7, 2);
    pawl_put_le(bad + last + 32, 1, 2);
    must_refuse(bad, size, "overlap");
}
