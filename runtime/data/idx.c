// idx.c - the MNIST family: images and labels in IDX files, plain or .gz, held in memory as bytes.
//
//     DIR/{train,t10k}-images-idx3-ubyte[.gz]   0 0 8 3 | n | height | width | n*height*width bytes
//     DIR/{train,t10k}-labels-idx1-ubyte[.gz]   0 0 8 1 | n | n bytes
//
// Counts are big-endian. Names with a dot (train-images.idx3-ubyte) are read, too. A sample's x is
// (height, width, 1) of pixels / 255. Format: http://yann.lecun.com/exdb/mnist (1998).

#include <errno.h>
#include <stdio.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/gz.h"
#include "runtime/data/source.h"

enum { PATH_BYTES = 4096, TYPE_U8 = 8, IDX_RANK_MAX = 4 };

// Held in memory: more than this is no MNIST but a mistake.
static const uint64_t IDX_BYTES_MAX = UINT64_C(8) << 30;

struct idx {
    uint8_t *pixels;  // (count, pixels_each)
    uint8_t *labels;  // (count)
    size_t pixels_each;
    float scaled[256];
};

// One file's header: its counts, outermost first.
struct counts {
    int rank;
    uint64_t dim[IDX_RANK_MAX];
    uint64_t total;
};

static int read_counts(struct pawl_gz *gz, const char *path, struct counts *out)
{
    uint8_t magic[4], dim[4];

    int rc = pawl_gz_read(gz, magic, sizeof(magic));
    if (rc)
        return rc;
    if (magic[0] || magic[1])
        return pawl_fail(PAWL_ECORRUPT, "%s: is no IDX file: it begins with %02x %02x, not 00 00",
                         path, magic[0], magic[1]);
    if (magic[2] != TYPE_U8 || magic[3] < 1 || magic[3] > IDX_RANK_MAX)
        return pawl_fail(PAWL_ECORRUPT,
                         "%s: IDX type 0x%02x of rank %d at byte 2; pawl reads unsigned bytes "
                         "(0x08) of rank 1 to %d",
                         path, magic[2], magic[3], IDX_RANK_MAX);
    out->rank = magic[3];
    out->total = 1;
    for (int i = 0; i < out->rank; i++) {
        rc = pawl_gz_read(gz, dim, sizeof(dim));
        if (rc)
            return rc;
        out->dim[i] =
            (uint64_t)dim[0] << 24 | (uint64_t)dim[1] << 16 | (uint64_t)dim[2] << 8 | dim[3];
        if (!out->dim[i])
            return pawl_fail(PAWL_ECORRUPT, "%s: count %d at byte %d is 0", path, i, 4 + 4 * i);
        if (out->dim[i] > IDX_BYTES_MAX / out->total)
            return pawl_fail(PAWL_ECORRUPT, "%s: the header claims more than %llu GiB", path,
                             (unsigned long long)(IDX_BYTES_MAX >> 30));
        out->total *= out->dim[i];
    }
    return 0;
}

static int read_body(struct pawl_gz *gz, const char *path, uint64_t total, uint8_t **out)
{
    // Before any memory is taken: could the file hold what it claims?
    if (total > pawl_gz_most_bytes(gz))
        return pawl_fail(PAWL_ECORRUPT,
                         "%s: the header claims %llu bytes, which a file of %llu cannot hold", path,
                         (unsigned long long)total, (unsigned long long)pawl_gz_file_bytes(gz));
    int rc = pawl_alloc(out, total, path);
    if (!rc)
        rc = pawl_gz_read(gz, *out, total);
    if (!rc)
        rc = pawl_gz_end(gz);
    return rc;
}

// Finds the file of a part ("train" or "t10k") and a kind ("images", "labels") under its names.
static int find(char path[PATH_BYTES], const char *where, const char *part, const char *kind)
{
    static const char *const suffixes[] = { "", ".gz" };
    const char digit = kind[0] == 'i' ? '3' : '1';
    struct stat of;

    for (int dot = 0; dot < 2; dot++) {
        for (int packed = 0; packed < 2; packed++) {
            if (snprintf(path, PATH_BYTES, "%s/%s-%s%cidx%c-ubyte%s", where, part, kind,
                         dot ? '.' : '-', digit, suffixes[packed])
                >= PATH_BYTES)
                return pawl_fail(PAWL_EINVAL, "idx: the path is too long");
            const int rc = pawl_io()->lstat(path, &of);
            if (!rc)
                return 0;
            if (rc != -ENOENT)
                return pawl_source_fail(rc, path, "stat");
        }
    }
    return pawl_fail(PAWL_ENONE, "%s: no %s-%s-idx%c-ubyte or %s-%s-idx%c-ubyte.gz there", where,
                     part, kind, digit, part, kind, digit);
}

