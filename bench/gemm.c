// gemm.c - times the matrix-shaped operations beside the machine's peak: bench-gemm [--json]
//
// Rounds of the peak (multiply-adds on registers alone, all threads) and of each product take
// turns, and the best of each counts: the machine may be shared, and its clock moves. So a
// fraction compares what both could do at their best within the same second or so.

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/device.h"
#include "kernels/io.h"

struct shape {
    const char *name;
    int64_t m, n, k;             // of linear
    struct pawl_window window;   // of conv2d, where batch is set
};

#define CONV(b, h, w, c, oc, kernel, group)                                                        \
    {                                                                                              \
        b, h, w, c, h, w, oc, kernel, kernel, 1, 1, 1, 1, kernel / 2, kernel / 2, group, false     \
    }
static const struct shape shapes[] = {
    { "square 1024", 1024, 1024, 1024, { 0 } },
    { "gpt qkv", 2048, 1152, 384, { 0 } },
    { "gpt out", 2048, 384, 384, { 0 } },
    { "gpt up", 2048, 1536, 384, { 0 } },
    { "gpt down", 2048, 384, 1536, { 0 } },
    { "gpt logits", 2048, 256, 384, { 0 } },
    { "cnn dense", 64, 128, 12544, { 0 } },
    { "cnn logits", 64, 10, 128, { 0 } },
    { "mlp 784-256", 128, 256, 784, { 0 } },
    { "mlp 256-10", 128, 10, 256, { 0 } },
    { "cnn conv1", 0, 0, 0, CONV(64, 28, 28, 1, 32, 3, 1) },
    { "cnn conv2", 0, 0, 0, CONV(64, 28, 28, 32, 64, 3, 1) },
    { "depthwise 64", 0, 0, 0, CONV(16, 28, 28, 64, 64, 3, 64) },
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]), PRODUCTS = 3 };

static const char *const products[PRODUCTS] = { "forward", "back_x", "back_weight" };

struct options {
    const char *only;
    double seconds;
    int threads;
    bool json;
};

struct memory {
    float *x, *x_grad, *weight, *weight_grad, *bias, *bias_grad, *out, *out_grad;
};

static void sizes(const struct shape *s, int64_t *x, int64_t *weight, int64_t *out, int64_t *cols)
{
    const struct pawl_window *w = &s->window;

    *x = w->batch ? w->batch * w->in_h * w->in_w * w->in_c : s->m * s->k;
    *out = w->batch ? w->batch * w->out_h * w->out_w * w->out_c : s->m * s->n;
    *weight = w->batch ? w->out_c * w->kernel_h * w->kernel_w * (w->in_c / w->groups)
                       : s->n * s->k;
    *cols = w->batch ? w->out_c : s->n;
}

// --only: a part of "SHAPE PRODUCT".
static bool wanted(const struct shape *s, int product, const char *only)
{
    char name[64];

    snprintf(name, sizeof(name), "%s %s", s->name, products[product]);
    return strstr(name, only);
}

static double gflops(const struct shape *s)
{
    int64_t x, weight, out, cols;

    sizes(s, &x, &weight, &out, &cols);
    return 2e-9 * (double)out * (double)(weight / cols);
}

static void run(struct pawl_stream *stream, const struct shape *s, int product,
                const struct memory *a)
{
    const struct pawl_ops *ops = stream->device->ops;
    const struct pawl_window *w = &s->window;

    if (w->batch && product == 0)
        ops->conv2d(stream, a->out, NULL, a->x, a->weight, a->bias, w, PAWL_RELU);
    else if (w->batch && product == 1)
        ops->conv2d_back_x(stream, a->x_grad, a->out_grad, a->weight, a->x, w, PAWL_RELU, false);
    else if (w->batch)
        ops->conv2d_back_weight(stream, a->weight_grad, a->bias_grad, a->out_grad, a->x, w, false);
    else if (product == 0)
        ops->linear(stream, a->out, NULL, a->x, a->weight, a->bias, NULL, s->m, s->n, s->k,
                    PAWL_RELU);
    else if (product == 1)
        ops->linear_back_x(stream, a->x_grad, a->out_grad, a->weight, a->x, s->m, s->n, s->k,
                           PAWL_RELU, false);
    else
        ops->linear_back_weight(stream, a->weight_grad, a->bias_grad, a->out_grad, a->x, s->m,
                                s->n, s->k, false);
}

