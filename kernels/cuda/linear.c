// linear.c - the three products of a fully connected layer through cuBLASLt.
//
// Row-major (m, n) is column-major (n, m), so each product is written down transposed:
//
//     out^T         (n, m) = weight (n, k)       x^T (k, m)
//     x_grad^T      (k, m) = weight^T (k, n)     out_grad^T (n, m)
//     weight_grad^T (k, n) = x^T (k, m)          out_grad (m, n)
//
// Bias, GELU (the tanh form, which cuBLASLt's is) and their gradients are part of the product
// where cuBLASLt can; else they are operations of their own; and what it cannot do at all pawl's
// own kernels do (own_*: the tables as nvcc made them).

#include "kernels/cuda/blas.h"
#include "kernels/cuda/device.h"

// Which table a stream's operation belongs to.
struct type {
    cudaDataType data;
    size_t bytes;
    const struct pawl_ops *own;
};

static const struct type fp32 = { CUDA_R_32F, 4, &pawl_cuda_ops_fp32 };
static const struct type bf16 = { CUDA_R_16BF, 2, &pawl_cuda_ops_bf16 };

static struct pawl_blas *blas_of(const struct pawl_stream *s)
{
    // Without a workspace it is a stream for copies.
    return ((const struct pawl_cuda_stream *)s)->workspace ? cuda_of(s->device)->blas : NULL;
}

// The largest power of 2, up to 256, that divides all the addresses.
static void align(struct pawl_blas_product *p)
{
    const uintptr_t bits = (uintptr_t)p->a | (uintptr_t)p->b | (uintptr_t)p->c | (uintptr_t)p->d
                           | (uintptr_t)p->bias | (uintptr_t)p->aux | 256;

    p->shape.align = (int32_t)(bits & -bits);
}

// Queues the product with that epilogue; false: cuBLASLt cannot.
static bool multiply(struct pawl_stream *s, struct pawl_blas_product *p, int epilogue)
{
    struct pawl_blas *blas = blas_of(s);

    if (!blas || p->shape.m < 1 || p->shape.n < 1 || p->shape.k < 1) return false;
    align(p);
    p->shape.epilogue = epilogue;
    return pawl_blas_multiply(blas, s, p);
}

// ---- forward

struct forward {
    void *out, *pre;
    const void *x, *weight, *bias, *residual;
    int64_t m, n, k;
    enum pawl_activation activation;
};

static struct pawl_blas_product forward_product(const struct type *type, const struct forward *f)
{
    return (struct pawl_blas_product){
        .shape = { .m = f->n, .n = f->m, .k = f->k, .a_stride = f->k, .b_stride = f->k,
                   .d_stride = f->n, .a_across = 1, .in = (int32_t)type->data,
                   .out = (int32_t)type->data },
        .a = f->weight, .b = f->x, .d = f->out, .bias = f->bias,
    };
}

// Everything as part of the product.
static bool forward_whole(struct pawl_stream *s, const struct type *type, const struct forward *f)
{
    struct pawl_blas_product p = forward_product(type, f);
    const bool gelu = f->activation == PAWL_GELU_TANH;

    if (f->activation == PAWL_LINEAR && !f->pre) {
        p.c = f->residual;
        return multiply(s, &p, f->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT);
    }
    if (f->residual) return false;
    if (gelu && f->pre) {
        p.aux = f->pre;
        return multiply(s, &p, f->bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS
                                       : CUBLASLT_EPILOGUE_GELU_AUX);
    }
    if (gelu)
        return multiply(s, &p, f->bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU);
    if (f->activation == PAWL_RELU && !f->pre)
        return multiply(s, &p, f->bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU);
    return false;
}

// The product with its bias into pre, or out, then the rest. Not with a residual in out, which the
// product would overwrite.
static bool forward_apart(struct pawl_stream *s, const struct type *type, const struct forward *f)
{
    struct pawl_blas_product p = forward_product(type, f);
    const struct pawl_ops *own = type->own;
    const int64_t n = f->m * f->n;

    if (f->residual && f->residual == f->out) return false;
    if (f->pre) p.d = f->pre;
    if (!f->bias || !multiply(s, &p, CUBLASLT_EPILOGUE_BIAS)) {
        p.bias = NULL;
        if (!multiply(s, &p, CUBLASLT_EPILOGUE_DEFAULT)) return false;
        if (f->bias) own->bias(s, p.d, p.d, f->bias, f->m, f->n);
    }
    if (f->activation != PAWL_LINEAR)
        own->activate(s, f->out, p.d, n, f->activation, 0);
    else if (p.d != f->out)
        pawl_cuda_copy(s, f->out, p.d, (size_t)n * type->bytes);
    if (f->residual) own->add(s, f->out, f->out, f->residual, n);
    return true;
}

