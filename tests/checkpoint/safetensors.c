// safetensors.c - what the strict reader takes and refuses, and that the writer's files come back.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/cast.h"
#include "checkpoint/document.h"
#include "tests/checkpoint/document_support.h"

#define T(name, dtype, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape \
    ",\"data_offsets\":[" begin "," end "]}"

static struct pawl_document *document;

static int read_header(const char *header, size_t data_bytes)
{
    const char *path = scratch("a.safetensors");

    pawl_document_free(document);
    document = NULL;
    write_safetensors_file(path, header, data_bytes);
    return pawl_document_read(&document, path);
}

static void refuse_file(int rc, const char *what, const char *words)
{
    cr_assert_eq(rc, PAWL_ECORRUPT, "%d for %s: %s", rc, what, rc ? pawl_error() : "taken");
    cr_assert(strstr(pawl_error(), words), "%s: '%s' lacks '%s'", what, pawl_error(), words);
    cr_assert(strstr(pawl_error(), "a.safetensors"), "%s", pawl_error());
    cr_assert_null(document);
}

Test(safetensors, refuses_headers)
{
    static const struct { const char *header; size_t data; const char *words; } row[] = {
        { "not json", 0, "not JSON" },
        { "[]", 0, "expected an object" },
        { "{}x", 0, "nothing more" },
        { "{\"a\":3}", 0, "tensor as an object" },
        { "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no dtype" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "no data_offsets" },
        { "{" T("a", "Q7", "[1]", "0", "4") "}", 4, "dtype 'Q7'" },
        { "{" T("a", "float32", "[1]", "0", "4") "}", 4, "dtype 'float32'" },
        { "{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype" },
        { "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
          "'dtype' twice" },
        { "{" T("a", "F32", "[1]", "0", "4") "," T("a", "F32", "[1]", "4", "8") "}", 8,
          "'a' twice" },
        { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "'__metadata__' twice" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "a string" },
        { "{\"__metadata__\":[]}", 0, "__metadata__ as an object" },
        { "{" T("a", "F32", "[1]", "0.0", "4e0") "}", 4, "integers" },
        { "{" T("a", "F32", "[1]", "-4", "0") "}", 4, "integers" },
        { "{" T("a", "F32", "[-1]", "0", "4") "}", 4, "integers" },
        { "{" T("a", "F32", "[1]", "0", "18446744073709551615") "}", 4, "integers" },
        { "{" T("a", "F32", "1", "0", "4") "}", 4, "list" },
        { "{" T("a", "F32", "[[1]]", "0", "4") "}", 4, "integers" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "two integers" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "more than 2" },
        { "{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "more than 8" },
        { "{" T("a", "F32", "[1]", "4", "0") "}", 4, "before they begin" },
        { "{" T("a", "F32", "[4]", "0", "4") "}", 4, "[4] of float32 are 16 bytes" },
        { "{" T("a", "F32", "[]", "0", "0") "}", 0, "4 bytes" },
        { "{" T("a", "F32", "[4611686018427387904,4]", "0", "0") "}", 0, "overflow" },
        { "{" T("a", "F32", "[4611686018427387904]", "0", "0") "}", 0, "overflow" },
        { "{" T("a", "U8", "[4194305,4194305,211106198978564]", "0", "4") "}", 4, "overflow" },
        { "{" T("a", "F32", "[2]", "0", "8") "}", 4, "truncated" },
        { "{" T("a", "U8", "[4]", "9223372036854775803", "9223372036854775807") "}", 4,
          "truncated" },
        { "{" T("a", "F32", "[1]", "0", "4") "}", 5, "trailing" },
        { "{}", 1, "trailing" },
        { "{" T("a", "F32", "[1]", "4", "8") "}", 8, "hole" },
        { "{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "8", "12") "}", 12, "hole" },
        { "{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[1]", "4", "8") "}", 8, "overlap" },
        { "{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "0", "4") "}", 4, "overlap" },
        { "{" T("a\\u0007", "F32", "[1]", "0", "4") "}", 4, "control character" },
        { "{" T("a\\u0000b", "F32", "[1]", "0", "4") "}", 4, "NUL" },
    };

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
        refuse_file(read_header(row[i].header, row[i].data), row[i].header, row[i].words);
}

