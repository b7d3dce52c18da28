// json.c - the strict tokenizer: what it takes, what it refuses, and where it says so.

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/json.h"
#include "checkpoint/text.h"
#include "kernels/memory.h"

// The tokens of a text as letters ("{k1}" for an object with a key and an integer), or the code.
static int letters(const char *json, size_t size, char *out, size_t out_size)
{
    static const char letter[] = "{}[]ksirtfn.";
    char *bytes = malloc(size + 1);  // its own block, so that a sanitizer sees each byte beyond
    struct pawl_json reader;
    struct pawl_json_token token;
    size_t n = 0;
    int rc;

    memcpy(bytes, json, size);
    pawl_json_open(&reader, bytes, size, "test", 0);
    while (!(rc = pawl_json_next(&reader, &token)) && token.kind != PAWL_JSON_DONE)
        if (n + 1 < out_size) out[n++] = letter[token.kind];
    out[n] = 0;
    pawl_json_close(&reader);
    free(bytes);
    return rc;
}

static void refuse(const char *json, size_t size, const char *words)
{
    char out[64];

    cr_assert_eq(letters(json, size, out, sizeof(out)), PAWL_ECORRUPT, "%.*s", (int)size, json);
    cr_assert(strstr(pawl_error(), words), "'%s' lacks '%s'", pawl_error(), words);
}

Test(json, tokens)
{
    static const struct { const char *json, *letters; } row[] = {
        { "{}", "{}" },
        { " \t\r\n[ ] \n", "[]" },
        { "{\"a\":1,\"b\":[true,false,null]}", "{ki" "k[tfn]}" },
        { "[1,-1,0,1.5,1e3,-0,9223372036854775807,9223372036854775808]", "[iiirrrir]" },
        { "[-9223372036854775808,-9223372036854775809]", "[ir]" },
        { "\"x\"", "s" },
        { "[{\"a\":{}},{\"a\":[]}]", "[{k{}}{k[]}]" },
        { "{\"a\":{\"a\":1}}", "{k{ki}}" },
    };
    char out[64];

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        cr_assert_eq(letters(row[i].json, strlen(row[i].json), out, sizeof(out)), 0, "%s: %s",
                     row[i].json, pawl_error());
        cr_assert_str_eq(out, row[i].letters);
    }
}

Test(json, strings_are_decoded_where_they_lie)
{
    char bytes[] = "[\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\","
                   "\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\",\"\\u20AC\"]";
    struct pawl_json json;
    struct pawl_json_token token;

    pawl_json_open(&json, bytes, sizeof(bytes) - 1, "test", 0);
    cr_assert_eq(pawl_json_next(&json, &token), 0);
    cr_assert_eq(pawl_json_next(&json, &token), 0);
    cr_assert_str_eq(token.string, "a\"\\/\b\f\n\r\tz");
    cr_assert_eq(token.length, 10);
    cr_assert_eq(pawl_json_next(&json, &token), 0);
    cr_assert_str_eq(token.string, "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    cr_assert_eq(pawl_json_next(&json, &token), 0);
    cr_assert_str_eq(token.string, "\xe2\x82\xac");
    pawl_json_close(&json);
}

Test(json, integers_keep_all_their_bits)
{
    char bytes[] = "[9007199254740993,-9223372036854775808]";
    struct pawl_json json;
    struct pawl_json_token token;

    pawl_json_open(&json, bytes, sizeof(bytes) - 1, "test", 0);
    pawl_json_next(&json, &token);
    pawl_json_next(&json, &token);
    cr_assert_eq(token.integer, 9007199254740993);
    pawl_json_next(&json, &token);
    cr_assert_eq(token.integer, INT64_MIN);
    pawl_json_close(&json);
}

Test(json, refuses_what_is_not_json)
{
    static const struct { const char *json, *words; } row[] = {
        { "", "byte 0: not JSON: expected a value, but it ends" },
        { "  ", "byte 2" },
        { "{", "ends" },
        { "[1", "ends" },
        { "[1,", "ends" },
        { "[1,]", "value, not ']'" },
        { "{\"a\":1,}", "key, not '}'" },
        { "{a:1}", "key" },
        { "{\"a\" 1}", "':'" },
        { "{\"a\":}", "value" },
        { "{\"a\":1 \"b\":2}", "','" },
        { "[1 2]", "','" },
        { "[1}", "',' or ']'" },
        { "{\"a\":1]", "',' or '}'" },
        { "1 2", "byte 2: not JSON: expected nothing more" },
        { "{}x", "nothing more" },
        { "[01]", "number" },
        { "[-]", "number" },
        { "[+1]", "value" },
        { "[.5]", "value" },
        { "[1.]", "point" },
        { "[1e]", "exponent" },
        { "[1e+]", "exponent" },
        { "[0x10]", "','" },
        { "[NaN]", "value" },
        { "[nul]", "value" },
        { "['a']", "value" },
        { "[\"a]", "end of a string" },
        { "[\"a\\", "escape" },
        { "[\"a\\u12", "four digits" },
        { "[\"\\x41\"]", "escape" },
        { "[\"\\u00g0\"]", "four digits" },
        { "[\"\\ud800\"]", "surrogate" },
        { "[\"\\ud800\\u0041\"]", "surrogate" },
        { "[\"\\ude00\"]", "surrogate" },
        { "[\"\\u0000\"]", "NUL" },
        { "[\"a\nb\"]", "control byte 0x0a" },
        { "// c\n1", "value" },
        { "\xef\xbb\xbf{}", "0xef" },
    };

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
        refuse(row[i].json, strlen(row[i].json), row[i].words);
    refuse("{}\0", 3, "0x00");
    refuse("[\"\0\"]", 5, "control byte 0x00");
}

Test(json, refuses_what_is_not_utf8)
{
    static const char *const row[] = {
        "\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe2\x82",
        "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
        "\xe2(\xa1", "\xf0\x9f\x98",
    };
    char json[32];

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        const int size = snprintf(json, sizeof(json), "[\"%s\"]", row[i]);
        refuse(json, (size_t)size, "UTF-8");
    }
    refuse("[\"\xf0\x9f", 4, "UTF-8");  // cut by the end of the buffer
    cr_assert_eq(letters("[\"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"]", 14, json,
                         sizeof(json)), 0, "%s", pawl_error());
}

