// saver.c - the life of a saver: open, add, ready, wait, poll, close.

#include "checkpoint/saver_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"

enum { STRINGS_ROOM = 64 << 10, MANIFEST_ROOM = 4096, DIGEST_ROOM = 112 };

// ---- opening

static int parse_mode(enum pawl_saver_mode *out, const char *mode)
{
    static const char *const names[] = { "async", "sync", "off" };

    *out = PAWL_MODE_ASYNC;
    for (int i = 0; mode && i < 3; i++)
        if (!strcmp(mode, names[i])) {
            *out = (enum pawl_saver_mode)i;
            return 0;
        }
    if (!mode) return 0;
    return pawl_fail(PAWL_EINVAL, "save mode '%.32s' is unknown; known: async sync off", mode);
}

// The run's directory, made when missing; its parent then knows of it for good.
static int make_directory(const char *where)
{
    char parent[PAWL_PATH_MAX];

    int rc = pawl_io()->mkdir(where, 0777);
    if (rc == -EEXIST) {
        const int fd = pawl_io()->open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (fd < 0) return pawl_io_fail(fd, "use as a run's directory:", where);
        pawl_io()->close(fd);
        return 0;
    }
    if (rc) return pawl_io_fail(rc, "create", where);
    snprintf(parent, sizeof(parent), "%s", where);
    char *end = parent + strlen(parent);
    while (end > parent + 1 && end[-1] == '/')
        *--end = 0;
    char *slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent] = 0;
    else
        strcpy(parent, ".");
    rc = pawl_io_sync_dir(parent);
    return rc ? pawl_io_fail(rc, "make durable", parent) : 0;
}

static int set_up(struct pawl_saver *saver, const struct pawl_saver_options *options)
{
    int rc = pawl_keep_parse(&saver->keep, options->keep);
    if (!rc) rc = parse_mode(&saver->mode, options->mode);
    if (rc) return rc;
    if (!options->where) return pawl_fail(PAWL_EINVAL, "a saver needs the run's directory");
    if (strlen(options->where) > PAWL_PATH_MAX - 128)
        return pawl_fail(PAWL_EINVAL, "the path of the run's directory is too long");
    rc = pawl_strdup(&saver->where, options->where);
    if (!rc && options->architecture) rc = pawl_strdup(&saver->architecture, options->architecture);
    if (rc || saver->read_only) return rc;
    rc = make_directory(saver->where);
    if (!rc) rc = pawl_lease_take(&saver->lease, saver->where);
    return rc;
}

int pawl_saver_open(struct pawl_saver **out, const struct pawl_saver_options *options,
                    struct pawl_device *device)
{
    struct pawl_saver *saver = NULL;
    pthread_condattr_t monotonic;

