// memory.h - all host memory comes through one hook, so that a test can make any request fail.
//
// Memory: everything is taken while opening; a training step and a save allocate nothing.
// Threads: the functions may be called from any thread; the hook is set before any of them.

#ifndef PAWL_MEMORY_H
#define PAWL_MEMORY_H

#include <stddef.h>

#include "kernels/error.h"

// resize(NULL, n) allocates, resize(p, 0) frees and returns NULL, NULL otherwise means no memory.
struct pawl_memory {
    void *(*resize)(void *context, void *memory, size_t bytes);
    void *context;
};

// Copies the hook; NULL puts the C library back. Call it before anything was allocated.
PAWL_API void pawl_memory_set(const struct pawl_memory *hook);

// Zeroed memory in *out. PAWL_ENOMEM names what it was for ("ring", "activations") and the bytes.
int pawl_alloc(void *out, size_t bytes, const char *what);
// Grows or shrinks *memory (a pointer's address); on failure it is untouched. New bytes: unset.
int pawl_realloc(void *memory, size_t bytes, const char *what);
int pawl_strdup(char **out, const char *text);
void pawl_free(void *memory);  // accepts NULL

// Large zeroed, page-aligned, prefaulted memory (huge pages where the kernel gives them) for slabs
// and rings. Freed by pawl_pages_free with the same size. Counted by the same hook for failures.
int pawl_pages_alloc(void **out, size_t bytes, const char *what);
void pawl_pages_free(void *memory, size_t bytes);

#endif
