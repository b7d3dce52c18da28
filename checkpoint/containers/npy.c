// npy.c - see npy.h.

#include "checkpoint/containers/npy.h"

#include <stdio.h>
#include <string.h>

enum { PREFIX_BYTES = 12, ALIGN = 64 };  // magic, version and the longer of the header lengths

static const char MAGIC[6] = "\x93NUMPY";

// ---- the header: a Python dictionary of three keys

struct cursor {
    const char *at, *begin, *end;
    const char *what;
    uint64_t offset_bytes;  // of begin in the file
};

static int malformed(const struct cursor *cursor, const char *wanted)
{
    return pawl_fail(
        PAWL_ECORRUPT, "%s: the header is malformed at byte %llu: expected %s", cursor->what,
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

static int take_count(struct cursor *cursor, int64_t *number)
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
    *number = value;
    return 0;
}

static int take_shape(struct cursor *cursor, struct pawl_npy_header *out)
{
    if (!take(cursor, "("))
        return malformed(cursor, "'('");
    for (out->rank = 0; !take(cursor, ")"); out->rank++) {
        if (out->rank == PAWL_RANK_MAX)
            return pawl_fail(PAWL_ECORRUPT, "%s: more than %d dimensions", cursor->what,
                             PAWL_RANK_MAX);
        const int rc = take_count(cursor, &out->dim[out->rank]);
        if (rc)
            return rc;
        if (take(cursor, ","))
            continue;
        if (!take(cursor, ")"))
            return malformed(cursor, "',' or ')'");
        out->rank++;
        return 0;
    }
    return 0;
}

static int take_dtype(struct cursor *cursor, struct pawl_npy_header *out)
{
    static const struct {
        char name[4];
        enum pawl_dtype dtype;
    } known[] = {
        { "f2", PAWL_F16 }, { "f4", PAWL_F32 }, { "f8", PAWL_F64 }, { "i1", PAWL_I8 },
        { "i2", PAWL_I16 }, { "i4", PAWL_I32 }, { "i8", PAWL_I64 }, { "u1", PAWL_U8 },
        { "u2", PAWL_U16 }, { "u4", PAWL_U32 }, { "u8", PAWL_U64 }, { "b1", PAWL_BOOL },
        { "c8", PAWL_C64 }, { "c16", PAWL_C128 },
    };
    char descr[16];

    skip_space(cursor);
    if (cursor->at < cursor->end && *cursor->at == '[')
        return pawl_fail(PAWL_ECORRUPT, "%s: holds structures (a dtype with fields); pawl reads "
                         "plain numbers", cursor->what);
    const int rc = take_string(cursor, descr, sizeof(descr));
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (descr[0] && strchr("<>|=", descr[0]) && !strcmp(descr + 1, known[i].name)) {
            out->dtype = known[i].dtype;
            out->big_endian = descr[0] == '>';
            return 0;
        }
    }
    return pawl_fail(PAWL_ECORRUPT,
                     "%s: dtype '%s'; pawl reads f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1", cursor->what,
                     descr);
}

static int take_order(struct cursor *cursor, struct pawl_npy_header *out)
{
    out->fortran = take(cursor, "True");
    return out->fortran || take(cursor, "False") ? 0 : malformed(cursor, "True or False");
}

static int parse(struct cursor *cursor, struct pawl_npy_header *out)
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
            rc = take_dtype(cursor, out);
        if (k == 1)
            rc = take_order(cursor, out);
        if (k == 2)
            rc = take_shape(cursor, out);
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

static int check_size(struct pawl_npy_header *out, const char *what, uint64_t file_bytes)
{
    const size_t element = pawl_dtype_bytes(out->dtype);
    const uint64_t have = file_bytes - out->offset_bytes;
    char shape[128];

    for (int i = out->rank; i < PAWL_RANK_MAX; i++)
        out->dim[i] = 1;
    pawl_shape_text(shape, sizeof(shape), out->rank, out->dim);
    if (pawl_shape_count(&out->count, out->rank, out->dim)
        || (uint64_t)out->count > have / element)
        return pawl_fail(PAWL_ECORRUPT, "%s: %s of shape %s is more than the %llu bytes that "
                         "follow the header", what, pawl_dtype_name(out->dtype), shape,
                         (unsigned long long)have);
    if ((uint64_t)out->count * element != have)
        return pawl_fail(PAWL_ECORRUPT, "%s: %llu bytes follow the %s %s that the header names",
                         what, (unsigned long long)(have - (uint64_t)out->count * element),
                         pawl_dtype_name(out->dtype), shape);
    return 0;
}

