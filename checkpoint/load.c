// load.c - fills the state from the newest snapshot that is whole.

#include "checkpoint/saver_private.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/recover.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { PAGE = 4096, LIST_TRIES = 8, READ_TRIES = 3, FIRST_PAUSE_NS = 10000000 };

// ---- what was passed over

void pawl_load_forget(struct pawl_saver *saver)
{
    pthread_mutex_lock(&saver->lock);
    for (int i = 0; i < saver->skip_count; i++) {
        pawl_free(saver->skips[i].path);
        pawl_free(saver->skips[i].why);
    }
    pawl_free(saver->skips);
    saver->skips = NULL;
    saver->skip_count = 0;
    pthread_mutex_unlock(&saver->lock);
}

static int pass_over(struct pawl_saver *saver, const struct pawl_snapshot *snapshot,
                     const char *why)
{
    struct pawl_skip skip = { .step = snapshot->step };

    pthread_mutex_lock(&saver->lock);
    int rc = pawl_realloc(&saver->skips,
                          ((size_t)saver->skip_count + 1) * sizeof(*saver->skips), "skips");
    if (!rc) rc = pawl_strdup(&skip.path, snapshot->path);
    if (!rc) rc = pawl_strdup(&skip.why, why);
    if (rc)
        pawl_free(skip.path);
    else
        saver->skips[saver->skip_count++] = skip;
    pthread_mutex_unlock(&saver->lock);
    return rc;
}

bool pawl_saver_skipped(const struct pawl_saver *saver, int i, uint64_t *step, const char **path,
                        const char **why)
{
    if (i < 0 || i >= saver->skip_count) return false;
    *step = saver->skips[i].step;
    *path = saver->skips[i].path;
    *why = saver->skips[i].why;
    return true;
}

// ---- into the tensors

// The pieces of one shard by offset, and who takes chunks of it.
struct landing {
    struct pawl_saver *saver;
    struct pawl_stream *stream;
    struct pawl_stretch *pieces;
    size_t count, room;
    pthread_mutex_t lock;  // guards stream
};

static int add_piece(struct landing *landing, uint64_t offset, uint64_t size, char *memory)
{
    if (landing->count == landing->room) {
        const size_t room = landing->room ? 2 * landing->room : 64;
        const int rc = pawl_realloc(&landing->pieces, room * sizeof(*landing->pieces), "pieces");
        if (rc) return rc;
        landing->room = room;
    }
    landing->pieces[landing->count++] = (struct pawl_stretch){ memory, offset, size };
    return 0;
}

// The pieces of one tensor: in order, without gap, together all of it. Those in file are added.
static int find_pieces(struct landing *landing, const struct pawl_part *part,
                       const json_t *pieces, const char *file)
{
    const size_t element = pawl_dtype_bytes(part->tensor.dtype);
    const json_t *piece;
    uint64_t done = 0;
    size_t i;

    json_array_foreach(pieces, i, piece) {
        const char *in = json_string_value(json_object_get(piece, "file"));
        const uint64_t size = (uint64_t)json_integer_value(json_object_get(piece, "bytes"));
        const uint64_t from = (uint64_t)json_integer_value(json_object_get(piece, "offset"));
        const json_int_t start = json_integer_value(json_object_get(piece, "start"));
        if (start < 0 || (uint64_t)start * element != done
            || size > part->tensor.size_bytes - done)
            break;
        const int rc = !size || strcmp(in, file)
                           ? 0 : add_piece(landing, from, size, part->memory + done);
        if (rc) return rc;
        done += size;
    }
    if (done == part->tensor.size_bytes) return 0;
    return pawl_fail(PAWL_ECORRUPT, "tensor %s: its pieces do not make a whole", part->tensor.name);
}

static int by_offset(const void *a, const void *b)
{
    const uint64_t x = ((const struct pawl_stretch *)a)->offset_bytes;
    const uint64_t y = ((const struct pawl_stretch *)b)->offset_bytes;

    return x < y ? -1 : x > y;
}

