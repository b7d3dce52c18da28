// memory.c - the allocation hook, and pages for slabs.

#include "kernels/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *libc_resize(void *context, void *memory, size_t bytes)
{
    (void)context;
    if (bytes)
        return realloc(memory, bytes);
    free(memory);
    return NULL;
}

static struct pawl_memory hook = { libc_resize, NULL };

void pawl_memory_set(const struct pawl_memory *memory)
{
    hook = memory ? *memory : (struct pawl_memory){ libc_resize, NULL };
}

int pawl_realloc(void *memory, size_t bytes, const char *what)
{
    void *old, *fresh;

    memcpy(&old, memory, sizeof(old));
    fresh = hook.resize(hook.context, old, bytes ? bytes : 1);
    if (!fresh)
        return pawl_fail(PAWL_ENOMEM, "no memory for %s (%zu bytes)", what, bytes);
    memcpy(memory, &fresh, sizeof(fresh));
    return 0;
}

int pawl_alloc(void *out, size_t bytes, const char *what)
{
    void *fresh = NULL;
    const int rc = pawl_realloc(&fresh, bytes, what);

    if (rc) return rc;
    memset(fresh, 0, bytes);
    memcpy(out, &fresh, sizeof(fresh));
    return 0;
}

int pawl_strdup(char **out, const char *text)
{
    const size_t bytes = strlen(text) + 1;
    const int rc = pawl_alloc(out, bytes, "a string");

    if (!rc) memcpy(*out, text, bytes);
    return rc;
}

void pawl_free(void *memory)
{
    if (memory)
        hook.resize(hook.context, memory, 0);
}

int pawl_pages_alloc(void **out, size_t bytes, const char *what)
{
    // Pages do not come from the hook, but a test's failing hook must be able to refuse them too.
    void *permit = hook.resize(hook.context, NULL, 1);
    void *pages = MAP_FAILED;

    if (!bytes) bytes = 1;
    if (permit) {
        hook.resize(hook.context, permit, 0);
        pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (pages == MAP_FAILED)
        return pawl_fail(PAWL_ENOMEM, "no memory for %s (%zu bytes)", what, bytes);
    madvise(pages, bytes, MADV_HUGEPAGE);  // only advice: small pages work too
    memset(pages, 0, bytes);               // faults in now, not in the first step
    *out = pages;
    return 0;
}

void pawl_pages_free(void *memory, size_t bytes)
{
    if (memory)
        munmap(memory, bytes ? bytes : 1);
}
