// json.c - a strict, bounded tokenizer.
//
//     VALUE --- a scalar ---------------------> AFTER (END when nothing is open)
//       |--- '[' --> FIRST_ITEM --- a value or ']' --^
//       '--- '{' --> FIRST_KEY ---- '}' -------------^
//                       '--- a key and ':' --> VALUE
//     AFTER --- ',' and a value, or ',' and a key and ':', or what closes the level

#include "checkpoint/containers/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"

enum state {
    VALUE,       // a value must follow
    FIRST_ITEM,  // a value or ]
    FIRST_KEY,   // a key or }
    AFTER,       // , or the end of what is open
    END,
};

void pawl_json_open(struct pawl_json *json, char *bytes, size_t size, const char *what,
                    uint64_t base)
{
    *json = (struct pawl_json){ .bytes = bytes, .size = size, .what = what, .base = base,
                                .state = VALUE };
    bytes[size] = 0;
}

void pawl_json_close(struct pawl_json *json)
{
    pawl_free(json->keys);
    json->keys = NULL;
}

int pawl_json_fail(const struct pawl_json *json, size_t at, const char *format, ...)
{
    char words[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_ECORRUPT, "%s: byte %llu: %s", json->what,
                     (unsigned long long)(json->base + at), words);
}

// What follows, for "expected X, not Y": the byte itself only where it prints.
static int unexpected(const struct pawl_json *json, const char *wanted)
{
    const unsigned char c = (unsigned char)json->bytes[json->at];

    if (json->at >= json->size)
        return pawl_json_fail(json, json->at, "not JSON: expected %s, but it ends here", wanted);
    if (c > 0x20 && c < 0x7f)
        return pawl_json_fail(json, json->at, "not JSON: expected %s, not '%c'", wanted, c);
    return pawl_json_fail(json, json->at, "not JSON: expected %s, not the byte 0x%02x", wanted, c);
}

// ---- strings

