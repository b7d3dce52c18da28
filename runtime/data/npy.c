// npy.c - see npy.h.

#include "runtime/data/npy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/source.h"

enum {
    HEADER_MAX = 65536,  // an array without fields needs about a hundred bytes
    PREFIX_BYTES = 12,   // magic, version and the longer of the two header lengths
    ELEMENT_MAX = 8,
    PIECE = 8192,  // elements read at a time
    ALIGN = 64,    // the elements begin at a multiple of it
};

static const char MAGIC[6] = "\x93NUMPY";

// ---- the header: a Python dictionary of three keys

struct cursor {
    const char *at, *begin, *end;
    const struct pawl_npy_file *file;
    uint64_t offset_bytes;  // of begin in the file
};

static int malformed(const struct cursor *cursor, const char *wanted)
{
    return pawl_fail(
        PAWL_ECORRUPT, "%s: the header is malformed at byte %llu: expected %s", cursor->file->path,
        (unsigned long long)(cursor->offset_bytes + (uint64_t)(cursor->at - cursor->begin)),
        wanted);
}

static void skip_space(struct cursor *cursor)
{
    while (cursor->at < cursor->end && strchr(" \t\r\n", *cursor->at) && *cursor->at)
        cursor->at++;
}

// Whether `word` comes next; if so it is behind the cursor now.
static bool take(struct cursor *cursor, const char *word)
{
    const size_t length = strlen(word);

    skip_space(cursor);
    if ((size_t)(cursor->end - cursor->at) < length || memcmp(cursor->at, word, length))
        return false;
    cursor->at += length;
    return true;
}

static int take_string(struct cursor *cursor, char *out, size_t out_bytes)
{
    skip_space(cursor);
    if (cursor->at == cursor->end || (*cursor->at != '\'' && *cursor->at != '"'))
        return malformed(cursor, "a string");
    const char *text = cursor->at + 1;
    const char *close = memchr(text, *cursor->at, (size_t)(cursor->end - text));
    if (!close || (size_t)(close - text) >= out_bytes)
        return malformed(cursor, "a short string");
    memcpy(out, text, (size_t)(close - text));
    out[close - text] = 0;
    cursor->at = close + 1;
    return 0;
}

static int take_count(struct cursor *cursor, int64_t *out)
{
    int64_t value = 0;

    skip_space(cursor);
    const char *first = cursor->at;
    for (; cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9'; cursor->at++)
        if (__builtin_mul_overflow(value, 10, &value)
            || __builtin_add_overflow(value, *cursor->at - '0', &value))
            return malformed(cursor, "a smaller number");
    if (cursor->at == first)
        return malformed(cursor, "a number");
    take(cursor, "L");  // Python 2's long
    *out = value;
    return 0;
}

static int take_shape(struct cursor *cursor, struct pawl_npy_file *file)
{
    if (!take(cursor, "("))
        return malformed(cursor, "'('");
    for (file->rank = 0; !take(cursor, ")"); file->rank++) {
        if (file->rank == PAWL_RANK_MAX)
            return pawl_fail(PAWL_ECORRUPT, "%s: more than %d dimensions", file->path,
                             PAWL_RANK_MAX);
        const int rc = take_count(cursor, &file->dim[file->rank]);
        if (rc)
            return rc;
        if (take(cursor, ","))
            continue;
        if (!take(cursor, ")"))
            return malformed(cursor, "',' or ')'");
        file->rank++;
        return 0;
    }
    return 0;
}

static int take_dtype(struct cursor *cursor, struct pawl_npy_file *file)
{
    static const struct {
        char name[3];
        enum pawl_dtype dtype;
    } known[] = {
        { "f2", PAWL_F16 }, { "f4", PAWL_F32 }, { "f8", PAWL_F64 }, { "i1", PAWL_I8 },
        { "i2", PAWL_I16 }, { "i4", PAWL_I32 }, { "i8", PAWL_I64 }, { "u1", PAWL_U8 },
        { "u2", PAWL_U16 }, { "u4", PAWL_U32 }, { "u8", PAWL_U64 }, { "b1", PAWL_BOOL },
    };
    char descr[16];

    skip_space(cursor);
    if (cursor->at < cursor->end && *cursor->at == '[')
        return pawl_fail(PAWL_ECORRUPT, "%s: holds structures; pawl reads plain numbers",
                         file->path);
    const int rc = take_string(cursor, descr, sizeof(descr));
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (descr[0] && strchr("<>|=", descr[0]) && !strcmp(descr + 1, known[i].name)) {
            file->dtype = known[i].dtype;
            file->big_endian = descr[0] == '>';
            return 0;
        }
    }
    return pawl_fail(PAWL_ECORRUPT,
                     "%s: dtype '%s'; pawl reads f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1", file->path,
                     descr);
}

static int take_order(struct cursor *cursor, const struct pawl_npy_file *file)
{
    if (take(cursor, "False"))
        return 0;
    if (!take(cursor, "True"))
        return malformed(cursor, "True or False");
    return pawl_fail(PAWL_ECORRUPT,
                     "%s: is in Fortran order; pawl reads row-major arrays. try: "
                     "numpy.save(FILE, numpy.ascontiguousarray(array))",
                     file->path);
}

