// zip_write.c - zip archives as torch and numpy read them: stored members, aligned payloads.

#include <isa-l/crc.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/bytes.h"
#include "checkpoint/containers/zip.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum {
    LOCAL_BYTES = 30, CENTRAL_BYTES = 46, END_BYTES = 22, END64_BYTES = 56, LOCATOR_BYTES = 20,
    EXTRA64_BYTES = 20, PAD_HEAD = 4,
    VERSION = 20, VERSION64 = 45, UTF8 = 1 << 11, JANUARY_1980 = 0x21,
};

static const uint32_t ALL_ONES = 0xffffffffu;

static int write_at(struct pawl_zip_writer *w, uint64_t offset, const void *bytes, size_t size)
{
    const int rc = pawl_io_write_all(w->fd, bytes, size, (off_t)(w->base + offset));

    return rc ? pawl_io_fail(rc, "write", w->path) : 0;
}

void pawl_zip_create(struct pawl_zip_writer *writer, int fd, const char *path, uint64_t base)
{
    *writer = (struct pawl_zip_writer){ .fd = fd, .path = path, .base = base };
}

static bool is_large(const struct pawl_zip_writer *w)
{
    return w->size >= ALL_ONES;
}

// Of the extra field of padding ("FB", as torch calls it), its 4 bytes of head included.
static size_t padding(const struct pawl_zip_writer *w)
{
    const uint64_t before = w->header + LOCAL_BYTES + strlen(w->name) + PAD_HEAD
                            + (is_large(w) ? EXTRA64_BYTES : 0);

    return PAD_HEAD + (size_t)((PAWL_ZIP_ALIGN - before % PAWL_ZIP_ALIGN) % PAWL_ZIP_ALIGN);
}

// What local and central headers have in common: from the version needed to the extra's length.
static void put_common(const struct pawl_zip_writer *w, unsigned char *at, size_t extra)
{
    pawl_put_le(at, is_large(w) ? VERSION64 : VERSION, 2);
    pawl_put_le(at + 2, UTF8, 2);
    pawl_put_le(at + 4, PAWL_ZIP_STORED, 2);
    pawl_put_le(at + 6, 0, 2);
    pawl_put_le(at + 8, JANUARY_1980, 2);
    pawl_put_le(at + 10, w->crc, 4);
    pawl_put_le(at + 14, is_large(w) ? ALL_ONES : w->size, 4);
    pawl_put_le(at + 18, is_large(w) ? ALL_ONES : w->size, 4);
    pawl_put_le(at + 22, strlen(w->name), 2);
    pawl_put_le(at + 24, extra, 2);
}

static int put_local(struct pawl_zip_writer *w)
{
    unsigned char head[LOCAL_BYTES + sizeof(w->name) + EXTRA64_BYTES + PAD_HEAD + PAWL_ZIP_ALIGN];
    const size_t name = strlen(w->name), pad = padding(w);
    unsigned char *at = head + LOCAL_BYTES + name;

    pawl_put_le(head, 0x04034b50, 4);
    put_common(w, head + 4, pad + (is_large(w) ? EXTRA64_BYTES : 0));
    memcpy(head + LOCAL_BYTES, w->name, name);
    if (is_large(w)) {
        pawl_put_le(at, 1, 2);
        pawl_put_le(at + 2, 16, 2);
        pawl_put_le(at + 4, w->size, 8);
        pawl_put_le(at + 12, w->size, 8);
        at += EXTRA64_BYTES;
    }
    memcpy(at, "FB", 2);
    pawl_put_le(at + 2, pad - PAD_HEAD, 2);
    memset(at + PAD_HEAD, 'Z', pad - PAD_HEAD);
    at += pad;
    return write_at(w, w->header, head, (size_t)(at - head));
}

int pawl_zip_begin(struct pawl_zip_writer *w, const char *name, uint64_t size)
{
    if (snprintf(w->name, sizeof(w->name), "%s", name) >= (int)sizeof(w->name))
        return pawl_fail(PAWL_EINVAL, "a member's name is longer than %zu bytes",
                         sizeof(w->name) - 1);
    w->header = w->at;
    w->size = w->left = size;
    w->crc = 0;
    w->at += LOCAL_BYTES + strlen(name) + padding(w) + (is_large(w) ? EXTRA64_BYTES : 0);
    return 0;
}

int pawl_zip_put(struct pawl_zip_writer *w, const void *bytes, size_t size)
{
    if (size > w->left)
        return pawl_fail(PAWL_EINVAL, "member '%s' gets more bytes than it was said to have",
                         w->name);
    w->crc = crc32_gzip_refl(w->crc, bytes, size);
    const int rc = write_at(w, w->at, bytes, size);
    w->at += size;
    w->left -= size;
    return rc;
}

