// device.c - finds the row for a device's name and forwards to it.

#include "kernels/device.h"

#include <string.h>

extern const struct pawl_device_kind pawl_device_host, pawl_device_sim;

// One row per device. The first letters up to ':' choose it.
static const struct pawl_device_kind *const kinds[] = { &pawl_device_host,
                                                        &pawl_device_sim };
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

const char *pawl_device_why_host(void)
{
    return "this build has no CUDA device";
}

int pawl_device_open(struct pawl_device **out, const char *name, int threads)
{
    const char *wanted = strcmp(name, "auto") ? name : "host";
    const size_t length = strcspn(wanted, ":");

    for (int i = 0; i < KINDS; i++)
        if (strlen(kinds[i]->name) == length && !strncmp(kinds[i]->name, wanted, length))
            return kinds[i]->open(out, wanted, threads);
    if (!strncmp(wanted, "cuda", length))
        return pawl_fail(PAWL_ENOTSUP, "device '%s' is not there: %s; there is: host sim", name,
                         pawl_device_why_host());
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

int pawl_stream_open(struct pawl_stream **out, struct pawl_device *device)
{
    return device->kind->stream_open(device, out);
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
