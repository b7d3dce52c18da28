// pickle_ops.c - the opcodes of pickles, protocols 0 to 5, as documented in Python's pickletools.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/bytes.h"
#include "checkpoint/containers/pickle_inside.h"
#include "kernels/memory.h"

enum { LINE_BYTES = 1024, MEMO_SLACK = 64 };

// ---- the stack

static int grow(void *memory, uint32_t *room, uint32_t count, size_t element)
{
    const uint32_t wanted = *room ? 2 * *room : 64;

    if (count < *room) return 0;
    if (wanted < *room) return pawl_fail(PAWL_ECORRUPT, "a pickle holds too many values");
    const int rc = pawl_realloc(memory, element * wanted, "a pickle");
    if (!rc) *room = wanted;
    return rc;
}

static int push(struct pawl_py_vm *vm, struct pawl_py *value)
{
    const int rc = grow(&vm->stack, &vm->stack_room, vm->depth, sizeof(*vm->stack));

    if (!rc) vm->stack[vm->depth++] = value;
    return rc;
}

// The top, with `count` values at least above the last mark; NULL and the words otherwise.
static struct pawl_py *top(struct pawl_py_vm *vm, uint32_t count)
{
    const uint32_t floor = vm->mark_count ? vm->mark[vm->mark_count - 1] : 0;

    if (vm->depth - floor >= count) return vm->stack[vm->depth - 1];
    pawl_py_fail(vm, "its stack is empty where an opcode needs %u values", count);
    return NULL;
}

static int pop_mark(struct pawl_py_vm *vm, uint32_t *at)
{
    if (!vm->mark_count)
        return pawl_py_fail(vm, "an opcode needs a MARK on the stack, and has none");
    *at = vm->mark[--vm->mark_count];
    return 0;
}

static int push_new(struct pawl_py_vm *vm, enum pawl_py_kind kind, struct pawl_py **out)
{
    const int rc = pawl_py_new(vm, kind, out);

    return rc ? rc : push(vm, *out);
}

// A list or tuple of what lies on the stack from `from` on.
static int gather(struct pawl_py_vm *vm, enum pawl_py_kind kind, uint32_t from)
{
    const uint32_t count = vm->depth - from;
    struct pawl_py *made = NULL;

    int rc = pawl_py_new(vm, kind, &made);
    if (!rc && count) rc = pawl_py_room(vm, made, count);
    if (rc) return rc;
    if (count) memcpy(made->item, vm->stack + from, count * sizeof(*made->item));
    made->count = count;
    vm->depth = from;
    return push(vm, made);
}

// ---- numbers and text

static int push_integer(struct pawl_py_vm *vm, enum pawl_py_kind kind, int64_t value)
{
    struct pawl_py *made = NULL;
    const int rc = push_new(vm, kind, &made);

    if (!rc) made->integer = value;
    return rc;
}

static int push_real(struct pawl_py_vm *vm, double value)
{
    struct pawl_py *made = NULL;
    const int rc = push_new(vm, PAWL_PY_FLOAT, &made);

    if (!rc) made->real = value;
    return rc;
}

static int op_int(struct pawl_py_vm *vm, unsigned char code)
{
    const size_t bytes = code == 'J' ? 4 : code == 'M' ? 2 : 1;
    const unsigned char *at = NULL;

    const int rc = pawl_py_take(vm, bytes, &at);
    if (rc) return rc;
    if (code == 'J') return push_integer(vm, PAWL_PY_INT, (int32_t)pawl_u32(at));
    return push_integer(vm, PAWL_PY_INT, bytes == 2 ? pawl_u16(at) : *at);
}

static int op_constant(struct pawl_py_vm *vm, unsigned char code)
{
    struct pawl_py *made = NULL;

    if (code == 'N') return push_new(vm, PAWL_PY_NONE, &made);
    return push_integer(vm, PAWL_PY_BOOL, code == 0x88);
}

static int op_float(struct pawl_py_vm *vm, unsigned char code)
{
    const unsigned char *at = NULL;
    uint64_t bits = 0;
    double value;

    (void)code;
    const int rc = pawl_py_take(vm, 8, &at);
    if (rc) return rc;
    for (int i = 0; i < 8; i++)  // the one number in a pickle that is big-endian
        bits = bits << 8 | at[i];
    memcpy(&value, &bits, sizeof(value));
    return push_real(vm, value);
}

