// snappy.c - the decoder, bounded on both sides.

#include "checkpoint/containers/snappy.h"

#include <stdint.h>
#include <string.h>

enum { EXPANSION_MAX = 64 / 3 + 1 };

// Where the elements begin, or 0.
static size_t head(size_t *length, const unsigned char *in, size_t in_size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < in_size && i < 5; i++) {
        value |= (uint64_t)(in[i] & 0x7f) << 7 * i;
        if (in[i] >= 0x80) continue;
        *length = (size_t)value;
        return value <= UINT32_MAX ? i + 1 : 0;
    }
    return 0;
}

int pawl_snappy_length(size_t *out, const unsigned char *in, size_t in_size)
{
    size_t length = 0;

    if (!head(&length, in, in_size)) return pawl_fail(PAWL_ECORRUPT, "snappy: no length");
    if (length / EXPANSION_MAX > in_size)
        return pawl_fail(PAWL_ECORRUPT, "snappy: %zu bytes cannot expand to %zu", in_size, length);
    *out = length;
    return 0;
}

static uint32_t little(const unsigned char *bytes, size_t size)
{
    uint32_t value = 0;

    for (size_t i = 0; i < size; i++)
        value |= (uint32_t)bytes[i] << 8 * i;
    return value;
}

int pawl_snappy_decode(unsigned char *out, size_t out_size, const unsigned char *in,
                       size_t in_size)
{
    // Bytes after the first one, by its low bits; for literals see below.
    static const size_t extra[4] = { 0, 1, 2, 4 };
    size_t length = 0, done = 0;
    size_t at = head(&length, in, in_size);

    if (!at || length != out_size) return pawl_fail(PAWL_ECORRUPT, "snappy: no length");
    while (at < in_size) {
        const unsigned char first = in[at++];
        const int kind = first & 3;
        size_t count = (size_t)(first >> 2) + 1;
        size_t more = extra[kind];

        if (kind == 0 && count > 60) more = count - 60;
        if (more > in_size - at) return pawl_fail(PAWL_ECORRUPT, "snappy: truncated");
        const size_t value = little(in + at, more);
        at += more;
        if (kind == 0) {
            if (more) count = value + 1;
            if (count > in_size - at || count > out_size - done)
                return pawl_fail(PAWL_ECORRUPT, "snappy: a literal of %zu bytes is too long",
                                 count);
            memcpy(out + done, in + at, count);
            at += count;
            done += count;
            continue;
        }
        const size_t offset = kind == 1 ? (size_t)(first >> 5) << 8 | value : value;
        if (kind == 1) count = (first >> 2 & 7) + 4;
        if (offset == 0 || offset > done || count > out_size - done)
            return pawl_fail(PAWL_ECORRUPT, "snappy: a copy reaches outside");
        for (; count; count--, done++)  // byte by byte: a copy may overlap itself
            out[done] = out[done - offset];
    }
    return done == out_size ? 0 : pawl_fail(PAWL_ECORRUPT, "snappy: %zu of %zu bytes", done,
                                            out_size);
}
