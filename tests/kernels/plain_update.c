// plain_update.c - the optimizers as the documentation of torch.optim writes them, and as Keras's
// source does, in double.

#include <math.h>

#include "tests/kernels/plain.h"

static void adam(double *param, double *m, double *v, double g, const struct pawl_update *rule)
{
    const double t = (double)rule->step;

    if (rule->kind == PAWL_ADAMW)
        *param -= rule->rate * rule->decay * *param;
    else
        g += rule->decay * *param;
    *m = rule->beta_1 * *m + (1 - rule->beta_1) * g;
    *v = rule->beta_2 * *v + (1 - rule->beta_2) * g * g;
    const double m_hat = *m / (1 - pow(rule->beta_1, t)), v_hat = *v / (1 - pow(rule->beta_2, t));
    *param -= rule->rate * m_hat / (sqrt(v_hat) + rule->epsilon);
}

static void sgd(double *param, double *b, double g, const struct pawl_update *rule)
{
    g += rule->decay * *param;
    if (rule->momentum != 0) {
        *b = rule->step > 1 ? rule->momentum * *b + g : g;
        g = rule->nesterov ? g + rule->momentum * *b : *b;
    }
    *param -= rule->rate * g;
}

static void rmsprop(double *param, double *v, double *b, double g, const struct pawl_update *rule)
{
    g += rule->decay * *param;
    *v = rule->rho * *v + (1 - rule->rho) * g * g;
    if (rule->momentum > 0) {
        *b = rule->momentum * *b + g / (sqrt(*v) + rule->epsilon);
        *param -= rule->rate * *b;
    } else {
        *param -= rule->rate * g / (sqrt(*v) + rule->epsilon);
    }
}

// Adam and AdamW, SGD and RMSprop of Keras 3; decay is decoupled in all of them.
static void keras(double *param, double *m, double *v, double g, const struct pawl_update *rule)
{
    const double t = (double)rule->step, rate = rule->rate;

    *param -= *param * rule->decay * rate;
    if (rule->kind == PAWL_ADAM || rule->kind == PAWL_ADAMW) {
        const double alpha = rate * sqrt(1 - pow(rule->beta_2, t)) / (1 - pow(rule->beta_1, t));
        *m += (g - *m) * (1 - rule->beta_1);
        *v += (g * g - *v) * (1 - rule->beta_2);
        *param -= *m * alpha / (sqrt(*v) + rule->epsilon);
    } else if (rule->kind == PAWL_SGD) {
        if (rule->momentum != 0) *m = rule->momentum * *m - g * rate;
        if (rule->momentum == 0)
            *param -= g * rate;
        else
            *param += rule->nesterov ? rule->momentum * *m - g * rate : *m;
    } else {
        *m = rule->rho * *m + (1 - rule->rho) * g * g;
        const double increment = rate * g / sqrt(*m + rule->epsilon);
        if (rule->momentum > 0) *v = rule->momentum * *v + increment;
        *param -= rule->momentum > 0 ? *v : increment;
    }
}

void plain_update(double *param, double *moment_1, double *moment_2, double grad,
                  const struct pawl_update *rule)
{
    grad *= (double)rule->grad_scale;
    if (rule->grad_norm) {
        const double ratio = (double)rule->clip / ((double)*rule->grad_norm + 1e-6);
        grad *= ratio < 1 ? ratio : 1;
    }
    if (rule->as == PAWL_AS_KERAS) {
        keras(param, moment_1, moment_2, grad, rule);
        return;
    }
    switch (rule->kind) {
    case PAWL_ADAMW:
    case PAWL_ADAM:
        adam(param, moment_1, moment_2, grad, rule);
        break;
    case PAWL_SGD:
        sgd(param, moment_1, grad, rule);
        break;
    default:
        rmsprop(param, moment_1, moment_2, grad, rule);
        break;
    }
}
