// plain_activation.c - the activations and their derivatives by the C library's functions.

#include <math.h>

#include "tests/kernels/plain.h"

static const double selu_scale = 1.0507009873554804934, selu_alpha = 1.6732632423543772848;
static const double pi = 3.14159265358979323846;

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double relu6(double x) { return fmin(fmax(x, 0), 6); }
static double gelu_inner(double x) { return sqrt(2 / pi) * (x + 0.044715 * x * x * x); }

double plain_activate(double x, enum pawl_activation activation)
{
    switch (activation) {
    case PAWL_RELU:
        return x < 0 ? 0 : x;
    case PAWL_LEAKY_RELU:
        return x < 0 ? 0.01 * x : x;
    case PAWL_ELU:
        return x < 0 ? expm1(x) : x;
    case PAWL_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case PAWL_GELU_TANH:
        return 0.5 * x * (1 + tanh(gelu_inner(x)));
    case PAWL_SILU:
        return x * sigmoid(x);
    case PAWL_SIGMOID:
        return sigmoid(x);
    case PAWL_TANH:
        return tanh(x);
    case PAWL_SOFTPLUS:
        return x > 30 ? x + exp(-x) : log1p(exp(x));
    case PAWL_RELU6:
        return relu6(x);
    case PAWL_HARD_SIGMOID:
        return relu6(x + 3) / 6;
    case PAWL_HARD_SWISH:
        return x * relu6(x + 3) / 6;
    case PAWL_SELU:
        return selu_scale * (x < 0 ? selu_alpha * expm1(x) : x);
    case PAWL_SOFTSIGN:
        return x / (1 + fabs(x));
    case PAWL_MISH:
        return x * tanh(log1p(exp(x)));
    case PAWL_EXPONENTIAL:
        return exp(x);
    default:
        return x;
    }
}

double plain_slope(double x, enum pawl_activation activation)
{
    const double s = sigmoid(x), t = tanh(x);

    switch (activation) {
    case PAWL_RELU:
        return x > 0;
    case PAWL_LEAKY_RELU:
        return x > 0 ? 1 : 0.01;
    case PAWL_ELU:
        return x < 0 ? exp(x) : 1;
    case PAWL_GELU:
        return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x * x / 2) / sqrt(2 * pi);
    case PAWL_GELU_TANH: {
        const double g = tanh(gelu_inner(x));
        return 0.5 * (1 + g) + 0.5 * x * (1 - g * g) * sqrt(2 / pi) * (1 + 0.134145 * x * x);
    }
    case PAWL_SILU:
        return s * (1 + x * (1 - s));
    case PAWL_SIGMOID:
        return s * (1 - s);
    case PAWL_TANH:
        return 1 - t * t;
    case PAWL_SOFTPLUS:
        return s;
    case PAWL_RELU6:
        return x > 0 && x < 6;
    case PAWL_HARD_SIGMOID:
        return x > -3 && x < 3 ? 1.0 / 6 : 0;
    case PAWL_HARD_SWISH:
        return x > -3 && x < 3 ? x / 3 + 0.5 : x > 0;
    case PAWL_SELU:
        return selu_scale * (x < 0 ? selu_alpha * exp(x) : 1);
    case PAWL_SOFTSIGN:
        return pow(1 + fabs(x), -2);
    case PAWL_MISH: {
        const double m = tanh(log1p(exp(x)));
        return m + x * s * (1 - m * m);
    }
    case PAWL_EXPONENTIAL:
        return exp(x);
    default:
        return 1;
    }
}

double plain_saved(double x, enum pawl_activation activation)
{
    return pawl_activation_saves_input(activation) ? x : plain_activate(x, activation);
}