int pawl_npy_parse(struct pawl_npy_header *out, const char *what, const void *head,
                   size_t head_bytes, uint64_t file_bytes)
{
    const unsigned char *prefix = head;

    *out = (struct pawl_npy_header){ 0 };
    if (head_bytes < PREFIX_BYTES)
        return pawl_fail(PAWL_ECORRUPT, "%s: has %llu bytes, too few for a .npy file", what,
                         (unsigned long long)file_bytes);
    if (memcmp(prefix, MAGIC, sizeof(MAGIC)))
        return pawl_fail(PAWL_ECORRUPT, "%s: is no .npy file: it does not begin with \\x93NUMPY",
                         what);
    if (prefix[6] < 1 || prefix[6] > 3)
        return pawl_fail(PAWL_ECORRUPT, "%s: .npy format version %d.%d; pawl reads 1 to 3", what,
                         prefix[6], prefix[7]);
    const uint64_t begin = prefix[6] == 1 ? 10 : 12;
    uint64_t length = prefix[8] | (uint64_t)prefix[9] << 8;
    if (prefix[6] > 1) length |= (uint64_t)prefix[10] << 16 | (uint64_t)prefix[11] << 24;
    if (length > PAWL_NPY_HEAD_MAX - PREFIX_BYTES || length > head_bytes - begin)
        return pawl_fail(PAWL_ECORRUPT, "%s: a header of %llu bytes at byte 8; the file has %llu",
                         what, (unsigned long long)length, (unsigned long long)file_bytes);
    const char *text = (const char *)head + begin;
    struct cursor cursor = { text, text, text + length, what, begin };
    const int rc = parse(&cursor, out);
    if (rc) return rc;
    out->offset_bytes = begin + length;
    return check_size(out, what, file_bytes);
}

// ---- writing

const char *pawl_npy_descr(enum pawl_dtype dtype)
{
    switch (dtype) {
    case PAWL_F16:
        return "<f2";
    case PAWL_F32:
        return "<f4";
    case PAWL_F64:
        return "<f8";
    case PAWL_I8:
        return "|i1";
    case PAWL_I16:
        return "<i2";
    case PAWL_I32:
        return "<i4";
    case PAWL_I64:
        return "<i8";
    case PAWL_U8:
        return "|u1";
    case PAWL_U16:
        return "<u2";
    case PAWL_U32:
        return "<u4";
    case PAWL_U64:
        return "<u8";
    case PAWL_BOOL:
        return "|b1";
    case PAWL_C64:
        return "<c8";
    case PAWL_C128:
        return "<c16";
    default:
        return NULL;
    }
}

// The header with its prefix, padded by spaces to a multiple of 64. Eight dimensions of at most 19
// digits need 8 * 21 bytes, so there is room for any.
size_t pawl_npy_format(char out[PAWL_NPY_HEAD_ROOM], enum pawl_dtype dtype, int rank,
                       const int64_t *dim)
{
    enum { HEAD = 10 };  // of version 1
    char *text = out + HEAD;
    const size_t room = PAWL_NPY_HEAD_ROOM - HEAD;

    size_t at = (size_t)snprintf(text, room, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                                 pawl_npy_descr(dtype));
    for (int i = 0; i < rank; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%lld%s", i ? " " : "", (long long)dim[i],
                               i + 1 < rank || rank == 1 ? "," : "");
    at += (size_t)snprintf(text + at, room - at, "), }");
    const size_t whole = (HEAD + at + 1 + ALIGN - 1) / ALIGN * ALIGN;
    memset(text + at, ' ', whole - HEAD - at);
    out[whole - 1] = '\n';
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)((whole - HEAD) & 255);
    out[9] = (char)((whole - HEAD) >> 8);
    return whole;
}
