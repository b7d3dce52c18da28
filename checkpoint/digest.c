// digest.c - see digest.h.

#include "checkpoint/digest.h"

#include <string.h>

#include "kernels/digest.h"

int pawl_digests_open(struct pawl_digests *digests, struct pawl_device *device,
                      const struct pawl_layout *layout, const struct pawl_ring *ring)
{
    *digests = (struct pawl_digests){ .device = device };
    digests->bytes = (size_t)ring->frames * (size_t)layout->stretch_count * 2 * sizeof(uint64_t);
    if (!digests->bytes) return 0;
    return pawl_device_alloc(device, &digests->sums, digests->bytes, PAWL_ON_HOST);
}

void pawl_digests_close(struct pawl_digests *digests)
{
    if (digests->sums)
        pawl_device_free(digests->device, digests->sums, digests->bytes, PAWL_ON_HOST);
    *digests = (struct pawl_digests){ 0 };
}

static uint64_t *sums_of(const struct pawl_digests *digests, const struct pawl_layout *layout,
                         int frame)
{
    return digests->sums + (size_t)frame * (size_t)layout->stretch_count * 2;
}

void pawl_digests_take(struct pawl_digests *digests, const struct pawl_layout *layout, int frame,
                       struct pawl_stream *stream)
{
    if (!digests->sums) return;
    uint64_t *sums = sums_of(digests, layout, frame);
    // Those of the snapshot that was here before would vouch for its bytes, should neither the new
    // ones nor the copy have landed when the saver's thread looks.
    memset(sums, 0, (size_t)layout->stretch_count * 2 * sizeof(*sums));
    for (int i = 0; i < layout->stretch_count; i++)
        digests->device->ops->digest(stream, sums + 2 * i, layout->stretches[i].memory,
                                     (int64_t)layout->stretches[i].size_bytes);
}

int pawl_digests_check(const struct pawl_digests *digests, const struct pawl_layout *layout,
                       int frame, const char *memory)
{
    if (!digests->sums) return 0;
    const uint64_t *sums = sums_of(digests, layout, frame);
    for (int i = 0; i < layout->stretch_count; i++) {
        const struct pawl_stretch *stretch = &layout->stretches[i];
        uint64_t landed[2] = { 0 };
        pawl_digest_add(landed, memory + stretch->offset_bytes, stretch->size_bytes, 0);
        if (landed[0] != sums[2 * i] || landed[1] != sums[2 * i + 1])
            return pawl_fail(PAWL_EDEVICE, "the copy of the state is torn or stale: bytes %llu to "
                             "%llu of the file are not what the device held",
                             (unsigned long long)stretch->offset_bytes,
                             (unsigned long long)(stretch->offset_bytes + stretch->size_bytes));
    }
    return 0;
}
