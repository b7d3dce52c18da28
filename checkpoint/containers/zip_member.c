// zip_member.c - the payload of a zip member: inflated and checked as it is read.

#include <isa-l/crc.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "checkpoint/containers/zip.h"
#include "kernels/memory.h"

enum { CHUNK_BYTES = 1 << 16 };

// One reader's way through a member. Reads in order feed the CRC; a read elsewhere, while nothing
// is known of the member yet, checks it from its start to its end first.
struct stream {
    const struct pawl_document *document;
    char *what;  // "FILE: member 'NAME'"
    int file;
    struct pawl_zip_member member;  // its name is not used: the directory may be gone
    bool checked;     // the CRC was found right
    bool eager;       // check before anything is given out
    uint64_t at;      // the next byte in order
    uint32_t crc;     // of the bytes before it
    uint64_t packed_at;
    struct inflating {
        z_stream z;
        bool ended;  // its last byte was given out
        unsigned char in[CHUNK_BYTES];
    } *inflating;     // while the bytes in order are being inflated
};

static int damaged(const struct stream *s, const char *why)
{
    return pawl_fail(PAWL_ECORRUPT, "%s: %s", s->what, why);
}

static void end_inflate(struct stream *s)
{
    if (s->inflating) inflateEnd(&s->inflating->z);
    pawl_free(s->inflating);
    s->inflating = NULL;
}

static int rewind_stream(struct stream *s)
{
    end_inflate(s);
    s->at = s->packed_at = 0;
    s->crc = 0;
    if (s->member.method == PAWL_ZIP_STORED) return 0;
    const int rc = pawl_alloc(&s->inflating, sizeof(*s->inflating), "a zip member");
    if (rc || inflateInit2(&s->inflating->z, -15) == Z_OK) return rc;
    pawl_free(s->inflating);
    s->inflating = NULL;
    return pawl_fail(PAWL_ENOMEM, "no memory to inflate %s", s->what);
}

static int refill(struct stream *s)
{
    const uint64_t left = s->member.packed - s->packed_at;
    const size_t now = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;

    const int rc = pawl_document_read_at(s->document, s->file, s->member.offset + s->packed_at,
                                         s->inflating->in, now);
    s->packed_at += now;
    s->inflating->z.next_in = s->inflating->in;
    s->inflating->z.avail_in = (uInt)now;
    return rc;
}

static int inflate_some(struct stream *s, unsigned char *out, size_t size)
{
    z_stream *z = &s->inflating->z;
    int rc = 0;

    z->next_out = out;
    z->avail_out = (uInt)size;
    while (z->avail_out && !rc) {
        // The last byte may be inside zlib already, and still stand for a thousand to come.
        if (!z->avail_in && s->packed_at < s->member.packed) rc = refill(s);
        if (rc) break;
        const int status = inflate(z, Z_NO_FLUSH);
        s->inflating->ended = status == Z_STREAM_END;
        if (s->inflating->ended && z->avail_out)
            rc = damaged(s, "its deflated data give fewer bytes than it is said to have");
        else if (status == Z_BUF_ERROR)
            rc = damaged(s, "its deflated data end too early: truncated");
        else if (status != Z_OK && status != Z_STREAM_END)
            rc = damaged(s, "its deflated data are damaged");
    }
    return rc;
}

// That nothing comes after the last byte is part of what the sizes say.
static int check_end(struct stream *s)
{
    unsigned char more;
    int status = Z_OK;
    int rc = 0;

    if (s->inflating) {
        z_stream *z = &s->inflating->z;
        if (s->inflating->ended) status = Z_STREAM_END;
        z->next_out = &more;
        z->avail_out = 1;
        while (!rc && status == Z_OK && z->avail_out) {
            if (!z->avail_in && s->packed_at < s->member.packed) rc = refill(s);
            if (!rc) status = inflate(z, Z_NO_FLUSH);
        }
        if (!rc && (status != Z_STREAM_END || z->avail_in || s->packed_at < s->member.packed))
            rc = damaged(s, "its deflated data give other bytes than it is said to have");
        end_inflate(s);
    }
    if (rc) return rc;
    if (!s->checked && s->member.crc && s->crc != s->member.crc)
        return damaged(s, "its bytes do not give the CRC-32 that the archive records: damaged");
    s->checked = true;
    return 0;
}

