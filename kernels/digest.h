// digest.h - 128 bits of a piece of memory, the same wherever they are computed.
//
// Word i (8 bytes, little-endian, the last one filled up with zeros) is mixed with its place and
// added into two sums, so the order of adding does not matter and any number of threads may share
// the work. Proof against torn, stale and swapped copies, which are accidents; not against intent.

#ifndef PAWL_DIGEST_H
#define PAWL_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Adds `bytes` bytes, the first of which belongs to word `first`. Start with zeros.
static inline void pawl_digest_add(uint64_t sum[2], const void *memory, size_t bytes,
                                   uint64_t first)
{
    const char *at = memory;
    uint64_t low = 0, high = 0;

    for (size_t done = 0; done < bytes; done += sizeof(uint64_t), first++) {
        uint64_t word = 0;
        if (bytes - done >= sizeof(word))
            memcpy(&word, at + done, sizeof(word));
        else
            memcpy(&word, at + done, bytes - done);
        // Two rounds of a multiply and shift mixer (constants of MurmurHash3's finalizer).
        word ^= (first + 1) * 0x9e3779b97f4a7c15u;
        word = (word ^ word >> 33) * 0xff51afd7ed558ccdu;
        low += word ^ word >> 33;
        high += (word ^ word >> 29) * 0xc4ceb9fe1a85ec53u;
    }
    sum[0] += low;
    sum[1] += high;
}

#endif
