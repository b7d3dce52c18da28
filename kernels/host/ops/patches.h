// patches.h - the patches that a convolution looks at, as a factor of gemm.h; never stored whole.
//
//     rows  (batch, grid_h, grid_w): one patch for each place of the output (forward, gradient of
//           the weights) or of the input (gradient of the input)
//     k     (taps_h, taps_w, channels): the patch; what lies outside the image reads as 0
//
//     pixel of place (y, x) and tap (a, b):
//         (first_h + y * step_h + a * tap_h, first_w + x * step_w + b * tap_w)
//
// The gradient of the input asks, for a stride above 1, of each place only some of the kernel's
// taps, and which ones depends on the place modulo the stride: so that one convolution falls
// apart into stride_h * stride_w that have stride 1 (phases), all of this form.

#ifndef PAWL_HOST_PATCHES_H
#define PAWL_HOST_PATCHES_H

#include "kernels/host/ops/gemm.h"

struct gemm_patches {
    int64_t batch, image_h, image_w;
    int64_t pixel, channels;  // elements between pixels; of those, how many this group reads
    int64_t grid_h, grid_w, step_h, step_w;
    int64_t taps_h, taps_w, tap_h, tap_w;
    int64_t first_h, first_w;
    // Where the results of a phase go: place (y, x) to pixel (to_h + y * to_step_h, ...) of images
    // of to_image_h x to_image_w pixels, to_pixel elements each.
    int64_t to_image_h, to_image_w, to_pixel, to_h, to_w, to_step_h, to_step_w;
    // The kernel's tap behind tap (0, 0), and how far apart the taps are in the kernel.
    int64_t kernel_h, kernel_w, kernel_first_h, kernel_first_w, kernel_step_h, kernel_step_w;
};

// k along the patch, for factor a: panels of up to 8 places.
void HOST(pack_patches)(const struct gemm_factor *factor, const struct gemm_panels *panels);
// k along the places, for factor b: each row is one element of all patches.
void HOST(pack_patches_across)(const struct gemm_factor *factor, const struct gemm_panels *panels);
// The kernel (out_c, kernel_h, kernel_w, channels) as factor b of the input's gradient: rows are
// its channels, k is (taps_h, taps_w, out_c of this group).
void HOST(pack_kernel)(const struct gemm_factor *factor, const struct gemm_panels *panels);

// Where the row of a result starts, by to_*.
int64_t HOST(patches_row)(const struct gemm_patches *patches, int64_t row);

#endif
