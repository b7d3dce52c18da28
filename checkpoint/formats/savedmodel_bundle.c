// savedmodel_bundle.c - reads TensorFlow's tensor bundle.

#include "checkpoint/formats/savedmodel_bundle.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/containers/table.h"
#include "checkpoint/sums.h"
#include "kernels/memory.h"

enum { SHARDS_MAX = 1024, INDEX_BYTES_MAX = 256 << 20, STRING_BYTES_MAX = 256 << 20 };
enum { DT_STRING = 7, KEYS_BYTES_MAX = 64 << 20 };

// TensorFlow's DataType by ours.
static const int types[PAWL_DTYPES] = {
    [PAWL_F32] = 1, [PAWL_F64] = 2, [PAWL_I32] = 3, [PAWL_U8] = 4, [PAWL_I16] = 5, [PAWL_I8] = 6,
    [PAWL_C64] = 8, [PAWL_I64] = 9, [PAWL_BOOL] = 10, [PAWL_BF16] = 14, [PAWL_U16] = 17,
    [PAWL_C128] = 18, [PAWL_F16] = 19, [PAWL_U32] = 22, [PAWL_U64] = 23, [PAWL_F8_E5M2] = 24,
    [PAWL_F8_E4M3] = 25,
};

int pawl_bundle_type(enum pawl_dtype dtype)
{
    return types[dtype];
}

static int our_type(int64_t number)
{
    for (int i = 0; i < PAWL_DTYPES; i++)
        if (types[i] == number) return i;
    return number == DT_STRING ? PAWL_BUNDLE_STRING : PAWL_BUNDLE_OTHER;
}

const char *pawl_bundle_key(const struct pawl_bundle *bundle, int entry)
{
    return bundle->keys.bytes + bundle->entries[entry].key;
}

// ---- the index

static int take_dim(struct pawl_pb *in, struct pawl_bundle_entry *entry,
                    const struct pawl_pb_field *field)
{
    struct pawl_pb dim;
    struct pawl_pb_field inside;
    int64_t size = 0;

    int rc = pawl_pb_enter(in, field, &dim);
    while (!rc && !(rc = pawl_pb_next(&dim, &inside)) && inside.number)
        if (inside.number == 1) rc = pawl_pb_int(&dim, &inside, &size);
    if (rc) return rc;
    if (entry->rank == PAWL_RANK_MAX)
        return pawl_pb_fail(in, field->start, "a tensor has more than %d dimensions",
                            PAWL_RANK_MAX);
    if (size < 0) return pawl_pb_fail(in, field->start, "a dimension is negative");
    entry->dim[entry->rank++] = size;
    return 0;
}

static int take_shape(struct pawl_pb *in, struct pawl_bundle_entry *entry,
                      const struct pawl_pb_field *field)
{
    struct pawl_pb shape;
    struct pawl_pb_field inside;

    int rc = pawl_pb_enter(in, field, &shape);
    while (!rc && !(rc = pawl_pb_next(&shape, &inside)) && inside.number)
        if (inside.number == 2) rc = take_dim(&shape, entry, &inside);
    return rc;
}

static int take_number(const struct pawl_pb *in, const struct pawl_pb_field *field, uint64_t most,
                       uint64_t *out)
{
    int64_t value = 0;

    const int rc = pawl_pb_int(in, field, &value);
    if (rc) return rc;
    if (value < 0 || (uint64_t)value > most)
        return pawl_pb_fail(in, field->start, "field %u is negative or too large", field->number);
    *out = (uint64_t)value;
    return 0;
}

static int take_entry(struct pawl_pb *in, struct pawl_bundle_entry *entry)
{
    struct pawl_pb_field field;
    uint64_t number = 0;
    int rc = 0;

    entry->dtype = PAWL_BUNDLE_OTHER;
    while (!rc && !(rc = pawl_pb_next(in, &field)) && field.number) {
        switch (field.number) {
        case 1:
            rc = take_number(in, &field, 1000, &number);
            entry->dtype = our_type((int64_t)number);
            break;
        case 2: rc = take_shape(in, entry, &field); break;
        case 3:
            rc = take_number(in, &field, SHARDS_MAX, &number);
            entry->shard = (int)number;
            break;
        case 4: rc = take_number(in, &field, INT64_MAX, &entry->offset); break;
        case 5: rc = take_number(in, &field, INT64_MAX, &entry->size); break;
        case 6: rc = pawl_pb_fixed32(in, &field, &entry->crc); break;
        case 7: entry->sliced = true; break;
        default: break;
        }
    }
    return rc;
}

static int take_header(struct pawl_bundle *bundle, struct pawl_pb *in)
{
    struct pawl_pb_field field;
    uint64_t shards = 0, big = 0;
    int rc = 0;

    while (!rc && !(rc = pawl_pb_next(in, &field)) && field.number) {
        if (field.number == 1) rc = take_number(in, &field, SHARDS_MAX, &shards);
        if (field.number == 2) rc = take_number(in, &field, INT64_MAX, &big);
    }
    if (rc) return rc;
    if (big)
        return pawl_fail(PAWL_ENOTSUP, "%s: it was written on a big-endian machine, which is not "
                         "read", in->what);
    if (!shards) return pawl_pb_fail(in, 0, "the header names no data file");
    bundle->shard_count = (int)shards;
    return 0;
}

