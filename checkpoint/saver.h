// saver.h - keep a run while it keeps running, and bring it back.
//
//     live state --copy--> ring --write--> shard --commit--> durable
//     (device)           (pinned)         (store)   MANIFEST
//     your stream       copy engine      the saver's own thread
//
//     pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = "runs/a" }, device);
//     pawl_saver_add(saver, "weight", weight, PAWL_F32, 2, (int64_t[]){ 4096, 4096 });  // each
//     rc = pawl_saver_load(saver, stream, &progress);       // PAWL_ENONE: a fresh start
//     for (;;) {
//         forward_and_backward(stream);
//         pawl_saver_fence(saver, stream);                  // the update may not overtake the copy
//         update(stream);
//         if (++progress.step % 500 == 0) pawl_saver_save(saver, stream, &progress);
//     }
//     pawl_saver_close(saver);                              // waits for the last one
//
// Promise: a snapshot is whole or absent. When it is reported durable it survives kill -9 and
// power loss. Whatever is loaded was verified, and a run that goes on from it goes on bit for bit.
// A failed save never stops training and harms no earlier snapshot.
//
// In passing: on the host device a copy would steal the cores, so the update itself can write
// the old values while it has them in registers. pawl_saver_passing() says where to.
//
// Memory: one ring, taken by the first save, load or pawl_saver_ready; nothing after that. Of the
// state's size, or host_memory_bytes: of several states, so that as many snapshots can be on their
// way; or less than one, and then a fence may wait for storage (pawl_saver_stall_ns).
//
// Threads: call from one thread, except where it says any. The saver writes on its own thread
// "pawl-save"; where the I/O table has no queue two more, "pawl-write", make the transfers.

#ifndef PAWL_SAVER_H
#define PAWL_SAVER_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/device.h"
#include "kernels/tensor.h"

struct pawl_saver;

enum { PAWL_HOST_MEMORY_LEAST = 16 << 20 };

// NULL or 0 in a field means its default.
struct pawl_saver_options {
    const char *where;           // the run's directory; created when missing (one level)
    const char *keep;            // "latest=3,every=1000,best=2:val_loss:min"; default "latest=3"
    const char *mode;            // "async" (default), "sync", "off"
    const char *architecture;    // JSON kept in every snapshot (document.json), or NULL
    uint64_t host_memory_bytes;  // 0: the state's size; else at least PAWL_HOST_MEMORY_LEAST
    bool digest;                 // device memory: prove each copy by a digest (128 bits) of what
                                 // lay there; one read of the state per save
    bool read_only;              // load only: no lease is taken, nothing is written
};

// Where the run stands: what cannot be recomputed from tensors. Strings are copied by save.
struct pawl_progress {
    uint64_t step;         // optimizer updates done
    int64_t epoch;         // -1: unknown
    double loss;           // NaN: unknown
    const char *training;  // JSON object kept as document.json "training": optimizer, schedule,
                           // data position...; NULL: none. After load: valid until close.
    const char *metadata;  // JSON object, or NULL
    double metric;         // what "best" in keep compares (val_loss); NaN: unknown
};

enum pawl_save_state {
    PAWL_SAVE_TAKEN,    // the host copy is complete
    PAWL_SAVE_DURABLE,  // committed
    PAWL_SAVE_FAILED,   // error says why; earlier snapshots are untouched
    PAWL_SAVE_SKIPPED,  // asked for while the previous one was on its way
};

// Where the snapshot of a step is, for whoever asks (pawl_saver_state).
enum pawl_step_state {
    PAWL_STEP_UNKNOWN,  // none was asked for lately
    PAWL_STEP_TAKING,   // it waits for a fence, or is being copied
    PAWL_STEP_TAKEN,    // the host copy is complete, or passes through a small ring
    PAWL_STEP_LOCAL,    // this rank's file is safe, the commit is to come
    PAWL_STEP_DURABLE,
    PAWL_STEP_FAILED,
    PAWL_STEP_SKIPPED,
};

// One change of one snapshot's state. Times in nanoseconds, clock of pawl_io()->now_ns.
struct pawl_save_event {
    uint64_t step;
    enum pawl_save_state state;
    uint64_t bytes;
    int64_t asked_ns, copy_start_ns, copy_end_ns, write_start_ns, write_end_ns;
    int64_t stall_ns;  // how long save, fence and passing kept the caller (sync: all of it)
    int64_t written_ns;  // when the last of the tensors' bytes was given to storage; 0: not yet
    char path[4096];   // the snapshot's directory
    char error[1024];  // "" unless failed or skipped
};

// CPU time that the saver's threads have taken so far. The copy on the trainer's side is not in it,
// nor what the kernel does for storage on threads of its own.
struct pawl_saver_cpu {
    int64_t copy_ns;    // of the state, into a ring smaller than it
    int64_t sums_ns;    // checksums
    int64_t write_ns;   // handing the bytes to storage, and making them durable
    int64_t commit_ns;  // everything else until durable
    int64_t keep_ns;    // afterwards: LATEST and retention
};

