// zip.h - zip archives: a strict reader, and a writer whose members lie aligned.
//
//     | local header, name, extra | payload | ... | central directory | end (zip64 end before it) |
//
//     rc = pawl_zip_open(&zip, document, file, range, path);
//     member = pawl_zip_find(zip, "archive/data.pkl");
//     rc = pawl_zip_load(zip, member, most, &bytes, &size);  // small ones, as a whole
//     rc = pawl_zip_file(zip, member, true, &file);          // large ones: a document's file
//     pawl_zip_free(zip);
//
// What is refused: bytes before the first member or behind the directory, a comment, two
// directories, several disks, encryption, methods other than stored and deflate, a name twice or
// one that climbs, local headers that say another thing than the directory, members that overlap,
// sizes that deflate cannot reach. Every payload's CRC-32 is checked, unless it is recorded as 0:
// "not computed".
//
// Facts: PKWARE's APPNOTE 6.3. Memory: proportional to the directory. Threads: one.

#ifndef PAWL_ZIP_H
#define PAWL_ZIP_H

#include "checkpoint/document.h"

enum { PAWL_ZIP_STORED = 0, PAWL_ZIP_DEFLATED = 8, PAWL_ZIP_ALIGN = 64 };

struct pawl_zip_member {
    const char *name;
    int method;
    uint64_t header, offset;  // of its local header and its payload, from the start of the file
    uint64_t packed, size;    // bytes in the archive, and of the payload itself
    uint32_t crc;
};

struct pawl_zip {
    struct pawl_document *document;
    int file;
    char what[4200];  // what to call it in failures
    struct pawl_zip_member *members;  // in the directory's order
    int count;
    char *directory;      // holds the names
    struct pawl_zip_member **sorted;  // by name
};

// The archive begins at byte range[0] of a document's file and has range[1] bytes. PAWL_ECORRUPT:
// what is wrong, and where.
int pawl_zip_open(struct pawl_zip **out, struct pawl_document *document, int file,
                  const uint64_t range[2], const char *what);
void pawl_zip_free(struct pawl_zip *zip);  // accepts NULL
const struct pawl_zip_member *pawl_zip_find(const struct pawl_zip *zip, const char *name);
// The whole payload, with a zero behind it; freed by pawl_free. PAWL_ECORRUPT: more than
// `most` bytes.
int pawl_zip_load(const struct pawl_zip *zip, const struct pawl_zip_member *member, size_t most,
                  char **out, size_t *size);
// Makes the payload a file of the document (pawl_document_add_made): its bytes are inflated and its
// CRC is checked when they are read. whole: the caller reads it from its start to its end, and the
// last read tells; a read out of order, or whole = false, checks all of it before the first byte is
// given out. It outlives the zip, as long as the document.
int pawl_zip_file(const struct pawl_zip *zip, const struct pawl_zip_member *member, bool whole,
                  int *file);

// ---- writing: exact headers, written once the payload and so its CRC is known

struct pawl_zip_writer {
    int fd;
    const char *path;     // for failures
    uint64_t base;        // where in the file the archive begins
    uint64_t at;          // bytes of the archive so far
    char *central;        // what will be the directory
    size_t central_bytes;
    uint64_t count;
    // the member being written
    char name[512];
    uint64_t header, size, left;
    uint32_t crc;
};

// Writes into fd from byte base on. Members are stored; payloads start at multiples of 64 bytes.
void pawl_zip_create(struct pawl_zip_writer *writer, int fd, const char *path, uint64_t base);
int pawl_zip_begin(struct pawl_zip_writer *writer, const char *name, uint64_t size);
int pawl_zip_put(struct pawl_zip_writer *writer, const void *bytes, size_t size);
int pawl_zip_end(struct pawl_zip_writer *writer);
// The three at once.
int pawl_zip_add(struct pawl_zip_writer *writer, const char *name, const void *bytes, size_t size);
// The directory; *bytes is then the archive's size. Frees what the writer holds, also on failure.
int pawl_zip_finish(struct pawl_zip_writer *writer, uint64_t *bytes);
void pawl_zip_abandon(struct pawl_zip_writer *writer);

#endif
