// hdf5_attribute.c - attributes as JSON: what Keras keeps in them is text.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/hdf5_inside.h"
#include "kernels/memory.h"

enum { STRINGS_MAX = 1 << 20, HEAP_BYTES_MAX = 1 << 28 };

// ---- the global heap: where strings of any length lie

static int load_heap(struct pawl_hdf5 *h5, uint64_t address)
{
    unsigned char head[16];
    struct pawl_hdf5_cursor at = { head, sizeof(head), 8, false };

    if (h5->heap && h5->heap_at == address) return 0;
    int rc = pawl_hdf5_read(h5, address, head, sizeof(head));
    if (rc) return rc;
    const uint64_t size = pawl_hdf5_take(&at, 8);
    if (memcmp(head, "GCOL", 4) || size > h5->span.size_bytes || size > HEAP_BYTES_MAX)
        return pawl_hdf5_fail(h5, "no heap of strings lies at byte %llu: damaged",
                              (unsigned long long)address);
    pawl_free(h5->heap);
    h5->heap = NULL;
    rc = pawl_alloc(&h5->heap, (size_t)size + 1, "a heap of strings");
    if (!rc) rc = pawl_hdf5_read(h5, address, h5->heap, (size_t)size);
    if (rc) return rc;
    h5->heap_at = address;
    h5->heap_size = (size_t)size;
    return 0;
}

// The bytes of object `index` in the heap at address; good until the next heap is loaded.
static int heap_object(struct pawl_hdf5 *h5, uint64_t address, uint32_t index, size_t size,
                       const char **out)
{
    const int rc = load_heap(h5, address);

    if (rc) return rc;
    struct pawl_hdf5_cursor at = { h5->heap, h5->heap_size, 16, false };
    while (!at.over && at.at + 16 <= at.size) {
        const uint64_t here = pawl_hdf5_take(&at, 2);
        pawl_hdf5_take(&at, 6);
        const uint64_t length = pawl_hdf5_take(&at, 8);
        if (!here) break;
        const unsigned char *bytes = pawl_hdf5_skip(&at, length);
        if (bytes && here == index && size <= length) {
            *out = (const char *)bytes;
            return 0;
        }
        pawl_hdf5_skip(&at, (8 - length % 8) % 8);
    }
    return pawl_hdf5_fail(h5, "string %u of the heap at byte %llu is not there: damaged", index,
                          (unsigned long long)address);
}

// ---- strings

struct attribute {
    const char *name;
    struct pawl_hdf5_type type;
    struct pawl_hdf5_shape shape;
    const unsigned char *data;
    size_t size;
};

static json_t *text_of(const char *bytes, size_t size)
{
    return json_stringn(bytes, strnlen(bytes, size));
}

static int string_at(struct pawl_hdf5 *h5, const struct attribute *of, uint64_t i, json_t **out)
{
    const char *bytes = (const char *)of->data + i * of->type.size_bytes;
    size_t size = of->type.size_bytes;
    int rc = 0;

    if (of->type.kind == PAWL_HDF5_VAR_STRING) {
        struct pawl_hdf5_cursor at = { (const unsigned char *)bytes, 16, 0, false };
        size = (size_t)pawl_hdf5_take(&at, 4);
        const uint64_t heap = pawl_hdf5_take(&at, 8);
        const uint32_t index = (uint32_t)pawl_hdf5_take(&at, 4);
        bytes = "";
        if (heap && size) rc = heap_object(h5, heap, index, size, &bytes);
        if (!heap) size = 0;
    }
    if (rc) return rc;
    *out = text_of(bytes, size);
    if (!*out)
        return pawl_hdf5_fail(h5, "attribute '%s' holds text that is not UTF-8", of->name);
    return 0;
}

// The value as JSON: one string, or all of them.
static int value_of(struct pawl_hdf5 *h5, const struct attribute *of, json_t **out)
{
    const bool text = of->type.kind == PAWL_HDF5_FIXED_STRING
                      || of->type.kind == PAWL_HDF5_VAR_STRING;
    uint64_t count = of->shape.null ? 0 : 1, bytes = 0;
    json_t *list, *one = NULL;
    int rc = 0;

    for (int d = 0; d < of->shape.rank; d++)
        if (__builtin_mul_overflow(count, of->shape.dim[d], &count) || count > STRINGS_MAX)
            return pawl_hdf5_fail(h5, "attribute '%s' claims more values than its bytes hold",
                                  of->name);
    if (!text && count) {  // an empty list has lost its type: h5py makes it float64
        *out = json_null();
        return 0;
    }
    if (count * of->type.size_bytes > of->size || (count && !of->type.size_bytes))
        return pawl_hdf5_fail(h5, "attribute '%s' claims more values than its bytes hold",
                              of->name);
    if (text && !of->shape.rank && count) return string_at(h5, of, 0, out);
    list = json_array();
    for (uint64_t i = 0; !rc && i < count; i++) {
        rc = string_at(h5, of, i, &one);
        // Strings may share their bytes in the heap, but not so that they outgrow the file.
        if (!rc && (bytes += json_string_length(one)) > h5->span.size_bytes) {
            json_decref(one);
            rc = pawl_hdf5_fail(h5, "attribute '%s' is longer than the file", of->name);
            break;
        }
        if (!rc && json_array_append_new(list, one))
            rc = pawl_fail(PAWL_ENOMEM, "no memory for an attribute");
    }
    if (rc)
        json_decref(list);
    else
        *out = list;
    return rc;
}

