// update: twenty steps of each optimizer against torch.optim's formulas in double, and the copies
// in passing against what was there before, to the bit.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/common.h"
#include "tests/kernels/plain.h"

enum { STEPS = 20, BASES = 15 };

static const struct pawl_update rules[BASES] = {
    { .kind = PAWL_ADAMW, .rate = 1e-2, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-8,
      .decay = 0.1, .grad_scale = 1 },
    { .kind = PAWL_ADAMW, .rate = 3e-3, .beta_1 = 0.8, .beta_2 = 0.95, .epsilon = 1e-6,
      .grad_scale = 0.25f, .clip = 0.5f },
    { .kind = PAWL_ADAM, .rate = 1e-2, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-8,
      .decay = 0.05, .grad_scale = 1, .clip = 100 },
    { .kind = PAWL_SGD, .rate = 0.1, .grad_scale = 1 },
    { .kind = PAWL_SGD, .rate = 0.05, .decay = 0.01, .momentum = 0.9, .grad_scale = 0.5f },
    { .kind = PAWL_SGD, .rate = 0.05, .decay = 0.01, .momentum = 0.8, .nesterov = true,
      .grad_scale = 1, .clip = 0.3f },
    { .kind = PAWL_RMSPROP, .rate = 1e-2, .rho = 0.99, .epsilon = 1e-3, .grad_scale = 1 },
    { .kind = PAWL_RMSPROP, .rate = 1e-2, .rho = 0.9, .epsilon = 1e-2, .decay = 0.02,
      .momentum = 0.5, .grad_scale = 1, .clip = 1 },
    { .kind = PAWL_ADAM, .rate = 1e-3, .beta_1 = 0, .beta_2 = 0.9, .epsilon = 1e-4,
      .grad_scale = 2 },
    { .kind = PAWL_ADAM, .as = PAWL_AS_KERAS, .rate = 1e-2, .beta_1 = 0.9, .beta_2 = 0.99,
      .epsilon = 1e-2, .decay = 0.05, .grad_scale = 1 },
    { .kind = PAWL_ADAMW, .as = PAWL_AS_KERAS, .rate = 1e-2, .beta_1 = 0.9, .beta_2 = 0.999,
      .epsilon = 1e-3, .decay = 0.1, .grad_scale = 1, .clip = 1 },
    { .kind = PAWL_SGD, .as = PAWL_AS_KERAS, .rate = 0.1, .decay = 0.1, .grad_scale = 1 },
    { .kind = PAWL_SGD, .as = PAWL_AS_KERAS, .rate = 0.05, .momentum = 0.9, .nesterov = true,
      .grad_scale = 0.5f },
    { .kind = PAWL_SGD, .as = PAWL_AS_KERAS, .rate = 0.05, .momentum = 0.8, .grad_scale = 1 },
    { .kind = PAWL_RMSPROP, .as = PAWL_AS_KERAS, .rate = 1e-2, .rho = 0.9, .epsilon = 1e-3,
      .momentum = 0.5, .decay = 0.1, .grad_scale = 1 },
};

// Around vectors and blocks of 32,768.
static const int64_t sizes[] = { 1, 5, 16, 31, 1000, 32768, 65549 };
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

struct memory {
    int64_t n, moments;
    float *state[3], *copy[3], *old[3], *first[3], *grad, *rounded, norm;
    double *plain[3];
};

// The copies begin where a vector does; what lies behind their last element must stay.
static struct memory take(int64_t n, const struct pawl_update *rule)
{
    struct memory m = { .n = n, .moments = pawl_optimizer_moments(rule) };

    for (int i = 0; i < 3; i++) {
        m.state[i] = common_floats(n);
        m.old[i] = common_floats(n);
        m.first[i] = common_floats(n);
        m.copy[i] = common_floats((n + 15) / 16 * 16);
        m.plain[i] = common_doubles(n);
    }
    m.grad = common_floats(n);
    m.rounded = common_floats(n);
    return m;
}

static void begin(struct memory *m)
{
    common_fill(m->state[0], m->n, 1);
    for (int64_t i = 0; i < m->n; i++)
        m->state[1][i] = m->state[2][i] = 0;
}

static void check_copies(const struct memory *m, const char *where)
{
    for (int i = 0; i <= m->moments; i++) {
        common_expect_same(where, m->copy[i], m->old[i], m->n);
        for (int64_t j = m->n; j < (m->n + 15) / 16 * 16; j++)
            cr_assert(isnan(m->copy[i][j]), "%s: copy %d went on to %ld", where, i, (long)j);
    }
}