// Best milliseconds of each product, and the best peak in between, over about `seconds`.
static void measure(struct pawl_stream *stream, const struct shape *s, const struct memory *a,
                    const struct options *o, double ms[PRODUCTS], double *peak)
{
    struct pawl_device *device = stream->device;
    const int64_t end = pawl_io()->now_ns() + (int64_t)(o->seconds * 1e9);

    *peak = 0;
    for (int i = 0; i < PRODUCTS; i++)
        ms[i] = 1e30;
    do {
        const double now = device->kind->peak_gflops(device, 0.01);
        if (now > *peak) *peak = now;
        for (int i = 0; i < PRODUCTS; i++) {
            if (!wanted(s, i, o->only)) continue;
            const int64_t stop = pawl_io()->now_ns() + 20000000;
            do {
                const int64_t start = pawl_io()->now_ns();
                run(stream, s, i, a);
                pawl_stream_wait(stream);
                const double took = (double)(pawl_io()->now_ns() - start) / 1e6;
                if (took < ms[i]) ms[i] = took;
            } while (pawl_io()->now_ns() < stop);
        }
    } while (pawl_io()->now_ns() < end);
}

static int take(struct pawl_device *device, float **out, int64_t count)
{
    const int rc = pawl_device_alloc(device, out, (size_t)count * sizeof(float), PAWL_ON_DEVICE);

    for (int64_t i = 0; !rc && i < count; i++)
        (*out)[i] = (float)(i % 17 - 8) / 16;
    return rc;
}

static int report(struct pawl_stream *stream, const struct shape *s, const struct options *o)
{
    struct pawl_device *device = stream->device;
    int64_t x, weight, out, cols;
    struct memory a = { 0 };
    double ms[PRODUCTS], peak;
    float **slot = &a.x;

    sizes(s, &x, &weight, &out, &cols);
    const int64_t counts[] = { x, x, weight, weight, cols, cols, out, out };
    for (int i = 0; i < 8; i++)
        if (take(device, slot + i, counts[i])) return 1;
    measure(stream, s, &a, o, ms, &peak);
    for (int i = 0; i < PRODUCTS; i++)
        if (wanted(s, i, o->only))
            printf(o->json ? "{\"shape\":\"%s\",\"product\":\"%s\",\"ms\":%.4f,\"gflops\":%.1f,"
                            "\"of_peak\":%.3f,\"peak_gflops\":%.1f}\n"
                           : "%-12s %-12s %9.4f ms %8.1f GFLOP/s %6.3f of %.1f\n",
                   s->name, products[i], ms[i], gflops(s) / ms[i] * 1e3,
                   gflops(s) / ms[i] * 1e3 / peak, peak);
    fflush(stdout);
    for (int i = 0; i < 8; i++)
        pawl_device_free(device, slot[i], (size_t)counts[i] * sizeof(float), PAWL_ON_DEVICE);
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: bench-gemm [--json] [--threads N] [--seconds S] [--only WORDS]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option words[] = {
        { "json", no_argument, NULL, 'j' },          { "threads", required_argument, NULL, 't' },
        { "seconds", required_argument, NULL, 's' }, { "only", required_argument, NULL, 'o' },
        { NULL, 0, NULL, 0 },
    };
    struct options o = { .only = "", .seconds = 1 };
    struct pawl_device *device = NULL;
    struct pawl_stream *stream = NULL;
    int rc = 0;

    for (int c; (c = getopt_long(argc, argv, "", words, NULL)) != -1;) {
        if (c == '?') return usage();
        if (c == 'j') o.json = true;
        if (c == 't') o.threads = atoi(optarg);
        if (c == 's') o.seconds = atof(optarg);
        if (c == 'o') o.only = optarg;
    }
    if (pawl_device_open(&device, "host", o.threads) || pawl_stream_open(&stream, device)) {
        fprintf(stderr, "bench-gemm: %s\n", pawl_error());
        return 1;
    }
    if (!o.json) printf("%s\n", device->words);
    for (int i = 0; i < SHAPES && !rc; i++)
        if (wanted(shapes + i, 0, o.only) || wanted(shapes + i, 1, o.only)
            || wanted(shapes + i, 2, o.only))
            rc = report(stream, shapes + i, &o);
    pawl_stream_close(stream);
    pawl_device_close(device);
    return rc;
}
