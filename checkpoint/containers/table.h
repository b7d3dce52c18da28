// table.h - a sorted table of keys and values in LevelDB's file format: TensorFlow's *.index.
//
//     data block* | metaindex block | index block | footer (48 bytes)
//     block   entries, u32 restart offsets, u32 their number | u8 type | u32 masked CRC-32C
//     entry   varint bytes shared with the key before, varint own bytes, varint value bytes,
//             the key's own bytes, value
//     index   a key not below the block's last, and not above the next block's first -> its place
//     footer  two places (varint offset, varint size), zeros, 57 fb 80 8b 24 75 47 db
//
// Type 0 is plain and 1 is snappy. Keys ascend bytewise over the whole table.
// Every block's checksum is verified before the block is parsed.
// Source: LevelDB's doc/table_format.md.

#ifndef PAWL_TABLE_H
#define PAWL_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "checkpoint/text.h"

enum { PAWL_TABLE_KEY_MAX = 4096 };

// As stored: rotated and offset, so that the CRC of data that hold their own CRC is no constant.
uint32_t pawl_table_mask(uint32_t crc);
uint32_t pawl_table_unmask(uint32_t masked);

// One entry; key and value live during the call. Non-zero ends the reading with that code.
typedef int pawl_table_each(void *context, const unsigned char *key, size_t key_size,
                            const unsigned char *value, size_t value_size);
// A whole file's bytes. PAWL_ECORRUPT: "WHAT: byte N: why". Memory: one decoded block.
int pawl_table_read(const unsigned char *bytes, size_t size, const char *what,
                    pawl_table_each *each, void *context);

// Writing: add in ascending order of keys, then finish. Failures latch in out.rc.
struct pawl_table {
    struct pawl_text out;  // the file
    struct pawl_text block, index;
    struct pawl_text restarts, index_restarts;
    size_t block_bytes;  // a block ends when its keys and values reach this
    size_t filled;       // of them so far
    int entries;         // in the block
    char last[PAWL_TABLE_KEY_MAX];
    size_t last_size;
};

// block_bytes 0: TensorFlow's 262,144.
void pawl_table_begin(struct pawl_table *table, size_t block_bytes);
void pawl_table_add(struct pawl_table *table, const void *key, size_t key_size, const void *value,
                    size_t value_size);
// Ends the file, which is then table->out.
int pawl_table_finish(struct pawl_table *table);
void pawl_table_free(struct pawl_table *table);

#endif