// ---- attribute messages

static size_t padded(int version, size_t size)
{
    return version == 1 ? (size + 7) / 8 * 8 : size;
}

// Reads the message's parts; *name is set even when the rest is not for us.
static int parse(struct pawl_hdf5 *h5, const struct pawl_hdf5_message *message,
                 struct attribute *out, bool *mine)
{
    struct pawl_hdf5_cursor at = { message->bytes, message->size, 0, false };
    const int version = (int)pawl_hdf5_take(&at, 1), flags = (int)pawl_hdf5_take(&at, 1);
    const size_t name_size = (size_t)pawl_hdf5_take(&at, 2);
    const size_t type_size = (size_t)pawl_hdf5_take(&at, 2);
    const size_t shape_size = (size_t)pawl_hdf5_take(&at, 2);

    if (version == 3) pawl_hdf5_take(&at, 1);
    const char *name = (const char *)pawl_hdf5_skip(&at, padded(version, name_size));
    const unsigned char *type = pawl_hdf5_skip(&at, padded(version, type_size));
    const unsigned char *shape = pawl_hdf5_skip(&at, padded(version, shape_size));
    if (at.over || version < 1 || version > 3 || !name_size || !name || name[name_size - 1])
        return pawl_hdf5_fail(h5, "an attribute is damaged or of an unknown version");
    *mine = strcmp(name, out->name) == 0;
    if (!*mine) return 0;
    if (version > 1 && flags & 3)
        return pawl_hdf5_fail(h5, "attribute '%s' has a committed type, which pawl does not read",
                              name);
    struct pawl_hdf5_cursor in_type = { type, type_size, 0, false };
    struct pawl_hdf5_cursor in_shape = { shape, shape_size, 0, false };
    if (pawl_hdf5_type_read(&in_type, &out->type) || pawl_hdf5_shape_read(&in_shape, &out->shape))
        return pawl_hdf5_fail(h5, "attribute '%s' has a damaged type or shape", name);
    out->data = message->bytes + at.at;
    out->size = message->size - at.at;
    return 0;
}

static int check_dense(struct pawl_hdf5 *h5, int object, const struct pawl_hdf5_message *info)
{
    struct pawl_hdf5_cursor at = { info->bytes, info->size, 1, false };
    const int flags = (int)pawl_hdf5_take(&at, 1);

    pawl_hdf5_skip(&at, flags & 1 ? 2 : 0);
    if (pawl_hdf5_take(&at, 8) == PAWL_HDF5_UNDEFINED && !at.over) return 0;
    return pawl_hdf5_fail(h5, "'%s' stores its attributes densely (libver='latest'), which pawl "
                          "does not read. try: h5repack --low=0 --high=0",
                          h5->objects[object].path);
}

int pawl_hdf5_attribute(struct pawl_hdf5 *h5, int object, const char *name, json_t **out)
{
    struct pawl_hdf5_header header = { 0 };
    bool found = false;

    *out = NULL;
    int rc = pawl_hdf5_header_read(h5, h5->objects[object].header, &header);
    const struct pawl_hdf5_message *info = pawl_hdf5_message(&header, PAWL_HDF5_ATTRIBUTE_INFO);
    if (!rc && info) rc = check_dense(h5, object, info);
    for (int i = 0; !rc && !found && i < header.count; i++) {
        struct attribute attribute = { .name = name };
        if (header.messages[i].type != PAWL_HDF5_ATTRIBUTE) continue;
        rc = header.messages[i].flags & 2
                 ? pawl_hdf5_fail(h5, "an attribute of '%s' is shared, which pawl does not read",
                                  h5->objects[object].path)
                 : parse(h5, &header.messages[i], &attribute, &found);
        if (!rc && found) rc = value_of(h5, &attribute, out);
    }
    pawl_hdf5_header_free(&header);
    return rc;
}

int pawl_hdf5_attribute_list(struct pawl_hdf5 *h5, int object, const char *name, json_t **out)
{
    char part_name[128];
    json_t *all = NULL, *part = NULL;

    int rc = pawl_hdf5_attribute(h5, object, name, out);
    if (rc || *out) return rc;
    // Each part costs a walk over the header: parts are full, so there are few.
    for (int i = 0; !rc && i < 4096; i++) {
        snprintf(part_name, sizeof(part_name), "%.100s%d", name, i);
        rc = pawl_hdf5_attribute(h5, object, part_name, &part);
        if (rc || !part) break;
        if (!all) all = json_array();
        if (!json_is_array(part) || json_array_extend(all, part))
            rc = pawl_hdf5_fail(h5, "attribute '%s' is no list of names", part_name);
        json_decref(part);
    }
    if (rc)
        json_decref(all);
    else
        *out = all;
    return rc;
}
