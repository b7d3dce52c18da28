// source.h - what lies behind data.h: one row per kind of source, and the files of an open one.
//
//     data.c   windows, order, parts            source   tokens or rows by their place, files
//
// A new source is one file and one row in data.c. A source knows neither epochs nor shuffling.
//
// Memory: taken by open, freed by close; reading allocates nothing. Threads: one at a time.

#ifndef PAWL_SOURCE_H
#define PAWL_SOURCE_H

#include "runtime/data/data.h"

struct pawl_source;

struct pawl_source_row {
    const char *name;  // the prefix of "text:PATH"
    // Fills everything in *source below `state`. `where` is what follows the prefix.
    int (*open)(struct pawl_source *source, const char *where,
                const struct pawl_data_options *options);
    void (*close)(struct pawl_source *source);  // also after a failed open
    // Tokens `at` to at + count - 1 (count <= sequence + 1). NULL: the source holds arrays.
    int (*tokens)(struct pawl_source *source, uint64_t at, int64_t count, int32_t *out);
    // One row: its x as floats or token ids, its y as `labels` int32 or `targets` floats.
    int (*array)(struct pawl_source *source, uint64_t row, void *x, void *y);
    int64_t (*label)(const struct pawl_source *source, uint64_t row);  // its largest; NULL: tokens
};

struct pawl_source_file {
    char *path;
    size_t name_at;  // where in path the name begins that a snapshot keeps
    uint64_t bytes;
    uint32_t crc;  // CRC32C of the bytes, when contents is true
    bool contents;
};

struct pawl_source {
    const struct pawl_source_row *row;
    void *state;
    uint64_t count;           // tokens or rows in all
    struct pawl_shape shape;  // of a row's x
    int64_t classes, targets, labels;
    bool tokens;              // of arrays: x is int32
    bool own_test;            // see pawl_data_info
    struct pawl_source_file *files;
    size_t file_count, file_room;
};

extern const struct pawl_source_row pawl_source_text, pawl_source_tokens, pawl_source_idx,
    pawl_source_npy;

// Opens a regular file for reading. PAWL_ENONE: not there or not ours to read. PAWL_ECORRUPT: a
// directory, FIFO or device.
int pawl_source_open_file(int *fd, uint64_t *bytes, const char *path);
// Whether a path (links are followed) is a directory. PAWL_ENONE, PAWL_EIO: cannot be told.
int pawl_source_is_directory(bool *out, const char *path);
// Reads exactly `bytes`; PAWL_EIO with file and offset when the file is shorter than it was.
int pawl_source_read(int fd, const char *path, void *out, size_t bytes, uint64_t offset);
// The words and the code for a negative errno: "FILE: cannot read at byte N: words".
int pawl_source_fail(int error, const char *path, const char *doing);
// Remembers a file; its name for snapshots is path + name_at.
int pawl_source_add(struct pawl_source *source, const char *path, size_t name_at, uint64_t bytes);
// Where the last part of a path begins.
size_t pawl_source_base(const char *path);
// Whether `bytes` are text as far as one can see: no NUL.
bool pawl_source_is_text(const char *bytes, size_t count);
uint32_t pawl_source_crc(uint32_t crc, const void *bytes, size_t count);  // CRC32C, from 0

#endif
