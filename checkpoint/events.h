// events.h - a bounded queue of save events from one thread to another, without locks.
//
// A saver has two: what the trainer's own calls cause, and what the saver's thread does. Neither
// side ever waits for the other. When nobody polls the queue fills up and later events are lost;
// failures are kept apart (saver.c), so that close can still tell them.

#ifndef PAWL_EVENTS_H
#define PAWL_EVENTS_H

#include <stdatomic.h>

#include "checkpoint/saver.h"

enum { PAWL_EVENTS_MAX = 64 };

struct pawl_events {
    struct pawl_save_event event[PAWL_EVENTS_MAX];
    // Counters, taken modulo PAWL_EVENTS_MAX. The producer stores put (release) after the event,
    // the consumer reads it (acquire) before; likewise taken, for the room behind it.
    _Atomic unsigned put, taken;
};

static inline bool pawl_events_put(struct pawl_events *events, const struct pawl_save_event *event)
{
    const unsigned put = atomic_load_explicit(&events->put, memory_order_relaxed);

    if (put - atomic_load_explicit(&events->taken, memory_order_acquire) == PAWL_EVENTS_MAX)
        return false;
    events->event[put % PAWL_EVENTS_MAX] = *event;
    atomic_store_explicit(&events->put, put + 1, memory_order_release);
    return true;
}

static inline bool pawl_events_take(struct pawl_events *events, struct pawl_save_event *event)
{
    const unsigned taken = atomic_load_explicit(&events->taken, memory_order_relaxed);

    if (atomic_load_explicit(&events->put, memory_order_acquire) == taken) return false;
    *event = events->event[taken % PAWL_EVENTS_MAX];
    atomic_store_explicit(&events->taken, taken + 1, memory_order_release);
    return true;
}

#endif
