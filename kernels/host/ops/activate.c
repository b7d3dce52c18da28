// activate.c - one value in, one value out: activations, their slopes, and sums of two.

#include "kernels/host/ops/math.h"
#include "kernels/host/ops/ops.h"

enum { FLOATS = 1 << 14 };  // a block: some tens of microseconds

struct map {
    value *out;
    const value *a, *b;
    int64_t n;
    enum pawl_activation activation;
    float alpha;
};

VEC_INLINE void forward(value *out, const value *x, int64_t n, enum pawl_activation activation,
                        float alpha)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, act_forward_alpha(vec_load(x + i), activation, alpha));
    if (i < n) {
        const vec rest = act_forward_alpha(vec_load_some(x + i, n - i), activation, alpha);
        vec_store_some(out + i, rest, n - i);
    }
}

VEC_INLINE void backward(value *out, const value *grad, const value *saved, int64_t n,
                         enum pawl_activation activation, float alpha)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        const vec slope = act_backward_alpha(vec_load(saved + i), activation, alpha);
        vec_store(out + i, vec_load(grad + i) * slope);
    }
    if (i < n) {
        const vec slope = act_backward_alpha(vec_load_some(saved + i, n - i), activation, alpha);
        vec_store_some(out + i, vec_load_some(grad + i, n - i) * slope, n - i);
    }
}

// A loop of its own for each, with its constants in registers: twice as fast as one that asks.
#define EACH(call)                                                                                 \
    switch (m->activation) {                                                                       \
    case PAWL_RELU: call(PAWL_RELU); break;                                                        \
    case PAWL_LEAKY_RELU: call(PAWL_LEAKY_RELU); break;                                            \
    case PAWL_ELU: call(PAWL_ELU); break;                                                          \
    case PAWL_GELU: call(PAWL_GELU); break;                                                        \
    case PAWL_GELU_TANH: call(PAWL_GELU_TANH); break;                                              \
    case PAWL_SILU: call(PAWL_SILU); break;                                                        \
    case PAWL_SIGMOID: call(PAWL_SIGMOID); break;                                                  \
    case PAWL_TANH: call(PAWL_TANH); break;                                                        \
    case PAWL_SOFTPLUS: call(PAWL_SOFTPLUS); break;                                                \
    case PAWL_RELU6: call(PAWL_RELU6); break;                                                      \
    case PAWL_HARD_SIGMOID: call(PAWL_HARD_SIGMOID); break;                                        \
    case PAWL_HARD_SWISH: call(PAWL_HARD_SWISH); break;                                            \
    case PAWL_SELU: call(PAWL_SELU); break;                                                        \
    case PAWL_SOFTSIGN: call(PAWL_SOFTSIGN); break;                                                \
    case PAWL_MISH: call(PAWL_MISH); break;                                                        \
    case PAWL_EXPONENTIAL: call(PAWL_EXPONENTIAL); break;                                          \
    default: call(PAWL_LINEAR); break;                                                             \
    }

static void activate_block(void *arguments, int64_t block, int thread)
{
    const struct map *m = arguments;
    const int64_t start = block * FLOATS, n = host_piece(m->n, FLOATS, start);

    (void)thread;
#define FORWARD(activation) forward(m->out + start, m->a + start, n, activation, m->alpha)
    EACH(FORWARD)
}

void HOST(activate)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                    enum pawl_activation activation, float alpha)
{
    struct map m = { out, x, NULL, n, activation, alpha > 0 ? alpha : act_alpha(activation) };

    host_run(s, host_pieces(n, FLOATS), activate_block, &m);
}

static void activate_back_block(void *arguments, int64_t block, int thread)
{
    const struct map *m = arguments;
    const int64_t start = block * FLOATS, n = host_piece(m->n, FLOATS, start);
    const value *grad = m->a + start, *saved = m->b ? m->b + start : grad;

    (void)thread;
#define BACKWARD(activation) backward(m->out + start, grad, saved, n, activation, m->alpha)
    EACH(BACKWARD)
}

void HOST(activate_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                         const pawl_value *saved, int64_t n, enum pawl_activation activation,
                         float alpha)
{
    struct map m = { x_grad, out_grad, saved, n, activation,
                     alpha > 0 ? alpha : act_alpha(activation) };

    host_run(s, host_pieces(n, FLOATS), activate_back_block, &m);
}

static void add_block(void *arguments, int64_t block, int thread)
{
    const struct map *m = arguments;
    const int64_t start = block * FLOATS, n = host_piece(m->n, FLOATS, start);
    value *out = m->out + start;
    const value *a = m->a + start, *b = m->b + start;
    int64_t i = 0;

    (void)thread;
    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_load(a + i) + vec_load(b + i));
    for (; i < n; i++)
        out[i] = put(get(a[i]) + get(b[i]));
}

void HOST(add)(struct pawl_stream *s, pawl_value *out, const pawl_value *a, const pawl_value *b,
               int64_t n)
{
    struct map m = { out, a, b, n, PAWL_LINEAR, 0 };

    host_run(s, host_pieces(n, FLOATS), add_block, &m);
}
