// digest.c - see digest.h.

#include "checkpoint/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "kernels/digest.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { WORD = sizeof(uint64_t), BLOCK_BYTES = 1 << 20 };

int pawl_digests_open(struct pawl_digests *digests, struct pawl_device *device,
                      const struct pawl_layout *layout, const struct pawl_ring *ring,
                      struct pawl_manifest_file *shard)
{
    *digests = (struct pawl_digests){ .device = device };
    digests->bytes = (size_t)ring->frames * (size_t)layout->stretch_count * 2 * WORD;
    if (!digests->bytes) return 0;
    int rc = pawl_alloc(&shard->digests,
                        (size_t)layout->stretch_count * sizeof(*shard->digests), "digests");
    if (!rc) rc = pawl_device_alloc(device, &digests->sums, digests->bytes, PAWL_ON_HOST);
    return rc;
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
        digests->device->ops->digest(stream, sums + 2 * i, layout->in_file[i].memory,
                                     (int64_t)layout->in_file[i].size_bytes);
}

int pawl_digests_check(const struct pawl_digests *digests, const struct pawl_layout *layout,
                       int frame, const char *memory, struct pawl_manifest_file *shard)
{
    if (!digests->sums) return 0;
    const uint64_t *sums = sums_of(digests, layout, frame);
    shard->digest_count = 0;
    for (int i = 0; i < layout->stretch_count; i++) {
        const struct pawl_stretch *stretch = &layout->in_file[i];
        struct pawl_manifest_digest *out = &shard->digests[i];
        *out = (struct pawl_manifest_digest){ stretch->offset_bytes, stretch->size_bytes, { 0 } };
        pawl_digest_add(out->sum, memory + stretch->offset_bytes, stretch->size_bytes, 0);
        if (memcmp(out->sum, sums + 2 * i, sizeof(out->sum)))
            return pawl_fail(PAWL_EDEVICE, "the copy of the state is torn or stale: bytes %llu to "
                             "%llu of the file are not what the device held",
                             (unsigned long long)out->offset,
                             (unsigned long long)(out->offset + out->bytes));
    }
    shard->digest_count = layout->stretch_count;
    return 0;
}

// ---- what was saved, seen again

static int compare(const struct pawl_manifest_digest *digest, const uint64_t sum[2],
                   const char *path, const char *what)
{
    if (!memcmp(sum, digest->sum, sizeof(digest->sum))) return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s: bytes %llu to %llu %s what the device held when the "
                     "snapshot was taken", path, (unsigned long long)digest->offset,
                     (unsigned long long)(digest->offset + digest->bytes), what);
}

// The last piece that starts at or before offset, or NULL.
static const struct pawl_stretch *piece_at(const struct pawl_landed *landed, uint64_t offset)
{
    size_t low = 0, high = landed->piece_count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (landed->pieces[middle].offset_bytes <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &landed->pieces[low - 1] : NULL;
}

// The bytes of the file from offset on into the room, from wherever they landed.
static int gather(const struct pawl_landed *landed, uint64_t offset, uint64_t bytes,
                  const char *path)
{
    for (uint64_t done = 0; done < bytes;) {
        const struct pawl_stretch *piece = piece_at(landed, offset + done);
        const uint64_t from = piece ? offset + done - piece->offset_bytes : 0;
        if (!piece || from >= piece->size_bytes)
            return pawl_fail(PAWL_ECORRUPT, "%s: byte %llu was digested and is no tensor's", path,
                             (unsigned long long)(offset + done));
        uint64_t part = piece->size_bytes - from;
        if (part > bytes - done) part = bytes - done;
        pawl_stream_copy(landed->stream, landed->room + done, piece->memory + from, part);
        done += part;
    }
    return pawl_stream_wait(landed->stream);
}

// Where it lies in pieces: over the host, a room at a time.
static int sum_pieces(const struct pawl_landed *landed, const struct pawl_manifest_digest *digest,
                      uint64_t sum[2], const char *path)
{
    const uint64_t room = landed->room_bytes / WORD * WORD;

    for (uint64_t done = 0; done < digest->bytes; done += room) {
        const uint64_t left = digest->bytes - done, part = left < room ? left : room;
        const int rc = gather(landed, digest->offset + done, part, path);
        if (rc) return rc;
        pawl_digest_add(sum, landed->room, part, done / WORD);
    }
    return 0;
}

static int sum_landed(const struct pawl_landed *landed, const struct pawl_manifest_digest *digest,
                      uint64_t sum[2], const char *path)
{
    const struct pawl_stretch *piece = piece_at(landed, digest->offset);
    const uint64_t from = piece ? digest->offset - piece->offset_bytes : 0;

    sum[0] = sum[1] = 0;
    if (!piece || from >= piece->size_bytes || piece->size_bytes - from < digest->bytes)
        return sum_pieces(landed, digest, sum, path);
    landed->device->ops->digest(landed->stream, sum, piece->memory + from,
                                (int64_t)digest->bytes);
    return pawl_stream_wait(landed->stream);
}

int pawl_digests_landed(const struct pawl_landed *landed, const struct pawl_manifest_file *shard,
                        const char *path)
{
    uint64_t *sum;

    if (!shard->digest_count) return 0;
    int rc = pawl_device_alloc(landed->device, &sum, 2 * WORD, PAWL_ON_HOST);
    if (rc) return rc;
    for (int i = 0; i < shard->digest_count && !rc; i++) {
        rc = sum_landed(landed, &shard->digests[i], sum, path);
        if (!rc) rc = compare(&shard->digests[i], sum, path, "did not land as");
    }
    pawl_device_free(landed->device, sum, 2 * WORD, PAWL_ON_HOST);
    return rc;
}

int pawl_digests_verify(const char *path, const struct pawl_manifest_file *shard)
{
    char *room = NULL;

    if (!shard->digest_count) return 0;
    int rc = pawl_alloc(&room, BLOCK_BYTES, "a block");
    if (rc) return rc;
    const int fd = pawl_io()->open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) rc = pawl_io_fail(fd, "open", path);
    for (int i = 0; i < shard->digest_count && !rc; i++) {
        const struct pawl_manifest_digest *digest = &shard->digests[i];
        uint64_t sum[2] = { 0 };
        for (uint64_t done = 0; done < digest->bytes && !rc; done += BLOCK_BYTES) {
            const uint64_t left = digest->bytes - done;
            const size_t part = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
            rc = pawl_io_read_all(fd, room, part, (off_t)(digest->offset + done));
            if (rc) rc = pawl_io_fail(rc, "read", path);
            else pawl_digest_add(sum, room, part, done / WORD);
        }
        if (!rc) rc = compare(digest, sum, path, "are not");
    }
    if (fd >= 0) pawl_io()->close(fd);
    pawl_free(room);
    return rc;
}
