// hdf5_write.c - lays an HDF5 file out, headers first.

#include "checkpoint/containers/hdf5_write.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/hdf5_inside.h"
#include "kernels/memory.h"

enum {
    LIST_BYTES_MAX = 64512,  // of one attribute: as Keras cuts them
    HEAP_BYTES_MIN = 4096,
    SUPERBLOCK_BYTES = 48,
};

// ---- objects

static int append(struct pawl_hdf5_out *out, const char *name, int *made)
{
    struct pawl_hdf5_out_object object = { .attributes = json_object() };

    if (out->object_count == out->object_room) {
        const int room = out->object_room ? 2 * out->object_room : 16;
        const int rc = pawl_realloc(&out->objects, sizeof(object) * (size_t)room, "HDF5 objects");
        if (rc) return rc;
        out->object_room = room;
    }
    const int rc = pawl_strdup(&object.name, name);
    if (rc) {
        json_decref(object.attributes);
        return rc;
    }
    *made = out->object_count;
    out->objects[out->object_count++] = object;
    return 0;
}

int pawl_hdf5_out_group(struct pawl_hdf5_out *out, int parent, const char *name, int *made)
{
    int id = 0, rc = 0;

    if (!out->object_count) rc = append(out, "", &id);
    if (!rc && *name) rc = append(out, name, &id);
    if (rc) return rc;
    if (*name) {
        struct pawl_hdf5_out_object *group = &out->objects[parent];
        if (group->last)
            out->objects[group->last].next = id;
        else
            group->child = id;
        group->last = id;
    }
    if (made) *made = id;
    return 0;
}

int pawl_hdf5_out_dataset(struct pawl_hdf5_out *out, int parent, const char *name,
                          const struct pawl_tensor *tensor)
{
    int id, rc = pawl_hdf5_out_group(out, parent, name, &id);

    if (!rc)
        rc = pawl_realloc(&out->data, sizeof(int) * ((size_t)out->data_count + 1), "datasets");
    if (rc) return rc;
    out->objects[id].dataset = true;
    out->objects[id].tensor = *tensor;
    out->data[out->data_count++] = id;
    // What HDF5 has no type for is kept as opaque bytes, and named, as h5py and Keras do.
    if (tensor->dtype == PAWL_BF16 || tensor->dtype == PAWL_F8_E4M3
        || tensor->dtype == PAWL_F8_E5M2)
        json_object_set_new(out->objects[id].attributes, "dtype",
                            json_string(pawl_dtype_name(tensor->dtype)));
    return 0;
}

int pawl_hdf5_out_path(struct pawl_hdf5_out *out, const char *path, int *made)
{
    char name[PAWL_NAME_MAX + 1];
    int at = PAWL_HDF5_ROOT;

    for (const char *from = path; *from;) {
        const size_t length = strcspn(from, "/");
        int child = out->object_count ? out->objects[at].child : 0;
        snprintf(name, sizeof(name), "%.*s", (int)length, from);
        while (child && strcmp(out->objects[child].name, name))
            child = out->objects[child].next;
        if (!child) {
            const int rc = pawl_hdf5_out_group(out, at, name, &child);
            if (rc) return rc;
        }
        at = child;
        from += length + (from[length] == '/');
    }
    *made = at;
    return 0;
}

// As many parts as are needed for each to fit, with the lengths as even as they come.
static int cut(struct pawl_hdf5_out *out, int object, const char *name, const json_t *list,
               size_t longest)
{
    const size_t count = json_array_size(list), most = LIST_BYTES_MAX / longest;
    char part_name[128];
    size_t done = 0;

    if (!most) return pawl_fail(PAWL_ENOTSUP, "a name of %zu bytes is longer than HDF5 allows",
                                longest);
    for (int part = 0; done < count; part++) {
        json_t *some = json_array();
        for (size_t i = 0; i < most && done < count; i++)
            json_array_append(some, json_array_get(list, done++));
        snprintf(part_name, sizeof(part_name), "%.100s%d", name, part);
        json_object_set_new(out->objects[object].attributes, part_name, some);
    }
    return 0;
}

