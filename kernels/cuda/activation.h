// activation.h - the activations and their derivatives, one element at a time, in float.
//
// The same functions as kernels/host/ops/math.h, of the C library's exponentials. NaN goes in and
// comes out.

#ifndef PAWL_CUDA_ACTIVATION_H
#define PAWL_CUDA_ACTIVATION_H

#include <math.h>

#include "kernels/cuda/cuda.h"

// What LEAKY_RELU and ELU have where nothing is said (alpha 0).
static __host__ __device__ inline float activation_alpha(enum pawl_activation activation)
{
    return activation == PAWL_LEAKY_RELU ? 0.01f : 1.0f;
}

static __device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static __device__ inline float relu6(float x) { return x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x; }

// GPT-2's GELU is x sigmoid(this): 2 sqrt(2 / pi) (x + 0.044715 x^3).
static __device__ inline float gelu_inner(float x)
{
    return x * (1.59576912f + 0.0713548163f * (x * x));
}

static __device__ inline float softplus(float x)
{
    return (x < 0.0f ? 0.0f : x) + log1pf(expf(-fabsf(x)));
}

// With e = exp(x): tanh(log(1 + e)) = w / (w + 2), w = e (e + 2). From 20 on it is 1.
static __device__ inline float mish_exp(float x) { return expf(x > 20.0f ? 20.0f : x); }

static __device__ inline float mish(float x)
{
    const float e = mish_exp(x), w = e * (e + 2.0f);

    return x * (w / (w + 2.0f));
}

static constexpr float selu_scale = 1.05070099f;  // Klambauer and others, 2017
static constexpr float selu_below = 1.75809934f;  // its alpha times its scale

static __device__ inline float activated(float x, enum pawl_activation activation, float alpha)
{
    switch (activation) {
    case PAWL_RELU: return x < 0.0f ? 0.0f : x;
    case PAWL_LEAKY_RELU: return x < 0.0f ? x * alpha : x;
    case PAWL_ELU: return x < 0.0f ? alpha * expm1f(x) : x;
    case PAWL_GELU: return 0.5f * x * (1.0f + erff(x * 0.707106781f));
    case PAWL_GELU_TANH: return x * sigmoid(gelu_inner(x));
    case PAWL_SILU: return x * sigmoid(x);
    case PAWL_SIGMOID: return sigmoid(x);
    case PAWL_TANH: return tanhf(x);
    case PAWL_SOFTPLUS: return softplus(x);
    case PAWL_RELU6: return relu6(x);
    case PAWL_HARD_SIGMOID: return relu6(x + 3.0f) * (1.0f / 6.0f);
    case PAWL_HARD_SWISH: return x * (relu6(x + 3.0f) * (1.0f / 6.0f));
    case PAWL_SELU: return x < 0.0f ? selu_below * expm1f(x) : selu_scale * x;
    case PAWL_SOFTSIGN: return x / (1.0f + fabsf(x));
    case PAWL_MISH: return mish(x);
    case PAWL_EXPONENTIAL: return expf(x);
    default: return x;
    }
}

static __device__ inline float gelu_slope(float x)
{
    const float density = 0.398942280f * expf(-0.5f * (x * x));

    return 0.5f + 0.5f * erff(x * 0.707106781f) + x * density;
}

static __device__ inline float gelu_tanh_slope(float x)
{
    const float s = sigmoid(gelu_inner(x));

    return s + s * (1.0f - s) * (x * (1.59576912f + 0.214064449f * (x * x)));
}

static __device__ inline float mish_slope(float x)
{
    const float e = mish_exp(x), w = e * (e + 2.0f), d = 1.0f / (w + 2.0f);

    return w * d + x * (4.0f * e * (1.0f + e) * d) * d;
}

static __device__ inline float silu_slope(float x)
{
    const float s = sigmoid(x);

    return s + s * (1.0f - s) * x;
}

static __device__ inline float softsign_slope(float x)
{
    const float s = 1.0f / (1.0f + fabsf(x));

    return s * s;
}

static __device__ inline float hard_swish_slope(float x)
{
    return x > -3.0f ? x < 3.0f ? x * (1.0f / 3.0f) + 0.5f : 1.0f : 0.0f;
}

// The derivative, given the activation's input or output (pawl_activation_saves_input).
static __device__ inline float activation_slope(float saved, enum pawl_activation activation,
                                                float alpha)
{
    switch (activation) {
    case PAWL_RELU: return saved <= 0.0f ? 0.0f : 1.0f;
    case PAWL_LEAKY_RELU: return saved <= 0.0f ? alpha : 1.0f;
    case PAWL_ELU: return saved < 0.0f ? alpha * expf(saved) : 1.0f;
    case PAWL_GELU: return gelu_slope(saved);
    case PAWL_GELU_TANH: return gelu_tanh_slope(saved);
    case PAWL_SILU: return silu_slope(saved);
    case PAWL_SIGMOID: return saved * (1.0f - saved);
    case PAWL_TANH: return 1.0f - saved * saved;
    case PAWL_SOFTPLUS: return sigmoid(saved);
    case PAWL_RELU6: return saved > 0.0f && saved < 6.0f ? 1.0f : 0.0f;
    case PAWL_HARD_SIGMOID: return saved > 0.0f && saved < 1.0f ? 1.0f / 6.0f : 0.0f;
    case PAWL_HARD_SWISH: return hard_swish_slope(saved);
    case PAWL_SELU: return saved < 0.0f ? selu_below * expf(saved) : selu_scale;
    case PAWL_SOFTSIGN: return softsign_slope(saved);
    case PAWL_MISH: return mish_slope(saved);
    case PAWL_EXPONENTIAL: return saved;
    default: return 1.0f;
    }
}

#endif
