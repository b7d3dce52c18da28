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

static void add_stall(struct pawl_request *request, int64_t start)
{
    atomic_fetch_add_explicit(&request->stall_ns, now() - start, memory_order_relaxed);
}

// The one that is being taken will not be: its place is free again.
static void fail(struct pawl_saver *saver, int rc)
{
    struct pawl_save_event event = saver->taking->event;

    event.state = PAWL_SAVE_FAILED;
    event.stall_ns = atomic_load_explicit(&saver->taking->stall_ns, memory_order_relaxed);
    snprintf(event.error, sizeof(event.error), "%s", pawl_error());
    saver->due = false;
    pawl_saver_mark(saver, saver->taking->mark, event.step, PAWL_STEP_FAILED);
    saver->begun--;
    pawl_events_put(&saver->own, &event);
    pawl_saver_told(saver, rc, event.error, false);
}

static uint64_t new_mark(struct pawl_saver *saver, uint64_t step, enum pawl_step_state state)
{
    const uint64_t mark = atomic_load_explicit(&saver->marks, memory_order_relaxed);

    pawl_saver_mark(saver, mark, step, state);
    atomic_store_explicit(&saver->marks, mark + 1, memory_order_release);
    return mark;
}

static int begin(struct pawl_saver *saver, const struct pawl_progress *progress, int64_t start)
{
    struct pawl_request *request = &saver->request[saver->begun % PAWL_REQUESTS];

    saver->taking = request;
    request->step = progress->step;
    request->epoch = progress->epoch;
    request->loss = progress->loss;
    request->metric = progress->metric;
    request->urgent = false;
    request->frame = saver->ring.frames ? (int)(saver->begun % (uint64_t)saver->ring.frames) : 0;
    atomic_store_explicit(&request->stall_ns, 0, memory_order_relaxed);
    memset(&request->event, 0, sizeof(request->event));
    request->event.step = progress->step;
    request->event.bytes = saver->layout.file_bytes;
    request->event.asked_ns = start;
    request->mark = new_mark(saver, progress->step, PAWL_STEP_TAKING);
    saver->begun++;
    int rc = copy_string(&request->training, progress->training);
    if (!rc) rc = copy_string(&request->metadata, progress->metadata);
    if (rc) fail(saver, rc);
    saver->fenced = false;
    request->generation = ++saver->generations;
    if (saver->ring.frames)
        pawl_ring_begin(&saver->ring, request->frame, request->generation);
    else
        pawl_belt_begin(&saver->belt, request->generation);
    return rc;
}

// The saver's thread goes on, with the ring's frame complete or with the belt.
static void hand_over(struct pawl_saver *saver, bool taken)
{
    saver->due = false;
    if (taken) {
        struct pawl_save_event event = saver->taking->event;
        event.state = PAWL_SAVE_TAKEN;
        event.stall_ns = atomic_load_explicit(&saver->taking->stall_ns, memory_order_relaxed);
        pawl_saver_mark(saver, saver->taking->mark, event.step, PAWL_STEP_TAKEN);
        pawl_events_put(&saver->own, &event);
    }
    atomic_store_explicit(&saver->handed, saver->begun, memory_order_release);
    sem_post(&saver->work);
}

// A stream that failed has skipped the copies: what is in the ring is not the state.
static void complete(struct pawl_saver *saver, const struct pawl_stream *stream)
{
    saver->taking->event.copy_end_ns = now();
    if (stream->fault)
        fail(saver, pawl_fail(PAWL_EDEVICE, "the snapshot could not be taken: %s",
                              stream->reason ? stream->reason : "the device had failed"));
    else
        hand_over(saver, true);
}

static void start_copy(struct pawl_saver *saver)
{
    if (!saver->taking->event.copy_start_ns) saver->taking->event.copy_start_ns = now();
}

// ---- the ways: in passing, on the copy stream, over the belt

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
    struct pawl_request *request = saver->taking;
    const struct pawl_lane *lane = &saver->lane[request->frame];

    start_copy(saver);
    pawl_device_phase(saver->device, "snapshot");
    pawl_digests_take(&saver->digests, &saver->layout, request->frame, stream);
    pawl_event_record(lane->asked, stream);
    pawl_event_before(lane->asked, lane->stream);
    if (saver->ring.frames) {
        pawl_ring_copy_rest(&saver->ring, &saver->layout, lane->stream);
        pawl_event_record(lane->copied, lane->stream);
    }
    pawl_device_phase(saver->device, NULL);
    add_stall(request, request->event.asked_ns);
    hand_over(saver, false);
    saver->due = true;  // for the fence
}

// From here on the saver's thread may be writing: only stall_ns of the request is ours.
static void start_belt(struct pawl_saver *saver, struct pawl_stream *stream)
{
    if (!saver->in_passing) {
        queue_copy(saver, stream);
        return;
    }
    start_copy(saver);
    add_stall(saver->taking, saver->taking->event.asked_ns);
    hand_over(saver, false);
    saver->due = true;
}

