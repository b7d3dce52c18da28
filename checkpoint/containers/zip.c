// zip.c - the central directory of a zip archive, checked against every local header.

#include "checkpoint/containers/zip.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint/containers/bytes.h"
#include "kernels/memory.h"

enum {
    LOCAL_BYTES = 30, CENTRAL_BYTES = 46, END_BYTES = 22, END64_BYTES = 56, LOCATOR_BYTES = 20,
    DIRECTORY_MAX = 256 << 20, NAME_BYTES_MAX = 1024,
    FLAG_ENCRYPTED = 1, FLAG_DESCRIPTOR = 8, FLAG_STRONG = 1 << 6, FLAG_MASKED = 1 << 13,
    MADE_BY_UNIX = 3,
};

static const uint32_t LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50,
                      END64 = 0x06064b50, LOCATOR = 0x07064b50, ALL_ONES = 0xffffffffu;

struct reader {
    struct pawl_zip *zip;
    uint64_t start, size;     // of the archive in the file
    uint64_t directory, directory_bytes, end_at;  // from start
    uint64_t count;
};

__attribute__((format(printf, 2, 3))) static int fail(const struct pawl_zip *zip,
                                                      const char *format, ...)
{
    char words[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_ECORRUPT, "%s: %s", zip->what, words);
}

static int read_at(const struct reader *r, uint64_t offset, void *out, size_t size)
{
    return pawl_document_read_at(r->zip->document, r->zip->file, r->start + offset, out, size);
}

// ---- the end

static int find_end64(struct reader *r, uint64_t locator_at)
{
    unsigned char locator[LOCATOR_BYTES], end[END64_BYTES];

    int rc = read_at(r, locator_at, locator, sizeof(locator));
    if (rc) return rc;
    const uint64_t at = pawl_u64(locator + 8);
    if (locator_at < END64_BYTES || at != locator_at - END64_BYTES)
        return fail(r->zip, "its zip64 end is said to be at byte %llu, not directly before the "
                    "locator: a prefix or a second directory", (unsigned long long)at);
    rc = read_at(r, at, end, sizeof(end));
    if (rc) return rc;
    if (pawl_u32(end) != END64 || pawl_u64(end + 4) != END64_BYTES - 12)
        return fail(r->zip, "byte %llu: no zip64 end of the directory", (unsigned long long)at);
    if (pawl_u32(end + 16) || pawl_u32(end + 20) || pawl_u64(end + 24) != pawl_u64(end + 32))
        return fail(r->zip, "an archive over several disks");
    r->count = pawl_u64(end + 32);
    r->directory_bytes = pawl_u64(end + 40);
    r->directory = pawl_u64(end + 48);
    r->end_at = at;
    return 0;
}

// A file that only begins like an archive was cut off, most often: its directory is written last.
static int explain_no_end(const struct reader *r)
{
    return fail(r->zip, "it ends at byte %llu without a central directory: truncated, or bytes "
                "(a comment) follow it. try: copy or save it again",
                (unsigned long long)(r->start + r->size));
}

static int find_end(struct reader *r)
{
    unsigned char end[END_BYTES], locator[4];

    if (r->size < END_BYTES) return explain_no_end(r);
    const uint64_t at = r->size - END_BYTES;
    int rc = read_at(r, at, end, sizeof(end));
    if (rc) return rc;
    if (pawl_u32(end) != END || pawl_u16(end + 20)) return explain_no_end(r);
    if (pawl_u16(end + 4) || pawl_u16(end + 6) || pawl_u16(end + 8) != pawl_u16(end + 10))
        return fail(r->zip, "an archive over several disks");
    r->count = pawl_u16(end + 10);
    r->directory_bytes = pawl_u32(end + 12);
    r->directory = pawl_u32(end + 16);
    r->end_at = at;
    if (at < LOCATOR_BYTES) return 0;
    rc = read_at(r, at - LOCATOR_BYTES, locator, sizeof(locator));
    return rc || pawl_u32(locator) != LOCATOR ? rc : find_end64(r, at - LOCATOR_BYTES);
}

