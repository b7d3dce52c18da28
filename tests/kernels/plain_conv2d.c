// plain_conv2d.c - the sums of a convolution. Padding takes no part in them.

#include "tests/kernels/plain.h"

static double at(const float *image, const int64_t place[3], int64_t h, int64_t w, int64_t c,
                 int64_t channel)
{
    return (double)image[((place[0] * h + place[1]) * w + place[2]) * c + channel];
}

double plain_conv2d(const float *x, const float *weight, const struct pawl_window *w,
                    const int64_t place[3], int64_t out_c)
{
    const int64_t channels = w->in_c / w->groups, group = out_c / (w->out_c / w->groups);
    double sum = 0;

    for (int64_t a = 0; a < w->kernel_h; a++)
        for (int64_t b = 0; b < w->kernel_w; b++)
            for (int64_t c = 0; c < channels; c++) {
                const int64_t y = place[1] * w->stride_h + a * w->dilation_h - w->pad_top;
                const int64_t z = place[2] * w->stride_w + b * w->dilation_w - w->pad_left;
                const int64_t from[3] = { place[0], y, z };
                if (y < 0 || y >= w->in_h || z < 0 || z >= w->in_w) continue;
                sum += at(x, from, w->in_h, w->in_w, w->in_c, group * channels + c)
                       * (double)weight[((out_c * w->kernel_h + a) * w->kernel_w + b) * channels
                                        + c];
            }
    return sum;
}

double plain_conv2d_back_x(const float *out_grad, const float *weight, const struct pawl_window *w,
                           const int64_t place[3], int64_t in_c)
{
    const int64_t channels = w->in_c / w->groups, outs = w->out_c / w->groups;
    double sum = 0;

    for (int64_t a = 0; a < w->kernel_h; a++)
        for (int64_t b = 0; b < w->kernel_w; b++)
            for (int64_t o = 0; o < outs; o++) {
                const int64_t y = place[1] + w->pad_top - a * w->dilation_h;
                const int64_t z = place[2] + w->pad_left - b * w->dilation_w;
                const int64_t from[3] = { place[0], y / w->stride_h, z / w->stride_w };
                const int64_t out_c = in_c / channels * outs + o;
                if (y < 0 || y % w->stride_h || from[1] >= w->out_h) continue;
                if (z < 0 || z % w->stride_w || from[2] >= w->out_w) continue;
                sum += at(out_grad, from, w->out_h, w->out_w, w->out_c, out_c)
                       * (double)weight[((out_c * w->kernel_h + a) * w->kernel_w + b) * channels
                                        + in_c % channels];
            }
    return sum;
}

double plain_conv2d_back_weight(const float *out_grad, const float *x, const struct pawl_window *w,
                                const int64_t kernel[4])
{
    const int64_t channels = w->in_c / w->groups, group = kernel[0] / (w->out_c / w->groups);
    double sum = 0;

    for (int64_t i = 0; i < w->batch; i++)
        for (int64_t oy = 0; oy < w->out_h; oy++)
            for (int64_t ox = 0; ox < w->out_w; ox++) {
                const int64_t y = oy * w->stride_h + kernel[1] * w->dilation_h - w->pad_top;
                const int64_t z = ox * w->stride_w + kernel[2] * w->dilation_w - w->pad_left;
                const int64_t from[3] = { i, y, z }, to[3] = { i, oy, ox };
                if (y < 0 || y >= w->in_h || z < 0 || z >= w->in_w) continue;
                sum += at(x, from, w->in_h, w->in_w, w->in_c, group * channels + kernel[3])
                       * at(out_grad, to, w->out_h, w->out_w, w->out_c, kernel[0]);
            }
    return sum;
}
