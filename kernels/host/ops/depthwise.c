// depthwise.c - see depthwise.h. Work is cut into strips of channels and bands of rows.

#include "kernels/host/ops/depthwise.h"

#include <string.h>

#include "kernels/host/value.h"

enum {
    VECS = 4,               // chains of sums side by side: the latency of a multiply-add
    STRIP = VECS * LANES,
    BAND = 8,               // rows for which a strip's weights are turned once
    SPAN = 128,             // places of a row whose sums stay in L1
    TAPS = 4096,
    PARTS = 32,             // of the rows that a weight's gradient sums over
};

struct depthwise {
    const struct gemm_patches *patches;
    const struct pawl_host *host;
    const value *x, *weight, *out_grad;
    const struct gemm_finish *finish;
    float *weight_grad, *bias_grad;
    float *sums;                        // (parts, taps + 1, channels); the last tap is the bias
    int64_t channels, strips, bands, parts;
    bool add;
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

bool HOST(depthwise_fits)(const struct pawl_window *w)
{
    return w->groups == w->in_c && w->in_c == w->out_c && w->kernel_h * w->kernel_w <= TAPS;
}

// Places of a row for which tap b lies inside the image.
static void inside(int64_t *from, int64_t *to, const struct gemm_patches *p, int64_t b)
{
    const int64_t x = p->first_w + b * p->tap_w;  // of place 0

    *from = x >= 0 ? 0 : divide_up(-x, p->step_w);
    *to = x >= p->image_w ? 0 : smaller(p->grid_w, (p->image_w - 1 - x) / p->step_w + 1);
}

static const value *row_of(const struct depthwise *d, int64_t image, int64_t y)
{
    const struct gemm_patches *p = d->patches;

    return d->x + (image * p->image_h + y) * p->image_w * p->pixel;
}

// ---- sums over taps

// sum (places, STRIP) += x (places, step apart) * w, for vecs vectors of channels.
static inline __attribute__((always_inline)) void
add_tap(float *sum, const value *x, const float *w, int64_t places, int64_t step, int vecs)
{
    vec factor[VECS];

#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
        factor[v] = vec_load(w + v * LANES);
    for (int64_t i = 0; i < places; i++, sum += STRIP, x += step)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            vec_store(sum + v * LANES, vec_load(sum + v * LANES)
                                           + vec_load(x + v * LANES) * factor[v]);
}

static void add_strip(float *sum, const value *x, const float *w, int64_t places, int64_t step,
                      int64_t channels)
{
    int64_t c = 0;

    if (channels == STRIP) {
        add_tap(sum, x, w, places, step, VECS);
        return;
    }
    for (; c + LANES <= channels; c += LANES)
        add_tap(sum + c, x + c, w + c, places, step, 1);
    for (; c < channels; c++)
        for (int64_t i = 0; i < places; i++)
            sum[i * STRIP + c] += get(x[i * step + c]) * w[c];
}

// The weights of a strip, turned to (taps_h, taps_w, STRIP).
static void turn_weights(const struct depthwise *d, float *out, int64_t strip, int64_t channels)
{
    const struct gemm_patches *p = d->patches;

    for (int64_t a = 0; a < p->taps_h; a++)
        for (int64_t b = 0; b < p->taps_w; b++, out += STRIP) {
            const int64_t y = p->kernel_first_h + a * p->kernel_step_h;
            const int64_t x = p->kernel_first_w + b * p->kernel_step_w;
            for (int64_t c = 0; c < channels; c++)
                out[c] = get(d->weight[((strip * STRIP + c) * p->kernel_h + y) * p->kernel_w + x]);
        }
}

struct span {
    int64_t image, row, start, places, strip, channels;
};

static void sum_span(const struct depthwise *d, float *sum, const float *weights,
                     const struct span *s)
{
    const struct gemm_patches *p = d->patches;

    memset(sum, 0, (size_t)(s->places * STRIP) * sizeof(float));
    for (int64_t a = 0; a < p->taps_h; a++) {
        const int64_t y = p->first_h + s->row * p->step_h + a * p->tap_h;
        if (y < 0 || y >= p->image_h) continue;
        const value *row = row_of(d, s->image, y) + s->strip * STRIP;
        for (int64_t b = 0; b < p->taps_w; b++) {
            int64_t from, to;
            inside(&from, &to, p, b);
            from = larger(from, s->start);
            to = smaller(to, s->start + s->places);
            if (from >= to) continue;
            const int64_t x = p->first_w + from * p->step_w + b * p->tap_w;
            add_strip(sum + (from - s->start) * STRIP, row + x * p->pixel,
                      weights + (a * p->taps_w + b) * STRIP, to - from, p->step_w * p->pixel,
                      s->channels);
        }
    }
}

static void finish_span(const struct depthwise *d, float *sum, const struct span *s)
{
    const struct gemm_patches *p = d->patches;
    const struct gemm_finish *f = d->finish;
    int64_t offset[SPAN];

    for (int64_t i = 0; i < s->places; i++) {
        const int64_t at = (s->image * p->grid_h + s->row) * p->grid_w + s->start + i;
        offset[i] = f->row ? f->row(f->patches, at) : at * f->stride;
    }
    HOST(finish)(f, sum, STRIP, offset, s->strip * STRIP, s->places, s->channels);
}

static void run_band(void *arguments, int64_t block, int thread)
{
    const struct depthwise *d = arguments;
    const struct gemm_patches *p = d->patches;
    float *sum = host_thread_scratch(d->host, thread), *weights = sum + SPAN * STRIP;
    struct span s = { .image = block / d->bands / d->strips, .strip = block % d->strips };
    const int64_t band = block / d->strips % d->bands;
    const int64_t end = smaller((band + 1) * BAND, p->grid_h);

    s.channels = smaller(STRIP, d->channels - s.strip * STRIP);
    turn_weights(d, weights, s.strip, s.channels);
    for (s.row = band * BAND; s.row < end; s.row++)
        for (s.start = 0; s.start < p->grid_w; s.start += SPAN) {
            s.places = smaller(SPAN, p->grid_w - s.start);
            sum_span(d, sum, weights, &s);
            finish_span(d, sum, &s);
        }
}

void HOST(depthwise)(struct pawl_stream *s, const struct gemm_patches *patches, const value *x,
                     const value *weight, const struct gemm_finish *finish)
{
    struct depthwise d = {
        .patches = patches, .host = host_of(s), .x = x, .weight = weight, .finish = finish,
        .channels = patches->pixel, .strips = divide_up(patches->pixel, STRIP),
        .bands = divide_up(patches->grid_h, BAND),
    };

    host_run(s, patches->batch * d.bands * d.strips, run_band, &d);
}

// ---- sums over places

// sum += x (places, step apart) * y (places, channels apart), lane by lane; y NULL: times 1.
static inline __attribute__((always_inline)) void
add_places(float *sum, const value *x, const value *y, int64_t places, int64_t step,
           int64_t channels, int vecs)
{
    vec total[VECS];

#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
        total[v] = vec_load(sum + v * LANES);
    for (int64_t i = 0; i < places; i++, x += step, y += y ? channels : 0)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            total[v] += y ? vec_load(x + v * LANES) * vec_load(y + v * LANES)
                          : vec_load(x + v * LANES);
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
        vec_store(sum + v * LANES, total[v]);
}

static void sum_places(float *sum, const value *x, const value *y, int64_t places, int64_t step,
                       int64_t apart, int64_t channels)
{
    int64_t c = 0;

    for (; c + STRIP <= channels; c += STRIP)
        add_places(sum + c, x + c, y ? y + c : NULL, places, step, apart, VECS);
    for (; c + LANES <= channels; c += LANES)
        add_places(sum + c, x + c, y ? y + c : NULL, places, step, apart, 1);
    for (; c < channels; c++)
        for (int64_t i = 0; i < places; i++)
            sum[c] += get(x[i * step + c]) * (y ? get(y[i * apart + c]) : 1);
}

// One row of places under all taps.
static void sum_row(const struct depthwise *d, float *sums, int64_t at, int64_t first,
                    int64_t channels)
{
    const struct gemm_patches *p = d->patches;
    const int64_t image = at / p->grid_h, row = at % p->grid_h;
    const value *out_grad = d->out_grad + at * p->grid_w * d->channels + first;

    for (int64_t a = 0; a < p->taps_h; a++) {
        const int64_t y = p->first_h + row * p->step_h + a * p->tap_h;
        if (y < 0 || y >= p->image_h) continue;
        for (int64_t b = 0; b < p->taps_w; b++) {
            int64_t from, to;
            inside(&from, &to, p, b);
            const int64_t x = p->first_w + from * p->step_w + b * p->tap_w;
            if (from < to)
                sum_places(sums + (a * p->taps_w + b) * d->channels,
                           row_of(d, image, y) + x * p->pixel + first,
                           out_grad + from * d->channels, to - from, p->step_w * p->pixel,
                           d->channels, channels);
        }
    }
    if (d->bias_grad)
        sum_places(sums + p->taps_h * p->taps_w * d->channels, out_grad, NULL, p->grid_w,
                   d->channels, 0, channels);
}

static void run_part(void *arguments, int64_t block, int thread)
{
    const struct depthwise *d = arguments;
    const struct gemm_patches *p = d->patches;
    const int64_t part = block / d->strips, first = block % d->strips * STRIP;
    const int64_t channels = smaller(STRIP, d->channels - first), taps = p->taps_h * p->taps_w;
    const int64_t rows = p->batch * p->grid_h;
    float *sums = d->sums + part * (taps + 1) * d->channels + first;

    (void)thread;
    for (int64_t t = 0; t <= taps; t++)
        memset(sums + t * d->channels, 0, (size_t)channels * sizeof(float));
    for (int64_t at = rows * part / d->parts; at < rows * (part + 1) / d->parts; at++)
        sum_row(d, sums, at, first, channels);
}

// The parts in their order, for one strip of channels.
static void add_parts(void *arguments, int64_t strip, int thread)
{
    const struct depthwise *d = arguments;
    const int64_t taps = d->patches->taps_h * d->patches->taps_w;
    const int64_t part = (taps + 1) * d->channels;

    (void)thread;
    for (int64_t c = strip * STRIP; c < smaller((strip + 1) * STRIP, d->channels); c++)
        for (int64_t t = 0; t <= taps; t++) {
            float *to = t < taps ? d->weight_grad + c * taps + t : d->bias_grad + c;
            if (t == taps && !d->bias_grad) continue;
            float sum = d->sums[t * d->channels + c];
            for (int64_t s = 1; s < d->parts; s++)
                sum += d->sums[s * part + t * d->channels + c];
            *to = d->add ? *to + sum : sum;
        }
}

void HOST(depthwise_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad,
                                 const value *out_grad, const value *x,
                                 const struct gemm_patches *patches, bool add)
{
    const int64_t part = (patches->taps_h * patches->taps_w + 1) * patches->pixel;
    struct depthwise d = {
        .patches = patches, .host = host_of(s), .x = x, .out_grad = out_grad,
        .weight_grad = weight_grad, .bias_grad = bias_grad, .channels = patches->pixel,
        .strips = divide_up(patches->pixel, STRIP), .add = add,
    };

    // By the shape alone, so that any number of threads adds in the same order.
    d.parts = smaller(smaller(PARTS, patches->batch * patches->grid_h),
                      HOST_SHARED_BYTES / 4 / part);
    d.sums = (float *)d.host->shared_scratch;
    host_run(s, d.parts * d.strips, run_part, &d);
    host_run(s, d.strips, add_parts, &d);
}
