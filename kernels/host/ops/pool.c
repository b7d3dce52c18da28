// pool.c - the largest, or the mean, of each window of an image; channels side by side in vectors.
//
// A block of forward is one row of outputs. Backward scatters, so a block is a whole image's
// strip of channels: no other block touches those elements, and the order within is fixed.

#include "kernels/host/ops/ops.h"
#include "kernels/host/value.h"

enum { STRIP = 64 };

struct pool {
    const struct pawl_host *host;
    value *out;
    int32_t *index;
    const value *x;         // forward
    const value *out_grad;  // backward, with out the gradient of x
    const int32_t *taken;
    struct pawl_window w;
    bool add;
};

// What a window's sum is divided by.
static float divisor(const struct pawl_window *w, int64_t inside)
{
    return (float)(w->count_pads ? w->kernel_h * w->kernel_w : inside);
}

// The part of one output's window that lies inside the image: rows and columns of x.
struct patch {
    int64_t row, row_end, row_step, col, col_end, col_step, count;
};

// Moves *from, in steps, past what lies before the image; returns where to stop.
static int64_t clip(int64_t *from, int64_t taps, int64_t step, int64_t size)
{
    const int64_t stop = *from + taps * step;

    if (*from < 0) *from += host_pieces(-*from, step) * step;
    return stop < size ? stop : size;
}

static struct patch patch_of(const struct pawl_window *w, int64_t out_row, int64_t out_col)
{
    struct patch p = {
        .row = out_row * w->stride_h - w->pad_top, .row_step = w->dilation_h,
        .col = out_col * w->stride_w - w->pad_left, .col_step = w->dilation_w,
    };

    p.row_end = clip(&p.row, w->kernel_h, p.row_step, w->in_h);
    p.col_end = clip(&p.col, w->kernel_w, p.col_step, w->in_w);
    if (p.row < p.row_end && p.col < p.col_end)
        p.count = host_pieces(p.row_end - p.row, p.row_step)
                  * host_pieces(p.col_end - p.col, p.col_step);
    return p;
}

static void max_of_patch(const struct pool *a, const value *image, const struct patch *p,
                         int64_t at)
{
    const int64_t channels = a->w.in_c;

    for (int64_t c = 0; c < channels; c += LANES) {
        const int64_t n = host_piece(channels, LANES, c);
        vec best = { 0 };
        veci from = (veci){ 0 } - 1;
        for (int64_t row = p->row; row < p->row_end; row += p->row_step)
            for (int64_t col = p->col; col < p->col_end; col += p->col_step) {
                const int64_t pixel = row * a->w.in_w + col;
                const vec x = vec_load_left(image + pixel * channels + c, n);
                const veci better = (from < 0) | (x > best) | (x != x);
                best = vec_select(better, x, best);
                from = (veci)vec_select(better, (vec)((veci){ 0 } + (int32_t)pixel), (vec)from);
            }
        vec_store_left(a->out + at + c, best, n);
        memcpy(a->index + at + c, &from, (size_t)(n < LANES ? n : LANES) * sizeof(int32_t));
    }
}

static void mean_of_patch(const struct pool *a, const value *image, const struct patch *p,
                          int64_t at)
{
    const int64_t channels = a->w.in_c;
    const float scale = p->count ? 1.0f / divisor(&a->w, p->count) : 0;

    for (int64_t c = 0; c < channels; c += LANES) {
        const int64_t n = host_piece(channels, LANES, c);
        vec sum = { 0 };
        for (int64_t row = p->row; row < p->row_end; row += p->row_step)
            for (int64_t col = p->col; col < p->col_end; col += p->col_step)
                sum += vec_load_left(image + (row * a->w.in_w + col) * channels + c, n);
        vec_store_left(a->out + at + c, sum * scale, n);
    }
}

static void pool_row(void *arguments, int64_t block, int thread)
{
    const struct pool *a = arguments;
    const struct pawl_window *w = &a->w;
    const value *image = a->x + block / w->out_h * w->in_h * w->in_w * w->in_c;

    (void)thread;
    for (int64_t col = 0; col < w->out_w; col++) {
        const struct patch p = patch_of(w, block % w->out_h, col);
        const int64_t at = (block * w->out_w + col) * w->out_c;
        if (a->index)
            max_of_patch(a, image, &p, at);
        else
            mean_of_patch(a, image, &p, at);
    }
}

