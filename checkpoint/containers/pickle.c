// pickle.c - a machine for pickles that only ever builds values.

#include "checkpoint/containers/pickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/containers/bytes.h"
#include "checkpoint/containers/pickle_inside.h"
#include "kernels/memory.h"

int pawl_py_fail(const struct pawl_py_vm *vm, const char *format, ...)
{
    char words[640];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_ECORRUPT, "%s: pickle at byte %llu: %s", vm->what,
                     (unsigned long long)(vm->opcode_at - vm->start), words);
}

// ---- memory

struct pawl_py_block {
    struct pawl_py_block *before;
    size_t used, size;
    _Alignas(8) char bytes[];
};

// Memory that lives as long as the pickle; size is bounded by the file's by whoever asks.
static int take_memory(struct pawl_py_vm *vm, size_t size, void *out)
{
    struct pawl_py_block *block = vm->pickle->blocks;

    size = (size + 7) & ~(size_t)7;
    if (!block || block->size - block->used < size) {
        const size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        struct pawl_py_block *fresh = NULL;
        const int rc = pawl_alloc(&fresh, sizeof(*fresh) + room, "a pickle");
        if (rc) return rc;
        fresh->before = block;
        fresh->size = room;
        vm->pickle->blocks = block = fresh;
    }
    *(void **)out = block->bytes + block->used;
    block->used += size;
    return 0;
}

int pawl_py_new(struct pawl_py_vm *vm, enum pawl_py_kind kind, struct pawl_py **out)
{
    if (++vm->value_count > VALUES_MAX) return pawl_py_fail(vm, "more than %d values", VALUES_MAX);
    const int rc = take_memory(vm, sizeof(**out), out);
    if (!rc) (*out)->kind = kind;
    return rc;
}

int pawl_py_room(struct pawl_py_vm *vm, struct pawl_py *list, uint32_t more)
{
    struct pawl_pickle *p = vm->pickle;
    uint32_t room = list->room ? list->room : 4;

    if (more > UINT32_MAX / 4 || list->count > UINT32_MAX / 4)
        return pawl_py_fail(vm, "a container is too large");
    if (list->count + more <= list->room) return 0;
    while (room < list->count + more)
        room *= 2;
    if (!list->room) {  // remembered, to be freed
        if ((p->list_count & (p->list_count - 1)) == 0) {
            const int rc = pawl_realloc(&p->lists, sizeof(*p->lists)
                                        * (p->list_count ? 2 * p->list_count : 1), "a pickle");
            if (rc) return rc;
        }
        p->lists[p->list_count++] = list;
    }
    const int rc = pawl_realloc(&list->item, sizeof(*list->item) * room, "a pickle");
    if (!rc)
        list->room = room;
    else if (!list->room)
        p->list_count--;
    return rc;
}

void pawl_pickle_free(struct pawl_pickle *pickle)
{
    if (!pickle) return;
    for (size_t i = 0; i < pickle->list_count; i++)
        pawl_free(pickle->lists[i]->item);
    pawl_free(pickle->lists);
    pawl_free(pickle->persistent);
    while (pickle->blocks) {
        struct pawl_py_block *before = pickle->blocks->before;
        pawl_free(pickle->blocks);
        pickle->blocks = before;
    }
    pawl_free(pickle);
}

// ---- bytes

static int fill(struct pawl_py_vm *vm)
{
    const uint64_t left = vm->end - vm->next;
    const size_t kept = vm->held - vm->taken;
    size_t now = sizeof(vm->buffer) - kept;

    if (now > left) now = (size_t)left;
    memmove(vm->buffer, vm->buffer + vm->taken, kept);
    const int rc = pawl_document_read_at(vm->document, vm->file, vm->next, vm->buffer + kept, now);
    vm->next += now;
    vm->held = kept + now;
    vm->taken = 0;
    return rc;
}

static uint64_t left_in(const struct pawl_py_vm *vm)
{
    return vm->end - vm->next + (vm->held - vm->taken);
}