int pawl_hdf5_out_attribute(struct pawl_hdf5_out *out, int object, const char *name, json_t *value)
{
    size_t longest = 1, i;
    json_t *one;
    int rc = 0;

    json_array_foreach(value, i, one)
        if (json_string_length(one) > longest) longest = json_string_length(one);
    if (longest * json_array_size(value) > LIST_BYTES_MAX) {
        rc = cut(out, object, name, value, longest);
        json_decref(value);
    } else if (json_object_set_new(out->objects[object].attributes, name, value)) {
        rc = pawl_fail(PAWL_ENOMEM, "no memory for an attribute");
    }
    return rc;
}

// ---- bytes

static void put(struct pawl_text *to, uint64_t value, int bytes)
{
    unsigned char out[8];

    for (int i = 0; i < bytes; i++)
        out[i] = (unsigned char)(value >> 8 * i);
    pawl_text_add(to, out, (size_t)bytes);
}

static void pad(struct pawl_text *to, size_t multiple)
{
    while (!to->rc && to->size % multiple)
        put(to, 0, 1);
}

static void put_sum(struct pawl_text *to, size_t from)
{
    if (!to->rc)
        put(to, pawl_hdf5_lookup3((unsigned char *)to->bytes + from, to->size - from), 4);
}

static void put_float_type(struct pawl_text *to, enum pawl_dtype dtype)
{
    const bool half = dtype == PAWL_F16, wide = dtype == PAWL_F64;
    const unsigned bits = half ? 16 : wide ? 64 : 32;
    const unsigned mantissa = half ? 10 : wide ? 52 : 23, exponent = half ? 5 : wide ? 11 : 8;

    put(to, 0x11, 1);                 // version 1, class 1
    put(to, 0x20, 1);                 // the mantissa's first bit is implied; little-endian
    put(to, bits - 1, 2);             // the sign, and a byte of zeros
    put(to, bits / 8, 4);
    put(to, 0, 2);
    put(to, bits, 2);
    put(to, mantissa, 1);             // where the exponent begins
    put(to, exponent, 1);
    put(to, 0, 1);
    put(to, mantissa, 1);
    put(to, (1u << (exponent - 1)) - 1, 4);
}

static void put_type(struct pawl_text *to, enum pawl_dtype dtype)
{
    const size_t size = pawl_dtype_bytes(dtype);
    const bool with_sign = dtype >= PAWL_I8 && dtype <= PAWL_I64;

    switch (dtype) {
    case PAWL_F32:
    case PAWL_F16:
    case PAWL_F64: put_float_type(to, dtype); break;
    case PAWL_BF16:
    case PAWL_F8_E4M3:
    case PAWL_F8_E5M2:
        put(to, 0x15, 4);             // opaque, its tag empty
        put(to, size, 4);
        put(to, 0, 8);
        break;
    default:
        put(to, 0x10 | (with_sign ? 8 : 0) << 8, 4);
        put(to, size, 4);
        put(to, 0, 2);
        put(to, 8 * size, 2);
    }
}

static void put_shape(struct pawl_text *to, int rank, const int64_t *dim)
{
    put(to, 2, 1);
    put(to, (uint64_t)rank, 1);
    put(to, 0, 1);
    put(to, rank > 0, 1);             // simple, or a scalar
    for (int d = 0; d < rank; d++)
        put(to, (uint64_t)dim[d], 8);
}

// Begins a message, whose size end_message sets.
static size_t begin_message(struct pawl_text *to, int type, int flags)
{
    put(to, (uint64_t)type, 1);
    put(to, 0, 2);
    put(to, (uint64_t)flags, 1);
    return to->size;
}

static void end_message(struct pawl_text *to, size_t from)
{
    const size_t size = to->size - from;

    if (to->rc) return;
    if (size > 65535) {
        to->rc = pawl_fail(PAWL_ENOTSUP, "an attribute of %zu bytes is longer than HDF5 allows",
                           size);
        return;
    }
    to->bytes[from - 3] = (char)(size & 255);
    to->bytes[from - 2] = (char)(size >> 8);
}

// ---- attributes

// Texts that go into the global heap, in order of use.
struct heap {
    uint64_t address;
    int used;
};

