// saver_private.h - what the files of the saver share: saver.c (life), take.c (the trainer's side
// of a save), persist.c (the saver's thread) and load.c.
//
// Requests form a queue. The trainer begins one, takes its snapshot, hands it over; the saver's
// thread writes, commits and ends them in that order, so durable order is the order of asking.
//
//     begun   >=  handed   >=  released      >=  ended          counters; of requests so far
//     trainer     trainer      saver's thread    saver's thread
//
//     begun - handed    0 or 1: the one that is being taken
//     handed - released those that need a frame of the ring, with the one being taken at most as
//                       many as there are frames
//     begun - ended     those that exist: at most PAWL_REQUESTS
//
// With a belt instead of frames (less memory than the state) a request is handed over as soon as it
// is asked for: the saver's thread takes and writes at once.

#ifndef PAWL_SAVER_PRIVATE_H
#define PAWL_SAVER_PRIVATE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "checkpoint/belt.h"
#include "checkpoint/commit.h"
#include "checkpoint/digest.h"
#include "checkpoint/events.h"
#include "checkpoint/keep.h"
#include "checkpoint/layout.h"
#include "checkpoint/ring.h"
#include "checkpoint/saver.h"
#include "kernels/device.h"

enum pawl_saver_mode { PAWL_MODE_ASYNC, PAWL_MODE_SYNC, PAWL_MODE_OFF };
enum { PAWL_REQUESTS = PAWL_FRAMES_MAX + 1, PAWL_STEPS_KEPT = 64 };

// What a save was asked with. Copied, so that the caller's strings may go.
struct pawl_request {
    uint64_t step;
    int64_t epoch;
    double loss, metric;
    struct pawl_text training, metadata;  // "" for none
    struct pawl_save_event event;         // its times so far; the thread's once handed over
    _Atomic int64_t stall_ns;             // by the trainer, also while the thread writes
    int frame;
    uint64_t generation;                  // what its frame or slots carry while they are its own
    uint64_t mark;                        // its place in steps
    bool urgent;                          // the caller waits: no idle priority
};

// A frame has its own, so that two copies do not share a stream.
struct pawl_lane {
    struct pawl_stream *stream;
    struct pawl_event *asked, *copied;
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
    bool read_only, ready, digest;
    struct pawl_lease lease;
    struct pawl_layout layout;
    struct pawl_ring ring;
    struct pawl_digests digests;

    struct pawl_belt belt;       // in use when ring.frames is 0

    // The trainer's thread alone.
    bool due;                    // a snapshot waits for the next fence
    bool fenced;                 // its rest is copied; the handed-out parts are still to come
    bool in_passing;             // the host's way; else the copy stream's
    uint64_t begun;
    uint64_t generations;        // given so far; unlike begun never taken back
    uint64_t skipped;            // saves that were asked for while there was no place
    struct pawl_request *taking; // the newest; meant while `due`
    struct pawl_text loaded_training, loaded_metadata;

    // Counters, see above. Stores are release, loads acquire: requests and frames go with them.
    _Atomic uint64_t handed, released, ended;
    struct pawl_request request[PAWL_REQUESTS];
    struct pawl_lane lane[PAWL_FRAMES_MAX];
    // For pawl_saver_state: step << 3 | state of the newest requests and skips. Written by whoever
    // has the request, read by anyone; orders nothing. marks counts them, by the trainer.
    _Atomic uint64_t marks, steps[PAWL_STEPS_KEPT];
    _Atomic uint64_t written;  // by the saver's thread, read by anyone: for people, orders nothing
    _Atomic bool writing;      // the same
    _Atomic bool hurry;        // somebody waits: no idle priority for what is on its way

    // CPU time by cause, by the saver's thread, read by anyone: for people, orders nothing. write
    // has copy's and sums' in it.
    _Atomic int64_t copy_cpu_ns, sums_cpu_ns, write_cpu_ns, commit_cpu_ns, keep_cpu_ns;

    // The saver's thread alone, and the trainer's while the thread does not run or no request was
    // ever begun.
    struct pawl_request *current;
    uint64_t next_chunk, chunks_written;
    int64_t cpu_since_ns;        // when its CPU time was last put down to a cause
    bool told_taken;
    bool reused;                 // the frame was taken for another snapshot under our hands
    struct pawl_transfers *transfers;
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
// How one ended; thread: it was the one at the head of the queue.
void pawl_saver_told(struct pawl_saver *saver, int rc, const char *words, bool thread);
int pawl_saver_await(struct pawl_saver *saver);  // until all handed over ended; the last one's code
void pawl_saver_mark(struct pawl_saver *saver, uint64_t mark, uint64_t step,
                     enum pawl_step_state state);

// take.c
void pawl_take_finish(struct pawl_saver *saver);  // copies what is due, at once

// persist.c
void *pawl_persist_thread(void *saver);

// load.c
void pawl_load_forget(struct pawl_saver *saver);

#endif
