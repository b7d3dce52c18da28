// finish.c - from a tile of sums to the output: bias, activation, residual, derivative.

#include "kernels/host/ops/gemm.h"
#include "kernels/host/ops/math.h"
#include "kernels/host/value.h"

// A tile and where it goes. All in whole vectors; rows start at offset[i] + col.
struct place {
    const float *tile;
    int64_t stride;
    const int64_t *offset;
    int64_t col, rows, cols;
};

// One pass over the tile while it is in L1. Inlined for each activation, so that no inner loop
// asks which it is; whether there is a bias and so on is asked per row.
static inline __attribute__((always_inline)) void
forward(const struct gemm_finish *f, const struct place *t, enum pawl_activation activation)
{
    const value *addend = f->add ? f->out : f->residual;

    for (int64_t i = 0; i < t->rows; i++) {
        const float *tile = t->tile + i * t->stride;
        const int64_t at = t->offset[i] + t->col;
        for (int64_t j = 0; j < t->cols; j += LANES) {
            vec x = vec_load(tile + j);
            if (f->bias) x += vec_load(f->bias + t->col + j);
            if (f->pre) vec_store(f->pre + at + j, x);
            x = act_forward(x, activation);
            if (addend) x += vec_load(addend + at + j);
            vec_store(f->out + at + j, x);
        }
    }
}

static inline __attribute__((always_inline)) void
backward(const struct gemm_finish *f, const struct place *t, enum pawl_activation activation)
{
    for (int64_t i = 0; i < t->rows; i++) {
        const float *tile = t->tile + i * t->stride;
        const int64_t at = t->offset[i] + t->col;
        for (int64_t j = 0; j < t->cols; j += LANES) {
            vec x = vec_load(tile + j) * act_backward(vec_load(f->saved + at + j), activation);
            if (f->add) x += vec_load(f->out + at + j);
            vec_store(f->out + at + j, x);
        }
    }
}

static void finish_gradient(const struct gemm_finish *f, const struct place *t)
{
    for (int64_t i = 0; i < t->rows; i++) {
        const float *tile = t->tile + i * t->stride;
        float *out = f->grad + t->offset[i] + t->col;
        for (int64_t j = 0; j < t->cols; j += LANES) {
            const int64_t n = t->cols - j;
            vec x = vec_load_left(tile + j, n);
            if (f->add) x += vec_load_left(out + j, n);
            vec_store_left(out + j, x, n);
        }
    }
}

static void finish_whole(const struct gemm_finish *f, const struct place *t)
{
    switch (f->activation) {
#define CASE(activation)                                                                           \
    case activation:                                                                               \
        if (f->saved)                                                                              \
            backward(f, t, activation);                                                            \
        else                                                                                       \
            forward(f, t, activation);                                                             \
        break;
        CASE(PAWL_RELU)
        CASE(PAWL_LEAKY_RELU)
        CASE(PAWL_ELU)
        CASE(PAWL_GELU)
        CASE(PAWL_GELU_TANH)
        CASE(PAWL_SILU)
        CASE(PAWL_SIGMOID)
        CASE(PAWL_TANH)
        CASE(PAWL_SOFTPLUS)
        CASE(PAWL_RELU6)
        CASE(PAWL_HARD_SIGMOID)
        CASE(PAWL_HARD_SWISH)
        CASE(PAWL_SELU)
        CASE(PAWL_SOFTSIGN)
        CASE(PAWL_MISH)
        CASE(PAWL_EXPONENTIAL)
#undef CASE
    default:
        forward(f, t, PAWL_LINEAR);
        break;
    }
}

enum { ROWS = 8 };

static void copy_in(value (*to)[LANES], const value *from, const struct place *t)
{
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j++)
            to[i][j] = from[t->offset[i] + t->col + j];
}

static void copy_out(value *to, value (*from)[LANES], const struct place *t)
{
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j++)
            to[t->offset[i] + t->col + j] = from[i][j];
}

// Up to ROWS rows of less than a vector: through copies that have room for one.
static void finish_rest(const struct gemm_finish *f, const struct place *t)
{
    value out[ROWS][LANES] = { 0 }, pre[ROWS][LANES], more[ROWS][LANES] = { 0 };
    value bias[LANES] = { 0 };
    struct gemm_finish to = { .out = out[0], .activation = f->activation, .add = f->add };
    struct place whole = { t->tile, t->stride, NULL, 0, t->rows, LANES };
    int64_t offset[ROWS];

    for (int64_t i = 0; i < ROWS; i++)
        offset[i] = i * LANES;
    whole.offset = offset;
    for (int64_t j = 0; f->bias && j < t->cols; j++)
        bias[j] = f->bias[t->col + j];
    if (f->bias) to.bias = bias;
    if (f->pre) to.pre = pre[0];
    if (f->add) copy_in(out, f->out, t);
    if (f->saved || f->residual) copy_in(more, f->saved ? f->saved : f->residual, t);
    if (f->saved)
        to.saved = more[0];
    else if (f->residual)
        to.residual = more[0];
    finish_whole(&to, &whole);
    copy_out(f->out, out, t);
    if (f->pre) copy_out(f->pre, pre, t);
}

void HOST(finish)(const struct gemm_finish *f, const float *tile, int64_t stride,
                  const int64_t *offset, int64_t col, int64_t rows, int64_t cols)
{
    const int64_t whole = cols / LANES * LANES;

    if (f->grad) {
        finish_gradient(f, &(struct place){ tile, stride, offset, col, rows, cols });
        return;
    }
    if (whole) finish_whole(f, &(struct place){ tile, stride, offset, col, rows, whole });
    if (whole == cols) return;
    for (int64_t i = 0; i < rows; i += ROWS)
        finish_rest(f, &(struct place){ tile + i * stride + whole, stride, offset + i, col + whole,
                                        rows - i < ROWS ? rows - i : ROWS, cols - whole });
}
