// update.c - the optimizer: one pass over parameter, gradient and moments, and, when a snapshot is
// due, their values from before on their way past the caches.
//
// Each rule is written once, on vectors; `rest` of a block goes through the same code in a padded
// copy, so that an element's bits do not depend on where its block ends.

#include <math.h>

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

// A chunk of parameter, moments and gradient stays in the first cache.
enum { FLOATS = 1 << 15, CHUNK = 1 << 10 };

struct update {
    float *param, *moment[2];
    const float *grad;
    float *copy[3];
    value *rounded;                  // or NULL
    int64_t n;
    enum pawl_optimizer kind;
    bool nesterov, moving;           // moving: there is a momentum buffer
    bool keras;
    float scale;                     // of the gradient: micro-batches and clipping
    float rate, epsilon, decay, momentum;
    float keep;                      // AdamW, and all of Keras's: 1 - rate * decay
    float new_1, beta_2, new_2;      // new_1 = 1 - beta_1, new_2 = 1 - beta_2
    float rho, new_rho;              // 1 - rho
    float first, second;             // Adam's bias corrections: rate / c1 and 1 / sqrt(c2)
};

struct element {
    vec param, moment[2];
};

#define INLINE static inline __attribute__((always_inline))

INLINE void adam(const struct update *u, struct element *e, vec grad)
{
    if (u->kind == PAWL_ADAMW || u->keras)
        e->param *= u->keep;
    else
        grad += e->param * u->decay;
    e->moment[0] += (grad - e->moment[0]) * u->new_1;
    e->moment[1] = e->moment[1] * u->beta_2 + grad * grad * u->new_2;
    e->param -= e->moment[0] / (vec_sqrt(e->moment[1]) * u->second + u->epsilon) * u->first;
}

INLINE void sgd(const struct update *u, struct element *e, vec grad)
{
    grad += e->param * u->decay;
    if (u->moving) {
        e->moment[0] = e->moment[0] * u->momentum + grad;
        grad = u->nesterov ? grad + e->moment[0] * u->momentum : e->moment[0];
    }
    e->param -= grad * u->rate;
}

INLINE void rmsprop(const struct update *u, struct element *e, vec grad)
{
    grad += e->param * u->decay;
    e->moment[0] = e->moment[0] * u->rho + grad * grad * u->new_rho;
    grad = grad / (vec_sqrt(e->moment[0]) + u->epsilon);
    if (u->moving) {
        e->moment[1] = e->moment[1] * u->momentum + grad;
        grad = e->moment[1];
    }
    e->param -= grad * u->rate;
}

// Keras's velocity is the step itself, rate included.
INLINE void sgd_keras(const struct update *u, struct element *e, vec grad)
{
    const vec step = grad * -u->rate;

    e->param *= u->keep;
    if (!u->moving) {
        e->param += step;
        return;
    }
    e->moment[0] = e->moment[0] * u->momentum + step;
    e->param += u->nesterov ? e->moment[0] * u->momentum + step : e->moment[0];
}

// As above, and epsilon lies under the root.
INLINE void rmsprop_keras(const struct update *u, struct element *e, vec grad)
{
    e->param *= u->keep;
    e->moment[0] = e->moment[0] * u->rho + grad * grad * u->new_rho;
    vec step = grad * u->rate / vec_sqrt(e->moment[0] + u->epsilon);
    if (u->moving) {
        step += e->moment[1] * u->momentum;
        e->moment[1] = step;
    }
    e->param -= step;
}

INLINE void apply(const struct update *u, struct element *e, vec grad)
{
    grad *= u->scale;
    switch (u->kind) {
    case PAWL_ADAMW:
    case PAWL_ADAM:
        adam(u, e, grad);
        break;
    case PAWL_SGD:
        (u->keras ? sgd_keras : sgd)(u, e, grad);
        break;
    case PAWL_RMSPROP:
        (u->keras ? rmsprop_keras : rmsprop)(u, e, grad);
        break;
    case PAWL_OPTIMIZERS:
        break;
    }
}

// `moments` is a constant where this is called, so the loop asks nothing.
INLINE int64_t update_whole(const struct update *u, int64_t start, int64_t end, int moments)
{
    const struct update own = *u;  // no store through a float pointer can reach it
    int64_t i = start;

    u = &own;
    for (; i + LANES <= end; i += LANES) {
        struct element e = { .param = vec_load(u->param + i) };
        for (int m = 0; m < moments; m++)
            e.moment[m] = vec_load(u->moment[m] + i);
        apply(u, &e, vec_load(u->grad + i));
        vec_store(u->param + i, e.param);
        for (int m = 0; m < moments; m++)
            vec_store(u->moment[m] + i, e.moment[m]);
    }
    return i;
}