static void put_text_value(struct pawl_text *to, const json_t *value, struct heap *heap)
{
    put(to, json_string_length(value), 4);
    put(to, heap->address, 8);
    put(to, (uint64_t)++heap->used, 4);
}

static void put_attribute(struct pawl_text *to, const char *name, const json_t *value,
                          struct heap *heap)
{
    const int64_t count = (int64_t)json_array_size(value);
    const bool list = json_is_array(value);
    const size_t from = begin_message(to, PAWL_HDF5_ATTRIBUTE, 0);
    size_t longest = 1, i;
    json_t *one;

    json_array_foreach(value, i, one)
        if (json_string_length(one) > longest) longest = json_string_length(one);
    put(to, 3, 2);
    put(to, strlen(name) + 1, 2);
    put(to, !list ? 20 : count ? 8 : 20, 2);   // the type's size, then the shape's
    put(to, list ? 12 : 4, 2);
    put(to, 1, 1);                             // UTF-8
    pawl_text_add(to, name, strlen(name) + 1);
    if (!list) {
        put(to, 0x0119, 2);                    // of any length, text
        put(to, 1, 2);                         // UTF-8
        put(to, 16, 4);
        put(to, 0x10, 4);
        put(to, 1, 4);
        put(to, 8u << 16, 4);
    } else if (count) {
        put(to, 0x13 | 1 << 8, 4);             // of one length, padded with zeros
        put(to, longest, 4);
    } else {
        put_type(to, PAWL_F64);                // as numpy's empty list
    }
    put_shape(to, list ? 1 : 0, &count);
    if (!list) put_text_value(to, value, heap);
    json_array_foreach(value, i, one) {
        const size_t length = json_string_length(one);
        pawl_text_add(to, json_string_value(one), length);
        for (size_t p = length; p < longest; p++)
            put(to, 0, 1);
    }
    end_message(to, from);
}

static bool any_text(const struct pawl_hdf5_out *out)
{
    const char *name;
    json_t *value;

    for (int i = 0; i < out->object_count; i++)
        json_object_foreach(out->objects[i].attributes, name, value)
            if (json_is_string(value)) return true;
    return false;
}

// All texts of all objects, in the order in which put_attribute counts them.
static void put_heap(struct pawl_text *to, const struct pawl_hdf5_out *out)
{
    struct pawl_text body = { 0 };
    const char *name;
    json_t *value;
    int used = 0;

    for (int i = 0; i < out->object_count; i++)
        json_object_foreach(out->objects[i].attributes, name, value) {
            if (!json_is_string(value)) continue;
            put(&body, (uint64_t)++used, 2);
            put(&body, 1, 6);
            put(&body, json_string_length(value), 8);
            pawl_text_add(&body, json_string_value(value), json_string_length(value));
            pad(&body, 8);
        }
    if (used > 65535) body.rc = pawl_fail(PAWL_ENOTSUP, "more than 65,535 texts");
    size_t size = 16 + body.size + 16;
    if (size < HEAP_BYTES_MIN) size = HEAP_BYTES_MIN;
    pawl_text_add(to, "GCOL\1\0\0\0", 8);
    put(to, size, 8);
    if (body.size) pawl_text_add(to, body.bytes, body.size);
    put(to, 0, 8);
    put(to, size - 16 - body.size, 8);         // what is free
    for (size_t i = 32 + body.size; i < size; i++)
        put(to, 0, 1);
    if (!to->rc) to->rc = body.rc;
    pawl_text_free(&body);
}

// ---- object headers

static void put_dataset(struct pawl_text *to, const struct pawl_hdf5_out_object *object)
{
    const struct pawl_tensor *tensor = &object->tensor;
    size_t from = begin_message(to, PAWL_HDF5_SPACE, 0);

    put_shape(to, tensor->rank, tensor->dim);
    end_message(to, from);
    from = begin_message(to, PAWL_HDF5_TYPE, 1);
    put_type(to, tensor->dtype);
    end_message(to, from);
    from = begin_message(to, PAWL_HDF5_FILL, 1);
    put(to, 0x0a03, 2);                        // allocated late, never filled
    end_message(to, from);
    from = begin_message(to, PAWL_HDF5_LAYOUT, 0);
    put(to, 0x0103, 2);                        // contiguous
    put(to, tensor->size_bytes ? object->at : PAWL_HDF5_UNDEFINED, 8);
    put(to, tensor->size_bytes, 8);
    end_message(to, from);
}