// What lies side by side in the file and in memory is one copy. Nothing may lie in two: then a
// chunk's pieces would not be neighbours, and some would be missed.
static int join_pieces(struct landing *landing)
{
    size_t count = 0;

    if (landing->count)
        qsort(landing->pieces, landing->count, sizeof(*landing->pieces), by_offset);
    for (size_t i = 0; i < landing->count; i++) {
        struct pawl_stretch *last = count ? &landing->pieces[count - 1] : NULL;
        const struct pawl_stretch *piece = &landing->pieces[i];
        if (last && last->offset_bytes + last->size_bytes > piece->offset_bytes)
            return pawl_fail(PAWL_ECORRUPT, "two tensors have the same bytes of a file, at %llu",
                             (unsigned long long)piece->offset_bytes);
        if (last && last->offset_bytes + last->size_bytes == piece->offset_bytes
            && last->memory + last->size_bytes == piece->memory)
            last->size_bytes += piece->size_bytes;
        else
            landing->pieces[count++] = *piece;
    }
    landing->count = count;
    return 0;
}

static int find_landing(struct landing *landing, const json_t *document, const char *file)
{
    const json_t *tensor;
    size_t i;

    landing->count = 0;
    json_array_foreach(json_object_get(document, "tensors"), i, tensor) {
        const struct pawl_part *part = pawl_layout_find(
            &landing->saver->layout, json_string_value(json_object_get(tensor, "name")));
        const int rc = find_pieces(landing, part, json_object_get(tensor, "pieces"), file);
        if (rc) return rc;
    }
    return join_pieces(landing);
}

