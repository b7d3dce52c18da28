// convert.c - between fp32 and the table's type.

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

enum { FLOATS = 1 << 15 };

struct convert {
    float *wide;
    value *narrow;
    const float *from_wide;
    const value *from_narrow;
    int64_t n;
};

static void convert_block(void *arguments, int64_t block, int thread)
{
    const struct convert *c = arguments;
    const int64_t start = block * FLOATS, end = start + host_piece(c->n, FLOATS, start);

    (void)thread;
    for (int64_t i = start; i < end; i += LANES) {
        const int64_t n = end - i;
        if (c->narrow)
            vec_store_left(c->narrow + i, vec_load_left(c->from_wide + i, n), n);
        else
            vec_store_left(c->wide + i, vec_load_left(c->from_narrow + i, n), n);
    }
}

void HOST(narrow)(struct pawl_stream *s, pawl_value *out, const float *x, int64_t n)
{
    struct convert c = { .narrow = out, .from_wide = x, .n = n };

    host_run(s, host_pieces(n, FLOATS), convert_block, &c);
}

void HOST(widen)(struct pawl_stream *s, float *out, const pawl_value *x, int64_t n)
{
    struct convert c = { .wide = out, .from_narrow = x, .n = n };

    host_run(s, host_pieces(n, FLOATS), convert_block, &c);
}
