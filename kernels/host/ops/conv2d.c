// conv2d.c - a convolution as products with the patches of its images, group by group.

#include "kernels/host/ops/ops.h"
#include "kernels/host/ops/depthwise.h"
#include "kernels/host/ops/patches.h"
#include "kernels/host/ops/stencil.h"

static const value *part(const pawl_value *p, int64_t elements)
{
    return p ? (const value *)p + elements : NULL;
}

// Patches of one pixel each, all of the image, are plain rows.
static bool plain(const struct gemm_patches *p)
{
    return p->taps_h == 1 && p->taps_w == 1 && p->step_h == 1 && p->step_w == 1 && !p->first_h
           && !p->first_w && p->grid_h == p->image_h && p->grid_w == p->image_w;
}

static struct gemm_factor along(const struct gemm_patches *p, const value *data, int64_t rows)
{
    if (plain(p)) return (struct gemm_factor){ HOST(pack_along), data, p->pixel, rows, NULL };
    return (struct gemm_factor){ HOST(pack_patches), data, 0, rows, p };
}

static struct gemm_factor across(const struct gemm_patches *p, const value *data, int64_t rows)
{
    if (plain(p)) return (struct gemm_factor){ HOST(pack_across), data, p->pixel, rows, NULL };
    return (struct gemm_factor){ HOST(pack_patches_across), data, 0, rows, p };
}

static void multiply(struct pawl_stream *s, const struct gemm *g)
{
    if (!g->a.patches || !HOST(stencil)(s, g)) HOST(gemm)(s, g);
}

static struct gemm_patches patches_of(const struct pawl_window *w)
{
    return (struct gemm_patches){
        .batch = w->batch, .image_h = w->in_h, .image_w = w->in_w,
        .pixel = w->in_c, .channels = w->in_c / w->groups,
        .grid_h = w->out_h, .grid_w = w->out_w, .step_h = w->stride_h, .step_w = w->stride_w,
        .taps_h = w->kernel_h, .taps_w = w->kernel_w,
        .tap_h = w->dilation_h, .tap_w = w->dilation_w,
        .first_h = -w->pad_top, .first_w = -w->pad_left,
        .to_image_h = w->out_h, .to_image_w = w->out_w, .to_pixel = w->out_c,
        .to_step_h = 1, .to_step_w = 1,
        .kernel_h = w->kernel_h, .kernel_w = w->kernel_w,
        .kernel_step_h = 1, .kernel_step_w = 1,
    };
}

void HOST(conv2d)(struct pawl_stream *s, pawl_value *out, pawl_value *pre, const pawl_value *x,
                  const pawl_value *weight, const pawl_value *bias, const struct pawl_window *w,
                  enum pawl_activation activation)
{
    const int64_t m = w->batch * w->out_h * w->out_w, n = w->out_c / w->groups;
    const struct gemm_patches patches = patches_of(w);
    const int64_t k = w->kernel_h * w->kernel_w * patches.channels;
    struct gemm_finish finish = {
        .out = out, .stride = w->out_c, .bias = bias, .pre = pre, .activation = activation,
    };

    if (HOST(depthwise_fits)(w)) {
        HOST(depthwise)(s, &patches, x, weight, &finish);
        return;
    }
    for (int64_t g = 0; g < w->groups; g++) {
        finish.out = (value *)out + g * n;
        finish.bias = part(bias, g * n);
        finish.pre = pre ? (value *)pre + g * n : NULL;
        multiply(s, &(struct gemm){
            .m = m, .n = n, .k = k,
            .a = along(&patches, part(x, g * patches.channels), m),
            .b = { HOST(pack_along), part(weight, g * n * k), k, n, NULL },
            .finish = finish,
        });
    }
}

// ---- the input's gradient

static int64_t common_divisor(int64_t a, int64_t b) { return b ? common_divisor(b, a % b) : a; }

// One dimension of a phase: input places at, at + stride, ... see output place
// (at + pad - tap * dilation) / stride through those taps for which that is a whole number. Taps
// are counted from the kernel's last, so that they too go up through the image.
struct phase {
    int64_t grid, taps, first, tap, kernel_first, kernel_step;
};

static struct phase phase_of(int64_t at, int64_t in, int64_t kernel, int64_t stride,
                             int64_t dilation, int64_t pad)
{
    const int64_t step = stride / common_divisor(stride, dilation);
    const int64_t grid = at < in ? (in - at + stride - 1) / stride : 0;
    int64_t tap = 0;

    while (tap < kernel && tap < step && (at + pad - tap * dilation) % stride)
        tap++;
    if (tap == kernel || tap == step) return (struct phase){ .grid = grid };
    const int64_t taps = (kernel - tap + step - 1) / step, last = tap + (taps - 1) * step;
    return (struct phase){
        .grid = grid,
        .taps = taps,
        .first = (at + pad - last * dilation) / stride,
        .tap = step * dilation / stride,
        .kernel_first = last,
        .kernel_step = -step,
    };
}

