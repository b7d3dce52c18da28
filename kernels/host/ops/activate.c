// activate.c - one value in, one value out: activations, sums of two, dropout; and row softmax.

#include "kernels/host/ops/math.h"
#include "kernels/host/ops/ops.h"
#include "kernels/philox.h"

enum { FLOATS = 1 << 14 };  // a block: some tens of microseconds

struct map {
    float *out;
    const float *a, *b;
    int64_t n;
    enum pawl_activation activation;
};

VEC_INLINE void forward(float *out, const float *x, int64_t n, enum pawl_activation activation)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, act_forward(vec_load(x + i), activation));
    if (i < n)
        vec_store_some(out + i, act_forward(vec_load_some(x + i, n - i), activation), n - i);
}

VEC_INLINE void backward(float *out, const float *grad, const float *saved, int64_t n,
                         enum pawl_activation activation)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_load(grad + i) * act_backward(vec_load(saved + i), activation));
    if (i < n) {
        const vec slope = act_backward(vec_load_some(saved + i, n - i), activation);
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
    default: call(PAWL_LINEAR); break;                                                             \
    }

static void activate_block(void *arguments, int64_t block, int thread)
{
    const struct map *m = arguments;
    const int64_t start = block * FLOATS, n = host_piece(m->n, FLOATS, start);

    (void)thread;
#define FORWARD(activation) forward(m->out + start, m->a + start, n, activation)
    EACH(FORWARD)
}

void HOST(activate)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                    enum pawl_activation activation)
{
    struct map m = { out, x, NULL, n, activation };

    host_run(s, host_pieces(n, FLOATS), activate_block, &m);
}

static void activate_back_block(void *arguments, int64_t block, int thread)
{
    const struct map *m = arguments;
    const int64_t start = block * FLOATS, n = host_piece(m->n, FLOATS, start);
    const float *grad = m->a + start, *saved = m->b ? m->b + start : grad;

    (void)thread;
#define BACKWARD(activation) backward(m->out + start, grad, saved, n, activation)
    EACH(BACKWARD)
}

void HOST(activate_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                         const pawl_value *saved, int64_t n, enum pawl_activation activation)
{
    struct map m = { x_grad, out_grad, saved, n, activation };

    host_run(s, host_pieces(n, FLOATS), activate_back_block, &m);
}

static void add_block(void *arguments, int64_t block, int thread)
{
    const struct map *m = arguments;
    const int64_t start = block * FLOATS, n = host_piece(m->n, FLOATS, start);
    float *out = m->out + start;
    const float *a = m->a + start, *b = m->b + start;
    int64_t i = 0;

    (void)thread;
    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_load(a + i) + vec_load(b + i));
    for (; i < n; i++)
        out[i] = a[i] + b[i];
}

void HOST(add)(struct pawl_stream *s, pawl_value *out, const pawl_value *a, const pawl_value *b,
               int64_t n)
{
    struct map m = { out, a, b, n, PAWL_LINEAR };

    host_run(s, host_pieces(n, FLOATS), add_block, &m);
}

struct dropout {
    float *out;
    const float *x;
    int64_t n;
    float rate, scale;
    uint64_t seed, step;
    uint32_t layer;
};

enum { PAIRS = 4, DRAWS = 8 * PAIRS };

