// attention_back.c - the gradients of attention.c, with the weights computed anew from lse.
//
// With p = exp(q k^T / sqrt(dim) - lse), d the row sums of out_grad * out:
//
//     v_grad = p^T out_grad        s_grad = p * (out_grad v^T - d) / sqrt(dim)
//     k_grad = s_grad^T q          q_grad = s_grad k
//
// A block is one key-value head of one item: it alone writes that head's gradients and those of
// the query heads that share it, in an order that the shape fixes:
//
//     for each tile of KEYS keys: copy k, k^T, v^T
//         for each query head, each QUERIES queries that see the tile: copy q, out_grad
//             six rows at a time: p and s_grad (QUERIES, KEYS), then q_grad += s_grad k
//             six keys at a time: v_grad += p^T out_grad, k_grad += s_grad^T q

#include "kernels/host/ops/attention.h"
#include "kernels/host/ops/ops.h"

enum { KEYS = 96, QUERIES = 96 };  // whole vectors and whole sixes
enum { IS_FLOAT = sizeof(value) == sizeof(float) };

struct backward {
    const struct pawl_host *host;
    value *qkv_grad;
    const value *out_grad, *qkv, *out;
    const float *lse;
    struct pawl_attention a;
};

// One block's place and scratch.
struct sweep {
    const struct backward *b;
    int64_t item, kv, width;      // width: dim in whole vectors
    float *key_t, *value_t;       // (dim, KEYS)
    float *keys_packed;           // (KEYS, width), scaled
    float *query, *out_grad;      // (QUERIES, width); query scaled
    float *p, *s_grad;            // (QUERIES, KEYS)
    float *key_grad, *value_grad; // (KEYS, width)
    float *d;                     // (QUERIES)
    float *six;                   // (PRODUCT_ROWS, dim): q_grad of six queries and one tile
    float *query_grad;            // (group, time, dim), or NULL: qkv_grad holds the sums
};

// What one tile of keys and one run of queries are doing.
struct meeting {
    int64_t key, keys, start, rows, head;
};

static float scale_of(const struct pawl_attention *a)
{
    return 1.0f / sqrtf((float)a->dim);
}

static const float all_ones[PRODUCT_ROWS] = { 1, 1, 1, 1, 1, 1 };

static void open_sweep(struct sweep *s, const struct backward *b, int64_t block, float *scratch)
{
    s->b = b;
    s->item = block / b->a.kv_heads;
    s->kv = block % b->a.kv_heads;
    s->width = pad_lanes(b->a.dim);
    s->key_t = scratch;
    s->value_t = s->key_t + b->a.dim * KEYS;
    s->keys_packed = s->value_t + b->a.dim * KEYS;
    s->query = s->keys_packed + KEYS * s->width;
    s->out_grad = s->query + QUERIES * s->width;
    s->p = s->out_grad + QUERIES * s->width;
    s->s_grad = s->p + QUERIES * KEYS;
    s->key_grad = s->s_grad + QUERIES * KEYS;
    s->value_grad = s->key_grad + KEYS * s->width;
    s->d = s->value_grad + KEYS * s->width;
    s->six = s->d + QUERIES;
    s->query_grad = s->six + PRODUCT_ROWS * b->a.dim;
    // Over the tiles q_grad is summed in float. Only where that does not fit (some 15,000 positions
    // of 64) a sum in bfloat16 is rounded once per tile instead of once.
    const int64_t floats = b->a.heads / b->a.kv_heads * b->a.time * b->a.dim;
    if (IS_FLOAT || s->query_grad - scratch + floats > HOST_THREAD_BYTES / (int64_t)sizeof(float))
        s->query_grad = NULL;
}

// d: the row sums of out_grad * out, once out_grad is packed.
static void sum_products(const struct sweep *s, const struct meeting *m)
{
    const struct pawl_attention *a = &s->b->a;
    const value *out = s->b->out + (s->item * a->time + m->start) * out_row(a)
                       + query_at(a, m->head);

    for (int64_t r = 0; r < m->rows; r++, out += out_row(a)) {
        const float *grad = s->out_grad + r * s->width;
        vec sum = { 0 };
        int64_t i = 0;
        prefetch_row(out + PREFETCH_ROWS * out_row(a), a->dim);
        for (; i + LANES <= a->dim; i += LANES)
            sum += vec_load(grad + i) * vec_load(out + i);
        if (i < a->dim) sum += vec_load(grad + i) * vec_load_some(out + i, a->dim - i);
        s->d[r] = vec_sum(sum);
    }
}