static int take(void *context, const unsigned char *key, size_t key_size,
                const unsigned char *value, size_t value_size)
{
    struct pawl_bundle *bundle = context;
    struct pawl_bundle_entry entry = { .key = bundle->keys.size };
    struct pawl_pb in;
    char what[PAWL_TABLE_KEY_MAX + 64];

    snprintf(what, sizeof(what), "%.3000s.index: '%.*s'", bundle->prefix,
             key_size < 200 ? (int)key_size : 200, key);
    pawl_pb_open(&in, value, value_size, what, 0);
    if (!key_size) return take_header(bundle, &in);
    if (!bundle->shard_count) return pawl_pb_fail(&in, 0, "there is no header before it");
    if (key[0] == 0) return 0;  // a slice; its tensor's own entry says that it is sliced
    if (memchr(key, 0, key_size)) return pawl_pb_fail(&in, 0, "a name holds a NUL");
    if (bundle->count == PAWL_TENSORS_MAX)
        return pawl_pb_fail(&in, 0, "more than %d tensors", PAWL_TENSORS_MAX);
    // Keys share what they begin with: a small table may stand for a thousand times its size.
    if (bundle->keys.size + key_size > KEYS_BYTES_MAX)
        return pawl_pb_fail(&in, 0, "the names are longer than 64 MiB together");
    int rc = take_entry(&in, &entry);
    if (!rc && entry.shard >= bundle->shard_count)
        rc = pawl_pb_fail(&in, 0, "it lies in data file %d of %d", entry.shard,
                          bundle->shard_count);
    if (!rc && bundle->count == bundle->room) {
        bundle->room = bundle->room ? 2 * bundle->room : 16;
        rc = pawl_realloc(&bundle->entries, sizeof(entry) * (size_t)bundle->room, "a bundle");
    }
    if (rc) return rc;
    pawl_text_add(&bundle->keys, key, key_size);
    pawl_text_add(&bundle->keys, "", 1);
    bundle->entries[bundle->count++] = entry;
    return bundle->keys.rc;
}

static int read_index(struct pawl_bundle *bundle)
{
    char path[sizeof(bundle->prefix) + 16];
    unsigned char *bytes = NULL;
    uint64_t size = 0;
    int file = -1;

    snprintf(path, sizeof(path), "%s.index", bundle->prefix);
    int rc = pawl_document_add_file(bundle->document, path, &file, &size);
    if (!rc && size > INDEX_BYTES_MAX)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: %llu bytes are more than any index has", path,
                       (unsigned long long)size);
    if (!rc) rc = pawl_alloc(&bytes, size ? (size_t)size : 1, "a bundle's index");
    if (!rc) rc = pawl_document_read_at(bundle->document, file, 0, bytes, (size_t)size);
    if (!rc) rc = pawl_table_read(bytes, (size_t)size, path, take, bundle);
    if (!rc && !bundle->shard_count)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: it is an empty table, without a bundle's header", path);
    pawl_free(bytes);
    return rc;
}

// ---- the data

static int open_shards(struct pawl_bundle *bundle)
{
    const size_t count = (size_t)bundle->shard_count;
    char path[sizeof(bundle->prefix) + 40];

    int rc = pawl_alloc(&bundle->files, sizeof(*bundle->files) * count, "data files");
    if (!rc) rc = pawl_alloc(&bundle->file_bytes, sizeof(*bundle->file_bytes) * count,
                             "data files");
    for (int i = 0; i < bundle->shard_count && !rc; i++) {
        snprintf(path, sizeof(path), "%s.data-%05d-of-%05d", bundle->prefix, i,
                 bundle->shard_count);
        rc = pawl_document_add_file(bundle->document, path, &bundle->files[i],
                                    &bundle->file_bytes[i]);
        if (rc == PAWL_ENONE)
            rc = pawl_fail(PAWL_ECORRUPT, "%s: the file with the weights is not there", path);
    }
    return rc;
}

// The entry's place and shape agree with each other and with the file.
static int check_entry(const struct pawl_bundle *bundle, int i)
{
    const struct pawl_bundle_entry *entry = &bundle->entries[i];
    const uint64_t file_bytes = bundle->file_bytes[entry->shard];
    struct pawl_tensor tensor = { .name = "" };
    const char *key = pawl_bundle_key(bundle, i);

    if (entry->sliced) return 0;
    if (entry->offset > file_bytes || entry->size > file_bytes - entry->offset)
        return pawl_fail(PAWL_ECORRUPT, "%s.data-%05d-of-%05d: truncated: '%.200s' ends at byte "
                         "%llu, but the file has %llu bytes", bundle->prefix, entry->shard,
                         bundle->shard_count, key,
                         (unsigned long long)entry->offset + (unsigned long long)entry->size,
                         (unsigned long long)file_bytes);
    if (entry->dtype < 0) return 0;
    tensor.dtype = (enum pawl_dtype)entry->dtype;
    if (pawl_tensor_shape(&tensor, entry->rank, entry->dim) || tensor.size_bytes != entry->size)
        return pawl_fail(PAWL_ECORRUPT, "%s.index: '%.200s': its shape does not make the %llu "
                         "bytes that it has", bundle->prefix, key,
                         (unsigned long long)entry->size);
    return 0;
}

