// npz.c - the format `npz`: a zip archive of NumPy arrays, NAME.npy each. Weights alone.
//
// NumPy has no bfloat16 and no float8: they are written as the unsigned integers of their bits, and
// their names and types stand in the array `pawl.json` (text as uint8), as does the metadata.

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/cast.h"
#include "checkpoint/containers/npy.h"
#include "checkpoint/containers/zip.h"
#include "checkpoint/formats/formats.h"
#include "checkpoint/names.h"
#include "checkpoint/text.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { CHUNK_BYTES = 4 << 20, NOTES_MAX = 64 << 20 };

static const char NOTES[] = "pawl.json.npy";

static bool ends_in_npy(const char *name, size_t length)
{
    return length > 4 && !memcmp(name + length - 4, ".npy", 4);
}

static bool detect(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    (void)path;
    if (directory || head_bytes < 30) return false;
    if (memcmp(head, "PK\3\4", 4)) return !memcmp(head, "\x93NUMPY", 6);
    const size_t length = (size_t)(head[26] | head[27] << 8);
    return length <= head_bytes - 30 && ends_in_npy((const char *)head + 30, length);
}

// ---- reading

// An array of another byte or column order: what lies in the file is not what is fetched.
struct turned {
    const struct pawl_document *document;
    int file;
    struct pawl_npy_header header;
    size_t element, swap;  // swap: bytes of what is reversed (half an element of complex numbers)
    char *whole;           // column-major arrays: all of it, while it is read
};

static void swap_bytes(const struct turned *t, char *bytes, size_t size)
{
    for (size_t at = 0; at + t->swap <= size; at += t->swap)
        for (size_t i = 0; i < t->swap / 2; i++) {
            const char byte = bytes[at + i];
            bytes[at + i] = bytes[at + t->swap - 1 - i];
            bytes[at + t->swap - 1 - i] = byte;
        }
}

static int load_columns(struct turned *t)
{
    const struct pawl_npy_header *h = &t->header;
    const size_t size = (size_t)h->count * t->element;
    int64_t at[PAWL_RANK_MAX] = { 0 };
    char *columns = NULL;

    int rc = pawl_alloc(&columns, size, "an array by columns");
    if (!rc) rc = pawl_alloc(&t->whole, size, "an array by columns");
    if (!rc) rc = pawl_document_read_at(t->document, t->file, h->offset_bytes, columns, size);
    for (int64_t i = 0; i < h->count && !rc; i++) {
        int64_t place = 0;
        for (int d = 0; d < h->rank; d++)
            place = place * h->dim[d] + at[d];
        memcpy(t->whole + (size_t)place * t->element, columns + (size_t)i * t->element,
               t->element);
        for (int d = 0; d < h->rank && ++at[d] == h->dim[d]; d++)
            at[d] = 0;
    }
    pawl_free(columns);
    if (!rc) return 0;
    pawl_free(t->whole);
    t->whole = NULL;
    return rc;
}

static int read_turned(void *context, uint64_t offset, void *out, size_t size)
{
    struct turned *t = context;
    const uint64_t all = (uint64_t)t->header.count * t->element;
    int rc = 0;

    if (offset % t->element || size % t->element)
        return pawl_fail(PAWL_EINVAL, "a part of an array must be whole elements");
    if (t->header.fortran) {
        rc = t->whole || !size ? 0 : load_columns(t);
        if (!rc && size) memcpy(out, t->whole + offset, size);
    } else {
        rc = pawl_document_read_at(t->document, t->file, t->header.offset_bytes + offset, out,
                                   size);
    }
    if (!rc && t->header.big_endian) swap_bytes(t, out, size);
    if (offset + size == all) {
        pawl_free(t->whole);
        t->whole = NULL;
    }
    return rc;
}

static void free_turned(void *context)
{
    struct turned *t = context;

    pawl_free(t->whole);
    pawl_free(t);
}

