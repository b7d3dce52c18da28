// manifest.h - MANIFEST, the commit record: a snapshot exists when this file says so of itself.
//
// Two lines of text. The first is a JSON object without line breaks; the second is "crc32c " and
// eight hexadecimal digits, the CRC-32C of the first line with its line break. Nothing follows.
//
//     {"pawl":1,"job":"<32 hex>","step":1200,"lease":3,"previous":{"step":1100,"lease":3},
//      "ranks":1,"epoch":2,"metric":null,"files":[{"name":"document.json","bytes":812,
//      "crc32c":"89abcdef"},{"name":"shard-00000.safetensors","bytes":8396800},
//      {"name":"shard-00000.sums","bytes":92,"crc32c":"01234567"}]}      (all in one line)
//     crc32c 0a1b2c3d
//
// Files are in exactly this order: the document, then each rank's shard and its sums. A shard has
// no checksum here because its table of sums, which is checked, has one per chunk. The table's is
// the one that it ends with, of all its bytes before. A shard whose tensors were digested on the
// device has "digests":[{"offset":4096,"bytes":8388608,"sum":"<32 hex>"}], too: kernels/digest.h
// over those bytes of the file, ascending, the two sums as 16 digits each.

#ifndef PAWL_MANIFEST_H
#define PAWL_MANIFEST_H

#include "checkpoint/attempt.h"
#include "checkpoint/text.h"

enum { PAWL_MANIFEST_BYTES_MAX = 64 << 20 };

struct pawl_manifest_digest {
    uint64_t offset, bytes, sum[2];
};

struct pawl_manifest_file {
    char name[40];
    uint64_t bytes;
    uint32_t crc;  // of the document and the sums
    struct pawl_manifest_digest *digests;  // of a shard, owned; NULL: there are none
    int digest_count;
};

struct pawl_manifest {
    struct pawl_attempt attempt;
    bool has_previous;
    uint64_t previous_step;
    uint32_t previous_lease;
    int64_t epoch;  // of the data; -1 unknown
    double metric;  // NaN unknown
    int ranks, file_count;
    struct pawl_manifest_file *files;  // 1 + 2 * ranks, owned
};

// Files for that many ranks, named, the rest zero.
int pawl_manifest_new(struct pawl_manifest *out, int ranks);
void pawl_manifest_free(struct pawl_manifest *manifest);
// Replaces what is in text.
int pawl_manifest_write(struct pawl_text *text, const struct pawl_manifest *manifest);
// PAWL_ECORRUPT: path and what is wrong; PAWL_ENOTSUP: written by a newer pawl.
int pawl_manifest_read(struct pawl_manifest *out, const char *bytes, size_t size, const char *path);

static inline struct pawl_manifest_file *pawl_manifest_shard(struct pawl_manifest *m, int rank)
{
    return &m->files[1 + 2 * rank];
}
static inline struct pawl_manifest_file *pawl_manifest_sums(struct pawl_manifest *m, int rank)
{
    return &m->files[2 + 2 * rank];
}

#endif
