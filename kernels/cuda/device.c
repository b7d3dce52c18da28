// device.c - a GPU as a row of the device table: finding it, its memory, what doctor tells.

#include "kernels/cuda/device.h"

#include <nvtx3/nvToolsExt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/cuda/blas.h"
#include "kernels/memory.h"
#include "kernels/plugin.h"

// ---- failures

void pawl_cuda_enter(const struct pawl_device *device)
{
    int current = -1;

    if (cudaGetDevice(&current) || current != cuda_of(device)->index)
        cudaSetDevice(cuda_of(device)->index);
}

// A failure that ended the context is still there when it is asked for something else.
bool pawl_cuda_is_lost(struct pawl_cuda *cuda, cudaError_t error)
{
    if (!error || atomic_load(&cuda->lost)) return error != cudaSuccess;
    cudaGetLastError();
    const cudaError_t again = cudaStreamQuery(cudaStreamLegacy);
    cudaGetLastError();
    if (again == cudaSuccess || again == cudaErrorNotReady) return false;
    atomic_store(&cuda->lost, cudaGetErrorString(again));
    return true;
}

void pawl_cuda_note(struct pawl_stream *stream, cudaError_t error)
{
    if (!error) return;
    pawl_cuda_is_lost(cuda_of(stream->device), error);
    if (stream->fault) return;
    stream->fault = (int)error;
    stream->reason = cudaGetErrorString(error);
}

void pawl_cuda_launched(struct pawl_stream *stream);  // cuda.h, which C cannot read
void pawl_cuda_launched(struct pawl_stream *stream)
{
    pawl_cuda_note(stream, cudaGetLastError());
}

void *pawl_cuda_scratch(struct pawl_stream *stream);  // likewise
void *pawl_cuda_scratch(struct pawl_stream *stream)
{
    return ((struct pawl_cuda_stream *)stream)->scratch;
}

// ---- finding it

static int no_driver(void)
{
    int driver = 0;

    if (cudaDriverGetVersion(&driver) || !driver)
        return pawl_fail(PAWL_ENOTSUP, "no NVIDIA driver is loaded");
    return pawl_fail(PAWL_ENOTSUP, "the NVIDIA driver is too old: it knows CUDA %d.%d, this pawl "
                     "was built with %d.%d. try: a newer driver", driver / 1000, driver % 1000 / 10,
                     CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
}

// How many GPUs there are, or PAWL_ENOTSUP and why none.
static int count(int *out)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int gpus = 0;
    const cudaError_t error = cudaGetDeviceCount(&gpus);

    cudaGetLastError();
    if (error == cudaErrorInsufficientDriver) return no_driver();
    if (error == cudaErrorNoDevice || (!error && !gpus))
        return pawl_fail(PAWL_ENOTSUP, "the driver shows no GPU%s%.64s", visible
                         ? "; CUDA_VISIBLE_DEVICES=" : "", visible ? visible : "");
    if (error)
        return pawl_fail(PAWL_ENOTSUP, "the NVIDIA driver refuses: %s (CUDA error %d)",
                         cudaGetErrorString(error), (int)error);
    *out = gpus;
    return 0;
}

static int cuda_gpu(struct pawl_gpu *out, int index)
{
    struct cudaDeviceProp facts;
    size_t free_bytes = 0, bytes = 0;
    int gpus = 0;

    int rc = count(&gpus);
    if (rc) return rc;
    if (index < 0 || index >= gpus)
        return pawl_fail(PAWL_ENONE, "there are %d GPUs", gpus);
    cudaError_t error = cudaGetDeviceProperties(&facts, index);
    if (error)
        return pawl_fail(PAWL_ENOTSUP, "cuda:%d: %s", index, cudaGetErrorString(error));
    *out = (struct pawl_gpu){ .bytes = facts.totalGlobalMem, .major = facts.major,
                              .minor = facts.minor, .multiprocessors = facts.multiProcessorCount };
    snprintf(out->name, sizeof(out->name), "%.90s", facts.name);
    cudaDriverGetVersion(&out->driver);
    cudaRuntimeGetVersion(&out->runtime);
    if (!cudaSetDevice(index) && !cudaMemGetInfo(&free_bytes, &bytes)) out->free_bytes = free_bytes;
    cudaGetLastError();
    return 0;
}