// PAWL_EBUSY: a live process holds the directory (the words give host and pid).
// PAWL_EINVAL: keep or mode makes no sense ("latest=1": the reason). PAWL_EIO: cannot write there.
PAWL_API int pawl_saver_open(struct pawl_saver **out, const struct pawl_saver_options *options,
                             struct pawl_device *device);
// Finishes what is on its way, then frees everything. Returns the last save's failure unless an
// event has already told it. Accepts NULL.
PAWL_API int pawl_saver_close(struct pawl_saver *saver);

// A tensor in device memory, row-major; before the first load or save. Borrowed until close.
// Weights keep their names; moments are "optimizer.<slot>.<weight>".
PAWL_API int pawl_saver_add(struct pawl_saver *saver, const char *name, void *memory,
                            enum pawl_dtype dtype, int rank, const int64_t *dim);
// Lays out the file and takes the ring now, instead of in the first save or load. PAWL_EINVAL:
// host_memory_bytes is too little.
PAWL_API int pawl_saver_ready(struct pawl_saver *saver);
uint64_t pawl_saver_state_bytes(const struct pawl_saver *saver);
uint64_t pawl_saver_ring_bytes(const struct pawl_saver *saver);

// Fills every tensor from the newest snapshot that is whole, passing over damaged ones (each told
// by pawl_saver_skipped). PAWL_ENONE: a fresh start. PAWL_ECORRUPT: there were snapshots, none is
// whole; or a snapshot is whole and does not fit (names, shapes of both). Chunks go to the tensors
// as they are found whole, so after a failure the tensors hold nothing of use.
PAWL_API int pawl_saver_load(struct pawl_saver *saver, struct pawl_stream *stream,
                             struct pawl_progress *progress);
// The snapshot of that step, or PAWL_ECORRUPT when it is damaged, PAWL_ENONE when not there.
PAWL_API int pawl_saver_load_step(struct pawl_saver *saver, struct pawl_stream *stream,
                                  uint64_t step, struct pawl_progress *progress);
// The i-th snapshot that the last load passed over: step, directory and why. false: no more.
bool pawl_saver_skipped(const struct pawl_saver *saver, int i, uint64_t *step, const char **path,
                        const char **why);

// Asks for a snapshot of the state as it is when stream gets there; returns at once in async mode,
// when durable in sync mode. PAWL_EBUSY: earlier ones are still on their way and leave no place in
// the ring, this one was skipped (an event says so). In mode "off": 0, and nothing happens. Other
// failures come as events.
PAWL_API int pawl_saver_save(struct pawl_saver *saver, struct pawl_stream *stream,
                             const struct pawl_progress *progress);
// As save, but waits for an earlier one instead of skipping, and returns when durable: for the
// last step and for signals. Returns the failure.
PAWL_API int pawl_saver_save_now(struct pawl_saver *saver, struct pawl_stream *stream,
                                 const struct pawl_progress *progress);

// Before anything overwrites the state: work queued on stream after this does not overtake the
// copy. Costs nothing when no snapshot is being taken. On the host it copies what is still due.
PAWL_API void pawl_saver_fence(struct pawl_saver *saver, struct pawl_stream *stream);

// The host device's way round the copy. Asks, before an update of [memory, memory + bytes), where
// its old values must be written: NULL when no snapshot is due (or these bytes are not one piece
// of it, or are copied already). When not NULL (64-byte aligned), the caller promises to write all
// of them before pawl_saver_passed(). So: passing for the big pieces, fence (which copies the
// rest), update, passed.
PAWL_API void *pawl_saver_passing(struct pawl_saver *saver, const void *memory, size_t bytes);
PAWL_API void pawl_saver_passed(struct pawl_saver *saver, struct pawl_stream *stream);

// The next state change since the last call; false: none. Never blocks.
PAWL_API bool pawl_saver_poll(struct pawl_saver *saver, struct pawl_save_event *event);
// Where the snapshot of a step is, of the last 64 that were asked for. Any thread.
PAWL_API enum pawl_step_state pawl_saver_state(const struct pawl_saver *saver, uint64_t step);
// Saves skipped so far.
PAWL_API uint64_t pawl_saver_skips(const struct pawl_saver *saver);
// How long a fence will wait for storage that takes bytes_per_s, when the trainer leaves the state
// alone for so long before it: max(0, (state - ring) / rate - time). 0 where the ring holds all.
PAWL_API int64_t pawl_saver_stall_ns(const struct pawl_saver *saver, double bytes_per_s,
                                     int64_t forward_backward_ns);
// How far the snapshot on its way is: bytes written of total. false: none is being written.
PAWL_API bool pawl_saver_writing(const struct pawl_saver *saver, uint64_t *written,
                                 uint64_t *total);
// Exact between saves; during one the phase under way is still to be added. Any thread.
PAWL_API void pawl_saver_cpu(const struct pawl_saver *saver, struct pawl_saver_cpu *out);
// Blocks until every accepted save is durable or has failed; the last failure or 0.
PAWL_API int pawl_saver_wait(struct pawl_saver *saver);

#endif
