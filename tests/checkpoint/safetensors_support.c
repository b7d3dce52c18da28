// safetensors_support.c - follows the format's description, not pawl's writer.

#include "safetensors_support.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    json_int_t bytes;
} dtypes[] = {
    { "BOOL", 1 }, { "U8", 1 },  { "I8", 1 },  { "F8_E5M2", 1 }, { "F8_E4M3", 1 },
    { "I16", 2 },  { "U16", 2 }, { "F16", 2 }, { "BF16", 2 },    { "I32", 4 },
    { "U32", 4 },  { "F32", 4 }, { "F64", 8 }, { "I64", 8 },     { "U64", 8 },
};

struct extent {
    json_int_t begin, end;
};

static json_int_t element_bytes(const json_t *dtype)
{
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++)
        if (json_is_string(dtype) && !strcmp(json_string_value(dtype), dtypes[i].name))
            return dtypes[i].bytes;
    return 0;
}

static const char *check_entry(const json_t *entry, struct extent *out)
{
    const json_t *offsets = json_object_get(entry, "data_offsets"), *dim;
    json_int_t bytes = element_bytes(json_object_get(entry, "dtype"));
    size_t i;

    if (!bytes) return "unknown dtype";
    if (!json_is_array(json_object_get(entry, "shape")) || json_array_size(offsets) != 2)
        return "no shape or offsets";
    if (json_object_size(entry) != 3) return "an entry with other fields";
    json_array_foreach(json_object_get(entry, "shape"), i, dim) {
        if (!json_is_integer(dim) || json_integer_value(dim) < 0) return "a bad dimension";
        bytes *= json_integer_value(dim);
    }
    out->begin = json_integer_value(json_array_get(offsets, 0));
    out->end = json_integer_value(json_array_get(offsets, 1));
    if (out->end - out->begin != bytes) return "offsets that do not match the shape";
    // Frameworks view the bytes in place, which needs aligned elements.
    if (out->begin % element_bytes(json_object_get(entry, "dtype"))) return "unaligned elements";
    return NULL;
}

static int by_begin(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;

    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static const char *check_header(json_t *root, json_int_t data_bytes, int *tensors)
{
    struct extent *extents = calloc(json_object_size(root) + 1, sizeof(*extents));
    const char *name, *wrong = NULL;
    json_t *entry;
    int count = 0;

    json_object_foreach(root, name, entry) {
        const char *key;
        json_t *value;
        if (strcmp(name, "__metadata__")) {
            wrong = check_entry(entry, &extents[count++]);
            if (wrong) break;
            continue;
        }
        json_object_foreach(entry, key, value)
            if (!json_is_string(value)) wrong = "metadata that is not text";
    }
    qsort(extents, (size_t)count, sizeof(*extents), by_begin);
    for (int i = 0; !wrong && i < count; i++)
        if (extents[i].begin != (i ? extents[i - 1].end : 0)) wrong = "a hole or an overlap";
    if (!wrong && (count ? extents[count - 1].end : 0) != data_bytes)
        wrong = "data that end elsewhere";
    free(extents);
    *tensors = count;
    return wrong;
}

const char *safetensors_check(const char *path, long *data_start, int *tensors)
{
    FILE *file = fopen(path, "rb");
    unsigned char head[8];
    uint64_t length = 0;
    const char *wrong = "cannot be read";
    char *text = NULL;
    json_t *root = NULL;

    if (!file) return wrong;
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    if (fread(head, 1, 8, file) != 8) goto out;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | head[i];
    wrong = "a header longer than the file";
    if (length > 100000000 || (uint64_t)size < 8 + length) goto out;
    text = malloc(length);
    wrong = "cannot be read";
    if (fread(text, 1, length, file) != length) goto out;
    wrong = "a header that does not begin with {";
    if (text[0] != '{') goto out;
    root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    wrong = "a header that is not JSON";
    if (!json_is_object(root)) goto out;
    *data_start = (long)(8 + length);
    wrong = check_header(root, size - *data_start, tensors);
out:
    json_decref(root);
    free(text);
    fclose(file);
    return wrong;
}