// "cuda" is the first, "cuda:N" the N-th of those that CUDA_VISIBLE_DEVICES leaves.
static int which(int *out, const char *name)
{
    char *end = NULL;
    int gpus = 0;

    const char *number = name[4] == ':' ? name + 5 : "0";
    const long index = strtol(number, &end, 10);
    if (*number < '0' || *number > '9' || *end || index > 4095)
        return pawl_fail(PAWL_EINVAL, "device '%.32s': after cuda comes a number: cuda:0", name);
    const int rc = count(&gpus);
    if (rc) return rc;
    if (index >= gpus)
        return pawl_fail(PAWL_ENOTSUP, "the driver shows %d GPU%s: cuda:0%s", gpus,
                         gpus == 1 ? "" : "s", gpus == 1 ? "" : " and up");
    *out = (int)index;
    return 0;
}

// ---- opening

static void cuda_close(struct pawl_device *device)
{
    struct pawl_cuda *cuda = cuda_of(device);

    // The context stays: it may be shared with code of the caller's own.
    pawl_cuda_enter(device);
    pawl_blas_close(cuda->blas);
    pawl_free(cuda);
}

// The current device can run what this file was built with.
static int usable(const struct pawl_gpu *gpu, int index)
{
    const cudaError_t error = pawl_cuda_probe();

    cudaGetLastError();
    if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction)
        return pawl_fail(PAWL_ENOTSUP, "cuda:%d, %s: this pawl has no code for its compute "
                         "capability, %d.%d. try: building with -DPAWL_CUDA_ARCH=%d%d", index,
                         gpu->name, gpu->major, gpu->minor, gpu->major, gpu->minor);
    if (error)
        return pawl_fail(PAWL_ENOTSUP, "cuda:%d, %s: %s (CUDA error %d)", index, gpu->name,
                         cudaGetErrorString(error), (int)error);
    return 0;
}

static int cuda_open(struct pawl_device **out, const char *name, int threads)
{
    struct pawl_cuda *cuda = NULL;
    struct pawl_gpu gpu = { 0 };
    int index = 0;

    (void)threads;
    int rc = which(&index, name);
    if (!rc) rc = cuda_gpu(&gpu, index);  // makes it the thread's current one
    if (!rc) rc = usable(&gpu, index);
    if (!rc) rc = pawl_alloc(&cuda, sizeof(*cuda), "the cuda device");
    if (rc) return rc;
    cuda->device.kind = &pawl_device_cuda;
    cuda->device.ops = &cuda->fp32;
    cuda->device.bf16 = &cuda->bf16;
    cuda->device.threads = 1;
    cuda->index = index;
    cuda->major = gpu.major;
    cuda->minor = gpu.minor;
    cuda->multiprocessors = gpu.multiprocessors;
    snprintf(cuda->device.words, sizeof(cuda->device.words), "%s, %.1f GB, sm_%d%d", gpu.name,
             (double)gpu.bytes / 1e9, gpu.major, gpu.minor);
    cuda->fp32 = pawl_cuda_ops_fp32;
    cuda->bf16 = pawl_cuda_ops_bf16;
    rc = pawl_blas_open(&cuda->blas);
    if (rc) {
        cuda_close(&cuda->device);
        return rc;
    }
    if (cuda->blas) pawl_blas_linear(&cuda->fp32, &cuda->bf16);
    *out = &cuda->device;
    return 0;
}

// ---- memory

static const char *const places[] = { "device memory", "page-locked host memory" };

static int refuse(struct pawl_cuda *cuda, size_t bytes, enum pawl_place place, cudaError_t error)
{
    size_t left = 0, all = 0;

    if (pawl_cuda_is_lost(cuda, error))
        return pawl_fail(PAWL_EDEVICE, "cuda:%d is lost: %s", cuda->index,
                         (const char *)atomic_load(&cuda->lost));
    if (error != cudaErrorMemoryAllocation)
        return pawl_fail(PAWL_EDEVICE, "cuda:%d: no %s: %s", cuda->index, places[place],
                         cudaGetErrorString(error));
    if (place == PAWL_ON_HOST)
        return pawl_fail(PAWL_ENOMEM, "no memory for %s (%zu bytes). try: --host-memory with less",
                         places[place], bytes);
    cudaMemGetInfo(&left, &all);
    cudaGetLastError();
    return pawl_fail(PAWL_ENOMEM, "cuda:%d: %.2f GB are needed and %.2f of %.2f GB are free",
                     cuda->index, (double)bytes / 1e9, (double)left / 1e9, (double)all / 1e9);
}

