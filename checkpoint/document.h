// document.h - what one can save of a model: architecture, weights, training state.
//
// Every format is read into a document and written from one. Reading takes names, shapes and
// places; the elements stay in the file until someone fetches them, so a 10 GB file opens at once.
//
//     struct pawl_document *doc = NULL;
//     rc = pawl_document_read(&doc, "runs/a");            // any format; detected from the bytes
//     rc = pawl_document_fetch(doc, &doc->weights[0], buffer);
//     pawl_document_free(doc);
//
// Memory: a document owns its tables and open files. Threads: one at a time per document.

#ifndef PAWL_DOCUMENT_H
#define PAWL_DOCUMENT_H

#include <jansson.h>

#include "checkpoint/architecture.h"
#include "kernels/tensor.h"

enum { PAWL_TENSORS_MAX = 1 << 17 };  // in one document: what a hostile file may make us remember

// A run of a tensor's elements in a file. A tensor's pieces are in order and without gap.
struct pawl_piece {
    int file;               // index into the document's files
    uint64_t offset_bytes;  // from the start of the file
    uint64_t size_bytes;
    int64_t start;          // first element, in the row-major tensor
};

struct pawl_entry {
    struct pawl_tensor tensor;  // by the source's own name and order of dimensions
    int piece_count;
    struct pawl_piece *pieces;
    // Of an optimizer's tensors: "exp_avg", "momentum_buffer"... (kernels/ops.h) and the index of
    // the weight that it belongs to. "" and -1: no moment. Names "optimizer.<slot>.<weight>" are
    // recognised after reading; other readers say it here.
    char slot[24];
    int of;
    bool has_crc;     // the file has a checksum of the tensor's bytes:
    uint32_t crc32c;  // this one
};

// Everything needed to go on training, beside the weights.
struct pawl_training {
    uint64_t step;               // optimizer updates done
    int64_t epoch;               // -1: unknown
    double loss;                 // NaN: unknown
    json_t *optimizer;           // {"kind": "adamw", "learning_rate": ..., ...} or NULL
    // Keras' momentum is PyTorch's momentum_buffer times its rate: what is stored times this is
    // what pawl_document_fetch_param gives. 0: 1.
    double momentum_scale;
    json_t *rest;                // schedule, data position, seed...: kept as it came, or NULL
    struct pawl_entry *tensors;  // moments "optimizer.<slot>.<weight>", masters "master.<weight>"
    int tensor_count;
};

struct pawl_document {
    char format[24], format_version[32];
    char path[4096];
    struct pawl_architecture *architecture;  // NULL: the file holds none
    char stop[512];                          // why there is none although the file has one: the
                                             // layer that pawl cannot compute; else ""
    struct pawl_entry *weights;              // in the file's order
    int weight_count;
    struct pawl_training *training;          // NULL: the file holds none
    json_t *metadata;                        // object, what users keep with --meta; never NULL
    json_t *warnings;                        // array of strings; never NULL
    struct pawl_files *files;                // what the pieces point into (private to document.c)
    struct pawl_bindings *bindings;          // binding.h; by the reader, or pawl_document_bind
};

// Whether its optimizer's rule and moments are as Keras defines them ("convention": "keras").
bool pawl_training_as_keras(const struct pawl_training *training);

// What a format can carry.
enum { PAWL_PART_ARCHITECTURE = 1, PAWL_PART_WEIGHTS = 2, PAWL_PART_TRAINING = 4 };

// format: a name, or NULL: by the path's suffix. force: replace what is there. cast: weights of a
// floating type become dtype.
struct pawl_write_options {
    const char *format;
    bool force, cast;
    enum pawl_dtype dtype;
};

// One format: one file in formats/, one row in document.c.
struct pawl_format {
    const char *name;
    const char *suffixes;  // ".safetensors", several apart by spaces, "" for directories
    unsigned parts;        // PAWL_PART_*
    // Whether path is of this format; head holds its first head_bytes bytes (0 for a directory).
    bool (*detect)(const char *path, const unsigned char *head, size_t head_bytes, bool directory);
    int (*read)(struct pawl_document *document, const char *path);
    // Creates path (there is nothing yet) and makes it durable; NULL: read only. A failure may
    // leave something behind: pawl_document_write() gives a temporary name and cleans up.
    int (*write)(const struct pawl_document *document, const char *path,
                 const struct pawl_write_options *options);
    // Checks every byte that has a checksum; NULL: there are none beyond what reading checks.
    int (*verify)(const struct pawl_document *document);
    bool summed;  // fetching a tensor checks its bytes against the format's own checksums
};

