// cell.cu - one time step of recurrent layers behind their products: LSTM (Hochreiter and
// Schmidhuber, 1997, with forget gates), GRU (Cho and others, 2014, reset after the product), and
// the simple one. Backward works in place: what forward kept becomes its gradient.

#include "kernels/cuda/activation.h"

// A thread has one unit of one sample: its gates lie `units` apart.
struct unit {
    value *gates, *hidden;
    int64_t units;
};

static __device__ inline struct unit unit_of(const struct pawl_cell &c, int64_t i, int gates)
{
    const int64_t place = i / c.units * gates * c.units + i % c.units;
    const struct unit u = { (value *)c.gates + place,
                            c.hidden ? (value *)c.hidden + place : NULL, c.units };

    return u;
}

static __device__ inline float act(float x, enum pawl_activation activation)
{
    return activated(x, activation, activation_alpha(activation));
}

static __device__ inline float slope(float saved, enum pawl_activation activation)
{
    return activation_slope(saved, activation, activation_alpha(activation));
}

static __device__ inline float at(const pawl_value *of, int64_t i)
{
    return get(((const value *)of)[i]);
}

static __device__ inline void set(pawl_value *of, int64_t i, float x)
{
    ((value *)of)[i] = put(x);
}

static __global__ void lstm(const struct pawl_cell c)
{
    EACH(i, c.batch * c.units) {
        const struct unit u = unit_of(c, i, 4);
        const float in = act(get(u.gates[0]), c.recurrent);
        const float forget = act(get(u.gates[u.units]), c.recurrent);
        const float fresh = act(get(u.gates[2 * u.units]), c.activation);
        const float out = act(get(u.gates[3 * u.units]), c.recurrent);
        const float state = forget * c.c_prev[i] + in * fresh;
        u.gates[0] = put(in);
        u.gates[u.units] = put(forget);
        u.gates[2 * u.units] = put(fresh);
        u.gates[3 * u.units] = put(out);
        c.c[i] = state;
        set(c.h, i, out * act(state, c.activation));
    }
}

static __global__ void lstm_back(const struct pawl_cell c)
{
    EACH(i, c.batch * c.units) {
        const struct unit u = unit_of(c, i, 4);
        const float in = get(u.gates[0]), forget = get(u.gates[u.units]);
        const float fresh = get(u.gates[2 * u.units]), out = get(u.gates[3 * u.units]);
        const float h_grad = at(c.h_grad, i), state = act(c.c[i], c.activation);
        const float c_grad = c.c_grad[i] + h_grad * out * slope(state, c.activation);
        u.gates[0] = put(c_grad * fresh * slope(in, c.recurrent));
        u.gates[u.units] = put(c_grad * c.c_prev[i] * slope(forget, c.recurrent));
        u.gates[2 * u.units] = put(c_grad * in * slope(fresh, c.activation));
        u.gates[3 * u.units] = put(h_grad * state * slope(out, c.recurrent));
        c.c_grad[i] = c_grad * forget;
        set(c.h_grad, i, 0);
    }
}

static __global__ void gru(const struct pawl_cell c)
{
    EACH(i, c.batch * c.units) {
        const struct unit u = unit_of(c, i, 3);
        const float reset = act(get(u.gates[0]) + get(u.hidden[0]), c.recurrent);
        const float update = act(get(u.gates[u.units]) + get(u.hidden[u.units]), c.recurrent);
        const float fresh = act(get(u.gates[2 * u.units])
                                    + reset * get(u.hidden[2 * u.units]), c.activation);
        u.gates[0] = put(reset);
        u.gates[u.units] = put(update);
        u.gates[2 * u.units] = put(fresh);
        set(c.h, i, fresh + update * (at(c.h_prev, i) - fresh));
    }
}

static __global__ void gru_back(const struct pawl_cell c)
{
    EACH(i, c.batch * c.units) {
        const struct unit u = unit_of(c, i, 3);
        const float reset = get(u.gates[0]), update = get(u.gates[u.units]);
        const float fresh = get(u.gates[2 * u.units]), h_grad = at(c.h_grad, i);
        const float fresh_grad = h_grad * (1.0f - update) * slope(fresh, c.activation);
        const float reset_grad = fresh_grad * get(u.hidden[2 * u.units])
                                 * slope(reset, c.recurrent);
        const float update_grad = h_grad * (at(c.h_prev, i) - fresh) * slope(update, c.recurrent);
        u.gates[0] = u.hidden[0] = put(reset_grad);
        u.gates[u.units] = u.hidden[u.units] = put(update_grad);
        u.gates[2 * u.units] = put(fresh_grad);
        u.hidden[2 * u.units] = put(fresh_grad * reset);
        set(c.h_grad, i, h_grad * update);
    }
}

static __global__ void simple(const struct pawl_cell c)
{
    EACH(i, c.batch * c.units) {
        const float h = act(at(c.gates, i), c.activation);
        set(c.gates, i, h);
        set(c.h, i, h);
    }
}

static __global__ void simple_back(const struct pawl_cell c)
{
    EACH(i, c.batch * c.units) {
        set(c.gates, i, at(c.h_grad, i) * slope(at(c.gates, i), c.activation));
        set(c.h_grad, i, 0);
    }
}

void CUDA(cell)(struct pawl_stream *s, const struct pawl_cell *cell)
{
    static void (*const step[2][PAWL_CELLS])(const struct pawl_cell) = {
        { lstm, gru, simple },
        { lstm_back, gru_back, simple_back },
    };

    LAUNCH(step[cell->h_grad != NULL][cell->kind], blocks_for(cell->batch * cell->units, 128), 128,
           0, s, *cell);
}