int pawl_py_take(struct pawl_py_vm *vm, size_t size, const unsigned char **out)
{
    if (size > left_in(vm))
        return pawl_py_fail(vm, "it ends before its STOP, or is truncated");
    if (size > vm->held - vm->taken) {
        const int rc = fill(vm);
        if (rc) return rc;
    }
    *out = vm->buffer + vm->taken;
    vm->taken += size;
    return 0;
}

int pawl_py_bytes(struct pawl_py_vm *vm, uint64_t size, enum pawl_py_kind kind,
                  struct pawl_py **out)
{
    char *text = NULL;

    if (size > left_in(vm) || size > BYTES_MAX)
        return pawl_py_fail(vm, "a string or integer of %llu bytes, but it ends before: truncated",
                            (unsigned long long)size);
    int rc = take_memory(vm, (size_t)size + 1, &text);
    if (!rc) rc = pawl_py_new(vm, kind, out);
    for (size_t done = 0; !rc && done < size;) {
        const size_t rest = (size_t)size - done;
        const size_t now = rest < sizeof(vm->buffer) ? rest : sizeof(vm->buffer);
        const unsigned char *at = NULL;
        rc = pawl_py_take(vm, now, &at);
        if (!rc) memcpy(text + done, at, now);
        done += now;
    }
    if (rc) return rc;
    (*out)->text = text;
    (*out)->count = (uint32_t)size;
    return 0;
}

// Up to the next newline, without it.
int pawl_py_line(struct pawl_py_vm *vm, char *out, size_t most)
{
    const unsigned char *at = NULL;

    for (size_t i = 0; i < most; i++) {
        const int rc = pawl_py_take(vm, 1, &at);
        if (rc) return rc;
        out[i] = (char)*at;
        if (*at == '\n') {
            out[i] = 0;
            return 0;
        }
    }
    return pawl_py_fail(vm, "a line is longer than %zu bytes", most);
}

int pawl_py_text_value(struct pawl_py_vm *vm, enum pawl_py_kind kind, const char *text,
                       struct pawl_py **out)
{
    const size_t size = strlen(text);
    char *copy = NULL;

    int rc = take_memory(vm, size + 1, &copy);
    if (!rc) rc = pawl_py_new(vm, kind, out);
    if (rc) return rc;
    memcpy(copy, text, size + 1);
    (*out)->text = copy;
    (*out)->count = (uint32_t)size;
    return 0;
}

// ---- the check: no cycle but through calls, and not too deep

struct step {
    struct pawl_py *value;
    uint32_t next;
};

// The parts of a value: its items, then `made`, then `state`.
static struct pawl_py *part(const struct pawl_py *value, uint32_t i)
{
    const bool items = value->kind >= PAWL_PY_LIST && value->kind != PAWL_PY_GLOBAL;
    const uint32_t count = items ? value->count : 0;

    if (i < count) return value->item[i];
    if (i == count && value->made) return value->made;
    return i <= count + 1 ? value->state : NULL;
}

static int check_tree(const struct pawl_py_vm *vm, struct pawl_py *root)
{
    struct step *path = NULL;
    int depth = 1;
    int rc = pawl_alloc(&path, sizeof(*path) * (PAWL_PY_DEPTH_MAX + 1), "a pickle");

    if (rc) return rc;
    path[0] = (struct step){ root, 0 };
    root->seen = 1;
    while (depth && !rc) {
        struct step *top = &path[depth - 1];
        struct pawl_py *child = part(top->value, top->next++);
        if (!child) {
            top->value->seen = 2;
            depth--;
        } else if (child->seen == 1 && child->kind != PAWL_PY_CALL) {
            rc = pawl_py_fail(vm, "a container holds itself: a cycle");
        } else if (!child->seen) {
            if (depth == PAWL_PY_DEPTH_MAX)
                rc = pawl_py_fail(vm, "values are nested more than %d deep", PAWL_PY_DEPTH_MAX);
            else
                path[depth++] = (struct step){ child, 0 };
            child->seen = 1;
        }
    }
    pawl_free(path);
    return rc;
}