// The row by that name; PAWL_EINVAL with "did you mean" and the known ones. With name NULL: by the
// suffix of path.
int pawl_format_find(const struct pawl_format **out, const char *name_or_null, const char *path);

// PAWL_ENONE: nothing at path, or a directory without a model. PAWL_ECORRUPT: damaged, with tensor
// or byte offset and what to try.
// PAWL_ENOTSUP: no format that pawl knows (the words list those it reads).
PAWL_API int pawl_document_read(struct pawl_document **out, const char *path);
PAWL_API void pawl_document_free(struct pawl_document *document);  // accepts NULL

// What is computed with or converted was verified: every byte against the checksums that the
// format has. PAWL_ECORRUPT: which tensor or file, where.
PAWL_API int pawl_document_verify(const struct pawl_document *document);
bool pawl_document_has_checksums(const struct pawl_document *document);  // that verify looks at

// An empty document, for building one to write.
int pawl_document_new(struct pawl_document **out);
// Forgets every part but those (PAWL_PART_*).
void pawl_document_keep(struct pawl_document *document, unsigned parts);

// The file appears complete or not at all. PAWL_EBUSY: something is there and force is false.
// What the format cannot carry is left out (see parts). options NULL: all defaults.
PAWL_API int pawl_document_write(const struct pawl_document *document, const char *path,
                                 const struct pawl_write_options *options);

// Whether something can be created at path, before hours are spent on it: PAWL_EBUSY as above,
// PAWL_EIO: no such directory, no permission, no space for a name.
int pawl_document_can_write(const char *path, bool force);

const struct pawl_entry *pawl_document_find(const struct pawl_document *document, const char *name);

// Reads the whole tensor, row-major and little-endian, into out (entry->tensor.size_bytes).
PAWL_API int pawl_document_fetch(const struct pawl_document *document,
                                 const struct pawl_entry *entry, void *out);
// A part of it: size bytes from byte start of the row-major tensor.
int pawl_document_fetch_part(const struct pawl_document *document, const struct pawl_entry *entry,
                             uint64_t start, size_t size, void *out);

// The same, counted in elements, with floating values as another floating type (cast.h). Rounds to
// nearest, ties to even. out has room for count elements of dtype.
int pawl_document_fetch_as(const struct pawl_document *document, const struct pawl_entry *entry,
                           int64_t start, int64_t count, enum pawl_dtype dtype, void *out);

// For readers: keeps path open; its index in *file. Regular files only.
int pawl_document_add_file(struct pawl_document *document, const char *path, int *file,
                           uint64_t *size);
int pawl_document_read_at(const struct pawl_document *document, int file, uint64_t offset,
                          void *out, size_t size);
// The same for bytes that lie in no file as they are (compressed, strided): read makes them when
// they are asked for, within size_bytes. path names the file they come from. The document owns
// context from success on and ends it with free.
struct pawl_made {
    uint64_t size_bytes;
    void *context;
    int (*read)(void *context, uint64_t offset, void *out, size_t size);
    void (*free)(void *context);  // NULL: nothing to free
};
int pawl_document_add_made(struct pawl_document *document, const char *path,
                           const struct pawl_made *made, int *file);
// Appends an entry to *table; its single piece is [offset, offset + tensor->size_bytes). file -1:
// an entry without pieces, which the caller gives it.
int pawl_document_add_entry(struct pawl_entry **table, int *count, const struct pawl_tensor *tensor,
                            int file, uint64_t offset);
// Appends a line to the document's warnings.
void pawl_document_warn(struct pawl_document *document, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Sets rank, dim (unused ones 1) and size_bytes; PAWL_EINVAL: too many dimensions, or an overflow.
int pawl_tensor_shape(struct pawl_tensor *tensor, int rank, const int64_t *dim);

#endif