Test(safetensors, refuses_files_that_end_too_early)
{
    const char *path = scratch("a.safetensors");
    static const struct { const char *bytes; size_t size; const char *words; } row[] = {
        { "", 0, "empty" },
        { "\1", 1, "truncated" },
        { "\2\0\0\0\0\0\0\0", 8, "truncated" },
        { "\3\0\0\0\0\0\0\0{}", 10, "truncated: its header ends at byte 11" },
        { "\0\0\0\0\0\0\0\200{}", 10, "too large" },
        { "\1\341\365\5\0\0\0\0{}", 10, "too large" },   // 100,000,001
        { "\0\341\365\5\0\0\0\0{}", 10, "truncated" },   // 100,000,000
        { "\0\0\0\0\0\0\0\0{}", 10, "not JSON" },
        { "\4\0\0\0\0\0\0\0{}\0\0", 12, "0x00" },
        { "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 56, "LFS" },
        { "<!DOCTYPE html><html></html>", 28, "web page" },
    };

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        write_bytes(path, row[i].bytes, row[i].size);
        refuse_file(pawl_document_read(&document, path), row[i].words, row[i].words);
    }
}

Test(safetensors, takes_what_is_odd_but_allowed)
{
    static const struct { const char *header; size_t data; int count; } row[] = {
        { "{}", 0, 0 },
        { "{\"__metadata__\":{\"k\":\"v\"}}", 0, 0 },
        { "  \n{" T("a", "F32", "[1]", "0", "4") "}   ", 4, 1 },
        { "{" T("b", "F32", "[1]", "4", "8") "," T("a", "F32", "[1]", "0", "4") "}", 8, 2 },
        { "{" T("a", "F32", "[0,3]", "0", "0") "," T("b", "F32", "[]", "0", "4") ","
          T("c", "F32", "[0]", "4", "4") "," T("d", "F32", "[0]", "4", "4") "}", 4, 4 },
        { "{\"a\":{\"dtype\":\"U8\",\"x\":[{}],\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 1 },
        { "{" T("\xc3\xa9/\\u00e9 \\\"", "U8", "[1]", "0", "1") "}", 1, 1 },
        { "{" T("", "U8", "[1]", "0", "1") "}", 1, 1 },
    };

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        cr_assert_eq(read_header(row[i].header, row[i].data), 0, "%s: %s", row[i].header,
                     pawl_error());
        cr_assert_eq(document->weight_count, row[i].count);
    }
    pawl_document_free(document);
}

Test(safetensors, elements_come_from_their_place)
{
    unsigned char bytes[6] = { 0 };

    cr_assert_eq(read_header("{" T("b", "U8", "[2,3]", "2", "8") "," T("a", "U16", "[1]", "0", "2")
                             ",\"__metadata__\":{\"who\":\"me\"}}", 8), 0, "%s", pawl_error());
    cr_assert_str_eq(document->format, "safetensors");
    cr_assert_str_eq(json_string_value(json_object_get(document->metadata, "who")), "me");
    const struct pawl_entry *b = pawl_document_find(document, "b");
    cr_assert_eq(b, &document->weights[0]);
    cr_assert_eq(b->tensor.rank, 2);
    cr_assert_eq(b->tensor.dim[1], 3);
    cr_assert_eq(pawl_document_fetch(document, b, bytes), 0);
    cr_assert_arr_eq(bytes, ((unsigned char[]){ 2, 3, 4, 5, 6, 7 }), 6);
    cr_assert_eq(pawl_document_fetch_part(document, b, 4, 2, bytes), 0);
    cr_assert_arr_eq(bytes, ((unsigned char[]){ 6, 7 }), 2);
    cr_assert_eq(pawl_document_fetch_part(document, b, 5, 2, bytes), PAWL_EINVAL);
    cr_assert_null(pawl_document_find(document, "c"));
    pawl_document_free(document);
}

