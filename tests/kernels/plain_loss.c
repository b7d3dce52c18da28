// plain_loss.c - losses and their gradients (of scale times the loss).

#include <math.h>

#include "tests/kernels/plain.h"

double plain_cross_entropy(double *grad, const double *logits, int32_t target, int64_t classes,
                           double scale)
{
    double top = -INFINITY, sum = 0;

    for (int64_t i = 0; i < classes; i++) {
        grad[i] = 0;
        top = logits[i] > top ? logits[i] : top;
    }
    if (target < 0) return 0;
    for (int64_t i = 0; i < classes; i++)
        sum += exp(logits[i] - top);
    for (int64_t i = 0; i < classes; i++)
        grad[i] = scale * (exp(logits[i] - top) / sum - (i == target));
    return log(sum) + top - logits[target];
}

bool plain_hit(const float *logits, int32_t target, int64_t classes)
{
    int64_t best = 0;

    for (int64_t i = 1; i < classes; i++)
        if (logits[i] > logits[best]) best = i;
    return best == target;
}

double plain_mean_square(double *grad, const double *out, const double *target, int64_t cols,
                         double scale)
{
    double sum = 0;

    for (int64_t i = 0; i < cols; i++) {
        sum += (out[i] - target[i]) * (out[i] - target[i]);
        grad[i] = scale * 2 * (out[i] - target[i]) / (double)cols;
    }
    return sum / (double)cols;
}

double plain_binary_cross_entropy(double *grad, const double *logits, const double *target,
                                  int64_t cols, double scale)
{
    double sum = 0;

    for (int64_t i = 0; i < cols; i++) {
        const double x = logits[i], yes = 1 / (1 + exp(-x));
        // -log yes = log1p(exp(-x)), -log(1 - yes) = log1p(exp(x)).
        sum += target[i] * log1p(exp(-x)) + (1 - target[i]) * log1p(exp(x));
        grad[i] = scale * (yes - target[i]) / (double)cols;
    }
    return sum / (double)cols;
}
