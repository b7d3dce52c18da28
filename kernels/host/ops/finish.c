// finish.c - from a tile of sums to the output: bias, activation, residual, derivative.

#include "kernels/host/ops/gemm.h"
#include "kernels/host/ops/math.h"
#include "kernels/host/vec.h"

// A row's last vector may reach beyond the output.
static inline vec load(const float *p, int64_t count)
{
    vec x = { 0 };

    if (count >= LANES) return vec_load(p);
    for (int64_t i = 0; i < count; i++)
        x[i] = p[i];
    return x;
}

static inline void store(float *p, vec x, int64_t count)
{
    if (count >= LANES)
        vec_store(p, x);
    else
        for (int64_t i = 0; i < count; i++)
            p[i] = x[i];
}

struct place {
    float *tile;
    int64_t stride;
    const int64_t *offset;
    int64_t col, rows, cols;
};

// Each step below runs over a tile that is in L1, so it costs little and only where it is asked
// for: a handful of tests for each tile of some hundred sums.
static void add_bias(const struct place *t, const float *bias)
{
    for (int64_t j = 0; j < t->cols; j += LANES) {
        const vec b = load(bias + t->col + j, t->cols - j);
        for (int64_t i = 0; i < t->rows; i++) {
            float *p = t->tile + i * t->stride + j;
            vec_store(p, vec_load(p) + b);
        }
    }
}

static void add_rows(const struct place *t, const float *from)
{
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j += LANES) {
            float *p = t->tile + i * t->stride + j;
            vec_store(p, vec_load(p) + load(from + t->offset[i] + t->col + j, t->cols - j));
        }
}

static void copy_rows(const struct place *t, float *to)
{
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j += LANES)
            store(to + t->offset[i] + t->col + j, vec_load(t->tile + i * t->stride + j),
                  t->cols - j);
}

static inline __attribute__((always_inline)) void forward(const struct place *t,
                                                          enum pawl_activation activation)
{
    for (int64_t j = 0; j < t->rows * t->stride; j += LANES)
        vec_store(t->tile + j, act_forward(vec_load(t->tile + j), activation));
}

static inline __attribute__((always_inline)) void
backward(const struct place *t, const float *saved, enum pawl_activation activation)
{
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t j = 0; j < t->cols; j += LANES) {
            float *p = t->tile + i * t->stride + j;
            const vec x = load(saved + t->offset[i] + t->col + j, t->cols - j);
            vec_store(p, vec_load(p) * act_backward(x, activation));
        }
}

// One loop per activation, so that none of them asks which it is.
static void activate(const struct place *t, const float *saved, enum pawl_activation activation)
{
    switch (activation) {
#define CASE(a)                                                                                    \
    case a:                                                                                        \
        if (saved)                                                                                 \
            backward(t, saved, a);                                                                 \
        else                                                                                       \
            forward(t, a);                                                                         \
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
#undef CASE
    case PAWL_LINEAR:
    case PAWL_ACTIVATIONS:
        break;
    }
}

void HOST(finish)(const struct gemm_finish *finish, float *tile, int64_t stride,
                  const int64_t *offset, int64_t col, int64_t rows, int64_t cols)
{
    const struct place place = { tile, stride, offset, col, rows, cols };

    if (finish->bias) add_bias(&place, finish->bias);
    if (finish->pre) copy_rows(&place, finish->pre);
    if (finish->activation) activate(&place, finish->saved, finish->activation);
    if (finish->residual) add_rows(&place, finish->residual);
    if (finish->add) add_rows(&place, finish->out);
    copy_rows(&place, finish->out);
}
