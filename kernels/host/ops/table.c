// table.c - the host's operations for one instruction set, in the order of ops.h.

#include "kernels/host/host.h"
#include "kernels/host/ops/ops.h"

const struct pawl_ops HOST(ops) = {
    .name = "fp32",
    .linear = HOST(linear),
    .linear_back_x = HOST(linear_back_x),
    .linear_back_weight = HOST(linear_back_weight),
    .conv2d = HOST(conv2d),
    .conv2d_back_x = HOST(conv2d_back_x),
    .conv2d_back_weight = HOST(conv2d_back_weight),
    .max_pool2d = HOST(max_pool2d),
    .max_pool2d_back = HOST(max_pool2d_back),
    .avg_pool2d = HOST(avg_pool2d),
    .avg_pool2d_back = HOST(avg_pool2d_back),
    .embed = HOST(embed),
    .embed_back = HOST(embed_back),
    .layer_norm = HOST(layer_norm),
    .layer_norm_back = HOST(layer_norm_back),
    .attention = HOST(attention),
    .attention_back = HOST(attention_back),
    .activate = HOST(activate),
    .activate_back = HOST(activate_back),
    .add = HOST(add),
    .dropout = HOST(dropout),
    .softmax = HOST(softmax),
    .cross_entropy = HOST(cross_entropy),
    .mean_square = HOST(mean_square),
    .binary_cross_entropy = HOST(binary_cross_entropy),
    .sum = HOST(sum),
    .norm = HOST(norm),
    .update = HOST(update),
};