void HOST(max_pool2d)(struct pawl_stream *s, pawl_value *out, int32_t *index, const pawl_value *x,
                      const struct pawl_window *window)
{
    struct pool a = { .out = out, .index = index, .x = x, .w = *window };

    host_run(s, window->batch * window->out_h, pool_row, &a);
}

void HOST(avg_pool2d)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                      const struct pawl_window *window)
{
    struct pool a = { .out = out, .x = x, .w = *window };

    host_run(s, window->batch * window->out_h, pool_row, &a);
}

// Where backward adds up pixels [first, end) of a strip of channels: in x_grad where that is float,
// else in scratch, so that each sum is rounded once.
struct sums {
    float *at;
    int64_t apart, first, end;
};

enum { IN_PLACE = sizeof(value) == sizeof(float) };

static void max_back(const struct pool *a, const struct sums *s, int64_t at, int64_t n)
{
    for (int64_t c = 0; c < n; c++) {
        const int64_t pixel = a->taken[at + c];
        if (pixel >= s->first && pixel < s->end)
            s->at[(pixel - s->first) * s->apart + c] += get(a->out_grad[at + c]);
    }
}

static void mean_back(const struct pool *a, const struct sums *s, const struct patch *p,
                      int64_t at, int64_t n)
{
    const float scale = p->count ? 1.0f / divisor(&a->w, p->count) : 0;

    for (int64_t row = p->row; row < p->row_end; row += p->row_step)
        for (int64_t col = p->col; col < p->col_end; col += p->col_step) {
            const int64_t pixel = row * a->w.in_w + col;
            float *to = s->at + (pixel - s->first) * s->apart;
            if (pixel < s->first || pixel >= s->end) continue;
            for (int64_t c = 0; c < n; c += LANES) {
                const int64_t some = host_piece(n, LANES, c);
                const vec grad = vec_load_left(a->out_grad + at + c, some) * scale;
                vec_store_left(to + c, vec_load_left(to + c, some) + grad, some);
            }
        }
}

static void add_outputs(const struct pool *a, const struct sums *s, int64_t item, int64_t channel,
                        int64_t n)
{
    const struct pawl_window *w = &a->w;

    for (int64_t i = 0; i < w->out_h * w->out_w; i++) {
        const int64_t at = (item * w->out_h * w->out_w + i) * w->out_c + channel;
        if (a->taken) {
            max_back(a, s, at, n);
        } else {
            const struct patch p = patch_of(w, i / w->out_w, i % w->out_w);
            mean_back(a, s, &p, at, n);
        }
    }
}

static void pool_back_strip(void *arguments, int64_t block, int thread)
{
    const struct pool *a = arguments;
    const struct pawl_window *w = &a->w;
    const int64_t strips = host_pieces(w->in_c, STRIP), pixels = w->in_h * w->in_w;
    const int64_t item = block / strips, channel = block % strips * STRIP;
    const int64_t n = host_piece(w->in_c, STRIP, channel);
    const int64_t most = IN_PLACE ? pixels : HOST_THREAD_BYTES / (int64_t)sizeof(float) / STRIP;
    value *image = a->out + item * pixels * w->in_c + channel;
    float *room = IN_PLACE ? (float *)(void *)image : host_thread_scratch(a->host, thread);

    for (int64_t first = 0; first < pixels; first += most) {
        const struct sums s = { room, IN_PLACE ? w->in_c : STRIP, first,
                                first + host_piece(pixels, most, first) };
        for (int64_t i = first; i < s.end; i++)
            for (int64_t c = 0; c < n; c++)
                s.at[(i - first) * s.apart + c] = a->add ? get(image[i * w->in_c + c]) : 0;
        add_outputs(a, &s, item, channel, n);
        for (int64_t i = first; !IN_PLACE && i < s.end; i++)
            for (int64_t c = 0; c < n; c++)
                image[i * w->in_c + c] = put(s.at[(i - first) * s.apart + c]);
    }
}

void HOST(max_pool2d_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                           const int32_t *index, const struct pawl_window *window, bool add)
{
    struct pool a = { .host = host_of(s), .out = x_grad, .out_grad = out_grad, .taken = index,
                      .w = *window, .add = add };

    host_run(s, window->batch * host_pieces(window->in_c, STRIP), pool_back_strip, &a);
}

void HOST(avg_pool2d_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                           const struct pawl_window *window, bool add)
{
    struct pool a = { .host = host_of(s), .out = x_grad, .out_grad = out_grad, .w = *window,
                      .add = add };

    host_run(s, window->batch * host_pieces(window->in_c, STRIP), pool_back_strip, &a);
}