// ---- reading

static int run(struct pawl_py_vm *vm)
{
    const unsigned char *code = NULL;
    int rc = 0;

    while (!rc && !vm->done) {
        vm->opcode_at = vm->next - (vm->held - vm->taken);
        rc = pawl_py_take(vm, 1, &code);
        if (!rc) rc = pawl_py_step(vm, *code);
    }
    return rc;
}

int pawl_pickle_read(struct pawl_pickle **out, const struct pawl_document *document, int file,
                     const uint64_t range[2], const char *what)
{
    struct pawl_py_vm *vm = NULL;

    int rc = pawl_alloc(&vm, sizeof(*vm), "a pickle");
    if (!rc) rc = pawl_alloc(&vm->pickle, sizeof(*vm->pickle), "a pickle");
    if (!rc) {
        vm->document = document;
        vm->file = file;
        vm->what = what;
        vm->start = vm->next = range[0];
        vm->end = range[0] + range[1];
        rc = run(vm);
        if (!rc) rc = check_tree(vm, vm->stack[0]);
    }
    if (!rc) {
        vm->pickle->root = vm->stack[0];
        vm->pickle->end = vm->next - (vm->held - vm->taken);
        *out = vm->pickle;
    } else if (vm) {
        pawl_pickle_free(vm->pickle);
    }
    if (vm) {
        pawl_free(vm->stack);
        pawl_free(vm->mark);
        pawl_free(vm->memo);
    }
    pawl_free(vm);
    return rc;
}

// ---- looking at values

bool pawl_py_is(const struct pawl_py *value, enum pawl_py_kind kind)
{
    return value && value->kind == kind;
}

const struct pawl_py *pawl_py_get(const struct pawl_py *dict, const char *key)
{
    const size_t length = strlen(key);

    if (!pawl_py_is(dict, PAWL_PY_DICT)) return NULL;
    for (uint32_t i = dict->count; i >= 2; i -= 2) {  // the last of a key counts, as in Python
        const struct pawl_py *at = dict->item[i - 2];
        if (at->kind == PAWL_PY_STRING && at->count == length && !memcmp(at->text, key, length))
            return dict->item[i - 1];
    }
    return NULL;
}

const struct pawl_py *pawl_py_item(const struct pawl_py *value, uint32_t i)
{
    if (!pawl_py_is(value, PAWL_PY_LIST) && !pawl_py_is(value, PAWL_PY_TUPLE)) return NULL;
    return i < value->count ? value->item[i] : NULL;
}

const char *pawl_py_called(const struct pawl_py *value)
{
    if (pawl_py_is(value, PAWL_PY_CALL)) value = value->item[0];
    return pawl_py_is(value, PAWL_PY_GLOBAL) ? value->text : "";
}

const struct pawl_py *pawl_py_argument(const struct pawl_py *call, uint32_t i)
{
    return pawl_py_is(call, PAWL_PY_CALL) ? pawl_py_item(call->item[1], i) : NULL;
}

const char *pawl_py_text(const struct pawl_py *value)
{
    return pawl_py_is(value, PAWL_PY_STRING) && strlen(value->text) == value->count ? value->text
                                                                                  : NULL;
}

bool pawl_py_integer(const struct pawl_py *value, int64_t *out)
{
    if (!pawl_py_is(value, PAWL_PY_INT) && !pawl_py_is(value, PAWL_PY_BOOL)) return false;
    *out = value->integer;
    return true;
}

bool pawl_py_number(const struct pawl_py *value, double *out)
{
    int64_t integer;

    if (pawl_py_is(value, PAWL_PY_FLOAT)) {
        *out = value->real;
        return true;
    }
    if (!pawl_py_integer(value, &integer)) return false;
    *out = (double)integer;
    return true;
}