Test(json, refuses_a_key_twice_in_one_object)
{
    const char *twice = "{\"b\":1,\"a\":{\"b\":2},\"c\":3,\"b\":4}";
    const char *escaped = "{\"a\":1,\"\\u0061\":2}";

    refuse(twice, strlen(twice), "'b' twice");
    refuse(escaped, strlen(escaped), "'a' twice");
}

Test(json, nesting_is_bounded)
{
    char deep[2 * PAWL_JSON_LEVELS + 3], out[8];

    memset(deep, '[', PAWL_JSON_LEVELS + 1);
    memset(deep + PAWL_JSON_LEVELS + 1, ']', PAWL_JSON_LEVELS + 1);
    refuse(deep, 2 * PAWL_JSON_LEVELS + 2, "nested deeper than 64");
    cr_assert_eq(letters(deep + 1, 2 * PAWL_JSON_LEVELS, out, sizeof(out)), 0, "%s", pawl_error());
}

Test(json, skip_passes_a_whole_value)
{
    char bytes[] = "{\"a\":{\"x\":[1,{\"y\":2}]},\"b\":7}";
    struct pawl_json json;
    struct pawl_json_token token;

    pawl_json_open(&json, bytes, sizeof(bytes) - 1, "test", 0);
    pawl_json_next(&json, &token);
    pawl_json_next(&json, &token);
    pawl_json_next(&json, &token);
    cr_assert_eq(pawl_json_skip(&json, &token), 0);
    cr_assert_eq(pawl_json_next(&json, &token), 0);
    cr_assert_str_eq(token.string, "b");
    pawl_json_next(&json, &token);
    cr_assert_eq(pawl_json_skip(&json, &token), 0);  // a scalar has been read already
    cr_assert_eq(pawl_json_next(&json, &token), 0);
    cr_assert_eq(token.kind, PAWL_JSON_OBJECT_END);
    pawl_json_close(&json);
}

// Every prefix and every changed byte of a good text ends in a verdict, within the buffer.
Test(json, damage_is_answered)
{
    const char good[] = "{\"\\u00e9\":[1,-2.5e3,"
                        "\"\xe2\x82\xac\\ud83d\\ude00\",{\"k\":null}],\"z\":true}";
    const size_t size = sizeof(good) - 1;
    char out[64], damaged[sizeof(good)];

    for (size_t i = 0; i < size; i++) {
        cr_assert_eq(letters(good, i, out, sizeof(out)), PAWL_ECORRUPT, "prefix of %zu", i);
        for (int b = 0; b < 256; b++) {
            memcpy(damaged, good, sizeof(good));
            damaged[i] = (char)b;
            const int rc = letters(damaged, size, out, sizeof(out));
            cr_assert(rc == 0 || rc == PAWL_ECORRUPT);
        }
    }
}

// ---- the writer's side

Test(json, numbers_are_the_shortest_that_read_back)
{
    static const struct { double number; const char *text; } row[] = {
        { 0.001, "0.001" }, { 0.1, "0.1" }, { 1, "1.0" }, { -0.0, "-0.0" }, { 1e-5, "1e-05" },
        { 1e300, "1e+300" }, { 1.0 / 3, "0.3333333333333333" },
        { 0.1 + 0.2, "0.30000000000000004" },
        { 5e-324, "4.94065645841247e-324" },
    };
    struct pawl_text text = { 0 };

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        pawl_text_clear(&text);
        pawl_text_number(&text, row[i].number);
        cr_assert_str_eq(text.bytes, row[i].text);
        cr_assert_eq(strtod(text.bytes, NULL), row[i].number);
    }
    pawl_text_clear(&text);
    pawl_text_number(&text, 0.0 / 0.0);
    cr_assert_str_eq(text.bytes, "null");
    pawl_text_free(&text);
}

Test(json, strings_are_escaped)
{
    struct pawl_text text = { 0 };

    pawl_text_string(&text, "a\"b\\c\n\x01\x7f\xe2\x82\xac");
    cr_assert_str_eq(text.bytes, "\"a\\\"b\\\\c\\n\\u0001\\u007f\xe2\x82\xac\"");
    pawl_text_free(&text);
}
