// npy.c - see npy.h.

#include "runtime/data/npy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/npy.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/source.h"

enum { ELEMENT_MAX = 8, PIECE = 8192 };  // bytes of the largest; elements read at a time

// ---- the header

static int read_header(struct pawl_npy_file *file)
{
    const size_t size = file->file_bytes < PAWL_NPY_HEAD_MAX ? (size_t)file->file_bytes
                                                             : PAWL_NPY_HEAD_MAX;
    struct pawl_npy_header header;
    char *head = NULL;

    int rc = pawl_alloc(&head, size, "npy header");
    if (!rc)
        rc = pawl_source_read(file->fd, file->path, head, size, 0);
    if (!rc)
        rc = pawl_npy_parse(&header, file->path, head, size, file->file_bytes);
    pawl_free(head);
    if (!rc && (header.dtype == PAWL_C64 || header.dtype == PAWL_C128))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: dtype %s; a model takes no complex numbers", file->path,
                       pawl_dtype_name(header.dtype));
    if (rc)
        return rc;
    file->dtype = header.dtype;
    file->big_endian = header.big_endian;
    file->fortran = header.fortran;
    file->rank = header.rank;
    memcpy(file->dim, header.dim, sizeof(file->dim));
    file->count = header.count;
    file->offset_bytes = header.offset_bytes;
    return 0;
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

// The elements of *data, 4 bytes each, from column-major order into row-major.
static int turn(void **data, const struct pawl_npy_file *file)
{
    const uint32_t *from = *data;
    int64_t at[PAWL_RANK_MAX] = { 0 };
    uint32_t *to = NULL;

    const int rc = pawl_alloc(&to, 4 * (size_t)file->count, file->path);
    if (rc)
        return rc;
    for (int64_t i = 0; i < file->count; i++) {
        int64_t place = 0;
        for (int d = 0; d < file->rank; d++)
            place = place * file->dim[d] + at[d];
        to[place] = from[i];
        for (int d = 0; d < file->rank && ++at[d] == file->dim[d]; d++)
            at[d] = 0;
    }
    pawl_free(*data);
    *data = to;
    return 0;
}

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
    if (!rc && file.fortran)
        rc = turn(&data, &file);
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
