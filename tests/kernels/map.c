// map: arithmetic of elements, and moves, value by value: sizes around vectors and blocks, in place
// where that is promised, at any alignment.

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/kernels/common.h"

static const int64_t sizes[] = { 1, 3, 4, 7, 16, 17, 255, 1000, 16390, 70001 };
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

enum kind { ADD, MULTIPLY, MULTIPLY_ADD, SCALE, SCALE_ADD, MAXIMUM, FILL, NARROW, WIDEN, KINDS };

static double wanted(enum kind kind, double out, double a, double b)
{
    switch (kind) {
    case ADD: return a + b;
    case MULTIPLY: return a * b;
    case MULTIPLY_ADD: return out + a * b;
    case SCALE: return a * 0.75;
    case SCALE_ADD: return out + a * 0.75;
    case MAXIMUM: return a > b || isnan(a) ? a : b;
    case FILL: return 3.25;
    default: return a;
    }
}

static void run(struct pawl_stream *s, enum kind kind, float *out, const float *a, const float *b,
                int64_t n)
{
    const struct pawl_ops *ops = s->device->ops;

    switch (kind) {
    case ADD: ops->add(s, out, a, b, n); break;
    case MULTIPLY: ops->multiply(s, out, a, b, n, false); break;
    case MULTIPLY_ADD: ops->multiply(s, out, a, b, n, true); break;
    case SCALE: ops->scale(s, out, a, n, 0.75f, false); break;
    case SCALE_ADD: ops->scale(s, out, a, n, 0.75f, true); break;
    case MAXIMUM: ops->maximum(s, out, a, b, n); break;
    case FILL: ops->fill(s, out, n, 3.25f); break;
    case NARROW: ops->narrow(s, out, a, n); break;
    case WIDEN: ops->widen(s, out, a, n); break;
    default: break;
    }
}

// shift: elements that the arrays are moved off their alignment.
static void check_kind(const struct common_set *set, int64_t n, enum kind kind, int64_t shift)
{
    float *a = common_floats(n), *b = common_floats(n), *out = common_floats(n + shift);
    double *expected = common_doubles(n);

    common_fill(a, n, 1);
    common_fill(b, n, 2);
    if (n > 3) a[1] = NAN, b[2] = INFINITY;
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_fill(out + shift, n, 3);
        if (t == 1 && kind < FILL) memcpy(out + shift, a, (size_t)n * sizeof(float));  // in place
        for (int64_t i = 0; i < n; i++)
            expected[i] = wanted(kind, (double)out[i + shift], (double)a[i], (double)b[i]);
        run(set->stream[t], kind, out + shift, t == 1 && kind < FILL ? out + shift : a, b, n);
        common_expect(set->name, out + shift, expected, n, 1.2e-7, 1.2e-7);
    }
}

static void check(const struct common_set *set, const void *shape)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int64_t shift = 0; shift < 2; shift++) {
            check_kind(set, *(const int64_t *)shape, (enum kind)kind, shift);
            common_check(set->name);
            common_release();
        }
}

Test(map, elements) { common_each(check, sizes, sizeof(sizes[0]), SIZES); }

