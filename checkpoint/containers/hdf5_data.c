// hdf5_data.c - datatypes, shapes and layouts: what makes a dataset a tensor.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/hdf5_inside.h"
#include "kernels/memory.h"

// ---- types

// Floating types, by the place and width of exponent and mantissa.
static const struct {
    unsigned size, precision, exponent_at, exponent_bits, mantissa_bits, bias;
    enum pawl_dtype dtype;
} floats[] = {
    { 2, 16, 10, 5, 10, 15, PAWL_F16 },
    { 2, 16, 7, 8, 7, 127, PAWL_BF16 },
    { 4, 32, 23, 8, 23, 127, PAWL_F32 },
    { 8, 64, 52, 11, 52, 1023, PAWL_F64 },
};

static void read_float(struct pawl_hdf5_cursor *at, unsigned bits, struct pawl_hdf5_type *out)
{
    pawl_hdf5_take(at, 2);
    const unsigned precision = (unsigned)pawl_hdf5_take(at, 2);
    const unsigned exponent_at = (unsigned)pawl_hdf5_take(at, 1);
    const unsigned exponent_bits = (unsigned)pawl_hdf5_take(at, 1);
    pawl_hdf5_take(at, 1);
    const unsigned mantissa_bits = (unsigned)pawl_hdf5_take(at, 1);
    const unsigned bias = (unsigned)pawl_hdf5_take(at, 4);

    out->words = bits & 1 ? "big-endian floats" : "floats of an unknown layout";
    if (bits & 0x41) return;
    for (size_t i = 0; i < sizeof(floats) / sizeof(*floats); i++)
        if (out->size_bytes == floats[i].size && precision == floats[i].precision
            && exponent_at == floats[i].exponent_at && exponent_bits == floats[i].exponent_bits
            && mantissa_bits == floats[i].mantissa_bits && bias == floats[i].bias) {
            out->kind = PAWL_HDF5_NUMBER;
            out->dtype = floats[i].dtype;
        }
}

static void read_integer(struct pawl_hdf5_cursor *at, unsigned bits, struct pawl_hdf5_type *out)
{
    static const enum pawl_dtype types[2][4] = { { PAWL_U8, PAWL_U16, PAWL_U32, PAWL_U64 },
                                                 { PAWL_I8, PAWL_I16, PAWL_I32, PAWL_I64 } };
    const unsigned offset = (unsigned)pawl_hdf5_take(at, 2);
    const unsigned precision = (unsigned)pawl_hdf5_take(at, 2);

    out->words = bits & 1 && out->size_bytes > 1 ? "big-endian integers"
                                                 : "integers of an unknown layout";
    if ((bits & 1 && out->size_bytes > 1) || offset || precision != 8 * out->size_bytes) return;
    for (int i = 0; i < 4; i++)
        if (out->size_bytes == 1u << i) {
            out->kind = PAWL_HDF5_NUMBER;
            out->dtype = types[bits >> 3 & 1][i];
        }
}

// h5py keeps a bool as an enumeration of FALSE and TRUE over int8.
static void read_enum(struct pawl_hdf5_cursor *at, unsigned bits, struct pawl_hdf5_type *out)
{
    out->words = "an enumeration";
    if ((pawl_hdf5_take(at, 1) & 15) != 0 || out->size_bytes != 1 || (bits & 0xffff) != 2) return;
    pawl_hdf5_skip(at, 11);  // the rest of the base type
    const unsigned char *names = at->bytes + at->at;
    const size_t left = at->size - at->at;
    if (at->over || left < 13 || memcmp(names, "FALSE", 6)) return;
    out->kind = PAWL_HDF5_NUMBER;
    out->dtype = PAWL_BOOL;
}

