// hdf5_header.c - object headers: every message of both versions, in one list.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/hdf5_inside.h"
#include "kernels/memory.h"

static uint32_t turn(uint32_t x, int bits)
{
    return x << bits | x >> (32 - bits);
}

// Bob Jenkins' lookup3 (hashlittle, initial value 0): what HDF5 guards its newer structures with.
uint32_t pawl_hdf5_lookup3(const unsigned char *bytes, size_t size)
{
    uint32_t a, b, c, word[3];

    a = b = c = 0xdeadbeefu + (uint32_t)size;
    for (; size > 12; bytes += 12, size -= 12) {
        memcpy(word, bytes, 12);
        a += word[0], b += word[1], c += word[2];
        a = (a - c) ^ turn(c, 4), c += b;
        b = (b - a) ^ turn(a, 6), a += c;
        c = (c - b) ^ turn(b, 8), b += a;
        a = (a - c) ^ turn(c, 16), c += b;
        b = (b - a) ^ turn(a, 19), a += c;
        c = (c - b) ^ turn(b, 4), b += a;
    }
    if (!size) return c;
    memset(word, 0, sizeof(word));
    memcpy(word, bytes, size);
    a += word[0], b += word[1], c += word[2];
    c = (c ^ b) - turn(b, 14);
    a = (a ^ c) - turn(c, 11);
    b = (b ^ a) - turn(a, 25);
    c = (c ^ b) - turn(b, 16);
    a = (a ^ c) - turn(c, 4);
    b = (b ^ a) - turn(a, 14);
    c = (c ^ b) - turn(b, 24);
    return c;
}

// A header while it is read: blocks join `bytes`, which may move, so messages hold offsets first.
struct reading {
    struct pawl_hdf5 *h5;
    struct pawl_hdf5_header *out;
    uint64_t address;
    int version, room;
    bool ordered;   // version 2: each message has its creation order
    int left;       // version 1: messages still to come
    // Stretches of messages in out->bytes; a continuation appends one.
    struct block { size_t start, end; } *blocks;
    int block_count, block_room;
};

static int add_block(struct reading *r, size_t start, size_t end)
{
    if (r->block_count == r->block_room) {
        const int room = r->block_room ? 2 * r->block_room : 4;
        const int rc = pawl_realloc(&r->blocks, (size_t)room * sizeof(*r->blocks),
                                    "blocks of an object header");
        if (rc) return rc;
        r->block_room = room;
    }
    r->blocks[r->block_count++] = (struct block){ start, end };
    return 0;
}

// Appends size bytes of the file at `at` to the header's bytes.
static int append_block(struct reading *r, uint64_t at, uint64_t size)
{
    struct pawl_hdf5_header *out = r->out;

    if (size > r->h5->span.size_bytes || size > PAWL_HDF5_HEADER_MAX - out->size)
        return pawl_hdf5_fail(r->h5, "the object header at byte %llu claims %llu bytes: too large, "
                              "or its continuation goes in a loop", (unsigned long long)r->address,
                              (unsigned long long)size);
    // Blocks that lie apart cannot be more than the file: a loop ends here at the latest.
    if (out->size + size > r->h5->span.size_bytes)
        return pawl_hdf5_fail(r->h5, "the object header at byte %llu continues in a loop",
                              (unsigned long long)r->address);
    if (!size) return 0;
    int rc = pawl_realloc(&out->bytes, out->size + (size_t)size, "an object header");
    if (!rc) rc = pawl_hdf5_read(r->h5, at, out->bytes + out->size, (size_t)size);
    if (!rc) out->size += (size_t)size;
    return rc;
}

static int add_message(struct reading *r, int type, int flags, size_t offset, size_t size)
{
    struct pawl_hdf5_header *out = r->out;

    if (out->count == r->room) {
        const int room = r->room ? 2 * r->room : 16;
        const int rc = pawl_realloc(&out->messages, (size_t)room * sizeof(*out->messages),
                                    "messages of an object header");
        if (rc) return rc;
        r->room = room;
    }
    out->messages[out->count++] = (struct pawl_hdf5_message){
        type, flags, (const unsigned char *)(uintptr_t)offset, size
    };
    return 0;
}

// A continuation block joins: version 2 frames it with a signature and a checksum.
static int follow(struct reading *r, struct pawl_hdf5_cursor *message)
{
    const uint64_t at = pawl_hdf5_take(message, 8), size = pawl_hdf5_take(message, 8);
    struct pawl_hdf5_header *out = r->out;
    const size_t before = out->size;
    uint32_t sum;

    if (message->over)
        return pawl_hdf5_fail(r->h5, "a continuation in the object header at byte %llu is cut",
                              (unsigned long long)r->address);
    const int rc = append_block(r, at, size);
    if (rc) return rc;
    if (r->version == 1) return add_block(r, before, out->size);
    if (size < 8 || memcmp(out->bytes + before, "OCHK", 4))
        return pawl_hdf5_fail(r->h5, "no object header continues at byte %llu: damaged",
                              (unsigned long long)at);
    memcpy(&sum, out->bytes + out->size - 4, 4);
    if (sum != pawl_hdf5_lookup3(out->bytes + before, (size_t)size - 4))
        return pawl_hdf5_fail(r->h5, "the checksum of the object header at byte %llu is wrong: "
                              "damaged", (unsigned long long)at);
    return add_block(r, before + 4, out->size - 4);
}