static void finish_belt(struct pawl_saver *saver, struct pawl_stream *stream)
{
    const int64_t start = now();

    pawl_belt_finish(&saver->belt, stream);
    add_stall(saver->taking, start);
    saver->due = false;
}

void pawl_saver_fence(struct pawl_saver *saver, struct pawl_stream *stream)
{
    if (!saver->due) return;
    if (!saver->ring.frames) {
        finish_belt(saver, stream);
        return;
    }
    if (!saver->in_passing) {
        pawl_event_before(saver->lane[saver->taking->frame].copied, stream);
        saver->due = false;
        return;
    }
    if (saver->fenced) return;
    const int64_t start = now();
    copy_at_once(saver, stream);
    add_stall(saver->taking, start);
    if (!saver->ring.handed_count) complete(saver, stream);
}

void *pawl_saver_passing(struct pawl_saver *saver, const void *memory, size_t bytes)
{
    if (!saver->due || !saver->in_passing || saver->fenced || !saver->ring.frames) return NULL;
    start_copy(saver);
    return pawl_ring_hand(&saver->ring, &saver->layout, memory, bytes);
}

void pawl_saver_passed(struct pawl_saver *saver, struct pawl_stream *stream)
{
    if (!saver->due || !saver->in_passing) return;
    if (saver->fenced && saver->ring.frames)
        complete(saver, stream);
    else if (saver->ring.frames)
        fail(saver, pawl_fail(PAWL_EINVAL, "pawl_saver_passed without pawl_saver_fence: part of "
                              "the state may have been overwritten"));
    else
        pawl_belt_break(&saver->belt, "pawl_saver_passed came without pawl_saver_fence");
}

void pawl_take_finish(struct pawl_saver *saver)
{
    if (!saver->due) return;
    if (!saver->ring.frames) {
        saver->due = false;  // the saver's thread takes what is left before the caller goes on
        return;
    }
    if (!saver->in_passing) return;
    // Between passing and passed nobody can know which bytes hold old values.
    if (saver->ring.handed_count) {
        fail(saver, pawl_fail(PAWL_EINVAL, "the snapshot of step %llu was interrupted between "
                              "passing and passed", (unsigned long long)saver->taking->step));
        return;
    }
    struct pawl_stream *stream = saver->lane[saver->taking->frame].stream;
    copy_at_once(saver, stream);
    complete(saver, stream);
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

    saver->skipped++;
    (void)new_mark(saver, step, PAWL_STEP_SKIPPED);
    snprintf(event.error, sizeof(event.error), "an earlier snapshot is still on its way");
    event.stall_ns = now() - start;
    pawl_events_put(&saver->own, &event);
    return pawl_fail(PAWL_EBUSY, "step %llu was not saved: %s", (unsigned long long)step,
                     event.error);
}

// Whether the ring has a place for another snapshot, and the queue for another request.
static bool has_place(const struct pawl_saver *saver)
{
    const uint64_t frames = saver->ring.frames ? (uint64_t)saver->ring.frames : 1;
    const uint64_t handed = atomic_load_explicit(&saver->handed, memory_order_relaxed);

    if (saver->begun != handed || (saver->due && !saver->ring.frames)) return false;
    return handed - atomic_load_explicit(&saver->ended, memory_order_acquire) < PAWL_REQUESTS
           && handed - atomic_load_explicit(&saver->released, memory_order_acquire) < frames;
}

int pawl_saver_save(struct pawl_saver *saver, struct pawl_stream *stream,
                    const struct pawl_progress *progress)
{
    const int64_t start = now();

    if (saver->mode == PAWL_MODE_OFF) return 0;
    if (saver->mode == PAWL_MODE_SYNC) return pawl_saver_save_now(saver, stream, progress);
    const int rc = check(saver, progress);
    if (rc) return rc;
    if (!has_place(saver)) return skip(saver, progress->step, start);
    // One that was not fenced yet: the fence to come is for the new one.
    if (saver->due) pawl_saver_fence(saver, stream);
    if (begin(saver, progress, start)) return 0;  // its event says why
    if (!saver->ring.frames) {
        start_belt(saver, stream);
    } else if (!saver->in_passing) {
        queue_copy(saver, stream);
    } else {
        saver->due = true;
        add_stall(saver->taking, start);
    }
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
    saver->taking->urgent = true;
    if (!saver->ring.frames) {
        start_belt(saver, stream);
        pawl_take_finish(saver);
    } else if (!saver->in_passing) {
        queue_copy(saver, stream);
    } else {
        copy_at_once(saver, stream);
        complete(saver, stream);
    }
    return pawl_saver_await(saver);
}
