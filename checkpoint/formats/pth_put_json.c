// pth_put_json.c - pth_json.c backwards: the values of a pickle from the JSON that stands for them.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/formats/pth_put.h"

enum { DEPTH_MAX = 64 };  // bounds the recursion below; deeper values become None

static void put(struct pawl_pth_writer *w, const json_t *value, int depth);

static void put_array(struct pawl_pth_writer *w, const json_t *array, int depth)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        put(w, json_array_get(array, i), depth);
}

// Two hexadecimal digits per byte, as code points or as an integer of 8 bits each.
static size_t bytes_of(const json_t *value, struct pawl_text *out)
{
    const char *hex = json_string_value(value);

    for (; hex && hex[0] && hex[1]; hex += 2) {
        const char digits[3] = { hex[0], hex[1], 0 };
        const char byte = (char)strtol(digits, NULL, 16);
        pawl_text_add(out, &byte, 1);
    }
    return out->size;
}

static void put_integer(struct pawl_pth_writer *w, const json_t *value)
{
    struct pawl_text bytes = { 0 };
    const size_t size = bytes_of(value, &bytes);
    const unsigned char head[2] = { 0x8a, (unsigned char)(size < 256 ? size : 0) };

    if (!bytes.rc && size < 256) {
        pawl_text_add(&w->text, head, 2);
        pawl_text_add(&w->text, bytes.bytes, size);
    } else {
        pawl_pk_op(&w->text, "N");
    }
    pawl_text_free(&bytes);
}

// As protocol 2 writes bytes: _codecs.encode(text, 'latin1').
static void put_bytes(struct pawl_pth_writer *w, const json_t *value)
{
    struct pawl_text bytes = { 0 }, text = { 0 };
    const size_t size = bytes_of(value, &bytes);

    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)bytes.bytes[i];
        const char utf[2] = { (char)(c < 0x80 ? c : 0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)) };
        pawl_text_add(&text, utf, c < 0x80 ? 1 : 2);
    }
    const unsigned char head[5] = { 'X', (unsigned char)(text.size & 0xff),
                                    (unsigned char)(text.size >> 8 & 0xff),
                                    (unsigned char)(text.size >> 16 & 0xff),
                                    (unsigned char)(text.size >> 24 & 0xff) };
    pawl_pk_global(&w->text, "_codecs encode");
    pawl_pk_op(&w->text, "(");
    pawl_text_add(&w->text, head, sizeof(head));
    if (text.size) pawl_text_add(&w->text, text.bytes, text.size);
    pawl_pk_string(&w->text, "latin1");
    pawl_pk_op(&w->text, "tR");
    pawl_text_free(&bytes);
    pawl_text_free(&text);
}

static void put_global(struct pawl_pth_writer *w, const json_t *value)
{
    const char *dotted = json_string_value(value), *last = dotted ? strrchr(dotted, '.') : NULL;

    if (!last || last == dotted || strpbrk(dotted, "\n ")) {
        pawl_pk_op(&w->text, "N");
        return;
    }
    pawl_text_add(&w->text, "c", 1);
    pawl_text_add(&w->text, dotted, (size_t)(last - dotted));
    pawl_text_format(&w->text, "\n%s\n", last + 1);
}

static void put_tensor(struct pawl_pth_writer *w, const json_t *value)
{
    const struct pawl_training *training = w->document->training;
    const char *name = json_string_value(value);

    for (int i = 0; name && training && i < training->tensor_count; i++)
        if (!strcmp(training->tensors[i].tensor.name, name)) {
            pawl_pth_put_tensor(w, &training->tensors[i], PAWL_PTH_MOMENT);
            return;
        }
    pawl_pk_op(&w->text, "N");
}

