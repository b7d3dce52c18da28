// take.c - the trainer's side of a save: asking, handing out, copying, fencing. Nothing here waits
// for storage, except where the caller asked to, and nothing allocates, except for training or
// metadata strings that are longer than any before.

#include "checkpoint/saver_private.h"

#include <stdio.h>
#include <string.h>

#include "kernels/io.h"

static int64_t now(void)
{
    return pawl_io()->now_ns();
}

// ---- a save's first and last moments on this side

static int copy_string(struct pawl_text *to, const char *from)
{
    pawl_text_clear(to);
    if (from) pawl_text_add(to, from, strlen(from));
    return pawl_text_check(to);
}

static void fail(struct pawl_saver *saver, int rc)
{
    struct pawl_save_event event = saver->request.event;

    event.state = PAWL_SAVE_FAILED;
    snprintf(event.error, sizeof(event.error), "%s", pawl_error());
    saver->due = false;
    pawl_events_put(&saver->own, &event);
    pawl_saver_end(saver, rc, event.error);
}

static int begin(struct pawl_saver *saver, const struct pawl_progress *progress, int64_t start)
{
    struct pawl_request *request = &saver->request;

    atomic_store_explicit(&saver->state, PAWL_TAKING, memory_order_relaxed);
    request->step = progress->step;
    request->epoch = progress->epoch;
    request->loss = progress->loss;
    request->metric = progress->metric;
    request->urgent = false;
    memset(&request->event, 0, sizeof(request->event));
    request->event.step = progress->step;
    request->event.bytes = saver->layout.file_bytes;
    request->event.asked_ns = start;
    int rc = copy_string(&request->training, progress->training);
    if (!rc) rc = copy_string(&request->metadata, progress->metadata);
    if (rc) fail(saver, rc);
    pawl_ring_begin(&saver->ring);
    saver->fenced = false;
    return rc;
}

// The ring is complete: the saver's thread goes on.
static void hand_over(struct pawl_saver *saver, bool taken)
{
    saver->due = false;
    if (taken) {
        struct pawl_save_event event = saver->request.event;
        event.state = PAWL_SAVE_TAKEN;
        pawl_events_put(&saver->own, &event);
    }
    atomic_store_explicit(&saver->state, PAWL_WRITING, memory_order_release);
    sem_post(&saver->work);
}

// A stream that failed has skipped the copies: what is in the ring is not the state.
static void complete(struct pawl_saver *saver, const struct pawl_stream *stream)
{
    saver->request.event.copy_end_ns = now();
    if (stream->fault)
        fail(saver, pawl_fail(PAWL_EDEVICE, "the snapshot could not be taken: %s",
                              stream->reason ? stream->reason : "the device had failed"));
    else
        hand_over(saver, true);
}

static void start_copy(struct pawl_saver *saver)
{
    if (!saver->request.event.copy_start_ns) saver->request.event.copy_start_ns = now();
}

// ---- the two ways: in passing, or on the copy stream

static void copy_at_once(struct pawl_saver *saver, struct pawl_stream *stream)
{
    start_copy(saver);
    pawl_ring_copy_rest(&saver->ring, &saver->layout, stream);
    saver->fenced = true;
}

// The copy stream waits for what was queued so far and then copies; the saver's thread waits for
// it. Nothing here blocks.
static void queue_copy(struct pawl_saver *saver, struct pawl_stream *stream)
{
    start_copy(saver);
    pawl_event_record(saver->asked, stream);
    pawl_event_before(saver->asked, saver->stream);
    pawl_ring_copy_rest(&saver->ring, &saver->layout, saver->stream);
    pawl_event_record(saver->copied, saver->stream);
    saver->request.event.stall_ns = now() - saver->request.event.asked_ns;
    hand_over(saver, false);
    saver->due = true;  // for the fence
}

