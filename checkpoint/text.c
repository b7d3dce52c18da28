// text.c - growing text with a latched failure, and the JSON in it.

#include "checkpoint/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"

enum { LEVELS_MAX = 64, ROOM_LEAST = 256 };

int pawl_text_reserve(struct pawl_text *text, size_t room)
{
    if (text->rc || room <= text->room) return text->rc;
    if (room < 2 * text->room) room = 2 * text->room;
    if (room < ROOM_LEAST) room = ROOM_LEAST;
    text->rc = pawl_realloc(&text->bytes, room, "text");
    if (!text->rc) text->room = room;
    return text->rc;
}

void pawl_text_add(struct pawl_text *text, const void *bytes, size_t size)
{
    if (pawl_text_reserve(text, text->size + size + 1)) return;
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
    text->bytes[text->size] = 0;
}

void pawl_text_format(struct pawl_text *text, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    const int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (pawl_text_reserve(text, text->size + (size_t)size + 1)) return;
    va_start(arguments, format);
    vsnprintf(text->bytes + text->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    text->size += (size_t)size;
}

static void quoted(struct pawl_text *text, const char *string, size_t size)
{
    static const char special[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    size_t plain = 0;  // start of what is still to be copied as it is

    pawl_text_add(text, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)string[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) continue;

        const char *known = c ? strchr(special, c) : NULL;
        pawl_text_add(text, string + plain, i - plain);
        if (known)
            pawl_text_format(text, "\\%c", letter[known - special]);
        else
            pawl_text_format(text, "\\u%04x", c);
        plain = i + 1;
    }
    pawl_text_add(text, string + plain, size - plain);
    pawl_text_add(text, "\"", 1);
}

void pawl_text_string(struct pawl_text *text, const char *string)
{
    quoted(text, string, strlen(string));
}

void pawl_text_number(struct pawl_text *text, double number)
{
    char line[40];

    if (!isfinite(number)) {
        pawl_text_add(text, "null", 4);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(line, sizeof(line), "%.*g", digits, number);
        const double back = strtod(line, NULL);
        if (memcmp(&back, &number, sizeof(back)) == 0) break;
    }
    for (char *c = line; *c; c++)
        if (*c == ',') *c = '.';  // a caller's locale must not reach the file
    pawl_text_format(text, "%s%s", line, strpbrk(line, ".e") ? "" : ".0");
}

static void write_value(struct pawl_text *text, const json_t *value, int level);

static void write_object(struct pawl_text *text, const json_t *object, int level)
{
    const char *comma = "", *key;
    json_t *member;

    pawl_text_add(text, "{", 1);
    // jansson iterates over mutable values only; nothing is changed.
    json_object_foreach((json_t *)(uintptr_t)object, key, member) {
        pawl_text_format(text, "%s", comma);
        pawl_text_string(text, key);
        pawl_text_add(text, ": ", 2);
        write_value(text, member, level + 1);
        comma = ", ";
    }
    pawl_text_add(text, "}", 1);
}

static void write_value(struct pawl_text *text, const json_t *value, int level)
{
    switch (value && level < LEVELS_MAX ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT: write_object(text, value, level); break;
    case JSON_ARRAY:
        pawl_text_add(text, "[", 1);
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i) pawl_text_add(text, ", ", 2);
            write_value(text, json_array_get(value, i), level + 1);
        }
        pawl_text_add(text, "]", 1);
        break;
    case JSON_STRING: quoted(text, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER: pawl_text_format(text, "%lld", (long long)json_integer_value(value)); break;
    case JSON_REAL: pawl_text_number(text, json_real_value(value)); break;
    case JSON_TRUE: pawl_text_add(text, "true", 4); break;
    case JSON_FALSE: pawl_text_add(text, "false", 5); break;
    case JSON_NULL: pawl_text_add(text, "null", 4); break;
    }
}

void pawl_text_json(struct pawl_text *text, const json_t *value)
{
    write_value(text, value, 0);
}

int pawl_text_check(const struct pawl_text *text)
{
    return text->rc;
}

void pawl_text_clear(struct pawl_text *text)
{
    text->size = 0;
    text->rc = 0;
    if (text->bytes) text->bytes[0] = 0;
}

int pawl_text_take(struct pawl_text *text, char **bytes, size_t *size)
{
    pawl_text_add(text, "", 0);  // an empty text is a string too
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