// p from scores and s_grad from out_grad v^T, in place; 0 where a key is not seen, as far as
// sweep_keys reads.
static void weigh(const struct sweep *s, int64_t row, int64_t seen, int64_t keys, float lse)
{
    float *p = s->p + row * KEYS, *grad = s->s_grad + row * KEYS;
    const int64_t end = pad_lanes(pad_rows(keys));
    const float d = s->d[row];
    int64_t j;

    for (j = max_0(seen); j < pad_lanes(max_0(seen)); j++) {
        p[j] = -INFINITY;
        grad[j] = 0;
    }
    for (j = 0; j < seen; j += LANES) {
        const vec w = vec_exp_below(vec_load(p + j) - lse);
        vec_store(p + j, w);
        vec_store(grad + j, w * (vec_load(grad + j) - d));
    }
    for (; j < end; j += LANES) {
        vec_store(p + j, (vec){ 0 });
        vec_store(grad + j, (vec){ 0 });
    }
}

// Where q_grad's sums of six queries lie, and how far apart.
static float *sums_of(const struct sweep *s, const struct meeting *m, int64_t t, int64_t *row)
{
    const struct pawl_attention *a = &s->b->a;
    const int64_t group = a->heads / a->kv_heads, at = (m->head % group * a->time + t) * a->dim;

    *row = a->dim;
    if (s->query_grad) return s->query_grad + at;
    if (!IS_FLOAT) return s->six;
    *row = qkv_row(a);
    return (float *)(void *)(s->b->qkv_grad + (s->item * a->time + t) * qkv_row(a)
                             + query_at(a, m->head));
}

// Rounds rows of dim sums to where they belong.
static void give_queries(const struct sweep *s, int64_t head, int64_t t, int64_t rows,
                         const float *sums, bool add)
{
    const struct pawl_attention *a = &s->b->a;
    value *to = s->b->qkv_grad + (s->item * a->time + t) * qkv_row(a) + query_at(a, head);

    for (int64_t r = 0; r < rows; r++, to += qkv_row(a), sums += a->dim)
        for (int64_t i = 0; i < a->dim; i++)
            to[i] = put(add ? get(to[i]) + sums[i] : sums[i]);
}

// Six queries: p, s_grad, and their share of q_grad.
static void sweep_queries(const struct sweep *s, const struct meeting *m, int64_t row)
{
    const struct pawl_attention *a = &s->b->a;
    const int64_t rows = host_piece(m->rows, PRODUCT_ROWS, row), t = m->start + row;
    const int64_t most = keys_seen(a, t + rows - 1, m->key, m->keys);
    const float *lse = s->b->lse + (s->item * a->heads + m->head) * a->time + t;
    struct product product = {
        .out = s->p + row * KEYS, .out_row = KEYS, .a = s->query + row * s->width,
        .a_row = s->width, .a_k = 1, .b = s->key_t, .b_row = KEYS, .rows = rows,
        .n = most > 0 ? pad_lanes(most) : 0, .k = a->dim,
    };

    product_rows(&product);
    product.out = s->s_grad + row * KEYS;
    product.a = s->out_grad + row * s->width;
    product.b = s->value_t;
    product_rows(&product);
    for (int64_t i = 0; i < rows; i++)
        weigh(s, row + i, keys_seen(a, t + i, m->key, m->keys), m->keys, lse[i]);
    if (most < 1) return;
    const bool alone = !IS_FLOAT && !s->query_grad;
    struct product query_grad = {
        .keep = m->key && !alone ? all_ones : NULL, .a = s->s_grad + row * KEYS,
        .a_row = KEYS, .a_k = 1, .b = s->keys_packed, .b_row = s->width, .rows = rows,
        .n = a->dim, .k = most,
    };
    query_grad.out = sums_of(s, m, t, &query_grad.out_row);
    product_rows(&query_grad);
    if (alone) give_queries(s, m->head, t, rows, s->six, m->key > 0);
}