int pawl_hdf5_type_read(struct pawl_hdf5_cursor *at, struct pawl_hdf5_type *out)
{
    const unsigned first = (unsigned)pawl_hdf5_take(at, 1);
    const unsigned bits = (unsigned)pawl_hdf5_take(at, 3);

    *out = (struct pawl_hdf5_type){ .kind = PAWL_HDF5_OTHER, .words = "a compound type" };
    out->size_bytes = (size_t)pawl_hdf5_take(at, 4);
    switch (first & 15) {
    case 0: read_integer(at, bits, out); break;
    case 1: read_float(at, bits, out); break;
    case 3:
        out->kind = PAWL_HDF5_FIXED_STRING;
        out->words = "strings";
        break;
    case 5:
        out->kind = PAWL_HDF5_OPAQUE;
        out->words = "opaque bytes";
        break;
    case 7: out->words = "references"; break;
    case 8: read_enum(at, bits, out); break;
    case 9:
        out->kind = (bits & 15) == 1 && out->size_bytes == 16 ? PAWL_HDF5_VAR_STRING
                                                              : PAWL_HDF5_OTHER;
        out->words = (bits & 15) == 1 ? "strings" : "sequences of any length";
        break;
    default: break;
    }
    return at->over ? PAWL_ECORRUPT : 0;
}

int pawl_hdf5_shape_read(struct pawl_hdf5_cursor *at, struct pawl_hdf5_shape *out)
{
    const int version = (int)pawl_hdf5_take(at, 1), rank = (int)pawl_hdf5_take(at, 1);

    *out = (struct pawl_hdf5_shape){ .rank = rank };
    pawl_hdf5_take(at, 1);
    const int kind = (int)pawl_hdf5_take(at, 1);
    if (version == 1) pawl_hdf5_skip(at, 4);
    if (version < 1 || version > 2 || rank > PAWL_RANK_MAX) return PAWL_ECORRUPT;
    out->null = version == 2 && kind == 2;
    for (int d = 0; d < rank; d++)
        out->dim[d] = pawl_hdf5_take(at, 8);
    return at->over ? PAWL_ECORRUPT : 0;
}

// ---- a dataset

struct dataset {
    struct pawl_hdf5 *h5;
    const char *path;
    const struct pawl_hdf5_header *header;
    struct pawl_tensor tensor;
    int file;
    uint64_t offset;
};

static int wrong(const struct dataset *set, const char *words)
{
    return pawl_hdf5_fail(set->h5, "dataset '%s' %s", set->path, words);
}

static int find(const struct dataset *set, int type, const char *what,
                struct pawl_hdf5_cursor *out)
{
    const struct pawl_hdf5_message *message = pawl_hdf5_message(set->header, type);

    if (!message) return pawl_hdf5_fail(set->h5, "dataset '%s' has no %s", set->path, what);
    if (message->flags & 2)
        return pawl_hdf5_fail(set->h5, "dataset '%s' has a committed %s, which pawl does not read",
                              set->path, what);
    *out = (struct pawl_hdf5_cursor){ message->bytes, message->size, 0, false };
    return 0;
}

// Opaque bytes are numbers when an attribute says of which type.
static int opaque_type(struct dataset *set, int object, const struct pawl_hdf5_type *type)
{
    json_t *name = NULL;
    int rc = pawl_hdf5_attribute(set->h5, object, "dtype", &name);

    if (rc) return rc;
    rc = !json_is_string(name) || pawl_dtype_parse(&set->tensor.dtype, json_string_value(name))
                 || pawl_dtype_bytes(set->tensor.dtype) != type->size_bytes
             ? wrong(set, "holds opaque bytes and no attribute 'dtype' that says what they are")
             : 0;
    json_decref(name);
    return rc;
}

static int read_type(struct dataset *set, int object)
{
    struct pawl_hdf5_cursor at;
    struct pawl_hdf5_type type;

    int rc = find(set, PAWL_HDF5_TYPE, "type", &at);
    if (rc) return rc;
    if (pawl_hdf5_type_read(&at, &type)) return wrong(set, "has a damaged type");
    set->tensor.dtype = type.dtype;
    if (type.kind == PAWL_HDF5_OPAQUE) return opaque_type(set, object, &type);
    if (type.kind != PAWL_HDF5_NUMBER)
        return pawl_hdf5_fail(set->h5, "dataset '%s' holds %s where numbers belong", set->path,
                              type.words);
    return 0;
}