static int add_turned(struct pawl_document *document, const char *path,
                      const struct pawl_npy_header *header, int *file)
{
    struct pawl_made made = { .read = read_turned, .free = free_turned };
    const bool complex = header->dtype == PAWL_C64 || header->dtype == PAWL_C128;
    struct turned *t = NULL;

    int rc = pawl_alloc(&t, sizeof(*t), "an array");
    if (rc) return rc;
    *t = (struct turned){ document, *file, *header, pawl_dtype_bytes(header->dtype), 0, NULL };
    t->swap = complex ? t->element / 2 : t->element;
    made.context = t;
    made.size_bytes = (uint64_t)header->count * t->element;
    rc = pawl_document_add_made(document, path, &made, file);
    if (rc) pawl_free(t);
    return rc;
}

// What pawl wrote as integers goes back to its own type.
static int restore_type(enum pawl_dtype *dtype, const json_t *notes, const char *name)
{
    const char *type = json_string_value(json_object_get(json_object_get(notes, "dtypes"), name));
    enum pawl_dtype known;

    if (!type) return 0;
    const int rc = pawl_dtype_parse(&known, type);
    if (!rc && pawl_dtype_bytes(known) == pawl_dtype_bytes(*dtype)) *dtype = known;
    return rc;
}

// The array that begins at byte 0 of a document's file.
static int take_array(struct pawl_document *document, int file, uint64_t size, const char *what,
                      const char *name)
{
    struct pawl_npy_header header;
    struct pawl_tensor tensor;
    char *head = NULL;
    const size_t head_bytes = size < PAWL_NPY_HEAD_MAX ? (size_t)size : PAWL_NPY_HEAD_MAX;

    if (snprintf(tensor.name, sizeof(tensor.name), "%s", name) > PAWL_NAME_MAX)
        return pawl_fail(PAWL_ECORRUPT, "%s: its name is longer than %d bytes", what,
                         PAWL_NAME_MAX);
    int rc = pawl_alloc(&head, head_bytes, "an npy header");
    if (!rc) rc = pawl_document_read_at(document, file, 0, head, head_bytes);
    if (!rc) rc = pawl_npy_parse(&header, what, head, head_bytes, size);
    pawl_free(head);
    if (rc) return rc;
    const json_t *notes = json_object_get(document->metadata, NOTES);
    uint64_t offset = header.offset_bytes;
    tensor.dtype = header.dtype;
    if (header.big_endian || (header.fortran && header.rank > 1)) {
        offset = 0;
        rc = add_turned(document, what, &header, &file);
    }
    if (!rc) rc = restore_type(&tensor.dtype, notes, name);
    if (!rc) rc = pawl_tensor_shape(&tensor, header.rank, header.dim);
    tensor.offset_bytes = 0;
    return rc ? rc : pawl_document_add_entry(&document->weights, &document->weight_count, &tensor,
                                             file, offset);
}

static int take_member(struct pawl_document *document, const struct pawl_zip *zip,
                       const struct pawl_zip_member *member)
{
    const size_t length = strlen(member->name);
    char what[4500], name[PAWL_NAME_MAX + 8];
    int file;

    if (!strcmp(member->name, NOTES)) return 0;
    if (!ends_in_npy(member->name, length)) {
        pawl_document_warn(document, "member '%.150s' is no array: not read", member->name);
        return 0;
    }
    snprintf(what, sizeof(what), "%s: array '%.150s'", zip->what, member->name);
    snprintf(name, sizeof(name), "%.*s", (int)(length - 4 < PAWL_NAME_MAX + 1 ? length - 4
                                                                             : PAWL_NAME_MAX + 1),
             member->name);
    // The header is read by itself, so the whole is checked before its elements are given out.
    int rc = pawl_zip_file(zip, member, false, &file);
    return rc ? rc : take_array(document, file, member->size, what, name);
}

