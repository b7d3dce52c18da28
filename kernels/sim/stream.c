// stream.c - the pretend GPU's streams: a queue and a thread each.

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "kernels/memory.h"
#include "kernels/sim/sim.h"
#include "kernels/thread.h"

enum { PIECE_BYTES = 16 << 10 };  // of a copy: others may run in between

// ---- delays

// xorshift64 (Marsaglia, 2003)
static uint64_t draw(struct sim_stream *stream)
{
    stream->random ^= stream->random << 13;
    stream->random ^= stream->random >> 7;
    stream->random ^= stream->random << 17;
    return stream->random;
}

// Most calls are at once, some give way, one in so many sleeps up to 0.3 ms.
void sim_delay(struct sim_stream *stream, int one_in)
{
    if (!stream->random) return;
    const uint64_t number = draw(stream) >> 16;
    if (number % 4 == 0) sched_yield();
    if (number / 4 % (uint64_t)one_in == 0)
        nanosleep(&(struct timespec){ 0, (long)(number >> 20) % 300000 }, NULL);
}

// ---- the queue

// Runs a call outside the lock: its slot is the thread's until first has moved on.
static void run_call(struct sim_stream *stream, struct sim_call *call)
{
    sim_delay(stream, 8);
    pthread_mutex_lock(&stream->lock);
    if (!stream->reason) stream->reason = call->reason;
    const bool skips = stream->reason && !call->always;
    pthread_mutex_unlock(&stream->lock);
    if (!skips) call->work(stream, call->bytes);
}

static void *serve(void *context)
{
    struct sim_stream *stream = context;

    pawl_thread_name("pawl-sim");
    pthread_mutex_lock(&stream->lock);
    for (;;) {
        while (stream->first == stream->last && !stream->closing)
            pthread_cond_wait(&stream->changed, &stream->lock);
        if (stream->first == stream->last) break;
        struct sim_call *call = &stream->calls[stream->first % SIM_QUEUE_CALLS];
        pthread_mutex_unlock(&stream->lock);
        run_call(stream, call);
        pthread_mutex_lock(&stream->lock);
        stream->first++;
        pthread_cond_broadcast(&stream->changed);
    }
    pthread_mutex_unlock(&stream->lock);
    return NULL;
}

void sim_queue(struct pawl_stream *opaque, enum sim_fault_kind kind, sim_work *work,
               const void *call, size_t bytes, const char *reason)
{
    struct sim_stream *stream = (struct sim_stream *)opaque;

    if (sim_fails(sim_of(opaque), kind)) reason = "the call that PAWL_SIM_FAULT names";
    pthread_mutex_lock(&stream->lock);
    while (stream->last - stream->first == SIM_QUEUE_CALLS)
        pthread_cond_wait(&stream->changed, &stream->lock);
    struct sim_call *slot = &stream->calls[stream->last % SIM_QUEUE_CALLS];
    slot->work = work;
    slot->always = kind == SIM_ANY;
    slot->reason = reason;
    memcpy(slot->bytes, call, bytes);
    stream->last++;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

static void drain(struct sim_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    while (stream->first != stream->last)
        pthread_cond_wait(&stream->changed, &stream->lock);
    pthread_mutex_unlock(&stream->lock);
}

void sim_settle(struct sim *sim)
{
    pthread_mutex_lock(&sim->lock);
    for (struct sim_stream *stream = sim->streams; stream; stream = stream->next)
        drain(stream);
    pthread_mutex_unlock(&sim->lock);
}

int sim_wait(struct pawl_stream *opaque)
{
    struct sim_stream *stream = (struct sim_stream *)opaque;

    drain(stream);
    pthread_mutex_lock(&stream->lock);
    const char *reason = stream->reason;
    stream->reason = NULL;
    pthread_mutex_unlock(&stream->lock);
    return reason ? pawl_fail(PAWL_EDEVICE, "sim: %s", reason) : 0;
}

// ---- copies

struct copy {
    char *out;
    const char *in;
    size_t bytes;
};

static void run_copy(struct sim_stream *stream, void *call)
{
    const struct copy *copy = call;

    for (size_t at = 0; at < copy->bytes; at += PIECE_BYTES) {
        const size_t left = copy->bytes - at;
        memcpy(copy->out + at, copy->in + at, left < PIECE_BYTES ? left : PIECE_BYTES);
        if (left > PIECE_BYTES) sim_delay(stream, 32);
    }
}

void sim_copy(struct pawl_stream *stream, void *out, const void *in, size_t bytes)
{
    const struct sim *sim = sim_of(stream);
    const struct copy copy = { sim_reach(sim, out), sim_reach(sim, in), bytes };

    sim_queue(stream, SIM_COPY, run_copy, &copy, sizeof(copy), NULL);
}

// ---- life

// The thread takes no signals: they are the trainer's to see.
static int start(struct sim_stream *stream)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    const int error = pthread_create(&stream->thread, NULL, serve, stream);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error ? pawl_fail(PAWL_ENOMEM, "no thread for a stream: %s", strerror(error)) : 0;
}

int sim_stream_open(struct pawl_device *device, struct pawl_stream **out, bool background)
{
    struct sim *sim = (struct sim *)device;
    struct sim_stream *stream = NULL;

    (void)background;
    int rc = pawl_alloc(&stream, sizeof(*stream), "a stream");
    if (rc) return rc;
    stream->stream.device = device;
    stream->stream.queue = stream;
    pthread_mutex_init(&stream->lock, NULL);
    pthread_cond_init(&stream->changed, NULL);
    pthread_mutex_lock(&sim->lock);
    if (sim->seed) stream->random = (sim->seed + ++sim->opened) * 0x9e3779b97f4a7c15u | 1;
    pthread_mutex_unlock(&sim->lock);
    rc = pawl_stream_open(&stream->host, sim->host);
    if (!rc) rc = start(stream);
    if (rc) {
        pawl_stream_close(stream->host);
        pthread_mutex_destroy(&stream->lock);
        pthread_cond_destroy(&stream->changed);
        pawl_free(stream);
        return rc;
    }
    pthread_mutex_lock(&sim->lock);
    stream->next = sim->streams;
    sim->streams = stream;
    pthread_mutex_unlock(&sim->lock);
    *out = &stream->stream;
    return 0;
}

// Runs what is queued first.
void sim_stream_close(struct pawl_stream *opaque)
{
    struct sim_stream *stream = (struct sim_stream *)opaque;
    struct sim *sim = sim_of(opaque);

    pthread_mutex_lock(&sim->lock);
    struct sim_stream **at = &sim->streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    pthread_mutex_unlock(&sim->lock);
    pthread_mutex_lock(&stream->lock);
    stream->closing = true;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    pthread_join(stream->thread, NULL);
    pawl_stream_close(stream->host);
    pthread_mutex_destroy(&stream->lock);
    pthread_cond_destroy(&stream->changed);
    pawl_free(stream);
}
