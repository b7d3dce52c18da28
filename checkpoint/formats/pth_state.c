// pth_state.c - tensors in nested dicts and in modules, under the names that torch gives them.

#include "checkpoint/formats/pth_state.h"

#include <stdio.h>
#include <string.h>

#include "kernels/memory.h"

enum { DEPTH_MAX = 64 };

// A dict, list or module on the way, and how much of the name was there before it.
struct frame {
    const struct pawl_py *value;
    uint32_t next;
    size_t prefix;
    int stage;  // of a module: parameters, buffers, children
};

struct walk {
    struct pawl_pth *pth;
    struct pawl_entry **table;
    int *count;
    struct frame frame[DEPTH_MAX];
    int depth, steps;
    char name[1024];
    size_t length;
};

// Appends ".KEY" (or "KEY" at the start); false for keys that are no names.
static bool append_key(struct walk *w, const struct pawl_py *key, uint32_t index)
{
    char number[24];
    const char *text = pawl_py_text(key);
    int64_t integer = index;

    if (!text && key && !pawl_py_integer(key, &integer)) return false;
    if (!text) {
        snprintf(number, sizeof(number), "%lld", (long long)integer);
        text = number;
    }
    const size_t left = sizeof(w->name) - w->length;
    const int more = snprintf(w->name + w->length, left, "%s%s", w->length ? "." : "", text);
    if (more < 0 || (size_t)more >= left) return false;
    w->length += (size_t)more;
    return true;
}

static void cut_to(struct walk *w, size_t length)
{
    w->length = length;
    w->name[length] = 0;
}

static int enter(struct walk *w, const struct pawl_py *value, size_t before)
{
    if (w->depth == DEPTH_MAX)
        return pawl_fail(PAWL_ECORRUPT, "%s: '%.200s' is nested more than %d deep", w->pth->what,
                         w->name, DEPTH_MAX);
    w->frame[w->depth++] = (struct frame){ value, 0, before, 0 };
    return 0;
}

static int count_step(struct walk *w)
{
    if (++w->steps <= PAWL_PTH_STEPS_MAX) return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s: more than %d values: too many to be a model", w->pth->what,
                     PAWL_PTH_STEPS_MAX);
}

static int add(struct walk *w, const struct pawl_py *value)
{
    const char *name = w->length ? w->name : "tensor";
    const int rc = pawl_pth_add(w->pth, w->table, w->count, name, value);

    if (rc != PAWL_ENOTSUP) return rc;
    pawl_document_warn(w->pth->document, "%s", pawl_error());
    return 0;
}

// One step of the innermost dict or list.
static int step_in(struct walk *w)
{
    struct frame *f = &w->frame[w->depth - 1];
    const bool dict = f->value->kind == PAWL_PY_DICT;
    const uint32_t width = dict ? 2 : 1, at = f->next * width;
    const size_t before = w->length;

    if (at >= f->value->count) {
        cut_to(w, f->prefix);
        w->depth--;
        return 0;
    }
    const uint32_t index = f->next++;
    const struct pawl_py *value = f->value->item[at + width - 1];
    if (!append_key(w, dict ? f->value->item[at] : NULL, index)) return 0;
    int rc = 0;
    if (pawl_pth_is_tensor(value))
        rc = add(w, value);
    else if (value->kind == PAWL_PY_DICT || value->kind == PAWL_PY_LIST
             || value->kind == PAWL_PY_TUPLE)
        return enter(w, value, before);
    cut_to(w, before);
    return rc;
}

int pawl_pth_collect(struct pawl_pth *pth, const struct pawl_py *value, struct pawl_entry **table,
                     int *count)
{
    struct walk w = { .pth = pth, .table = table, .count = count };

    if (pawl_pth_is_tensor(value)) return add(&w, value);
    if (!pawl_py_is(value, PAWL_PY_DICT) && !pawl_py_is(value, PAWL_PY_LIST)
        && !pawl_py_is(value, PAWL_PY_TUPLE))
        return 0;
    int rc = enter(&w, value, 0);
    while (!rc && w.depth) {
        rc = count_step(&w);
        if (!rc) rc = step_in(&w);
    }
    return rc;
}

// ---- modules

bool pawl_pth_is_module(const struct pawl_py *value)
{
    return pawl_py_is(value, PAWL_PY_CALL) && pawl_py_get(value->state, "_parameters")
           && pawl_py_get(value->state, "_modules");
}

const struct pawl_py *pawl_pth_dict_of(const struct pawl_py *module, const char *name)
{
    const struct pawl_py *dict = pawl_py_get(module->state, name);

    return pawl_py_is(dict, PAWL_PY_DICT) ? dict : NULL;
}

// A buffer that state_dict() leaves out.
static bool is_lasting(const struct pawl_py *module, const char *name)
{
    const struct pawl_py *set = pawl_py_get(module->state, "_non_persistent_buffers_set");

    if (pawl_py_is(set, PAWL_PY_CALL)) set = pawl_py_argument(set, 0);  // set([...])
    for (uint32_t i = 0; set && set->kind >= PAWL_PY_LIST && set->kind <= PAWL_PY_SET
                         && i < set->count; i++) {
        const char *text = pawl_py_text(set->item[i]);
        if (text && !strcmp(text, name)) return false;
    }
    return true;
}

static int step_module(struct walk *w)
{
    static const char *const stages[] = { "_parameters", "_buffers", "_modules" };
    struct frame *f = &w->frame[w->depth - 1];
    const struct pawl_py *dict = f->stage < 3 ? pawl_pth_dict_of(f->value, stages[f->stage]) : NULL;
    const size_t before = w->length;
    int rc = 0;

    if (f->stage == 3) {
        cut_to(w, f->prefix);
        w->depth--;
        return 0;
    }
    if (!dict || 2 * f->next >= dict->count) {
        f->stage++;
        f->next = 0;
        return 0;
    }
    const uint32_t at = 2 * f->next++;
    const struct pawl_py *key = dict->item[at], *value = dict->item[at + 1];
    if (!append_key(w, key, 0)) return 0;
    if (f->stage == 2 && pawl_pth_is_module(value)) return enter(w, value, before);
    if (f->stage < 2 && pawl_pth_is_tensor(value)
        && (f->stage == 0 || is_lasting(f->value, pawl_py_text(key) ? pawl_py_text(key) : "")))
        rc = add(w, value);
    cut_to(w, before);
    return rc;
}

int pawl_pth_collect_module(struct pawl_pth *pth, const struct pawl_py *module,
                            struct pawl_entry **table, int *count)
{
    struct walk w = { .pth = pth, .table = table, .count = count };

    int rc = enter(&w, module, 0);
    while (!rc && w.depth) {
        rc = count_step(&w);
        if (!rc) rc = step_module(&w);
    }
    return rc;
}
