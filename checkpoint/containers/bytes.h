// bytes.h - numbers in files: fixed widths at any address, least significant byte first.

#ifndef PAWL_BYTES_H
#define PAWL_BYTES_H

#include <stdint.h>

static inline uint16_t pawl_u16(const void *at)
{
    const unsigned char *b = at;

    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t pawl_u32(const void *at)
{
    return pawl_u16(at) | (uint32_t)pawl_u16((const unsigned char *)at + 2) << 16;
}

static inline uint64_t pawl_u64(const void *at)
{
    return pawl_u32(at) | (uint64_t)pawl_u32((const unsigned char *)at + 4) << 32;
}

static inline void pawl_put_le(void *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        ((unsigned char *)at)[i] = (unsigned char)(value >> 8 * i);
}

#endif
