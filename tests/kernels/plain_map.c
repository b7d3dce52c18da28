// plain_map.c - softmax, dropout, embedding.

#include <math.h>

#include "kernels/philox.h"
#include "tests/kernels/plain.h"

void plain_softmax(double *out, const double *x, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++, x += cols, out += cols) {
        double top = -INFINITY, sum = 0;
        for (int64_t i = 0; i < cols; i++)
            top = x[i] > top ? x[i] : top;
        for (int64_t i = 0; i < cols; i++)
            sum += exp(x[i] - top);
        for (int64_t i = 0; i < cols; i++)
            out[i] = exp(x[i] - top) / sum;
    }
}

bool plain_dropout_keeps(int64_t i, float rate, uint64_t seed, uint64_t step, uint32_t layer)
{
    const struct pawl_philox draw = pawl_philox(seed, step, layer, (uint32_t)(i / 4));

    return pawl_uniform(draw.word[i % 4]) >= rate;
}

void plain_embed(double *out, const int32_t *token, const double *table, const double *position,
                 int64_t rows, int64_t cols, int64_t span)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < cols; i++)
            out[r * cols + i] = table[token[r] * cols + i]
                                + (position ? position[r % span * cols + i] : 0);
}

void plain_embed_back(double *table_grad, double *position_grad, const double *out_grad,
                      const int32_t *token, int64_t rows, int64_t cols, int64_t vocab, int64_t span)
{
    for (int64_t i = 0; i < vocab * cols; i++)
        table_grad[i] = 0;
    for (int64_t i = 0; i < span * cols; i++)
        position_grad[i] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < cols; i++) {
            table_grad[token[r] * cols + i] += out_grad[r * cols + i];
            position_grad[r % span * cols + i] += out_grad[r * cols + i];
        }
}
