// attention.c - softmax(q k^T / sqrt(dim)) v without the (time, time) matrix: keys in tiles, the
// softmax carried along (Milakov and Gimelshein, 2018; Dao et al., 2022).
//
// A block is one head's run of queries:
//
//     copy q
//     for each tile of KEYS keys: copy k^T and v
//         for each six queries:   scores = q k^T      six rows, in the first cache
//                                 weights = exp(scores - top), sums
//                                 sum_v = sum_v * shrink + weights v
//     out = sum_v / sums
//
// Tiles behind the diagonal are not visited. dim up to 1024 fits the scratch.

#include "kernels/host/ops/attention.h"
#include "kernels/host/ops/ops.h"

enum { KEYS = 128, QUERIES = 258 };  // whole vectors; whole sixes

struct forward {
    value *out;
    float *lse;
    const value *qkv;
    struct pawl_attention a;
    int64_t runs, run;  // runs of queries per head, and the queries of each
};

// One block's place and scratch.
struct run {
    const value *query, *key, *val;    // position 0 of this head
    int64_t start, rows, width;        // width: dim in whole vectors
    float *key_t;                      // (dim, KEYS)
    float *queries, *values;           // (rows, width), scaled; (KEYS, width)
    float *sum_v;                      // (rows, width)
    float *scores;                     // (PRODUCT_ROWS, KEYS)
    float *top, *sum;                  // (rows)
};

static void open_run(struct run *r, const struct forward *f, int64_t block, float *scratch)
{
    const struct pawl_attention *a = &f->a;
    const int64_t item = block / f->runs / a->heads, head = block / f->runs % a->heads;
    const int64_t kv = head / (a->heads / a->kv_heads);
    const value *row = f->qkv + item * a->time * qkv_row(a);

    r->query = row + query_at(a, head);
    r->key = row + key_at(a, kv);
    r->val = row + value_at(a, kv);
    // The last run sees the most keys: it goes first, so that threads end together.
    r->start = (f->runs - 1 - block % f->runs) * f->run;
    r->rows = host_piece(a->time, f->run, r->start);
    r->width = pad_lanes(a->dim);
    r->key_t = scratch;
    r->values = r->key_t + a->dim * KEYS;
    r->scores = r->values + KEYS * r->width;
    r->top = r->scores + PRODUCT_ROWS * KEYS;
    r->sum = r->top + pad_lanes(pad_rows(f->run));
    r->sum_v = r->sum + pad_lanes(pad_rows(f->run));
    r->queries = r->sum_v + f->run * r->width;
}

// Turns rows of scores into weights, and moves their tops and sums; shrink is what each row's sum_v
// still counts. Step by step for all rows, so that no row waits for another's reduction.
static void weigh(float *scores, int64_t rows, int64_t cols, float *top, float *sum, float *shrink)
{
    vec most[PRODUCT_ROWS], total[PRODUCT_ROWS];

    for (int64_t i = 0; i < rows; i++) {
        most[i] = vec_load(scores + i * KEYS);
        for (int64_t j = LANES; j < cols; j += LANES)
            most[i] = vec_max(vec_load(scores + i * KEYS + j), most[i]);
    }
    for (int64_t i = 0; i < rows; i++) {
        const float here = vec_top(most[i]), before = top[i];
        top[i] = here > before ? here : before;
        shrink[i] = top[i] == before ? 1.0f : expf(before - top[i]);
    }
    for (int64_t i = 0; i < rows; i++) {
        vec part = { 0 };
        for (int64_t j = 0; j < cols; j += LANES) {
            const vec w = vec_exp_below(vec_load(scores + i * KEYS + j) - top[i]);
            vec_store(scores + i * KEYS + j, w);
            part += w;
        }
        total[i] = part;
    }
    for (int64_t i = 0; i < rows; i++)
        sum[i] = sum[i] * shrink[i] + vec_sum(total[i]);
}

