// sums.h - CRC-32C, and the table of a shard's checksums (shard-00000.sums).
//
// CRC-32C is the Castagnoli polynomial as in RFC 3720: start from all ones, invert at the end;
// "123456789" gives e3069283. Computed by ISA-L, whose crc32_iscsi() does neither of the two.
//
//     offset  size  what (little-endian)
//          0     8  "PAWLSUMS"
//          8     4  version, 1
//         12     4  log2 of the bytes per chunk, 22
//         16    16  job
//         32     8  step
//         40     4  lease
//         44     4  rank
//         48     4  ranks
//         52     4  zero
//         56     8  bytes of the shard's file
//         64     8  n, the number of chunks
//         72     8  zero
//         80    4n  CRC-32C of each chunk, in order; the last one may be short
//      80+4n     4  CRC-32C of everything before

#ifndef PAWL_SUMS_H
#define PAWL_SUMS_H

#include <stddef.h>
#include <stdint.h>

#include "checkpoint/attempt.h"
#include "kernels/error.h"

enum { PAWL_CHUNK_LOG2 = 22, PAWL_CHUNK_BYTES = 1 << PAWL_CHUNK_LOG2, PAWL_SUMS_HEAD_BYTES = 80 };

uint32_t pawl_crc32c(const void *bytes, size_t size);
// Of what came before, whose CRC is `before` (0: nothing), and these bytes.
uint32_t pawl_crc32c_more(uint32_t before, const void *bytes, size_t size);

struct pawl_sums {
    struct pawl_attempt attempt;
    uint32_t rank, ranks;
    uint64_t file_bytes, chunk_count;
    unsigned char *chunks;  // 4 bytes each, inside the encoded table
};

uint64_t pawl_sums_chunks(uint64_t file_bytes);
// Of the encoded table for a shard of that size.
size_t pawl_sums_bytes(uint64_t file_bytes);

// Into table (pawl_sums_bytes(sums->file_bytes) bytes), whose chunk checksums were already put in
// place by pawl_sums_set. Returns the CRC-32C that it ends with: of the table without its last 4
// bytes. (Over all of it a CRC is worthless: data with their own CRC behind give a constant.)
uint32_t pawl_sums_seal(unsigned char *table, const struct pawl_sums *sums);
void pawl_sums_set(unsigned char *table, uint64_t chunk, uint32_t crc);
uint32_t pawl_sums_get(const struct pawl_sums *sums, uint64_t chunk);

// Checks everything the table says about itself. out->chunks points into table.
// PAWL_ECORRUPT: path, and what is wrong.
int pawl_sums_open(struct pawl_sums *out, unsigned char *table, size_t size, const char *path);

#endif