// Large pieces lie in huge pages of the process's own, which are locked in place: that is quicker
// than CUDA's own page-locked memory, and storage takes such pages for direct transfers. Small ones
// come from CUDA, so that kernels may use their addresses on any machine.
enum { LARGE_BYTES = 1 << 20, PAGE_BYTES = 4096 };

static size_t paged(size_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static bool lock_pages(void **out, size_t bytes)
{
    const size_t size = paged(bytes);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) return false;
    madvise(memory, size, MADV_HUGEPAGE);  // only advice
    memset(memory, 0, size);
    if (cudaHostRegister(memory, size, cudaHostRegisterPortable)) {
        cudaGetLastError();
        munmap(memory, size);
        return false;
    }
    *out = memory;
    return true;
}

static int host_alloc(struct pawl_device *device, void **out, size_t bytes)
{
    void *memory = NULL;

    if (bytes >= LARGE_BYTES && lock_pages(out, bytes)) return 0;
    const cudaError_t error = cudaHostAlloc(&memory, bytes, cudaHostAllocPortable);
    if (error) return refuse(cuda_of(device), bytes, PAWL_ON_HOST, error);
    memset(memory, 0, bytes);
    *out = memory;
    return 0;
}

static int cuda_alloc(struct pawl_device *device, void **out, size_t bytes, enum pawl_place place)
{
    const size_t size = bytes ? bytes : 1;
    void *memory = NULL;

    pawl_cuda_enter(device);
    if (place == PAWL_ON_HOST) return host_alloc(device, out, size);
    cudaError_t error = cudaMalloc(&memory, size);
    if (error) return refuse(cuda_of(device), bytes, place, error);
    // pawl's streams do not wait for the one that cudaMemset is queued on.
    error = cudaMemset(memory, 0, size);
    if (!error) error = cudaStreamSynchronize(cudaStreamLegacy);
    if (error) {
        cudaFree(memory);
        return refuse(cuda_of(device), bytes, place, error);
    }
    *out = memory;
    return 0;
}

static uint64_t cuda_free_bytes(struct pawl_device *device)
{
    size_t left = 0, all = 0;

    pawl_cuda_enter(device);
    cudaMemGetInfo(&left, &all);
    cudaGetLastError();
    return left;
}

// What is queued may still use it.
static void free_host(void *memory, size_t bytes)
{
    cudaDeviceSynchronize();
    if (bytes < LARGE_BYTES || cudaHostUnregister(memory))
        cudaFreeHost(memory);
    else
        munmap(memory, paged(bytes));
}

// cudaFree waits for the device by itself.
static void cuda_free(struct pawl_device *device, void *memory, size_t bytes,
                      enum pawl_place place)
{
    pawl_cuda_enter(device);
    if (place == PAWL_ON_DEVICE)
        cudaFree(memory);
    else
        free_host(memory, bytes);
    cudaGetLastError();
}

static void cuda_phase(const char *words)
{
    if (words)
        nvtxRangePushA(words);
    else
        nvtxRangePop();
}

static double cuda_peak(struct pawl_device *device, double seconds)
{
    pawl_cuda_enter(device);
    return pawl_cuda_peak(cuda_of(device)->multiprocessors, seconds, pawl_services()->now_ns);
}

const struct pawl_device_kind pawl_device_cuda = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .stream_open = pawl_cuda_stream_open,
    .stream_close = pawl_cuda_stream_close,
    .copy = pawl_cuda_copy,
    .wait = pawl_cuda_wait,
    .event_open = pawl_cuda_event_open,
    .event_close = pawl_cuda_event_close,
    .event_record = pawl_cuda_event_record,
    .event_before = pawl_cuda_event_before,
    .event_done = pawl_cuda_event_done,
    .peak_gflops = cuda_peak,
    .free_bytes = cuda_free_bytes,
    .phase = cuda_phase,
    .gpu = cuda_gpu,
};

const struct pawl_plugin pawl_plugin = {
    PAWL_PLUGIN_SIZES,
    .start = pawl_services_set,
    .kind = &pawl_device_cuda,
    .ops = { &pawl_cuda_ops_fp32, &pawl_cuda_ops_bf16 },
};
