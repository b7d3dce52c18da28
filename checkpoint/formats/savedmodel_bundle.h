// savedmodel_bundle.h - TensorFlow's tensor bundle: variables.index and its data files.
//
//     variables.index                  table (containers/table.h): key -> BundleEntryProto
//     variables.data-00000-of-00001    the tensors' bytes, little-endian, one after the other
//
// Each tensor has a masked CRC-32C of its bytes. Reading takes the table alone.
// Source: tensorflow/core/protobuf/tensor_bundle.proto.

#ifndef PAWL_SAVEDMODEL_BUNDLE_H
#define PAWL_SAVEDMODEL_BUNDLE_H

#include "checkpoint/document.h"
#include "checkpoint/text.h"

enum { PAWL_BUNDLE_STRING = -1, PAWL_BUNDLE_OTHER = -2 };

struct pawl_bundle_entry {
    size_t key;  // where in keys it begins, zero-terminated
    int dtype;   // enum pawl_dtype, PAWL_BUNDLE_STRING, or PAWL_BUNDLE_OTHER: none of ours
    int rank;
    int64_t dim[PAWL_RANK_MAX];
    int shard;
    uint64_t offset, size;
    uint32_t crc;  // as stored: masked
    bool sliced;   // its parts are other entries
};

struct pawl_bundle {
    struct pawl_document *document;
    char prefix[4096 + 32];  // DIRECTORY/variables/variables
    int shard_count;
    int *files;  // the document's file of each shard
    uint64_t *file_bytes;
    struct pawl_text keys;
    struct pawl_bundle_entry *entries;  // by ascending key
    int count, room;
};

// PAWL_ECORRUPT: the index is damaged, or a data file is missing or too short, in words that name
// file, key and offset.
int pawl_bundle_read(struct pawl_bundle *out, struct pawl_document *document, const char *prefix);
void pawl_bundle_free(struct pawl_bundle *bundle);
const char *pawl_bundle_key(const struct pawl_bundle *bundle, int entry);
// The entry of that key, or -1.
int pawl_bundle_find(const struct pawl_bundle *bundle, const char *key);
// A scalar string's bytes, verified. Freed by pawl_free.
int pawl_bundle_string(const struct pawl_bundle *bundle, int entry, char **out, size_t *size);
// Appends the tensor to a table of the document, by name and with its checksum. PAWL_ENOTSUP: it
// is sliced, or of a type that is not read.
int pawl_bundle_add(const struct pawl_bundle *bundle, int entry, const char *name,
                    struct pawl_entry **table, int *count);

// TensorFlow's numbers of types: 1 float32, 7 string...; 0: it has none.
int pawl_bundle_type(enum pawl_dtype dtype);

#endif