// The first piece that ends after offset.
static size_t piece_after(const struct landing *landing, uint64_t offset)
{
    size_t low = 0, high = landing->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (landing->pieces[middle].offset_bytes + landing->pieces[middle].size_bytes <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// On the host each reader copies what it has just summed. Elsewhere one at a time queues copies,
// and waits for them, because its memory is the next chunk's.
static int take_chunk(void *context, uint64_t offset, const char *bytes, size_t size)
{
    struct landing *landing = context;
    const bool host = landing->saver->in_passing;
    const uint64_t end = offset + size;
    int rc = 0;

    if (!host) pthread_mutex_lock(&landing->lock);
    for (size_t i = piece_after(landing, offset);
         i < landing->count && landing->pieces[i].offset_bytes < end; i++) {
        const struct pawl_stretch *piece = &landing->pieces[i];
        const uint64_t from = piece->offset_bytes > offset ? piece->offset_bytes : offset;
        const uint64_t piece_end = piece->offset_bytes + piece->size_bytes;
        const uint64_t to = piece_end < end ? piece_end : end;
        char *out = piece->memory + (from - piece->offset_bytes);
        if (host)
            memcpy(out, bytes + (from - offset), to - from);
        else
            pawl_stream_copy(landing->stream, out, bytes + (from - offset), to - from);
    }
    if (!host) {
        rc = pawl_stream_wait(landing->stream);
        pthread_mutex_unlock(&landing->lock);
    }
    return rc;
}

// On the host a chunk inside one tensor (or slab) whose address in memory is as far into a
// page as in the file needs no copy: storage writes it where it belongs.
static char *place_chunk(void *context, uint64_t offset, size_t size)
{
    const struct landing *landing = context;
    const size_t i = piece_after(landing, offset);

    if (!landing->saver->in_passing || i == landing->count) return NULL;
    const struct pawl_stretch *piece = &landing->pieces[i];
    if (piece->offset_bytes > offset || piece->offset_bytes + piece->size_bytes < offset + size)
        return NULL;
    char *to = piece->memory + (offset - piece->offset_bytes);
    return (uintptr_t)to % PAGE ? NULL : to;
}

static int check_digests(const struct landing *landing, const char *directory,
                         const struct pawl_manifest_file *shard)
{
    const struct pawl_ring *ring = &landing->saver->ring;
    const struct pawl_landed landed = {
        .device = landing->saver->device, .stream = landing->stream, .pieces = landing->pieces,
        .piece_count = landing->count, .room = ring->memory,
        .room_bytes = ring->size_bytes < PAWL_CHUNK_BYTES ? ring->size_bytes : PAWL_CHUNK_BYTES };
    char path[PAWL_PATH_MAX];

    const int rc = pawl_path_join(path, directory, shard->name);
    return rc ? rc : pawl_digests_landed(&landed, shard, path);
}

static int read_shards(struct pawl_saver *saver, struct pawl_stream *stream,
                       const char *directory, const json_t *document,
                       const struct pawl_manifest *manifest)
{
    struct landing landing = { .saver = saver, .stream = stream };
    const struct pawl_sink sink = { &landing, take_chunk, place_chunk, saver->ring.memory,
                                    (int)(saver->ring.size_bytes >> PAWL_CHUNK_LOG2) };
    int rc = pawl_stream_wait(stream);

    pthread_mutex_init(&landing.lock, NULL);
    for (int rank = 0; !rc && rank < manifest->ranks; rank++) {
        rc = find_landing(&landing, document, manifest->files[1 + 2 * rank].name);
        if (!rc) rc = pawl_shard_read(directory, manifest, rank, &sink);
        if (!rc) rc = check_digests(&landing, directory, &manifest->files[1 + 2 * rank]);
    }
    pthread_mutex_destroy(&landing.lock);
    pawl_free(landing.pieces);
    return rc;
}

// ---- the rest of the document

static int keep_object(struct pawl_text *out, const json_t *object)
{
    pawl_text_clear(out);
    if (!json_is_object(object)) return 0;
    pawl_text_json(out, object);
    return pawl_text_check(out);
}

static double number(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int read_progress(struct pawl_saver *saver, const json_t *document,
                         struct pawl_progress *out)
{
    const json_t *step = json_object_get(document, "step");
    const json_t *epoch = json_object_get(document, "epoch");
    struct pawl_progress progress = {
        .step = (uint64_t)json_integer_value(step),
        .epoch = json_is_integer(epoch) ? (int64_t)json_integer_value(epoch) : -1,
        .loss = number(json_object_get(document, "loss")),
        .metric = number(json_object_get(document, "metric")),
    };

    int rc = keep_object(&saver->loaded_training, json_object_get(document, "training"));
    if (!rc) rc = keep_object(&saver->loaded_metadata, json_object_get(document, "metadata"));
    if (rc) return rc;
    if (saver->loaded_training.size) progress.training = saver->loaded_training.bytes;
    if (saver->loaded_metadata.size) progress.metadata = saver->loaded_metadata.bytes;
    *out = progress;
    return 0;
}

// ---- one snapshot, and the choice among them

// *fits: the words of a failure are about the snapshot and not about this state.
static int read_once(struct pawl_saver *saver, struct pawl_stream *stream, const char *path,
                     struct pawl_progress *progress, bool *fits)
{
    struct pawl_manifest manifest;
    json_t *document = NULL;

    *fits = true;
    int rc = pawl_recover_manifest(&manifest, path);
    if (rc) return rc;
    if (!saver->read_only) rc = pawl_recover_settle(saver->where, path);
    if (!rc) rc = pawl_recover_document(&document, path, &manifest);
    if (rc) goto out;
    rc = pawl_recover_match(document, &saver->layout, path);
    if (rc) {
        *fits = false;
        goto out;
    }
    rc = read_shards(saver, stream, path, document, &manifest);
    if (!rc) rc = read_progress(saver, document, progress);
    if (rc) goto out;
    saver->manifest.has_previous = true;
    saver->manifest.previous_step = manifest.attempt.step;
    saver->manifest.previous_lease = manifest.attempt.lease;
    // What this process saved before it went back may hold the names of the steps to come.
    if (saver->attempted) atomic_store(&saver->renew, true);
out:
    json_decref(document);
    pawl_manifest_free(&manifest);
    return rc;
}

// An error of the storage may pass; going back a step costs more than a moment's wait.
static int read_snapshot(struct pawl_saver *saver, struct pawl_stream *stream, const char *path,
                         struct pawl_progress *progress, bool *fits)
{
    int rc = read_once(saver, stream, path, progress, fits);

    for (int i = 1, pause = FIRST_PAUSE_NS; i < READ_TRIES && rc == PAWL_EIO; i++, pause *= 4) {
        pawl_io()->sleep_ns(pause);
        rc = read_once(saver, stream, path, progress, fits);
    }
    return rc;
}

// Whether a failure is the snapshot's own, so that an older one may do.
static bool is_its_own(int rc, bool fits)
{
    return fits && (rc == PAWL_ECORRUPT || rc == PAWL_EIO || rc == PAWL_ENOTSUP);
}

static int nothing_whole(const struct pawl_saver *saver, const struct pawl_run *run,
                         bool unreadable)
{
    if (!run->commit_traced)
        return pawl_fail(PAWL_ENONE, "%s holds no snapshot (%d never committed)", saver->where,
                         run->count);
    return pawl_fail(unreadable ? PAWL_EIO : PAWL_ECORRUPT, "%s: no snapshot is whole%s%s",
                     saver->where, saver->skip_count ? "; the newest: " : ", only a trace of one",
                     saver->skip_count ? saver->skips[0].why : "");
}

// *vanished: a snapshot was removed while we looked, by the process that trains; list again.
static int load_newest(struct pawl_saver *saver, struct pawl_stream *stream,
                       const struct pawl_run *run, struct pawl_progress *progress, bool *vanished)
{
    bool unreadable = false, fits;

    for (int i = 0; i < run->count; i++) {
        const struct pawl_snapshot *snapshot = &run->snapshots[i];
        if (snapshot->state == PAWL_UNCOMMITTED) continue;
        int rc = read_snapshot(saver, stream, snapshot->path, progress, &fits);
        *vanished = rc && pawl_recover_gone(snapshot->path);
        if (*vanished || !rc || !is_its_own(rc, fits)) return rc;
        unreadable |= rc == PAWL_EIO;
        rc = pass_over(saver, snapshot, pawl_error());
        if (rc) return rc;
    }
    return nothing_whole(saver, run, unreadable);
}

static int load_step(struct pawl_saver *saver, struct pawl_stream *stream,
                     const struct pawl_run *run, uint64_t step, struct pawl_progress *progress)
{
    int rc = PAWL_ENONE;
    bool fits;

    for (int i = 0; i < run->count; i++) {
        const struct pawl_snapshot *snapshot = &run->snapshots[i];
        if (snapshot->step != step || snapshot->state == PAWL_UNCOMMITTED) continue;
        rc = read_snapshot(saver, stream, snapshot->path, progress, &fits);
        if (!is_its_own(rc, fits)) return rc;
    }
    if (rc != PAWL_ENONE) return rc;
    return pawl_fail(PAWL_ENONE, "%s holds no snapshot of step %llu", saver->where,
                     (unsigned long long)step);
}

static int load(struct pawl_saver *saver, struct pawl_stream *stream, const uint64_t *step,
                struct pawl_progress *progress)
{
    bool vanished = true;

    int rc = pawl_saver_ready(saver);
    if (rc) return rc;
    pawl_take_finish(saver);
    pawl_saver_await(saver);
    for (int i = 0; vanished && i < LIST_TRIES; i++) {
        struct pawl_run run = { 0 };
        vanished = false;
        pawl_load_forget(saver);
        rc = pawl_run_list(&run, saver->where);
        if (rc) return rc;
        rc = step ? load_step(saver, stream, &run, *step, progress)
                  : load_newest(saver, stream, &run, progress, &vanished);
        pawl_run_free(&run);
    }
    if (vanished)
        return pawl_fail(PAWL_EIO, "%s: snapshots vanish faster than they can be read",
                         saver->where);
    return rc;
}

int pawl_saver_load(struct pawl_saver *saver, struct pawl_stream *stream,
                    struct pawl_progress *progress)
{
    return load(saver, stream, NULL, progress);
}

int pawl_saver_load_step(struct pawl_saver *saver, struct pawl_stream *stream, uint64_t step,
                         struct pawl_progress *progress)
{
    return load(saver, stream, &step, progress);
}
