// dropout.c - values dropped where Philox says so, several counters at a time.

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"
#include "kernels/philox.h"

enum { FLOATS = 1 << 14 };  // a block: some tens of microseconds

struct dropout {
    value *out;
    const value *x;
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
        const value *x = d->x + first;
        value *out = d->out + first;
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
