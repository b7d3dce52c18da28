// direct.h - convolutions whose groups have so few channels that tiles would be mostly empty:
// depthwise, and its like. A thread has one output and sums over taps and channels in their order.

#ifndef PAWL_CUDA_DIRECT_H
#define PAWL_CUDA_DIRECT_H

#include "kernels/cuda/product.h"

namespace {

static inline bool direct_fits(const struct pawl_window *w)
{
    return w->groups > 1 && w->in_c / w->groups * (w->out_c / w->groups) <= 16;
}

struct direct_shape {
    int in_h, in_w, in_c, out_h, out_w, out_c;
    int kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int ins, outs;  // channels of a group
    int64_t places;
};

static inline direct_shape direct_shape_of(const struct pawl_window *w)
{
    direct_shape d = {};

    d.in_h = (int)w->in_h;
    d.in_w = (int)w->in_w;
    d.in_c = (int)w->in_c;
    d.out_h = (int)w->out_h;
    d.out_w = (int)w->out_w;
    d.out_c = (int)w->out_c;
    d.kernel_h = (int)w->kernel_h;
    d.kernel_w = (int)w->kernel_w;
    d.stride_h = (int)w->stride_h;
    d.stride_w = (int)w->stride_w;
    d.dilation_h = (int)w->dilation_h;
    d.dilation_w = (int)w->dilation_w;
    d.pad_top = (int)w->pad_top;
    d.pad_left = (int)w->pad_left;
    d.ins = (int)(w->in_c / w->groups);
    d.outs = (int)(w->out_c / w->groups);
    d.places = w->batch * w->out_h * w->out_w;
    return d;
}

static __device__ inline void finish_one(const finish<value> &f, float sum, int64_t at, int col)
{
    float x[4] = { sum, 0.0f, 0.0f, 0.0f };

    finish_four(f, x, at, col, 1);
}

static __global__ void convolve(finish<value> f, const value *x, const value *weight,
                                direct_shape d)
{
    EACH(i, d.places * d.out_c)
    {
        const int64_t place = i / d.out_c, image = place / d.out_w / d.out_h;
        const int c = (int)(i % d.out_c), from = c / d.outs * d.ins;
        const int y0 = (int)(place / d.out_w % d.out_h) * d.stride_h - d.pad_top;
        const int x0 = (int)(place % d.out_w) * d.stride_w - d.pad_left;
        const value *kernel = weight + (int64_t)c * d.kernel_h * d.kernel_w * d.ins;
        float sum = 0;
        for (int tap = 0; tap < d.kernel_h * d.kernel_w; tap++) {
            const int at_y = y0 + tap / d.kernel_w * d.dilation_h;
            const int at_x = x0 + tap % d.kernel_w * d.dilation_w;
            if (at_y < 0 || at_y >= d.in_h || at_x < 0 || at_x >= d.in_w) continue;
            const value *pixel = x + ((image * d.in_h + at_y) * d.in_w + at_x) * d.in_c + from;
            for (int e = 0; e < d.ins; e++)
                sum += get(pixel[e]) * get(kernel[tap * d.ins + e]);
        }
        finish_one(f, sum, i, c);
    }
}

static __global__ void convolve_back(finish<value> f, const value *out_grad, const value *weight,
                                     direct_shape d, int64_t count)
{
    EACH(i, count)
    {
        const int64_t place = i / d.in_c, image = place / d.in_w / d.in_h;
        const int c = (int)(i % d.in_c), first = c / d.ins * d.outs;
        const int y0 = (int)(place / d.in_w % d.in_h) + d.pad_top;
        const int x0 = (int)(place % d.in_w) + d.pad_left;
        const int taps = d.kernel_h * d.kernel_w;
        float sum = 0;
        for (int tap = 0; tap < taps; tap++) {
            const int y = y0 - tap / d.kernel_w * d.dilation_h;
            const int x = x0 - tap % d.kernel_w * d.dilation_w;
            if (y < 0 || y % d.stride_h || y / d.stride_h >= d.out_h) continue;
            if (x < 0 || x % d.stride_w || x / d.stride_w >= d.out_w) continue;
            const int64_t at = (image * d.out_h + y / d.stride_h) * d.out_w + x / d.stride_w;
            for (int e = 0; e < d.outs; e++)
                sum += get(out_grad[at * d.out_c + first + e])
                       * get(weight[((int64_t)(first + e) * taps + tap) * d.ins + c % d.ins]);
        }
        finish_one(f, sum, i, c);
    }
}

enum { DIRECT_WARPS = 16 };

// A block has one tap of 32 output channels, a lane each; its warps share the places, and their
// sums are added in the warps' order.
static __global__ void convolve_weight(float *weight_grad, const value *out_grad, const value *x,
                                       direct_shape d, bool add)
{
    SHARED(float, part);
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int taps = d.kernel_h * d.kernel_w, each = taps * d.ins;
    const int c = (int)blockIdx.x / each * 32 + lane, element = (int)blockIdx.x % each;
    const int tap = element / d.ins;
    const int down = tap / d.kernel_w * d.dilation_h - d.pad_top;
    const int right = tap % d.kernel_w * d.dilation_w - d.pad_left;
    const int from = c / d.outs * d.ins + element % d.ins;
    float sum = 0;

    for (int64_t place = warp; place < d.places; place += DIRECT_WARPS) {
        const int64_t line = place / d.out_w, image = line / d.out_h;
        const int at_y = (int)(line - image * d.out_h) * d.stride_h + down;
        const int at_x = (int)(place - line * d.out_w) * d.stride_w + right;
        if (at_y < 0 || at_y >= d.in_h || at_x < 0 || at_x >= d.in_w || c >= d.out_c) continue;
        sum += get(out_grad[place * d.out_c + c])
               * get(x[((image * d.in_h + at_y) * d.in_w + at_x) * d.in_c + from]);
    }
    part[warp * 32 + lane] = sum;
    __syncthreads();
    if (warp || c >= d.out_c) return;
    for (int w = 1; w < DIRECT_WARPS; w++)
        sum += part[w * 32 + lane];
    float *to = weight_grad + (int64_t)c * each + element;
    *to = add ? *to + sum : sum;
}

static inline void direct_forward(struct pawl_stream *s, const finish<value> &f,
                                  const pawl_value *x, const pawl_value *weight,
                                  const struct pawl_window *w)
{
    const direct_shape d = direct_shape_of(w);

    LAUNCH(convolve, blocks_for(d.places * d.out_c, 256), 256, 0, s, f, (const value *)x,
           (const value *)weight, d);
}

static inline void direct_back_x(struct pawl_stream *s, const finish<value> &f,
                                 const pawl_value *out_grad, const pawl_value *weight,
                                 const struct pawl_window *w)
{
    const direct_shape d = direct_shape_of(w);
    const int64_t count = w->batch * w->in_h * w->in_w * w->in_c;

    LAUNCH(convolve_back, blocks_for(count, 256), 256, 0, s, f, (const value *)out_grad,
           (const value *)weight, d, count);
}

static inline void direct_back_weight(struct pawl_stream *s, float *weight_grad,
                                      const pawl_value *out_grad, const pawl_value *x,
                                      const struct pawl_window *w, bool add)
{
    const direct_shape d = direct_shape_of(w);
    const int64_t blocks = (w->out_c + 31) / 32 * w->kernel_h * w->kernel_w * d.ins;

    LAUNCH(convolve_weight, (unsigned)blocks, DIRECT_WARPS * 32,
           DIRECT_WARPS * 32 * sizeof(float), s, weight_grad, (const value *)out_grad,
           (const value *)x, d, add);
}

}  // namespace

#endif