static void put_group(struct pawl_text *to, const struct pawl_hdf5_out *out,
                      const struct pawl_hdf5_out_object *object)
{
    size_t from = begin_message(to, PAWL_HDF5_LINK_INFO, 0);

    put(to, 0, 2);
    put(to, PAWL_HDF5_UNDEFINED, 8);
    put(to, PAWL_HDF5_UNDEFINED, 8);
    end_message(to, from);
    from = begin_message(to, 0x0a, 0);         // group info: all defaults
    put(to, 0, 2);
    end_message(to, from);
    for (int child = object->child; child; child = out->objects[child].next) {
        const char *name = out->objects[child].name;
        from = begin_message(to, PAWL_HDF5_LINK, 0);
        put(to, 0x011101, 3);                  // a hard link, its name's length in two bytes
        put(to, strlen(name), 2);
        pawl_text_add(to, name, strlen(name));
        put(to, out->objects[child].header, 8);
        end_message(to, from);
    }
}

static void put_header(struct pawl_text *to, const struct pawl_hdf5_out *out, int i,
                       struct heap *heap)
{
    const struct pawl_hdf5_out_object *object = &out->objects[i];
    const size_t start = to->size;
    const char *name;
    json_t *value;

    pawl_text_add(to, "OHDR\2\2", 6);          // its size in four bytes
    put(to, 0, 4);
    if (object->dataset)
        put_dataset(to, object);
    else
        put_group(to, out, object);
    json_object_foreach(object->attributes, name, value)
        put_attribute(to, name, value, heap);
    if (to->rc) return;
    const uint32_t size = (uint32_t)(to->size - start - 10);
    memcpy(to->bytes + start + 6, &size, 4);
    put_sum(to, start);
    pad(to, 8);
}

static void put_superblock(struct pawl_text *to, uint64_t end, uint64_t root)
{
    const size_t start = to->size;

    pawl_text_add(to, "\x89HDF\r\n\x1a\n\2\10\10\0", 12);
    put(to, 0, 8);
    put(to, PAWL_HDF5_UNDEFINED, 8);
    put(to, end, 8);
    put(to, root, 8);
    put_sum(to, start);
}

// Writes all metadata with the addresses known so far, and learns those of the headers.
static int emit(struct pawl_hdf5_out *out, uint64_t end)
{
    struct heap heap = { 0 };
    struct pawl_text *to = &out->meta;

    pawl_text_clear(to);
    put_superblock(to, end, out->objects[PAWL_HDF5_ROOT].header);
    if (any_text(out)) {
        heap.address = to->size;
        put_heap(to, out);
    }
    for (int i = 0; i < out->object_count; i++) {
        out->objects[i].header = to->size;
        put_header(to, out, i, &heap);
    }
    pad(to, PAWL_HDF5_ALIGN);
    return to->rc;
}

int pawl_hdf5_out_plan(struct pawl_hdf5_out *out)
{
    int rc = out->object_count ? 0 : pawl_hdf5_out_group(out, 0, "", NULL);

    // Sizes do not depend on addresses: the first pass finds those of the headers.
    if (!rc) rc = emit(out, 0);
    if (rc) return rc;
    uint64_t at = out->meta.size;
    out->size = at;
    for (int i = 0; i < out->data_count; i++) {
        struct pawl_hdf5_out_object *object = &out->objects[out->data[i]];
        object->at = at;
        out->size = at + object->tensor.size_bytes;
        at = (out->size + PAWL_HDF5_ALIGN - 1) / PAWL_HDF5_ALIGN * PAWL_HDF5_ALIGN;
    }
    return emit(out, out->size);
}

void pawl_hdf5_out_free(struct pawl_hdf5_out *out)
{
    for (int i = 0; i < out->object_count; i++) {
        pawl_free(out->objects[i].name);
        json_decref(out->objects[i].attributes);
    }
    pawl_free(out->objects);
    pawl_free(out->data);
    pawl_text_free(&out->meta);
    *out = (struct pawl_hdf5_out){ 0 };
}
