// protobuf.c - fields of protocol buffers, in and out.

#include "checkpoint/containers/protobuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { VARINT_MAX = 10, NUMBER_MAX = (1 << 29) - 1 };

void pawl_pb_open(struct pawl_pb *in, const void *bytes, size_t size, const char *what,
                  uint64_t base)
{
    *in = (struct pawl_pb){ .bytes = bytes, .size = size, .what = what, .base = base };
}

int pawl_pb_fail(const struct pawl_pb *in, size_t at, const char *format, ...)
{
    char words[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_ECORRUPT, "%s: byte %llu: %s", in->what,
                     (unsigned long long)(in->base + at), words);
}

int pawl_pb_varint(struct pawl_pb *in, uint64_t *value)
{
    const size_t start = in->at;
    uint64_t sum = 0;

    for (int i = 0; i < VARINT_MAX; i++) {
        if (in->at == in->size) return pawl_pb_fail(in, start, "truncated: a number ends early");
        const unsigned char byte = in->bytes[in->at++];
        // The tenth byte has room for one bit.
        if (i == VARINT_MAX - 1 && byte > 1) break;
        sum |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (byte < 0x80) {
            *value = sum;
            return 0;
        }
    }
    return pawl_pb_fail(in, start, "a number has more than 64 bits");
}

static int take_fixed(struct pawl_pb *in, struct pawl_pb_field *field, size_t size)
{
    if (in->size - in->at < size)
        return pawl_pb_fail(in, field->start, "truncated: field %u ends early", field->number);
    for (size_t i = 0; i < size; i++)
        field->value |= (uint64_t)in->bytes[in->at + i] << 8 * i;
    in->at += size;
    return 0;
}

static int take_bytes(struct pawl_pb *in, struct pawl_pb_field *field)
{
    uint64_t size = 0;

    const int rc = pawl_pb_varint(in, &size);
    if (rc) return rc;
    if (size > in->size - in->at)
        return pawl_pb_fail(in, field->start, "truncated: field %u has %llu bytes, but %zu are "
                            "left", field->number, (unsigned long long)size, in->size - in->at);
    field->bytes = in->bytes + in->at;
    field->size = (size_t)size;
    in->at += field->size;
    return 0;
}

int pawl_pb_next(struct pawl_pb *in, struct pawl_pb_field *field)
{
    uint64_t tag = 0;

    *field = (struct pawl_pb_field){ .start = in->at };
    if (in->at == in->size) return 0;
    const int rc = pawl_pb_varint(in, &tag);
    if (rc) return rc;
    if (tag >> 3 < 1 || tag >> 3 > NUMBER_MAX)
        return pawl_pb_fail(in, field->start, "no protocol buffer: a field's number is 0 or too "
                            "large");
    field->number = (uint32_t)(tag >> 3);
    field->type = (enum pawl_pb_type)(tag & 7);
    switch (tag & 7) {
    case PAWL_PB_VARINT: return pawl_pb_varint(in, &field->value);
    case PAWL_PB_FIXED64: return take_fixed(in, field, 8);
    case PAWL_PB_BYTES: return take_bytes(in, field);
    case PAWL_PB_FIXED32: return take_fixed(in, field, 4);
    default:
        return pawl_pb_fail(in, field->start, "field %u is of wire type %d, which is not read",
                            field->number, (int)(tag & 7));
    }
}

static int want(const struct pawl_pb *in, const struct pawl_pb_field *field,
                enum pawl_pb_type type, const char *name)
{
    if (field->type == type) return 0;
    return pawl_pb_fail(in, field->start, "field %u is not %s", field->number, name);
}

int pawl_pb_enter(const struct pawl_pb *in, const struct pawl_pb_field *field,
                  struct pawl_pb *message)
{
    const int rc = want(in, field, PAWL_PB_BYTES, "a message");

    if (rc) return rc;
    pawl_pb_open(message, field->bytes, field->size, in->what,
                 in->base + (uint64_t)(field->bytes - in->bytes));
    return 0;
}

int pawl_pb_int(const struct pawl_pb *in, const struct pawl_pb_field *field, int64_t *out)
{
    const int rc = want(in, field, PAWL_PB_VARINT, "a number");

    if (!rc) *out = (int64_t)field->value;
    return rc;
}

int pawl_pb_fixed32(const struct pawl_pb *in, const struct pawl_pb_field *field, uint32_t *out)
{
    const int rc = want(in, field, PAWL_PB_FIXED32, "a number of four bytes");

    if (!rc) *out = (uint32_t)field->value;
    return rc;
}

int pawl_pb_string(const struct pawl_pb *in, const struct pawl_pb_field *field, char *out,
                   size_t room)
{
    const int rc = want(in, field, PAWL_PB_BYTES, "text");

    if (rc) return rc;
    if (field->size >= room)
        return pawl_pb_fail(in, field->start, "a name of %zu bytes; %zu are allowed", field->size,
                            room - 1);
    if (memchr(field->bytes, 0, field->size))
        return pawl_pb_fail(in, field->start, "a name holds a NUL");
    memcpy(out, field->bytes, field->size);
    out[field->size] = 0;
    return 0;
}

// ---- writing

static size_t encode(unsigned char out[VARINT_MAX], uint64_t value)
{
    size_t size = 0;

    for (; value > 0x7f; value >>= 7)
        out[size++] = (unsigned char)(value | 0x80);
    out[size++] = (unsigned char)value;
    return size;
}

void pawl_pb_put_varint(struct pawl_text *out, uint64_t value)
{
    unsigned char bytes[VARINT_MAX];

    pawl_text_add(out, bytes, encode(bytes, value));
}

static void tag(struct pawl_text *out, uint32_t number, enum pawl_pb_type type)
{
    pawl_pb_put_varint(out, (uint64_t)number << 3 | type);
}

void pawl_pb_put_int(struct pawl_text *out, uint32_t number, int64_t value)
{
    tag(out, number, PAWL_PB_VARINT);
    pawl_pb_put_varint(out, (uint64_t)value);
}

void pawl_pb_put_fixed32(struct pawl_text *out, uint32_t number, uint32_t value)
{
    unsigned char bytes[4];

    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    tag(out, number, PAWL_PB_FIXED32);
    pawl_text_add(out, bytes, sizeof(bytes));
}

void pawl_pb_put_bytes(struct pawl_text *out, uint32_t number, const void *bytes, size_t size)
{
    tag(out, number, PAWL_PB_BYTES);
    pawl_pb_put_varint(out, size);
    pawl_text_add(out, bytes, size);
}

void pawl_pb_put_string(struct pawl_text *out, uint32_t number, const char *string)
{
    pawl_pb_put_bytes(out, number, string, strlen(string));
}

size_t pawl_pb_begin(struct pawl_text *out, uint32_t number)
{
    tag(out, number, PAWL_PB_BYTES);
    return out->size;
}

// The length goes before what is already there, so that moves up by the length's own bytes.
void pawl_pb_end(struct pawl_text *out, size_t begin)
{
    unsigned char bytes[VARINT_MAX];

    if (out->rc) return;
    const size_t size = out->size - begin, length = encode(bytes, size);
    pawl_text_add(out, bytes, length);
    if (out->rc) return;
    memmove(out->bytes + begin + length, out->bytes + begin, size);
    memcpy(out->bytes + begin, bytes, length);
}
