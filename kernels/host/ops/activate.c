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

static void activate_block(void *arguments, int64_t block, int thread)
{
    const struct map *m = arguments;
    const int64_t start = block * FLOATS, n = host_piece(m->n, FLOATS, start);
    float *out = m->out + start;
    const float *x = m->a + start;
    int64_t i = 0;

    (void)thread;
    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, act_forward(vec_load(x + i), m->activation));
    if (i < n)
        vec_store_some(out + i, act_forward(vec_load_some(x + i, n - i), m->activation), n - i);
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
    float *out = m->out + start;
    const float *grad = m->a + start, *saved = m->b ? m->b + start : grad;
    int64_t i = 0;

    (void)thread;
    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_load(grad + i) * act_backward(vec_load(saved + i), m->activation));
    if (i < n) {
        const vec slope = act_backward(vec_load_some(saved + i, n - i), m->activation);
        vec_store_some(out + i, vec_load_some(grad + i, n - i) * slope, n - i);
    }
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

enum { COUNTERS = 16, DRAWS = 4 * COUNTERS };

// word[4 c + w] = word w of Philox at counter first + c: philox.h, several counters side by side so
// that the compiler makes vectors of them.
static void draw(uint32_t word[DRAWS], const struct dropout *d, uint32_t first)
{
    uint32_t key_0 = (uint32_t)d->seed, key_1 = (uint32_t)(d->seed >> 32);
    uint32_t x0[COUNTERS], x1[COUNTERS], x2[COUNTERS], x3[COUNTERS];

    for (uint32_t c = 0; c < COUNTERS; c++) {
        x0[c] = first + c;
        x1[c] = d->layer;
        x2[c] = (uint32_t)d->step;
        x3[c] = (uint32_t)(d->step >> 32);
    }
    for (int round = 0; round < 10; round++) {
        for (int c = 0; c < COUNTERS; c++) {
            const uint64_t a = (uint64_t)0xD2511F53u * x0[c], b = (uint64_t)0xCD9E8D57u * x2[c];
            x0[c] = (uint32_t)(b >> 32) ^ x1[c] ^ key_0;
            x2[c] = (uint32_t)(a >> 32) ^ x3[c] ^ key_1;
            x1[c] = (uint32_t)b;
            x3[c] = (uint32_t)a;
        }
        key_0 += 0x9E3779B9u;
        key_1 += 0xBB67AE85u;
    }
    for (int c = 0; c < COUNTERS; c++) {
        word[4 * c] = x0[c];
        word[4 * c + 1] = x1[c];
        word[4 * c + 2] = x2[c];
        word[4 * c + 3] = x3[c];
    }
}

static void dropout_block(void *arguments, int64_t block, int thread)
{
    const struct dropout *d = arguments;
    const int64_t start = block * FLOATS, end = start + host_piece(d->n, FLOATS, start);
    uint32_t word[DRAWS];

    (void)thread;
    for (int64_t first = start; first < end; first += DRAWS) {
        const int64_t n = host_piece(end, DRAWS, first);
        draw(word, d, (uint32_t)(first / 4));
        // A product, so that NaN stays NaN where it is dropped.
        for (int64_t i = 0; i < n; i++)
            d->out[first + i] = d->x[first + i]
                                * (pawl_uniform(word[i]) >= d->rate ? d->scale : 0.0f);
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
        const vec e = vec_exp(vec_load(x + i) - top);
        vec_store(out + i, e);
        sum += e;
    }
    float total = vec_sum(sum);
    if (i < n) {
        vec_store_some(out + i, vec_exp(vec_load_some(x + i, n - i) - top), n - i);
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
