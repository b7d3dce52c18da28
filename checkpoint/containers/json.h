// json.h - reads JSON that nobody vouches for, token by token, in the buffer it lies in.
//
//     struct pawl_json json = { 0 };
//     pawl_json_open(&json, bytes, size, "a.safetensors: header", 8);
//     while (!(rc = pawl_json_next(&json, &token)) && token.kind != PAWL_JSON_DONE) ...
//     pawl_json_close(&json);
//
// Strict (RFC 8259): UTF-8 without overlong forms and surrogates, no comments, no trailing commas,
// one value, blanks around it. Beyond that: a key twice in one object is refused, and so is a NUL
// in a string, because strings are handed out zero-terminated. Nesting is bounded by
// PAWL_JSON_LEVELS, and nothing recurses.
//
// Memory: strings are decoded where they lie, so the buffer is changed and must outlive them; keys
// of objects still open cost a pointer each. Threads: one at a time.

#ifndef PAWL_JSON_H
#define PAWL_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/error.h"

enum { PAWL_JSON_LEVELS = 64 };

enum pawl_json_kind {
    PAWL_JSON_OBJECT,
    PAWL_JSON_OBJECT_END,
    PAWL_JSON_ARRAY,
    PAWL_JSON_ARRAY_END,
    PAWL_JSON_KEY,      // string
    PAWL_JSON_STRING,   // string
    PAWL_JSON_INTEGER,  // integer: written without point or exponent, and fits
    PAWL_JSON_REAL,     // any other number; string is how it was written, not terminated
    PAWL_JSON_TRUE,
    PAWL_JSON_FALSE,
    PAWL_JSON_NULL,
    PAWL_JSON_DONE,  // the value has ended and nothing but blanks follows
};

struct pawl_json_token {
    enum pawl_json_kind kind;
    char *string;
    size_t length;
    int64_t integer;
    size_t at;  // where it began, in the buffer
};

struct pawl_json {
    char *bytes;
    size_t size, at;
    const char *what;  // begins every failure's words
    uint64_t base;     // where in the file the buffer begins, for the words
    int state, depth;
    bool in_object[PAWL_JSON_LEVELS];
    char **keys;  // of all open objects, the innermost one's last
    size_t key_count, key_room, first_key[PAWL_JSON_LEVELS];
};

// bytes[size] must be writable: it becomes a zero. what is borrowed.
void pawl_json_open(struct pawl_json *json, char *bytes, size_t size, const char *what,
                    uint64_t base);
void pawl_json_close(struct pawl_json *json);

// 0, PAWL_ECORRUPT ("WHAT: byte N: why") or PAWL_ENOMEM. After a failure only close may follow.
int pawl_json_next(struct pawl_json *json, struct pawl_json_token *token);
// The same, and the token must be of that kind; wanted names it in the words ("an object").
int pawl_json_expect(struct pawl_json *json, struct pawl_json_token *token,
                     enum pawl_json_kind kind, const char *wanted);
// Reads past the value that begins with `token` (just returned by next).
int pawl_json_skip(struct pawl_json *json, const struct pawl_json_token *token);
// PAWL_ECORRUPT with "WHAT: byte N: words" about what lies at buffer position `at`.
int pawl_json_fail(const struct pawl_json *json, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
