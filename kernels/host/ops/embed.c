// embed.c - rows of a table by token, plus rows of positions; and their gradients.

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

// Backward gives each block a strip of columns and all rows, so that a token's rows are added in
// order without sorting. Two cache lines wide.
enum { STRIP = 32, ZERO_FLOATS = 1 << 16 };

struct embed {
    value *out;
    const value *table, *position;
    const int32_t *token;
    int64_t rows, cols, span, block_rows;
};

static void add_rows(value *out, const value *a, const value *b, int64_t n)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_load(a + i) + vec_load(b + i));
    for (; i < n; i++)
        out[i] = put(get(a[i]) + get(b[i]));
}

static void add_to(float *out, const value *x, int64_t n)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        vec_store(out + i, vec_load(out + i) + vec_load(x + i));
    for (; i < n; i++)
        out[i] += get(x[i]);
}

static void embed_rows(void *arguments, int64_t block, int thread)
{
    const struct embed *e = arguments;
    const int64_t start = block * e->block_rows;
    const int64_t end = start + host_piece(e->rows, e->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++) {
        const value *from = e->table + e->token[r] * e->cols;
        if (e->position)
            add_rows(e->out + r * e->cols, from, e->position + r % e->span * e->cols, e->cols);
        else
            memcpy(e->out + r * e->cols, from, (size_t)e->cols * sizeof(*from));
    }
}

void HOST(embed)(struct pawl_stream *s, pawl_value *out, const int32_t *token,
                 const pawl_value *table, const pawl_value *position_or_null, int64_t rows,
                 int64_t cols, int64_t vocab, int64_t span)
{
    struct embed e = { out, table, position_or_null, token, rows, cols, span, host_rows(cols) };

    (void)vocab;
    host_run(s, host_pieces(rows, e.block_rows), embed_rows, &e);
}

struct embed_back {
    float *grad;
    const value *out_grad;
    const int32_t *token;
    int64_t rows, cols, span, floats;
    bool add;
};

static void zero(void *arguments, int64_t block, int thread)
{
    const struct embed_back *e = arguments;
    const int64_t start = block * ZERO_FLOATS;

    (void)thread;
    memset(e->grad + start, 0, (size_t)host_piece(e->floats, ZERO_FLOATS, start) * sizeof(float));
}

static void add_strip(void *arguments, int64_t block, int thread)
{
    const struct embed_back *e = arguments;
    const int64_t start = block * STRIP, n = host_piece(e->cols, STRIP, start);

    (void)thread;
    for (int64_t r = 0; r < e->rows; r++) {
        float *to = e->grad + e->token[r] * e->cols + start;
        add_to(to, e->out_grad + r * e->cols + start, n);
    }
}

static void add_position(void *arguments, int64_t position, int thread)
{
    const struct embed_back *e = arguments;
    float *to = e->grad + position * e->cols;

    (void)thread;
    if (!e->add) memset(to, 0, (size_t)e->cols * sizeof(float));
    for (int64_t r = position; r < e->rows; r += e->span)
        add_to(to, e->out_grad + r * e->cols, e->cols);
}

void HOST(embed_back)(struct pawl_stream *s, float *table_grad, float *position_grad_or_null,
                      const pawl_value *out_grad, const int32_t *token, int64_t rows, int64_t cols,
                      int64_t vocab, int64_t span, bool add_table, bool add_positions)
{
    struct embed_back e = { table_grad, out_grad, token, rows, cols, span, vocab * cols,
                            add_table };

    if (!add_table) host_run(s, host_pieces(e.floats, ZERO_FLOATS), zero, &e);
    host_run(s, host_pieces(cols, STRIP), add_strip, &e);
    if (!position_grad_or_null) return;
    e.grad = position_grad_or_null;
    e.add = add_positions;
    host_run(s, span, add_position, &e);
}
