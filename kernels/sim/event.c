// event.c - marks in the pretend GPU's streams.
//
// Each record has a number. `before` waits for the number that was the newest when it was called,
// so recording again does not move a mark under whoever already waits for it.

#include "kernels/memory.h"
#include "kernels/sim/sim.h"

struct sim_event {
    struct pawl_device *device;  // first, as device.c expects
    pthread_mutex_t lock;        // guards the rest
    pthread_cond_t changed;      // of any of it
    uint64_t asked, passed;      // records queued, and run
    const char *reason;          // the failure of the stream that recorded last, or NULL
    int users;                   // calls in queues that name this event
};

struct mark {
    struct sim_event *event;
    uint64_t number;
};

int sim_event_open(struct pawl_device *device, struct pawl_event **out)
{
    struct sim_event *event = NULL;
    const int rc = pawl_alloc(&event, sizeof(*event), "an event");

    if (rc) return rc;
    event->device = device;
    pthread_mutex_init(&event->lock, NULL);
    pthread_cond_init(&event->changed, NULL);
    *out = (struct pawl_event *)event;
    return 0;
}

void sim_event_close(struct pawl_event *opaque)
{
    struct sim_event *event = (struct sim_event *)opaque;

    pthread_mutex_lock(&event->lock);
    while (event->users)
        pthread_cond_wait(&event->changed, &event->lock);
    pthread_mutex_unlock(&event->lock);
    pthread_mutex_destroy(&event->lock);
    pthread_cond_destroy(&event->changed);
    pawl_free(event);
}

static void run_record(struct sim_stream *stream, void *call)
{
    const struct mark *mark = call;
    struct sim_event *event = mark->event;

    pthread_mutex_lock(&stream->lock);
    const char *reason = stream->reason;
    pthread_mutex_unlock(&stream->lock);
    pthread_mutex_lock(&event->lock);
    if (mark->number > event->passed) {
        event->passed = mark->number;
        event->reason = reason;
    }
    event->users--;
    pthread_cond_broadcast(&event->changed);
    pthread_mutex_unlock(&event->lock);
}

static void run_before(struct sim_stream *stream, void *call)
{
    const struct mark *mark = call;
    struct sim_event *event = mark->event;

    pthread_mutex_lock(&event->lock);
    while (event->passed < mark->number)
        pthread_cond_wait(&event->changed, &event->lock);
    const char *reason = event->reason;
    event->users--;
    pthread_cond_broadcast(&event->changed);
    pthread_mutex_unlock(&event->lock);
    pthread_mutex_lock(&stream->lock);
    if (!stream->reason) stream->reason = reason;  // what it waited for was not done
    pthread_mutex_unlock(&stream->lock);
}

void sim_event_record(struct pawl_event *opaque, struct pawl_stream *stream)
{
    struct sim_event *event = (struct sim_event *)opaque;

    pthread_mutex_lock(&event->lock);
    const struct mark mark = { event, ++event->asked };
    event->users++;
    pthread_mutex_unlock(&event->lock);
    sim_queue(stream, SIM_ANY, run_record, &mark, sizeof(mark), NULL);
}

void sim_event_before(struct pawl_event *opaque, struct pawl_stream *stream)
{
    struct sim_event *event = (struct sim_event *)opaque;

    pthread_mutex_lock(&event->lock);
    const struct mark mark = { event, event->asked };
    event->users++;
    pthread_mutex_unlock(&event->lock);
    sim_queue(stream, SIM_ANY, run_before, &mark, sizeof(mark), NULL);
}

bool sim_event_done(struct pawl_event *opaque)
{
    struct sim_event *event = (struct sim_event *)opaque;

    pthread_mutex_lock(&event->lock);
    const bool done = event->passed >= event->asked;
    pthread_mutex_unlock(&event->lock);
    return done;
}
