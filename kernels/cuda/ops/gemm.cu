// gemm.cu - the three products of a fully connected layer by kernels of our own: where cuBLASLt is
// missing or declines, and always among fibers.

#include "kernels/cuda/product.h"

extern "C" std::remove_pointer<decltype(pawl_ops::linear)>::type CUDA(linear);
extern "C" std::remove_pointer<decltype(pawl_ops::linear_back_x)>::type CUDA(linear_back_x);
extern "C" std::remove_pointer<decltype(pawl_ops::linear_back_weight)>::type
    CUDA(linear_back_weight);

void CUDA(linear)(struct pawl_stream *s, pawl_value *out, pawl_value *pre,
                       const pawl_value *x, const pawl_value *weight, const pawl_value *bias,
                       const pawl_value *residual, int64_t m, int64_t n, int64_t k,
                       enum pawl_activation activation)
{
    finish<value> f = finish_of<value>(out, n);

    f.pre = (value *)pre;
    f.bias = (const value *)bias;
    f.residual = (const value *)residual;
    f.activation = activation;
    multiply_tiles(s, matrix_of<false>(x, k, 0, m, k), matrix_of<false>(weight, k, 0, n, k), f, 1);
}

void CUDA(linear_back_x)(struct pawl_stream *s, pawl_value *x_grad,
                              const pawl_value *out_grad, const pawl_value *weight,
                              const pawl_value *saved, int64_t m, int64_t n, int64_t k,
                              enum pawl_activation activation, bool add)
{
    finish<value> f = finish_of<value>(x_grad, k);

    f.saved = (const value *)saved;
    f.activation = saved ? activation : PAWL_LINEAR;
    f.add = add;
    multiply_tiles(s, matrix_of<false>(out_grad, n, 0, m, n), matrix_of<true>(weight, k, 0, k, n),
                   f, 1);
}

void CUDA(linear_back_weight)(struct pawl_stream *s, float *weight_grad, float *bias_grad,
                                   const pawl_value *out_grad, const pawl_value *x, int64_t m,
                                   int64_t n, int64_t k, bool add)
{
    multiply_parts(s, matrix_of<true>(out_grad, n, 0, n, m), matrix_of<true>(x, k, 0, k, m),
                   weight_grad, 1, add);
    if (bias_grad) CUDA(column_sum)(s, bias_grad, out_grad, m, n, add);
}
