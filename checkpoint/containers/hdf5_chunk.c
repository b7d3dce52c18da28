// hdf5_chunk.c - data in chunks: found through a B-tree, decoded when someone asks for them.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "checkpoint/containers/hdf5_inside.h"
#include "kernels/memory.h"

enum { CACHE_BYTES = 32 << 20 };

// ---- the index

struct walk {
    struct pawl_hdf5_chunked *of;
    uint64_t grid_count;  // chunks that the shape has room for
    size_t key_bytes;
};

static int chunk_fail(const struct pawl_hdf5_chunked *of, const char *words)
{
    return pawl_fail(PAWL_ECORRUPT, "%s %s", of->what, words);
}

static int add_chunk(void *walk, struct pawl_hdf5_cursor *key)
{
    const struct walk *w = walk;
    struct pawl_hdf5_chunked *of = w->of;
    struct pawl_hdf5_chunk chunk = { .size_bytes = (uint32_t)pawl_hdf5_take(key, 4),
                                     .mask = 0 };

    chunk.mask = (uint32_t)pawl_hdf5_take(key, 4);
    for (int d = 0; d < of->rank; d++) {
        const uint64_t offset = pawl_hdf5_take(key, 8);
        if (offset % of->chunk[d] || offset >= of->dim[d])
            return chunk_fail(of, "has a chunk outside its shape");
        chunk.index = chunk.index * of->grid[d] + offset / of->chunk[d];
    }
    pawl_hdf5_take(key, 8);
    chunk.at = pawl_hdf5_take(key, 8);
    if (chunk.at > of->span.size_bytes || chunk.size_bytes > of->span.size_bytes - chunk.at)
        return chunk_fail(of, "has a chunk beyond the end of the file: truncated");
    if (!of->filter_count && chunk.size_bytes != of->chunk_bytes)
        return chunk_fail(of, "has a chunk of another size than its own");
    // A leaf that is linked again and again would make a long table out of few bytes.
    if (of->count >= w->grid_count || of->count >= of->span.size_bytes / (w->key_bytes + 8))
        return chunk_fail(of, "has the same chunk twice");
    if (of->count == of->room) {
        const size_t room = of->room ? 2 * of->room : 16;
        const int rc = pawl_realloc(&of->chunks, room * sizeof(chunk), "an index of chunks");
        if (rc) return rc;
        of->room = room;
    }
    of->chunks[of->count++] = chunk;
    return 0;
}

static int compare_chunks(const void *a, const void *b)
{
    const uint64_t p = ((const struct pawl_hdf5_chunk *)a)->index;
    const uint64_t q = ((const struct pawl_hdf5_chunk *)b)->index;

    return p < q ? -1 : p > q;
}

static int sort_chunks(struct pawl_hdf5_chunked *of)
{
    if (of->count) qsort(of->chunks, of->count, sizeof(*of->chunks), compare_chunks);
    for (size_t i = 1; i < of->count; i++)
        if (of->chunks[i].index == of->chunks[i - 1].index)
            return chunk_fail(of, "has the same chunk twice");
    return 0;
}

// ---- filters, undone in the reverse of their order

// HDF5's variant of Fletcher's checksum: over big-endian 16-bit words.
static uint32_t fletcher32(const unsigned char *bytes, size_t size)
{
    uint64_t a = 0, b = 0;

    for (size_t i = 0; i < size; i += 2) {
        a += (uint64_t)bytes[i] << 8 | (i + 1 < size ? bytes[i + 1] : 0);
        b += a = a % 65535;
        b %= 65535;
    }
    // A sum that is a multiple of 65535 stays 65535 there unless it is 0.
    return (uint32_t)(b << 16 | a);
}

static bool sums_agree(uint32_t stored, uint32_t made)
{
    const uint32_t low = (stored & 0xffff) % 65535, high = (stored >> 16) % 65535;

    return low == (made & 0xffff) && high == made >> 16;
}