    int rc = pawl_alloc(&saver, sizeof(*saver), "the saver");
    if (rc) return rc;
    saver->device = device;
    saver->lease.fd = -1;
    saver->read_only = options->read_only;
    saver->digest = options->digest;
    saver->host_memory_bytes = options->host_memory_bytes;
    saver->in_passing = device->host;
    sem_init(&saver->work, 0, 0);
    pthread_mutex_init(&saver->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&saver->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    rc = set_up(saver, options);
    if (rc) {
        pawl_saver_close(saver);
        return rc;
    }
    *out = saver;
    return 0;
}

int pawl_saver_add(struct pawl_saver *saver, const char *name, void *memory,
                   enum pawl_dtype dtype, int rank, const int64_t *dim)
{
    if (saver->ready)
        return pawl_fail(PAWL_EINVAL, "tensor %s comes too late: the layout is fixed by the first "
                         "load or save", name);
    return pawl_layout_add(&saver->layout, name, memory, dtype, rank, dim);
}

// ---- getting ready

static int open_lane(struct pawl_lane *lane, struct pawl_device *device)
{
    int rc = pawl_stream_open_background(&lane->stream, device);

    if (!rc) rc = pawl_event_open(&lane->asked, device);
    if (!rc) rc = pawl_event_open(&lane->copied, device);
    return rc;
}

static int take_room(struct pawl_saver *saver)
{
    const struct pawl_layout *layout = &saver->layout;

    int rc = pawl_ring_open(&saver->ring, saver->device, layout, saver->host_memory_bytes);
    if (!rc && !saver->ring.frames)
        rc = pawl_belt_open(&saver->belt, layout, saver->ring.memory,
                            saver->ring.size_bytes >> PAWL_CHUNK_LOG2, saver->in_passing);
    if (!rc && !saver->read_only) rc = pawl_transfers_open(&saver->transfers, PAWL_SHARD_DEPTH);
    if (!rc) rc = pawl_alloc(&saver->sums, pawl_sums_bytes(layout->file_bytes), "checksums");
    if (!rc) rc = pawl_manifest_new(&saver->manifest, 1);
    if (!rc && saver->digest && !saver->in_passing && !saver->read_only)
        rc = pawl_digests_open(&saver->digests, saver->device, layout, &saver->ring,
                               pawl_manifest_shard(&saver->manifest, 0));
    if (!rc)
        rc = pawl_text_reserve(&saver->document, layout->index.size + 2 * STRINGS_ROOM
                               + (saver->architecture ? strlen(saver->architecture) : 0));
    for (int i = 0; !rc && i < PAWL_REQUESTS; i++) {
        rc = pawl_text_reserve(&saver->request[i].training, STRINGS_ROOM);
        if (!rc) rc = pawl_text_reserve(&saver->request[i].metadata, STRINGS_ROOM);
    }
    if (!rc)
        rc = pawl_text_reserve(&saver->commit.manifest, MANIFEST_ROOM
                               + (saver->digests.sums ? (size_t)layout->stretch_count : 0)
                                     * DIGEST_ROOM);
    for (int i = 0; !rc && (i < saver->ring.frames || !i); i++)
        rc = open_lane(&saver->lane[i], saver->device);
    saver->commit.where = saver->where;
    saver->commit.lease = &saver->lease;
    return rc;
}

static void drop_room(struct pawl_saver *saver)
{
    for (int i = 0; i < PAWL_FRAMES_MAX; i++) {
        pawl_event_close(saver->lane[i].asked);
        pawl_event_close(saver->lane[i].copied);
        pawl_stream_close(saver->lane[i].stream);
        saver->lane[i] = (struct pawl_lane){ 0 };
    }
    pawl_text_free(&saver->commit.manifest);
    for (int i = 0; i < PAWL_REQUESTS; i++) {
        pawl_text_free(&saver->request[i].training);
        pawl_text_free(&saver->request[i].metadata);
    }
    pawl_text_free(&saver->document);
    pawl_manifest_free(&saver->manifest);
    pawl_free(saver->sums);
    saver->sums = NULL;
    pawl_transfers_close(saver->transfers);
    saver->transfers = NULL;
    pawl_belt_close(&saver->belt);
    pawl_digests_close(&saver->digests);
    pawl_ring_close(&saver->ring);
}

// The thread takes no signals: they are the trainer's to see.
static int start_thread(struct pawl_saver *saver)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    const int error = pthread_create(&saver->thread, NULL, pawl_persist_thread, saver);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error)
        return pawl_fail(PAWL_ENOMEM, "cannot start the saver's thread: %s",
                         strerrordesc_np(error));
    saver->thread_runs = true;
    return 0;
}

int pawl_saver_ready(struct pawl_saver *saver)
{
    if (saver->ready) return 0;
    int rc = pawl_layout_finish(&saver->layout, "shard-00000.safetensors");
    if (rc) return rc;
    rc = take_room(saver);
    if (!rc && !saver->read_only) rc = start_thread(saver);
    if (rc) {
        drop_room(saver);
        return rc;
    }
    saver->ready = true;
    return 0;
}

uint64_t pawl_saver_state_bytes(const struct pawl_saver *saver)
{
    uint64_t bytes = 0;

    for (int i = 0; i < saver->layout.part_count; i++)
        bytes += saver->layout.parts[i].tensor.size_bytes;
    return bytes;
}

uint64_t pawl_saver_ring_bytes(const struct pawl_saver *saver)
{
    return saver->ring.size_bytes;
}

// ---- how saves end

void pawl_saver_told(struct pawl_saver *saver, int rc, const char *words, bool thread)
{
    pthread_mutex_lock(&saver->lock);
    saver->last_rc = rc;
    saver->untold = rc != 0;
    snprintf(saver->words, sizeof(saver->words), "%s", words);
    if (thread) atomic_fetch_add_explicit(&saver->ended, 1, memory_order_release);
    pthread_cond_broadcast(&saver->done);
    pthread_mutex_unlock(&saver->lock);
}

int pawl_saver_await(struct pawl_saver *saver)
{
    // Whoever waits wants it soon.
    atomic_store_explicit(&saver->hurry, true, memory_order_relaxed);
    pthread_mutex_lock(&saver->lock);
    while (saver->ended != saver->handed)
        pthread_cond_wait(&saver->done, &saver->lock);
    const int rc = saver->last_rc;
    saver->untold = false;
    if (rc) pawl_fail(rc, "%s", saver->words);
    pthread_mutex_unlock(&saver->lock);
    atomic_store_explicit(&saver->hurry, false, memory_order_relaxed);
    return rc;
}

