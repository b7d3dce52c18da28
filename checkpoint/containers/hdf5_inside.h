// hdf5_inside.h - what the files of the HDF5 reader share. Private to containers/hdf5*.c.
//
//     hdf5.c            opening, the superblock, the tree of objects
//     hdf5_header.c     object headers of both versions as lists of messages; checksums
//     hdf5_tree.c       B-trees: what groups of the old style and chunks are found through
//     hdf5_group.c      a group's links, old style and new
//     hdf5_attribute.c  attributes, strings, the global heap
//     hdf5_data.c       datatypes, shapes and layouts: a dataset becomes a tensor
//     hdf5_chunk.c      data in chunks: their index, their filters

#ifndef PAWL_HDF5_INSIDE_H
#define PAWL_HDF5_INSIDE_H

#include "checkpoint/containers/hdf5.h"

#define PAWL_HDF5_UNDEFINED UINT64_MAX

enum {
    PAWL_HDF5_OBJECTS_MAX = 1 << 19,
    PAWL_HDF5_PATH_MAX = 1000,
    PAWL_HDF5_HEADER_MAX = 64 << 20,  // bytes of one object header
    PAWL_HDF5_RATIO = 1032,           // deflate makes at most so many bytes of one
};

// Message types of object headers.
enum {
    PAWL_HDF5_SPACE = 0x01, PAWL_HDF5_LINK_INFO = 0x02, PAWL_HDF5_TYPE = 0x03,
    PAWL_HDF5_FILL = 0x05, PAWL_HDF5_LINK = 0x06, PAWL_HDF5_EXTERNAL = 0x07,
    PAWL_HDF5_LAYOUT = 0x08, PAWL_HDF5_FILTERS = 0x0b, PAWL_HDF5_ATTRIBUTE = 0x0c,
    PAWL_HDF5_CONTINUE = 0x10, PAWL_HDF5_SYMBOLS = 0x11, PAWL_HDF5_ATTRIBUTE_INFO = 0x15,
};

struct pawl_hdf5 {
    struct pawl_document *document;
    int file;
    struct pawl_hdf5_span span;
    const char *what;  // the file's path, for words
    struct pawl_hdf5_object *objects;
    int object_count, object_room;
    uint64_t *seen;  // headers of groups: a hash table, 0 is free
    size_t seen_room, seen_count;
    unsigned char *window;  // what was read last
    uint64_t window_at;
    size_t window_size;
    unsigned char *heap;  // the global heap collection that was read last
    uint64_t heap_at;
    size_t heap_size;
};

// A message of an object header.
struct pawl_hdf5_message {
    int type, flags;
    const unsigned char *bytes;
    size_t size;
};

struct pawl_hdf5_header {
    unsigned char *bytes;  // all blocks, one behind the other
    size_t size;
    struct pawl_hdf5_message *messages;
    int count;
};

// Reads numbers out of bytes; beyond their end it gives zeros and remembers that in `over`.
struct pawl_hdf5_cursor {
    const unsigned char *bytes;
    size_t size, at;
    bool over;
};

uint64_t pawl_hdf5_take(struct pawl_hdf5_cursor *cursor, int bytes);  // little-endian
const unsigned char *pawl_hdf5_skip(struct pawl_hdf5_cursor *cursor, uint64_t bytes);  // or NULL
uint32_t pawl_hdf5_lookup3(const unsigned char *bytes, size_t size);

// PAWL_ECORRUPT: "FILE: HDF5: words".
int pawl_hdf5_fail(const struct pawl_hdf5 *h5, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int pawl_hdf5_read(struct pawl_hdf5 *h5, uint64_t at, void *out, size_t size);

int pawl_hdf5_header_read(struct pawl_hdf5 *h5, uint64_t address, struct pawl_hdf5_header *out);
void pawl_hdf5_header_free(struct pawl_hdf5_header *header);
const struct pawl_hdf5_message *pawl_hdf5_message(const struct pawl_hdf5_header *header, int type);

// Appends the group's children to h5->objects.
int pawl_hdf5_group_read(struct pawl_hdf5 *h5, const char *path,
                         const struct pawl_hdf5_header *header);
int pawl_hdf5_add(struct pawl_hdf5 *h5, const char *parent, const char *name, size_t name_bytes,
                  uint64_t header);

// A B-tree of version 1. entry gets each leaf's key and address, in order.
struct pawl_hdf5_tree {
    struct pawl_hdf5 *h5;
    const char *what;    // whose index it is, for words: "FILE: HDF5: group 'a/b'"
    enum { PAWL_HDF5_LINKS, PAWL_HDF5_CHUNKS } kind;
    size_t key_bytes;
    uint64_t nodes_max;  // more of them are a loop
    uint64_t nodes;      // so far: 0
    int (*entry)(void *of, struct pawl_hdf5_cursor *entry);
    void *of;
};
int pawl_hdf5_tree_walk(struct pawl_hdf5_tree *tree, uint64_t root);

struct pawl_hdf5_type {
    enum { PAWL_HDF5_NUMBER, PAWL_HDF5_OPAQUE, PAWL_HDF5_FIXED_STRING, PAWL_HDF5_VAR_STRING,
           PAWL_HDF5_OTHER } kind;
    enum pawl_dtype dtype;  // of a number
    size_t size_bytes;
    const char *words;      // what it is, for an error
};

struct pawl_hdf5_shape {
    int rank;
    uint64_t dim[PAWL_RANK_MAX];
    bool null;  // no elements, not even one
};

struct pawl_hdf5_filter {
    int id;
};

enum { PAWL_HDF5_FILTERS_MAX = 8 };

// A dataset whose data lie in chunks.
struct pawl_hdf5_chunked {
    struct pawl_document *document;
    int file;
    struct pawl_hdf5_span span;
    char *what;  // file and tensor, for words
    int rank;
    uint64_t dim[PAWL_RANK_MAX], chunk[PAWL_RANK_MAX], grid[PAWL_RANK_MAX];
    uint64_t size_bytes;  // of the whole tensor
    size_t element_bytes, chunk_bytes;
    int filter_count;
    struct pawl_hdf5_filter filter[PAWL_HDF5_FILTERS_MAX];
    struct pawl_hdf5_chunk {
        uint64_t index;  // in the grid, row-major
        uint64_t at;
        uint32_t size_bytes, mask;
    } *chunks;
    size_t count, room;
    unsigned char *cache;      // slots of decoded chunks
    uint64_t *cached;          // whose index + 1 lies in each slot; 0: nothing
    size_t slots;
};

int pawl_hdf5_type_read(struct pawl_hdf5_cursor *cursor, struct pawl_hdf5_type *out);
int pawl_hdf5_shape_read(struct pawl_hdf5_cursor *cursor, struct pawl_hdf5_shape *out);

// Reads the chunk index at address and makes a file of the document out of the chunks: *file.
// chunked is taken over, also on failure.
int pawl_hdf5_chunks_read(struct pawl_hdf5 *h5, struct pawl_hdf5_chunked *chunked,
                          uint64_t address, int *file);
void pawl_hdf5_chunked_free(void *chunked);

#endif
