// protobuf.h - the wire format of protocol buffers: bounded reading of fields, and writing.
//
//     struct pawl_pb in, sub;
//     struct pawl_pb_field field;
//     pawl_pb_open(&in, bytes, size, "saved_model.pb", 0);
//     while (!(rc = pawl_pb_next(&in, &field)) && field.number)
//         if (field.number == 2 && !(rc = pawl_pb_enter(&in, &field, &sub))) ...
//
// A field is {varint of number << 3 | type, value}; types 0 varint, 1 eight bytes, 2 a length and
// its bytes, 5 four bytes. The groups of old (3 and 4) are refused. A message inside is entered by
// the caller, to the depth that his messages have, so nothing recurses on input.
//
// Memory: none; fields point into the bytes. Writing goes into a pawl_text, which latches failures.
// Source: protobuf.dev/programming-guides/encoding.

#ifndef PAWL_PROTOBUF_H
#define PAWL_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "checkpoint/text.h"

enum pawl_pb_type { PAWL_PB_VARINT, PAWL_PB_FIXED64, PAWL_PB_BYTES, PAWL_PB_FIXED32 = 5 };

struct pawl_pb {
    const unsigned char *bytes;
    size_t size, at;
    const char *what;  // begins every failure's words
    uint64_t base;     // where in the file the bytes begin, for the words
};

struct pawl_pb_field {
    uint32_t number;  // 0: the message has ended
    enum pawl_pb_type type;
    uint64_t value;              // of a varint, fixed64 or fixed32
    const unsigned char *bytes;  // of PAWL_PB_BYTES
    size_t size;
    size_t start;  // where in the message the field began
};

// what is borrowed.
void pawl_pb_open(struct pawl_pb *in, const void *bytes, size_t size, const char *what,
                  uint64_t base);
// 0, or PAWL_ECORRUPT ("WHAT: byte N: why").
int pawl_pb_next(struct pawl_pb *in, struct pawl_pb_field *field);
// A varint alone, as in packed fields; at the end of the bytes: PAWL_ECORRUPT.
int pawl_pb_varint(struct pawl_pb *in, uint64_t *value);

// Each of these holds a field just returned by next to a type; PAWL_ECORRUPT when it has another.
int pawl_pb_enter(const struct pawl_pb *in, const struct pawl_pb_field *field,
                  struct pawl_pb *message);
int pawl_pb_int(const struct pawl_pb *in, const struct pawl_pb_field *field, int64_t *out);
int pawl_pb_fixed32(const struct pawl_pb *in, const struct pawl_pb_field *field, uint32_t *out);
// Copies text as a zero-terminated string into out[room]. Refuses what does not fit, and NUL.
int pawl_pb_string(const struct pawl_pb *in, const struct pawl_pb_field *field, char *out,
                   size_t room);
// PAWL_ECORRUPT with "WHAT: byte N: words" about the message's byte `at`.
int pawl_pb_fail(const struct pawl_pb *in, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// ---- writing: appends one field. Zero and empty values are written too; proto3 leaves them out.

void pawl_pb_put_varint(struct pawl_text *out, uint64_t value);  // without a tag
void pawl_pb_put_int(struct pawl_text *out, uint32_t number, int64_t value);
void pawl_pb_put_fixed32(struct pawl_text *out, uint32_t number, uint32_t value);
void pawl_pb_put_bytes(struct pawl_text *out, uint32_t number, const void *bytes, size_t size);
void pawl_pb_put_string(struct pawl_text *out, uint32_t number, const char *string);
// A message field: what is added between begin and end is its content.
size_t pawl_pb_begin(struct pawl_text *out, uint32_t number);
void pawl_pb_end(struct pawl_text *out, size_t begin);

#endif