// The next size bytes in order.
static int next(struct stream *s, void *out, size_t size)
{
    int rc = 0;

    if (s->at == 0) rc = rewind_stream(s);
    if (!rc && s->member.method == PAWL_ZIP_STORED)
        rc = pawl_document_read_at(s->document, s->file, s->member.offset + s->at, out, size);
    for (size_t done = 0; !rc && s->member.method == PAWL_ZIP_DEFLATED && done < size;) {
        const size_t now = size - done < (1 << 30) ? size - done : 1 << 30;
        rc = inflate_some(s, (unsigned char *)out + done, now);
        done += now;
    }
    if (rc) return rc;
    if (!s->checked) s->crc = crc32_gzip_refl(s->crc, out, size);
    s->at += size;
    return s->at == s->member.size ? check_end(s) : 0;
}

// Reads on to byte offset, from the start if that is behind.
static int seek(struct stream *s, uint64_t offset)
{
    unsigned char *scratch = NULL;
    int rc = 0;

    if (offset == s->at && (s->inflating || s->at == 0)) return 0;
    if (offset < s->at || !s->inflating) s->at = 0;
    rc = pawl_alloc(&scratch, CHUNK_BYTES, "a chunk");
    while (!rc && s->at < offset) {
        const uint64_t left = offset - s->at;
        rc = next(s, scratch, left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES);
    }
    pawl_free(scratch);
    return rc;
}

static int read_stream(void *context, uint64_t offset, void *out, size_t size)
{
    struct stream *s = context;
    int rc = 0;

    if (!size && s->member.size) return 0;
    if (!s->checked && (offset != s->at || s->eager)) rc = seek(s, s->member.size);
    if (rc) return rc;
    if (s->checked && s->member.method == PAWL_ZIP_STORED)
        return pawl_document_read_at(s->document, s->file, s->member.offset + offset, out, size);
    if (s->member.method == PAWL_ZIP_DEFLATED) rc = seek(s, offset);
    return rc ? rc : next(s, out, size);
}

static void free_stream(void *context)
{
    struct stream *s = context;

    end_inflate(s);
    pawl_free(s->what);
    pawl_free(s);
}

static int open_stream(struct stream **out, const struct pawl_zip *zip,
                       const struct pawl_zip_member *member)
{
    struct stream *s = NULL;
    char what[4400];

    snprintf(what, sizeof(what), "%s: member '%.150s'", zip->what, member->name);
    int rc = pawl_alloc(&s, sizeof(*s), "a zip member");
    if (rc) return rc;
    rc = pawl_strdup(&s->what, what);
    if (rc) {
        pawl_free(s);
        return rc;
    }
    s->document = zip->document;
    s->file = zip->file;
    s->member = *member;
    *out = s;
    return 0;
}

int pawl_zip_load(const struct pawl_zip *zip, const struct pawl_zip_member *member, size_t most,
                  char **out, size_t *size)
{
    struct stream *s = NULL;
    char *bytes = NULL;

    if (member->size > most)
        return pawl_fail(PAWL_ECORRUPT, "%s: member '%.150s' has %llu bytes, more than the %zu "
                         "that are read", zip->what, member->name,
                         (unsigned long long)member->size, most);
    int rc = open_stream(&s, zip, member);
    if (!rc) rc = pawl_alloc(&bytes, (size_t)member->size + 1, "a zip member");
    if (!rc) rc = next(s, bytes, (size_t)member->size);
    if (s) free_stream(s);
    if (rc) {
        pawl_free(bytes);
        return rc;
    }
    *out = bytes;
    if (size) *size = (size_t)member->size;
    return 0;
}

int pawl_zip_file(const struct pawl_zip *zip, const struct pawl_zip_member *member, bool whole,
                  int *file)
{
    struct pawl_made made = { .size_bytes = member->size, .read = read_stream,
                              .free = free_stream };
    struct stream *s = NULL;

    int rc = open_stream(&s, zip, member);
    if (rc) return rc;
    s->eager = !whole;
    made.context = s;
    rc = pawl_document_add_made(zip->document, zip->what, &made, file);
    if (rc) free_stream(s);
    return rc;
}