static void update_rest(const struct update *u, int64_t i, int64_t n)
{
    struct element e = { .param = vec_load_some(u->param + i, n) };

    for (int m = 0; m < 2; m++)
        if (u->moment[m]) e.moment[m] = vec_load_some(u->moment[m] + i, n);
    apply(u, &e, vec_load_some(u->grad + i, n));
    vec_store_some(u->param + i, e.param, n);
    for (int m = 0; m < 2; m++)
        if (u->moment[m]) vec_store_some(u->moment[m] + i, e.moment[m], n);
}

static void copy_past_caches(float *to, const float *from, int64_t n)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        vec_stream(to + i, vec_load(from + i));
    for (; i < n; i++)
        to[i] = from[i];
}

// One array after the other, so that the processor joins the stores to whole lines: interleaved
// with the update, three such streams were ten times slower.
static void copy_chunk(const struct update *u, int64_t start, int64_t n)
{
    copy_past_caches(u->copy[0] + start, u->param + start, n);
    for (int m = 0; m < 2; m++)
        if (u->copy[m + 1]) copy_past_caches(u->copy[m + 1] + start, u->moment[m] + start, n);
}

static void round_chunk(const struct update *u, int64_t start, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        vec_store_left(u->rounded + start + i, vec_load_left(u->param + start + i, n - i), n - i);
}

static void update_block(void *arguments, int64_t block, int thread)
{
    const struct update *u = arguments;
    const int64_t start = block * FLOATS, end = start + host_piece(u->n, FLOATS, start);

    (void)thread;
    for (int64_t i = start, done; i < end; i += CHUNK) {
        const int64_t n = host_piece(end, CHUNK, i);
        if (u->copy[0]) copy_chunk(u, i, n);
        if (u->moment[1])
            done = update_whole(u, i, i + n, 2);
        else if (u->moment[0])
            done = update_whole(u, i, i + n, 1);
        else
            done = update_whole(u, i, i + n, 0);
        if (done < i + n) update_rest(u, done, i + n - done);
        if (u->rounded) round_chunk(u, i, n);
    }
    if (u->copy[0]) vec_stream_end();
}

static float gradient_scale(const struct pawl_update *rule)
{
    if (!rule->grad_norm) return rule->grad_scale;
    const float ratio = rule->clip / (*rule->grad_norm + 1e-6f);
    // A NaN norm is not "no clipping": it must be seen.
    return ratio >= 1.0f ? rule->grad_scale : rule->grad_scale * ratio;
}

void HOST(update)(struct pawl_stream *s, float *param, float *moment_1, float *moment_2,
                  const float *grad, int64_t n, const struct pawl_update *rule, float *copy_param,
                  float *copy_1, float *copy_2, pawl_value *rounded)
{
    const double step = (double)rule->step;
    struct update u = {
        .param = param, .moment = { moment_1, moment_2 }, .grad = grad,
        .copy = { copy_param, copy_1, copy_2 }, .rounded = rounded, .n = n, .kind = rule->kind,
        .nesterov = rule->nesterov, .keras = rule->as == PAWL_AS_KERAS,
        .moving = rule->kind == PAWL_SGD ? moment_1 != NULL : moment_2 != NULL,
        .scale = gradient_scale(rule),
        .rate = (float)rule->rate, .epsilon = (float)rule->epsilon,
        .decay = (float)rule->decay, .momentum = (float)rule->momentum,
        .keep = (float)(1 - rule->rate * rule->decay),
        .new_1 = (float)(1 - rule->beta_1), .beta_2 = (float)rule->beta_2,
        .new_2 = (float)(1 - rule->beta_2), .rho = (float)rule->rho,
        .new_rho = (float)(1 - rule->rho),
        .first = (float)(rule->rate / (1 - pow(rule->beta_1, step))),
        .second = (float)(1 / sqrt(1 - pow(rule->beta_2, step))),
    };

    // Keras adds epsilon to the root before its bias is corrected.
    if (u.keras && (rule->kind == PAWL_ADAM || rule->kind == PAWL_ADAMW)) u.epsilon *= u.second;
    host_run(s, host_pieces(n, FLOATS), update_block, &u);
}
