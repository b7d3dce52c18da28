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
    value *gates, *hidden, *h, *h_grad;
    const value *h_prev;
    float *c, *c_grad;
    const float *c_prev;
};

// What is left of a row from p on.
#define load(p) vec_load_left(p, n)
#define store(p, x) vec_store_left(p, x, n)

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
    value *gate = c->gates + row * 4 * c->units + i;
    const int64_t at = row * c->units + i, u = c->units;
    const vec in = act(load(gate), c->recurrent), forget = act(load(gate + u), c->recurrent);
    const vec new = act(load(gate + 2 * u), c->activation);
    const vec out = act(load(gate + 3 * u), c->recurrent);
    const vec state = forget * load(c->c_prev + at) + in * new;

    store(gate, in);
    store(gate + u, forget);
    store(gate + 2 * u, new);
    store(gate + 3 * u, out);
    store(c->c + at, state);
    store(c->h + at, out * act(state, c->activation));
}

static void lstm_back(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    value *gate = c->gates + row * 4 * c->units + i;
    const int64_t at = row * c->units + i, u = c->units;
    const vec in = load(gate), forget = load(gate + u), new = load(gate + 2 * u);
    const vec out = load(gate + 3 * u), h_grad = load(c->h_grad + at);
    const vec state = act(load(c->c + at), c->activation);
    const vec c_grad = load(c->c_grad + at) + h_grad * out * slope(state, c->activation);

    store(gate, c_grad * new * slope(in, c->recurrent));
    store(gate + u, c_grad * load(c->c_prev + at) * slope(forget, c->recurrent));
    store(gate + 2 * u, c_grad * in * slope(new, c->activation));
    store(gate + 3 * u, h_grad * state * slope(out, c->recurrent));
    store(c->c_grad + at, c_grad * forget);
    store(c->h_grad + at, (vec){ 0 });
}

static void gru(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    value *gate = c->gates + row * 3 * c->units + i;
    const value *hidden = c->hidden + row * 3 * c->units + i;
    const int64_t at = row * c->units + i, u = c->units;
    const vec reset = act(load(gate) + load(hidden), c->recurrent);
    const vec update = act(load(gate + u) + load(hidden + u), c->recurrent);
    const vec new = act(load(gate + 2 * u) + reset * load(hidden + 2 * u), c->activation);

    store(gate, reset);
    store(gate + u, update);
    store(gate + 2 * u, new);
    store(c->h + at, new + update * (load(c->h_prev + at) - new));
}

static void gru_back(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    value *gate = c->gates + row * 3 * c->units + i;
    value *hidden = c->hidden + row * 3 * c->units + i;
    const int64_t at = row * c->units + i, u = c->units;
    const vec reset = load(gate), update = load(gate + u), new = load(gate + 2 * u);
    const vec h_grad = load(c->h_grad + at);
    const vec new_grad = h_grad * (1.0f - update) * slope(new, c->activation);
    const vec reset_grad = new_grad * load(hidden + 2 * u) * slope(reset, c->recurrent);
    const vec update_grad = h_grad * (load(c->h_prev + at) - new) * slope(update, c->recurrent);

    store(gate, reset_grad);
    store(gate + u, update_grad);
    store(gate + 2 * u, new_grad);
    store(hidden, reset_grad);
    store(hidden + u, update_grad);
    store(hidden + 2 * u, new_grad * reset);
    store(c->h_grad + at, h_grad * update);
}

static void simple(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    const int64_t at = row * c->units + i;
    const vec h = act(load(c->gates + at), c->activation);

    store(c->gates + at, h);
    store(c->h + at, h);
}

static void simple_back(const struct cell *c, int64_t row, int64_t i, int64_t n)
{
    const int64_t at = row * c->units + i;

    store(c->gates + at,
          load(c->h_grad + at) * slope(load(c->gates + at), c->activation));
    store(c->h_grad + at, (vec){ 0 });
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
