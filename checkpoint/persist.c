// persist.c - the saver's thread: from a full ring to a durable snapshot, then retention.

#include "checkpoint/saver_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "checkpoint/retain.h"
#include "kernels/io.h"
#include "kernels/thread.h"

enum { SMALL_FILES_BYTES = 1 << 20 };

// ---- the document

static int add_object(struct pawl_text *text, const char *name, const struct pawl_text *object)
{
    json_error_t error;

    pawl_text_format(text, ",\n\"%s\":", name);
    if (!object->size) {
        pawl_text_format(text, "null");
        return 0;
    }
    // What cannot be read back must not be committed.
    json_t *root = json_loadb(object->bytes, object->size,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    const bool fine = json_is_object(root);
    json_decref(root);
    if (!fine)
        return pawl_fail(PAWL_EINVAL, "%s is not a JSON object: %s", name,
                         root ? "another kind of value" : error.text);
    pawl_text_add(text, object->bytes, object->size);
    return 0;
}

static int write_document(struct pawl_saver *saver)
{
    const struct pawl_request *request = saver->current;
    struct pawl_text *text = &saver->document;

    pawl_text_clear(text);
    pawl_text_format(text, "{\"pawl\":1,\n\"step\":%llu,\n\"epoch\":",
                     (unsigned long long)request->step);
    if (request->epoch < 0)
        pawl_text_format(text, "null");
    else
        pawl_text_format(text, "%lld", (long long)request->epoch);
    pawl_text_format(text, ",\n\"loss\":");
    pawl_text_number(text, request->loss);
    pawl_text_format(text, ",\n\"metric\":");
    pawl_text_number(text, request->metric);
    pawl_text_format(text, ",\n\"architecture\":");
    const char *architecture = saver->architecture ? saver->architecture : "null";
    pawl_text_add(text, architecture, strlen(architecture));
    int rc = add_object(text, "training", &request->training);
    if (!rc) rc = add_object(text, "metadata", &request->metadata);
    if (rc) return rc;
    pawl_text_format(text, ",\n\"tensors\":");
    pawl_text_add(text, saver->layout.index.bytes, saver->layout.index.size);
    pawl_text_format(text, "}\n");
    return pawl_text_check(text);
}

// ---- one snapshot

// A name is used once: after a failure, or to save a step again, comes a new epoch.
static int prepare(struct pawl_saver *saver)
{
    const uint64_t step = saver->current->step;

    int rc = write_document(saver);
    if (rc) return rc;
    if (atomic_load(&saver->renew) || (saver->attempted && step <= saver->attempted_step)) {
        rc = pawl_lease_check(&saver->lease);
        if (!rc) rc = pawl_lease_renew(&saver->lease);
        if (rc) return rc;
        atomic_store(&saver->renew, false);
    }
    saver->attempted = true;
    saver->attempted_step = step;
    return pawl_commit_begin(&saver->commit, step, saver->layout.file_bytes + SMALL_FILES_BYTES);
}

// Nobody waits: storage serves others first.
static void set_priority(struct pawl_saver *saver)
{
    const bool idle = !saver->current->urgent
                      && !atomic_load_explicit(&saver->hurry, memory_order_relaxed);

    pawl_transfers_idle_self(idle);
    pawl_transfers_idle(saver->transfers, idle);
}

// This thread's CPU time since the last call is that cause's.
static void charge(struct pawl_saver *saver, _Atomic int64_t *cause)
{
    const int64_t ns = pawl_thread_cpu_ns();

    atomic_fetch_add_explicit(cause, ns - saver->cpu_since_ns, memory_order_relaxed);
    saver->cpu_since_ns = ns;
}

// ---- the chunks that are to be written

static void release_frame(struct pawl_saver *saver)
{
    const uint64_t ended = atomic_load_explicit(&saver->ended, memory_order_relaxed);

    atomic_store_explicit(&saver->released, ended + 1, memory_order_release);
}

// Before storage gets a chunk and after it has it; what reads the bytes lies between the two.
static void look_at_frame(struct pawl_saver *saver)
{
    const struct pawl_request *request = saver->current;

    if (!pawl_ring_holds(&saver->ring, request->frame, request->generation)) saver->reused = true;
}

static int check_reused(const struct pawl_saver *saver)
{
    return saver->reused ? pawl_fail(PAWL_EDEVICE, "the host copy was reused for another snapshot "
                                     "while it was written") : 0;
}

static void add_copying(struct pawl_saver *saver, int64_t start)
{
    atomic_fetch_add_explicit(&saver->copy_cpu_ns, pawl_thread_cpu_ns() - start,
                              memory_order_relaxed);
}

static int next(void *context, bool wait, uint64_t *chunk, const char **bytes)
{
    struct pawl_saver *saver = context;
    const uint64_t count = pawl_sums_chunks(saver->layout.file_bytes);

    if (atomic_load_explicit(&saver->hurry, memory_order_relaxed)) set_priority(saver);
    if (!saver->ring.frames) {
        const int64_t start = pawl_thread_cpu_ns();
        const int rc = pawl_belt_next(&saver->belt, saver->in_passing ? NULL
                                      : saver->lane[0].stream, wait, chunk, bytes);
        add_copying(saver, start);
        return rc;
    }
    if (saver->next_chunk == count) return 0;
    look_at_frame(saver);
    if (saver->reused) return check_reused(saver);
    *chunk = saver->next_chunk++;
    *bytes = pawl_ring_frame(&saver->ring, saver->current->frame) + (*chunk << PAWL_CHUNK_LOG2);
    return 1;
}

// When the belt has passed the last of the state, the snapshot is taken.
static void tell_taken(struct pawl_saver *saver)
{
    struct pawl_save_event event = saver->current->event;

    if (saver->told_taken) return;
    saver->told_taken = true;
    saver->current->event.copy_end_ns = event.copy_end_ns = pawl_io()->now_ns();
    event.state = PAWL_SAVE_TAKEN;
    event.stall_ns = atomic_load_explicit(&saver->current->stall_ns, memory_order_relaxed);
    pawl_saver_mark(saver, saver->current->mark, event.step, PAWL_STEP_TAKEN);
    pawl_events_put(&saver->thread_events, &event);
}

static void written(void *context, uint64_t chunk)
{
    struct pawl_saver *saver = context;

    if (!saver->ring.frames) {
        pawl_belt_written(&saver->belt, chunk);
        if (pawl_belt_is_filled(&saver->belt)) tell_taken(saver);
    } else {
        look_at_frame(saver);
    }
    if (++saver->chunks_written != pawl_sums_chunks(saver->layout.file_bytes)) return;
    saver->current->event.written_ns = pawl_io()->now_ns();
    release_frame(saver);
}

static void ahead(void *context)
{
    struct pawl_saver *saver = context;

    const int64_t start = pawl_thread_cpu_ns();

    if (saver->ring.frames) return;
    pawl_belt_ahead(&saver->belt, saver->in_passing ? NULL : saver->lane[0].stream);
    add_copying(saver, start);
}

// The one place where ranks will meet: each sends its receipt, the coordinator gathers them. With
// one rank there is nothing to send.
static int write_and_commit(struct pawl_saver *saver)
{
    const struct pawl_chunks chunks = { saver, next, written, ahead };
    const struct pawl_shard shard = { .attempt = saver->commit.attempt, .ranks = 1,
                                      .size_bytes = saver->layout.file_bytes, .sums = saver->sums,
                                      .written = &saver->written, .chunks = &chunks,
                                      .sums_cpu_ns = &saver->sums_cpu_ns,
                                      .transfers = saver->transfers };
    const struct pawl_request *request = saver->current;
    struct pawl_receipt receipt;

    if (saver->ring.frames)
        pawl_layout_identify(&saver->layout, pawl_ring_frame(&saver->ring, request->frame),
                             &saver->commit.attempt);
    else
        pawl_belt_name(&saver->belt, &saver->commit.attempt);
    charge(saver, &saver->commit_cpu_ns);
    int rc = pawl_shard_write(&receipt, saver->commit.directory, &shard);
    charge(saver, &saver->write_cpu_ns);
    if (!rc) rc = check_reused(saver);
    if (rc) return rc;
    pawl_saver_mark(saver, request->mark, request->step, PAWL_STEP_LOCAL);
    saver->manifest.epoch = request->epoch;
    saver->manifest.metric = request->metric;
    return pawl_commit_finish(&saver->commit, &saver->manifest, &receipt, &saver->document);
}

static int write_snapshot(struct pawl_saver *saver)
{
    struct pawl_save_event *event = &saver->current->event;

    if (!saver->in_passing && saver->ring.frames) {
        const int frame = saver->current->frame;
        int rc = pawl_stream_wait(saver->lane[frame].stream);
        if (!rc)
            rc = pawl_digests_check(&saver->digests, &saver->layout, frame,
                                    pawl_ring_frame(&saver->ring, frame),
                                    pawl_manifest_shard(&saver->manifest, 0));
        if (rc) return rc;
        tell_taken(saver);
    }
    event->write_start_ns = pawl_io()->now_ns();
    int rc = prepare(saver);
    if (!rc) {
        strcpy(event->path, saver->commit.directory);
        rc = write_and_commit(saver);
    }
    if (rc) {
        atomic_store(&saver->renew, true);
        return rc;
    }
    saver->manifest.has_previous = true;
    saver->manifest.previous_step = saver->commit.attempt.step;
    saver->manifest.previous_lease = saver->commit.attempt.lease;
    return 0;
}

// The last load found it damaged.
static bool was_skipped(void *context, const char *path)
{
    struct pawl_saver *saver = context;
    bool found = false;

    pthread_mutex_lock(&saver->lock);
    for (int i = 0; !found && i < saver->skip_count; i++)
        found = !strcmp(saver->skips[i].path, path);
    pthread_mutex_unlock(&saver->lock);
    return found;
}

static void end(struct pawl_saver *saver, int rc)
{
    struct pawl_save_event *event = &saver->current->event;

    event->write_end_ns = pawl_io()->now_ns();
    event->stall_ns = saver->current->urgent
                          ? event->write_end_ns - event->asked_ns
                          : atomic_load_explicit(&saver->current->stall_ns, memory_order_relaxed);
    event->state = rc ? PAWL_SAVE_FAILED : PAWL_SAVE_DURABLE;
    if (rc) snprintf(event->error, sizeof(event->error), "%s", pawl_error());
    if (rc && !saver->ring.frames) pawl_belt_break(&saver->belt, "it could not be written");
    pawl_saver_mark(saver, saver->current->mark, event->step,
                    rc ? PAWL_STEP_FAILED : PAWL_STEP_DURABLE);
    pawl_events_put(&saver->thread_events, event);
    release_frame(saver);
    atomic_store_explicit(&saver->writing, false, memory_order_relaxed);
    // From here on the request is the trainer's again.
    pawl_saver_told(saver, rc, rc ? pawl_error() : "", true);
}

static void persist(struct pawl_saver *saver)
{
    const uint64_t number = atomic_load_explicit(&saver->ended, memory_order_relaxed);

    saver->current = &saver->request[number % PAWL_REQUESTS];
    saver->next_chunk = saver->chunks_written = 0;
    saver->told_taken = false;
    saver->reused = false;
    atomic_store_explicit(&saver->written, 0, memory_order_relaxed);
    atomic_store_explicit(&saver->writing, true, memory_order_relaxed);
    set_priority(saver);
    const int rc = write_snapshot(saver);
    charge(saver, &saver->commit_cpu_ns);
    // Whoever waits finds everything done; nobody else waits for a hint.
    const bool urgent = saver->current->urgent;
    if (!rc && urgent) pawl_commit_hint(&saver->commit);
    end(saver, rc);
    if (rc) return;
    if (!urgent) pawl_commit_hint(&saver->commit);
    (void)pawl_retain(saver->where, &saver->keep, &saver->lease, was_skipped, saver);
    charge(saver, &saver->keep_cpu_ns);
}

void *pawl_persist_thread(void *context)
{
    struct pawl_saver *saver = context;

    pawl_thread_name("pawl-save");
    // At the trainer's own priority: what this thread takes it takes once, sooner or later, and
    // storage that waits for it makes the save longer. (At nice 5 beside a step on both of 2 cores
    // the durable rate was 0.70 of raw.)
    saver->cpu_since_ns = pawl_thread_cpu_ns();
    for (;;) {
        while (sem_wait(&saver->work))
            continue;
        // Who ends a request is this thread alone.
        const uint64_t ended = atomic_load_explicit(&saver->ended, memory_order_relaxed);
        if (ended < atomic_load_explicit(&saver->handed, memory_order_acquire))
            persist(saver);
        else if (atomic_load(&saver->closing))
            return NULL;
    }
}