// A length of 1, 4 or 8 bytes.
static int take_length(struct pawl_py_vm *vm, size_t bytes, uint64_t *out)
{
    const unsigned char *at = NULL;
    const int rc = pawl_py_take(vm, bytes, &at);

    if (rc) return rc;
    *out = bytes == 1 ? *at : bytes == 4 ? pawl_u32(at) : pawl_u64(at);
    return 0;
}

static int op_long(struct pawl_py_vm *vm, unsigned char code)
{
    struct pawl_py *made = NULL;
    uint64_t size = 0, value = 0;

    int rc = take_length(vm, code == 0x8a ? 1 : 4, &size);
    if (!rc) rc = pawl_py_bytes(vm, size, PAWL_PY_LONG, &made);
    if (rc) return rc;
    if (size <= 8) {
        const unsigned char *bytes = (const unsigned char *)made->text;
        for (uint64_t i = size; i > 0; i--)
            value = value << 8 | bytes[i - 1];
        if (size && size < 8 && bytes[size - 1] & 0x80) value |= ~UINT64_C(0) << 8 * size;
        *made = (struct pawl_py){ .kind = PAWL_PY_INT, .integer = (int64_t)value };
    }
    return push(vm, made);
}

static int op_string(struct pawl_py_vm *vm, unsigned char code)
{
    static const struct {
        unsigned char code, length_bytes;
        enum pawl_py_kind kind;
    } rows[] = {
        { 'X', 4, PAWL_PY_STRING }, { 0x8c, 1, PAWL_PY_STRING }, { 0x8d, 8, PAWL_PY_STRING },
        // Python 2's strings: text in every file of torch.
        { 'U', 1, PAWL_PY_STRING }, { 'T', 4, PAWL_PY_STRING },
        { 'C', 1, PAWL_PY_BYTES }, { 'B', 4, PAWL_PY_BYTES }, { 0x8e, 8, PAWL_PY_BYTES },
        { 0x96, 8, PAWL_PY_BYTES },
    };
    struct pawl_py *made = NULL;
    uint64_t size = 0;
    int i = 0;

    while (rows[i].code != code)
        i++;
    int rc = take_length(vm, rows[i].length_bytes, &size);
    if (!rc) rc = pawl_py_bytes(vm, size, rows[i].kind, &made);
    return rc ? rc : push(vm, made);
}

// Protocol 0: a line of text. 'I' also spells the booleans, 'L' may end in an L.
static int op_line(struct pawl_py_vm *vm, unsigned char code)
{
    char line[LINE_BYTES], *end = NULL;
    struct pawl_py *made = NULL;

    int rc = pawl_py_line(vm, line, sizeof(line));
    if (rc) return rc;
    if (code == 'I' && (!strcmp(line, "00") || !strcmp(line, "01")))
        return push_integer(vm, PAWL_PY_BOOL, line[1] == '1');
    errno = 0;
    if (code == 'F') {
        const double value = strtod(line, &end);
        return end == line || *end ? pawl_py_fail(vm, "'%.40s' is no number", line)
                                   : push_real(vm, value);
    }
    if (code == 'I' || code == 'L') {
        const long long value = strtoll(line, &end, 10);
        if (end == line || (*end && strcmp(end, "L")) || errno)
            return pawl_py_fail(vm, "'%.40s' is no integer that is known", line);
        return push_integer(vm, PAWL_PY_INT, value);
    }
    size_t size = strlen(line);
    const char *text = line;
    if (code == 'S' && size >= 2 && (*line == '\'' || *line == '"')) {
        line[size - 1] = 0;
        text++;
    }
    rc = pawl_py_text_value(vm, PAWL_PY_STRING, text, &made);
    return rc ? rc : push(vm, made);
}

// ---- containers

static int op_empty(struct pawl_py_vm *vm, unsigned char code)
{
    struct pawl_py *made = NULL;

    return push_new(vm, code == ']' ? PAWL_PY_LIST : code == '}' ? PAWL_PY_DICT
                        : code == ')' ? PAWL_PY_TUPLE : PAWL_PY_SET, &made);
}