static int read_file(struct pawl_source *source, const char *path, struct counts *counts,
                     uint8_t **out)
{
    struct pawl_gz *gz;

    int rc = pawl_gz_open(&gz, path);
    if (rc)
        return rc;
    rc = read_counts(gz, path, counts);
    if (!rc)
        rc = read_body(gz, path, counts->total, out);
    if (!rc)
        rc = pawl_source_add(source, path, pawl_source_base(path), pawl_gz_file_bytes(gz));
    pawl_gz_close(gz);
    return rc;
}

static int take_images(struct pawl_source *source, const char *path)
{
    struct idx *idx = source->state;
    struct counts counts;

    const int rc = read_file(source, path, &counts, &idx->pixels);
    if (rc)
        return rc;
    if (counts.rank < 2)
        return pawl_fail(PAWL_ECORRUPT, "%s: rank 1 at byte 3; images have rank 2, 3 or 4", path);
    source->count = counts.dim[0];
    idx->pixels_each = counts.total / counts.dim[0];
    source->shape.rank = counts.rank == 2 ? 1 : 3;
    source->shape.dim[2] = 1;  // one channel, unless a fourth count says more
    for (int i = 1; i < counts.rank; i++)
        source->shape.dim[i - 1] = (int64_t)counts.dim[i];
    return 0;
}

static int take_labels(struct pawl_source *source, const char *path)
{
    struct idx *idx = source->state;
    struct counts counts;

    const int rc = read_file(source, path, &counts, &idx->labels);
    if (rc)
        return rc;
    source->labels = 1;
    if (counts.rank != 1 || counts.total != source->count)
        return pawl_fail(PAWL_ECORRUPT, "%s: %llu labels of rank %d; %s has %llu images", path,
                         (unsigned long long)counts.dim[0], counts.rank, source->files[0].path,
                         (unsigned long long)source->count);
    for (uint64_t i = 0; i < source->count; i++)
        if (idx->labels[i] >= source->classes)
            source->classes = idx->labels[i] + 1;
    return 0;
}

static int open_idx(struct pawl_source *source, const char *where,
                    const struct pawl_data_options *options)
{
    // A fraction asks for the last part of the training set; only without one is t10k opened.
    const bool test = options->part == PAWL_DATA_VALIDATE && options->fraction <= 0;
    const char *part = test ? "t10k" : "train";
    char path[PATH_BYTES];
    struct idx *idx;

    int rc = pawl_alloc(&idx, sizeof(*idx), "idx");
    if (rc)
        return rc;
    source->state = idx;
    for (int i = 0; i < 256; i++)
        idx->scaled[i] = (float)i / 255.0f;
    rc = find(path, where, part, "images");
    if (!rc)
        rc = take_images(source, path);
    if (!rc)
        rc = find(path, where, part, "labels");
    if (!rc)
        rc = take_labels(source, path);
    if (rc)
        return rc;
    rc = find(path, where, "t10k", "images");
    source->own_test = !rc;
    return rc == PAWL_ENONE ? 0 : rc;
}

static void close_idx(struct pawl_source *source)
{
    struct idx *idx = source->state;

    if (!idx)
        return;
    pawl_free(idx->pixels);
    pawl_free(idx->labels);
    pawl_free(idx);
}

static int64_t idx_label(const struct pawl_source *source, uint64_t row)
{
    return ((const struct idx *)source->state)->labels[row];
}

static int idx_array(struct pawl_source *source, uint64_t row, void *out, void *y)
{
    const struct idx *idx = source->state;
    float *x = out;
    const uint8_t *pixels = idx->pixels + row * idx->pixels_each;

    for (size_t i = 0; i < idx->pixels_each; i++)
        x[i] = idx->scaled[pixels[i]];
    *(int32_t *)y = idx->labels[row];
    return 0;
}

const struct pawl_source_row pawl_source_idx = {
    .name = "idx",
    .open = open_idx,
    .close = close_idx,
    .array = idx_array,
    .label = idx_label,
};
