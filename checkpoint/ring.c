// ring.c - what of a snapshot was handed out, and the copies of the rest.

#include "checkpoint/ring.h"

#include <string.h>

#include "checkpoint/sums.h"
#include "kernels/memory.h"

enum { PAGE = 4096, COPY_ALIGN = 64, SPARE_SPANS = 256, SLOTS_MIN = 4 };

int pawl_ring_open(struct pawl_ring *ring, struct pawl_device *device,
                   const struct pawl_layout *layout, uint64_t memory_bytes)
{
    const int room = 2 * layout->part_count + SPARE_SPANS;

    *ring = (struct pawl_ring){ .device = device, .handed_room = room };
    ring->frame_bytes = (layout->file_bytes + PAGE - 1) / PAGE * PAGE;
    if (!memory_bytes) memory_bytes = ring->frame_bytes;
    const uint64_t frames = memory_bytes / ring->frame_bytes;
    ring->frames = frames < PAWL_FRAMES_MAX ? (int)frames : PAWL_FRAMES_MAX;
    ring->size_bytes = ring->frames ? (uint64_t)ring->frames * ring->frame_bytes
                                    : memory_bytes / PAWL_CHUNK_BYTES * PAWL_CHUNK_BYTES;
    if (!ring->frames && ring->size_bytes < SLOTS_MIN * PAWL_CHUNK_BYTES)
        return pawl_fail(PAWL_EINVAL, "host memory of %llu bytes is too little: a snapshot goes "
                         "through it in chunks, and needs at least %llu",
                         (unsigned long long)memory_bytes,
                         (unsigned long long)SLOTS_MIN * PAWL_CHUNK_BYTES);
    int rc = pawl_alloc(&ring->handed, (size_t)room * sizeof(*ring->handed), "ring");
    if (!rc) rc = pawl_device_alloc(device, &ring->memory, ring->size_bytes, PAWL_ON_HOST);
    if (rc) pawl_ring_close(ring);
    return rc;
}

void pawl_ring_close(struct pawl_ring *ring)
{
    if (ring->memory)
        pawl_device_free(ring->device, ring->memory, ring->size_bytes, PAWL_ON_HOST);
    pawl_free(ring->handed);
    *ring = (struct pawl_ring){ 0 };
}

char *pawl_ring_frame(const struct pawl_ring *ring, int frame)
{
    return ring->memory + (uint64_t)frame * ring->frame_bytes;
}

void pawl_ring_begin(struct pawl_ring *ring, int frame, uint64_t generation)
{
    // Sequentially consistent: no byte of the snapshot is written before it.
    atomic_store(&ring->generation[frame], generation);
    ring->frame = pawl_ring_frame(ring, frame);
    ring->handed_count = 0;
}

bool pawl_ring_holds(const struct pawl_ring *ring, int frame, uint64_t generation)
{
    return atomic_load(&ring->generation[frame]) == generation;
}

// The last stretch that starts at or before memory, or NULL.
static const struct pawl_stretch *stretch_at(const struct pawl_layout *layout, const char *memory)
{
    int low = 0, high = layout->stretch_count;

    while (low < high) {
        const int middle = low + (high - low) / 2;
        if ((uintptr_t)layout->stretches[middle].memory <= (uintptr_t)memory)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &layout->stretches[low - 1] : NULL;
}

// The first span that ends after offset.
static int first_after(const struct pawl_ring *ring, uint64_t offset)
{
    int low = 0, high = ring->handed_count;

    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (ring->handed[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void *pawl_ring_hand(struct pawl_ring *ring, const struct pawl_layout *layout, const void *memory,
                     size_t bytes)
{
    const struct pawl_stretch *stretch = stretch_at(layout, memory);

    if (!stretch || !bytes) return NULL;
    const uint64_t inside = (uint64_t)((const char *)memory - stretch->memory);
    if (inside >= stretch->size_bytes || bytes > stretch->size_bytes - inside) return NULL;
    const uint64_t start = stretch->offset_bytes + inside;
    if (start % COPY_ALIGN || ring->handed_count == ring->handed_room) return NULL;
    const int at = first_after(ring, start);
    struct pawl_span *span = &ring->handed[at];
    if (at < ring->handed_count && span->start < start + bytes) return NULL;
    memmove(span + 1, span, (size_t)(ring->handed_count - at) * sizeof(*span));
    *span = (struct pawl_span){ start, start + bytes };
    ring->handed_count++;
    return ring->frame + start;
}

static void copy(struct pawl_ring *ring, const struct pawl_stretch *stretch,
                 struct pawl_stream *stream, uint64_t start, uint64_t end)
{
    if (start < end)
        pawl_stream_copy(stream, ring->frame + start,
                         stretch->memory + (start - stretch->offset_bytes), end - start);
}

void pawl_ring_copy_rest(struct pawl_ring *ring, const struct pawl_layout *layout,
                         struct pawl_stream *stream)
{
    for (int i = 0; i < layout->stretch_count; i++) {
        const struct pawl_stretch *stretch = &layout->stretches[i];
        const uint64_t end = stretch->offset_bytes + stretch->size_bytes;
        uint64_t next = stretch->offset_bytes;
        for (int j = first_after(ring, next);
             j < ring->handed_count && ring->handed[j].start < end; j++) {
            copy(ring, stretch, stream, next, ring->handed[j].start);
            next = ring->handed[j].end;
        }
        copy(ring, stretch, stream, next, end);
    }
}
