// depthwise.h - convolutions whose output channels each read one input channel of their own.
//
// No sums for a product to share, so these run along the channels instead: as many sums as lanes.

#ifndef PAWL_HOST_DEPTHWISE_H
#define PAWL_HOST_DEPTHWISE_H

#include "kernels/host/ops/patches.h"

// Whether this is one: in_c = out_c = groups, and the kernel fits the scratch.
bool HOST(depthwise_fits)(const struct pawl_window *window);

// finish(sums of x under patches times weight (channels, kernel_h, kernel_w)). Serves as the
// input's gradient too, given the patches of a phase.
void HOST(depthwise)(struct pawl_stream *s, const struct gemm_patches *patches, const value *x,
                     const value *weight, const struct gemm_finish *finish);
void HOST(depthwise_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad,
                                 const value *out_grad, const value *x,
                                 const struct gemm_patches *patches, bool add);

#endif
