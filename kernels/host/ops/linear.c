// linear.c - the three products of a fully connected layer.

#include "kernels/host/ops/gemm.h"
#include "kernels/host/ops/ops.h"

void HOST(linear)(struct pawl_stream *s, pawl_value *out, pawl_value *pre, const pawl_value *x,
                  const pawl_value *weight, const pawl_value *bias, const pawl_value *residual,
                  int64_t m, int64_t n, int64_t k, enum pawl_activation activation)
{
    HOST(gemm)(s, &(struct gemm){
        .m = m, .n = n, .k = k,
        .a = { HOST(pack_along), x, k, m, NULL },
        .b = { HOST(pack_along), weight, k, n, NULL },
        .finish = { .out = out, .stride = n, .bias = bias, .pre = pre, .residual = residual,
                    .activation = activation },
    });
}

void HOST(linear_back_x)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                         const pawl_value *weight, const pawl_value *saved, int64_t m, int64_t n,
                         int64_t k, enum pawl_activation activation, bool add)
{
    HOST(gemm)(s, &(struct gemm){
        .m = m, .n = k, .k = n,
        .a = { HOST(pack_along), out_grad, n, m, NULL },
        .b = { HOST(pack_across), weight, k, k, NULL },
        .finish = { .out = x_grad, .stride = k, .saved = saved,
                    .activation = saved ? activation : PAWL_LINEAR, .add = add },
    });
}

void HOST(linear_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad,
                              const pawl_value *out_grad, const pawl_value *x, int64_t m,
                              int64_t n, int64_t k, bool add)
{
    HOST(gemm)(s, &(struct gemm){
        .m = n, .n = k, .k = m,
        .a = { HOST(pack_across), out_grad, n, n, NULL },
        .b = { HOST(pack_across), x, k, k, NULL },
        .finish = { .grad = weight_grad, .stride = k, .add = add },
        .row_sum = bias_grad,
    });
}
