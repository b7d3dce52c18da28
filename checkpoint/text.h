// text.h - text that grows, and remembers that it once could not; the exact writer of JSON.
//
//     struct pawl_text text = { 0 };
//     pawl_text_format(&text, "{\"step\": %d, \"name\": ", 7);
//     pawl_text_string(&text, name);                // quoted and escaped
//     pawl_text_add(&text, "}", 1);
//     rc = pawl_text_take(&text, &bytes, &size);    // tells the first failure of all the above
//
// Memory: owned by the structure until take or free; clearing keeps the room. Threads: one.

#ifndef PAWL_TEXT_H
#define PAWL_TEXT_H

#include <jansson.h>
#include <stddef.h>

#include "kernels/error.h"

struct pawl_text {
    char *bytes;  // always zero-terminated once something was added
    size_t size, room;
    int rc;  // the first failure; what follows it is skipped
};

void pawl_text_add(struct pawl_text *text, const void *bytes, size_t size);
void pawl_text_format(struct pawl_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// A JSON string with its quotes. UTF-8 passes through; control characters are escaped.
void pawl_text_string(struct pawl_text *text, const char *string);
// The shortest JSON number that reads back to the same bits ("0.001"), with a point or an exponent
// so that it reads back as a real; NaN and infinities become null.
void pawl_text_number(struct pawl_text *text, double number);
// A JSON value on one line. NULL, and whatever is nested beyond 64 levels, becomes null.
void pawl_text_json(struct pawl_text *text, const json_t *value);
// Room for at least this much, so that later additions need no memory.
int pawl_text_reserve(struct pawl_text *text, size_t room);
int pawl_text_check(const struct pawl_text *text);
void pawl_text_clear(struct pawl_text *text);
// Hands the bytes over (freed by pawl_free); size may be NULL. On failure both stay unset, and the
// text is freed either way.
int pawl_text_take(struct pawl_text *text, char **bytes, size_t *size);
void pawl_text_free(struct pawl_text *text);

#endif
