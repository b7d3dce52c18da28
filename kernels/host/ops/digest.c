// digest.c - the sums of digest.h over blocks; addition does not care about their order.

#include "kernels/digest.h"
#include "kernels/host/ops/ops.h"

enum { BLOCK_BYTES = 1 << 20 };

struct digest {
    uint64_t (*partial)[2];  // one per block, in shared scratch
    const char *x;
    int64_t bytes, block_bytes;
};

static void digest_block(void *arguments, int64_t block, int thread)
{
    const struct digest *d = arguments;
    const int64_t start = block * d->block_bytes;

    (void)thread;
    d->partial[block][0] = d->partial[block][1] = 0;
    pawl_digest_add(d->partial[block], d->x + start,
                    (size_t)host_piece(d->bytes, d->block_bytes, start),
                    (uint64_t)start / sizeof(uint64_t));
}

void HOST(digest)(struct pawl_stream *s, uint64_t *out, const void *x, int64_t bytes)
{
    struct digest d = { (uint64_t(*)[2])(void *)host_of(s)->shared_scratch, x, bytes, BLOCK_BYTES };

    while (host_pieces(bytes, d.block_bytes) > HOST_SHARED_BYTES / (int64_t)sizeof(*d.partial))
        d.block_bytes *= 2;
    const int64_t blocks = host_pieces(bytes, d.block_bytes);
    host_run(s, blocks, digest_block, &d);
    out[0] = out[1] = 0;
    for (int64_t i = 0; i < blocks; i++) {
        out[0] += d.partial[i][0];
        out[1] += d.partial[i][1];
    }
}