void pawl_saver_mark(struct pawl_saver *saver, uint64_t mark, uint64_t step,
                     enum pawl_step_state state)
{
    atomic_store_explicit(&saver->steps[mark % PAWL_STEPS_KEPT], step << 3 | (uint64_t)state,
                          memory_order_relaxed);
}

enum pawl_step_state pawl_saver_state(const struct pawl_saver *saver, uint64_t step)
{
    uint64_t mark = atomic_load_explicit(&saver->marks, memory_order_acquire);

    for (int i = 0; i < PAWL_STEPS_KEPT && mark; i++) {
        const uint64_t both = atomic_load_explicit(&saver->steps[--mark % PAWL_STEPS_KEPT],
                                                   memory_order_relaxed);
        if (both >> 3 == step) return (enum pawl_step_state)(both & 7);
    }
    return PAWL_STEP_UNKNOWN;
}

uint64_t pawl_saver_skips(const struct pawl_saver *saver) { return saver->skipped; }

int64_t pawl_saver_stall_ns(const struct pawl_saver *saver, double bytes_per_s,
                            int64_t forward_backward_ns)
{
    const double left = (double)saver->layout.file_bytes - (double)saver->ring.size_bytes;
    const double stall = left / bytes_per_s * 1e9 - (double)forward_backward_ns;

    return saver->ring.frames || stall < 0 ? 0 : (int64_t)stall;
}

int pawl_saver_wait(struct pawl_saver *saver)
{
    pawl_take_finish(saver);
    return pawl_saver_await(saver);
}

bool pawl_saver_poll(struct pawl_saver *saver, struct pawl_save_event *event)
{
    if (!pawl_events_take(&saver->own, event) && !pawl_events_take(&saver->thread_events, event))
        return false;
    // The thread puts a failure's event before it takes the lock for a moment to say that it
    // ended. Whether close repeats a failure is not worth waiting for it here.
    if (event->state == PAWL_SAVE_FAILED && !pthread_mutex_trylock(&saver->lock)) {
        if (!strcmp(saver->words, event->error)) saver->untold = false;
        pthread_mutex_unlock(&saver->lock);
    }
    return true;
}

int pawl_saver_close(struct pawl_saver *saver)
{
    int rc = 0;

    if (!saver) return 0;
    if (saver->thread_runs) {
        pawl_take_finish(saver);
        atomic_store(&saver->closing, true);
        sem_post(&saver->work);
        pthread_join(saver->thread, NULL);
        if (saver->untold) rc = saver->last_rc;
        if (rc) pawl_fail(rc, "%s", saver->words);
    }
    drop_room(saver);
    pawl_layout_free(&saver->layout);
    pawl_lease_drop(&saver->lease);
    pawl_load_forget(saver);
    pawl_text_free(&saver->loaded_training);
    pawl_text_free(&saver->loaded_metadata);
    sem_destroy(&saver->work);
    pthread_mutex_destroy(&saver->lock);
    pthread_cond_destroy(&saver->done);
    pawl_free(saver->where);
    pawl_free(saver->architecture);
    pawl_free(saver);
    return rc;
}

void pawl_saver_cpu(const struct pawl_saver *saver, struct pawl_saver_cpu *out)
{
    const int64_t copy = atomic_load_explicit(&saver->copy_cpu_ns, memory_order_relaxed);
    const int64_t sums = atomic_load_explicit(&saver->sums_cpu_ns, memory_order_relaxed);

    *out = (struct pawl_saver_cpu){
        .copy_ns = copy, .sums_ns = sums,
        .write_ns = atomic_load_explicit(&saver->write_cpu_ns, memory_order_relaxed) - copy - sums
                    + (saver->transfers ? pawl_transfers_cpu_ns(saver->transfers) : 0),
        .commit_ns = atomic_load_explicit(&saver->commit_cpu_ns, memory_order_relaxed),
        .keep_ns = atomic_load_explicit(&saver->keep_cpu_ns, memory_order_relaxed) };
}

bool pawl_saver_writing(const struct pawl_saver *saver, uint64_t *written, uint64_t *total)
{
    if (!atomic_load_explicit(&saver->writing, memory_order_relaxed)) return false;
    *written = atomic_load_explicit(&saver->written, memory_order_relaxed);
    *total = saver->layout.file_bytes;
    return true;
}
