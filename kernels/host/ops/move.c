// move.c - values from one place to another: transposed, cut, put beside others; and arithmetic of
// two values with nothing to keep.

#include <string.h>

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

enum { FLOATS = 1 << 14, SQUARE = 16 };

struct move {
    value *out;
    const value *x;
    struct pawl_move m;
    bool add;
};

static void place(value *out, int64_t to, const value *x, int64_t from, int64_t n, bool add)
{
    if (to == 1 && from == 1 && !add) {
        memcpy(out, x, (size_t)n * sizeof(*out));
    } else if (add) {
        for (int64_t i = 0; i < n; i++)
            out[i * to] = put(get(out[i * to]) + get(x[i * from]));
    } else {
        for (int64_t i = 0; i < n; i++)
            out[i * to] = x[i * from];
    }
}

// A plane of the two innermost dimensions, in squares where it is a transposition: both sides then
// use whole cache lines.
static void place_plane(const struct move *a, value *out, const value *x)
{
    const struct pawl_move *m = &a->m;
    const int64_t rows = m->dim[PAWL_MOVE_RANK - 2], cols = m->dim[PAWL_MOVE_RANK - 1];
    const int64_t to = m->to[PAWL_MOVE_RANK - 1], from = m->from[PAWL_MOVE_RANK - 1];
    const int64_t to_row = m->to[PAWL_MOVE_RANK - 2], from_row = m->from[PAWL_MOVE_RANK - 2];
    const bool crossed = from_row == 1 && from != 1;
    const int64_t tall = crossed ? SQUARE : 1, wide = crossed ? SQUARE : cols;

    for (int64_t r = 0; r < rows; r += tall)
        for (int64_t c = 0; c < cols; c += wide)
            for (int64_t i = r; i < r + host_piece(rows, tall, r); i++)
                place(out + i * to_row + c * to, to, x + i * from_row + c * from, from,
                      host_piece(cols, wide, c), a->add);
}

static void move_planes(void *arguments, int64_t block, int thread)
{
    const struct move *a = arguments;
    int64_t rest = block, to = 0, from = 0;

    (void)thread;
    for (int d = PAWL_MOVE_RANK - 3; d >= 0; d--) {
        const int64_t i = rest % a->m.dim[d];
        rest /= a->m.dim[d];
        to += i * a->m.to[d];
        from += i * a->m.from[d];
    }
    place_plane(a, a->out + to, a->x + from);
}

void HOST(move)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                const struct pawl_move *move, bool add)
{
    struct move a = { .out = out, .x = x, .m = *move, .add = add };
    int64_t planes = 1;

    for (int d = 0; d < PAWL_MOVE_RANK - 2; d++)
        planes *= move->dim[d];
    host_run(s, planes, move_planes, &a);
}

struct pairs {
    value *out, *spent;
    const value *a, *b;
    int64_t n;
    float factor;
    bool add;
};

// Each element on its own, as simple loops that the compiler makes vectors of.
#define EACH(name, body)                                                                           \
    static void name(void *arguments, int64_t block, int thread)                                   \
    {                                                                                              \
        const struct pairs *p = arguments;                                                         \
        const int64_t start = block * FLOATS, end = start + host_piece(p->n, FLOATS, start);       \
        value *out = p->out;                                                                       \
        const value *a = p->a, *b = p->b;                                                          \
        const float factor = p->factor;                                                            \
                                                                                                   \
        (void)thread, (void)a, (void)b, (void)factor;                                              \
        for (int64_t i = start; i < end; i++)                                                      \
            body;                                                                                  \
    }

EACH(fill_block, out[i] = put(factor))
EACH(multiply_block, out[i] = put(get(a[i]) * get(b[i])))
EACH(multiply_add_block, out[i] = put(get(out[i]) + get(a[i]) * get(b[i])))
EACH(scale_block, out[i] = put(get(a[i]) * factor))
EACH(scale_add_block, out[i] = put(get(out[i]) + get(a[i]) * factor))
// The second where they are equal or it is NaN.
EACH(maximum_block, out[i] = get(a[i]) > get(b[i]) || get(a[i]) != get(a[i]) ? a[i] : b[i])

static void run_pairs(struct pawl_stream *s, pawl_work *work, struct pairs p)
{
    host_run(s, host_pieces(p.n, FLOATS), work, &p);
}

void HOST(fill)(struct pawl_stream *s, pawl_value *out, int64_t n, float factor)
{
    run_pairs(s, fill_block, (struct pairs){ .out = out, .n = n, .factor = factor });
}

void HOST(multiply)(struct pawl_stream *s, pawl_value *out, const pawl_value *a,
                    const pawl_value *b, int64_t n, bool add)
{
    run_pairs(s, add ? multiply_add_block : multiply_block,
              (struct pairs){ .out = out, .a = a, .b = b, .n = n });
}

void HOST(scale)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                 float factor, bool add)
{
    run_pairs(s, add ? scale_add_block : scale_block,
              (struct pairs){ .out = out, .a = x, .n = n, .factor = factor });
}

void HOST(maximum)(struct pawl_stream *s, pawl_value *out, const pawl_value *a,
                   const pawl_value *b, int64_t n)
{
    run_pairs(s, maximum_block, (struct pairs){ .out = out, .a = a, .b = b, .n = n });
}

static void maximum_back_block(void *arguments, int64_t block, int thread)
{
    const struct pairs *p = arguments;
    const int64_t start = block * FLOATS, end = start + host_piece(p->n, FLOATS, start);

    (void)thread;
    for (int64_t i = start; i < end; i++) {
        const bool taken = !(get(p->a[i]) < get(p->b[i]));
        const float grad = taken ? get(p->spent[i]) : 0;
        p->out[i] = put(p->add ? get(p->out[i]) + grad : grad);
        p->spent[i] = taken ? put(0) : p->spent[i];
    }
}

void HOST(maximum_back)(struct pawl_stream *s, pawl_value *x_grad, pawl_value *out_grad,
                        const pawl_value *x, const pawl_value *out, int64_t n, bool add)
{
    run_pairs(s, maximum_back_block, (struct pairs){ .out = x_grad, .spent = out_grad, .a = x,
                                                     .b = out, .n = n, .add = add });
}

struct bias {
    value *out;
    const value *x, *bias;
    int64_t rows, cols, block_rows;
};

static void bias_rows(void *arguments, int64_t block, int thread)
{
    const struct bias *b = arguments;
    const int64_t start = block * b->block_rows;
    const int64_t end = start + host_piece(b->rows, b->block_rows, start);

    (void)thread;
    for (int64_t r = start; r < end; r++)
        for (int64_t i = 0; i < b->cols; i++)
            b->out[r * b->cols + i] = put(get(b->x[r * b->cols + i]) + get(b->bias[i]));
}

void HOST(bias)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                const pawl_value *bias, int64_t rows, int64_t cols)
{
    struct bias b = { .out = out, .x = x, .bias = bias, .rows = rows, .cols = cols,
                      .block_rows = host_rows(cols) };

    host_run(s, host_pieces(rows, b.block_rows), bias_rows, &b);
}