// Every second step with copies.
static void step(const struct common_set *set, int t, struct memory *m,
                 const struct pawl_update *rule, const char *where)
{
    const bool copies = rule->step % 2;
    float *moment_1 = m->moments > 0 ? m->state[1] : NULL;
    float *moment_2 = m->moments > 1 ? m->state[2] : NULL;

    for (int i = 0; i <= m->moments; i++) {
        memcpy(m->old[i], m->state[i], (size_t)m->n * sizeof(float));
        common_poison(m->copy[i], (m->n + 15) / 16 * 16);
    }
    common_fill(m->grad, m->n, 100 + (uint64_t)rule->step);
    common_poison(m->rounded, m->n);
    set->device[t]->ops->update(set->stream[t], m->state[0], moment_1, moment_2, m->grad, m->n,
                                rule, copies ? m->copy[0] : NULL,
                                copies && moment_1 ? m->copy[1] : NULL,
                                copies && moment_2 ? m->copy[2] : NULL,
                                rule->step % 3 ? m->rounded : NULL);
    if (copies) check_copies(m, where);
    if (rule->step % 3) common_expect_same(where, m->rounded, m->state[0], m->n);
    for (int64_t i = 0; i < m->n && !t; i++)
        plain_update(m->plain[0] + i, m->plain[1] + i, m->plain[2] + i, (double)m->grad[i], rule);
}

static void check_rule(const struct common_set *set, int64_t n, int index)
{
    struct pawl_update rule = rules[index];
    struct memory m = take(n, &rule);
    float norm = 0;
    char where[64];

    if (rule.clip > 0) rule.grad_norm = &norm;
    snprintf(where, sizeof(where), "%s rule %d n=%ld", set->name, index, (long)n);
    for (int t = 0; t < COMMON_THREADS; t++) {
        begin(&m);
        for (int64_t i = 0; i < n && !t; i++)
            m.plain[0][i] = (double)m.state[0][i];
        for (rule.step = 1; rule.step <= STEPS; rule.step++) {
            norm = 0.2f * (float)rule.step;  // some of it clipped
            step(set, t, &m, &rule, where);
        }
        for (int i = 0; i <= m.moments; i++) {
            common_expect(where, m.state[i], m.plain[i], n, 2e-6, 1e-5);
            if (!t) memcpy(m.first[i], m.state[i], (size_t)n * sizeof(float));
            common_expect_same(where, m.state[i], m.first[i], n);
        }
    }
}

static void check(const struct common_set *set, const void *shape)
{
    for (int i = 0; i < BASES; i++) {
        check_rule(set, *(const int64_t *)shape, i);
        common_check(set->name);
        common_release();
    }
}

Test(update, follows_its_definition_for_twenty_steps, .timeout = 250)
{
    common_each(check, sizes, sizeof(sizes[0]), SIZES);
}

// A NaN gradient spoils its own parameter, a NaN norm all: it must not look like no clipping.
static void check_nan(const struct common_set *set, const void *shape)
{
    const int index = *(const int *)shape;
    struct pawl_update rule = rules[index];
    struct memory m = take(41, &rule);
    float norm = NAN;

    rule.step = 1;
    begin(&m);
    common_fill(m.grad, m.n, 3);
    m.grad[17] = NAN;
    set->device[1]->ops->update(set->stream[1], m.state[0], m.moments > 0 ? m.state[1] : NULL,
                                m.moments > 1 ? m.state[2] : NULL, m.grad, m.n, &rule, NULL, NULL,
                                NULL, NULL);
    for (int64_t i = 0; i < m.n; i++)
        cr_assert_eq(isnan(m.state[0][i]) != 0, i == 17);
    rule.grad_norm = &norm;
    rule.clip = 1;
    set->device[1]->ops->update(set->stream[1], m.state[0], m.moments > 0 ? m.state[1] : NULL,
                                m.moments > 1 ? m.state[2] : NULL, m.grad, m.n, &rule, NULL, NULL,
                                NULL, NULL);
    for (int64_t i = 0; i < m.n; i++)
        cr_assert(isnan(m.state[0][i]));
}

Test(update, nan_goes_in_and_comes_out)
{
    static const int indices[] = { 0, 2, 3, 5, 6, 7 };

    common_each(check_nan, indices, sizeof(indices[0]), 6);
}

Test(update, names_its_moments)
{
    struct pawl_update rule = { .kind = PAWL_RMSPROP };

    cr_assert_eq(pawl_optimizer_moments(&rules[0]), 2);
    cr_assert_eq(pawl_optimizer_moments(&rules[2]), 2);
    cr_assert_eq(pawl_optimizer_moments(&rules[3]), 0);
    cr_assert_eq(pawl_optimizer_moments(&rules[4]), 1);
    cr_assert_eq(pawl_optimizer_moments(&rule), 1);
    cr_assert_eq(pawl_optimizer_moments(&rules[7]), 2);
    cr_assert_str_eq(pawl_optimizer_slot(PAWL_ADAM, 1), "exp_avg_sq");
    cr_assert_str_eq(pawl_optimizer_slot(PAWL_ADAMW, 0), "exp_avg");
    cr_assert_str_eq(pawl_optimizer_slot(PAWL_SGD, 0), "momentum_buffer");
    cr_assert_null(pawl_optimizer_slot(PAWL_SGD, 1));
    cr_assert_str_eq(pawl_optimizer_slot(PAWL_RMSPROP, 0), "square_avg");
    cr_assert_str_eq(pawl_optimizer_slot(PAWL_RMSPROP, 1), "momentum_buffer");
    cr_assert_null(pawl_optimizer_slot(PAWL_ADAM, 2));
}
