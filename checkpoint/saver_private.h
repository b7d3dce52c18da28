// saver_private.h - what the files of the saver share: saver.c (life), take.c (the trainer's side
// of a save), persist.c (the saver's thread) and load.c.
//
// One snapshot is on its way at a time. Who owns the request and the ring:
//
//     FREE --save--> TAKING --fence, passed--> WRITING --durable or failed--> FREE
//     trainer        trainer                   saver's thread                 trainer
//
// The trainer moves FREE -> TAKING -> WRITING, the saver's thread moves WRITING -> FREE.

#ifndef PAWL_SAVER_PRIVATE_H
#define PAWL_SAVER_PRIVATE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "checkpoint/commit.h"
#include "checkpoint/events.h"
#include "checkpoint/keep.h"
#include "checkpoint/layout.h"
#include "checkpoint/ring.h"
#include "checkpoint/saver.h"
#include "kernels/device.h"

enum pawl_saver_mode { PAWL_MODE_ASYNC, PAWL_MODE_SYNC, PAWL_MODE_OFF };
enum { PAWL_FREE, PAWL_TAKING, PAWL_WRITING };

// What a save was asked with. Copied, so that the caller's strings may go.
struct pawl_request {
    uint64_t step;
    int64_t epoch;
    double loss, metric;
    struct pawl_text training, metadata;  // "" for none
    struct pawl_save_event event;         // its times so far
    bool urgent;                          // the caller waits: no idle priority
};

struct pawl_skip {
    uint64_t step;
    char *path, *why;
};

struct pawl_saver {
    struct pawl_device *device;
    char *where, *architecture;
    struct pawl_keep keep;
    enum pawl_saver_mode mode;
    uint64_t host_memory_bytes;
    bool read_only, ready;
    struct pawl_lease lease;
    struct pawl_layout layout;
    struct pawl_ring ring;

    // The trainer's thread alone.
    bool due;                    // a snapshot waits for the next fence
    bool fenced;                 // its rest is copied; the handed-out parts are still to come
    bool in_passing;             // the host's way; else the copy stream's
    struct pawl_stream *stream;  // for copies; the saver's thread waits on it while WRITING
    struct pawl_event *asked, *copied;
    struct pawl_text loaded_training, loaded_metadata;

    // See the states above. Stores are release, loads acquire: request and ring go with them.
    _Atomic int state;
    struct pawl_request request;
    _Atomic uint64_t written;  // by the saver's thread, read by anyone: for people, orders nothing

    // The saver's thread alone, and the trainer's while the thread does not run or state is FREE
    // and no snapshot was ever asked for.
    struct pawl_commit commit;
    struct pawl_manifest manifest;
    struct pawl_text document;
    unsigned char *sums;
    bool attempted;              // under this epoch, up to attempted_step
    uint64_t attempted_step;
    _Atomic bool renew;          // the next attempt needs a new epoch (load sets it, too)

    pthread_t thread;
    bool thread_runs;
    sem_t work;                  // posted for a snapshot and for closing
    _Atomic bool closing;
    struct pawl_skip *skips;     // changed by the trainer's thread alone, under lock
    int skip_count;
    pthread_mutex_t lock;        // guards last_rc, untold, words, skips; `done` waits with it
    pthread_cond_t done;
    int last_rc;                 // of the newest save that ended
    bool untold;                 // its failure was given to nobody yet
    char words[1024];

    struct pawl_events own, thread_events;
};

// saver.c
void pawl_saver_end(struct pawl_saver *saver, int rc, const char *words);  // records how one ended
int pawl_saver_await(struct pawl_saver *saver);  // until state is FREE; the last one's code

// take.c
void pawl_take_finish(struct pawl_saver *saver);  // copies what is due, at once

// persist.c
void *pawl_persist_thread(void *saver);

// load.c
void pawl_load_forget(struct pawl_saver *saver);

#endif