Test(safetensors, names_are_bounded)
{
    char header[512], name[300];

    memset(name, 'n', sizeof(name));
    name[256] = 0;
    snprintf(header, sizeof(header), "{" T("%s", "U8", "[1]", "0", "1") "}", name);
    refuse_file(read_header(header, 1), "a long name", "longer than 255");
    name[255] = 0;
    snprintf(header, sizeof(header), "{" T("%s", "U8", "[1]", "0", "1") "}", name);
    cr_assert_eq(read_header(header, 1), 0, "%s", pawl_error());
    pawl_document_free(document);
}

Test(safetensors, tensors_are_bounded)
{
    const size_t room = 64 * (PAWL_TENSORS_MAX + 2);
    char *header = malloc(room);
    size_t used = 0;

    for (int i = 0; i <= PAWL_TENSORS_MAX; i++)
        used += (size_t)snprintf(header + used, room - used, "%c" T("%d", "U8", "[0]", "0", "0"),
                                 i ? ',' : '{', i);
    snprintf(header + used, room - used, "}");
    refuse_file(read_header(header, 0), "too many", "more than 131072 tensors");
    free(header);
}

// Each byte of a good file changed, and each prefix of it: a verdict, never a crash or a read
// beyond, and a file cut short is never taken.
Test(safetensors, damage_is_answered)
{
    const char header[] = "{\"__metadata__\":{\"k\":\"v\"}," T("a", "F32", "[2]", "0", "8") ","
                          T("b", "BF16", "[1,2]", "8", "12") "}";
    const char *path = scratch("a.safetensors");
    char bytes[8 + sizeof(header) - 1 + 12] = { (char)(sizeof(header) - 1) };
    char damaged[sizeof(bytes)];
    int taken = 0;

    memcpy(bytes + 8, header, sizeof(header) - 1);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        write_bytes(path, bytes, i);
        const int rc = pawl_document_read(&document, path);
        cr_assert(rc == PAWL_ECORRUPT || rc == PAWL_ENOTSUP, "prefix %zu: %d", i, rc);
        for (int bit = 0; bit < 8; bit++) {
            memcpy(damaged, bytes, sizeof(bytes));
            damaged[i] = (char)(damaged[i] ^ 1 << bit);
            write_bytes(path, damaged, sizeof(damaged));
            if (pawl_document_read(&document, path) == 0) {
                taken++;
                pawl_document_free(document);
                document = NULL;
            }
        }
    }
    // What is taken are changed names, metadata, same-sized types and the 96 bits of data.
    cr_assert(taken >= 96 && taken < 200, "%d", taken);
}

// ---- several files and an index

static int read_indexed(const char *index)
{
    pawl_document_free(document);
    document = NULL;
    mkdir(scratch("a.safetensors"), 0700);  // so that refuse_file finds its name in the words
    write_bytes(scratch("a.safetensors/m.safetensors.index.json"), index, strlen(index));
    return pawl_document_read(&document, scratch("a.safetensors"));
}

