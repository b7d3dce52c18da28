// document_inside.h - what document*.c share. Private to them.

#ifndef PAWL_DOCUMENT_INSIDE_H
#define PAWL_DOCUMENT_INSIDE_H

#include "checkpoint/document.h"
#include "checkpoint/text.h"

struct pawl_file {
    int fd;  // -1: made
    uint64_t size;
    char *path;
    struct pawl_made made;
};

struct pawl_sandbox;
struct pawl_files {
    int count;
    struct pawl_file *file;
    struct pawl_sandbox *sandbox;  // that read them and makes what is made; or NULL
};

// Detects and reads in this process.
int pawl_document_read_here(struct pawl_document *document, const char *path);
// Whether path is a run or a snapshot of our own, whose files pawl itself sealed.
bool pawl_document_is_own(const char *path);
int pawl_document_verify_here(const struct pawl_document *document);
// Appends *added, whose path this copies; on failure the caller still owns the rest.
int pawl_files_append(struct pawl_files *files, struct pawl_file *added, const char *path);

// document_wire.c: everything but the elements. number tells each file's descriptor's number.
int pawl_document_encode(struct pawl_text *out, const struct pawl_document *document,
                         int (*number)(int fd));
// Checks everything it takes. take_file gives a file: number >= 0 a descriptor, -1 made.
struct pawl_wire_files {
    int (*take)(void *context, struct pawl_file *out, int number, int index);
    void *context;
};
int pawl_document_decode(struct pawl_document *document, const void *bytes, size_t size,
                         const struct pawl_wire_files *files);

#endif