static int op_tuple(struct pawl_py_vm *vm, unsigned char code)
{
    const uint32_t count = code - 0x84u;

    return top(vm, count) ? gather(vm, PAWL_PY_TUPLE, vm->depth - count) : PAWL_ECORRUPT;
}

// Everything above the last mark.
static int op_marked(struct pawl_py_vm *vm, unsigned char code)
{
    uint32_t from = 0;
    const int rc = pop_mark(vm, &from);

    if (rc) return rc;
    if (code == 'd' && (vm->depth - from) % 2) return pawl_py_fail(vm, "a key without a value");
    return gather(vm, code == 't' ? PAWL_PY_TUPLE : code == 'l' ? PAWL_PY_LIST
                      : code == 'd' ? PAWL_PY_DICT : PAWL_PY_SET, from);
}

// What items go into: the container itself, or what a call of a user's class collects.
static int container(struct pawl_py_vm *vm, struct pawl_py *value, enum pawl_py_kind kind,
                     struct pawl_py **out)
{
    *out = value;
    if (value->kind == kind) return 0;
    if (value->kind == PAWL_PY_CALL) {
        int rc = value->made ? 0 : pawl_py_new(vm, kind, &value->made);
        *out = value->made;
        if (rc || value->made->kind == kind) return rc;
    }
    return pawl_py_fail(vm, "%s an opcode that sets items is used on something that is not one",
                        kind == PAWL_PY_DICT ? "SETITEM: not a dict:" : "APPEND: not a list:");
}

// Moves what lies from `from` on into the container below it.
static int add_items(struct pawl_py_vm *vm, enum pawl_py_kind kind, uint32_t from)
{
    const uint32_t floor = vm->mark_count ? vm->mark[vm->mark_count - 1] : 0;
    const uint32_t count = vm->depth - from;
    struct pawl_py *to = NULL;

    if (from <= floor) return pawl_py_fail(vm, "its stack holds no container to add to");
    if (kind == PAWL_PY_DICT && count % 2) return pawl_py_fail(vm, "a key without a value");
    int rc = container(vm, vm->stack[from - 1], kind, &to);
    if (!rc && count) rc = pawl_py_room(vm, to, count);
    if (rc) return rc;
    if (count) memcpy(to->item + to->count, vm->stack + from, count * sizeof(*to->item));
    to->count += count;
    vm->depth = from;
    return 0;
}

static int op_add(struct pawl_py_vm *vm, unsigned char code)
{
    const uint32_t count = code == 'a' ? 1 : 2;

    if (!top(vm, count + 1)) return PAWL_ECORRUPT;
    return add_items(vm, code == 'a' ? PAWL_PY_LIST : PAWL_PY_DICT, vm->depth - count);
}

static int op_add_marked(struct pawl_py_vm *vm, unsigned char code)
{
    uint32_t from = 0;
    const int rc = pop_mark(vm, &from);

    if (rc) return rc;
    return add_items(vm, code == 'e' ? PAWL_PY_LIST : code == 'u' ? PAWL_PY_DICT : PAWL_PY_SET,
                     from);
}

// ---- globals and calls

static int push_global(struct pawl_py_vm *vm, const char *module, const char *name)
{
    char dotted[2 * LINE_BYTES];
    struct pawl_py *made = NULL;

    snprintf(dotted, sizeof(dotted), "%s.%s", module, name);
    const int rc = pawl_py_text_value(vm, PAWL_PY_GLOBAL, dotted, &made);
    return rc ? rc : push(vm, made);
}

static int op_global(struct pawl_py_vm *vm, unsigned char code)
{
    char module[LINE_BYTES], name[LINE_BYTES];

    (void)code;
    int rc = pawl_py_line(vm, module, sizeof(module));
    if (!rc) rc = pawl_py_line(vm, name, sizeof(name));
    return rc ? rc : push_global(vm, module, name);
}

static int op_stack_global(struct pawl_py_vm *vm, unsigned char code)
{
    (void)code;
    if (!top(vm, 2)) return PAWL_ECORRUPT;
    const char *module = pawl_py_text(vm->stack[vm->depth - 2]);
    const char *name = pawl_py_text(vm->stack[vm->depth - 1]);
    if (!module || !name || strlen(module) >= LINE_BYTES || strlen(name) >= LINE_BYTES)
        return pawl_py_fail(vm, "a global without a name");
    vm->depth -= 2;
    return push_global(vm, module, name);
}

