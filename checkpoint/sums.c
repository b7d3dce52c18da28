// sums.c - CRC-32C and the encoded table of a shard's checksums.

#include "checkpoint/sums.h"

#include <string.h>

#include <isa-l/crc.h>

static const char magic[8] = { 'P', 'A', 'W', 'L', 'S', 'U', 'M', 'S' };
enum { VERSION = 1, CRC_CALL_BYTES = 1 << 30 };

uint32_t pawl_crc32c(const void *bytes, size_t size)
{
    return pawl_crc32c_more(0, bytes, size);
}

uint32_t pawl_crc32c_more(uint32_t before, const void *bytes, size_t size)
{
    const unsigned char *next = bytes;
    unsigned crc = ~before;

    while (size) {
        const int part = size < CRC_CALL_BYTES ? (int)size : CRC_CALL_BYTES;  // it counts in int
        crc = crc32_iscsi((unsigned char *)(uintptr_t)next, part, crc);
        next += part;
        size -= (size_t)part;
    }
    return ~crc;
}

static void put(unsigned char *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get(const unsigned char *in, int bytes)
{
    uint64_t value = 0;

    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | in[i];
    return value;
}

uint64_t pawl_sums_chunks(uint64_t file_bytes)
{
    return (file_bytes + PAWL_CHUNK_BYTES - 1) >> PAWL_CHUNK_LOG2;
}

size_t pawl_sums_bytes(uint64_t file_bytes)
{
    return PAWL_SUMS_HEAD_BYTES + 4 * (size_t)pawl_sums_chunks(file_bytes) + 4;
}

void pawl_sums_set(unsigned char *table, uint64_t chunk, uint32_t crc)
{
    put(table + PAWL_SUMS_HEAD_BYTES + 4 * chunk, crc, 4);
}

uint32_t pawl_sums_get(const struct pawl_sums *sums, uint64_t chunk)
{
    return (uint32_t)get(sums->chunks + 4 * chunk, 4);
}

uint32_t pawl_sums_seal(unsigned char *table, const struct pawl_sums *sums)
{
    const size_t size = pawl_sums_bytes(sums->file_bytes);

    memset(table, 0, PAWL_SUMS_HEAD_BYTES);
    memcpy(table, magic, sizeof(magic));
    put(table + 8, VERSION, 4);
    put(table + 12, PAWL_CHUNK_LOG2, 4);
    memcpy(table + 16, sums->attempt.job, PAWL_JOB_BYTES);
    put(table + 32, sums->attempt.step, 8);
    put(table + 40, sums->attempt.lease, 4);
    put(table + 44, sums->rank, 4);
    put(table + 48, sums->ranks, 4);
    put(table + 56, sums->file_bytes, 8);
    put(table + 64, pawl_sums_chunks(sums->file_bytes), 8);
    const uint32_t crc = pawl_crc32c(table, size - 4);
    put(table + size - 4, crc, 4);
    return crc;
}

int pawl_sums_open(struct pawl_sums *out, unsigned char *table, size_t size, const char *path)
{
    struct pawl_sums sums = { .chunks = table + PAWL_SUMS_HEAD_BYTES };

    if (size < PAWL_SUMS_HEAD_BYTES + 4 || memcmp(table, magic, sizeof(magic)))
        return pawl_fail(PAWL_ECORRUPT, "%s: not a table of checksums", path);
    if (pawl_crc32c(table, size - 4) != get(table + size - 4, 4))
        return pawl_fail(PAWL_ECORRUPT, "%s: its own checksum does not hold", path);
    if (get(table + 8, 4) != VERSION || get(table + 12, 4) != PAWL_CHUNK_LOG2)
        return pawl_fail(PAWL_ENOTSUP, "%s: version %u is newer than this pawl", path,
                         (unsigned)get(table + 8, 4));
    memcpy(sums.attempt.job, table + 16, PAWL_JOB_BYTES);
    sums.attempt.step = get(table + 32, 8);
    sums.attempt.lease = (uint32_t)get(table + 40, 4);
    sums.rank = (uint32_t)get(table + 44, 4);
    sums.ranks = (uint32_t)get(table + 48, 4);
    sums.file_bytes = get(table + 56, 8);
    sums.chunk_count = get(table + 64, 8);
    if (sums.chunk_count != pawl_sums_chunks(sums.file_bytes) || sums.file_bytes > INT64_MAX
        || size != pawl_sums_bytes(sums.file_bytes) || get(table + 52, 4) || get(table + 72, 8))
        return pawl_fail(PAWL_ECORRUPT, "%s: its lengths disagree", path);
    *out = sums;
    return 0;
}
