// conv2d.cu - convolutions as tiled products with the patches of their images (patches.h); groups
// of a few channels, depthwise among them, by direct sums (direct.h). Of one pixel each they are a
// linear layer.

#include "kernels/cuda/direct.h"
#include "kernels/cuda/patches.h"

void CUDA(conv2d)(struct pawl_stream *s, pawl_value *out, pawl_value *pre, const pawl_value *x,
                  const pawl_value *weight, const pawl_value *bias, const struct pawl_window *w,
                  enum pawl_activation activation)
{
    const patch_grid p = forward_grid(w);
    const int64_t n = w->out_c / w->groups, k = w->kernel_h * w->kernel_w * p.channels;
    finish<value> f = finish_of<value>(out, w->out_c);

    f.pre = (value *)pre;
    f.bias = (const value *)bias;
    f.group = f.bias_group = n;
    f.activation = activation;
    if (direct_fits(w)) {
        direct_forward(s, f, x, weight, w);
        return;
    }
    if (w->groups == 1 && plain_rows(p)) {
        CUDA(linear)(s, out, pre, x, weight, bias, NULL, places_of(p), n, k, activation);
        return;
    }
    multiply_tiles(s, patches_of<false>(x, p), matrix_of<false>(weight, k, n * k, n, k), f,
                   w->groups);
}

static void back_x_phase(struct pawl_stream *s, finish<value> f, const pawl_value *out_grad,
                         const pawl_value *weight, const struct pawl_window *w, int at_h, int at_w)
{
    const patch_grid p = backward_grid(w, at_h, at_w);

    if (!places_of(p)) return;
    f.to.plain = w->stride_h == 1 && w->stride_w == 1;
    f.to.grid_w = divisor_of(p.grid_w);
    f.to.grid_h = divisor_of(p.grid_h);
    f.to.image_h = w->in_h;
    f.to.image_w = w->in_w;
    f.to.first_h = at_h;
    f.to.first_w = at_w;
    f.to.step_h = w->stride_h;
    f.to.step_w = w->stride_w;
    multiply_tiles(s, patches_of<false>(out_grad, p), kernel_taps(weight, p, w), f, w->groups);
}

void CUDA(conv2d_back_x)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                         const pawl_value *weight, const pawl_value *saved,
                         const struct pawl_window *w, enum pawl_activation activation, bool add)
{
    finish<value> f = finish_of<value>(x_grad, w->in_c);

    f.saved = (const value *)saved;
    f.group = w->in_c / w->groups;
    f.activation = saved ? activation : PAWL_LINEAR;
    f.add = add;
    if (direct_fits(w)) {
        direct_back_x(s, f, out_grad, weight, w);
        return;
    }
    if (w->groups == 1 && plain_rows(forward_grid(w))) {
        CUDA(linear_back_x)(s, x_grad, out_grad, weight, saved, places_of(forward_grid(w)),
                            w->out_c, w->in_c, activation, add);
        return;
    }
    for (int at_h = 0; at_h < w->stride_h; at_h++)
        for (int at_w = 0; at_w < w->stride_w; at_w++)
            back_x_phase(s, f, out_grad, weight, w, at_h, at_w);
}

void CUDA(conv2d_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad,
                              const pawl_value *out_grad, const pawl_value *x,
                              const struct pawl_window *w, bool add)
{
    const patch_grid p = forward_grid(w);
    const int64_t m = w->out_c / w->groups, n = w->kernel_h * w->kernel_w * p.channels;
    const int64_t places = places_of(p);

    if (w->groups == 1 && plain_rows(p)) {
        CUDA(linear_back_weight)(s, weight_grad, bias_grad, out_grad, x, places, m, n, add);
        return;
    }
    if (bias_grad) CUDA(column_sum)(s, bias_grad, out_grad, places, w->out_c, add);
    if (direct_fits(w)) {
        direct_back_weight(s, weight_grad, out_grad, x, w, add);
        return;
    }
    multiply_parts(s, matrix_of<true>(out_grad, w->out_c, m, m, places), patches_of<true>(x, p),
                   weight_grad, w->groups, add);
}