Test(safetensors, an_index_joins_files)
{
    unsigned char byte;

    mkdir(scratch("a.safetensors"), 0700);
    write_safetensors_file(scratch("a.safetensors/1.safetensors"), "{" T("x", "U8", "[1]", "0", "1")
                           "," T("y", "U8", "[1]", "1", "2") "}", 2);
    write_safetensors_file(scratch("a.safetensors/2.safetensors"), "{" T("z", "U8", "[3]", "0", "3")
                           "}", 3);
    cr_assert_eq(read_indexed("{\"metadata\":{\"total_size\":5.0,\"x\":[]},\"weight_map\":{\"z\":"
                              "\"2.safetensors\",\"x\":\"1.safetensors\",\"y\":"
                              "\"1.safetensors\"}}"), 0, "%s", pawl_error());
    cr_assert_str_eq(document->format, "safetensors");
    cr_assert_eq(document->weight_count, 3);
    cr_assert_eq(json_array_size(document->warnings), 0);
    cr_assert_eq(pawl_document_fetch_part(document, pawl_document_find(document, "z"), 2, 1, &byte),
                 0);
    cr_assert_eq(byte, 2);
    cr_assert_eq(pawl_document_fetch(document, pawl_document_find(document, "y"), &byte), 0);
    cr_assert_eq(byte, 1);

    cr_assert_eq(read_indexed("{\"weight_map\":{\"x\":\"1.safetensors\"}}"), 0);
    cr_assert_eq(json_array_size(document->warnings), 1);  // y is not named
    refuse_file(read_indexed("{\"weight_map\":{\"z\":\"1.safetensors\",\"x\":\"2.safetensors\"}}"),
                "swapped", "not in");
    refuse_file(read_indexed("{\"weight_map\":{\"x\":\"1.safetensors\",\"w\":\"1.safetensors\"}}"),
                "missing", "tensor 'w' is not in 1.safetensors");
    refuse_file(read_indexed("{\"weight_map\":{\"x\":\"3.safetensors\"}}"), "no file",
                "3.safetensors, which it names, is not there");
    write_safetensors_file(scratch("a.safetensors/3.safetensors"), "{" T("x", "U8", "[1]", "0", "1")
                           "}", 1);
    refuse_file(read_indexed("{\"weight_map\":{\"x\":\"1.safetensors\",\"z\":\"3.safetensors\"}}"),
                "twice", "two of its files hold a tensor 'x'");
}

Test(safetensors, an_index_reaches_nowhere_else)
{
    static const char *const names[] = {
        "../x.safetensors", "/etc/x.safetensors", "d/x.safetensors", "..\\\\x.safetensors",
        ".x.safetensors", "x.json", ".safetensors", "",
    };
    char index[400];

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(index, sizeof(index), "{\"weight_map\":{\"x\":\"%s\"}}", names[i]);
        refuse_file(read_indexed(index), names[i], "plain name");
    }
    refuse_file(read_indexed("{\"weight_map\":{\"x\":1}}"), "number", "a file's name");
    refuse_file(read_indexed("{\"weight_map\":[]}"), "list", "as an object");
    refuse_file(read_indexed("{\"weight_map\":{},\"weight_map\":{}}"), "twice", "twice");
    refuse_file(read_indexed("{}"), "nothing", "no weight_map");
    refuse_file(read_indexed("{\"weight_map\":{}} x"), "more", "nothing more");
}

// ---- writing

static void read_back(const char *path)
{
    pawl_document_free(document);
    document = NULL;
    cr_assert_eq(pawl_document_read(&document, path), 0, "%s", pawl_error());
}

Test(safetensors, what_is_written_comes_back)
{
    struct pawl_document *first;
    const char *out = scratch("out.safetensors"), *again = scratch("again.safetensors");
    unsigned char bytes[8];

    cr_assert_eq(read_header("{" T("a", "U8", "[3]", "0", "3") "," T("\xc3\xa9\\\"", "F64", "[1,1]",
                             "3", "11") "," T("e", "BF16", "[0]", "11", "11") ","
                             T("s", "BOOL", "[]", "11", "12")
                             ",\"__metadata__\":{\"who\":\"me\",\"format\":\"tf\"}}", 12), 0);
    first = document;
    document = NULL;
    cr_assert_eq(pawl_document_write(first, out, NULL), 0, "%s", pawl_error());
    read_back(out);
    cr_assert_eq(document->weight_count, 4);
    // The eight-byte type lies first, at a multiple of 8.
    cr_assert_str_eq(document->weights[0].tensor.name, "\xc3\xa9\"");
    cr_assert_eq(document->weights[0].tensor.offset_bytes % 8, 0);
    cr_assert_eq(pawl_document_fetch(document, &document->weights[0], bytes), 0);
    cr_assert_arr_eq(bytes, ((unsigned char[]){ 3, 4, 5, 6, 7, 8, 9, 10 }), 8);
    cr_assert_eq(pawl_document_fetch(document, pawl_document_find(document, "a"), bytes), 0);
    cr_assert_arr_eq(bytes, ((unsigned char[]){ 0, 1, 2 }), 3);
    cr_assert_eq(pawl_document_find(document, "s")->tensor.rank, 0);
    cr_assert_str_eq(json_string_value(json_object_get(document->metadata, "format")), "tf");
    cr_assert_eq(pawl_document_write(document, again, NULL), 0);
    cr_assert(same_files(out, again));
    pawl_document_free(first);
    pawl_document_free(document);
}

