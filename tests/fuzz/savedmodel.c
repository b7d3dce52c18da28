// savedmodel.c - the files of a SavedModel's directory, one behind the other in the input:
//
//     {u16 size, bytes} saved_model.pb | the same for keras_metadata.pb | object graph | data
//     then {u8 key bytes, key, u8 value bytes, value}: entries of the table, in ascending order
//
// The table and the object graph get their checksums here, because a fuzzer finds none.

#include <string.h>

#include "checkpoint/containers/bytes.h"
#include "checkpoint/containers/protobuf.h"
#include "checkpoint/containers/table.h"
#include "checkpoint/sums.h"
#include "tests/fuzz/support.h"

enum { PARTS = 4, DATA_ROOM = 1 << 17 };

struct input {
    const uint8_t *at;
    size_t left;
};

static const uint8_t *take(struct input *in, size_t head, size_t *size)
{
    *size = 0;
    if (in->left < head) return in->at;
    *size = head == 1 ? *in->at : pawl_u16(in->at);
    in->at += head;
    in->left -= head;
    if (*size > in->left) *size = in->left;
    in->at += *size;
    in->left -= *size;
    return in->at - *size;
}

// The object graph as a bundle keeps a string: varint length, masked CRC of the length, bytes.
static size_t put_graph(unsigned char *data, const uint8_t *graph, size_t size,
                        struct pawl_text *entry)
{
    static unsigned char sum[DATA_ROOM + 8];
    struct pawl_text head = { 0 };

    pawl_pb_put_varint(&head, size);
    pawl_put_le(sum, size, 4);
    pawl_put_le(sum + 4, pawl_table_mask(pawl_crc32c(sum, 4)), 4);
    memcpy(sum + 8, graph, size);
    memcpy(data, head.bytes, head.size);
    memcpy(data + head.size, sum + 4, size + 4);
    const size_t all = head.size + 4 + size;
    pawl_pb_put_int(entry, 1, 7);
    pawl_pb_put_int(entry, 5, (int64_t)all);
    pawl_pb_put_fixed32(entry, 6, pawl_table_mask(pawl_crc32c(sum, size + 8)));
    pawl_text_free(&head);
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char graph_key[] = "_CHECKPOINTABLE_OBJECT_GRAPH";
    static unsigned char shard[2 * DATA_ROOM];
    struct input in = { data, size };
    const uint8_t *part[PARTS];
    size_t bytes[PARTS], key_size, value_size;
    struct pawl_text entry = { 0 };
    struct pawl_table table;

    for (int i = 0; i < PARTS; i++)
        part[i] = take(&in, 2, &bytes[i]);
    size_t shard_bytes = put_graph(shard, part[2], bytes[2], &entry);
    memcpy(shard + shard_bytes, part[3], bytes[3]);
    shard_bytes += bytes[3];
    pawl_table_begin(&table, 0);
    pawl_table_add(&table, "", 0, "\10\1", 2);
    pawl_table_add(&table, graph_key, sizeof(graph_key) - 1, entry.bytes, entry.size);
    while (in.left) {
        const uint8_t *key = take(&in, 1, &key_size);
        const uint8_t *value = take(&in, 1, &value_size);
        pawl_table_add(&table, key, key_size, value, value_size);
    }
    if (!pawl_table_finish(&table)) {
        fuzz_forget_files();
        fuzz_put_file("m/saved_model.pb", part[0], bytes[0]);
        if (bytes[1]) fuzz_put_file("m/keras_metadata.pb", part[1], bytes[1]);
        fuzz_put_file("m/variables/variables.index", table.out.bytes, table.out.size);
        fuzz_put_file("m/variables/variables.data-00000-of-00001", shard, shard_bytes);
        fuzz_document("m");
    }
    pawl_table_free(&table);
    pawl_text_free(&entry);
    return 0;
}
