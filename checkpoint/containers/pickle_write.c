// pickle_write.c - the opcodes of protocol 2 that torch.load accepts with weights_only=True.

#include "checkpoint/containers/pickle_write.h"

#include <string.h>

#include "checkpoint/containers/bytes.h"

void pawl_pk_begin(struct pawl_text *text)
{
    pawl_text_add(text, "\x80\x02", 2);
}

void pawl_pk_op(struct pawl_text *text, const char *opcodes)
{
    pawl_text_add(text, opcodes, strlen(opcodes));
}

void pawl_pk_string(struct pawl_text *text, const char *string)
{
    unsigned char head[5] = { 'X' };
    const size_t size = strlen(string);

    pawl_put_le(head + 1, size, 4);
    pawl_text_add(text, head, sizeof(head));
    pawl_text_add(text, string, size);
}

void pawl_pk_integer(struct pawl_text *text, int64_t value)
{
    unsigned char code[10] = { 0x8a, 8 };

    if (value >= 0 && value < 256) {
        code[0] = 'K';
        pawl_put_le(code + 1, (uint64_t)value, 1);
        pawl_text_add(text, code, 2);
    } else if (value == (int32_t)value) {
        code[0] = 'J';
        pawl_put_le(code + 1, (uint64_t)value, 4);
        pawl_text_add(text, code, 5);
    } else {
        pawl_put_le(code + 2, (uint64_t)value, 8);
        pawl_text_add(text, code, 10);
    }
}

void pawl_pk_real(struct pawl_text *text, double value)
{
    unsigned char code[9] = { 'G' };
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    for (int i = 0; i < 8; i++)
        code[1 + i] = (unsigned char)(bits >> 8 * (7 - i));
    pawl_text_add(text, code, sizeof(code));
}

void pawl_pk_bool(struct pawl_text *text, bool value)
{
    pawl_text_add(text, value ? "\x88" : "\x89", 1);
}

void pawl_pk_global(struct pawl_text *text, const char *global)
{
    const char *space = strchr(global, ' ');

    pawl_text_add(text, "c", 1);
    pawl_text_add(text, global, (size_t)(space - global));
    pawl_text_format(text, "\n%s\n", space + 1);
}

void pawl_pk_tuple(struct pawl_text *text, int count, const int64_t *values)
{
    pawl_pk_op(text, "(");
    for (int i = 0; i < count; i++)
        pawl_pk_integer(text, values[i]);
    pawl_pk_op(text, "t");
}

void pawl_pk_ordered_dict(struct pawl_text *text)
{
    pawl_pk_global(text, "collections OrderedDict");
    pawl_pk_op(text, ")R");
}