// What pawl said about the arrays when it wrote them.
static int take_notes(struct pawl_document *document, const struct pawl_zip *zip)
{
    const struct pawl_zip_member *member = pawl_zip_find(zip, NOTES);
    struct pawl_npy_header header;
    json_t *notes = NULL;
    char *bytes = NULL;
    size_t size = 0;

    if (!member) return 0;
    int rc = pawl_zip_load(zip, member, NOTES_MAX, &bytes, &size);
    if (!rc)
        rc = pawl_npy_parse(&header, zip->what, bytes,
                            size < PAWL_NPY_HEAD_MAX ? size : PAWL_NPY_HEAD_MAX, size);
    if (!rc && header.dtype == PAWL_U8)
        notes = json_loadb(bytes + header.offset_bytes, (size_t)header.count,
                           JSON_REJECT_DUPLICATES, NULL);
    pawl_free(bytes);
    if (rc) return rc;
    if (!json_is_object(notes)) {
        json_decref(notes);
        return pawl_fail(PAWL_ECORRUPT, "%s: its member %s is no JSON object", zip->what, NOTES);
    }
    const json_t *metadata = json_object_get(notes, "metadata");
    if (json_is_object(metadata))
        json_object_update(document->metadata, (json_t *)(uintptr_t)metadata);
    json_object_set_new(document->metadata, NOTES, notes);
    return 0;
}

static int read_npz(struct pawl_document *document, const char *path)
{
    struct pawl_zip *zip = NULL;
    uint64_t range[2] = { 0, 0 };
    char magic[6] = "";
    int file;

    int rc = pawl_document_add_file(document, path, &file, &range[1]);
    if (!rc && range[1] >= 6) rc = pawl_document_read_at(document, file, 0, magic, 6);
    const bool lone = !rc && !memcmp(magic, "\x93NUMPY", 6);
    snprintf(document->format_version, sizeof(document->format_version), lone ? "npy" : "zip");
    if (lone) return take_array(document, file, range[1], path, "array");
    if (!rc) rc = pawl_zip_open(&zip, document, file, range, path);
    if (!rc) rc = take_notes(document, zip);
    for (int i = 0; !rc && i < zip->count; i++)
        rc = take_member(document, zip, &zip->members[i]);
    json_object_del(document->metadata, NOTES);
    pawl_zip_free(zip);
    return rc;
}

// ---- writing

static enum pawl_dtype carrier(enum pawl_dtype dtype)
{
    return pawl_npy_descr(dtype) ? dtype : pawl_dtype_bytes(dtype) == 1 ? PAWL_U8 : PAWL_U16;
}

static enum pawl_dtype stored_as(const struct pawl_write_options *options,
                                 const struct pawl_entry *entry)
{
    return options->cast && pawl_dtype_casts(entry->tensor.dtype) ? options->dtype
                                                                  : entry->tensor.dtype;
}

static int put_array(struct pawl_zip_writer *zip, const struct pawl_document *document,
                     const struct pawl_entry *entry, enum pawl_dtype dtype, char *chunk)
{
    const size_t element = pawl_dtype_bytes(dtype);
    const int64_t count = (int64_t)(entry->tensor.size_bytes
                                    / pawl_dtype_bytes(entry->tensor.dtype));
    const int64_t most = CHUNK_BYTES / (int64_t)element;
    char head[PAWL_NPY_HEAD_ROOM], name[PAWL_NAME_MAX + 8];
    const size_t head_bytes = pawl_npy_format(head, carrier(dtype), entry->tensor.rank,
                                              entry->tensor.dim);

    snprintf(name, sizeof(name), "%s.npy", entry->tensor.name);
    int rc = pawl_zip_begin(zip, name, head_bytes + (uint64_t)count * element);
    if (!rc) rc = pawl_zip_put(zip, head, head_bytes);
    for (int64_t done = 0; done < count && !rc; done += most) {
        const int64_t now = count - done < most ? count - done : most;
        rc = pawl_document_fetch_as(document, entry, done, now, dtype, chunk);
        if (!rc) rc = pawl_zip_put(zip, chunk, (size_t)now * element);
    }
    return rc ? rc : pawl_zip_end(zip);
}