static void forward(struct pawl_stream *s, const struct type *type, const struct forward *f)
{
    if (s->fault || forward_whole(s, type, f) || forward_apart(s, type, f)) return;
    type->own->linear(s, f->out, f->pre, f->x, f->weight, f->bias, f->residual, f->m, f->n, f->k,
                      f->activation);
}

// ---- backward

struct back_x {
    void *x_grad;
    const void *out_grad, *weight, *saved;
    int64_t m, n, k;
    enum pawl_activation activation;
    bool add;
};

static void back_x(struct pawl_stream *s, const struct type *type, const struct back_x *b)
{
    const bool active = b->saved && b->activation != PAWL_LINEAR;
    struct pawl_blas_product p = {
        .shape = { .m = b->k, .n = b->m, .k = b->n, .a_stride = b->k, .b_stride = b->n,
                   .d_stride = b->k, .in = (int32_t)type->data, .out = (int32_t)type->data },
        .a = b->weight, .b = b->out_grad, .c = b->add ? b->x_grad : NULL, .d = b->x_grad,
    };

    if (s->fault) return;
    if (active && !b->add && b->activation == PAWL_GELU_TANH) {
        p.aux = b->saved;
        if (multiply(s, &p, CUBLASLT_EPILOGUE_DGELU)) return;
        p.aux = NULL;
    }
    // Added to x_grad, the product could no longer be told from what was there.
    if ((active && b->add) || !multiply(s, &p, CUBLASLT_EPILOGUE_DEFAULT))
        type->own->linear_back_x(s, b->x_grad, b->out_grad, b->weight, b->saved, b->m, b->n, b->k,
                                 b->activation, b->add);
    else if (active)
        type->own->activate_back(s, b->x_grad, b->x_grad, b->saved, b->m * b->k, b->activation, 0);
}

struct back_weight {
    float *weight_grad, *bias_grad;
    const void *out_grad, *x;
    int64_t m, n, k;
    bool add;
};

static void back_weight(struct pawl_stream *s, const struct type *type,
                        const struct back_weight *b)
{
    struct pawl_blas_product p = {
        .shape = { .m = b->k, .n = b->n, .k = b->m, .a_stride = b->k, .b_stride = b->n,
                   .d_stride = b->k, .b_across = 1, .in = (int32_t)type->data,
                   .out = CUDA_R_32F },
        .a = b->x, .b = b->out_grad, .c = b->add ? b->weight_grad : NULL, .d = b->weight_grad,
    };

    if (s->fault) return;
    if (b->bias_grad && !b->add) {  // the epilogue overwrites
        p.bias = b->bias_grad;
        if (multiply(s, &p, CUBLASLT_EPILOGUE_BGRADB)) return;
        p.bias = NULL;
    }
    if (!multiply(s, &p, CUBLASLT_EPILOGUE_DEFAULT))
        type->own->linear_back_weight(s, b->weight_grad, b->bias_grad, b->out_grad, b->x, b->m,
                                      b->n, b->k, b->add);
    else if (b->bias_grad)
        type->own->column_sum(s, b->bias_grad, b->out_grad, b->m, b->n, b->add);
}

// ---- the tables' entries

#define ENTRIES(type) \
    static void linear_##type(struct pawl_stream *s, pawl_value *out, pawl_value *pre, \
                              const pawl_value *x, const pawl_value *weight, \
                              const pawl_value *bias, const pawl_value *residual, int64_t m, \
                              int64_t n, int64_t k, enum pawl_activation activation) \
    { \
        forward(s, &type, &(struct forward){ out, pre, x, weight, bias, residual, m, n, k, \
                                             activation }); \
    } \
    static void linear_back_x_##type(struct pawl_stream *s, pawl_value *x_grad, \
                                     const pawl_value *out_grad, const pawl_value *weight, \
                                     const pawl_value *saved, int64_t m, int64_t n, int64_t k, \
                                     enum pawl_activation activation, bool add) \
    { \
        back_x(s, &type, &(struct back_x){ x_grad, out_grad, weight, saved, m, n, k, activation, \
                                           add }); \
    } \
    static void linear_back_weight_##type(struct pawl_stream *s, float *weight_grad, \
                                          float *bias_grad, const pawl_value *out_grad, \
                                          const pawl_value *x, int64_t m, int64_t n, int64_t k, \
                                          bool add) \
    { \
        back_weight(s, &type, &(struct back_weight){ weight_grad, bias_grad, out_grad, x, m, n, \
                                                     k, add }); \
    }

ENTRIES(fp32)
ENTRIES(bf16)

void pawl_blas_linear(struct pawl_ops *single, struct pawl_ops *brain)
{
    single->linear = linear_fp32;
    single->linear_back_x = linear_back_x_fp32;
    single->linear_back_weight = linear_back_weight_fp32;
    brain->linear = linear_bf16;
    brain->linear_back_x = linear_back_x_bf16;
    brain->linear_back_weight = linear_back_weight_bf16;
}
