// persist.c - the saver's thread: from a full ring to a durable snapshot, then retention.

#include "checkpoint/saver_private.h"

#include <linux/ioprio.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <jansson.h>

#include "checkpoint/retain.h"
#include "kernels/io.h"
#include "kernels/thread.h"

enum { NICE = 10, SMALL_FILES_BYTES = 1 << 20 };

// Storage time goes to others first, unless somebody waits for this snapshot.
static void set_priority(bool urgent)
{
    const int idle = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0);
    const int best = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4);

    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, urgent ? best : idle);
}

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
    json_t *root = json_loadb(object->bytes, object->size, JSON_REJECT_DUPLICATES, &error);
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
    const struct pawl_request *request = &saver->request;
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
    const uint64_t step = saver->request.step;

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

// The one place where ranks will meet: each sends its receipt, the coordinator gathers them. With
// one rank there is nothing to send.
static int write_and_commit(struct pawl_saver *saver)
{
    const struct pawl_shard shard = { saver->commit.attempt, 0, 1, saver->ring.memory,
                                      saver->layout.file_bytes, saver->sums,
                                      &saver->written };
    struct pawl_receipt receipt;

    pawl_layout_identify(&saver->layout, saver->ring.memory, &saver->commit.attempt);
    int rc = pawl_shard_write(&receipt, saver->commit.directory, &shard);
    if (rc) return rc;
    saver->manifest.epoch = saver->request.epoch;
    saver->manifest.metric = saver->request.metric;
    return pawl_commit_finish(&saver->commit, &saver->manifest, &receipt, &saver->document);
}

static int write_snapshot(struct pawl_saver *saver)
{
    struct pawl_save_event *event = &saver->request.event;

    if (!saver->in_passing) {
        const int rc = pawl_stream_wait(saver->stream);
        event->copy_end_ns = pawl_io()->now_ns();
        if (rc) return rc;
        event->state = PAWL_SAVE_TAKEN;
        pawl_events_put(&saver->thread_events, event);
    }
    event->write_start_ns = pawl_io()->now_ns();
    atomic_store_explicit(&saver->written, 0, memory_order_relaxed);
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

static void persist(struct pawl_saver *saver)
{
    struct pawl_save_event *event = &saver->request.event;

    set_priority(saver->request.urgent);
    const int rc = write_snapshot(saver);
    event->write_end_ns = pawl_io()->now_ns();
    if (saver->request.urgent) event->stall_ns = event->write_end_ns - event->asked_ns;
    event->state = rc ? PAWL_SAVE_FAILED : PAWL_SAVE_DURABLE;
    if (rc) snprintf(event->error, sizeof(event->error), "%s", pawl_error());
    pawl_events_put(&saver->thread_events, event);
    pawl_saver_end(saver, rc, rc ? event->error : "");
    // From here on the request and the ring are the trainer's again.
    if (!rc) (void)pawl_retain(saver->where, &saver->keep, &saver->lease, was_skipped, saver);
}

void *pawl_persist_thread(void *context)
{
    struct pawl_saver *saver = context;

    pawl_thread_name("pawl-save");
    // Only this thread's: on Linux the number 0 and the name PRIO_PROCESS mean the calling thread.
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    for (;;) {
        while (sem_wait(&saver->work))
            continue;
        if (atomic_load_explicit(&saver->state, memory_order_acquire) == PAWL_WRITING)
            persist(saver);
        if (atomic_load(&saver->closing)
            && atomic_load_explicit(&saver->state, memory_order_acquire) != PAWL_WRITING)
            return NULL;
    }
}