// Calls come back only for what torch's own loader allows: anything else would be code to run.
static bool is_allowed(const char *name)
{
    static const char *const names[] = { "torch.device", "torch.Size", "builtins.complex",
                                         "__builtin__.complex", "builtins.set", "__builtin__.set",
                                         "_codecs.encode", "builtins.bytearray" };

    for (size_t i = 0; name && i < sizeof(names) / sizeof(*names); i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

static void put_call(struct pawl_pth_writer *w, const json_t *object, int depth)
{
    const json_t *called = json_object_get(object, "$call"), *part;

    if (!is_allowed(json_string_value(called))) {
        // Kept as the record that it was read as, so that nothing of it is lost.
        const char *key;
        pawl_pk_op(&w->text, "}(");
        json_object_foreach((json_t *)(uintptr_t)object, key, part) {
            pawl_pk_string(&w->text, key);
            put(w, part, depth);
        }
        pawl_pk_op(&w->text, "u");
        return;
    }
    put_global(w, called);
    pawl_pk_op(&w->text, "(");
    put_array(w, json_object_get(object, "with"), depth);
    pawl_pk_op(&w->text, "tR");
}

// {"$tag": ...}; false: a plain dict.
static bool put_tagged(struct pawl_pth_writer *w, const json_t *object, int depth)
{
    const char *key = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)object));
    const json_t *value = key ? json_object_get(object, key) : NULL;
    struct pawl_text *t = &w->text;

    if (json_object_get(object, "$call")) {
        put_call(w, object, depth);
        return true;
    }
    if (!key || *key != '$' || json_object_size(object) != 1) return false;
    if (!strcmp(key, "$tuple")) {
        pawl_pk_op(t, "(");
        put_array(w, value, depth);
        pawl_pk_op(t, "t");
    } else if (!strcmp(key, "$set")) {
        pawl_pk_global(t, "__builtin__ set");
        pawl_pk_op(t, "](");
        put_array(w, value, depth);
        pawl_pk_op(t, "e\x85R");
    } else if (!strcmp(key, "$dict")) {
        pawl_pk_op(t, "}(");
        put_array(w, value, depth);
        pawl_pk_op(t, "u");
    } else if (!strcmp(key, "$float")) {
        const char *text = json_string_value(value);
        pawl_pk_real(t, !text || !strcmp(text, "nan") ? NAN : *text == '-' ? -INFINITY : INFINITY);
    } else if (!strcmp(key, "$integer")) {
        put_integer(w, value);
    } else if (!strcmp(key, "$bytes") || !strcmp(key, "$text")) {
        put_bytes(w, value);
    } else if (!strcmp(key, "$global")) {
        put_global(w, value);
    } else if (!strcmp(key, "$tensor")) {
        put_tensor(w, value);
    } else {
        return false;
    }
    return true;
}

static void put_object(struct pawl_pth_writer *w, const json_t *object, int depth)
{
    const char *key;
    json_t *value;

    if (put_tagged(w, object, depth)) return;
    pawl_pk_op(&w->text, "}(");
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        pawl_pk_string(&w->text, key);
        put(w, value, depth);
    }
    pawl_pk_op(&w->text, "u");
}

static void put(struct pawl_pth_writer *w, const json_t *value, int depth)
{
    struct pawl_text *t = &w->text;

    switch (depth == DEPTH_MAX || !value ? JSON_NULL : json_typeof(value)) {
    case JSON_OBJECT: put_object(w, value, depth + 1); break;
    case JSON_ARRAY:
        pawl_pk_op(t, "](");
        put_array(w, value, depth + 1);
        pawl_pk_op(t, "e");
        break;
    case JSON_STRING: pawl_pk_string(t, json_string_value(value)); break;
    case JSON_INTEGER: pawl_pk_integer(t, json_integer_value(value)); break;
    case JSON_REAL: pawl_pk_real(t, json_real_value(value)); break;
    case JSON_TRUE:
    case JSON_FALSE: pawl_pk_bool(t, json_is_true(value)); break;
    default: pawl_pk_op(t, "N");
    }
}

void pawl_pth_put_json(struct pawl_pth_writer *w, const json_t *value)
{
    put(w, value, 0);
}
