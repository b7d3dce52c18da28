// math.h - exponentials and activations, a vector at a time.
//
// Every function takes NaN to NaN and infinities to their limits. Against the exact value, over
// all floats: exp, expm1, log, sigmoid, tanh within 4 units in the last place where the result is
// a normal number; erf and softplus within 1e-6 of the larger of 1 and the value. Polynomials are
// minimax fits (Remez); the two parts of ln 2 make the reduction exact.

#ifndef PAWL_HOST_MATH_H
#define PAWL_HOST_MATH_H

#include <math.h>

#include "kernels/host/value.h"
#include "kernels/ops.h"

#define VEC_INLINE static inline __attribute__((always_inline))

// x = n ln 2 + r with |r| <= ln 2 / 2: *n as integers; returns exp(r) - 1.
VEC_INLINE vec vec_exp_reduce(vec x, veci *n)
{
    const float shift = 0x1.8p23f;  // adding it rounds to an integer in the low bits
    const vec t = x * 1.44269504f + shift;
    const vec rounded = t - shift;
    vec r = x - rounded * 0.693359375f, p;

    r = r - rounded * -2.12194440e-4f;
    *n = (veci)((vecu)t - (vecu)vec_set(shift));
    p = r * 1.381314243e-3f + 8.369418792e-3f;
    p = p * r + 4.166845605e-2f;
    p = p * r + 1.666651517e-1f;
    p = p * r + 4.999999404e-1f;
    return p * (r * r) + r;
}

// 2 to the n, -126 <= n <= 127; 0 for -127, infinity for 128.
VEC_INLINE vec vec_power(veci n) { return (vec)(((vecu)n + 127u) << 23); }

VEC_INLINE vec vec_exp(vec x)
{
    veci n;

    // Beyond these the result is 0 or infinity. Two halves reach subnormal results and 2^128.
    x = vec_max(vec_set(-104.0f), vec_min(vec_set(89.0f), x));
    const vec e = vec_exp_reduce(x, &n) + 1.0f;
    const veci half = n >> 1;
    return e * vec_power(half) * vec_power(n - half);
}

// exp(x) for x <= 0, as softmax needs it: less work, and 0 soon after the results turn subnormal.
VEC_INLINE vec vec_exp_below(vec x)
{
    veci n;
    const vec e = vec_exp_reduce(vec_max(vec_set(-88.0f), x), &n) + 1.0f;

    return e * vec_power(n);  // n = -127, all that is below -87.7, has the bits of 0
}

// For sums with 1, where it is lost that exp is infinite from 88.4 on already.
VEC_INLINE vec vec_exp_quick(vec x) { return vec_exp_below(vec_min(vec_set(89.0f), x)); }

// exp(x) - 1 without losing what is small.
VEC_INLINE vec vec_expm1(vec x)
{
    veci n;

    x = vec_max(vec_set(-30.0f), vec_min(vec_set(89.0f), x));
    const vec e = vec_exp_reduce(x, &n), half = vec_power(n - 1);
    return (half * e + (half - 0.5f)) * 2.0f;
}

// (log((1 + s) / (1 - s)) - 2 s) / 2 for |s| <= 1/3.
VEC_INLINE vec vec_atanh_rest(vec s)
{
    const vec t = s * s;
    vec p = t * 1.401222944e-1f + 1.399957091e-1f;

    p = p * t + 2.001084983e-1f;
    p = p * t + 3.333320618e-1f;
    return p * t * s;
}

// log(1 + x) for 0 <= x <= 1 (and NaN).
VEC_INLINE vec vec_log1p_unit(vec x)
{
    const vec s = x / (x + 2.0f);

    return 2.0f * (s + vec_atanh_rest(s));
}

