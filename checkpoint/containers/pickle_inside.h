// pickle_inside.h - what pickle.c (bytes, memory, the check), pickle_ops.c (opcodes)
// and pickle_calls.c share.

#ifndef PAWL_PICKLE_INSIDE_H
#define PAWL_PICKLE_INSIDE_H

#include "checkpoint/containers/pickle.h"

enum {
    VALUES_MAX = 8 << 20,     // 64 bytes each: what a hostile file may make us remember
    BLOCK_BYTES = 1 << 16,
    BYTES_MAX = 1 << 30,      // of one string
};

struct pawl_py_vm {
    struct pawl_pickle *pickle;
    const struct pawl_document *document;
    const char *what;
    int file;
    uint64_t start, end, next;  // next: the first byte not in the buffer yet
    uint64_t opcode_at;
    size_t taken, held;         // of the buffer
    unsigned char buffer[1 << 14];
    int value_count;
    bool done;
    struct pawl_py **stack;
    uint32_t depth, stack_room;
    uint32_t *mark;
    uint32_t mark_count, mark_room;
    struct pawl_py **memo;
    uint32_t memo_count, memo_room;
};

int pawl_py_fail(const struct pawl_py_vm *vm, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int pawl_py_new(struct pawl_py_vm *vm, enum pawl_py_kind kind, struct pawl_py **out);
// Room for so many more items.
int pawl_py_room(struct pawl_py_vm *vm, struct pawl_py *list, uint32_t more);
// The next size bytes, at most sizeof(vm->buffer); they stay until the next take.
int pawl_py_take(struct pawl_py_vm *vm, size_t size, const unsigned char **out);
// A value of the next size bytes.
int pawl_py_bytes(struct pawl_py_vm *vm, uint64_t size, enum pawl_py_kind kind,
                  struct pawl_py **out);
int pawl_py_line(struct pawl_py_vm *vm, char *out, size_t most);
// A value of that kind with a copy of text.
int pawl_py_text_value(struct pawl_py_vm *vm, enum pawl_py_kind kind, const char *text,
                       struct pawl_py **out);
// A call as a value; PAWL_ECORRUPT: of something that reaches the system (pickle_calls.c).
int pawl_py_call(struct pawl_py_vm *vm, struct pawl_py *callable, struct pawl_py *arguments,
                 struct pawl_py **out);
// Executes one opcode (pickle_ops.c).
int pawl_py_step(struct pawl_py_vm *vm, unsigned char code);

#endif
