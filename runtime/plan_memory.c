// plan_memory.c - buffers with lifetimes become offsets in one arena.
//
// Greedy by size (Pisarchyk and Lee, 2020, "greedy by size for offset calculation"): the largest
// first, each at the lowest offset where no buffer that is alive at the same time lies.

#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "runtime/plan_inside.h"

// qsort has no context argument in C17.
static _Thread_local const struct plan_buffer *sorted_buffers;

static int by_size(const void *a, const void *b)
{
    const int i = *(const int *)a, j = *(const int *)b;
    const size_t x = sorted_buffers[i].bytes, y = sorted_buffers[j].bytes;

    return x != y ? (x < y ? 1 : -1) : i - j;
}

static bool meet(const struct plan_buffer *a, const struct plan_buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

// The lowest offset that fits beside those placed; placed is kept sorted by offset.
static size_t lowest(const struct plan_buffer *buffers, const int *placed, int count,
                     const struct plan_buffer *wanted)
{
    size_t offset = 0;

    for (int i = 0; i < count; i++) {
        const struct plan_buffer *other = &buffers[placed[i]];
        if (!meet(other, wanted)) continue;
        if (offset + wanted->bytes <= other->offset) break;
        if (other->offset + other->bytes > offset) offset = other->offset + other->bytes;
    }
    return offset;
}

int plan_place(struct pawl_plan *plan)
{
    const int count = plan->buffer_count;
    int *order = NULL, *placed = NULL;
    int rc = pawl_alloc(&order, (size_t)(count + 1) * sizeof(int), "the plan");

    if (!rc) rc = pawl_alloc(&placed, (size_t)(count + 1) * sizeof(int), "the plan");
    if (rc) goto out;
    for (int i = 0; i < count; i++) {
        struct plan_buffer *buffer = &plan->buffers[i];
        buffer->bytes = (buffer->bytes + PAWL_ALIGN_BYTES - 1) / PAWL_ALIGN_BYTES
                        * PAWL_ALIGN_BYTES;
        order[i] = i;
    }
    sorted_buffers = plan->buffers;
    qsort(order, (size_t)count, sizeof(int), by_size);
    for (int i = 0; i < count; i++) {
        struct plan_buffer *buffer = &plan->buffers[order[i]];
        int at = i;
        buffer->offset = lowest(plan->buffers, placed, i, buffer);
        while (at > 0 && plan->buffers[placed[at - 1]].offset > buffer->offset) at--;
        memmove(&placed[at + 1], &placed[at], (size_t)(i - at) * sizeof(int));
        placed[at] = order[i];
        if (buffer->offset + buffer->bytes > plan->arena_bytes)
            plan->arena_bytes = buffer->offset + buffer->bytes;
    }
out:
    pawl_free(order);
    pawl_free(placed);
    return rc;
}