// Names become members' names, which a reader refuses when they climb.
static int check_names(const struct pawl_document *document)
{
    struct pawl_names names = { 0 };
    int rc = 0;

    for (int i = 0; i < document->weight_count && !rc; i++) {
        const char *name = document->weights[i].tensor.name;
        if (*name == '/' || strstr(name, "..") || strchr(name, '\\') || !*name)
            rc = pawl_fail(PAWL_ENOTSUP, "tensor '%s' would be no safe file name in an npz archive",
                           name);
    }
    if (rc || !document->weight_count) return rc;
    rc = pawl_names_build(&names, document->weight_count, document->weights[0].tensor.name,
                          sizeof(*document->weights));
    if (!rc && names.twice)
        rc = pawl_fail(PAWL_ENOTSUP, "two tensors are called '%s', which npz cannot hold",
                       names.twice);
    pawl_names_free(&names);
    return rc;
}

static int put_notes(struct pawl_zip_writer *zip, const struct pawl_document *document,
                     const struct pawl_write_options *options)
{
    json_t *notes = json_object(), *dtypes = json_object();
    char head[PAWL_NPY_HEAD_ROOM];
    struct pawl_text text = { 0 };
    int rc = 0;

    for (int i = 0; i < document->weight_count; i++) {
        const enum pawl_dtype dtype = stored_as(options, &document->weights[i]);
        if (!pawl_npy_descr(dtype))
            json_object_set_new(dtypes, document->weights[i].tensor.name,
                                json_string(pawl_dtype_name(dtype)));
    }
    if (json_object_size(dtypes)) json_object_set(notes, "dtypes", dtypes);
    if (json_object_size(document->metadata))
        json_object_set(notes, "metadata", document->metadata);
    if (json_object_size(notes)) {
        pawl_text_json(&text, notes);
        rc = pawl_text_check(&text);
        const int64_t count = (int64_t)text.size;
        const size_t head_bytes = pawl_npy_format(head, PAWL_U8, 1, &count);
        if (!rc) rc = pawl_zip_begin(zip, NOTES, head_bytes + text.size);
        if (!rc) rc = pawl_zip_put(zip, head, head_bytes);
        if (!rc) rc = pawl_zip_put(zip, text.bytes, text.size);
        if (!rc) rc = pawl_zip_end(zip);
    }
    pawl_text_free(&text);
    json_decref(dtypes);
    json_decref(notes);
    return rc;
}

static int put_all(const struct pawl_document *document, const char *path, int fd,
                   const struct pawl_write_options *options)
{
    struct pawl_zip_writer zip;
    char *chunk = NULL;

    pawl_zip_create(&zip, fd, path, 0);
    int rc = pawl_alloc(&chunk, CHUNK_BYTES, "a chunk");
    for (int i = 0; i < document->weight_count && !rc; i++)
        rc = put_array(&zip, document, &document->weights[i],
                       stored_as(options, &document->weights[i]), chunk);
    if (!rc) rc = put_notes(&zip, document, options);
    if (rc)
        pawl_zip_abandon(&zip);
    else
        rc = pawl_zip_finish(&zip, NULL);
    pawl_free(chunk);
    return rc;
}

static int write_npz(const struct pawl_document *document, const char *path,
                     const struct pawl_write_options *options)
{
    int rc = check_names(document);

    if (rc) return rc;
    const int fd = pawl_io()->open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (fd < 0) return pawl_io_fail(fd, "create", path);
    rc = put_all(document, path, fd, options);
    const int synced = rc ? 0 : pawl_io()->sync(fd);
    const int closed = pawl_io()->close(fd);
    if (rc) return rc;
    return synced || closed ? pawl_io_fail(synced ? synced : closed, "fsync", path) : 0;
}

const struct pawl_format pawl_format_npz = {
    .name = "npz",
    .suffixes = ".npz",
    .parts = PAWL_PART_WEIGHTS,
    .detect = detect,
    .read = read_npz,
    .summed = true,
    .write = write_npz,
};
