// table.c - LevelDB's table format, in and out.

#include "checkpoint/containers/table.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/containers/snappy.h"
#include "checkpoint/sums.h"
#include "kernels/memory.h"

enum {
    FOOTER_BYTES = 48,
    PLACES_BYTES = 40,
    TRAILER_BYTES = 5,
    RESTART_INTERVAL = 16,
    BLOCK_BYTES = 262144,
    PLAIN = 0,
    SNAPPY = 1,
};

static const unsigned char magic[8] = { 0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb };

uint32_t pawl_table_mask(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

uint32_t pawl_table_unmask(uint32_t masked)
{
    const uint32_t rotated = masked - 0xa282ead8u;

    return rotated >> 17 | rotated << 15;
}

static uint32_t little(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16
           | (uint32_t)bytes[3] << 24;
}

// ---- reading

struct place {
    uint64_t offset, size;
};

struct reader {
    const unsigned char *bytes;
    size_t size;  // without the footer
    const char *what;
    pawl_table_each *each;
    void *context;
    uint64_t end;  // of the data block before: they follow each other
    unsigned char last[PAWL_TABLE_KEY_MAX];
    size_t last_size;
    bool any;
};

struct block {
    const unsigned char *bytes;  // entries only
    size_t size;
    uint64_t at;             // in the file, for the words
    unsigned char *decoded;  // owned, or NULL
};

static int fail(const struct reader *r, uint64_t at, const char *words)
{
    return pawl_fail(PAWL_ECORRUPT, "%s: byte %llu: %s", r->what, (unsigned long long)at, words);
}

static int take_place(struct pawl_pb *in, struct place *out)
{
    int rc = pawl_pb_varint(in, &out->offset);

    if (!rc) rc = pawl_pb_varint(in, &out->size);
    return rc;
}

static int decode(struct reader *r, struct block *block, const unsigned char *bytes, size_t size)
{
    size_t length = 0;
    char words[128];

    int rc = pawl_snappy_length(&length, bytes, size);
    if (!rc) rc = pawl_alloc(&block->decoded, length ? length : 1, "a table's block");
    if (!rc) rc = pawl_snappy_decode(block->decoded, length, bytes, size);
    block->bytes = block->decoded;
    block->size = length;
    if (rc != PAWL_ECORRUPT) return rc;
    snprintf(words, sizeof(words), "%s", pawl_error());
    return fail(r, block->at, words);
}

// Leaves the entries, once the restart offsets at the end are seen to fit.
static int trim(const struct reader *r, struct block *block)
{
    if (block->size < 4) return fail(r, block->at, "a block without an end");
    const uint64_t count = little(block->bytes + block->size - 4);
    if (count > (block->size - 4) / 4)
        return fail(r, block->at, "a block has more restarts than room for them");
    block->size -= 4 + 4 * (size_t)count;
    for (uint64_t i = 0; i < count; i++) {
        const uint32_t restart = little(block->bytes + block->size + 4 * i);
        if (restart > block->size) return fail(r, block->at, "a restart lies outside its block");
    }
    return 0;
}

static int open_block(struct reader *r, struct block *block, const struct place *place)
{
    block->at = place->offset;
    if (place->offset > r->size || place->size > r->size - place->offset
        || r->size - place->offset - place->size < TRAILER_BYTES)
        return fail(r, place->offset, "truncated: a block reaches beyond the end");
    const unsigned char *bytes = r->bytes + place->offset;
    const size_t size = (size_t)place->size;
    if (little(bytes + size + 1) != pawl_table_mask(pawl_crc32c(bytes, size + 1)))
        return fail(r, place->offset, "a block's checksum (CRC-32C) differs: the file is damaged");
    block->bytes = bytes;
    block->size = size;
    int rc = 0;
    if (bytes[size] == SNAPPY)
        rc = decode(r, block, bytes, size);
    else if (bytes[size] != PLAIN)
        rc = fail(r, place->offset, "a block is compressed in a way that is not read");
    return rc ? rc : trim(r, block);
}

// The next entry: key is completed in place.
static int take_entry(const struct reader *r, struct pawl_pb *in, unsigned char *key,
                      size_t *key_size, const unsigned char **value, size_t *value_size)
{
    const size_t start = in->at;
    uint64_t shared = 0, own = 0, bytes = 0;

    int rc = pawl_pb_varint(in, &shared);
    if (!rc) rc = pawl_pb_varint(in, &own);
    if (!rc) rc = pawl_pb_varint(in, &bytes);
    if (rc) return rc;
    const size_t left = in->size - in->at;
    if (shared > *key_size || own > left || bytes > left - own)
        return fail(r, in->base + start, "truncated: an entry reaches beyond its block");
    if (shared + own > PAWL_TABLE_KEY_MAX)
        return fail(r, in->base + start, "a key is longer than 4096 bytes");
    memcpy(key + shared, in->bytes + in->at, (size_t)own);
    *key_size = (size_t)(shared + own);
    *value = in->bytes + in->at + own;
    *value_size = (size_t)bytes;
    in->at += (size_t)(own + bytes);
    return 0;
}

static int compare(const unsigned char *a, size_t a_size, const unsigned char *b, size_t b_size)
{
    const int by = memcmp(a, b, a_size < b_size ? a_size : b_size);

    return by ? by : (a_size > b_size) - (a_size < b_size);
}

static int read_data(struct reader *r, const struct place *place)
{
    struct block block = { 0 };
    struct pawl_pb in;
    unsigned char key[PAWL_TABLE_KEY_MAX];
    const unsigned char *value = NULL;
    size_t key_size = 0, value_size = 0;

    int rc = open_block(r, &block, place);
    pawl_pb_open(&in, block.bytes, rc ? 0 : block.size, r->what, block.at);
    while (!rc && in.at < in.size) {
        const size_t start = in.at;
        rc = take_entry(r, &in, key, &key_size, &value, &value_size);
        if (!rc && r->any && compare(r->last, r->last_size, key, key_size) >= 0)
            rc = fail(r, block.at + start, "a key is there twice, or the keys do not ascend");
        if (rc) break;
        memcpy(r->last, key, key_size);
        r->last_size = key_size;
        r->any = true;
        rc = r->each(r->context, key, key_size, value, value_size);
    }
    pawl_free(block.decoded);
    return rc;
}

static int read_index(struct reader *r, const struct place *place)
{
    struct block block = { 0 };
    struct pawl_pb in, at;
    unsigned char key[PAWL_TABLE_KEY_MAX];
    const unsigned char *value = NULL;
    size_t key_size = 0, value_size = 0;

    int rc = open_block(r, &block, place);
    pawl_pb_open(&in, block.bytes, rc ? 0 : block.size, r->what, block.at);
    while (!rc && in.at < in.size) {
        struct place data = { 0, 0 };
        const size_t start = in.at;
        rc = take_entry(r, &in, key, &key_size, &value, &value_size);
        pawl_pb_open(&at, value, rc ? 0 : value_size, r->what, block.at + start);
        if (!rc) rc = take_place(&at, &data);
        // Blocks follow each other; one named often would be read as often.
        if (!rc && data.offset < r->end)
            rc = fail(r, block.at + start, "two blocks overlap");
        if (!rc) rc = read_data(r, &data);
        r->end = data.offset + data.size;
        if (!rc && compare(r->last, r->last_size, key, key_size) > 0)
            rc = fail(r, block.at + start, "the index lies about a block's keys");
    }
    pawl_free(block.decoded);
    return rc;
}

int pawl_table_read(const unsigned char *bytes, size_t size, const char *what,
                    pawl_table_each *each, void *context)
{
    struct reader *r = NULL;
    struct block meta = { 0 };
    struct place metaindex, index;
    struct pawl_pb in;

    if (size < FOOTER_BYTES || memcmp(bytes + size - sizeof(magic), magic, sizeof(magic)))
        return pawl_fail(PAWL_ECORRUPT, "%s: truncated, or no table: it does not end in a table's "
                         "footer (bad magic)", what);
    int rc = pawl_alloc(&r, sizeof(*r), "a table's reader");
    if (rc) return rc;
    *r = (struct reader){ .bytes = bytes, .size = size - FOOTER_BYTES, .what = what,
                          .each = each, .context = context };
    pawl_pb_open(&in, bytes + r->size, PLACES_BYTES, what, r->size);
    rc = take_place(&in, &metaindex);
    if (!rc) rc = take_place(&in, &index);
    if (!rc) rc = open_block(r, &meta, &metaindex);
    pawl_free(meta.decoded);
    if (!rc) rc = read_index(r, &index);
    pawl_free(r);
    return rc;
}

// ---- writing

static void put_little(struct pawl_text *out, uint32_t value)
{
    unsigned char bytes[4];

    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    pawl_text_add(out, bytes, sizeof(bytes));
}

void pawl_table_begin(struct pawl_table *table, size_t block_bytes)
{
    *table = (struct pawl_table){ .block_bytes = block_bytes ? block_bytes : BLOCK_BYTES };
}

static void put_entry(struct pawl_text *block, size_t shared, const char *key, size_t key_size,
                      const void *value, size_t value_size)
{
    pawl_pb_put_varint(block, shared);
    pawl_pb_put_varint(block, key_size - shared);
    pawl_pb_put_varint(block, value_size);
    pawl_text_add(block, key + shared, key_size - shared);
    pawl_text_add(block, value, value_size);
}

// Appends the block with its restarts, type and checksum; empties both.
static struct place put_block(struct pawl_table *table, struct pawl_text *block,
                              struct pawl_text *restarts)
{
    const struct place place = { table->out.size, block->size + restarts->size + 4 };
    const size_t count = restarts->size / 4;

    if (!table->out.rc) table->out.rc = block->rc ? block->rc : restarts->rc;
    pawl_text_add(&table->out, block->bytes ? block->bytes : "", block->size);
    pawl_text_add(&table->out, restarts->bytes ? restarts->bytes : "", restarts->size);
    put_little(&table->out, (uint32_t)count);
    pawl_text_add(&table->out, "\0", 1);
    if (!table->out.rc)
        put_little(&table->out, pawl_table_mask(pawl_crc32c(table->out.bytes + place.offset,
                                                            (size_t)place.size + 1)));
    pawl_text_clear(block);
    pawl_text_clear(restarts);
    return place;
}

static void put_place(struct pawl_text *out, struct place place)
{
    pawl_pb_put_varint(out, place.offset);
    pawl_pb_put_varint(out, place.size);
}

static void end_block(struct pawl_table *table)
{
    struct pawl_text value = { 0 };

    if (!table->entries) return;
    put_place(&value, put_block(table, &table->block, &table->restarts));
    if (value.rc && !table->out.rc) table->out.rc = value.rc;
    put_little(&table->index_restarts, (uint32_t)table->index.size);
    if (!value.rc)
        put_entry(&table->index, 0, table->last, table->last_size, value.bytes, value.size);
    pawl_text_free(&value);
    table->entries = 0;
    table->filled = 0;
}

void pawl_table_add(struct pawl_table *table, const void *key, size_t key_size, const void *value,
                    size_t value_size)
{
    const char *bytes = key;
    size_t shared = 0;

    if (key_size > PAWL_TABLE_KEY_MAX) {
        table->out.rc = pawl_fail(PAWL_ENOTSUP, "a tensor's name has more than %d bytes",
                                  PAWL_TABLE_KEY_MAX);
        return;
    }
    if (table->entries % RESTART_INTERVAL == 0)
        put_little(&table->restarts, (uint32_t)table->block.size);
    else
        while (shared < table->last_size && shared < key_size
               && table->last[shared] == bytes[shared])
            shared++;
    put_entry(&table->block, shared, bytes, key_size, value, value_size);
    memcpy(table->last, bytes, key_size);
    table->last_size = key_size;
    table->entries++;
    table->filled += key_size + value_size + 3;
    if (table->filled >= table->block_bytes) end_block(table);
}

int pawl_table_finish(struct pawl_table *table)
{
    struct pawl_text none = { 0 }, restart = { 0 };
    struct pawl_text *out = &table->out;

    end_block(table);
    put_little(&restart, 0);
    const struct place meta = put_block(table, &none, &restart);
    if (!table->index_restarts.size) put_little(&table->index_restarts, 0);
    const struct place index = put_block(table, &table->index, &table->index_restarts);
    const size_t footer = out->size;
    put_place(out, meta);
    put_place(out, index);
    while (out->size < footer + PLACES_BYTES && !out->rc)
        pawl_text_add(out, "\0", 1);
    pawl_text_add(out, magic, sizeof(magic));
    pawl_text_free(&none);
    pawl_text_free(&restart);
    return out->rc;
}

void pawl_table_free(struct pawl_table *table)
{
    pawl_text_free(&table->out);
    pawl_text_free(&table->block);
    pawl_text_free(&table->index);
    pawl_text_free(&table->restarts);
    pawl_text_free(&table->index_restarts);
}