// The messages in bytes [start, end); blocks they go on in join the list.
static int read_block(struct reading *r, size_t start, size_t end)
{
    const size_t frame = r->version == 1 ? 8 : r->ordered ? 6 : 4;
    int rc = 0;

    while (!rc && start + frame <= end && r->left > 0) {
        struct pawl_hdf5_cursor at = { r->out->bytes + start, end - start, 0, false };
        const int type = (int)pawl_hdf5_take(&at, r->version == 1 ? 2 : 1);
        const size_t size = (size_t)pawl_hdf5_take(&at, 2);
        const int flags = (int)pawl_hdf5_take(&at, 1);
        if (size > end - start - frame)
            return pawl_hdf5_fail(r->h5, "a message in the object header at byte %llu claims %zu "
                                  "bytes: damaged", (unsigned long long)r->address, size);
        at.at = frame;
        if (r->version == 1) r->left--;
        rc = type == PAWL_HDF5_CONTINUE ? follow(r, &at)
                                        : add_message(r, type, flags, start + frame, size);
        start += frame + size;
    }
    return rc;
}

static int first_old(struct reading *r)
{
    unsigned char head[16];
    struct pawl_hdf5_cursor at = { head, sizeof(head), 2, false };

    int rc = pawl_hdf5_read(r->h5, r->address, head, sizeof(head));
    if (rc) return rc;
    r->version = 1;
    r->left = (int)pawl_hdf5_take(&at, 2);
    pawl_hdf5_take(&at, 4);
    const uint64_t size = pawl_hdf5_take(&at, 4);
    rc = append_block(r, r->address + 16, size);
    return rc ? rc : add_block(r, 0, r->out->size);
}

static int first_new(struct reading *r)
{
    unsigned char head[34] = { 0 };  // as far as the size, with times and all
    const uint64_t left = r->h5->span.size_bytes - r->address;
    struct pawl_hdf5_cursor at = { head, left < sizeof(head) ? (size_t)left : sizeof(head), 5,
                                   false };
    uint32_t sum;

    int rc = pawl_hdf5_read(r->h5, r->address, head, at.size);
    if (rc) return rc;
    const int flags = (int)pawl_hdf5_take(&at, 1);
    pawl_hdf5_skip(&at, (flags & 32 ? 16 : 0) + (flags & 16 ? 4 : 0));
    const uint64_t size = pawl_hdf5_take(&at, 1 << (flags & 3));
    if (at.over || head[4] != 2 || size > PAWL_HDF5_HEADER_MAX)
        return pawl_hdf5_fail(r->h5, "the object header at byte %llu is damaged",
                              (unsigned long long)r->address);
    r->version = 2;
    r->ordered = flags & 4;
    r->left = INT32_MAX;
    rc = append_block(r, r->address, at.at + size + 4);
    if (rc) return rc;
    memcpy(&sum, r->out->bytes + r->out->size - 4, 4);
    if (sum != pawl_hdf5_lookup3(r->out->bytes, r->out->size - 4))
        return pawl_hdf5_fail(r->h5, "the checksum of the object header at byte %llu is wrong: "
                              "damaged", (unsigned long long)r->address);
    return add_block(r, at.at, r->out->size - 4);
}

int pawl_hdf5_header_read(struct pawl_hdf5 *h5, uint64_t address, struct pawl_hdf5_header *out)
{
    struct reading r = { .h5 = h5, .out = out, .address = address };
    unsigned char begin[4];

    *out = (struct pawl_hdf5_header){ 0 };
    int rc = pawl_hdf5_read(h5, address, begin, sizeof(begin));
    if (!rc && memcmp(begin, "OHDR", 4) == 0)
        rc = first_new(&r);
    else if (!rc && begin[0] == 1)
        rc = first_old(&r);
    else if (!rc)
        rc = pawl_hdf5_fail(h5, "no object header lies at byte %llu: damaged",
                            (unsigned long long)address);
    for (int i = 0; !rc && i < r.block_count; i++)
        rc = read_block(&r, r.blocks[i].start, r.blocks[i].end);
    pawl_free(r.blocks);
    // The bytes stay where they are from here on: offsets become pointers.
    for (int i = 0; i < out->count; i++)
        out->messages[i].bytes = out->bytes + (uintptr_t)out->messages[i].bytes;
    if (rc) pawl_hdf5_header_free(out);
    return rc;
}

void pawl_hdf5_header_free(struct pawl_hdf5_header *header)
{
    pawl_free(header->bytes);
    pawl_free(header->messages);
    *header = (struct pawl_hdf5_header){ 0 };
}

const struct pawl_hdf5_message *pawl_hdf5_message(const struct pawl_hdf5_header *header, int type)
{
    for (int i = 0; i < header->count; i++)
        if (header->messages[i].type == type) return &header->messages[i];
    return NULL;
}