// What a shape claims must be possible for a file of this size, even compressed.
static int check_size(const struct dataset *set)
{
    const uint64_t size = set->h5->span.size_bytes;
    char shape[96];

    if (set->tensor.size_bytes / PAWL_HDF5_RATIO <= size) return 0;
    pawl_shape_text(shape, sizeof(shape), set->tensor.rank, set->tensor.dim);
    return pawl_hdf5_fail(set->h5, "dataset '%s' claims the shape %s, %zu bytes: too large for a "
                          "file of %llu bytes", set->path, shape, set->tensor.size_bytes,
                          (unsigned long long)size);
}

static int read_shape(struct dataset *set)
{
    struct pawl_hdf5_cursor at;
    struct pawl_hdf5_shape shape;
    int64_t dim[PAWL_RANK_MAX];

    int rc = find(set, PAWL_HDF5_SPACE, "shape", &at);
    if (rc) return rc;
    if (pawl_hdf5_shape_read(&at, &shape) || shape.null)
        return wrong(set, "has no shape, a damaged one, or more than 8 dimensions");
    for (int d = 0; d < shape.rank; d++) {
        if (shape.dim[d] > INT64_MAX) return wrong(set, "has a dimension that is too large");
        dim[d] = (int64_t)shape.dim[d];
    }
    if (pawl_tensor_shape(&set->tensor, shape.rank, dim))
        return wrong(set, "has a shape whose size in bytes is too large");
    return check_size(set);
}

// ---- layouts

static int zeros_read(void *context, uint64_t offset, void *out, size_t size)
{
    (void)context;
    (void)offset;
    memset(out, 0, size);
    return 0;
}

// Data never written are the fill value, and that is zero unless someone took the trouble.
static int check_fill(const struct dataset *set)
{
    const struct pawl_hdf5_message *fill = pawl_hdf5_message(set->header, PAWL_HDF5_FILL);

    if (!fill) return 0;
    struct pawl_hdf5_cursor at = { fill->bytes, fill->size, 0, false };
    const int version = (int)pawl_hdf5_take(&at, 1);
    bool defined = true;
    if (version == 3) {
        defined = pawl_hdf5_take(&at, 1) & 32;
    } else {
        pawl_hdf5_take(&at, 2);
        defined = pawl_hdf5_take(&at, 1) != 0;
    }
    const uint64_t size = defined ? pawl_hdf5_take(&at, 4) : 0;
    const unsigned char *bytes = pawl_hdf5_skip(&at, size);
    for (uint64_t i = 0; bytes && i < size; i++)
        if (bytes[i]) return wrong(set, "was not written whole and has a fill value, which pawl "
                                   "does not read");
    return 0;
}

static int contiguous(struct dataset *set, struct pawl_hdf5_cursor *at)
{
    const struct pawl_hdf5 *h5 = set->h5;
    const uint64_t address = pawl_hdf5_take(at, 8), size = pawl_hdf5_take(at, 8);
    const struct pawl_made zeros = { set->tensor.size_bytes, NULL, zeros_read, NULL };

    if (at->over) return wrong(set, "has a layout that is cut");
    set->file = h5->file;
    set->offset = h5->span.offset_bytes + address;
    if (address == PAWL_HDF5_UNDEFINED) {
        const int rc = check_fill(set);
        return rc ? rc : pawl_document_add_made(h5->document, h5->what, &zeros, &set->file)
                             ? PAWL_ENOMEM : (set->offset = 0, 0);
    }
    if (size != set->tensor.size_bytes)
        return pawl_hdf5_fail(h5, "dataset '%s' has %llu bytes stored, but its shape and type need "
                              "%zu", set->path, (unsigned long long)size, set->tensor.size_bytes);
    if (address > h5->span.size_bytes || size > h5->span.size_bytes - address)
        return pawl_hdf5_fail(h5, "dataset '%s' lies at byte %llu, beyond the end of the file at "
                              "%llu: truncated", set->path, (unsigned long long)address,
                              (unsigned long long)h5->span.size_bytes);
    return 0;
}

