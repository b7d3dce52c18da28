// math: how many units in the last place the functions of math.h are off, over samples of all
// 2^32 floats. Here with 4 lanes; activate.c runs the same lines with 8 and 16.

#include <criterion/criterion.h>
#include <float.h>
#include <stdio.h>
#include <string.h>

#define PAWL_LANES 4
#include "kernels/host/ops/math.h"

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double below(double x) { return x > 0 ? 1 : exp(x); }

static vec vec_below(vec x) { return vec_exp_below(vec_select(x > 0.0f, (vec){ 0 }, x)); }
static vec call_exp(vec x) { return vec_exp(x); }
static vec call_expm1(vec x) { return vec_expm1(x); }
static vec call_log(vec x) { return vec_log(x); }
static vec call_sigmoid(vec x) { return vec_sigmoid(x); }
static vec call_tanh(vec x) { return vec_tanh(x); }
static vec call_softplus(vec x) { return vec_softplus(x); }
static vec call_erf(vec x) { return vec_erf(x); }

// Off by how many units in the last place of what is expected; 0 where both are subnormal or
// beyond the largest float.
static double error(float actual, double expected)
{
    const double size = fabs(expected);

    if (isnan(expected)) return isnan(actual) ? 0 : INFINITY;
    if (size > (double)FLT_MAX)
        return fabsf(actual) >= FLT_MAX && (actual > 0) == (expected > 0) ? 0 : INFINITY;
    if (size < (double)FLT_MIN) return fabs((double)actual) <= 1.1 * (double)FLT_MIN ? 0 : INFINITY;
    return fabs((double)actual - expected) / scalbn(1, ilogb(size) - 23);
}

static double worst(vec (*function)(vec x), double (*exact)(double x), float *where)
{
    double most = 0;

    for (uint64_t bits = 3; bits < (uint64_t)1 << 32; bits += 4 * 1009) {
        vec x;
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t word = (uint32_t)bits + i * 1009;
            float one;
            memcpy(&one, &word, sizeof(one));
            x[i] = one;
        }
        const vec y = function(x);
        for (int i = 0; i < 4; i++) {
            const double off = error(y[i], exact((double)x[i]));
            if (off > most) *where = x[i];
            most = off > most ? off : most;
        }
    }
    return most;
}

Test(math, within_units_in_the_last_place)
{
    static const struct {
        const char *name;
        vec (*function)(vec x);
        double (*exact)(double x);
        double units;
    } rows[] = {
        { "exp", call_exp, exp, 1.5 },         { "expm1", call_expm1, expm1, 2 },
        { "log", call_log, log, 1.5 },         { "sigmoid", call_sigmoid, sigmoid, 4 },
        { "tanh", call_tanh, tanh, 4 },        { "softplus", call_softplus, softplus, 4 },
        { "erf", call_erf, erf, 4 },           { "exp_below", vec_below, below, 1.5 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        float where = 0;
        const double off = worst(rows[i].function, rows[i].exact, &where);
        cr_assert(off <= rows[i].units, "%s is %g units off at %a", rows[i].name, off,
                  (double)where);
    }
}

Test(math, infinities)
{
    const vec infinity = vec_set(INFINITY);

    cr_assert_eq(vec_exp(-infinity)[0], 0);
    cr_assert_eq(vec_exp_below(-infinity)[0], 0);
    cr_assert_eq(vec_exp(infinity)[0], INFINITY);
    cr_assert_eq(vec_expm1(-infinity)[0], -1);
    cr_assert_eq(vec_expm1(infinity)[0], INFINITY);
    cr_assert_eq(vec_log(infinity)[0], INFINITY);
    cr_assert_eq(vec_log((vec){ 0 })[0], -INFINITY);
    cr_assert(isnan(vec_log(-infinity)[0]));
    cr_assert_eq(vec_sigmoid(-infinity)[0], 0);
    cr_assert_eq(vec_sigmoid(infinity)[0], 1);
    cr_assert_eq(vec_tanh(-infinity)[0], -1);
    cr_assert_eq(vec_erf(-infinity)[0], -1);
    cr_assert_eq(vec_softplus(-infinity)[0], 0);
    cr_assert_eq(vec_softplus(infinity)[0], INFINITY);
}
