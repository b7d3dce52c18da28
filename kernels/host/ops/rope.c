// rope.c - rotary position embedding (Su and others, 2021): pairs of a head's dimensions turn by an
// angle that grows with the position. Angles in double: at position 100,000 a float would be off by
// a hundredth of a turn.

#include <math.h>
#include <string.h>

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

struct rope {
    value *out;
    const value *x;
    struct pawl_rope r;
};

static void turn(value *out, const value *x, const float *cosine, const float *sine,
                 const struct pawl_rope *r)
{
    const int64_t half = r->rotary / 2, step = r->interleaved ? 2 : 1;
    const int64_t other = r->interleaved ? 1 : half;

    for (int64_t i = 0; i < half; i++) {
        const float a = get(x[i * step]), b = get(x[i * step + other]);
        out[i * step] = put(a * cosine[i] - b * sine[i]);
        out[i * step + other] = put(b * cosine[i] + a * sine[i]);
    }
    if (out != x)
        memcpy(out + r->rotary, x + r->rotary, (size_t)(r->dim - r->rotary) * sizeof(*out));
}

// All samples' rows of one position share its angles.
static void rope_position(void *arguments, int64_t position, int thread)
{
    const struct rope *a = arguments;
    const struct pawl_rope *r = &a->r;
    const int64_t half = r->rotary / 2, turned = r->heads * r->dim;
    float cosine[PAWL_ROTARY_MAX / 2], sine[PAWL_ROTARY_MAX / 2];

    (void)thread;
    for (int64_t i = 0; i < half; i++) {
        const double speed = pow(r->theta, -2 * (double)i / (double)r->rotary);
        const double angle = (double)position * speed * (r->back ? -1 : 1);
        cosine[i] = (float)cos(angle);
        sine[i] = (float)sin(angle);
    }
    for (int64_t b = 0; b < r->batch; b++) {
        const int64_t at = (b * r->time + position) * r->width;
        for (int64_t h = 0; h < r->heads; h++)
            turn(a->out + at + h * r->dim, a->x + at + h * r->dim, cosine, sine, r);
        if (a->out != a->x)
            memcpy(a->out + at + turned, a->x + at + turned,
                   (size_t)(r->width - turned) * sizeof(*a->out));
    }
}

void HOST(rope)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                const struct pawl_rope *rope)
{
    struct rope a = { out, x, *rope };

    host_run(s, rope->time, rope_position, &a);
}
