// plain_pool.c - pooling, each window's places visited one by one.

#include "tests/kernels/plain.h"

// Calls visit for every place of the window of output (row, col) that is inside the image.
static void visit_window(const struct pawl_window *w, int64_t row, int64_t col,
                         void (*visit)(void *context, int64_t pixel), void *context)
{
    for (int64_t i = 0; i < w->kernel_h; i++)
        for (int64_t j = 0; j < w->kernel_w; j++) {
            const int64_t y = row * w->stride_h - w->pad_top + i * w->dilation_h;
            const int64_t x = col * w->stride_w - w->pad_left + j * w->dilation_w;
            if (y >= 0 && y < w->in_h && x >= 0 && x < w->in_w) visit(context, y * w->in_w + x);
        }
}

struct look {
    const double *image;  // of one channel: channels apart
    int64_t channels, best, count;
    double sum, share;
    double *grad;
};

static void compare(void *context, int64_t pixel)
{
    struct look *l = context;

    if (l->best < 0 || l->image[pixel * l->channels] > l->image[l->best * l->channels])
        l->best = pixel;
}

static void count(void *context, int64_t pixel)
{
    struct look *l = context;

    l->sum += l->image[pixel * l->channels];
    l->count++;
}

static void give(void *context, int64_t pixel)
{
    struct look *l = context;

    l->grad[pixel * l->channels] += l->share;
}

// What a window's sum is divided by.
static double divisor(const struct pawl_window *w, const struct look *l)
{
    return (double)(w->count_pads ? w->kernel_h * w->kernel_w : l->count);
}

struct place {
    int64_t row, col, in;  // in: offset of the image and channel in x
};

static struct place place_of(const struct pawl_window *w, int64_t i)
{
    const int64_t channel = i % w->out_c, pixel = i / w->out_c;
    const int64_t item = pixel / w->out_w / w->out_h;

    return (struct place){ pixel / w->out_w % w->out_h, pixel % w->out_w,
                           item * w->in_h * w->in_w * w->in_c + channel };
}

void plain_max_pool2d(double *out, int32_t *index, const double *x, const struct pawl_window *w)
{
    for (int64_t i = 0; i < w->batch * w->out_h * w->out_w * w->out_c; i++) {
        const struct place p = place_of(w, i);
        struct look l = { .image = x + p.in, .channels = w->in_c, .best = -1 };
        visit_window(w, p.row, p.col, compare, &l);
        out[i] = l.best < 0 ? 0 : l.image[l.best * l.channels];
        index[i] = (int32_t)l.best;
    }
}

void plain_avg_pool2d(double *out, const double *x, const struct pawl_window *w)
{
    for (int64_t i = 0; i < w->batch * w->out_h * w->out_w * w->out_c; i++) {
        const struct place p = place_of(w, i);
        struct look l = { .image = x + p.in, .channels = w->in_c };
        visit_window(w, p.row, p.col, count, &l);
        out[i] = l.count ? l.sum / divisor(w, &l) : 0;
    }
}

void plain_max_pool2d_back(double *x_grad, const double *out_grad, const int32_t *index,
                           const struct pawl_window *w)
{
    for (int64_t i = 0; i < w->batch * w->in_h * w->in_w * w->in_c; i++)
        x_grad[i] = 0;
    for (int64_t i = 0; i < w->batch * w->out_h * w->out_w * w->out_c; i++)
        if (index[i] >= 0) x_grad[place_of(w, i).in + index[i] * w->in_c] += out_grad[i];
}

void plain_avg_pool2d_back(double *x_grad, const double *out_grad, const struct pawl_window *w)
{
    for (int64_t i = 0; i < w->batch * w->in_h * w->in_w * w->in_c; i++)
        x_grad[i] = 0;
    for (int64_t i = 0; i < w->batch * w->out_h * w->out_w * w->out_c; i++) {
        const struct place p = place_of(w, i);
        struct look l = { .image = x_grad + p.in, .channels = w->in_c, .grad = x_grad + p.in };
        visit_window(w, p.row, p.col, count, &l);
        l.share = l.count ? out_grad[i] / divisor(w, &l) : 0;
        visit_window(w, p.row, p.col, give, &l);
    }
}
