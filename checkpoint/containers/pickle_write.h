// pickle_write.h - writes values as a pickle of protocol 2, which every torch reads.
//
//     struct pawl_text text = { 0 };
//     pawl_pk_begin(&text);
//     pawl_pk_op(&text, "}(");             // a dict and the mark for its items
//     pawl_pk_string(&text, "epoch");
//     pawl_pk_integer(&text, 7);
//     pawl_pk_op(&text, "u.");             // SETITEMS, STOP
//
// No memo: what is shared is written again. Failures are latched in the text.

#ifndef PAWL_PICKLE_WRITE_H
#define PAWL_PICKLE_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/text.h"

void pawl_pk_begin(struct pawl_text *text);
void pawl_pk_op(struct pawl_text *text, const char *opcodes);  // one byte each
void pawl_pk_string(struct pawl_text *text, const char *string);
void pawl_pk_integer(struct pawl_text *text, int64_t value);
void pawl_pk_real(struct pawl_text *text, double value);
void pawl_pk_bool(struct pawl_text *text, bool value);
// "collections OrderedDict": module and name apart by a space.
void pawl_pk_global(struct pawl_text *text, const char *global);
void pawl_pk_tuple(struct pawl_text *text, int count, const int64_t *values);  // of integers
void pawl_pk_ordered_dict(struct pawl_text *text);  // an empty one, on the stack

#endif
