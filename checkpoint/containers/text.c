// text.c - a growing text and the JSON in it.

#include "checkpoint/containers/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"

enum { LEVELS_MAX = 64 };

static void make_room(struct pawl_text *text, size_t more)
{
    size_t room = text->room ? text->room : 256;

    if (text->rc || text->size + more + 1 <= text->room) return;
    while (room < text->size + more + 1)
        room *= 2;
    text->rc = pawl_realloc(&text->bytes, room, "a text");
    if (!text->rc) text->room = room;
}

void pawl_text_bytes(struct pawl_text *text, const char *bytes, size_t size)
{
    make_room(text, size);
    if (text->rc) return;
    if (size) memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
    text->bytes[text->size] = 0;
}

void pawl_text_add(struct pawl_text *text, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    const int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    make_room(text, (size_t)size);
    if (text->rc) return;
    va_start(arguments, format);
    vsnprintf(text->bytes + text->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    text->size += (size_t)size;
}

static void quoted(struct pawl_text *text, const char *string, size_t size)
{
    static const char special[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    size_t plain = 0;  // start of what is still to be copied as it is

    pawl_text_bytes(text, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)string[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) continue;

        const char *known = c ? strchr(special, c) : NULL;
        pawl_text_bytes(text, string + plain, i - plain);
        if (known)
            pawl_text_add(text, "\\%c", letter[known - special]);
        else
            pawl_text_add(text, "\\u%04x", c);
        plain = i + 1;
    }
    pawl_text_bytes(text, string + plain, size - plain);
    pawl_text_bytes(text, "\"", 1);
}

void pawl_text_string(struct pawl_text *text, const char *string)
{
    quoted(text, string, strlen(string));
}

void pawl_text_real(struct pawl_text *text, double value)
{
    char digits[40];

    if (!isfinite(value)) {
        pawl_text_add(text, "null");
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof(digits), "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    pawl_text_add(text, "%s%s", digits, strpbrk(digits, ".e") ? "" : ".0");
}

static void write_value(struct pawl_text *text, const json_t *value, int level);

static void write_object(struct pawl_text *text, const json_t *object, int level)
{
    // jansson iterates only over mutable values; nothing is changed.
    json_t *mutable = (json_t *)(uintptr_t)object;
    const char *comma = "", *key;
    json_t *member;

    pawl_text_add(text, "{");
    json_object_foreach(mutable, key, member) {
        pawl_text_add(text, "%s", comma);
        pawl_text_string(text, key);
        pawl_text_add(text, ": ");
        write_value(text, member, level + 1);
        comma = ", ";
    }
    pawl_text_add(text, "}");
}

static void write_value(struct pawl_text *text, const json_t *value, int level)
{
    switch (value && level < LEVELS_MAX ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT: write_object(text, value, level); break;
    case JSON_ARRAY:
        pawl_text_add(text, "[");
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i) pawl_text_add(text, ", ");
            write_value(text, json_array_get(value, i), level + 1);
        }
        pawl_text_add(text, "]");
        break;
    case JSON_STRING: quoted(text, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER: pawl_text_add(text, "%lld", (long long)json_integer_value(value)); break;
    case JSON_REAL: pawl_text_real(text, json_real_value(value)); break;
    case JSON_TRUE: pawl_text_add(text, "true"); break;
    case JSON_FALSE: pawl_text_add(text, "false"); break;
    case JSON_NULL: pawl_text_add(text, "null"); break;
    }
}

void pawl_text_json(struct pawl_text *text, const json_t *value)
{
    write_value(text, value, 0);
}

int pawl_text_take(struct pawl_text *text, char **bytes, size_t *size)
{
    pawl_text_bytes(text, "", 0);  // an empty text is a string too
    const int rc = text->rc;

    if (rc) {
        pawl_text_free(text);
        return rc;
    }
    *bytes = text->bytes;
    if (size) *size = text->size;
    *text = (struct pawl_text){ 0 };
    return 0;
}

void pawl_text_free(struct pawl_text *text)
{
    pawl_free(text->bytes);
    *text = (struct pawl_text){ 0 };
}
