// convert.c - between fp32 and the table's type.

#include <string.h>

#include "kernels/host/ops/ops.h"

enum { FLOATS = 1 << 15 };

struct convert {
    float *out;
    const float *x;
    int64_t n;
};

static void convert_block(void *arguments, int64_t block, int thread)
{
    const struct convert *c = arguments;
    const int64_t start = block * FLOATS, n = host_piece(c->n, FLOATS, start);

    (void)thread;
    memcpy(c->out + start, c->x + start, (size_t)n * sizeof(float));
}

void HOST(narrow)(struct pawl_stream *s, pawl_value *out, const float *x, int64_t n)
{
    struct convert c = { out, x, n };

    host_run(s, host_pieces(n, FLOATS), convert_block, &c);
}

void HOST(widen)(struct pawl_stream *s, float *out, const pawl_value *x, int64_t n)
{
    struct convert c = { out, x, n };

    host_run(s, host_pieces(n, FLOATS), convert_block, &c);
}
