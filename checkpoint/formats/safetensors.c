// safetensors.c - a strict reader of safetensors files.

#include "checkpoint/formats/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/json.h"
#include "kernels/memory.h"

enum { HEADER_MAX = 100000000 };

struct reader {
    struct pawl_document *document;
    const char *path;
    char what[4200];  // "PATH: header", for the words of failures
    int file, first;  // index of the file; weights before this one are of other files
    uint64_t data_start, data_bytes;
    struct pawl_json json;
};

// ---- one tensor

struct fields {
    bool dtype, shape, offsets;
    struct pawl_tensor tensor;
    int rank;
    int64_t dim[PAWL_RANK_MAX], offset[2];
};

static int take_name(struct reader *r, const struct pawl_json_token *key, char *name)
{
    if (key->length > PAWL_NAME_MAX)
        return pawl_json_fail(&r->json, key->at, "a tensor name of %zu bytes is longer than %d",
                              key->length, PAWL_NAME_MAX);
    for (const char *c = key->string; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return pawl_json_fail(&r->json, key->at, "a tensor name has a control character");
    memcpy(name, key->string, key->length + 1);
    return 0;
}

static int take_dtype(struct reader *r, struct fields *f)
{
    struct pawl_json_token token;

    const int rc = pawl_json_expect(&r->json, &token, PAWL_JSON_STRING, "a dtype as a string");
    if (rc) return rc;
    for (int i = 0; i < PAWL_DTYPES; i++) {
        const char *name = pawl_dtype_safetensors((enum pawl_dtype)i);
        if (name && strcmp(token.string, name) == 0) {
            f->tensor.dtype = (enum pawl_dtype)i;
            f->dtype = true;
            return 0;
        }
    }
    return pawl_json_fail(&r->json, token.at, "tensor '%s' has the dtype '%.32s', which this "
                          "version does not know", f->tensor.name, token.string);
}

// An array of whole numbers from 0 up; *count of at most `most`.
static int take_numbers(struct reader *r, const char *name, const char *field, int64_t *out,
                        int most, int *count)
{
    struct pawl_json_token token;

    int rc = pawl_json_expect(&r->json, &token, PAWL_JSON_ARRAY, "a list of integers");
    *count = 0;
    while (!rc) {
        rc = pawl_json_next(&r->json, &token);
        if (rc || token.kind == PAWL_JSON_ARRAY_END) break;
        if (token.kind != PAWL_JSON_INTEGER || token.integer < 0)
            rc = pawl_json_fail(&r->json, token.at, "tensor '%s': %s must be integers from 0 to "
                                "2^63 - 1", name, field);
        else if (*count == most)
            rc = pawl_json_fail(&r->json, token.at, "tensor '%s': more than %d numbers in its %s",
                                name, most, field);
        else
            out[(*count)++] = token.integer;
    }
    return rc;
}

static int take_field(struct reader *r, struct fields *f, const struct pawl_json_token *key)
{
    struct pawl_json_token token;
    int count = 0;

    if (strcmp(key->string, "dtype") == 0) return take_dtype(r, f);
    if (strcmp(key->string, "shape") == 0) {
        f->shape = true;
        return take_numbers(r, f->tensor.name, "shape", f->dim, PAWL_RANK_MAX, &f->rank);
    }
    if (strcmp(key->string, "data_offsets") == 0) {
        f->offsets = true;
        const int rc = take_numbers(r, f->tensor.name, "data_offsets", f->offset, 2, &count);
        if (rc || count == 2) return rc;
        return pawl_json_fail(&r->json, key->at, "tensor '%s': data_offsets must be two integers",
                              f->tensor.name);
    }
    // Other fields are allowed, and mean nothing here.
    const int rc = pawl_json_next(&r->json, &token);
    return rc ? rc : pawl_json_skip(&r->json, &token);
}

static int check_tensor(struct reader *r, struct fields *f)
{
    const char *name = f->tensor.name;
    char shape[128];

    if (!f->dtype || !f->shape || !f->offsets)
        return pawl_json_fail(&r->json, r->json.at, "tensor '%s' has no %s", name,
                              !f->dtype ? "dtype" : !f->shape ? "shape" : "data_offsets");
    if (pawl_tensor_shape(&f->tensor, f->rank, f->dim))
        return pawl_fail(PAWL_ECORRUPT, "%s: tensor '%s': %s", r->what, name, pawl_error());
    if (f->offset[1] < f->offset[0])
        return pawl_fail(PAWL_ECORRUPT, "%s: tensor '%s': its data_offsets end at %lld before they "
                         "begin at %lld", r->what, name, (long long)f->offset[1],
                         (long long)f->offset[0]);
    if ((uint64_t)(f->offset[1] - f->offset[0]) != f->tensor.size_bytes)
        return pawl_fail(PAWL_ECORRUPT, "%s: tensor '%s': %s of %s are %zu bytes, but its "
                         "data_offsets hold %lld", r->what, name,
                         pawl_shape_text(shape, sizeof(shape), f->rank, f->dim),
                         pawl_dtype_name(f->tensor.dtype), f->tensor.size_bytes,
                         (long long)(f->offset[1] - f->offset[0]));
    return 0;
}

// The value of `key` follows.
static int take_tensor(struct reader *r, const struct pawl_json_token *key)
{
    struct fields f = { 0 };
    struct pawl_json_token token;

    int rc = take_name(r, key, f.tensor.name);
    if (!rc) rc = pawl_json_expect(&r->json, &token, PAWL_JSON_OBJECT, "a tensor as an object");
    while (!rc) {
        rc = pawl_json_next(&r->json, &token);
        if (rc || token.kind == PAWL_JSON_OBJECT_END) break;
        rc = take_field(r, &f, &token);
    }
    if (!rc) rc = check_tensor(r, &f);
    if (rc) return rc;
    f.tensor.offset_bytes = (size_t)f.offset[0];
    // A begin beyond the file is found when the layout is checked; the sum must not wrap before.
    if ((uint64_t)f.offset[1] > r->data_bytes)
        return pawl_fail(PAWL_ECORRUPT, "%s: truncated: tensor '%s' ends at byte %llu, but the "
                         "file has %llu", r->path, f.tensor.name,
                         (unsigned long long)r->data_start + (unsigned long long)f.offset[1],
                         (unsigned long long)(r->data_start + r->data_bytes));
    rc = pawl_document_add_entry(&r->document->weights, &r->document->weight_count, &f.tensor,
                                 r->file, r->data_start + (uint64_t)f.offset[0]);
    return rc == PAWL_ECORRUPT ? pawl_fail(rc, "%s: %s", r->what, pawl_error()) : rc;
}

// ---- the header

static int take_metadata(struct reader *r)
{
    struct pawl_json_token token, value;

    int rc = pawl_json_expect(&r->json, &token, PAWL_JSON_OBJECT, "__metadata__ as an object");
    while (!rc) {
        rc = pawl_json_next(&r->json, &token);
        if (rc || token.kind == PAWL_JSON_OBJECT_END) break;
        rc = pawl_json_expect(&r->json, &value, PAWL_JSON_STRING,
                              "a string: __metadata__ holds nothing else");
        if (!rc
            && json_object_set_new(r->document->metadata, token.string, json_string(value.string)))
            rc = pawl_fail(PAWL_ENOMEM, "no memory for metadata");
    }
    return rc;
}

static int take_header(struct reader *r)
{
    struct pawl_json_token token;

    int rc = pawl_json_expect(&r->json, &token, PAWL_JSON_OBJECT, "an object");
    while (!rc) {
        rc = pawl_json_next(&r->json, &token);
        if (rc || token.kind == PAWL_JSON_OBJECT_END) break;
        rc = strcmp(token.string, "__metadata__") == 0 ? take_metadata(r) : take_tensor(r, &token);
    }
    return rc ? rc : pawl_json_expect(&r->json, &token, PAWL_JSON_DONE, "nothing more");
}

// ---- the layout

static int by_place(const void *a, const void *b)
{
    const struct pawl_tensor *x = *(const struct pawl_tensor *const *)a;
    const struct pawl_tensor *y = *(const struct pawl_tensor *const *)b;

    if (x->offset_bytes != y->offset_bytes) return x->offset_bytes < y->offset_bytes ? -1 : 1;
    return x->size_bytes < y->size_bytes ? -1 : x->size_bytes > y->size_bytes;
}

// Sorted by place, each tensor must begin where the one before ended, and the last end the file.
static int check_places(const struct reader *r, const struct pawl_tensor *const *sorted, int count)
{
    const unsigned long long start = r->data_start;
    uint64_t end = 0;

    for (int i = 0; i < count; i++) {
        const struct pawl_tensor *tensor = sorted[i];
        if (tensor->offset_bytes < end)
            return pawl_fail(PAWL_ECORRUPT, "%s: tensors '%s' and '%s' overlap at byte %llu",
                             r->path, sorted[i - 1]->name, tensor->name,
                             start + tensor->offset_bytes);
        if (tensor->offset_bytes > end)
            return pawl_fail(PAWL_ECORRUPT, "%s: a hole: the %llu bytes from %llu, before tensor "
                             "'%s', belong to no tensor", r->path,
                             (unsigned long long)(tensor->offset_bytes - end), start + end,
                             tensor->name);
        end += tensor->size_bytes;
    }
    if (end < r->data_bytes)
        return pawl_fail(PAWL_ECORRUPT, "%s: %llu trailing bytes from %llu belong to no tensor",
                         r->path, (unsigned long long)(r->data_bytes - end), start + end);
    return 0;
}

static int check_layout(const struct reader *r)
{
    const int count = r->document->weight_count - r->first;
    struct pawl_entry *entries = count ? r->document->weights + r->first : NULL;
    const struct pawl_tensor **sorted = NULL;

    int rc = pawl_alloc(&sorted, sizeof(*sorted) * (size_t)count, "the order of tensors");
    if (rc) return rc;
    for (int i = 0; i < count; i++)
        sorted[i] = &entries[i].tensor;
    qsort(sorted, (size_t)count, sizeof(*sorted), by_place);
    rc = check_places(r, sorted, count);
    pawl_free(sorted);
    for (int i = 0; i < count; i++)  // from here on a place in the file, as for every format
        entries[i].tensor.offset_bytes += r->data_start;
    return rc;
}

// ---- the file

// The header's length, checked against the file's.
static int take_length(struct reader *r, uint64_t file_bytes, uint64_t *length)
{
    unsigned char head[8];

    const int rc = pawl_document_read_at(r->document, r->file, 0, head, sizeof(head));
    if (rc) return rc;
    *length = 0;
    for (int i = 7; i >= 0; i--)
        *length = *length << 8 | head[i];
    if (*length > HEADER_MAX)
        return pawl_fail(PAWL_ECORRUPT, "%s: byte 0: a header of %llu bytes is too large: at most "
                         "%d are allowed", r->path, (unsigned long long)*length, HEADER_MAX);
    if (*length > file_bytes - sizeof(head))
        return pawl_fail(PAWL_ECORRUPT, "%s: truncated: its header ends at byte %llu, but the file "
                         "has %llu", r->path, (unsigned long long)*length + 8,
                         (unsigned long long)file_bytes);
    r->data_start = sizeof(head) + *length;
    r->data_bytes = file_bytes - r->data_start;
    return 0;
}

static int read_file(struct reader *r)
{
    uint64_t file_bytes = 0, length = 0;
    char *header = NULL;

    int rc = pawl_document_add_file(r->document, r->path, &r->file, &file_bytes);
    if (!rc) rc = take_length(r, file_bytes, &length);
    if (!rc) rc = pawl_alloc(&header, (size_t)length + 1, "a safetensors header");
    if (!rc) rc = pawl_document_read_at(r->document, r->file, 8, header, (size_t)length);
    if (!rc) {
        pawl_json_open(&r->json, header, (size_t)length, r->what, 8);
        rc = take_header(r);
        pawl_json_close(&r->json);
    }
    pawl_free(header);
    return rc ? rc : check_layout(r);
}

int pawl_safetensors_read(struct pawl_document *document, const char *path)
{
    struct reader *r = NULL;

    int rc = pawl_alloc(&r, sizeof(*r), "a safetensors reader");
    if (rc) return rc;
    r->document = document;
    r->path = path;
    r->first = document->weight_count;
    snprintf(r->what, sizeof(r->what), "%s: header", path);
    rc = read_file(r);
    pawl_free(r);
    return rc;
}
