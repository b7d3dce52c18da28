// queue.h - the bounded queue between the trainer and the report's thread.
//
// Memory: 4,096 facts and 16 save events or notes, taken at open. Threads: one that puts, one that
// takes. Putting waits when 4,096 facts are there; a fact with a large part waits for one of 16.

#ifndef PAWL_QUEUE_H
#define PAWL_QUEUE_H

#include "runtime/report/sink.h"

enum { PAWL_QUEUE_FACTS = 4096, PAWL_QUEUE_LARGE = 16 };

struct pawl_queue;

// eager: every fact wakes the taker at once; otherwise steps wait for its next tick.
int pawl_queue_open(struct pawl_queue **out, bool eager);
void pawl_queue_close(struct pawl_queue *queue);  // accepts NULL

// Puts a fact; save or note, when not NULL, is copied and pointed to by the fact that is taken.
void pawl_queue_put(struct pawl_queue *queue, const struct pawl_fact *fact,
                    const struct pawl_save_event *save, const char *note);
// Waits until everything put so far has been taken and released.
void pawl_queue_drain(struct pawl_queue *queue);
// No more facts will come: take returns NULL after the last.
void pawl_queue_end(struct pawl_queue *queue);

// The oldest fact, valid until release; waits at most wait_ns. NULL: none came (*ended: none will).
const struct pawl_fact *pawl_queue_take(struct pawl_queue *queue, int64_t wait_ns, bool *ended);
void pawl_queue_release(struct pawl_queue *queue);

#endif