VEC_INLINE vec vec_log(vec x)
{
    const veci tiny = x < 0x1p-126f, good = (x > 0.0f) & (x < INFINITY);
    const vecu bits = (vecu)vec_select(good, vec_select(tiny, x * 0x1p23f, x), vec_set(1.0f));
    const veci n = (veci)(bits - 0x3f3504f3u) >> 23;  // mantissa in [sqrt(1/2), sqrt(2))
    const vec f = (vec)(bits - ((vecu)n << 23)) - 1.0f, s = f / (f + 2.0f);
    const vec e = __builtin_convertvector(n - (tiny & 23), vec);
    // f - s f is 2 s with fewer roundings.
    const vec tail = 2.0f * vec_atanh_rest(s) + e * -2.12194440e-4f;
    const vec usual = (f - (s * f - tail)) + e * 0.693359375f;
    const vec edge = vec_select(x == 0.0f, vec_set(-INFINITY), vec_select(x < 0.0f,
                                vec_set(NAN), x));

    return vec_select(good, usual, edge);
}

VEC_INLINE vec vec_sigmoid(vec x) { return 1.0f / (1.0f + vec_exp_quick(-x)); }

VEC_INLINE vec vec_tanh(vec x)
{
    const vec e = vec_expm1(vec_abs(x) * -2.0f);

    return vec_sign(vec_abs(e / (e + 2.0f)), x);
}

VEC_INLINE vec vec_softplus(vec x)
{
    return vec_max((vec){ 0 }, x) + vec_log1p_unit(vec_exp_below(-vec_abs(x)));
}

VEC_INLINE vec vec_erf(vec x)
{
    const vec a = vec_abs(x), t = a * a;
    const vec b = vec_min(vec_set(4.0f), a);
    vec near = t * -5.886775907e-4f + 4.973117262e-3f;
    vec far = b * -1.971813908e-4f + 3.055604408e-3f;  // -log(1 - erf)

    near = near * t - 2.675333433e-2f;
    near = near * t + 1.128146648e-1f;
    near = near * t - 3.761246204e-1f;
    near = near * t + 1.128379107f;
    far = far * b - 2.227707580e-2f;
    far = far * b + 1.040373370e-1f;
    far = far * b + 6.370597482e-1f;
    far = far * b + 1.127749562f;
    far = far * b + 1.774976408e-4f;
    return vec_select(a < 0.92f, near * x, vec_sign(1.0f - vec_exp_below(-far), x));
}

// GPT-2's GELU is x sigmoid(this).
VEC_INLINE vec vec_gelu_inner(vec x)
{
    return x * (1.59576912f + 0.0713548163f * (x * x));  // 2 sqrt(2 / pi) (x + 0.044715 x^3)
}

// With e = exp(x): tanh(log(1 + e)) = w / (w + 2), w = e (e + 2). From 20 on it is 1.
VEC_INLINE vec vec_mish_exp(vec x) { return vec_exp(vec_min(vec_set(20.0f), x)); }

VEC_INLINE vec vec_relu6(vec x) { return vec_min(vec_set(6.0f), vec_max((vec){ 0 }, x)); }

#define SELU_SCALE 1.05070099f          // Klambauer and others, 2017
#define SELU_BELOW 1.75809934f          // its alpha times its scale

// alpha: the slope of LEAKY_RELU and ELU's alpha; others ignore it.
VEC_INLINE vec act_forward_alpha(vec x, enum pawl_activation activation, float alpha)
{
    const vec zero = { 0 };
    vec w;

    switch (activation) {
    case PAWL_RELU6:
        return vec_relu6(x);
    case PAWL_HARD_SIGMOID:
        return vec_relu6(x + 3.0f) * (1.0f / 6.0f);
    case PAWL_HARD_SWISH:
        return x * (vec_relu6(x + 3.0f) * (1.0f / 6.0f));
    case PAWL_SELU:
        return vec_select(x < zero, SELU_BELOW * vec_expm1(x), SELU_SCALE * x);
    case PAWL_SOFTSIGN:
        return x / (1.0f + vec_abs(x));
    case PAWL_MISH:
        w = vec_mish_exp(x);
        w = w * (w + 2.0f);
        return x * (w / (w + 2.0f));
    case PAWL_EXPONENTIAL:
        return vec_exp(x);
    case PAWL_RELU:
        return vec_max(zero, x);
    case PAWL_LEAKY_RELU:
        return vec_select(x < zero, x * alpha, x);
    case PAWL_ELU:
        return vec_select(x < zero, alpha * vec_expm1(x), x);
    case PAWL_GELU:
        return 0.5f * x * (1.0f + vec_erf(x * 0.707106781f));
    case PAWL_GELU_TANH:
        return x * vec_sigmoid(vec_gelu_inner(x));
    case PAWL_SILU:
        return x * vec_sigmoid(x);
    case PAWL_SIGMOID:
        return vec_sigmoid(x);
    case PAWL_TANH:
        return vec_tanh(x);
    case PAWL_SOFTPLUS:
        return vec_softplus(x);
    default:
        break;
    }
    return x;
}