static int put_central(struct pawl_zip_writer *w)
{
    unsigned char head[CENTRAL_BYTES] = { 0 }, extra[4 + 3 * 8];
    const size_t name = strlen(w->name);
    const bool far = w->header >= ALL_ONES;
    size_t extra_bytes = 4;

    if (is_large(w)) {
        pawl_put_le(extra + 4, w->size, 8);
        pawl_put_le(extra + 12, w->size, 8);
        extra_bytes += 16;
    }
    if (far) pawl_put_le(extra + extra_bytes, w->header, 8);
    extra_bytes += far ? 8 : 0;
    pawl_put_le(extra, 1, 2);
    pawl_put_le(extra + 2, extra_bytes - 4, 2);
    if (extra_bytes == 4) extra_bytes = 0;
    pawl_put_le(head, 0x02014b50, 4);
    pawl_put_le(head + 4, VERSION64, 2);
    put_common(w, head + 6, extra_bytes);
    pawl_put_le(head + 42, far ? ALL_ONES : w->header, 4);
    // Room for twice as much whenever it is full: a directory of n members copies at most 2 n.
    const size_t end = w->central_bytes + CENTRAL_BYTES + name + extra_bytes;
    size_t room = 4096;
    while (room < w->central_bytes)
        room *= 2;
    if (!w->central || end > room) {
        while (room < end)
            room *= 2;
        const int rc = pawl_realloc(&w->central, room, "a zip directory");
        if (rc) return rc;
    }
    memcpy(w->central + w->central_bytes, head, CENTRAL_BYTES);
    memcpy(w->central + w->central_bytes + CENTRAL_BYTES, w->name, name);
    if (extra_bytes)
        memcpy(w->central + w->central_bytes + CENTRAL_BYTES + name, extra, extra_bytes);
    w->central_bytes = end;
    w->count++;
    return 0;
}

int pawl_zip_end(struct pawl_zip_writer *w)
{
    if (w->left)
        return pawl_fail(PAWL_EINVAL, "member '%s' gets %llu bytes less than it was said to have",
                         w->name, (unsigned long long)w->left);
    const int rc = put_local(w);
    return rc ? rc : put_central(w);
}

int pawl_zip_add(struct pawl_zip_writer *writer, const char *name, const void *bytes, size_t size)
{
    int rc = pawl_zip_begin(writer, name, size);
    if (!rc) rc = pawl_zip_put(writer, bytes, size);
    return rc ? rc : pawl_zip_end(writer);
}

// The zip64 records are written always, as torch does: readers know them since 2001.
static int put_end(struct pawl_zip_writer *w, uint64_t directory)
{
    unsigned char end[END64_BYTES + LOCATOR_BYTES + END_BYTES] = { 0 };
    unsigned char *locator = end + END64_BYTES, *old = locator + LOCATOR_BYTES;

    pawl_put_le(end, 0x06064b50, 4);
    pawl_put_le(end + 4, END64_BYTES - 12, 8);
    pawl_put_le(end + 12, VERSION64, 2);
    pawl_put_le(end + 14, VERSION64, 2);
    pawl_put_le(end + 24, w->count, 8);
    pawl_put_le(end + 32, w->count, 8);
    pawl_put_le(end + 40, w->central_bytes, 8);
    pawl_put_le(end + 48, directory, 8);
    pawl_put_le(locator, 0x07064b50, 4);
    pawl_put_le(locator + 8, directory + w->central_bytes, 8);
    pawl_put_le(locator + 16, 1, 4);
    pawl_put_le(old, 0x06054b50, 4);
    pawl_put_le(old + 8, w->count < 0xffff ? w->count : 0xffff, 2);
    pawl_put_le(old + 10, w->count < 0xffff ? w->count : 0xffff, 2);
    pawl_put_le(old + 12, w->central_bytes < ALL_ONES ? w->central_bytes : ALL_ONES, 4);
    pawl_put_le(old + 16, directory < ALL_ONES ? directory : ALL_ONES, 4);
    const int rc = write_at(w, w->at, end, sizeof(end));
    w->at += sizeof(end);
    return rc;
}

int pawl_zip_finish(struct pawl_zip_writer *w, uint64_t *bytes)
{
    const uint64_t directory = w->at;

    int rc = write_at(w, w->at, w->central, w->central_bytes);
    w->at += w->central_bytes;
    if (!rc) rc = put_end(w, directory);
    if (!rc && bytes) *bytes = w->at;
    pawl_zip_abandon(w);
    return rc;
}

void pawl_zip_abandon(struct pawl_zip_writer *writer)
{
    pawl_free(writer->central);
    writer->central = NULL;
}
