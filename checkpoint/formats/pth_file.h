// pth_file.h - what torch.save wrote: a zip archive (torch 1.6 on) or the stream of pickles before.
//
//     zip     ROOT/data.pkl, ROOT/byteorder, ROOT/data/0, ROOT/data/1, ..., ROOT/version
//     stream  magic | 1001 | what machine | the object | storage keys | (elements, bytes) of each
//
// A tensor in the object names a storage by key, and how it lies there: offset, shape, strides.
//
// Memory: the object's values; no payload. Threads: one.

#ifndef PAWL_PTH_FILE_H
#define PAWL_PTH_FILE_H

#include "checkpoint/containers/pickle.h"
#include "checkpoint/containers/zip.h"

struct pawl_pth {
    struct pawl_document *document;
    const char *what;  // the file, for failures
    struct pawl_pickle *pickle;
    // a zip archive
    struct pawl_zip *zip;
    char root[256];        // with its '/'
    int *member_files;     // by member, the document's file or -1
    uint64_t kept;         // values made JSON so far, and their text: see pth_json.c
    bool cut;              // some were too many, and that was said
    // a stream
    int file;
    struct pawl_pth_storage {
        const char *key;
        uint64_t offset, bytes;
    } *storages;  // sorted by key
    int storage_count;
};

// Reads the object in range[1] bytes from byte range[0] of a document's file. `what` must outlive
// it.
int pawl_pth_open(struct pawl_pth **out, struct pawl_document *document, int file,
                  const uint64_t range[2], const char *what);
void pawl_pth_close(struct pawl_pth *pth);  // accepts NULL

// ---- tensors

// How a tensor lies in its storage.
struct pawl_pth_view {
    struct pawl_tensor tensor;
    int file;                     // where the storage's bytes are
    uint64_t start_bytes;         // the storage's first byte there
    int64_t offset;               // of the first element in the storage
    int64_t stride[PAWL_RANK_MAX];
    bool contiguous;
    const char *storage;          // its key; views of one storage share it
};

bool pawl_pth_is_tensor(const struct pawl_py *value);
// PAWL_ECORRUPT: it reaches outside of its storage, the storage's record has another size, ...;
// name is what to call it. PAWL_ENOTSUP: a kind of tensor that is not known.
int pawl_pth_look(struct pawl_pth *pth, const struct pawl_py *value, const char *name,
                  struct pawl_pth_view *out);
// Appends an entry that fetches the tensor row-major.
int pawl_pth_add(struct pawl_pth *pth, struct pawl_entry **table, int *count, const char *name,
                 const struct pawl_py *value);
// The element type of a global such as "torch.float32" or "torch.FloatStorage"; bytes = 1 and
// *untyped for storages that are bytes. False: unknown.
bool pawl_pth_dtype(const char *global, enum pawl_dtype *out, bool *untyped);
const char *pawl_pth_storage_name(enum pawl_dtype dtype);  // "FloatStorage"; NULL: only untyped

#endif
