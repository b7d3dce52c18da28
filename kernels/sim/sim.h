// sim.h - a pretend GPU on threads: what the files of the `sim` device share.
//
//     caller ---calls---> queue ---> the stream's own thread ---> host operation or memcpy
//                                      |  ^
//                                 event_record, event_before
//
// It behaves as a GPU does where that matters to whoever uses one, and computes the host's bits,
// unless its kernels are the GPU's:
//
//     streams   are first in, first out, and run beside each other and beside their caller
//     memory    of the device has addresses that host code cannot touch: it ends with SIGSEGV
//     kernels   given the address of ordinary host memory fail, as an illegal address does
//     failures  are met at pawl_stream_wait; what follows one on its stream, or on a stream that
//               waits for an event after it, is skipped
//
// For tests, read when a device opens:
//
//     PAWL_SIM_SEED=7        seeded delays before calls and between the pieces of a copy, so that
//                            a missing event shows; 0 or unset: none
//     PAWL_SIM_FAULT=12      the 12th call queued on any stream fails; copy:3, op:3 and alloc:3
//                            count only copies, only operations, only requests for memory
//     PAWL_SIM_KERNELS=cuda  operations are the GPU's kernels, a fiber for each of their threads
//                            (kernels/simt/lane.h), and not the host's
//
// Address space, reserved once when the device opens:
//
//     | device addresses (no access) | the same memory for kernels and copies | pinned memory |
//       base                           base + SIM_SPACE_BYTES                   + 2 of them
//
// so a device address becomes one that works by adding a constant. Pages that nobody was given
// have no access in any of the three, and there is one after every piece of memory.

#ifndef PAWL_SIM_H
#define PAWL_SIM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/device.h"

enum { SIM_CALL_BYTES = 320, SIM_QUEUE_CALLS = 256 };
#define SIM_SPACE_BYTES ((size_t)32 << 30)

struct sim_stream;

// One piece of work; call points to what was queued with it.
typedef void sim_work(struct sim_stream *stream, void *call);

struct sim_call {
    sim_work *work;
    bool always;         // runs on a failed stream, too: what events do
    const char *reason;  // not NULL: it fails, and this is why
    _Alignas(16) unsigned char bytes[SIM_CALL_BYTES];
};

struct sim_stream {
    struct pawl_stream stream;   // first. Its fault stays 0: nobody knows before the wait
    struct pawl_stream *host;    // what operations run on
    struct sim_stream *next;     // of the device; guarded by its lock
    pthread_t thread;
    pthread_mutex_t lock;        // guards calls' first and last, closing, reason
    pthread_cond_t changed;      // of any of them
    struct sim_call calls[SIM_QUEUE_CALLS];  // first % SIM_QUEUE_CALLS runs or is next
    uint64_t first, last;        // calls done, calls queued
    bool closing;
    const char *reason;          // the first failure since the last wait, or NULL
    uint64_t random;             // the thread's alone; 0: no delays
};

enum sim_fault_kind { SIM_ANY, SIM_COPY, SIM_OPERATION, SIM_ALLOC, SIM_FAULT_KINDS };

struct sim_block {
    struct sim_block *next;  // by address
    size_t start, size;      // in pages' bytes from the space's start
};

struct sim {
    struct pawl_device device;    // first
    struct pawl_device *host;     // computes
    struct pawl_ops ops, bf16;    // the host's, or libpawl-simt.so's
    pthread_mutex_t kernels;      // held by the one operation that runs: the host's pool is one
    char *base;                   // of the three spaces
    pthread_mutex_t lock;         // guards blocks, streams, opened
    struct sim_block *blocks[2];  // by enum pawl_place
    struct sim_stream *streams;
    uint64_t opened;              // streams so far: each draws delays of its own
    uint64_t seed;
    enum sim_fault_kind fault_kind;
    uint64_t fault_at;            // 0: none
    _Atomic uint64_t counted;     // calls of that kind; any thread
};

static inline struct sim *sim_of(const struct pawl_stream *stream)
{
    return (struct sim *)stream->device;
}

// stream.c. Copies call (at most SIM_CALL_BYTES) into the queue; waits while that is full. reason:
// as in struct sim_call, or NULL.
void sim_queue(struct pawl_stream *stream, enum sim_fault_kind kind, sim_work *work,
               const void *call, size_t bytes, const char *reason);
void sim_settle(struct sim *sim);  // until every stream is empty
void sim_delay(struct sim_stream *stream, int one_in);
int sim_stream_open(struct pawl_device *device, struct pawl_stream **out, bool background);
void sim_stream_close(struct pawl_stream *stream);
void sim_copy(struct pawl_stream *stream, void *out, const void *in, size_t bytes);
int sim_wait(struct pawl_stream *stream);

// event.c
int sim_event_open(struct pawl_device *device, struct pawl_event **out);
void sim_event_close(struct pawl_event *event);
void sim_event_record(struct pawl_event *event, struct pawl_stream *stream);
void sim_event_before(struct pawl_event *event, struct pawl_stream *stream);
bool sim_event_done(struct pawl_event *event);

// memory.c
int sim_space_open(struct sim *sim);
void sim_space_close(struct sim *sim);
int sim_alloc(struct pawl_device *device, void **out, size_t bytes, enum pawl_place place);
void sim_free(struct pawl_device *device, void *memory, size_t bytes, enum pawl_place place);
uint64_t sim_free_bytes(struct pawl_device *device);
// The address that works for a device address; any other comes back as it is.
void *sim_reach(const struct sim *sim, const void *memory);
// The same for kernels, which reach pinned memory, too; another sets *reason.
void *sim_kernel_reach(const struct sim *sim, const void *memory, const char **reason);

// sim.c: whether this is the call that PAWL_SIM_FAULT means.
bool sim_fails(struct sim *sim, enum sim_fault_kind kind);

extern const struct pawl_ops sim_ops, sim_ops_bf16;  // ops.c

#endif