int pawl_bundle_read(struct pawl_bundle *out, struct pawl_document *document, const char *prefix)
{
    out->document = document;
    snprintf(out->prefix, sizeof(out->prefix), "%s", prefix);
    int rc = read_index(out);
    if (!rc) rc = open_shards(out);
    for (int i = 0; i < out->count && !rc; i++)
        rc = check_entry(out, i);
    return rc;
}

void pawl_bundle_free(struct pawl_bundle *bundle)
{
    pawl_free(bundle->files);
    pawl_free(bundle->file_bytes);
    pawl_text_free(&bundle->keys);
    pawl_free(bundle->entries);
    *bundle = (struct pawl_bundle){ 0 };
}

int pawl_bundle_find(const struct pawl_bundle *bundle, const char *key)
{
    int low = 0, high = bundle->count;

    while (low < high) {
        const int middle = low + (high - low) / 2;
        const int order = strcmp(pawl_bundle_key(bundle, middle), key);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

// varint length, masked CRC-32C of the length, bytes. The entry's CRC is over the length as four
// bytes, that checksum, and the bytes.
int pawl_bundle_string(const struct pawl_bundle *bundle, int i, char **out, size_t *size)
{
    const struct pawl_bundle_entry *entry = &bundle->entries[i];
    char what[sizeof(bundle->prefix) + 300];
    unsigned char *bytes = NULL;
    struct pawl_pb in;
    uint64_t length = 0;

    snprintf(what, sizeof(what), "%s.data-%05d-of-%05d: '%.200s'", bundle->prefix, entry->shard,
             bundle->shard_count, pawl_bundle_key(bundle, i));
    if (entry->dtype != PAWL_BUNDLE_STRING || entry->rank || entry->sliced
        || entry->size > STRING_BYTES_MAX)
        return pawl_fail(PAWL_ECORRUPT, "%s: it is not one string", what);
    int rc = pawl_alloc(&bytes, (size_t)entry->size + 4, "a bundle's string");
    if (!rc) rc = pawl_document_read_at(bundle->document, bundle->files[entry->shard],
                                        entry->offset, bytes, (size_t)entry->size);
    pawl_pb_open(&in, bytes, rc ? 0 : (size_t)entry->size, what, entry->offset);
    if (!rc) rc = pawl_pb_varint(&in, &length);
    if (!rc && (in.size - in.at < 4 || length != in.size - in.at - 4))
        rc = pawl_pb_fail(&in, 0, "its length does not fit its entry");
    if (rc) goto out;
    const size_t tail = in.size - in.at;
    memmove(bytes + 4, bytes + in.at, tail);
    for (int k = 0; k < 4; k++)
        bytes[k] = (unsigned char)(length >> 8 * k);
    if (pawl_table_mask(pawl_crc32c(bytes, tail + 4)) != entry->crc) {
        rc = pawl_pb_fail(&in, 0, "its checksum (CRC-32C) differs: the file is damaged");
        goto out;
    }
    memmove(bytes, bytes + 8, (size_t)length);
    bytes[length] = 0;
    *out = (char *)bytes;
    *size = (size_t)length;
    bytes = NULL;
out:
    pawl_free(bytes);
    return rc;
}

int pawl_bundle_add(const struct pawl_bundle *bundle, int i, const char *name,
                    struct pawl_entry **table, int *count)
{
    const struct pawl_bundle_entry *entry = &bundle->entries[i];
    struct pawl_tensor tensor = { .name = "" };

    if (entry->sliced)
        return pawl_fail(PAWL_ENOTSUP, "%s.index: '%.200s' is stored in slices (a partitioned "
                         "variable), which are not read. try: save it again without partitioning",
                         bundle->prefix, pawl_bundle_key(bundle, i));
    if (entry->dtype < 0)
        return pawl_fail(PAWL_ENOTSUP, "%s.index: '%.200s' is of a type that is not read",
                         bundle->prefix, pawl_bundle_key(bundle, i));
    if (strlen(name) > PAWL_NAME_MAX)
        return pawl_fail(PAWL_ECORRUPT, "%s.index: a name is longer than %d bytes",
                         bundle->prefix, PAWL_NAME_MAX);
    tensor.dtype = (enum pawl_dtype)entry->dtype;
    snprintf(tensor.name, sizeof(tensor.name), "%s", name);
    int rc = pawl_tensor_shape(&tensor, entry->rank, entry->dim);
    if (!rc) rc = pawl_document_add_entry(table, count, &tensor, bundle->files[entry->shard],
                                          entry->offset);
    if (!rc) {
        (*table)[*count - 1].has_crc = true;
        (*table)[*count - 1].crc32c = pawl_table_unmask(entry->crc);
    }
    return rc;
}
