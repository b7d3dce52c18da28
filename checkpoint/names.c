// names.c - a sorted index over names.

#include "checkpoint/names.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"

static int order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int pawl_names_build(struct pawl_names *out, int count, const char *first, size_t stride)
{
    struct pawl_names names = { .count = count, .first = first, .stride = stride };
    const int rc = pawl_alloc(&names.sorted, sizeof(char *) * (size_t)count, "an index of names");

    if (rc) return rc;
    for (int i = 0; i < count; i++)
        names.sorted[i] = first + (size_t)i * stride;
    qsort(names.sorted, (size_t)count, sizeof(char *), order);
    for (int i = 1; i < count && !names.twice; i++)
        if (strcmp(names.sorted[i - 1], names.sorted[i]) == 0)
            names.twice = names.sorted[i];
    *out = names;
    return 0;
}

int pawl_names_find(const struct pawl_names *names, const char *name)
{
    const char **found = bsearch(&name, names->sorted, (size_t)names->count, sizeof(char *), order);

    return found ? (int)((size_t)(*found - names->first) / names->stride) : -1;
}

void pawl_names_free(struct pawl_names *names)
{
    if (!names) return;
    pawl_free(names->sorted);
    names->sorted = NULL;
    names->count = 0;
}
