// gz.h - a file read from front to back, plain or gzip-compressed (RFC 1952), never by its name.
//
// The caller knows from a header how many bytes to expect and asks for just these, so a small file
// that unpacks to terabytes costs nothing.
//
//     pawl_gz_open(&gz, path);  pawl_gz_read(gz, header, 8);  ...;  pawl_gz_end(gz);
//
// Memory: 64 KiB and zlib's window, from the hook. Threads: one at a time.

#ifndef PAWL_GZ_H
#define PAWL_GZ_H

#include <stddef.h>
#include <stdint.h>

struct pawl_gz;

// PAWL_ENONE: not there. PAWL_ECORRUPT: no regular file, or empty.
int pawl_gz_open(struct pawl_gz **out, const char *path);
void pawl_gz_close(struct pawl_gz *gz);  // accepts NULL

uint64_t pawl_gz_file_bytes(const struct pawl_gz *gz);
// More bytes than the whole file can possibly hold, unpacked: what a claim is checked against.
uint64_t pawl_gz_most_bytes(const struct pawl_gz *gz);

// Exactly `bytes` more. PAWL_ECORRUPT: the data end before, or are damaged. PAWL_EIO: cannot read.
int pawl_gz_read(struct pawl_gz *gz, void *out, size_t bytes);
// PAWL_ECORRUPT when there is more, or when the checksum at the end does not hold.
int pawl_gz_end(struct pawl_gz *gz);

#endif