static int parse(struct cursor *cursor, struct pawl_npy_file *file)
{
    static const char *const keys[] = { "descr", "fortran_order", "shape" };
    int seen = 0, rc = 0;
    char key[16];

    if (!take(cursor, "{"))
        return malformed(cursor, "'{'");
    while (!rc && !take(cursor, "}")) {
        int k = 0;
        rc = take_string(cursor, key, sizeof(key));
        if (rc)
            return rc;
        while (k < 3 && strcmp(key, keys[k]))
            k++;
        if (k == 3 || seen & 1 << k)
            return malformed(cursor, "each of three known keys once");
        seen |= 1 << k;
        if (!take(cursor, ":"))
            return malformed(cursor, "':'");
        if (k == 0)
            rc = take_dtype(cursor, file);
        if (k == 1)
            rc = take_order(cursor, file);
        if (k == 2)
            rc = take_shape(cursor, file);
        if (!rc && !take(cursor, ",")) {
            if (take(cursor, "}"))
                break;
            rc = malformed(cursor, "',' or '}'");
        }
    }
    if (!rc && seen != 7)
        rc = malformed(cursor, "the keys descr, fortran_order and shape");
    skip_space(cursor);
    if (!rc && cursor->at < cursor->end)
        rc = malformed(cursor, "nothing more");
    return rc;
}

static int check_size(struct pawl_npy_file *file)
{
    const size_t element = pawl_dtype_bytes(file->dtype);
    const uint64_t have = file->file_bytes - file->offset_bytes;
    char shape[128];

    for (int i = file->rank; i < PAWL_RANK_MAX; i++)
        file->dim[i] = 1;
    pawl_shape_text(shape, sizeof(shape), file->rank, file->dim);
    if (pawl_shape_count(&file->count, file->rank, file->dim)
        || (uint64_t)file->count > have / element)
        return pawl_fail(PAWL_ECORRUPT,
                         "%s: %s %s is more than the %llu bytes that follow the header", file->path,
                         pawl_dtype_name(file->dtype), shape, (unsigned long long)have);
    if ((uint64_t)file->count * element != have)
        return pawl_fail(PAWL_ECORRUPT, "%s: %llu bytes follow the %s %s that the header names",
                         file->path, (unsigned long long)(have - (uint64_t)file->count * element),
                         pawl_dtype_name(file->dtype), shape);
    return 0;
}

static int read_header(struct pawl_npy_file *file)
{
    uint8_t prefix[PREFIX_BYTES] = { 0 };
    char *header = NULL;

    if (file->file_bytes < PREFIX_BYTES)
        return pawl_fail(PAWL_ECORRUPT, "%s: has %llu bytes, too few for a .npy file", file->path,
                         (unsigned long long)file->file_bytes);
    int rc = pawl_source_read(file->fd, file->path, prefix, sizeof(prefix), 0);
    if (rc)
        return rc;
    if (memcmp(prefix, MAGIC, sizeof(MAGIC)))
        return pawl_fail(PAWL_ECORRUPT, "%s: is no .npy file: it does not begin with \\x93NUMPY",
                         file->path);
    if (prefix[6] < 1 || prefix[6] > 3)
        return pawl_fail(PAWL_ECORRUPT, "%s: .npy format version %d.%d; pawl reads 1 to 3",
                         file->path, prefix[6], prefix[7]);
    const uint64_t begin = prefix[6] == 1 ? 10 : 12;
    uint64_t length = prefix[8] | (uint64_t)prefix[9] << 8;
    if (prefix[6] > 1)
        length |= (uint64_t)prefix[10] << 16 | (uint64_t)prefix[11] << 24;
    if (length > HEADER_MAX || length > file->file_bytes - begin)
        return pawl_fail(PAWL_ECORRUPT, "%s: a header of %llu bytes at byte 8; the file has %llu",
                         file->path, (unsigned long long)length,
                         (unsigned long long)file->file_bytes);
    rc = pawl_alloc(&header, length + 1, "npy header");
    if (!rc)
        rc = pawl_source_read(file->fd, file->path, header, length, begin);
    if (!rc) {
        struct cursor cursor = { header, header, header + length, file, begin };
        rc = parse(&cursor, file);
    }
    pawl_free(header);
    if (rc)
        return rc;
    file->offset_bytes = begin + length;
    return check_size(file);
}

int pawl_npy_open(struct pawl_npy_file *out, const char *path)
{
    struct pawl_npy_file file = { .fd = -1 };

    int rc = pawl_strdup(&file.path, path);
    if (!rc)
        rc = pawl_source_open_file(&file.fd, &file.file_bytes, path);
    if (!rc)
        rc = read_header(&file);
    if (rc) {
        pawl_npy_close(&file);
        return rc;
    }
    *out = file;
    return 0;
}

void pawl_npy_close(struct pawl_npy_file *file)
{
    if (!file->path)
        return;
    if (file->fd >= 0)
        pawl_io()->close(file->fd);
    pawl_free(file->path);
    *file = (struct pawl_npy_file){ .fd = -1 };
}