static int undo_deflate(const struct pawl_hdf5_chunked *of, unsigned char **data, size_t *size)
{
    unsigned char *out = NULL;
    uLongf made = (uLongf)of->chunk_bytes + 4;  // fletcher32 may have come first

    const int rc = pawl_alloc(&out, (size_t)made, "a chunk");
    if (rc) return rc;
    const int status = uncompress(out, &made, *data, (uLong)*size);
    if (status != Z_OK) {
        pawl_free(out);
        return chunk_fail(of, status == Z_BUF_ERROR ? "has a chunk that inflates to more than its "
                          "shape, or is cut" : "has a chunk that does not inflate: damaged");
    }
    pawl_free(*data);
    *data = out;
    *size = (size_t)made;
    return 0;
}

static int undo_shuffle(const struct pawl_hdf5_chunked *of, unsigned char **data, size_t *size)
{
    const size_t each = of->element_bytes, count = *size / each;
    unsigned char *out = NULL;

    if (each == 1) return 0;
    const int rc = pawl_alloc(&out, *size, "a chunk");
    if (rc) return rc;
    for (size_t b = 0; b < each; b++)
        for (size_t i = 0; i < count; i++)
            out[i * each + b] = (*data)[b * count + i];
    memcpy(out + count * each, *data + count * each, *size - count * each);
    pawl_free(*data);
    *data = out;
    return 0;
}

static int undo_fletcher(const struct pawl_hdf5_chunked *of, unsigned char **data, size_t *size)
{
    uint32_t stored;

    if (*size < 4) return chunk_fail(of, "has a chunk without its checksum");
    *size -= 4;
    memcpy(&stored, *data + *size, 4);
    if (!sums_agree(stored, fletcher32(*data, *size)))
        return chunk_fail(of, "has a chunk whose checksum is wrong: damaged");
    return 0;
}

// Decodes a chunk into out (chunk_bytes).
static int decode(const struct pawl_hdf5_chunked *of, const struct pawl_hdf5_chunk *chunk,
                  unsigned char *out)
{
    size_t size = chunk->size_bytes;
    unsigned char *data = NULL;

    int rc = pawl_alloc(&data, size ? size : 1, "a chunk");
    if (!rc)
        rc = pawl_document_read_at(of->document, of->file, of->span.offset_bytes + chunk->at, data,
                                   size);
    for (int i = of->filter_count - 1; !rc && i >= 0; i--) {
        if (chunk->mask >> i & 1) continue;
        switch (of->filter[i].id) {
        case 1: rc = undo_deflate(of, &data, &size); break;
        case 2: rc = undo_shuffle(of, &data, &size); break;
        default: rc = undo_fletcher(of, &data, &size); break;
        }
    }
    if (!rc && size != of->chunk_bytes)
        rc = chunk_fail(of, "has a chunk of another size than its own");
    if (!rc) memcpy(out, data, size);
    pawl_free(data);
    return rc;
}

// ---- reading elements

static int take_cache(struct pawl_hdf5_chunked *of)
{
    uint64_t band = 1;  // chunks that a walk along the last dimensions comes back to

    if (of->cache) return 0;
    pawl_free(of->cached);
    of->cached = NULL;
    for (int d = 1; d < of->rank; d++)
        if (__builtin_mul_overflow(band, of->grid[d], &band)) band = UINT32_MAX;
    const uint64_t fit = CACHE_BYTES / of->chunk_bytes;
    of->slots = (size_t)(band < fit ? band : fit ? fit : 1);
    int rc = pawl_alloc(&of->cached, of->slots * sizeof(*of->cached), "decoded chunks");
    if (!rc) rc = pawl_alloc(&of->cache, of->slots * of->chunk_bytes, "decoded chunks");
    return rc;
}

