// device.h - what the C files of libpawl-cuda.so share: the GPU behind a stream.
//
//     pawl --plugin.h--> plugin.c  the table it opens
//                        device.c  opening, memory, what doctor tells     stream.c  queues, events
//                        blas.c    cuBLASLt, opened with dlopen           linear.c  products on it
//                        ops/*.cu  kernels, once per element type         peak.cu   for bench
//
// Failures. A call that is refused marks the stream it was for (fault, reason) and the work that
// follows on it is skipped, as in stream.h. Some failures (a kernel's illegal address, a GPU that
// fell off the bus) end the process's context: every later call gives the same one. Such a device
// is `lost`, which never clears.

#ifndef PAWL_CUDA_DEVICE_H
#define PAWL_CUDA_DEVICE_H

#include <cuda_runtime_api.h>

#include <stdatomic.h>

#include "kernels/device.h"

struct pawl_blas;

struct pawl_cuda {
    struct pawl_device device;         // first
    int index;
    int major, minor, multiprocessors;
    _Atomic(const char *) lost;        // static words, or NULL; set by any thread
    struct pawl_blas *blas;            // NULL: no cuBLASLt here
    struct pawl_ops fp32, bf16;        // nvcc's tables, but for what cuBLASLt does
};

struct pawl_cuda_stream {
    struct pawl_stream stream;  // first; its queue is a cudaStream_t
    cudaEvent_t idle;           // background streams are waited for asleep, through this
    void *scratch;              // CUDA_SCRATCH_BYTES, of whatever operation runs; NULL: background
    void *workspace;            // PAWL_BLAS_BYTES, the same
};

enum { CUDA_SCRATCH_BYTES = 64 << 20, PAWL_BLAS_BYTES = 32 << 20 };

static inline struct pawl_cuda *cuda_of(const struct pawl_device *device)
{
    return (struct pawl_cuda *)(uintptr_t)device;
}

extern const struct pawl_device_kind pawl_device_cuda;
extern const struct pawl_ops pawl_cuda_ops_fp32, pawl_cuda_ops_bf16;

// Makes the device the calling thread's current one, as each call to CUDA expects.
void pawl_cuda_enter(const struct pawl_device *device);
// Keeps a failed call in the stream, unless it has one; and whether it ended the context.
void pawl_cuda_note(struct pawl_stream *stream, cudaError_t error);
// The same without a stream: whether the device is lost now.
bool pawl_cuda_is_lost(struct pawl_cuda *cuda, cudaError_t error);

// stream.c
int pawl_cuda_stream_open(struct pawl_device *device, struct pawl_stream **out, bool background);
void pawl_cuda_stream_close(struct pawl_stream *stream);
void pawl_cuda_copy(struct pawl_stream *stream, void *out, const void *in, size_t bytes);
int pawl_cuda_wait(struct pawl_stream *stream);
int pawl_cuda_event_open(struct pawl_device *device, struct pawl_event **out);
void pawl_cuda_event_close(struct pawl_event *event);
void pawl_cuda_event_record(struct pawl_event *event, struct pawl_stream *stream);
void pawl_cuda_event_before(struct pawl_event *event, struct pawl_stream *stream);
bool pawl_cuda_event_done(struct pawl_event *event);

// peak.cu. The rate of fp32 multiply-adds, in GFLOP/s; and cudaSuccess where this build's kernels
// run on the current device.
double pawl_cuda_peak(int multiprocessors, double seconds, int64_t (*now_ns)(void));
cudaError_t pawl_cuda_probe(void);

#endif