// ---- elements

bool pawl_npy_is_float(const struct pawl_npy_file *file)
{
    return file->dtype == PAWL_F32 || file->dtype == PAWL_F16 || file->dtype == PAWL_F64;
}

// The bits of element i, whatever its byte order.
static uint64_t bits_of(const struct pawl_npy_file *file, const uint8_t *raw, int64_t i)
{
    const size_t bytes = pawl_dtype_bytes(file->dtype);
    uint64_t bits = 0;

    raw += (size_t)i * bytes;
    for (size_t k = 0; k < bytes; k++)
        bits = bits << 8 | raw[file->big_endian ? k : bytes - 1 - k];
    return bits;
}

static float half_to_float(uint64_t bits)
{
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    const int exponent = (int)(bits >> 10 & 31);
    const float fraction = (float)(bits & 1023);

    if (exponent == 31)
        return fraction != 0 ? __builtin_nanf("") : sign * __builtin_inff();
    if (exponent == 0)
        return sign * fraction * 0x1p-24f;
    return sign * (1024.0f + fraction) * __builtin_ldexpf(1.0f, exponent - 25);
}

// An integer or boolean; beyond int64 it stays at the border, which is out of range anywhere.
static int64_t integer_of(const struct pawl_npy_file *file, const uint8_t *raw, int64_t i)
{
    const uint64_t bits = bits_of(file, raw, i);

    switch (file->dtype) {
    case PAWL_I8:
        return (int8_t)bits;
    case PAWL_I16:
        return (int16_t)bits;
    case PAWL_I32:
        return (int32_t)bits;
    case PAWL_I64:
        return (int64_t)bits;
    case PAWL_BOOL:
        return bits != 0;
    default:
        return bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    }
}

static float float_of(const struct pawl_npy_file *file, const uint8_t *raw, int64_t i)
{
    const uint64_t bits = bits_of(file, raw, i);
    const uint32_t low = (uint32_t)bits;
    double wide;
    float narrow;

    switch (file->dtype) {
    case PAWL_F32:
        memcpy(&narrow, &low, sizeof(narrow));
        return narrow;
    case PAWL_F64:
        memcpy(&wide, &bits, sizeof(wide));
        return (float)wide;
    case PAWL_F16:
        return half_to_float(bits);
    case PAWL_U64:
        return (float)bits;
    default:
        return (float)integer_of(file, raw, i);
    }
}

static int read_raw(const struct pawl_npy_file *file, int64_t at, int64_t count, void *raw)
{
    const size_t element = pawl_dtype_bytes(file->dtype);

    return pawl_source_read(file->fd, file->path, raw, (size_t)count * element,
                            file->offset_bytes + (uint64_t)at * element);
}

int pawl_npy_floats(const struct pawl_npy_file *file, int64_t at, int64_t count, void *raw,
                    float *out)
{
    const int rc = read_raw(file, at, count, raw);

    for (int64_t i = 0; i < count && !rc; i++)
        out[i] = float_of(file, raw, i);
    return rc;
}

int pawl_npy_integers(const struct pawl_npy_file *file, int64_t at, int64_t count, void *raw,
                      int32_t *out)
{
    const int rc = read_raw(file, at, count, raw);

    if (rc)
        return rc;
    for (int64_t i = 0; i < count; i++) {
        const int64_t value = integer_of(file, raw, i);
        if (value < INT32_MIN || value > INT32_MAX)
            return pawl_fail(PAWL_ECORRUPT, "%s: element %lld does not fit in 32 bits", file->path,
                             (long long)(at + i));
        out[i] = (int32_t)value;
    }
    return 0;
}

// ---- whole arrays

int pawl_npy_read(const char *path, struct pawl_npy *out)
{
    struct pawl_npy_file file;
    uint8_t raw[PIECE * ELEMENT_MAX];
    void *data = NULL;

    int rc = pawl_npy_open(&file, path);
    if (rc)
        return rc;
    const bool floats = pawl_npy_is_float(&file);
    rc = pawl_alloc(&data, 4 * (size_t)file.count, path);
    for (int64_t at = 0; at < file.count && !rc; at += PIECE) {
        const int64_t count = file.count - at < PIECE ? file.count - at : PIECE;
        rc = floats ? pawl_npy_floats(&file, at, count, raw, (float *)data + at)
                    : pawl_npy_integers(&file, at, count, raw, (int32_t *)data + at);
    }
    if (!rc) {
        *out = (struct pawl_npy){ .rank = file.rank,
                                  .dtype = floats ? PAWL_F32 : PAWL_I32,
                                  .count = file.count,
                                  .data = data };
        memcpy(out->dim, file.dim, sizeof(out->dim));
    } else {
        pawl_free(data);
    }
    pawl_npy_close(&file);
    return rc;
}

void pawl_npy_free(struct pawl_npy *npy)
{
    if (!npy)
        return;
    pawl_free(npy->data);
    *npy = (struct pawl_npy){ 0 };
}
