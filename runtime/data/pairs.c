// pairs.c - the source npy:X.npy,Y.npy: row i of X with row i of Y, read as batches need them.
//
//     X (rows, shape...) any number -> float32, as it stands (nothing is scaled); integers are
//                        token ids where the model reads tokens
//     Y (rows) or (rows, labels...) of integers -> classes, held in memory, checked when opened
//     Y (rows, targets...) of floats    -> targets

#include <string.h>

#include "kernels/memory.h"
#include "runtime/data/npy.h"
#include "runtime/data/source.h"

enum { PATH_BYTES = 4096, PIECE = 8192, ELEMENT_MAX = 8 };

struct pairs {
    struct pawl_npy_file x, y;
    int64_t x_each, y_each;  // elements of a row
    int32_t *labels;         // (rows, y_each), or NULL: y is float
    void *raw;               // a row as stored
};

static void close_pairs(struct pawl_source *source)
{
    struct pairs *pairs = source->state;

    if (!pairs)
        return;
    pawl_npy_close(&pairs->x);
    pawl_npy_close(&pairs->y);
    pawl_free(pairs->labels);
    pawl_free(pairs->raw);
    pawl_free(pairs);
}

static int open_files(struct pairs *pairs, const char *where)
{
    const char *comma = strchr(where, ',');
    char path[PATH_BYTES];

    if (!comma || comma == where || !comma[1])
        return pawl_fail(PAWL_EINVAL, "npy: needs two files, npy:X.npy,Y.npy");
    if ((size_t)(comma - where) >= sizeof(path))
        return pawl_fail(PAWL_EINVAL, "npy: the path is too long");
    memcpy(path, where, (size_t)(comma - where));
    path[comma - where] = 0;
    int rc = pawl_npy_open(&pairs->x, path);
    if (!rc)
        rc = pawl_npy_open(&pairs->y, comma + 1);
    if (!rc && ((pairs->x.fortran && pairs->x.rank > 1) || (pairs->y.fortran && pairs->y.rank > 1)))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: is in Fortran order; training reads rows as they lie. "
                       "try: numpy.save(FILE, numpy.ascontiguousarray(array))",
                       pairs->x.fortran ? pairs->x.path : pairs->y.path);
    return rc;
}

static int check_shapes(struct pawl_source *source, struct pairs *pairs)
{
    const struct pawl_npy_file *x = &pairs->x, *y = &pairs->y;
    char x_shape[128], y_shape[128];

    pawl_shape_text(x_shape, sizeof(x_shape), x->rank, x->dim);
    pawl_shape_text(y_shape, sizeof(y_shape), y->rank, y->dim);
    if (x->rank < 1 || y->rank < 1 || x->dim[0] != y->dim[0])
        return pawl_fail(PAWL_ECORRUPT, "%s has shape %s and %s has %s: each needs the same rows",
                         x->path, x_shape, y->path, y_shape);
    if (!x->count || !y->count)
        return pawl_fail(PAWL_ECORRUPT, "%s: shape %s holds nothing", x->count ? y->path : x->path,
                         x->count ? y_shape : x_shape);
    if (x->rank - 1 > PAWL_SHAPE_MAX)
        return pawl_fail(PAWL_ECORRUPT, "%s: shape %s; a row has at most %d dimensions", x->path,
                         x_shape, PAWL_SHAPE_MAX);
    pairs->x_each = x->count / x->dim[0];
    pairs->y_each = y->count / y->dim[0];
    source->count = (uint64_t)x->dim[0];
    source->shape.rank = x->rank == 1 ? 1 : x->rank - 1;
    for (int i = 0; i < source->shape.rank; i++)
        source->shape.dim[i] = x->dim[i + 1];  // of rank 1: one feature, dim[1] is 1
    return 0;
}

static int take_labels(struct pawl_source *source, struct pairs *pairs)
{
    uint8_t raw[PIECE * ELEMENT_MAX];

    int rc = pawl_alloc(&pairs->labels, (size_t)pairs->y.count * sizeof(int32_t), "labels");
    for (int64_t at = 0; at < pairs->y.count && !rc; at += PIECE) {
        const int64_t count = pairs->y.count - at < PIECE ? pairs->y.count - at : PIECE;
        rc = pawl_npy_integers(&pairs->y, at, count, raw, pairs->labels + at);
    }
    if (rc)
        return rc;
    for (int64_t i = 0; i < pairs->y.count; i++) {
        const int32_t label = pairs->labels[i];
        if (label < 0)
            return pawl_fail(PAWL_ECORRUPT, "%s: label %d at row %lld; classes are 0 and above",
                             pairs->y.path, label, (long long)(i / pairs->y_each));
        if (label >= source->classes)
            source->classes = (int64_t)label + 1;
    }
    return 0;
}

static int open_pairs(struct pawl_source *source, const char *where,
                      const struct pawl_data_options *options)
{
    struct pairs *pairs;

    int rc = pawl_alloc(&pairs, sizeof(*pairs), "npy pair");
    if (rc)
        return rc;
    source->state = pairs;
    rc = open_files(pairs, where);
    if (!rc)
        rc = check_shapes(source, pairs);
    if (rc)
        return rc;
    source->tokens = options->tokens && !pawl_npy_is_float(&pairs->x);
    if (pawl_npy_is_float(&pairs->y)) {
        source->targets = pairs->y_each;
    } else {
        source->labels = pairs->y_each;
        rc = take_labels(source, pairs);
    }
    const int64_t each = pairs->x_each > pairs->y_each ? pairs->x_each : pairs->y_each;
    if (!rc)
        rc = pawl_alloc(&pairs->raw, (size_t)each * ELEMENT_MAX, "row as stored");
    for (int i = 0; i < 2 && !rc; i++) {
        const struct pawl_npy_file *file = i ? &pairs->y : &pairs->x;
        rc = pawl_source_add(source, file->path, pawl_source_base(file->path), file->file_bytes);
    }
    return rc;
}

static int read_row(struct pawl_source *source, uint64_t row, void *x, void *y)
{
    const struct pairs *pairs = source->state;
    const int64_t at = (int64_t)row * pairs->x_each, label_at = (int64_t)row * pairs->y_each;

    const int rc = source->tokens
                       ? pawl_npy_integers(&pairs->x, at, pairs->x_each, pairs->raw, x)
                       : pawl_npy_floats(&pairs->x, at, pairs->x_each, pairs->raw, x);
    if (rc)
        return rc;
    if (!pairs->labels)
        return pawl_npy_floats(&pairs->y, label_at, pairs->y_each, pairs->raw, y);
    memcpy(y, pairs->labels + label_at, (size_t)pairs->y_each * sizeof(int32_t));
    return 0;
}

static int64_t label_of(const struct pawl_source *source, uint64_t row)
{
    const struct pairs *pairs = source->state;

    int32_t largest = 0;

    for (int64_t i = 0; pairs->labels && i < pairs->y_each; i++) {
        const int32_t label = pairs->labels[(int64_t)row * pairs->y_each + i];
        if (label > largest)
            largest = label;
    }
    return largest;
}

const struct pawl_source_row pawl_source_npy = {
    .name = "npy",
    .open = open_pairs,
    .close = close_pairs,
    .array = read_row,
    .label = label_of,
};
