// pickle.h - Python pickles, read as data: a tree of plain values. Nothing is looked up or run.
//
//     rc = pawl_pickle_read(&pickle, document, file, range, what);
//     value = pawl_pickle_get(pickle->root, "state_dict");
//     pawl_pickle_free(pickle);
//
// Protocols 0 to 5, as torch and its users write them. A class or function becomes a PAWL_PY_GLOBAL
// with its dotted name, a call of one a PAWL_PY_CALL that remembers what it was to be given.
// A call of something that reaches the system (os.system, eval, ...) is refused by its name.
//
// Promise: the values reachable from root form no cycle except through calls. They may share parts,
// so that a walk over all of them must count its steps and its depth.
// Memory: at most some 100 bytes per byte of the pickle. Threads: constant once read.

#ifndef PAWL_PICKLE_H
#define PAWL_PICKLE_H

#include "checkpoint/document.h"

enum { PAWL_PY_DEPTH_MAX = 500 };

enum pawl_py_kind {
    PAWL_PY_NONE, PAWL_PY_BOOL, PAWL_PY_INT, PAWL_PY_LONG, PAWL_PY_FLOAT,
    PAWL_PY_STRING, PAWL_PY_BYTES, PAWL_PY_LIST, PAWL_PY_TUPLE, PAWL_PY_DICT, PAWL_PY_SET,
    PAWL_PY_GLOBAL,      // text: "torch._utils._rebuild_tensor_v2"
    PAWL_PY_CALL,        // item 0: what is called, item 1: its arguments (a tuple)
    PAWL_PY_PERSISTENT,  // item 0: the persistent id
};

struct pawl_py {
    enum pawl_py_kind kind;
    unsigned char seen;  // for the reader's own walk
    uint32_t count;      // of items (in a dict: keys and values, in turn), or of bytes
    uint32_t room;
    union {
        int64_t integer;        // INT, BOOL
        double real;            // FLOAT
        const char *text;       // STRING, BYTES, GLOBAL; LONG: two's complement. A zero follows.
        struct pawl_py **item;  // the rest
    };
    struct pawl_py *made;   // DICT: the class it is of, if not dict. CALL: the items set in it
    struct pawl_py *state;  // what BUILD gave it, or NULL
};

struct pawl_pickle {
    const struct pawl_py *root;
    uint64_t end;  // where in the file the pickle ended
    struct pawl_py **persistent;  // every PAWL_PY_PERSISTENT, in order
    uint32_t persistent_count, persistent_room;
    struct pawl_py_block *blocks;
    struct pawl_py **lists;  // every item array
    size_t list_count;
};

// The pickle that begins at byte range[0] of a document's file; it ends within range[1] bytes.
// PAWL_ECORRUPT: what, the byte and why.
int pawl_pickle_read(struct pawl_pickle **out, const struct pawl_document *document, int file,
                     const uint64_t range[2], const char *what);
void pawl_pickle_free(struct pawl_pickle *pickle);  // accepts NULL

// All accept NULL for a value. A dict's value by its string key, or NULL.
const struct pawl_py *pawl_py_get(const struct pawl_py *dict, const char *key);
bool pawl_py_is(const struct pawl_py *value, enum pawl_py_kind kind);
// Item i of a list or tuple, or NULL.
const struct pawl_py *pawl_py_item(const struct pawl_py *value, uint32_t i);
// The dotted name of what a call calls or a global names; "" for everything else.
const char *pawl_py_called(const struct pawl_py *value);
const struct pawl_py *pawl_py_argument(const struct pawl_py *call, uint32_t i);
// A string without NUL bytes, else NULL.
const char *pawl_py_text(const struct pawl_py *value);
bool pawl_py_number(const struct pawl_py *value, double *out);   // INT, BOOL or FLOAT
bool pawl_py_integer(const struct pawl_py *value, int64_t *out); // INT or BOOL

#endif