// Six queries from `row` of the run against the tile of keys.
static void attend(const struct run *r, const struct pawl_attention *a, int64_t row, int64_t key,
                   int64_t keys)
{
    const int64_t rows = host_piece(r->rows, PRODUCT_ROWS, row), t = r->start + row;
    const int64_t most = keys_seen(a, t + rows - 1, key, keys), padded = pad_lanes(most);
    float shrink[PRODUCT_ROWS];
    const struct product scores = {
        .out = r->scores, .out_row = KEYS, .a = r->queries + row * r->width, .a_row = r->width,
        .a_k = 1, .b = r->key_t, .b_row = KEYS, .rows = rows, .n = padded, .k = a->dim,
    };
    const struct product sum = {
        .out = r->sum_v + row * r->width, .out_row = r->width, .keep = key ? shrink : NULL,
        .a = r->scores, .a_row = KEYS, .a_k = 1, .b = r->values, .b_row = r->width, .rows = rows,
        .n = r->width, .k = most,
    };

    if (most < 1) return;
    product_rows(&scores);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = max_0(keys_seen(a, t + i, key, keys)); j < padded; j++)
            r->scores[i * KEYS + j] = -INFINITY;
    weigh(r->scores, rows, padded, r->top + row, r->sum + row, shrink);
    product_rows(&sum);
}

static void finish(const struct run *r, const struct forward *f, int64_t block)
{
    const struct pawl_attention *a = &f->a;
    const int64_t item = block / f->runs / a->heads, head = block / f->runs % a->heads;

    for (int64_t i = 0; i < r->rows; i++) {
        const int64_t t = r->start + i;
        const float *from = r->sum_v + i * r->width, scale = 1.0f / r->sum[i];
        value *to = f->out + (item * a->time + t) * out_row(a) + query_at(a, head);
        int64_t d = 0;
        prefetch_row(to + PREFETCH_ROWS * out_row(a), a->dim);
        for (; d + LANES <= a->dim; d += LANES)
            vec_store(to + d, vec_load(from + d) * scale);
        for (; d < a->dim; d++)
            to[d] = put(from[d] * scale);
        f->lse[(item * a->heads + head) * a->time + t] = r->top[i] + logf(r->sum[i]);
    }
}

// Asks for three of the next tile's keys and values while this one is worked on.
static void ask_ahead(const struct run *r, const struct pawl_attention *a, int64_t key)
{
    for (int64_t i = key; i < key + PRODUCT_ROWS / 2 && i < a->time; i++) {
        prefetch_row(r->key + i * qkv_row(a), a->dim);
        prefetch_row(r->val + i * qkv_row(a), a->dim);
    }
}

struct on_pool {
    const struct pawl_host *host;
    struct forward f;
};

static void attend_run(void *arguments, int64_t block, int thread)
{
    const struct on_pool *p = arguments;
    const struct pawl_attention *a = &p->f.a;
    struct run r;

    open_run(&r, &p->f, block, host_thread_scratch(p->host, thread));
    const int64_t end = a->causal ? r.start + r.rows : a->time, from = qkv_row(a);
    pack_rows(r.queries, r.width, r.query + r.start * from, from, r.rows, a->dim,
              1.0f / sqrtf((float)a->dim));
    for (int64_t i = 0; i < r.rows; i++) {
        r.top[i] = -INFINITY;
        r.sum[i] = 0;
    }
    for (int64_t key = 0; key < end; key += KEYS) {
        const int64_t keys = host_piece(end, KEYS, key);
        pack_transposed(r.key_t, KEYS, r.key + key * from, from, keys, a->dim);
        pack_rows(r.values, r.width, r.val + key * from, from, keys, a->dim, 1);
        // Sixes that lie wholly before the tile see none of it.
        const int64_t first = a->causal && key > r.start
                                  ? (key - r.start) / PRODUCT_ROWS * PRODUCT_ROWS : 0;
        for (int64_t row = first; row < r.rows; row += PRODUCT_ROWS) {
            ask_ahead(&r, a, key + KEYS + (row - first) / 2);
            attend(&r, a, row, key, keys);
        }
    }
    finish(&r, &p->f, block);
}

void HOST(attention)(struct pawl_stream *s, pawl_value *out, float *lse, const pawl_value *qkv,
                     const struct pawl_attention *shape)
{
    struct on_pool p = { host_of(s), { out, lse, qkv, *shape, 0, 0 } };

    p.f.runs = host_pieces(shape->time, QUERIES);
    p.f.run = p.f.runs ? pad_rows(host_pieces(shape->time, p.f.runs)) : 0;
    host_run(s, shape->batch * shape->heads * p.f.runs, attend_run, &p);
}
