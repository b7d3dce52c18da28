// belt.c - see belt.h.

#include "checkpoint/belt.h"

#include <string.h>

#include "checkpoint/sums.h"
#include "kernels/memory.h"

int pawl_belt_open(struct pawl_belt *belt, const struct pawl_layout *layout, char *memory,
                   uint64_t slots, bool host)
{
    *belt = (struct pawl_belt){ .layout = layout, .memory = memory, .slots = slots, .host = host,
                                .chunks = pawl_sums_chunks(layout->file_bytes) };
    pthread_mutex_init(&belt->lock, NULL);
    pthread_cond_init(&belt->changed, NULL);
    int rc = pawl_alloc(&belt->busy, slots * sizeof(*belt->busy), "slots");
    if (!rc) rc = pawl_alloc(&belt->owner, slots * sizeof(*belt->owner), "slots");
    if (!rc) rc = pawl_alloc(&belt->header, layout->header.size, "the header");
    if (rc) pawl_belt_close(belt);
    return rc;
}

void pawl_belt_close(struct pawl_belt *belt)
{
    if (!belt->layout) return;
    pthread_mutex_destroy(&belt->lock);
    pthread_cond_destroy(&belt->changed);
    pawl_free(belt->busy);
    pawl_free(belt->owner);
    pawl_free(belt->header);
    *belt = (struct pawl_belt){ 0 };
}

void pawl_belt_begin(struct pawl_belt *belt, uint64_t generation)
{
    pthread_mutex_lock(&belt->lock);
    belt->generation = generation;
    memset(belt->busy, 0, belt->slots * sizeof(*belt->busy));
    belt->filled = belt->given = 0;
    belt->named = false;
    belt->broken = NULL;
    pthread_mutex_unlock(&belt->lock);
}

// ---- filling; the lock is held

static void copy(struct pawl_stream *stream, char *out, const char *in, size_t bytes)
{
    if (stream)
        pawl_stream_copy(stream, out, in, bytes);
    else
        memcpy(out, in, bytes);
}