static int check_end(const struct reader *r)
{
    uint64_t end;

    if (r->directory_bytes > DIRECTORY_MAX)
        return fail(r->zip, "a central directory of %llu bytes is too large",
                    (unsigned long long)r->directory_bytes);
    if (__builtin_add_overflow(r->directory, r->directory_bytes, &end) || end != r->end_at)
        return fail(r->zip, "the central directory does not end at byte %llu, where its end record "
                    "begins: bytes were put before the start (a prefix), or there are two "
                    "directories", (unsigned long long)(r->start + r->end_at));
    if (r->count > r->directory_bytes / CENTRAL_BYTES)
        return fail(r->zip, "%llu members do not fit into a central directory of %llu bytes",
                    (unsigned long long)r->count, (unsigned long long)r->directory_bytes);
    return 0;
}

// ---- one member

static int check_name(const struct pawl_zip *zip, const char *name, size_t length)
{
    const char *part = name;

    if (!length || length > NAME_BYTES_MAX || memchr(name, 0, length))
        return fail(zip, "a member's name is empty, too long or holds a NUL byte");
    if (*name == '/' || memchr(name, '\\', length) || (length > 1 && name[1] == ':'))
        return fail(zip, "member '%.80s' has an absolute or foreign path as its name", name);
    for (; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
        if (strncmp(part, "..", 2) == 0 && (!part[2] || part[2] == '/'))
            return fail(zip, "member '%.80s' climbs out of the archive with '..' in its name",
                        name);
    return 0;
}

// Sizes and place of 0xffffffff are given by the extra field 1, in this order, if they are.
static int take_extra64(const struct pawl_zip *zip, struct pawl_zip_member *member,
                        const unsigned char *extra, size_t size)
{
    uint64_t *const fields[] = { &member->size, &member->packed, &member->header };

    while (size >= 4) {
        const size_t length = pawl_u16(extra + 2);
        if (length > size - 4) break;
        if (pawl_u16(extra) == 1) {
            size_t at = 4;
            for (int i = 0; i < 3; i++)
                if (*fields[i] == ALL_ONES && at + 8 <= 4 + length) {
                    *fields[i] = pawl_u64(extra + at);
                    at += 8;
                }
            return 0;
        }
        extra += 4 + length;
        size -= 4 + length;
    }
    return size ? fail(zip, "member '%.80s' has a damaged extra field", member->name) : 0;
}

static int check_kind(const struct pawl_zip *zip, const struct pawl_zip_member *member,
                      unsigned flags)
{
    if (flags & (FLAG_ENCRYPTED | FLAG_STRONG | FLAG_MASKED))
        return fail(zip, "member '%.80s' is encrypted", member->name);
    if (member->method != PAWL_ZIP_STORED && member->method != PAWL_ZIP_DEFLATED)
        return fail(zip, "member '%.80s' is compressed by method %d; only stored and deflate are "
                    "known", member->name, member->method);
    if (member->method == PAWL_ZIP_STORED && member->packed != member->size)
        return fail(zip, "member '%.80s' is stored as %llu bytes, but said to be %llu",
                    member->name, (unsigned long long)member->packed,
                    (unsigned long long)member->size);
    // Deflate makes at most 1,032 bytes of one (zlib's documentation). Above 4 GiB, as Keras does,
    // 100 is suspicion enough.
    const uint64_t ratio = member->size >> 32 ? 100 : 1032;
    if (member->method == PAWL_ZIP_DEFLATED && member->size / ratio > member->packed + 64)
        return fail(zip, "member '%.80s' is said to expand from %llu to %llu bytes: too large to "
                    "be true", member->name, (unsigned long long)member->packed,
                    (unsigned long long)member->size);
    return 0;
}

static int check_local(const struct reader *r, struct pawl_zip_member *member)
{
    const struct pawl_zip *zip = r->zip;
    unsigned char local[LOCAL_BYTES];
    char name[NAME_BYTES_MAX];
    const size_t length = strlen(member->name);

    if (member->header > r->directory || r->directory - member->header < LOCAL_BYTES + length)
        return fail(zip, "member '%.80s' begins at byte %llu, beyond the archive's members",
                    member->name, (unsigned long long)(r->start + member->header));
    int rc = read_at(r, member->header, local, sizeof(local));
    if (!rc) rc = read_at(r, member->header + LOCAL_BYTES, name, length);
    if (rc) return rc;
    const unsigned flags = pawl_u16(local + 6);
    if (pawl_u32(local) != LOCAL || pawl_u16(local + 26) != length
        || memcmp(name, member->name, length) || pawl_u16(local + 8) != member->method)
        return fail(zip, "member '%.80s': its local header at byte %llu differs from the central "
                    "directory (name or method)", member->name,
                    (unsigned long long)(r->start + member->header));
    if (flags & (FLAG_ENCRYPTED | FLAG_STRONG))
        return fail(zip, "member '%.80s' is encrypted", member->name);
    const uint32_t packed = pawl_u32(local + 18), size = pawl_u32(local + 22);
    if (!(flags & FLAG_DESCRIPTOR)
        && (pawl_u32(local + 14) != member->crc || (packed != ALL_ONES && packed != member->packed)
            || (size != ALL_ONES && size != member->size)))
        return fail(zip, "member '%.80s': its local header at byte %llu differs from the central "
                    "directory (size or CRC)", member->name,
                    (unsigned long long)(r->start + member->header));
    member->offset = member->header + LOCAL_BYTES + length + pawl_u16(local + 28);
    if (member->offset > r->directory || member->packed > r->directory - member->offset)
        return fail(zip, "member '%.80s' of %llu bytes reaches beyond the archive's members: "
                    "truncated", member->name, (unsigned long long)member->packed);
    return 0;
}

// ---- the directory

// The name becomes a string: the byte behind it is only needed once, and read by the caller before.
static int take_member(struct reader *r, unsigned char *at, size_t left, size_t *used)
{
    struct pawl_zip *zip = r->zip;
    struct pawl_zip_member *member = &zip->members[zip->count];

    if (left < CENTRAL_BYTES || pawl_u32(at) != CENTRAL)
        return fail(zip, "the central directory is damaged at member %d", zip->count);
    const size_t name = pawl_u16(at + 28), extra = pawl_u16(at + 30);
    *used = CENTRAL_BYTES + name + extra + pawl_u16(at + 32);
    if (*used > left) return fail(zip, "the central directory ends inside member %d", zip->count);
    *member = (struct pawl_zip_member){
        .name = (char *)at, .method = pawl_u16(at + 10), .crc = pawl_u32(at + 16),
        .packed = pawl_u32(at + 20), .size = pawl_u32(at + 24), .header = pawl_u32(at + 42),
    };
    const unsigned flags = pawl_u16(at + 8);
    const bool link = at[5] == MADE_BY_UNIX && (pawl_u32(at + 38) >> 16 & S_IFMT) == S_IFLNK;
    if (pawl_u16(at + 34)) return fail(zip, "an archive over several disks");
    // The name moves over the fields already taken, which leaves room for the zero behind it.
    memmove(at, at + CENTRAL_BYTES, name);
    at[name] = 0;
    int rc = check_name(zip, member->name, name);
    if (!rc) rc = take_extra64(zip, member, at + CENTRAL_BYTES + name, extra);
    // Nothing is extracted, so a link would only be a few odd bytes; but no writer makes one.
    if (!rc && link)
        rc = fail(zip, "member '%.80s' is a symbolic link", member->name);
    if (!rc) rc = check_kind(zip, member, flags);
    if (!rc) rc = check_local(r, member);
    if (!rc) zip->count++;
    return rc;
}

static int take_members(struct reader *r)
{
    struct pawl_zip *zip = r->zip;
    unsigned char *at = (unsigned char *)zip->directory;
    size_t left = (size_t)r->directory_bytes, used = 0;
    int rc = 0;

    for (uint64_t i = 0; i < r->count && !rc; i++) {
        rc = take_member(r, at, left, &used);
        at += used;
        left -= used;
    }
    if (!rc && left) rc = fail(zip, "%zu bytes of the central directory belong to no member", left);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct pawl_zip_member *const *)a)->name,
                  (*(struct pawl_zip_member *const *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const struct pawl_zip_member *x = *(struct pawl_zip_member *const *)a;
    const struct pawl_zip_member *y = *(struct pawl_zip_member *const *)b;

    return x->header < y->header ? -1 : x->header > y->header;
}

// No two members share a byte, the first is at the start, and no name occurs twice.
static int check_members(const struct reader *r)
{
    struct pawl_zip *zip = r->zip;
    struct pawl_zip_member **sorted = zip->sorted;
    uint64_t end = 0;

    for (int i = 0; i < zip->count; i++)
        sorted[i] = &zip->members[i];
    qsort(sorted, (size_t)zip->count, sizeof(*sorted), by_place);
    if (zip->count ? sorted[0]->header != 0 : r->directory != 0)
        return fail(zip, "bytes stand before the first member: a prefix");
    for (int i = 0; i < zip->count; i++) {
        if (sorted[i]->header < end)
            return fail(zip, "members '%.80s' and '%.80s' overlap", sorted[i - 1]->name,
                        sorted[i]->name);
        end = sorted[i]->offset + sorted[i]->packed;
    }
    qsort(sorted, (size_t)zip->count, sizeof(*sorted), by_name);
    for (int i = 1; i < zip->count; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return fail(zip, "two members are called '%.80s': a duplicate name", sorted[i]->name);
    return 0;
}

static int open_reader(struct reader *r)
{
    struct pawl_zip *zip = r->zip;

    int rc = find_end(r);
    if (!rc) rc = check_end(r);
    if (!rc) rc = pawl_alloc(&zip->directory, (size_t)r->directory_bytes + 1, "a zip directory");
    if (!rc) rc = read_at(r, r->directory, zip->directory, (size_t)r->directory_bytes);
    if (!rc)
        rc = pawl_alloc(&zip->members, sizeof(*zip->members) * ((size_t)r->count + 1),
                        "a zip directory");
    if (!rc)
        rc = pawl_alloc(&zip->sorted, sizeof(*zip->sorted) * ((size_t)r->count + 1),
                        "a zip directory");
    if (!rc) rc = take_members(r);
    if (!rc) rc = check_members(r);
    for (int i = 0; i < zip->count && !rc; i++) {  // from here on, places in the file
        zip->members[i].header += r->start;
        zip->members[i].offset += r->start;
    }
    return rc;
}

int pawl_zip_open(struct pawl_zip **out, struct pawl_document *document, int file,
                  const uint64_t range[2], const char *what)
{
    struct reader r = { .start = range[0], .size = range[1] };
    struct pawl_zip *zip = NULL;

    int rc = pawl_alloc(&zip, sizeof(*zip), "a zip archive");
    if (rc) return rc;
    zip->document = document;
    zip->file = file;
    snprintf(zip->what, sizeof(zip->what), "%s", what);
    r.zip = zip;
    rc = open_reader(&r);
    if (rc)
        pawl_zip_free(zip);
    else
        *out = zip;
    return rc;
}

void pawl_zip_free(struct pawl_zip *zip)
{
    if (!zip) return;
    pawl_free(zip->members);
    pawl_free(zip->sorted);
    pawl_free(zip->directory);
    pawl_free(zip);
}

const struct pawl_zip_member *pawl_zip_find(const struct pawl_zip *zip, const char *name)
{
    int low = 0, high = zip->count;

    while (low < high) {
        const int middle = low + (high - low) / 2;
        const int order = strcmp(zip->sorted[middle]->name, name);
        if (order == 0) return zip->sorted[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