static int push_call(struct pawl_py_vm *vm, struct pawl_py *callable, struct pawl_py *arguments)
{
    struct pawl_py *made = NULL;
    const int rc = pawl_py_call(vm, callable, arguments, &made);

    return rc ? rc : push(vm, made);
}

// REDUCE and NEWOBJ: a callable and its arguments. NEWOBJ_EX: keywords on top, kept nowhere.
static int op_call(struct pawl_py_vm *vm, unsigned char code)
{
    const uint32_t count = code == 0x92 ? 3 : 2;

    if (!top(vm, count)) return PAWL_ECORRUPT;
    vm->depth -= count;
    return push_call(vm, vm->stack[vm->depth], vm->stack[vm->depth + 1]);
}

// INST names its class, OBJ has it on the stack above the mark.
static int op_instance(struct pawl_py_vm *vm, unsigned char code)
{
    struct pawl_py *callable = NULL;
    uint32_t from = 0;

    int rc = code == 'i' ? op_global(vm, code) : 0;
    if (!rc) rc = pop_mark(vm, &from);
    if (rc) return rc;
    if (from >= vm->depth) return pawl_py_fail(vm, "its stack holds no class to make");
    if (code == 'i') {
        callable = vm->stack[--vm->depth];
    } else {
        callable = vm->stack[from];
        memmove(vm->stack + from, vm->stack + from + 1,
                (--vm->depth - from) * sizeof(*vm->stack));
    }
    rc = gather(vm, PAWL_PY_TUPLE, from);
    return rc ? rc : push_call(vm, callable, vm->stack[--vm->depth]);
}

static int op_build(struct pawl_py_vm *vm, unsigned char code)
{
    (void)code;
    if (!top(vm, 2)) return PAWL_ECORRUPT;
    struct pawl_py *state = vm->stack[--vm->depth], *value = vm->stack[vm->depth - 1];
    if (value->kind != PAWL_PY_CALL && value->kind != PAWL_PY_DICT)
        return pawl_py_fail(vm, "BUILD on something that is no object");
    value->state = state;
    return 0;
}

static int op_persistent(struct pawl_py_vm *vm, unsigned char code)
{
    if (code == 'P') return pawl_py_fail(vm, "a persistent id as text, which torch never writes");
    if (!top(vm, 1)) return PAWL_ECORRUPT;
    struct pawl_pickle *p = vm->pickle;
    // ('module', class, its source file, its source), in streams before torch 1.6: the class.
    struct pawl_py *id = vm->stack[vm->depth - 1];
    const char *kind = pawl_py_text(pawl_py_item(id, 0));
    if (kind && !strcmp(kind, "module") && pawl_py_is(pawl_py_item(id, 1), PAWL_PY_GLOBAL)) {
        vm->stack[vm->depth - 1] = id->item[1];
        return 0;
    }
    int rc = gather(vm, PAWL_PY_PERSISTENT, vm->depth - 1);
    if (!rc)
        rc = grow(&p->persistent, &p->persistent_room, p->persistent_count,
                  sizeof(*p->persistent));
    if (!rc) p->persistent[p->persistent_count++] = vm->stack[vm->depth - 1];
    return rc;
}

// ---- memo and stack

static int memo_put(struct pawl_py_vm *vm, uint64_t i)
{
    struct pawl_py *value = top(vm, 1);

    if (!value) return PAWL_ECORRUPT;
    // Every pickler counts its memo up from 0: an index far ahead only asks for memory.
    if (i > (uint64_t)vm->memo_count + MEMO_SLACK)
        return pawl_py_fail(vm, "memo entry %llu is far beyond the %u that there are",
                            (unsigned long long)i, vm->memo_count);
    while (vm->memo_count <= i) {
        const int rc = grow(&vm->memo, &vm->memo_room, vm->memo_count, sizeof(*vm->memo));
        if (rc) return rc;
        vm->memo[vm->memo_count++] = NULL;
    }
    vm->memo[i] = value;
    return 0;
}

