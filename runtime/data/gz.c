// gz.c - see gz.h.

#include "runtime/data/gz.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/source.h"

enum { PIECE = 65536, GZIP_WINDOW = 15 + 16 };

// Deflate cannot do better than 1032 to 1: 258 bytes from 2 bits (zlib's technical notes).
enum { RATIO_MAX = 1032 };

struct pawl_gz {
    char *path;
    int fd;
    uint64_t file_bytes, at;  // at: next byte to read from the file
    uint64_t made;            // bytes given to the caller, for words
    bool packed, inflating, ended;
    z_stream stream;
    uint8_t piece[PIECE];
};

static void *zlib_alloc(void *unused, unsigned items, unsigned size)
{
    void *memory = NULL;
    (void)unused;

    pawl_alloc(&memory, (size_t)items * size, "zlib");
    return memory;
}

static void zlib_free(void *unused, void *memory)
{
    (void)unused;
    pawl_free(memory);
}

void pawl_gz_close(struct pawl_gz *gz)
{
    if (!gz)
        return;
    if (gz->inflating)
        inflateEnd(&gz->stream);
    if (gz->fd >= 0)
        pawl_io()->close(gz->fd);
    pawl_free(gz->path);
    pawl_free(gz);
}

static int begin(struct pawl_gz *gz)
{
    uint8_t magic[2] = { 0 };

    if (!gz->file_bytes)
        return pawl_fail(PAWL_ECORRUPT, "%s: is empty", gz->path);
    const size_t seen = gz->file_bytes < 2 ? 1 : 2;
    const int rc = pawl_source_read(gz->fd, gz->path, magic, seen, 0);
    if (rc)
        return rc;
    gz->packed = magic[0] == 0x1f && magic[1] == 0x8b;
    if (!gz->packed)
        return 0;
    gz->stream.zalloc = zlib_alloc;
    gz->stream.zfree = zlib_free;
    if (inflateInit2(&gz->stream, GZIP_WINDOW) != Z_OK)
        return pawl_fail(PAWL_ENOMEM, "%s: no memory to unpack it", gz->path);
    gz->inflating = true;
    return 0;
}

int pawl_gz_open(struct pawl_gz **out, const char *path)
{
    struct pawl_gz *gz;

    int rc = pawl_alloc(&gz, sizeof(*gz), "gzip reader");
    if (rc)
        return rc;
    gz->fd = -1;
    rc = pawl_strdup(&gz->path, path);
    if (!rc)
        rc = pawl_source_open_file(&gz->fd, &gz->file_bytes, path);
    if (!rc)
        rc = begin(gz);
    if (rc) {
        pawl_gz_close(gz);
        return rc;
    }
    *out = gz;
    return 0;
}

uint64_t pawl_gz_file_bytes(const struct pawl_gz *gz)
{
    return gz->file_bytes;
}

uint64_t pawl_gz_most_bytes(const struct pawl_gz *gz)
{
    return gz->packed ? gz->file_bytes * RATIO_MAX : gz->file_bytes;
}

static int too_short(const struct pawl_gz *gz)
{
    return pawl_fail(PAWL_ECORRUPT, "%s: ends at byte %llu%s: it was cut short", gz->path,
                     (unsigned long long)gz->made, gz->packed ? " of what it unpacks to" : "");
}

static int refill(struct pawl_gz *gz)
{
    const uint64_t left = gz->file_bytes - gz->at;
    const size_t bytes = left < PIECE ? (size_t)left : PIECE;

    if (!bytes)
        return too_short(gz);
    const int rc = pawl_source_read(gz->fd, gz->path, gz->piece, bytes, gz->at);
    if (rc)
        return rc;
    gz->at += bytes;
    gz->stream.next_in = gz->piece;
    gz->stream.avail_in = (unsigned)bytes;
    return 0;
}

// Unpacks until the output is full or the stream has ended.
static int unpack(struct pawl_gz *gz)
{
    while (gz->stream.avail_out && !gz->ended) {
        if (!gz->stream.avail_in) {
            const int rc = refill(gz);
            if (rc)
                return rc;
        }
        const unsigned before = gz->stream.avail_out;
        const int status = inflate(&gz->stream, Z_NO_FLUSH);
        gz->made += before - gz->stream.avail_out;
        if (status == Z_STREAM_END)
            gz->ended = true;
        if (status == Z_MEM_ERROR)
            return pawl_fail(PAWL_ENOMEM, "%s: no memory to unpack it", gz->path);
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            return pawl_fail(PAWL_ECORRUPT, "%s: damaged near byte %llu (%s)", gz->path,
                             (unsigned long long)(gz->at - gz->stream.avail_in),
                             gz->stream.msg ? gz->stream.msg : "no gzip data");
    }
    return 0;
}

int pawl_gz_read(struct pawl_gz *gz, void *out, size_t bytes)
{
    if (!gz->packed) {
        if (bytes > gz->file_bytes - gz->at) {
            gz->made = gz->file_bytes;
            return too_short(gz);
        }
        const int rc = pawl_source_read(gz->fd, gz->path, out, bytes, gz->at);
        if (!rc)
            gz->at += bytes;
        return rc;
    }
    for (size_t done = 0; done < bytes;) {
        const size_t part = bytes - done < INT_MAX ? bytes - done : INT_MAX;
        gz->stream.next_out = (uint8_t *)out + done;
        gz->stream.avail_out = (unsigned)part;
        const int rc = unpack(gz);
        if (rc)
            return rc;
        if (gz->stream.avail_out)
            return too_short(gz);
        done += part;
    }
    return 0;
}

int pawl_gz_end(struct pawl_gz *gz)
{
    uint8_t extra;

    if (!gz->packed && gz->at < gz->file_bytes)
        return pawl_fail(PAWL_ECORRUPT, "%s: has %llu bytes more than its header says", gz->path,
                         (unsigned long long)(gz->file_bytes - gz->at));
    if (!gz->packed)
        return 0;
    // Only at its end does the stream check what it unpacked; one more byte would be one too many.
    gz->stream.next_out = &extra;
    gz->stream.avail_out = 1;
    const int rc = unpack(gz);
    if (rc)
        return rc;
    if (!gz->stream.avail_out)
        return pawl_fail(PAWL_ECORRUPT, "%s: unpacks to more than its header says", gz->path);
    if (gz->stream.avail_in || gz->at < gz->file_bytes)
        return pawl_fail(PAWL_ECORRUPT, "%s: something follows the compressed data at byte %llu",
                         gz->path, (unsigned long long)(gz->at - gz->stream.avail_in));
    return 0;
}