// Compact data lie in the header itself: a few bytes, which are kept.
struct compact {
    size_t size;
    unsigned char bytes[];
};

static int compact_read(void *context, uint64_t offset, void *out, size_t size)
{
    const struct compact *compact = context;

    memcpy(out, compact->bytes + offset, size);
    return 0;
}

static int compact(struct dataset *set, struct pawl_hdf5_cursor *at)
{
    const size_t size = (size_t)pawl_hdf5_take(at, 2);
    const unsigned char *bytes = pawl_hdf5_skip(at, size);
    struct compact *kept = NULL;

    if (!bytes || size != set->tensor.size_bytes)
        return wrong(set, "has fewer or more bytes than its shape needs");
    int rc = pawl_alloc(&kept, sizeof(*kept) + size, "a dataset's bytes");
    if (rc) return rc;
    kept->size = size;
    memcpy(kept->bytes, bytes, size);
    const struct pawl_made made = { size, kept, compact_read, pawl_free };
    rc = pawl_document_add_made(set->h5->document, set->h5->what, &made, &set->file);
    if (rc) pawl_free(kept);
    return rc;
}

static const char *filter_name(int id)
{
    switch (id) {
    case 4: return "szip";
    case 5: return "n-bit";
    case 6: return "scale-offset";
    case 32000: return "lzf";
    case 32001: return "blosc";
    case 32008: return "bitshuffle";
    case 32015: return "zstd";
    default: return "unknown";
    }
}

static int read_filters(struct dataset *set, struct pawl_hdf5_chunked *chunked)
{
    const struct pawl_hdf5_message *message = pawl_hdf5_message(set->header, PAWL_HDF5_FILTERS);

    if (!message) return 0;
    struct pawl_hdf5_cursor at = { message->bytes, message->size, 0, false };
    const int version = (int)pawl_hdf5_take(&at, 1), count = (int)pawl_hdf5_take(&at, 1);
    pawl_hdf5_skip(&at, version == 1 ? 6 : 0);
    if (message->flags & 2 || version < 1 || version > 2 || count > PAWL_HDF5_FILTERS_MAX)
        return wrong(set, "has filters of an unknown form");
    for (int i = 0; i < count; i++) {
        const int id = (int)pawl_hdf5_take(&at, 2);
        const bool named = version == 1 || id >= 256;
        uint64_t name = named ? pawl_hdf5_take(&at, 2) : 0;
        pawl_hdf5_take(&at, 2);
        const uint64_t values = pawl_hdf5_take(&at, 2);
        if (version == 1) name = (name + 7) / 8 * 8;
        pawl_hdf5_skip(&at, name + 4 * values + (version == 1 && values & 1 ? 4 : 0));
        if (id < 1 || id > 3)
            return pawl_hdf5_fail(set->h5, "dataset '%s' needs filter %d (%s); pawl reads deflate, "
                                  "shuffle and fletcher32. try: h5repack -f GZIP=1", set->path, id,
                                  filter_name(id));
        chunked->filter[chunked->filter_count++].id = id;
    }
    return at.over ? wrong(set, "has filters that are cut") : 0;
}

static int shape_chunks(struct dataset *set, struct pawl_hdf5_cursor *at,
                        struct pawl_hdf5_chunked *chunked)
{
    uint64_t bytes = pawl_dtype_bytes(set->tensor.dtype);