static int op_memo(struct pawl_py_vm *vm, unsigned char code)
{
    const bool put = code == 'q' || code == 'r' || code == 'p';
    char line[32];
    uint64_t i = vm->memo_count;
    int rc = 0;

    if (code == 0x94) return memo_put(vm, i);
    if (code == 'p' || code == 'g') {
        rc = pawl_py_line(vm, line, sizeof(line));
        if (!rc) i = strtoull(line, NULL, 10);
    } else {
        rc = take_length(vm, code == 'q' || code == 'h' ? 1 : 4, &i);
    }
    if (rc) return rc;
    if (put) return memo_put(vm, i);
    if (i >= vm->memo_count || !vm->memo[i])
        return pawl_py_fail(vm, "memo entry %llu was never stored", (unsigned long long)i);
    return push(vm, vm->memo[i]);
}

static int op_stack(struct pawl_py_vm *vm, unsigned char code)
{
    uint32_t from = 0;
    int rc = 0;

    if (code == '(') {
        rc = grow(&vm->mark, &vm->mark_room, vm->mark_count, sizeof(*vm->mark));
        if (!rc) vm->mark[vm->mark_count++] = vm->depth;
        return rc;
    }
    if (code == '1') {
        rc = pop_mark(vm, &from);
        if (!rc) vm->depth = from;
        return rc;
    }
    struct pawl_py *value = top(vm, 1);
    if (!value) return PAWL_ECORRUPT;
    if (code == '2') return push(vm, value);
    vm->depth--;
    return 0;
}

static int op_frame(struct pawl_py_vm *vm, unsigned char code)
{
    const unsigned char *at = NULL;

    const int rc = pawl_py_take(vm, code == 0x80 ? 1 : 8, &at);
    if (rc || code == 0x95 || *at <= 5) return rc;
    return pawl_py_fail(vm, "pickle protocol %d is unknown", *at);
}

static int op_stop(struct pawl_py_vm *vm, unsigned char code)
{
    (void)code;
    if (vm->depth != 1 || vm->mark_count)
        return pawl_py_fail(vm, "STOP with %u values on its stack instead of one", vm->depth);
    vm->done = true;
    return 0;
}

int pawl_py_step(struct pawl_py_vm *vm, unsigned char code)
{
    static int (*const ops[256])(struct pawl_py_vm *, unsigned char) = {
        ['.'] = op_stop, ['('] = op_stack, ['0'] = op_stack, ['1'] = op_stack, ['2'] = op_stack,
        ['F'] = op_line, ['I'] = op_line, ['L'] = op_line, ['S'] = op_line, ['V'] = op_line,
        ['J'] = op_int, ['K'] = op_int, ['M'] = op_int, ['N'] = op_constant, [0x88] = op_constant,
        [0x89] = op_constant, ['G'] = op_float, [0x8a] = op_long, [0x8b] = op_long,
        ['X'] = op_string, ['U'] = op_string, ['T'] = op_string, ['C'] = op_string,
        ['B'] = op_string, [0x8c] = op_string, [0x8d] = op_string, [0x8e] = op_string,
        [0x96] = op_string, [']'] = op_empty, ['}'] = op_empty, [')'] = op_empty,
        [0x8f] = op_empty, [0x85] = op_tuple, [0x86] = op_tuple, [0x87] = op_tuple,
        ['t'] = op_marked, ['l'] = op_marked, ['d'] = op_marked, [0x91] = op_marked,
        ['a'] = op_add, ['s'] = op_add, ['e'] = op_add_marked, ['u'] = op_add_marked,
        [0x90] = op_add_marked, ['c'] = op_global, [0x93] = op_stack_global, ['R'] = op_call,
        [0x81] = op_call, [0x92] = op_call, ['i'] = op_instance, ['o'] = op_instance,
        ['b'] = op_build, ['P'] = op_persistent, ['Q'] = op_persistent, ['g'] = op_memo,
        ['h'] = op_memo, ['j'] = op_memo, ['p'] = op_memo, ['q'] = op_memo, ['r'] = op_memo,
        [0x94] = op_memo, [0x80] = op_frame, [0x95] = op_frame,
    };

    if (!ops[code]) return pawl_py_fail(vm, "opcode 0x%02x is none that torch writes", code);
    return ops[code](vm, code);
}