// What LEAKY_RELU and ELU have where nothing is said.
VEC_INLINE float act_alpha(enum pawl_activation activation)
{
    return activation == PAWL_LEAKY_RELU ? 0.01f : 1.0f;
}

VEC_INLINE vec act_forward(vec x, enum pawl_activation activation)
{
    return act_forward_alpha(x, activation, act_alpha(activation));
}

VEC_INLINE vec act_gelu_slope(vec x)
{
    const vec density = 0.398942280f * vec_exp_below(-0.5f * (x * x));

    return 0.5f + 0.5f * vec_erf(x * 0.707106781f) + x * density;
}

VEC_INLINE vec act_gelu_tanh_slope(vec x)
{
    const vec s = vec_sigmoid(vec_gelu_inner(x));

    return s + s * (1.0f - s) * (x * (1.59576912f + 0.214064449f * (x * x)));
}

VEC_INLINE vec act_mish_slope(vec x)
{
    const vec e = vec_mish_exp(x), w = e * (e + 2.0f), d = 1.0f / (w + 2.0f);

    return w * d + x * (4.0f * e * (1.0f + e) * d) * d;
}

// The derivative, given the activation's input or output (pawl_activation_saves_input).
VEC_INLINE vec act_backward_alpha(vec saved, enum pawl_activation activation, float alpha)
{
    const vec zero = { 0 }, one = vec_set(1.0f);
    vec s;

    switch (activation) {
    case PAWL_RELU6:
        return vec_select((saved > zero) & (saved < 6.0f), one, zero);
    case PAWL_HARD_SIGMOID:
        return vec_select((saved > zero) & (saved < 1.0f), vec_set(1.0f / 6.0f), zero);
    case PAWL_HARD_SWISH:
        s = vec_select(saved < 3.0f, saved * (1.0f / 3.0f) + 0.5f, one);
        return vec_select(saved > -3.0f, s, zero);
    case PAWL_SELU:
        return vec_select(saved < zero, SELU_BELOW * vec_exp(saved), vec_set(SELU_SCALE));
    case PAWL_SOFTSIGN:
        s = 1.0f / (1.0f + vec_abs(saved));
        return s * s;
    case PAWL_MISH:
        return act_mish_slope(saved);
    case PAWL_EXPONENTIAL:
        return saved;
    case PAWL_RELU:
        return vec_select(saved <= zero, zero, one);
    case PAWL_LEAKY_RELU:
        return vec_select(saved <= zero, vec_set(alpha), one);
    case PAWL_ELU:
        return vec_select(saved < zero, alpha * vec_exp(saved), one);
    case PAWL_GELU:
        return act_gelu_slope(saved);
    case PAWL_GELU_TANH:
        return act_gelu_tanh_slope(saved);
    case PAWL_SILU:
        s = vec_sigmoid(saved);
        return s + s * (1.0f - s) * saved;
    case PAWL_SIGMOID:
        return saved * (1.0f - saved);
    case PAWL_TANH:
        return 1.0f - saved * saved;
    case PAWL_SOFTPLUS:
        return vec_sigmoid(saved);
    default:
        break;
    }
    return one;
}

VEC_INLINE vec act_backward(vec saved, enum pawl_activation activation)
{
    return act_backward_alpha(saved, activation, act_alpha(activation));
}

#endif
