// text.h - grows a text piece by piece; the exact writer of JSON.
//
//     struct pawl_text text = { 0 };
//     pawl_text_add(&text, "{\"name\": ");
//     pawl_text_string(&text, name);
//     pawl_text_add(&text, "}\n");
//     rc = pawl_text_take(&text, &bytes, &size);     // tells the first failure
//
// The first failure (PAWL_ENOMEM) stays and the rest does nothing, so callers write straight
// through. Memory: the text owns its bytes until take; pawl_text_free drops them.

#ifndef PAWL_TEXT_H
#define PAWL_TEXT_H

#include <jansson.h>
#include <stddef.h>

struct pawl_text {
    char *bytes;  // zero-terminated once anything was added
    size_t size, room;
    int rc;
};

void pawl_text_add(struct pawl_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void pawl_text_bytes(struct pawl_text *text, const char *bytes, size_t size);
// A JSON string with its quotes. UTF-8 passes through; control characters are escaped.
void pawl_text_string(struct pawl_text *text, const char *string);
// The shortest decimal that reads back as the same double ("0.001"); null for NaN and infinities.
// Always with a point or an exponent, so that it reads back as a real.
void pawl_text_real(struct pawl_text *text, double value);
// A JSON value on one line. Nesting beyond 64 levels becomes null; NULL does too.
void pawl_text_json(struct pawl_text *text, const json_t *value);

// Hands the bytes over (freed by pawl_free). size may be NULL. On failure both stay unset.
int pawl_text_take(struct pawl_text *text, char **bytes, size_t *size);
void pawl_text_free(struct pawl_text *text);

#endif
