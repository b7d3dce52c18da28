// device.h - memory, queues, copies and events: the only door to a machine that computes.
//
//     pawl_device_open(&device, "auto", 0);              // "host", "cuda:0", "sim"
//     pawl_device_alloc(device, &weights, bytes, PAWL_ON_DEVICE);
//     pawl_stream_open(&stream, device);
//     device->ops->linear(stream, ...);                   // ops.h
//     rc = pawl_stream_wait(stream);
//
// A device is one row of the table in device.c and one set of operations per element type.
// Memory: zeroed and aligned to PAWL_ALIGN_BYTES. Threads: a device may be shared, a stream not;
// the host device's streams share one pool, so two of them must not work at the same time.

#ifndef PAWL_DEVICE_H
#define PAWL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/error.h"
#include "kernels/ops.h"
#include "kernels/stream.h"

enum pawl_place {
    PAWL_ON_DEVICE,  // where kernels work
    PAWL_ON_HOST,    // page-locked where that means something, so that copies run beside kernels
};

struct pawl_event;  // a mark in a stream

// A GPU, for people.
struct pawl_gpu {
    char name[96];
    uint64_t bytes, free_bytes;  // of its memory; free_bytes 0: not known
    int major, minor;            // compute capability
    int multiprocessors;
    int driver, runtime;         // CUDA versions that the driver knows and pawl was built with:
                                 // 1000 * major + 10 * minor
};

// One kind of device. Functions as documented below; on a faulty stream, operations are skipped.
struct pawl_device_kind {
    const char *name;
    int (*open)(struct pawl_device **out, const char *name, int threads);
    void (*close)(struct pawl_device *device);
    int (*alloc)(struct pawl_device *device, void **out, size_t bytes, enum pawl_place place);
    void (*free)(struct pawl_device *device, void *memory, size_t bytes, enum pawl_place place);
    // background: of the least priority, for copies beside a step.
    int (*stream_open)(struct pawl_device *device, struct pawl_stream **out, bool background);
    void (*stream_close)(struct pawl_stream *stream);
    void (*copy)(struct pawl_stream *stream, void *out, const void *in, size_t bytes);
    int (*wait)(struct pawl_stream *stream);
    int (*event_open)(struct pawl_device *device, struct pawl_event **out);
    void (*event_close)(struct pawl_event *event);
    void (*event_record)(struct pawl_event *event, struct pawl_stream *stream);
    void (*event_before)(struct pawl_event *event, struct pawl_stream *stream);
    bool (*event_done)(struct pawl_event *event);
    // Best multiply-add rate of registers alone over about `seconds`, in GFLOP/s: what `bench`
    // holds a step against. threads as the device has.
    double (*peak_gflops)(struct pawl_device *device, double seconds);
    // Device memory that nobody has yet, in bytes. NULL: not known.
    uint64_t (*free_bytes)(struct pawl_device *device);
    // For profilers: what the calling thread queues from now on is `words`; NULL ends the latest.
    // NULL: nobody to tell.
    void (*phase)(const char *words);
    // The GPU numbered index, without opening it. PAWL_ENONE: there are not so many; PAWL_ENOTSUP:
    // there are none, and why. NULL: a kind without GPUs.
    int (*gpu)(struct pawl_gpu *out, int index);
};

struct pawl_device {
    const struct pawl_device_kind *kind;
    const struct pawl_ops *ops;  // fp32
    const struct pawl_ops *bf16; // the same on bfloat16; NULL: this device has none
    bool host;                   // device memory is host memory, and work runs at once
    int threads;                 // of the host pool (of host and sim); 1 elsewhere
    char words[128];             // "AMD EPYC, avx512, 2 threads": for people
};

// Opens "auto", "host", "cuda[:N]" or "sim" (a pretend GPU on threads, kernels/sim/sim.h); threads
// as in thread.h (host and sim).
// "auto" is cuda where that is there, else host. cuda is a plugin (plugin.h); PAWL_CUDA_LIBRARY
// names another file for it.
// PAWL_ENOTSUP: no such device here. pawl_device_why_host(): one line on why auto means host; NULL
// where it does not. It is the calling thread's until its next failure.
PAWL_API int pawl_device_open(struct pawl_device **out, const char *name, int threads);
PAWL_API void pawl_device_close(struct pawl_device *device);  // accepts NULL
const char *pawl_device_why_host(void);
uint64_t pawl_device_free_bytes(struct pawl_device *device);  // 0: not known
void pawl_device_phase(const struct pawl_device *device, const char *words_or_null);
int pawl_device_gpu(struct pawl_gpu *out, int index);  // as struct pawl_device_kind says

PAWL_API int pawl_device_alloc(struct pawl_device *device, void *out, size_t bytes,
                               enum pawl_place place);
PAWL_API void pawl_device_free(struct pawl_device *device, void *memory, size_t bytes,
                               enum pawl_place place);

PAWL_API int pawl_stream_open(struct pawl_stream **out, struct pawl_device *device);
// One that gives way to the others, for copies beside their work.
PAWL_API int pawl_stream_open_background(struct pawl_stream **out, struct pawl_device *device);
PAWL_API void pawl_stream_close(struct pawl_stream *stream);  // accepts NULL

// Queues a copy between any two places.
PAWL_API void pawl_stream_copy(struct pawl_stream *stream, void *out, const void *in, size_t bytes);

// Blocks until the stream is empty. PAWL_EDEVICE: the first failure since the last wait.
PAWL_API int pawl_stream_wait(struct pawl_stream *stream);

int pawl_event_open(struct pawl_event **out, struct pawl_device *device);
void pawl_event_close(struct pawl_event *event);
void pawl_event_record(struct pawl_event *event, struct pawl_stream *stream);
// Whatever is queued on stream from now on runs after the event's last record.
void pawl_event_before(struct pawl_event *event, struct pawl_stream *stream);
bool pawl_event_done(struct pawl_event *event);

#endif