// The length of the UTF-8 sequence that starts here, or 0 when it is none. bytes ends in a zero,
// which is no continuation, so a sequence cut off by the end is seen.
static size_t utf8_length(const unsigned char *c)
{
    size_t length = 0;
    unsigned lowest = 0x80, highest = 0xbf;  // of the second byte

    if (c[0] < 0x80) return 1;
    if (c[0] >= 0xc2 && c[0] <= 0xdf) length = 2;
    if (c[0] >= 0xe0 && c[0] <= 0xef) length = 3;
    if (c[0] >= 0xf0 && c[0] <= 0xf4) length = 4;
    if (c[0] == 0xe0) lowest = 0xa0;   // below: an overlong form
    if (c[0] == 0xed) highest = 0x9f;  // above: a surrogate
    if (c[0] == 0xf0) lowest = 0x90;
    if (c[0] == 0xf4) highest = 0x8f;  // above: beyond U+10FFFF
    if (!length || c[1] < lowest || c[1] > highest) return 0;
    for (size_t i = 2; i < length; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    return length;
}

static size_t utf8_write(char *to, unsigned code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xe0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3f));
        to[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3f));
    to[2] = (char)(0x80 | (code >> 6 & 0x3f));
    to[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

// The four digits of \uXXXX at `from`, or -1.
static int hex4(const char *from)
{
    int code = 0;

    for (int i = 0; i < 4; i++) {
        const char c = from[i];  // a zero ends the buffer, so this never reads beyond it
        if (c >= '0' && c <= '9')
            code = 16 * code + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            code = 16 * code + ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return code;
}

// Decodes \uXXXX (and its second half); at is behind the u. PAWL_ECORRUPT or the code's bytes.
static int unicode_escape(struct pawl_json *json, size_t start, char *to, size_t *written)
{
    int code = hex4(json->bytes + json->at);

    if (code < 0) return pawl_json_fail(json, start, "not JSON: \\u needs four digits");
    json->at += 4;
    if (code >= 0xd800 && code <= 0xdbff) {
        const char *next = json->bytes + json->at;
        const int low = next[0] == '\\' && next[1] == 'u' ? hex4(next + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return pawl_json_fail(json, start, "not JSON: half a surrogate pair is not Unicode");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        json->at += 6;
    } else if (code >= 0xdc00 && code <= 0xdfff) {
        return pawl_json_fail(json, start, "not JSON: half a surrogate pair is not Unicode");
    } else if (code == 0) {
        return pawl_json_fail(json, start, "a NUL character in a string is refused");
    }
    *written = utf8_write(to, (unsigned)code);
    return 0;
}

static int escape(struct pawl_json *json, char *to, size_t *written)
{
    static const char letter[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const size_t start = json->at;
    const char c = json->bytes[json->at + 1];
    const char *known = c ? strchr(letter, c) : NULL;

    json->at += 2;
    if (c == 'u') return unicode_escape(json, start, to, written);
    if (!known) return pawl_json_fail(json, start, "not JSON: unknown escape in a string");
    *to = means[known - letter];
    *written = 1;
    return 0;
}

// at is on the opening quote. What is decoded is never longer than what was written.
static int take_string(struct pawl_json *json, struct pawl_json_token *token)
{
    char *to = json->bytes + json->at + 1;

    token->string = to;
    json->at++;
    for (;;) {
        const unsigned char c = (unsigned char)json->bytes[json->at];
        size_t length = 0;

        if (json->at >= json->size) return unexpected(json, "the end of a string");
        if (c == '"') break;
        if (c == '\\') {
            const int rc = escape(json, to, &length);
            if (rc) return rc;
            to += length;
            continue;
        }
        if (c < 0x20)
            return pawl_json_fail(json, json->at, "not JSON: control byte 0x%02x in a string", c);
        length = utf8_length((const unsigned char *)json->bytes + json->at);
        if (!length) return pawl_json_fail(json, json->at, "byte 0x%02x is not UTF-8 here", c);
        memmove(to, json->bytes + json->at, length);
        to += length;
        json->at += length;
    }
    json->at++;
    token->length = (size_t)(to - token->string);
    *to = 0;
    return 0;
}

// ---- numbers and words

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *digits(const char *c)
{
    while (digit(*c))
        c++;
    return c;
}

static int take_number(struct pawl_json *json, struct pawl_json_token *token)
{
    const char *start = json->bytes + json->at, *c = start + (*start == '-');
    bool whole = *start != '-' || c[0] != '0';  // -0 is a real zero
    int64_t value = 0;

    if (!digit(*c) || (*c == '0' && digit(c[1])))
        return pawl_json_fail(json, json->at, "not JSON: a number like this is not allowed");
    const char *end = digits(c);
    for (const char *d = c; d < end && whole; d++)
        whole = !__builtin_mul_overflow(value, 10, &value)
                && !(*start == '-' ? __builtin_sub_overflow(value, *d - '0', &value)
                                   : __builtin_add_overflow(value, *d - '0', &value));
    if (*end == '.') {
        whole = false;
        if (!digit(end[1]))
            return pawl_json_fail(json, json->at, "not JSON: a number's point needs digits");
        end = digits(end + 1);
    }
    if (*end == 'e' || *end == 'E') {
        whole = false;
        end += 1 + (end[1] == '+' || end[1] == '-');
        if (!digit(*end))
            return pawl_json_fail(json, json->at, "not JSON: a number's exponent needs digits");
        end = digits(end);
    }
    token->kind = whole ? PAWL_JSON_INTEGER : PAWL_JSON_REAL;
    token->integer = whole ? value : 0;
    token->string = json->bytes + json->at;
    token->length = (size_t)(end - start);
    json->at += token->length;
    return 0;
}

static int take_word(struct pawl_json *json, struct pawl_json_token *token)
{
    static const struct { const char *word; enum pawl_json_kind kind; } words[] = {
        { "true", PAWL_JSON_TRUE }, { "false", PAWL_JSON_FALSE }, { "null", PAWL_JSON_NULL },
    };

    for (int i = 0; i < 3; i++) {
        const size_t length = strlen(words[i].word);
        if (strncmp(json->bytes + json->at, words[i].word, length) == 0) {
            token->kind = words[i].kind;
            json->at += length;
            return 0;
        }
    }
    return unexpected(json, "a value");
}

// ---- objects and arrays

static int open_level(struct pawl_json *json, bool object)
{
    if (json->depth >= PAWL_JSON_LEVELS)
        return pawl_json_fail(json, json->at, "nested deeper than %d levels", PAWL_JSON_LEVELS);
    json->in_object[json->depth] = object;
    json->first_key[json->depth] = json->key_count;
    json->depth++;
    json->at++;
    json->state = object ? FIRST_KEY : FIRST_ITEM;
    return 0;
}

static int order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int close_level(struct pawl_json *json, struct pawl_json_token *token)
{
    const size_t first = json->first_key[json->depth - 1], count = json->key_count - first;
    char **keys = count ? json->keys + first : NULL;

    token->kind = json->in_object[json->depth - 1] ? PAWL_JSON_OBJECT_END : PAWL_JSON_ARRAY_END;
    if (count > 1) qsort(keys, count, sizeof(*keys), order);
    for (size_t i = 1; i < count; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            return pawl_json_fail(json, json->at, "the object that ends here has '%.200s' twice",
                                  keys[i]);
    json->key_count = first;
    json->depth--;
    json->at++;
    json->state = json->depth ? AFTER : END;
    return 0;
}

static int remember_key(struct pawl_json *json, char *key)
{
    if (json->key_count == json->key_room) {
        const size_t room = json->key_room ? 2 * json->key_room : 64;
        const int rc = pawl_realloc(&json->keys, room * sizeof(*json->keys), "JSON keys");
        if (rc) return rc;
        json->key_room = room;
    }
    json->keys[json->key_count++] = key;
    return 0;
}

static void skip_blanks(struct pawl_json *json)
{
    // strspn stops at a zero: one within the text, or the one behind it.
    json->at += strspn(json->bytes + json->at, " \t\n\r");
}

static int take_key(struct pawl_json *json, struct pawl_json_token *token)
{
    if (json->bytes[json->at] != '"') return unexpected(json, "a key");
    token->kind = PAWL_JSON_KEY;
    int rc = take_string(json, token);
    if (!rc) rc = remember_key(json, token->string);
    if (rc) return rc;
    skip_blanks(json);
    if (json->bytes[json->at] != ':') return unexpected(json, "':'");
    json->at++;
    json->state = VALUE;
    return 0;
}

static int take_value(struct pawl_json *json, struct pawl_json_token *token)
{
    const char c = json->bytes[json->at];

    if (c == '{' || c == '[') {
        token->kind = c == '{' ? PAWL_JSON_OBJECT : PAWL_JSON_ARRAY;
        return open_level(json, c == '{');
    }
    json->state = json->depth ? AFTER : END;
    token->kind = PAWL_JSON_STRING;
    if (c == '"') return take_string(json, token);
    return c == '-' || digit(c) ? take_number(json, token) : take_word(json, token);
}

int pawl_json_next(struct pawl_json *json, struct pawl_json_token *token)
{
    const bool object = json->depth && json->in_object[json->depth - 1];

    skip_blanks(json);
    const char c = json->bytes[json->at];  // the zero behind the last byte fits no state
    *token = (struct pawl_json_token){ .at = json->at };
    switch ((enum state)json->state) {
    case END:
        token->kind = PAWL_JSON_DONE;
        return json->at < json->size ? unexpected(json, "nothing more") : 0;
    case FIRST_KEY: return c == '}' ? close_level(json, token) : take_key(json, token);
    case FIRST_ITEM: return c == ']' ? close_level(json, token) : take_value(json, token);
    case VALUE: return take_value(json, token);
    case AFTER: break;
    }
    if (c == (object ? '}' : ']')) return close_level(json, token);
    if (c != ',') return unexpected(json, object ? "',' or '}'" : "',' or ']'");
    json->at++;
    skip_blanks(json);
    token->at = json->at;
    return object ? take_key(json, token) : take_value(json, token);
}

int pawl_json_expect(struct pawl_json *json, struct pawl_json_token *token,
                     enum pawl_json_kind kind, const char *wanted)
{
    const int rc = pawl_json_next(json, token);

    if (rc) return rc;
    return token->kind == kind ? 0 : pawl_json_fail(json, token->at, "expected %s", wanted);
}

int pawl_json_skip(struct pawl_json *json, const struct pawl_json_token *token)
{
    const bool opens = token->kind == PAWL_JSON_OBJECT || token->kind == PAWL_JSON_ARRAY;
    const int depth = json->depth - 1;
    struct pawl_json_token next;
    int rc = 0;

    while (!rc && opens && json->depth > depth)
        rc = pawl_json_next(json, &next);
    return rc;
}
