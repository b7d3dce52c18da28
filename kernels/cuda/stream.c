// stream.c - the GPU's queues, copies and events.

#include "kernels/cuda/device.h"
#include "kernels/memory.h"

// An event carries its stream's failure over to whoever waits for it, as sim's do: what that
// would work on was never made.
struct cuda_event {
    struct pawl_device *device;  // first, as kernels/device.c expects
    cudaEvent_t mark;
    _Atomic int fault;           // of the stream that recorded last; reason is set before it
    _Atomic(const char *) reason;
};

static cudaStream_t queue_of(const struct pawl_stream *stream)
{
    return (cudaStream_t)stream->queue;
}

static int refuse(struct pawl_device *device, const char *what, cudaError_t error)
{
    pawl_cuda_is_lost(cuda_of(device), error);
    if (error == cudaErrorMemoryAllocation)
        return pawl_fail(PAWL_ENOMEM, "cuda:%d: no memory for %s", cuda_of(device)->index, what);
    return pawl_fail(PAWL_EDEVICE, "cuda:%d: no %s: %s", cuda_of(device)->index, what,
                     cudaGetErrorString(error));
}

// ---- streams

// What operations need of a stream; a background stream has copies only.
static cudaError_t furnish(struct pawl_cuda_stream *stream, bool background)
{
    cudaError_t error;

    if (background)
        return cudaEventCreateWithFlags(&stream->idle,
                                        cudaEventDisableTiming | cudaEventBlockingSync);
    error = cudaMalloc(&stream->scratch, CUDA_SCRATCH_BYTES);
    if (!error && cuda_of(stream->stream.device)->blas)
        error = cudaMalloc(&stream->workspace, PAWL_BLAS_BYTES);
    return error;
}

int pawl_cuda_stream_open(struct pawl_device *device, struct pawl_stream **out, bool background)
{
    struct pawl_cuda_stream *stream = NULL;
    cudaStream_t queue = NULL;
    int least = 0, most = 0;

    const int rc = pawl_alloc(&stream, sizeof(*stream), "a stream");
    if (rc) return rc;
    stream->stream.device = device;
    pawl_cuda_enter(device);
    cudaError_t error = cudaDeviceGetStreamPriorityRange(&least, &most);
    if (!error)
        error = cudaStreamCreateWithPriority(&queue, cudaStreamNonBlocking,
                                             background ? least : most);
    stream->stream.queue = queue;
    if (!error) error = furnish(stream, background);
    if (error) {
        pawl_cuda_stream_close(&stream->stream);
        return refuse(device, "stream", error);
    }
    *out = &stream->stream;
    return 0;
}

// Runs what is queued first: cudaFree and cudaStreamDestroy both see to that.
void pawl_cuda_stream_close(struct pawl_stream *opaque)
{
    struct pawl_cuda_stream *stream = (struct pawl_cuda_stream *)opaque;

    pawl_cuda_enter(opaque->device);
    if (opaque->queue) cudaStreamSynchronize(queue_of(opaque));
    if (stream->scratch) cudaFree(stream->scratch);
    if (stream->workspace) cudaFree(stream->workspace);
    if (stream->idle) cudaEventDestroy(stream->idle);
    if (opaque->queue) cudaStreamDestroy(queue_of(opaque));
    cudaGetLastError();
    pawl_free(stream);
}

void pawl_cuda_copy(struct pawl_stream *stream, void *out, const void *in, size_t bytes)
{
    pawl_cuda_enter(stream->device);
    pawl_cuda_note(stream, cudaMemcpyAsync(out, in, bytes, cudaMemcpyDefault, queue_of(stream)));
}

// The thread that waits for copies sleeps, so that it takes no core from who feeds the GPU; the
// one that waits for a step spins, if CUDA thinks so, which is some microseconds sooner.
int pawl_cuda_wait(struct pawl_stream *opaque)
{
    struct pawl_cuda_stream *stream = (struct pawl_cuda_stream *)opaque;
    struct pawl_cuda *cuda = cuda_of(opaque->device);
    cudaError_t error = cudaSuccess;

    pawl_cuda_enter(opaque->device);
    if (stream->idle) {
        error = cudaEventRecord(stream->idle, queue_of(opaque));
        if (!error) error = cudaEventSynchronize(stream->idle);
    } else {
        error = cudaStreamSynchronize(queue_of(opaque));
    }
    pawl_cuda_note(opaque, error);
    if (!opaque->fault) return 0;
    const char *reason = opaque->reason, *lost = atomic_load(&cuda->lost);
    opaque->fault = 0;
    opaque->reason = NULL;
    if (lost)
        return pawl_fail(PAWL_EDEVICE, "cuda:%d is lost to this process: %s", cuda->index, lost);
    return pawl_fail(PAWL_EDEVICE, "cuda:%d: %s", cuda->index, reason);
}

// ---- events

int pawl_cuda_event_open(struct pawl_device *device, struct pawl_event **out)
{
    struct cuda_event *event = NULL;

    const int rc = pawl_alloc(&event, sizeof(*event), "an event");
    if (rc) return rc;
    event->device = device;
    pawl_cuda_enter(device);
    const cudaError_t error = cudaEventCreateWithFlags(&event->mark, cudaEventDisableTiming);
    if (error) {
        pawl_free(event);
        return refuse(device, "event", error);
    }
    *out = (struct pawl_event *)event;
    return 0;
}

// CUDA keeps an event that work still waits for until it has passed.
void pawl_cuda_event_close(struct pawl_event *opaque)
{
    struct cuda_event *event = (struct cuda_event *)opaque;

    pawl_cuda_enter(event->device);
    cudaEventDestroy(event->mark);
    cudaGetLastError();
    pawl_free(event);
}

void pawl_cuda_event_record(struct pawl_event *opaque, struct pawl_stream *stream)
{
    struct cuda_event *event = (struct cuda_event *)opaque;

    pawl_cuda_enter(event->device);
    pawl_cuda_note(stream, cudaEventRecord(event->mark, queue_of(stream)));
    atomic_store(&event->reason, stream->reason);
    atomic_store(&event->fault, stream->fault);
}

void pawl_cuda_event_before(struct pawl_event *opaque, struct pawl_stream *stream)
{
    struct cuda_event *event = (struct cuda_event *)opaque;
    const int fault = atomic_load(&event->fault);

    pawl_cuda_enter(event->device);
    pawl_cuda_note(stream, cudaStreamWaitEvent(queue_of(stream), event->mark, 0));
    if (fault && !stream->fault) {
        stream->reason = atomic_load(&event->reason);
        stream->fault = fault;
    }
}

// A device that is lost never gets there: done, so that nobody polls for ever; the wait tells.
bool pawl_cuda_event_done(struct pawl_event *opaque)
{
    struct cuda_event *event = (struct cuda_event *)opaque;

    pawl_cuda_enter(event->device);
    const cudaError_t error = cudaEventQuery(event->mark);
    if (!error) return true;
    cudaGetLastError();  // "not ready" is kept as an error, too
    return error != cudaErrorNotReady && pawl_cuda_is_lost(cuda_of(event->device), error);
}