void pawl_saver_fence(struct pawl_saver *saver, struct pawl_stream *stream)
{
    if (!saver->due) return;
    if (!saver->in_passing) {
        pawl_event_before(saver->copied, stream);
        saver->due = false;
        return;
    }
    if (saver->fenced) return;
    const int64_t start = now();
    copy_at_once(saver, stream);
    saver->request.event.stall_ns += now() - start;
    if (!saver->ring.handed_count) complete(saver, stream);
}

void *pawl_saver_passing(struct pawl_saver *saver, const void *memory, size_t bytes)
{
    if (!saver->due || !saver->in_passing || saver->fenced) return NULL;
    start_copy(saver);
    return pawl_ring_hand(&saver->ring, &saver->layout, memory, bytes);
}

void pawl_saver_passed(struct pawl_saver *saver, struct pawl_stream *stream)
{
    if (!saver->due || !saver->in_passing) return;
    if (saver->fenced)
        complete(saver, stream);
    else
        fail(saver, pawl_fail(PAWL_EINVAL, "pawl_saver_passed without pawl_saver_fence: part of "
                              "the state may have been overwritten"));
}

void pawl_take_finish(struct pawl_saver *saver)
{
    if (!saver->due || !saver->in_passing) return;
    // Between passing and passed nobody can know which bytes hold old values.
    if (saver->ring.handed_count) {
        fail(saver, pawl_fail(PAWL_EINVAL, "the snapshot of step %llu was interrupted between "
                              "passing and passed", (unsigned long long)saver->request.step));
        return;
    }
    copy_at_once(saver, saver->stream);
    complete(saver, saver->stream);
}

// ---- asking

static int check(struct pawl_saver *saver, const struct pawl_progress *progress)
{
    if (saver->read_only) return pawl_fail(PAWL_EINVAL, "this saver was opened for reading only");
    if (progress->step > INT64_MAX) return pawl_fail(PAWL_EINVAL, "the step is out of range");
    return pawl_saver_ready(saver);
}

static int skip(struct pawl_saver *saver, uint64_t step, int64_t start)
{
    struct pawl_save_event event = { .step = step, .state = PAWL_SAVE_SKIPPED, .asked_ns = start };

    snprintf(event.error, sizeof(event.error), "an earlier snapshot is still on its way");
    event.stall_ns = now() - start;
    pawl_events_put(&saver->own, &event);
    return pawl_fail(PAWL_EBUSY, "step %llu was not saved: %s", (unsigned long long)step,
                     event.error);
}

int pawl_saver_save(struct pawl_saver *saver, struct pawl_stream *stream,
                    const struct pawl_progress *progress)
{
    const int64_t start = now();

    if (saver->mode == PAWL_MODE_OFF) return 0;
    if (saver->mode == PAWL_MODE_SYNC) return pawl_saver_save_now(saver, stream, progress);
    const int rc = check(saver, progress);
    if (rc) return rc;
    if (atomic_load_explicit(&saver->state, memory_order_acquire) != PAWL_FREE)
        return skip(saver, progress->step, start);
    if (begin(saver, progress, start)) return 0;  // its event says why
    if (!saver->in_passing) {
        queue_copy(saver, stream);
        return 0;
    }
    saver->due = true;
    saver->request.event.stall_ns = now() - start;
    return 0;
}

int pawl_saver_save_now(struct pawl_saver *saver, struct pawl_stream *stream,
                        const struct pawl_progress *progress)
{
    const int64_t start = now();

    if (saver->mode == PAWL_MODE_OFF) return 0;
    int rc = check(saver, progress);
    if (rc) return rc;
    pawl_take_finish(saver);
    pawl_saver_await(saver);
    rc = begin(saver, progress, start);
    if (rc) return rc;
    saver->request.urgent = true;
    if (!saver->in_passing) {
        queue_copy(saver, stream);
    } else {
        copy_at_once(saver, stream);
        complete(saver, stream);
    }
    return pawl_saver_await(saver);
}