    chunked->rank = set->tensor.rank;
    chunked->element_bytes = (size_t)bytes;
    for (int d = 0; d < chunked->rank; d++) {
        chunked->dim[d] = (uint64_t)set->tensor.dim[d];
        chunked->chunk[d] = pawl_hdf5_take(at, 4);
        if (!chunked->chunk[d] || __builtin_mul_overflow(bytes, chunked->chunk[d], &bytes)
            || bytes / PAWL_HDF5_RATIO > set->h5->span.size_bytes || bytes > UINT32_MAX)
            return wrong(set, "has chunks that are too large for the file");
        chunked->grid[d] = (chunked->dim[d] + chunked->chunk[d] - 1) / chunked->chunk[d];
    }
    chunked->chunk_bytes = (size_t)bytes;
    if (pawl_hdf5_take(at, 4) != chunked->element_bytes || at->over)
        return wrong(set, "has chunks of another type than its own");
    return 0;
}

static int in_chunks(struct dataset *set, struct pawl_hdf5_cursor *at)
{
    const int rank = (int)pawl_hdf5_take(at, 1) - 1;
    const uint64_t address = pawl_hdf5_take(at, 8);
    struct pawl_hdf5_chunked *chunked = NULL;

    if (rank != set->tensor.rank || !rank) return wrong(set, "has chunks of another rank");
    int rc = pawl_alloc(&chunked, sizeof(*chunked), "chunks");
    if (rc) return rc;
    chunked->document = set->h5->document;
    chunked->file = set->h5->file;
    chunked->span = set->h5->span;
    rc = shape_chunks(set, at, chunked);
    if (!rc) rc = read_filters(set, chunked);
    if (!rc) rc = check_fill(set);
    if (!rc)
        rc = pawl_alloc(&chunked->what, strlen(set->h5->what) + strlen(set->path) + 32, "words");
    if (rc) {
        pawl_hdf5_chunked_free(chunked);
        return rc;
    }
    sprintf(chunked->what, "%s: HDF5: dataset '%s'", set->h5->what, set->path);
    return pawl_hdf5_chunks_read(set->h5, chunked, address, &set->file);
}

static int read_layout(struct dataset *set)
{
    struct pawl_hdf5_cursor at;
    int rc = find(set, PAWL_HDF5_LAYOUT, "layout", &at);

    if (rc) return rc;
    if (pawl_hdf5_message(set->header, PAWL_HDF5_EXTERNAL))
        return wrong(set, "keeps its data in an external file, which pawl does not open");
    const int version = (int)pawl_hdf5_take(&at, 1), kind = (int)pawl_hdf5_take(&at, 1);
    if (kind == 3 && version >= 3)
        return wrong(set, "is virtual: its data lie in other files, which pawl does not open");
    if (version == 3 || (version == 4 && kind < 2)) {
        if (kind == 0) return compact(set, &at);
        if (kind == 1) return contiguous(set, &at);
        if (kind == 2) return in_chunks(set, &at);
    }
    return pawl_hdf5_fail(set->h5, "dataset '%s' has a layout of version %d, kind %d, which pawl "
                          "does not read. try: h5repack --low=0 --high=0", set->path, version,
                          kind);
}

int pawl_hdf5_entry(struct pawl_hdf5 *h5, int object, const char *name,
                    struct pawl_entry **table, int *count)
{
    struct pawl_hdf5_header header = { 0 };
    struct dataset set = { .h5 = h5, .path = h5->objects[object].path, .header = &header };

    if (!h5->objects[object].dataset)
        return pawl_hdf5_fail(h5, "'%s' is a group where a dataset belongs", set.path);
    if (strlen(name) > PAWL_NAME_MAX)
        return pawl_hdf5_fail(h5, "the name '%.60s...' is longer than %d bytes", name,
                              PAWL_NAME_MAX);
    int rc = pawl_hdf5_header_read(h5, h5->objects[object].header, &header);
    if (rc) return rc;
    snprintf(set.tensor.name, sizeof(set.tensor.name), "%s", name);
    rc = read_type(&set, object);
    if (!rc) rc = read_shape(&set);
    if (!rc) rc = read_layout(&set);
    if (!rc) rc = pawl_document_add_entry(table, count, &set.tensor, set.file, set.offset);
    pawl_hdf5_header_free(&header);
    return rc;
}
