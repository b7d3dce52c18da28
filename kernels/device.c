// device.c - finds the row for a device's name and forwards to it.

#include "kernels/device.h"

#include <string.h>

#include "kernels/plugin.h"

extern const struct pawl_device_kind pawl_device_host, pawl_device_sim;

// One row per device. The first letters up to ':' choose it. cuda's row is in its plugin.
static const struct pawl_device_kind *const kinds[] = { &pawl_device_host,
                                                        &pawl_device_sim };
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static int cuda(const struct pawl_device_kind **out)
{
    const struct pawl_plugin *plugin = NULL;
    const int rc = pawl_plugin_open(&plugin, "libpawl-cuda.so", "PAWL_CUDA_LIBRARY");

    if (rc) return rc;
    if (!plugin->kind || !plugin->kind->gpu)
        return pawl_fail(PAWL_ENOTSUP, "libpawl-cuda.so has no device in it");
    *out = plugin->kind;
    return 0;
}

int pawl_device_gpu(struct pawl_gpu *out, int index)
{
    const struct pawl_device_kind *kind = NULL;
    const int rc = cuda(&kind);

    return rc ? rc : kind->gpu(out, index);
}

const char *pawl_device_why_host(void)
{
    struct pawl_gpu gpu;

    return pawl_device_gpu(&gpu, 0) ? pawl_error() : NULL;
}

// name is not there; rc and the words say why.
static int refuse(const char *name, int rc)
{
    if (rc != PAWL_ENOTSUP) return rc;
    return pawl_fail(rc, "device '%.32s' is not there: %s. there is: host sim", name,
                     pawl_error());
}

static int open_cuda(struct pawl_device **out, const char *name, int threads)
{
    const struct pawl_device_kind *kind = NULL;
    int rc = cuda(&kind);

    if (!rc) rc = kind->open(out, name, threads);
    return rc ? refuse(name, rc) : 0;
}

int pawl_device_open(struct pawl_device **out, const char *name, int threads)
{
    const char *wanted = name;

    if (!strcmp(name, "auto")) wanted = pawl_device_why_host() ? "host" : "cuda";
    const size_t length = strcspn(wanted, ":");

    for (int i = 0; i < KINDS; i++)
        if (strlen(kinds[i]->name) == length && !strncmp(kinds[i]->name, wanted, length))
            return kinds[i]->open(out, wanted, threads);
    if (length == strlen("cuda") && !strncmp(wanted, "cuda", length))
        return open_cuda(out, wanted, threads);
    return pawl_fail(PAWL_EINVAL, "device '%.32s' is unknown; known: auto host cuda[:N] sim", name);
}

void pawl_device_close(struct pawl_device *device)
{
    if (device) device->kind->close(device);
}

int pawl_device_alloc(struct pawl_device *device, void *out, size_t bytes, enum pawl_place place)
{
    void *memory = NULL;
    const int rc = device->kind->alloc(device, &memory, bytes, place);

    if (!rc) memcpy(out, &memory, sizeof(memory));
    return rc;
}

void pawl_device_free(struct pawl_device *device, void *memory, size_t bytes,
                      enum pawl_place place)
{
    if (memory) device->kind->free(device, memory, bytes, place);
}

uint64_t pawl_device_free_bytes(struct pawl_device *device)
{
    return device->kind->free_bytes ? device->kind->free_bytes(device) : 0;
}

void pawl_device_phase(const struct pawl_device *device, const char *words)
{
    if (device->kind->phase) device->kind->phase(words);
}

int pawl_stream_open(struct pawl_stream **out, struct pawl_device *device)
{
    return device->kind->stream_open(device, out, false);
}

int pawl_stream_open_background(struct pawl_stream **out, struct pawl_device *device)
{
    return device->kind->stream_open(device, out, true);
}

void pawl_stream_close(struct pawl_stream *stream)
{
    if (stream) stream->device->kind->stream_close(stream);
}

void pawl_stream_copy(struct pawl_stream *stream, void *out, const void *in, size_t bytes)
{
    if (!stream->fault) stream->device->kind->copy(stream, out, in, bytes);
}

int pawl_stream_wait(struct pawl_stream *stream)
{
    return stream->device->kind->wait(stream);
}

int pawl_event_open(struct pawl_event **out, struct pawl_device *device)
{
    return device->kind->event_open(device, out);
}

// Every backend's event starts with its device.
static const struct pawl_device_kind *kind_of(const struct pawl_event *event)
{
    return (*(struct pawl_device *const *)(const void *)event)->kind;
}

void pawl_event_close(struct pawl_event *event)
{
    if (event) kind_of(event)->event_close(event);
}

void pawl_event_record(struct pawl_event *event, struct pawl_stream *stream)
{
    kind_of(event)->event_record(event, stream);
}

void pawl_event_before(struct pawl_event *event, struct pawl_stream *stream)
{
    kind_of(event)->event_before(event, stream);
}

bool pawl_event_done(struct pawl_event *event)
{
    return kind_of(event)->event_done(event);
}
