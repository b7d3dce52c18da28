// cell: one step of LSTM, GRU and the simple cell against their formulas, and the gradients against
// difference quotients of those.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

struct shape {
    enum pawl_cell_kind kind;
    int64_t batch, units;
    enum pawl_activation activation, recurrent;
};

static const struct shape shapes[] = {
    { PAWL_CELL_LSTM, 1, 1, PAWL_TANH, PAWL_SIGMOID },
    { PAWL_CELL_LSTM, 3, 17, PAWL_TANH, PAWL_SIGMOID },
    { PAWL_CELL_LSTM, 2, 64, PAWL_SIGMOID, PAWL_TANH },
    { PAWL_CELL_GRU, 1, 1, PAWL_TANH, PAWL_SIGMOID },
    { PAWL_CELL_GRU, 5, 33, PAWL_TANH, PAWL_SIGMOID },
    { PAWL_CELL_GRU, 2, 64, PAWL_SIGMOID, PAWL_TANH },
    { PAWL_CELL_SIMPLE, 1, 1, PAWL_TANH, PAWL_SIGMOID },
    { PAWL_CELL_SIMPLE, 4, 130, PAWL_TANH, PAWL_SIGMOID },
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

// One unit, in double: what it is given and what it makes.
struct unit {
    double gate[4], hidden[3], h_prev, c_prev;
    double activated[4], h, c;
    double h_grad, c_grad;  // of h and c: the loss is their sum, so weighted
    const struct shape *shape;
};

static void step(struct unit *u)
{
    const enum pawl_activation inner = u->shape->recurrent, outer = u->shape->activation;
    double *a = u->activated;

    switch (u->shape->kind) {
    case PAWL_CELL_LSTM:
        for (int g = 0; g < 4; g++)
            a[g] = plain_activate(u->gate[g], g == 2 ? outer : inner);
        u->c = a[1] * u->c_prev + a[0] * a[2];
        u->h = a[3] * plain_activate(u->c, outer);
        break;
    case PAWL_CELL_GRU:
        a[0] = plain_activate(u->gate[0] + u->hidden[0], inner);
        a[1] = plain_activate(u->gate[1] + u->hidden[1], inner);
        a[2] = plain_activate(u->gate[2] + a[0] * u->hidden[2], outer);
        u->h = (1 - a[1]) * a[2] + a[1] * u->h_prev;
        break;
    default:
        u->h = a[0] = plain_activate(u->gate[0], outer);
        break;
    }
}

static double slope_of(struct unit *u, double *at)
{
    const double before = *at, by = 1e-5;

    *at = before + by;
    step(u);
    const double above = u->h * u->h_grad + u->c * u->c_grad;
    *at = before - by;
    step(u);
    const double below = u->h * u->h_grad + u->c * u->c_grad;
    *at = before;
    return (above - below) / (2 * by);
}

// (batch, units) each but gates and hidden: (batch, count * units).
struct memory {
    int count;
    int64_t n;
    float *gates, *hidden, *h, *c, *h_prev, *c_prev, *h_grad, *c_grad;
    double *plain_gates, *plain_hidden, *plain_h, *plain_c, *plain_h_grad, *plain_c_grad;
    double *activated;
};

static struct memory take(const struct shape *s)
{
    struct memory m = { .n = s->batch * s->units };
    float **one[] = { &m.h, &m.c, &m.h_prev, &m.c_prev, &m.h_grad, &m.c_grad };
    double **plain[] = { &m.plain_h, &m.plain_c, &m.plain_h_grad, &m.plain_c_grad };

    m.count = s->kind == PAWL_CELL_LSTM ? 4 : s->kind == PAWL_CELL_GRU ? 3 : 1;
    for (int i = 0; i < 6; i++)
        *one[i] = common_floats(m.n);
    for (int i = 0; i < 4; i++)
        *plain[i] = common_doubles(m.n);
    m.gates = common_floats(m.n * m.count);
    m.hidden = common_floats(m.n * m.count);
    m.plain_gates = common_doubles(m.n * m.count);
    m.plain_hidden = common_doubles(m.n * m.count);
    m.activated = common_doubles(m.n * m.count);
    return m;
}

static void fill(struct memory *m)
{
    float *one[] = { m->h_prev, m->c_prev, m->h_grad, m->c_grad };

    for (int i = 0; i < 4; i++)
        common_fill(one[i], m->n, (uint64_t)i);
    common_fill(m->gates, m->n * m->count, 5);
    common_fill(m->hidden, m->n * m->count, 6);
    common_poison(m->h, m->n);
    common_poison(m->c, m->n);
}

// Every unit by its formulas.
static void expect(const struct shape *s, struct memory *m)
{
    fill(m);
    for (int64_t i = 0; i < m->n; i++) {
        struct unit u = { .h_prev = (double)m->h_prev[i], .c_prev = (double)m->c_prev[i],
                          .h_grad = (double)m->h_grad[i], .shape = s };
        const int64_t place = i / s->units * m->count * s->units + i % s->units;
        if (s->kind == PAWL_CELL_LSTM) u.c_grad = (double)m->c_grad[i];
        for (int g = 0; g < m->count; g++) {
            u.gate[g] = (double)m->gates[place + g * s->units];
            if (s->kind == PAWL_CELL_GRU) u.hidden[g] = (double)m->hidden[place + g * s->units];
        }
        for (int g = 0; g < m->count; g++) {
            m->plain_gates[place + g * s->units] = slope_of(&u, &u.gate[g]);
            if (s->kind == PAWL_CELL_GRU)
                m->plain_hidden[place + g * s->units] = slope_of(&u, &u.hidden[g]);
        }
        m->plain_h_grad[i] = slope_of(&u, &u.h_prev);
        m->plain_c_grad[i] = slope_of(&u, &u.c_prev);
        step(&u);
        for (int g = 0; g < m->count; g++)
            m->activated[place + g * s->units] = u.activated[g];
        m->plain_h[i] = u.h;
        m->plain_c[i] = u.c;
    }
}

static void check(const struct common_set *set, const void *shape)
{
    const struct shape *s = shape;
    struct memory m = take(s);
    const bool lstm = s->kind == PAWL_CELL_LSTM, gru = s->kind == PAWL_CELL_GRU;
    struct pawl_cell cell = { .kind = s->kind, .batch = s->batch, .units = s->units,
                              .activation = s->activation, .recurrent = s->recurrent,
                              .gates = m.gates, .hidden = gru ? m.hidden : NULL, .h = m.h,
                              .c = lstm ? m.c : NULL, .h_prev = m.h_prev,
                              .c_prev = lstm ? m.c_prev : NULL };
    char where[64];

    snprintf(where, sizeof(where), "%s cell %ld", set->name, (long)(s - shapes));
    expect(s, &m);
    for (int t = 0; t < COMMON_THREADS; t++) {
        fill(&m);
        cell.h_grad = cell.c_grad = NULL;
        set->device[t]->ops->cell(set->stream[t], &cell);
        common_expect(where, m.gates, m.activated, m.n * m.count, 1e-6, 2e-6);
        common_expect(where, m.h, m.plain_h, m.n, 1e-6, 2e-6);
        if (lstm) common_expect(where, m.c, m.plain_c, m.n, 1e-6, 2e-6);
        cell.h_grad = m.h_grad;
        if (lstm) cell.c_grad = m.c_grad;
        set->device[t]->ops->cell(set->stream[t], &cell);
        common_expect(where, m.gates, m.plain_gates, m.n * m.count, 2e-6, 1e-5);
        if (gru) common_expect(where, m.hidden, m.plain_hidden, m.n * m.count, 2e-6, 1e-5);
        common_expect(where, m.h_grad, m.plain_h_grad, m.n, 2e-6, 1e-5);
        if (lstm) common_expect(where, m.c_grad, m.plain_c_grad, m.n, 2e-6, 1e-5);
    }
}

Test(cell, follows_its_definition)
{
    common_each(check, shapes, sizeof(shapes[0]), SHAPES);
}