static int chunk_at(struct pawl_hdf5_chunked *of, uint64_t index, const unsigned char **out)
{
    const size_t slot = (size_t)(index % of->slots);
    unsigned char *bytes = of->cache + slot * of->chunk_bytes;
    const struct pawl_hdf5_chunk wanted = { .index = index };
    int rc = 0;

    *out = bytes;
    if (of->cached[slot] == index + 1) return 0;
    const struct pawl_hdf5_chunk *chunk = of->count ? bsearch(&wanted, of->chunks, of->count,
                                                              sizeof(wanted), compare_chunks)
                                                    : NULL;
    of->cached[slot] = 0;
    if (chunk)
        rc = decode(of, chunk, bytes);
    else
        memset(bytes, 0, of->chunk_bytes);  // never written
    if (!rc) of->cached[slot] = index + 1;
    return rc;
}

// The run of bytes from byte `at` of the row-major tensor that lies in one chunk.
static int run_at(struct pawl_hdf5_chunked *of, uint64_t at, const unsigned char **out,
                  uint64_t *run)
{
    const int last = of->rank - 1;
    uint64_t place[PAWL_RANK_MAX], index = 0, inside = 0, rest = at / of->element_bytes;

    for (int d = last; d >= 0; d--) {
        place[d] = rest % of->dim[d];
        rest /= of->dim[d];
    }
    for (int d = 0; d <= last; d++) {
        index = index * of->grid[d] + place[d] / of->chunk[d];
        inside = inside * of->chunk[d] + place[d] % of->chunk[d];
    }
    const uint64_t in_chunk = of->chunk[last] - place[last] % of->chunk[last];
    const uint64_t in_row = of->dim[last] - place[last];
    const uint64_t skip = at % of->element_bytes;
    *run = (in_chunk < in_row ? in_chunk : in_row) * of->element_bytes - skip;
    const int rc = chunk_at(of, index, out);
    if (!rc) *out += inside * of->element_bytes + skip;
    return rc;
}

static int chunked_read(void *context, uint64_t offset, void *out, size_t size)
{
    struct pawl_hdf5_chunked *of = context;
    unsigned char *to = out;
    int rc = take_cache(of);

    while (!rc && size) {
        const unsigned char *from = NULL;
        uint64_t run = 0;
        rc = run_at(of, offset, &from, &run);
        if (rc) break;
        const size_t now = run < size ? (size_t)run : size;
        memcpy(to, from, now);
        to += now;
        offset += now;
        size -= now;
    }
    if (offset == of->size_bytes) {  // given back with the last element: a file has many tensors
        pawl_free(of->cache);
        pawl_free(of->cached);
        of->cache = NULL;
        of->cached = NULL;
    }
    return rc;
}

void pawl_hdf5_chunked_free(void *context)
{
    struct pawl_hdf5_chunked *of = context;

    if (!of) return;
    pawl_free(of->chunks);
    pawl_free(of->cache);
    pawl_free(of->cached);
    pawl_free(of->what);
    pawl_free(of);
}

int pawl_hdf5_chunks_read(struct pawl_hdf5 *h5, struct pawl_hdf5_chunked *chunked,
                          uint64_t address, int *file)
{
    struct walk w = { .of = chunked, .grid_count = 1,
                      .key_bytes = 16 + 8 * (size_t)chunked->rank };
    struct pawl_made made = { chunked->element_bytes, chunked, chunked_read,
                              pawl_hdf5_chunked_free };
    int rc = 0;

    for (int d = 0; d < chunked->rank; d++) {
        w.grid_count *= chunked->grid[d];  // fits: no more than there are elements
        made.size_bytes *= chunked->dim[d];
    }
    chunked->size_bytes = made.size_bytes;
    // Every node but the last of a level points to something, so there cannot be many more.
    struct pawl_hdf5_tree tree = { .h5 = h5, .what = chunked->what, .kind = PAWL_HDF5_CHUNKS,
                                   .key_bytes = w.key_bytes, .nodes_max = w.grid_count + 16,
                                   .entry = add_chunk, .of = &w };
    if (address != PAWL_HDF5_UNDEFINED && w.grid_count) rc = pawl_hdf5_tree_walk(&tree, address);
    if (!rc) rc = sort_chunks(chunked);
    if (!rc) rc = pawl_document_add_made(h5->document, h5->what, &made, file);
    if (rc) pawl_hdf5_chunked_free(chunked);
    return rc;
}