Test(safetensors, writing_never_replaces_unasked_nor_leaves_a_piece)
{
    const char *out = scratch("out.safetensors");
    const struct pawl_write_options force = { .force = true };

    cr_assert_eq(read_header("{" T("a", "F32", "[1]", "0", "4") "}", 4), 0);
    write_bytes(out, "precious", 8);
    cr_assert_eq(pawl_document_write(document, out, NULL), PAWL_EBUSY);
    cr_assert(strstr(pawl_error(), "--force"), "%s", pawl_error());
    cr_assert_eq(pawl_document_write(document, out, &force), 0, "%s", pawl_error());
    cr_assert_eq(scratch_entries(), 2);

    // The source loses its bytes: the copy fails in the middle, and the old file stays.
    cr_assert_eq(truncate(scratch("a.safetensors"), 20), 0);
    cr_assert_eq(pawl_document_write(document, out, &force), PAWL_ECORRUPT);
    cr_assert_eq(scratch_entries(), 2);
    read_back(out);
    cr_assert_eq(document->weight_count, 1);
    pawl_document_free(document);
}

Test(safetensors, refuses_to_write_what_it_cannot_hold)
{
    struct pawl_tensor tensor = { .name = "z", .dtype = PAWL_C128 };
    struct pawl_document *made;

    cr_assert_eq(pawl_document_new(&made), 0);
    pawl_tensor_shape(&tensor, 1, (int64_t[]){ 0 });
    cr_assert_eq(pawl_document_add_entry(&made->weights, &made->weight_count, &tensor, -1, 0), 0);
    cr_assert_eq(pawl_document_write(made, scratch("z.safetensors"), NULL), PAWL_ENOTSUP);
    cr_assert(strstr(pawl_error(), "'z' is complex128"), "%s", pawl_error());
    made->weights[0].tensor.dtype = PAWL_F32;
    cr_assert_eq(pawl_document_add_entry(&made->weights, &made->weight_count, &tensor, -1, 0), 0);
    made->weights[1].tensor.dtype = PAWL_F32;
    cr_assert_eq(pawl_document_write(made, scratch("z.safetensors"), NULL), PAWL_ECORRUPT);
    cr_assert(strstr(pawl_error(), "two tensors"), "%s", pawl_error());
    cr_assert_not(exists(scratch("z.safetensors")));
    pawl_document_free(made);
}

Test(safetensors, a_header_is_bounded_when_written)
{
    const size_t size = 100000001;
    char *text = malloc(size + 1);
    struct pawl_document *made;

    memset(text, 'x', size);
    text[size] = 0;
    cr_assert_eq(pawl_document_new(&made), 0);
    json_object_set_new(made->metadata, "k", json_string(text));
    cr_assert_eq(pawl_document_write(made, scratch("z.safetensors"), NULL), PAWL_ENOTSUP);
    cr_assert(strstr(pawl_error(), "larger than safetensors allows"), "%s", pawl_error());
    free(text);
    pawl_document_free(made);
}

// ---- casts

