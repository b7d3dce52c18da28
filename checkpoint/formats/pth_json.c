// pth_json.c - values of a pickle as JSON, so that every format can carry them and torch gets them
// back as they were.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/pth_state.h"
#include "checkpoint/text.h"
#include "kernels/memory.h"

// Deeper ones become null with a warning. The depth bounds the recursion below. Values may share
// their parts, and their text: 64 bytes of it count as one more value, over all calls for a file.
enum { DEPTH_MAX = 40, VALUES_MAX = 1 << 18, HEX_MAX = 1 << 20 };

struct maker {
    struct pawl_pth *pth;
    struct pawl_entry **table;
    int *count;
    int depth;
};

static int make(struct maker *m, const struct pawl_py *value, const char *name, json_t **out);

static int no_memory(void)
{
    return pawl_fail(PAWL_ENOMEM, "no memory for a file's other values");
}

// {KEY: value}; takes value.
static json_t *tagged(const char *key, json_t *value)
{
    json_t *object = json_object();

    if (json_object_set_new(object, key, value)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *hex_of(const char *bytes, uint32_t count)
{
    struct pawl_text text = { 0 };
    json_t *made = NULL;

    if (count > HEX_MAX) return NULL;
    pawl_text_add(&text, "", 0);
    for (uint32_t i = 0; i < count; i++)
        pawl_text_format(&text, "%02x", (unsigned char)bytes[i]);
    if (!text.rc) made = json_string(text.bytes ? text.bytes : "");
    pawl_text_free(&text);
    return made;
}

static json_t *plain(const struct pawl_py *value)
{
    switch (value->kind) {
    case PAWL_PY_BOOL: return json_boolean(value->integer);
    case PAWL_PY_INT: return json_integer(value->integer);
    case PAWL_PY_LONG: return tagged("$integer", hex_of(value->text, value->count));
    case PAWL_PY_FLOAT:
        if (isfinite(value->real)) return json_real(value->real);
        return tagged("$float", json_string(isnan(value->real) ? "nan"
                                            : value->real > 0 ? "inf" : "-inf"));
    case PAWL_PY_STRING: {
        json_t *string = json_stringn(value->text, value->count);
        return string ? string : tagged("$text", hex_of(value->text, value->count));
    }
    case PAWL_PY_BYTES: return tagged("$bytes", hex_of(value->text, value->count));
    case PAWL_PY_GLOBAL: return tagged("$global", json_string(value->text));
    default: return json_null();
    }
}

static int make_items(struct maker *m, const struct pawl_py *value, const char *name, json_t **out)
{
    json_t *array = json_array(), *item;
    char below[PAWL_NAME_MAX + 32];
    int rc = array ? 0 : no_memory();

    for (uint32_t i = 0; i < value->count && !rc; i++) {
        item = NULL;
        snprintf(below, sizeof(below), "%.*s%s%u", PAWL_NAME_MAX, name, *name ? "." : "", i);
        rc = make(m, value->item[i], below, &item);
        if (!rc && json_array_append_new(array, item)) rc = no_memory();
    }
    if (rc)
        json_decref(array);
    else
        *out = array;
    return rc;
}

static bool has_names(const struct pawl_py *dict)
{
    for (uint32_t i = 0; i < dict->count; i += 2)
        if (!pawl_py_text(dict->item[i])) return false;
    return true;
}

static int make_dict(struct maker *m, const struct pawl_py *dict, const char *name, json_t **out)
{
    json_t *object = json_object(), *item;
    char below[2 * PAWL_NAME_MAX];
    int rc = object ? 0 : no_memory();

    for (uint32_t i = 0; i < dict->count && !rc; i += 2) {
        const char *key = pawl_py_text(dict->item[i]);
        item = NULL;
        m->pth->kept += dict->item[i]->count / 64;
        if (m->pth->kept > VALUES_MAX && m->pth->cut) break;
        if (!m->table && pawl_pth_is_tensor(dict->item[i + 1])) continue;
        snprintf(below, sizeof(below), "%.*s%s%.*s", PAWL_NAME_MAX, name, *name ? "." : "",
                 PAWL_NAME_MAX - 8, key);
        rc = make(m, dict->item[i + 1], below, &item);
        if (!rc && json_object_set_new(object, key, item)) {
            // a key that is not UTF-8: named in hexadecimal
            char hex[32];
            snprintf(hex, sizeof(hex), "$key-%u", i / 2);
            rc = json_object_set_new(object, hex, json_null()) ? no_memory() : 0;
        }
    }
    if (rc)
        json_decref(object);
    else
        *out = object;
    return rc;
}

// A numpy scalar is its number when that is float64 or an integer.
static json_t *numpy_scalar(const struct pawl_py *call)
{
    const struct pawl_py *dtype = pawl_py_argument(call, 0), *bytes = pawl_py_argument(call, 1);
    const char *code = pawl_py_text(pawl_py_argument(dtype, 0));
    double real;
    int64_t integer;

    // Before protocol 3, bytes are _codecs.encode(text, 'latin1'), each a code point.
    char raw[8];
    const struct pawl_py *text = pawl_py_argument(bytes, 0);
    if (pawl_py_is(bytes, PAWL_PY_BYTES)) {
        if (bytes->count != 8) return NULL;
        memcpy(raw, bytes->text, 8);
    } else {
        size_t n = 0;
        if (!pawl_py_is(text, PAWL_PY_STRING)) return NULL;
        for (uint32_t i = 0; i < text->count && n < 8; i++) {
            unsigned char c = (unsigned char)text->text[i];
            if (c >= 0xc2 && c <= 0xc3 && i + 1 < text->count)
                c = (unsigned char)(c << 6 | ((unsigned char)text->text[++i] & 0x3f));
            raw[n++] = (char)c;
        }
        if (n != 8) return NULL;
    }
    if (!code) return NULL;
    memcpy(&real, raw, 8);
    memcpy(&integer, raw, 8);
    if (!strcmp(code, "f8") && isfinite(real)) return json_real(real);
    return !strcmp(code, "i8") ? json_integer(integer) : NULL;
}

static int make_call(struct maker *m, const struct pawl_py *call, const char *name, json_t **out)
{
    const char *called = pawl_py_called(call);
    json_t *object = json_object(), *part = NULL;
    int rc = 0;

    if (!strncmp(called, "numpy.", 6) && strstr(called, "multiarray.scalar")) {
        json_t *number = numpy_scalar(call);
        if (number) {
            json_decref(object);
            *out = number;
            return 0;
        }
    }
    if (json_object_set_new(object, "$call", json_string(called))) rc = no_memory();
    if (!rc) rc = make_items(m, call->item[1], name, &part);
    if (!rc && json_object_set_new(object, "with", part)) rc = no_memory();
    if (!rc && call->made) {
        rc = make(m, call->made, name, &part);
        if (!rc && json_object_set_new(object, "items", part)) rc = no_memory();
    }
    if (!rc && call->state) {
        rc = make(m, call->state, name, &part);
        if (!rc && json_object_set_new(object, "state", part)) rc = no_memory();
    }
    if (rc)
        json_decref(object);
    else
        *out = object;
    return rc;
}

static int make_tensor(struct maker *m, const struct pawl_py *value, const char *name, json_t **out)
{
    int rc = 0;

    *out = json_null();
    if (!m->table) return 0;
    rc = pawl_pth_add(m->pth, m->table, m->count, *name ? name : "tensor", value);
    if (rc == PAWL_ENOTSUP) {
        pawl_document_warn(m->pth->document, "%s", pawl_error());
        return 0;
    }
    if (!rc) *out = tagged("$tensor", json_string(name));
    return rc || *out ? rc : no_memory();
}

static int make_container(struct maker *m, const struct pawl_py *value, const char *name,
                          json_t **out)
{
    static const char *const tags[] = { [PAWL_PY_TUPLE] = "$tuple", [PAWL_PY_SET] = "$set",
                                        [PAWL_PY_DICT] = "$dict", [PAWL_PY_PERSISTENT] = "$id" };
    int rc;

    if (value->kind == PAWL_PY_CALL) return make_call(m, value, name, out);
    if (value->kind == PAWL_PY_DICT && has_names(value)) return make_dict(m, value, name, out);
    rc = make_items(m, value, name, out);
    if (!rc && value->kind != PAWL_PY_LIST) *out = tagged(tags[value->kind], *out);
    return rc || *out ? rc : no_memory();
}

static int make(struct maker *m, const struct pawl_py *value, const char *name, json_t **out)
{
    int rc = 0;

    if (pawl_pth_is_tensor(value)) return make_tensor(m, value, name, out);
    const bool text = value->kind >= PAWL_PY_LONG && value->kind <= PAWL_PY_BYTES
                      && value->kind != PAWL_PY_FLOAT;
    m->pth->kept += 1 + (text || value->kind == PAWL_PY_GLOBAL ? value->count / 64 : 0);
    if (m->depth == DEPTH_MAX || m->pth->kept > VALUES_MAX) {
        if (!m->pth->cut)
            pawl_document_warn(m->pth->document, "'%.200s' and more are too deep or too many to be "
                               "kept", name);
        m->pth->cut = true;
        *out = json_null();
        return 0;
    }
    if (value->kind < PAWL_PY_LIST || value->kind == PAWL_PY_GLOBAL) {
        *out = plain(value);
        if (!*out) *out = json_null();
        return 0;
    }
    m->depth++;
    rc = make_container(m, value, name, out);
    m->depth--;
    return rc;
}

int pawl_pth_json(struct pawl_pth *pth, const struct pawl_py *value, const char *name,
                  struct pawl_entry **table, int *count, json_t **out)
{
    struct maker m = { .pth = pth, .table = table, .count = count };

    return make(&m, value, name, out);
}
