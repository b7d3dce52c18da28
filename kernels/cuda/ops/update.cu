// update.cu - the optimizer: one pass over parameter, gradient and moments, which also leaves, when
// asked, their values from before (the snapshot) and the parameter rounded for the next step.
//
// The rules are those of kernels/host/ops/update.c, one element at a time.

#include "kernels/cuda/map.h"

enum { QUAD = 4 };  // floats in 16 bytes

struct element {
    float param, moment_1, moment_2;
};

struct rule {
    enum pawl_optimizer kind;
    bool keras, nesterov, moving;    // moving: there is a momentum buffer
    float scale;                     // of the gradient: micro-batches
    const float *grad_norm;          // or NULL: for clipping
    float clip;
    float rate, epsilon, decay, momentum;
    float keep;                      // AdamW, and all of Keras's: 1 - rate * decay
    float new_1, beta_2, new_2;      // new_1 = 1 - beta_1, new_2 = 1 - beta_2
    float rho, new_rho;              // new_rho = 1 - rho
    float first, second;             // Adam's bias corrections: rate / c1 and 1 / sqrt(c2)

    __device__ float gradient_scale() const
    {
        if (!grad_norm) return scale;
        const float ratio = clip / (*grad_norm + 1e-6f);
        // A NaN norm is not "no clipping": it must be seen.
        return ratio >= 1.0f ? scale : scale * ratio;
    }

    __device__ void adam(struct element *e, float grad) const
    {
        if (kind == PAWL_ADAMW || keras)
            e->param *= keep;
        else
            grad += e->param * decay;
        e->moment_1 += (grad - e->moment_1) * new_1;
        e->moment_2 = e->moment_2 * beta_2 + grad * grad * new_2;
        e->param -= e->moment_1 / (sqrtf(e->moment_2) * second + epsilon) * first;
    }

    __device__ void sgd(struct element *e, float grad) const
    {
        grad += e->param * decay;
        if (moving) {
            e->moment_1 = e->moment_1 * momentum + grad;
            grad = nesterov ? grad + e->moment_1 * momentum : e->moment_1;
        }
        e->param -= grad * rate;
    }

    __device__ void rmsprop(struct element *e, float grad) const
    {
        grad += e->param * decay;
        e->moment_1 = e->moment_1 * rho + grad * grad * new_rho;
        grad = grad / (sqrtf(e->moment_1) + epsilon);
        if (moving) {
            e->moment_2 = e->moment_2 * momentum + grad;
            grad = e->moment_2;
        }
        e->param -= grad * rate;
    }

    // Keras's velocity is the step itself, rate included.
    __device__ void sgd_keras(struct element *e, float grad) const
    {
        const float step = grad * -rate;

        e->param *= keep;
        if (!moving) {
            e->param += step;
            return;
        }
        e->moment_1 = e->moment_1 * momentum + step;
        e->param += nesterov ? e->moment_1 * momentum + step : e->moment_1;
    }

    // As above, and epsilon lies under the root.
    __device__ void rmsprop_keras(struct element *e, float grad) const
    {
        e->param *= keep;
        e->moment_1 = e->moment_1 * rho + grad * grad * new_rho;
        float step = grad * rate / sqrtf(e->moment_1 + epsilon);
        if (moving) {
            step += e->moment_2 * momentum;
            e->moment_2 = step;
        }
        e->param -= step;
    }

    __device__ void apply(struct element *e, float grad) const
    {
        switch (kind) {
        case PAWL_ADAMW:
        case PAWL_ADAM:
            adam(e, grad);
            break;
        case PAWL_SGD:
            if (keras)
                sgd_keras(e, grad);
            else
                sgd(e, grad);
            break;
        case PAWL_RMSPROP:
            if (keras)
                rmsprop_keras(e, grad);
            else
                rmsprop(e, grad);
            break;
        default:
            break;
        }
    }
};

struct updating {
    struct rule rule;
    float *param, *moment[2];  // NULL: it has none
    const float *grad;
    float *copy[3];            // NULL: no snapshot
    value *rounded;            // or NULL

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        const struct lanes<W> g = load_floats<W>(grad + i);
        struct lanes<W> x[3] = { load_floats<W>(param + i) };
        const float scale = rule.gradient_scale();

        if (moment[0]) x[1] = load_floats<W>(moment[0] + i);
        if (moment[1]) x[2] = load_floats<W>(moment[1] + i);
        UNROLL
        for (int c = 0; c < 3; c++)
            if (copy[c]) store_floats<W>(copy[c] + i, x[c]);
        UNROLL
        for (int l = 0; l < W; l++) {
            struct element e = { x[0].at[l], x[1].at[l], x[2].at[l] };
            rule.apply(&e, g.at[l] * scale);
            x[0].at[l] = e.param;
            x[1].at[l] = e.moment_1;
            x[2].at[l] = e.moment_2;
        }
        store_floats<W>(param + i, x[0]);
        if (moment[0]) store_floats<W>(moment[0] + i, x[1]);
        if (moment[1]) store_floats<W>(moment[1] + i, x[2]);
        if (rounded) store<W>(rounded + i, x[0]);
    }
};

static struct rule rule_of(const struct pawl_update *rule, bool moving)
{
    const double step = (double)rule->step;
    const double c1 = 1 - pow(rule->beta_1, step), c2 = 1 - pow(rule->beta_2, step);
    struct rule r = {};

    r.kind = rule->kind;
    r.keras = rule->as == PAWL_AS_KERAS;
    r.nesterov = rule->nesterov;
    r.moving = moving;
    r.scale = rule->grad_scale;
    r.grad_norm = rule->grad_norm;
    r.clip = rule->clip;
    r.rate = (float)rule->rate;
    r.epsilon = (float)rule->epsilon;
    r.decay = (float)rule->decay;
    r.momentum = (float)rule->momentum;
    r.keep = (float)(1 - rule->rate * rule->decay);
    r.new_1 = (float)(1 - rule->beta_1);
    r.beta_2 = (float)rule->beta_2;
    r.new_2 = (float)(1 - rule->beta_2);
    r.rho = (float)rule->rho;
    r.new_rho = (float)(1 - rule->rho);
    r.first = (float)(rule->rate / c1);
    r.second = (float)(1 / sqrt(c2));
    // Keras adds epsilon to the root before its bias is corrected.
    if (r.keras && (rule->kind == PAWL_ADAM || rule->kind == PAWL_ADAMW)) r.epsilon *= r.second;
    return r;
}

void CUDA(update)(struct pawl_stream *s, float *param, float *moment_1, float *moment_2,
                  const float *grad, int64_t n, const struct pawl_update *rule, float *copy_param,
                  float *copy_1, float *copy_2, pawl_value *rounded)
{
    const bool moving = rule->kind == PAWL_SGD ? moment_1 != NULL : moment_2 != NULL;
    const updating f = { rule_of(rule, moving), param, { moment_1, moment_2 }, grad,
                         { copy_param, copy_1, copy_2 }, (value *)rounded };

    // NULL is aligned. Four rounded ones are 8 bytes in the bf16 table: 16 asks more than needed.
    launch_map<QUAD>(s, n, f, param, moment_1, moment_2, grad, copy_param, copy_1, copy_2,
                     f.rounded);
}