Test(safetensors, casts_while_writing)
{
    const struct pawl_write_options as_half = { .cast = true, .dtype = PAWL_F16 };
    const struct { float a[3]; uint8_t i; } data = { { 1, -2.5f, 65520 }, 7 };
    uint16_t half[3];

    write_safetensors_with(scratch("a.safetensors"), "{" T("a", "F32", "[3]", "0", "12") ","
                           T("i", "U8", "[1]", "12", "13") "}", &data, 13);
    cr_assert_eq(pawl_document_read(&document, scratch("a.safetensors")), 0, "%s", pawl_error());
    cr_assert_eq(pawl_document_write(document, scratch("h.safetensors"), &as_half), 0);
    read_back(scratch("h.safetensors"));
    const struct pawl_entry *a = pawl_document_find(document, "a");
    cr_assert_eq(a->tensor.dtype, PAWL_F16);
    cr_assert_eq(pawl_document_find(document, "i")->tensor.dtype, PAWL_U8);
    cr_assert_eq(pawl_document_fetch(document, a, half), 0);
    cr_assert_arr_eq(half, ((uint16_t[]){ 0x3c00, 0xc100, 0x7c00 }), sizeof(half));
    pawl_document_free(document);
}

Test(safetensors, casts_round_to_nearest_even)
{
    static const struct { float value; uint16_t half, brain; } row[] = {
        { 0, 0, 0 },
        { -0.0f, 0x8000, 0x8000 },
        { 1, 0x3c00, 0x3f80 },
        { 1 + 0x1p-11f, 0x3c00, 0x3f80 },            // half way: to even
        { 1 + 0x1p-11f + 0x1p-20f, 0x3c01, 0x3f80 },
        { 1 + 0x3p-11f, 0x3c02, 0x3f80 },            // half way: to even, upwards
        { 1 + 0x1p-8f, 0x3c04, 0x3f80 },
        { 1 + 0x3p-8f, 0x3c0c, 0x3f82 },
        { 65504, 0x7bff, 0x4780 },
        { 65519, 0x7bff, 0x4780 },
        { 65520, 0x7c00, 0x4780 },
        { 0x1p-24f, 0x0001, 0x3380 },
        { 0x1p-25f, 0x0000, 0x3300 },                // half of the smallest: to even, zero
        { 0x1.8p-25f, 0x0001, 0x3340 },
        { 0x1.ffep-15f, 0x0400, 0x3880 },            // rounds up into the normal numbers
        { 0x1p-133f, 0, 0x0001 },
        { 3.4028235e38f, 0x7c00, 0x7f80 },
        { -(float)INFINITY, 0xfc00, 0xff80 },
    };
    uint16_t bits;

    for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
        pawl_cast(&bits, PAWL_F16, &row[i].value, PAWL_F32, 1);
        cr_assert_eq(bits, row[i].half, "%a: half 0x%04x", (double)row[i].value, bits);
        pawl_cast(&bits, PAWL_BF16, &row[i].value, PAWL_F32, 1);
        cr_assert_eq(bits, row[i].brain, "%a: bfloat16 0x%04x", (double)row[i].value, bits);
    }
}

Test(safetensors, casts_there_and_back_keep_every_half)
{
    for (unsigned bits = 0; bits < 65536; bits++) {
        const uint16_t half = (uint16_t)bits;
        uint16_t back;
        float f;
        double d;

        pawl_cast(&f, PAWL_F32, &half, PAWL_F16, 1);
        pawl_cast(&back, PAWL_F16, &f, PAWL_F32, 1);
        cr_assert(isnan(f) ? (back & 0x7fff) > 0x7c00 : back == half, "0x%04x", bits);
        pawl_cast(&d, PAWL_F64, &half, PAWL_BF16, 1);
        pawl_cast(&back, PAWL_BF16, &d, PAWL_F64, 1);
        cr_assert(isnan(d) ? (back & 0x7fff) > 0x7f80 : back == half, "0x%04x", bits);
    }
}
