// patches.h - a convolution's factors as sources of product.h: nothing is copied into rows first.
//
//     conv2d              out (places, out_c) = patches (places, taps channels) weight^T
//     conv2d_back_x       per phase of the stride: x_grad (places, in_c) = patches of out_grad
//                         (places, taps out_c) times kernel (in_c, taps out_c)
//     conv2d_back_weight  weight_grad (out_c, taps channels) = out_grad^T patches

#ifndef PAWL_CUDA_PATCHES_H
#define PAWL_CUDA_PATCHES_H

#include "kernels/cuda/product.h"

namespace {

// Which patches: a grid of places over images of `pixel` channels, taps at each, and which element
// of the kernel a tap is.
struct patch_grid {
    int batch, image_h, image_w, pixel, channels;
    int grid_h, grid_w, step_h, step_w, first_h, first_w;
    int taps_h, taps_w, tap_h, tap_w;
    int kernel_first_h, kernel_first_w, kernel_step_h, kernel_step_w;
};

static inline int64_t places_of(const patch_grid &p)
{
    return (int64_t)p.batch * p.grid_h * p.grid_w;
}

static inline patch_grid forward_grid(const struct pawl_window *w)
{
    patch_grid p = {};

    p.batch = (int)w->batch;
    p.image_h = (int)w->in_h;
    p.image_w = (int)w->in_w;
    p.pixel = (int)w->in_c;
    p.channels = (int)(w->in_c / w->groups);
    p.grid_h = (int)w->out_h;
    p.grid_w = (int)w->out_w;
    p.step_h = (int)w->stride_h;
    p.step_w = (int)w->stride_w;
    p.first_h = (int)-w->pad_top;
    p.first_w = (int)-w->pad_left;
    p.taps_h = (int)w->kernel_h;
    p.taps_w = (int)w->kernel_w;
    p.tap_h = (int)w->dilation_h;
    p.tap_w = (int)w->dilation_w;
    p.kernel_step_h = p.kernel_step_w = 1;
    return p;
}

static inline int common_divisor(int a, int b)
{
    while (b) {
        const int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// One dimension of a phase: input places at, at + stride, ... see output place
// (at + pad - tap * dilation) / stride through those taps for which that is a whole number.
struct phase {
    int grid, taps, first, tap, kernel_first, kernel_step;
};

static inline phase phase_of(int at, int in, int kernel, int stride, int dilation, int pad)
{
    const int step = stride / common_divisor(stride, dilation);
    phase p = { at < in ? (in - at + stride - 1) / stride : 0, 0, 0, 0, 0, 0 };
    int tap = 0;

    while (tap < kernel && tap < step && (at + pad - tap * dilation) % stride)
        tap++;
    if (tap == kernel || tap == step) return p;
    p.taps = (kernel - tap + step - 1) / step;
    p.first = (at + pad - tap * dilation) / stride;
    p.tap = -(step * dilation / stride);
    p.kernel_first = tap;
    p.kernel_step = step;
    return p;
}

static inline patch_grid backward_grid(const struct pawl_window *w, int at_h, int at_w)
{
    const phase h = phase_of(at_h, (int)w->in_h, (int)w->kernel_h, (int)w->stride_h,
                             (int)w->dilation_h, (int)w->pad_top);
    const phase v = phase_of(at_w, (int)w->in_w, (int)w->kernel_w, (int)w->stride_w,
                             (int)w->dilation_w, (int)w->pad_left);
    patch_grid p = {};

    p.batch = (int)w->batch;
    p.image_h = (int)w->out_h;
    p.image_w = (int)w->out_w;
    p.pixel = (int)w->out_c;
    p.channels = (int)(w->out_c / w->groups);
    p.grid_h = h.grid;
    p.grid_w = v.grid;
    p.step_h = p.step_w = 1;
    p.first_h = h.first;
    p.first_w = v.first;
    p.taps_h = h.taps;
    p.taps_w = v.taps;
    p.tap_h = h.tap;
    p.tap_w = v.tap;
    p.kernel_first_h = h.kernel_first;
    p.kernel_first_w = v.kernel_first;
    p.kernel_step_h = h.kernel_step;
    p.kernel_step_w = v.kernel_step;
    return p;
}

// One pixel each, all of the image: the patches are its rows.
static inline bool plain_rows(const patch_grid &p)
{
    return p.taps_h == 1 && p.taps_w == 1 && p.step_h == 1 && p.step_w == 1 && !p.first_h
           && !p.first_w && p.grid_h == p.image_h && p.grid_w == p.image_w;
}

struct grid_place {
    int64_t image;  // offset of its first pixel
    int y, x;
};

struct tap_place {
    int y, x, channel;
};

// (places, taps channels) along; across, (taps channels, places).
template <bool ACROSS>
struct patches {
    static constexpr bool across = ACROSS;
    typedef std::conditional_t<ACROSS, tap_place, grid_place> row_place;
    typedef std::conditional_t<ACROSS, grid_place, tap_place> step_place;

    const value *data;
    int64_t group;
    int rows, depth;
    bool whole;
    patch_grid p;
    divisor grid_w, grid_h, channels, taps_w;

    __device__ grid_place place(int i) const
    {
        const int line = divide(i, grid_w), image = divide(line, grid_h);
        const int y = line - image * p.grid_h, x = i - line * p.grid_w;

        return { (int64_t)image * p.image_h * p.image_w * p.pixel, y * p.step_h + p.first_h,
                 x * p.step_w + p.first_w };
    }
    __device__ tap_place tap(int i) const
    {
        const int both = divide(i, channels), y = divide(both, taps_w);

        return { y * p.tap_h, (both - y * p.taps_w) * p.tap_w, i - both * p.channels };
    }
    __device__ row_place row(int r) const
    {
        if constexpr (ACROSS)
            return tap(r);
        else
            return place(r);
    }
    __device__ step_place step(int k) const
    {
        if constexpr (ACROSS)
            return place(k);
        else
            return tap(k);
    }
    __device__ const value *meet(const grid_place &g, const tap_place &t) const
    {
        const int y = g.y + t.y, x = g.x + t.x;

        if (y < 0 || y >= p.image_h || x < 0 || x >= p.image_w) return NULL;
        return data + g.image + ((int64_t)y * p.image_w + x) * p.pixel + t.channel;
    }
    __device__ const value *at(const row_place &r, const step_place &k) const
    {
        if constexpr (ACROSS)
            return meet(k, r);
        else
            return meet(r, k);
    }
};

template <bool ACROSS>
static inline patches<ACROSS> patches_of(const pawl_value *data, const patch_grid &p)
{
    const int taps = p.taps_h * p.taps_w * p.channels;
    patches<ACROSS> out;

    out.data = (const value *)data;
    out.group = p.channels;
    out.rows = ACROSS ? taps : (int)places_of(p);
    out.depth = ACROSS ? (int)places_of(p) : taps;
    out.whole = chunks_fit(data, p.pixel, p.channels, p.channels);
    out.p = p;
    out.grid_w = divisor_of(p.grid_w);
    out.grid_h = divisor_of(p.grid_h);
    out.channels = divisor_of(p.channels);
    out.taps_w = divisor_of(p.taps_w ? p.taps_w : 1);
    return out;
}

// The weights (out_c, kernel_h, kernel_w, in) of those taps: (in, taps out_c), across.
struct kernel_of_taps {
    static constexpr bool across = true;
    typedef int64_t row_place;
    typedef int64_t step_place;

    const value *data;
    int64_t group;
    int rows, depth;
    bool whole;
    patch_grid p;
    int kernel_h, kernel_w;
    divisor channels, taps_w;

    __device__ int64_t row(int r) const { return r; }
    __device__ int64_t step(int k) const
    {
        const int both = divide(k, channels), y = divide(both, taps_w);
        const int from_y = p.kernel_first_h + y * p.kernel_step_h;
        const int from_x = p.kernel_first_w + (both - y * p.taps_w) * p.kernel_step_w;

        return (((int64_t)(k - both * p.channels) * kernel_h + from_y) * kernel_w + from_x) * rows;
    }
    __device__ const value *at(int64_t r, int64_t k) const { return data + r + k; }
};

static inline kernel_of_taps kernel_taps(const pawl_value *weight, const patch_grid &p,
                                         const struct pawl_window *w)
{
    const int64_t in = w->in_c / w->groups, of_group = p.channels * w->kernel_h * w->kernel_w * in;
    kernel_of_taps out;

    out.data = (const value *)weight;
    out.group = of_group;
    out.rows = (int)in;
    out.depth = p.taps_h * p.taps_w * p.channels;
    out.whole = chunks_fit(weight, in, in, of_group);
    out.p = p;
    out.kernel_h = (int)w->kernel_h;
    out.kernel_w = (int)w->kernel_w;
    out.channels = divisor_of(p.channels);
    out.taps_w = divisor_of(p.taps_w ? p.taps_w : 1);
    return out;
}

}  // namespace

#endif