static struct gemm_patches patches_back(const struct pawl_window *w, int64_t at_h, int64_t at_w)
{
    const struct phase h = phase_of(at_h, w->in_h, w->kernel_h, w->stride_h, w->dilation_h,
                                    w->pad_top);
    const struct phase v = phase_of(at_w, w->in_w, w->kernel_w, w->stride_w, w->dilation_w,
                                    w->pad_left);

    return (struct gemm_patches){
        .batch = w->batch, .image_h = w->out_h, .image_w = w->out_w,
        .pixel = w->out_c, .channels = w->out_c / w->groups,
        .grid_h = h.grid, .grid_w = v.grid, .step_h = 1, .step_w = 1,
        .taps_h = h.taps, .taps_w = v.taps, .tap_h = h.tap, .tap_w = v.tap,
        .first_h = h.first, .first_w = v.first,
        .to_image_h = w->in_h, .to_image_w = w->in_w, .to_pixel = w->in_c,
        .to_h = at_h, .to_w = at_w, .to_step_h = w->stride_h, .to_step_w = w->stride_w,
        .kernel_h = w->kernel_h, .kernel_w = w->kernel_w,
        .kernel_first_h = h.kernel_first, .kernel_first_w = v.kernel_first,
        .kernel_step_h = h.kernel_step, .kernel_step_w = v.kernel_step,
    };
}

static void back_x_phase(struct pawl_stream *s, const struct gemm_finish *finish,
                         const value *out_grad, const value *weight, const struct pawl_window *w,
                         const struct gemm_patches *patches)
{
    const int64_t m = w->batch * patches->grid_h * patches->grid_w, n = w->in_c / w->groups;
    const int64_t channels = patches->channels, kernel = w->kernel_h * w->kernel_w * n;

    if (m == 0) return;
    if (HOST(depthwise_fits)(w)) {
        HOST(depthwise)(s, patches, out_grad, weight, finish);
        return;
    }
    for (int64_t g = 0; g < w->groups; g++) {
        struct gemm_finish to = *finish;
        to.out += g * n;
        to.saved = part(finish->saved, g * n);
        multiply(s, &(struct gemm){
            .m = m, .n = n, .k = patches->taps_h * patches->taps_w * channels,
            .a = along(patches, out_grad + g * channels, m),
            .b = { HOST(pack_kernel), weight + g * channels * kernel, kernel, n, patches },
            .finish = to,
        });
    }
}

void HOST(conv2d_back_x)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                         const pawl_value *weight, const pawl_value *saved,
                         const struct pawl_window *w, enum pawl_activation activation, bool add)
{
    for (int64_t phase = 0; phase < w->stride_h * w->stride_w; phase++) {
        const struct gemm_patches patches = patches_back(w, phase / w->stride_w,
                                                         phase % w->stride_w);
        const bool even = w->stride_h == 1 && w->stride_w == 1;
        back_x_phase(s, &(struct gemm_finish){
            .out = x_grad, .stride = w->in_c, .saved = saved,
            .activation = saved ? activation : PAWL_LINEAR, .add = add,
            .row = even ? NULL : HOST(patches_row), .patches = &patches,
        }, out_grad, weight, w, &patches);
    }
}

// ---- the weights' gradient

void HOST(conv2d_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad,
                              const pawl_value *out_grad, const pawl_value *x,
                              const struct pawl_window *w, bool add)
{
    const int64_t places = w->batch * w->out_h * w->out_w, m = w->out_c / w->groups;
    const struct gemm_patches patches = patches_of(w);
    const int64_t n = w->kernel_h * w->kernel_w * patches.channels;

    if (HOST(depthwise_fits)(w)) {
        HOST(depthwise_back_weight)(s, weight_grad, bias_grad, out_grad, x, &patches, add);
        return;
    }
    for (int64_t g = 0; g < w->groups; g++) {
        const struct gemm product = {
            .m = m, .n = n, .k = places,
            .a = { HOST(pack_across), part(out_grad, g * m), w->out_c, m, NULL },
            .b = across(&patches, part(x, g * patches.channels), n),
            .finish = { .grad = weight_grad + g * m * n, .stride = n, .add = add },
            .row_sum = bias_grad ? bias_grad + g * m : NULL,
        };
        if (!product.b.patches || !HOST(stencil_back_weight)(s, &product))
            HOST(gemm)(s, &product);
    }
}