// The words of Philox (philox.h) at 2 * PAIRS counters from `first` on, word after word. A word
// lies in the low half of 64 bits; what is above does not matter to pair_multiply.
static void draw(uint32_t word[DRAWS], const struct dropout *d, uint32_t first)
{
    const vec_pair factor_0 = { 0xD2511F53u, 0xD2511F53u }, factor_2 = { 0xCD9E8D57u, 0xCD9E8D57u };
    uint32_t key_0 = (uint32_t)d->seed, key_1 = (uint32_t)(d->seed >> 32);
    vec_pair x[PAIRS][4];

    for (uint32_t c = 0; c < PAIRS; c++) {
        x[c][0] = (vec_pair){ first + 2 * c, first + 2 * c + 1 };
        x[c][1] = (vec_pair){ d->layer, d->layer };
        x[c][2] = (vec_pair){ d->step, d->step };
        x[c][3] = x[c][2] >> 32;
    }
    for (int round = 0; round < 10; round++) {
        for (int c = 0; c < PAIRS; c++) {
            const vec_pair a = pair_multiply(factor_0, x[c][0]);
            const vec_pair b = pair_multiply(factor_2, x[c][2]);
            x[c][0] = (b >> 32) ^ x[c][1] ^ key_0;
            x[c][2] = (a >> 32) ^ x[c][3] ^ key_1;
            x[c][1] = b;
            x[c][3] = a;
        }
        key_0 += 0x9E3779B9u;
        key_1 += 0xBB67AE85u;
    }
    for (int c = 0; c < PAIRS; c++) {
        const vec_pair low = (x[c][0] & 0xffffffffu) | x[c][1] << 32;
        const vec_pair high = (x[c][2] & 0xffffffffu) | x[c][3] << 32;
        const vec_pair one = __builtin_shufflevector(low, high, 0, 2);
        const vec_pair two = __builtin_shufflevector(low, high, 1, 3);
        memcpy(word + 8 * c, &one, sizeof(one));
        memcpy(word + 8 * c + 4, &two, sizeof(two));
    }
}

// A product, so that NaN stays NaN where it is dropped.
static inline vec drop(const struct dropout *d, vec x, const uint32_t *word)
{
    veci bits;

    memcpy(&bits, word, sizeof(bits));
    const vec uniform = __builtin_convertvector((veci)((vecu)bits >> 8), vec) * 0x1p-24f;
    return x * vec_select(uniform >= d->rate, vec_set(d->scale), (vec){ 0 });
}

static void dropout_block(void *arguments, int64_t block, int thread)
{
    const struct dropout *d = arguments;
    const int64_t start = block * FLOATS, end = start + host_piece(d->n, FLOATS, start);
    uint32_t word[DRAWS];

    (void)thread;
    for (int64_t first = start; first < end; first += DRAWS) {
        const int64_t n = host_piece(end, DRAWS, first);
        const float *x = d->x + first;
        float *out = d->out + first;
        int64_t i = 0;
        draw(word, d, (uint32_t)(first / 4));
        for (; i + LANES <= n; i += LANES)
            vec_store(out + i, drop(d, vec_load(x + i), word + i));
        if (i < n) vec_store_some(out + i, drop(d, vec_load_some(x + i, n - i), word + i), n - i);
    }
}

void HOST(dropout)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                   float rate, uint64_t seed, uint64_t step, uint32_t layer)
{
    struct dropout d = { out, x, n, rate, 1.0f / (1.0f - rate), seed, step, layer };

    host_run(s, host_pieces(n, FLOATS), dropout_block, &d);
}

struct softmax {
    float *out;
    const float *x;
    int64_t rows, cols, block_rows;
};

static float row_top(const float *x, int64_t n)
{
    vec top = vec_set(-INFINITY);
    float rest = -INFINITY;
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        top = vec_max(vec_load(x + i), top);
    for (; i < n; i++)
        rest = x[i] > rest ? x[i] : rest;
    const float most = vec_top(top);
    return most > rest ? most : rest;
}

static void softmax_row(float *out, const float *x, int64_t n)
{
    const float top = row_top(x, n);
    vec sum = { 0 };
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        const vec e = vec_exp_below(vec_load(x + i) - top);
        vec_store(out + i, e);
        sum += e;
    }
    float total = vec_sum(sum);
    if (i < n) {
        vec_store_some(out + i, vec_exp_below(vec_load_some(x + i, n - i) - top), n - i);
        for (int64_t j = i; j < n; j++)
            total += out[j];
    }
    const float scale = 1.0f / total;
    for (i = 0; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_load(out + i) * scale);
    for (; i < n; i++)
        out[i] *= scale;
}

static void softmax_rows(void *arguments, int64_t block, int thread)
{
    const struct softmax *m = arguments;
    const int64_t start = block * m->block_rows;
    const int64_t end = start + host_piece(m->rows, m->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++)
        softmax_row(m->out + r * m->cols, m->x + r * m->cols, m->cols);
}

void HOST(softmax)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t rows,
                   int64_t cols)
{
    struct softmax m = { out, x, rows, cols, host_rows(cols) };

    host_run(s, host_pieces(rows, m.block_rows), softmax_rows, &m);
}