// Three inputs in turn: the first of equals takes the gradient, and it is taken once.
static void check_maximum(const struct common_set *set, const void *shape)
{
    const int64_t n = *(const int64_t *)shape;
    float *x[3], *out = common_floats(n), *grad = common_floats(n), *x_grad = common_floats(n);
    double *expected = common_doubles(n), *left = common_doubles(n);

    for (int k = 0; k < 3; k++) {
        x[k] = common_floats(n);
        common_fill(x[k], n, 4 + (uint64_t)k);
        for (int64_t i = 0; i < n; i++)
            x[k][i] = roundf(2 * x[k][i]);  // many are equal
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = fmaxf(fmaxf(x[0][i], x[1][i]), x[2][i]);
    common_fill(grad, n, 9);
    for (int64_t i = 0; i < n; i++)
        left[i] = (double)grad[i];
    for (int k = 0; k < 3; k++) {
        common_fill(x_grad, n, 10);
        for (int64_t i = 0; i < n; i++) {
            const bool takes = !(x[k][i] < out[i]);
            expected[i] = (k == 2 ? (double)x_grad[i] : 0) + (takes ? left[i] : 0);
            left[i] = takes ? 0 : left[i];
        }
        set->device[k]->ops->maximum_back(set->stream[k], x_grad, grad, x[k], out, n, k == 2);
        common_expect(set->name, x_grad, expected, n, 1.2e-7, 1.2e-7);
        common_expect(set->name, grad, left, n, 0, 0);
    }
}

Test(map, the_gradient_of_a_maximum)
{
    common_each(check_maximum, sizes, sizeof(sizes[0]), SIZES);
}

struct rows {
    int64_t rows, cols;
};

static void check_bias(const struct common_set *set, const void *shape)
{
    const struct rows *s = shape;
    const int64_t n = s->rows * s->cols;
    float *x = common_floats(n), *bias = common_floats(s->cols), *out = common_floats(n);
    double *expected = common_doubles(n);

    common_fill(x, n, 1);
    common_fill(bias, s->cols, 2);
    for (int64_t i = 0; i < n; i++)
        expected[i] = (double)x[i] + (double)bias[i % s->cols];
    for (int t = 0; t < COMMON_THREADS; t++) {
        common_poison(out, n);
        if (t == 1) memcpy(out, x, (size_t)n * sizeof(float));
        set->device[t]->ops->bias(set->stream[t], out, t == 1 ? out : x, bias, s->rows, s->cols);
        common_expect(set->name, out, expected, n, 1.2e-7, 1.2e-7);
    }
}

Test(map, bias)
{
    static const struct rows shapes[] = { { 1, 1 }, { 3, 5 }, { 7, 16 }, { 100, 33 }, { 40, 768 } };

    common_each(check_bias, shapes, sizeof(shapes[0]), sizeof(shapes) / sizeof(shapes[0]));
}

// Whole arrays moved: dims are of x in order, `order` says which of them comes where in out; cut: a
// part of each of x's rows that goes to the middle of a wider row of out.
struct turn {
    int64_t dim[PAWL_MOVE_RANK];
    int order[PAWL_MOVE_RANK];
    int64_t cut, wider;
};

static struct pawl_move move_of(const struct turn *turn, int64_t *n_out, int64_t *n_x)
{
    struct pawl_move m;
    int64_t to = 1, from = 1;

    for (int d = PAWL_MOVE_RANK - 1; d >= 0; d--) {
        m.dim[d] = turn->dim[d] - (d == PAWL_MOVE_RANK - 1 ? turn->cut : 0);
        m.from[d] = from;
        from *= turn->dim[d];
    }
    for (int d = PAWL_MOVE_RANK - 1; d >= 0; d--) {
        const int source = turn->order[d];
        m.to[source] = to;
        to *= m.dim[source] + (d == PAWL_MOVE_RANK - 1 ? turn->wider : 0);
    }
    *n_out = to;
    *n_x = from;
    return m;
}

// The plain definition.
static void plain_move(double *out, const float *x, const struct pawl_move *m, bool add)
{
    int64_t n = 1;

    for (int d = 0; d < PAWL_MOVE_RANK; d++)
        n *= m->dim[d];
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, to = 0, from = 0;
        for (int d = PAWL_MOVE_RANK - 1; d >= 0; rest /= m->dim[d--]) {
            to += rest % m->dim[d] * m->to[d];
            from += rest % m->dim[d] * m->from[d];
        }
        out[to] = (double)x[from] + (add ? out[to] : 0);
    }
}

// The same with dimensions in another order, as the callers that walk along out have it.
static struct pawl_move along_out(const struct pawl_move *m, const struct turn *turn)
{
    struct pawl_move out;

    for (int d = 0; d < PAWL_MOVE_RANK; d++) {
        out.dim[d] = m->dim[turn->order[d]];
        out.to[d] = m->to[turn->order[d]];
        out.from[d] = m->from[turn->order[d]];
    }
    return out;
}

static void check_move(const struct common_set *set, const void *shape)
{
    const struct turn *turn = shape;
    int64_t n_out, n_x;
    const struct pawl_move by_x = move_of(turn, &n_out, &n_x), by_out = along_out(&by_x, turn);
    float *x = common_floats(n_x), *out = common_floats(n_out);
    double *expected = common_doubles(n_out);

    common_fill(x, n_x, 1);
    for (int way = 0; way < 4; way++) {
        const struct pawl_move *m = way % 2 ? &by_out : &by_x;
        const int64_t shift = turn->wider ? 1 : 0;  // to the middle
        common_fill(out, n_out, 2);
        for (int64_t i = 0; i < n_out; i++)
            expected[i] = (double)out[i];
        plain_move(expected + shift, x + (turn->cut ? 1 : 0), m, way / 2);
        set->device[way % 3]->ops->move(set->stream[way % 3], out + shift,
                                        x + (turn->cut ? 1 : 0), m, way / 2);
        common_expect(set->name, out, expected, n_out, 1.2e-7, 1.2e-7);
    }
}

Test(map, moves)
{
    static const struct turn turns[] = {
        { { 1, 1, 1, 1, 1 }, { 0, 1, 2, 3, 4 }, 0, 0 },
        { { 1, 1, 1, 9, 64 }, { 0, 1, 2, 3, 4 }, 0, 16 },   // beside others, whole packs
        { { 1, 1, 1, 9, 64 }, { 0, 1, 2, 3, 4 }, 5, 3 },    // cut, nothing aligned
        { { 1, 1, 1, 70, 33 }, { 0, 1, 2, 4, 3 }, 0, 0 },   // transposed
        { { 1, 1, 3, 65, 31 }, { 0, 1, 2, 4, 3 }, 0, 2 },
        { { 2, 3, 4, 5, 8 }, { 0, 2, 1, 3, 4 }, 0, 0 },     // heads and time
        { { 2, 3, 4, 5, 6 }, { 4, 2, 0, 3, 1 }, 0, 0 },
        { { 2, 3, 4, 35, 40 }, { 3, 4, 2, 1, 0 }, 1, 0 },
    };

    common_each(check_move, turns, sizeof(turns[0]), sizeof(turns) / sizeof(turns[0]));
}
