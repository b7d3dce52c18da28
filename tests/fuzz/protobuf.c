// protobuf.c - fields, three messages deep, through every accessor.

#include "checkpoint/containers/protobuf.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/support.h"

enum { DEPTH_MAX = 3 };

static void use(struct pawl_pb *in, const struct pawl_pb_field *field)
{
    struct pawl_pb packed;
    char text[64];
    uint64_t value;
    int64_t number;
    uint32_t fixed;

    (void)pawl_pb_int(in, field, &number);
    (void)pawl_pb_fixed32(in, field, &fixed);
    if (!pawl_pb_string(in, field, text, sizeof(text)) && strlen(text) != field->size)
        __builtin_trap();
    if (pawl_pb_enter(in, field, &packed)) return;
    while (packed.at < packed.size && !pawl_pb_varint(&packed, &value)) continue;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pawl_pb level[DEPTH_MAX];
    struct pawl_pb_field field;
    int depth = 1;

    pawl_pb_open(&level[0], data, size, "protobuf", 0);
    while (depth) {
        struct pawl_pb *in = &level[depth - 1];
        if (pawl_pb_next(in, &field) || !field.number) {
            depth--;
            continue;
        }
        use(in, &field);
        if (depth < DEPTH_MAX && !pawl_pb_enter(in, &field, &level[depth])) depth++;
    }
    return 0;
}