// Six keys: what the run of queries adds to their gradients. Queries before them see nothing.
static void sweep_keys(const struct sweep *s, const struct meeting *m, int64_t key)
{
    const int64_t before = s->b->a.causal ? m->key + key - m->start : 0;
    const int64_t first = before > 0 ? before : 0;
    struct product product = {
        .out = s->value_grad + key * s->width, .out_row = s->width, .keep = all_ones,
        .a = s->p + first * KEYS + key, .a_row = 1, .a_k = KEYS,
        .b = s->out_grad + first * s->width, .b_row = s->width, .rows = PRODUCT_ROWS,
        .n = s->width, .k = m->rows - first,
    };

    if (product.k < 1) return;
    product_columns(&product);
    product.out = s->key_grad + key * s->width;
    product.a = s->s_grad + first * KEYS + key;
    product.b = s->query + first * s->width;
    product_columns(&product);
}

static void meet(const struct sweep *s, const struct meeting *m)
{
    const struct pawl_attention *a = &s->b->a;
    const int64_t at = s->item * a->time + m->start, head = query_at(a, m->head);

    pack_rows(s->query, s->width, s->b->qkv + at * qkv_row(a) + head, qkv_row(a), m->rows,
              a->dim, scale_of(a));
    pack_rows(s->out_grad, s->width, s->b->out_grad + at * out_row(a) + head, out_row(a),
              m->rows, a->dim, 1);
    sum_products(s, m);
    for (int64_t row = 0; row < m->rows; row += PRODUCT_ROWS)
        sweep_queries(s, m, row);
    for (int64_t key = 0; key < m->keys; key += PRODUCT_ROWS)
        sweep_keys(s, m, key);
}

static void write_tile(const struct sweep *s, int64_t key, int64_t keys)
{
    const struct pawl_attention *a = &s->b->a;
    value *row = s->b->qkv_grad + (s->item * a->time + key) * qkv_row(a);

    for (int64_t r = 0; r < keys; r++, row += qkv_row(a))
        for (int64_t i = 0; i < a->dim; i++) {
            row[key_at(a, s->kv) + i] = put(s->key_grad[r * s->width + i]);
            row[value_at(a, s->kv) + i] = put(s->value_grad[r * s->width + i]);
        }
}

static void sweep_tile(const struct sweep *s, int64_t key, int64_t keys)
{
    const struct pawl_attention *a = &s->b->a;
    const value *row = s->b->qkv + (s->item * a->time + key) * qkv_row(a);
    const int64_t group = a->heads / a->kv_heads, from = qkv_row(a);
    const size_t bytes = (size_t)(KEYS * s->width) * sizeof(float);

    pack_transposed(s->key_t, KEYS, row + key_at(a, s->kv), from, keys, a->dim);
    pack_transposed(s->value_t, KEYS, row + value_at(a, s->kv), from, keys, a->dim);
    pack_rows(s->keys_packed, s->width, row + key_at(a, s->kv), from, keys, a->dim, scale_of(a));
    memset(s->key_grad, 0, bytes);
    memset(s->value_grad, 0, bytes);
    for (int64_t head = s->kv * group; head < (s->kv + 1) * group; head++)
        for (int64_t t = a->causal ? key : 0; t < a->time; t += QUERIES) {
            const struct meeting m = { key, keys, t, host_piece(a->time, QUERIES, t), head };
            meet(s, &m);
        }
    write_tile(s, key, keys);
}

static void sweep_head(void *arguments, int64_t block, int thread)
{
    const struct backward *b = arguments;
    struct sweep s;

    open_sweep(&s, b, block, host_thread_scratch(b->host, thread));
    for (int64_t key = 0; key < b->a.time; key += KEYS)
        sweep_tile(&s, key, host_piece(b->a.time, KEYS, key));
    if (!s.query_grad) return;
    const int64_t group = b->a.heads / b->a.kv_heads;
    for (int64_t h = 0; h < group; h++)
        give_queries(&s, s.kv * group + h, 0, b->a.time,
                     s.query_grad + h * b->a.time * b->a.dim, false);
}

void HOST(attention_back)(struct pawl_stream *s, pawl_value *qkv_grad, const pawl_value *out_grad,
                          const pawl_value *qkv, const pawl_value *out, const float *lse,
                          const struct pawl_attention *shape)
{
    struct backward b = { host_of(s), qkv_grad, out_grad, qkv, out, lse, *shape };

    host_run(s, shape->batch * shape->kv_heads, sweep_head, &b);
}