// The first stretch that ends after offset.
static int stretch_after(const struct pawl_layout *layout, uint64_t offset)
{
    int low = 0, high = layout->stretch_count;

    while (low < high) {
        const int middle = low + (high - low) / 2;
        const struct pawl_stretch *stretch = &layout->in_file[middle];
        if (stretch->offset_bytes + stretch->size_bytes <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_room(const struct pawl_belt *belt)
{
    // The header's identity is known only once the attempt has its name.
    return belt->named && belt->filled < belt->chunks && !belt->busy[belt->filled % belt->slots];
}

static uint64_t owner_of(const struct pawl_belt *belt, uint64_t chunk)
{
    return belt->generation * belt->chunks + chunk;
}

// A slot that holds anything but the chunk that storage has, or is to have, breaks the snapshot.
static void check_owner(struct pawl_belt *belt, uint64_t chunk)
{
    if (belt->owner[chunk % belt->slots] != owner_of(belt, chunk) && !belt->broken)
        belt->broken = "a slot of the host memory was reused while it was written";
}

// stream NULL: the calling thread copies.
static void fill(struct pawl_belt *belt, struct pawl_stream *stream)
{
    const struct pawl_layout *layout = belt->layout;
    const uint64_t start = belt->filled << PAWL_CHUNK_LOG2, slot = belt->filled % belt->slots;
    const uint64_t header = layout->header.size;
    uint64_t end = start + PAWL_CHUNK_BYTES;
    char *out = belt->memory + slot * PAWL_CHUNK_BYTES;

    belt->owner[slot] = owner_of(belt, belt->filled);
    if (end > layout->file_bytes) end = layout->file_bytes;
    if (start < header)
        memcpy(out, belt->header + start, (end < header ? end : header) - start);
    for (int i = stretch_after(layout, start);
         i < layout->stretch_count && layout->in_file[i].offset_bytes < end; i++) {
        const struct pawl_stretch *stretch = &layout->in_file[i];
        const uint64_t stretch_end = stretch->offset_bytes + stretch->size_bytes;
        const uint64_t from = stretch->offset_bytes > start ? stretch->offset_bytes : start;
        const uint64_t to = stretch_end < end ? stretch_end : end;
        copy(stream, out + (from - start), stretch->memory + (from - stretch->offset_bytes),
             to - from);
    }
    if (stream && !belt->host && pawl_stream_wait(stream) && !belt->broken)
        belt->broken = "the device failed";
    belt->busy[slot] = true;
    belt->filled++;
    pthread_cond_broadcast(&belt->changed);
}

void pawl_belt_finish(struct pawl_belt *belt, struct pawl_stream *stream)
{
    pthread_mutex_lock(&belt->lock);
    // The host's streams skip everything once they have failed.
    if (belt->host && stream->fault && belt->filled < belt->chunks && !belt->broken)
        belt->broken = "the device had failed";
    while (belt->filled < belt->chunks && !belt->broken) {
        if (belt->host && has_room(belt))
            fill(belt, stream);
        else
            pthread_cond_wait(&belt->changed, &belt->lock);
    }
    pthread_cond_broadcast(&belt->changed);
    pthread_mutex_unlock(&belt->lock);
}

// ---- the saver's thread

void pawl_belt_name(struct pawl_belt *belt, const struct pawl_attempt *attempt)
{
    pawl_layout_identify(belt->layout, belt->header, attempt);
    pthread_mutex_lock(&belt->lock);
    belt->named = true;
    pthread_cond_broadcast(&belt->changed);
    pthread_mutex_unlock(&belt->lock);
}

int pawl_belt_next(struct pawl_belt *belt, struct pawl_stream *stream, bool wait, uint64_t *chunk,
                   const char **bytes)
{
    int rc = 0;

    pthread_mutex_lock(&belt->lock);
    for (;;) {
        if (belt->given < belt->filled) check_owner(belt, belt->given);
        // Asked once more after the last chunk was written, so this is the last word, too.
        if (belt->broken) {
            rc = pawl_fail(PAWL_EDEVICE, "the snapshot could not be taken: %s", belt->broken);
            break;
        }
        if (belt->given < belt->filled) {
            *chunk = belt->given++;
            *bytes = belt->memory + *chunk % belt->slots * PAWL_CHUNK_BYTES;
            rc = 1;
            break;
        }
        if (has_room(belt)) {
            fill(belt, stream);
            continue;
        }
        if (!wait || belt->given == belt->chunks) break;
        pthread_cond_wait(&belt->changed, &belt->lock);
    }
    pthread_mutex_unlock(&belt->lock);
    return rc;
}

void pawl_belt_ahead(struct pawl_belt *belt, struct pawl_stream *stream)
{
    pthread_mutex_lock(&belt->lock);
    if (!belt->broken && has_room(belt)) fill(belt, stream);
    pthread_mutex_unlock(&belt->lock);
}

void pawl_belt_written(struct pawl_belt *belt, uint64_t chunk)
{
    pthread_mutex_lock(&belt->lock);
    check_owner(belt, chunk);
    belt->busy[chunk % belt->slots] = false;
    pthread_cond_broadcast(&belt->changed);
    pthread_mutex_unlock(&belt->lock);
}

bool pawl_belt_is_filled(struct pawl_belt *belt)
{
    pthread_mutex_lock(&belt->lock);
    const bool filled = belt->filled == belt->chunks && !belt->broken;
    pthread_mutex_unlock(&belt->lock);
    return filled;
}

void pawl_belt_break(struct pawl_belt *belt, const char *why)
{
    pthread_mutex_lock(&belt->lock);
    if (!belt->broken) belt->broken = why;
    pthread_cond_broadcast(&belt->changed);
    pthread_mutex_unlock(&belt->lock);
}
