// cell.c - one time step of recurrent layers behind their products: LSTM (Hochreiter and
// Schmidhuber, 1997, with forget gates), GRU (Cho and others, 2014, reset after the product), and
// the simple one. Backward works in place: what forward kept becomes its gradient.

#include "kernels/host/ops/math.h"
#include "kernels/host/ops/ops.h"

// pawl_cell with the table's type.
struct cell {
    enum pawl_cell_kind kind;
    int64_t batch, units;
    enum pawl_activation activation, recurrent;
    float *gates, *hidden, *h, *h_grad;
    const float *h_prev;
    float *c, *c_grad;
    const float *c_prev;
};

static inline vec load(const float *p, int64_t n)
{
    return n < LANES ? vec_load_some(p, n) : vec_load(p);
}

static inline void store(float *p, vec x, int64_t n)
{
    if (n < LANES)
        vec_store_some(p, x, n);
    else
        vec_store(p, x);
}

// Out of line: which activation it is, is asked per vector.
static __attribute__((noinline)) vec act(vec x, enum pawl_activation activation)
{
    return act_forward(x, activation);
}

static __attribute__((noinline)) vec slope(vec saved, enum pawl_activation activation)
{
    return act_backward(saved, activation);
}

// Gates of one sample lie side by side, units apart.
static void lstm(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    float *gate = c->gates + row * 4 * c->units + i;
    const int64_t at = row * c->units + i, u = c->units;
    const vec in = act(load(gate, n), c->recurrent), forget = act(load(gate + u, n), c->recurrent);
    const vec new = act(load(gate + 2 * u, n), c->activation);
    const vec out = act(load(gate + 3 * u, n), c->recurrent);
    const vec state = forget * load(c->c_prev + at, n) + in * new;

    store(gate, in, n);
    store(gate + u, forget, n);
    store(gate + 2 * u, new, n);
    store(gate + 3 * u, out, n);
    store(c->c + at, state, n);
    store(c->h + at, out * act(state, c->activation), n);
}

static void lstm_back(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    float *gate = c->gates + row * 4 * c->units + i;
    const int64_t at = row * c->units + i, u = c->units;
    const vec in = load(gate, n), forget = load(gate + u, n), new = load(gate + 2 * u, n);
    const vec out = load(gate + 3 * u, n), h_grad = load(c->h_grad + at, n);
    const vec state = act(load(c->c + at, n), c->activation);
    const vec c_grad = load(c->c_grad + at, n) + h_grad * out * slope(state, c->activation);

    store(gate, c_grad * new * slope(in, c->recurrent), n);
    store(gate + u, c_grad * load(c->c_prev + at, n) * slope(forget, c->recurrent), n);
    store(gate + 2 * u, c_grad * in * slope(new, c->activation), n);
    store(gate + 3 * u, h_grad * state * slope(out, c->recurrent), n);
    store(c->c_grad + at, c_grad * forget, n);
    store(c->h_grad + at, (vec){ 0 }, n);
}

static void gru(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    float *gate = c->gates + row * 3 * c->units + i;
    const float *hidden = c->hidden + row * 3 * c->units + i;
    const int64_t at = row * c->units + i, u = c->units;
    const vec reset = act(load(gate, n) + load(hidden, n), c->recurrent);
    const vec update = act(load(gate + u, n) + load(hidden + u, n), c->recurrent);
    const vec new = act(load(gate + 2 * u, n) + reset * load(hidden + 2 * u, n), c->activation);

    store(gate, reset, n);
    store(gate + u, update, n);
    store(gate + 2 * u, new, n);
    store(c->h + at, new + update * (load(c->h_prev + at, n) - new), n);
}

static void gru_back(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    float *gate = c->gates + row * 3 * c->units + i;
    float *hidden = c->hidden + row * 3 * c->units + i;
    const int64_t at = row * c->units + i, u = c->units;
    const vec reset = load(gate, n), update = load(gate + u, n), new = load(gate + 2 * u, n);
    const vec h_grad = load(c->h_grad + at, n);
    const vec new_grad = h_grad * (1.0f - update) * slope(new, c->activation);
    const vec reset_grad = new_grad * load(hidden + 2 * u, n) * slope(reset, c->recurrent);
    const vec update_grad = h_grad * (load(c->h_prev + at, n) - new) * slope(update, c->recurrent);

    store(gate, reset_grad, n);
    store(gate + u, update_grad, n);
    store(gate + 2 * u, new_grad, n);
    store(hidden, reset_grad, n);
    store(hidden + u, update_grad, n);
    store(hidden + 2 * u, new_grad * reset, n);
    store(c->h_grad + at, h_grad * update, n);
}

static void simple(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    const int64_t at = row * c->units + i;
    const vec h = act(load(c->gates + at, n), c->activation);

    store(c->gates + at, h, n);
    store(c->h + at, h, n);
}

static void simple_back(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    const int64_t at = row * c->units + i;

    store(c->gates + at,
          load(c->h_grad + at, n) * slope(load(c->gates + at, n), c->activation), n);
    store(c->h_grad + at, (vec){ 0 }, n);
}

static void cell_row(void *arguments, int64_t row, int thread)
{
    static void (*const step[2][PAWL_CELLS])(const struct cell *, int64_t, int64_t,
                                             int64_t) = {
        { [PAWL_CELL_LSTM] = lstm, [PAWL_CELL_GRU] = gru, [PAWL_CELL_SIMPLE] = simple },
        { [PAWL_CELL_LSTM] = lstm_back, [PAWL_CELL_GRU] = gru_back,
          [PAWL_CELL_SIMPLE] = simple_back },
    };
    const struct cell *c = arguments;

    (void)thread;
    for (int64_t i = 0; i < c->units; i += LANES)
        step[c->h_grad != NULL][c->kind](c, row, i, host_piece(c->units, LANES, i));
}

void HOST(cell)(struct pawl_stream *s, const struct pawl_cell *cell)
{
    struct cell c = {
        .batch = cell->batch, .units = cell->units, .kind = cell->kind,
        .activation = cell->activation, .recurrent = cell->recurrent, .gates = cell->gates,
        .hidden = cell->hidden, .h = cell->h, .h_prev = cell->h_prev, .h_grad = cell->h_grad,
        .c = cell->c, .c_prev = cell->c_prev, .c_grad = cell->c_grad,
    };

    host_run(s, c.batch, cell_row, &c);
}
