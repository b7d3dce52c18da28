// data.h - samples by number: what a batch holds depends on nothing but the seed and an index.
//
// Samples are counted from 0 over the whole run. Number i belongs to epoch i / samples and, within
// it, to the place that a keyed permutation (order.h) gives to i % samples. So the position of a
// run is one integer, whatever the batch, the number of ranks or where it was stopped.
//
// A source of tokens is cut into windows of `sequence`, and y is x one token further; in a shuffled
// epoch the cuts lie at an offset of that epoch's own. docs/data.md says what each source reads.
//
//     text:PATH            bytes of a file, or of a tree's text files in name order; tokens 0..255
//     tokens:FILE          uint16 little-endian
//     idx:DIR              MNIST family, plain or .gz: train-* to train on, t10k-* to validate on
//     npy:X.npy,Y.npy      rows of X with the rows of Y
//
// Files are read with pread as batches need them (text, idx and labels are held in memory), so a
// file that is cut short while training is an error, not a crash. Reading a batch allocates
// nothing.
//
// Threads: one at a time per object.

#ifndef PAWL_DATA_H
#define PAWL_DATA_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/architecture.h"

struct pawl_data;

enum pawl_data_kind {
    PAWL_DATA_TOKENS,  // x (rows, sequence) and y (rows, sequence) int32; y is x one further
    PAWL_DATA_ARRAYS,  // x (rows, shape...) float32, or int32 tokens; y (rows, labels) int32
                       // classes or (rows, targets) float32
};

enum pawl_data_part { PAWL_DATA_TRAIN, PAWL_DATA_VALIDATE };

struct pawl_data_options {
    enum pawl_data_part part;
    // 0: none is kept; to validate is then the whole source, or t10k-* of idx. Else this last part,
    // below 1, of the tokens or rows is kept for validation.
    double fraction;
    int64_t sequence;  // tokens per sample (tokens only)
    bool tokens;       // the model reads tokens: integers of npy are not made floats
    uint64_t seed;
    bool shuffle;  // false: in order. Validation is never shuffled.
};

struct pawl_data_info {
    enum pawl_data_kind kind;
    uint64_t samples;         // per epoch
    struct pawl_shape shape;  // of one sample's x: (sequence), (28, 28, 1), (features)
    bool tokens;      // x is int32 token ids
    int64_t labels;   // whole numbers per row of y: 1, or one per token; 0: y is float
    int64_t classes;  // labels are 0 to classes - 1 (or tokens, 256 or 65536); 0: y is float
    int64_t targets;  // floats per row of y; 0 for classes
    bool own_test;    // a test set lies beside it (idx), and to validate is that
    char words[256];  // for people: "text: 128 files, 1.2 MB"
};

// Opens a source; a plain path is recognised by its content. PAWL_ENONE: nothing there.
// PAWL_EINVAL, PAWL_ECORRUPT: file, offset, why.
int pawl_data_open(struct pawl_data **out, const char *source,
                   const struct pawl_data_options *options);
void pawl_data_close(struct pawl_data *data);  // accepts NULL
const struct pawl_data_info *pawl_data_info(const struct pawl_data *data);

// Says how many classes the model has and how many tokens (0: it reads none). PAWL_ECORRUPT:
// "label 11 at row 7; the model's classes are 0..9". The tokens of a file are checked as they are
// read, by pawl_data_batch. Call it before the first batch whose y or tokens index into something.
int pawl_data_expect(struct pawl_data *data, int64_t classes, int64_t vocab);

// Fills x and y with samples first to first + rows - 1. PAWL_EIO names file and offset.
int pawl_data_batch(struct pawl_data *data, uint64_t first, int64_t rows, void *x, void *y);

// What a snapshot keeps to know the data again: {"source", "kind", "files": [{"path","bytes"}]
// (at most 1,000, by path), "file_count", "bytes", "crc32c" of names and sizes (text: also of the
// bytes, and each file has its own)}. Paths are relative to the source, so data may move. A new
// reference; NULL: no memory.
json_t *pawl_data_identity(const struct pawl_data *data);
// 0, or PAWL_ECORRUPT naming the first file that differs and both sizes.
int pawl_data_same(const struct pawl_data *data, const json_t *identity);

#endif
