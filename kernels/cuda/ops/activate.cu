// activate.cu - activations and their gradients, element by element.

#include "kernels/cuda/activation.h"
#include "kernels/cuda/map.h"

// `do_it(activation)` with a constant, so that what differs between them is decided once per pack.
#define EACH_ACTIVATION(activation, do_it) \
    switch (activation) { \
    case PAWL_RELU: do_it(PAWL_RELU); break; \
    case PAWL_LEAKY_RELU: do_it(PAWL_LEAKY_RELU); break; \
    case PAWL_ELU: do_it(PAWL_ELU); break; \
    case PAWL_GELU: do_it(PAWL_GELU); break; \
    case PAWL_GELU_TANH: do_it(PAWL_GELU_TANH); break; \
    case PAWL_SILU: do_it(PAWL_SILU); break; \
    case PAWL_SIGMOID: do_it(PAWL_SIGMOID); break; \
    case PAWL_TANH: do_it(PAWL_TANH); break; \
    case PAWL_SOFTPLUS: do_it(PAWL_SOFTPLUS); break; \
    case PAWL_RELU6: do_it(PAWL_RELU6); break; \
    case PAWL_HARD_SIGMOID: do_it(PAWL_HARD_SIGMOID); break; \
    case PAWL_HARD_SWISH: do_it(PAWL_HARD_SWISH); break; \
    case PAWL_SELU: do_it(PAWL_SELU); break; \
    case PAWL_SOFTSIGN: do_it(PAWL_SOFTSIGN); break; \
    case PAWL_MISH: do_it(PAWL_MISH); break; \
    case PAWL_EXPONENTIAL: do_it(PAWL_EXPONENTIAL); break; \
    default: break; \
    }

struct forward {
    value *out;
    const value *x;
    enum pawl_activation activation;
    float alpha;

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        struct lanes<W> a = load<W>(x + i);

#define FORWARD(kind) \
    UNROLL \
    for (int l = 0; l < W; l++) \
        a.at[l] = activated(a.at[l], kind, alpha)
        EACH_ACTIVATION(activation, FORWARD)
        store<W>(out + i, a);
    }
};

void CUDA(activate)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                    enum pawl_activation activation, float alpha)
{
    const forward f = { (value *)out, (const value *)x, activation,
                        alpha > 0 ? alpha : activation_alpha(activation) };

    launch_map<WIDE>(s, n, f, f.out, f.x);
}

struct backward {
    value *x_grad;
    const value *out_grad, *saved;
    enum pawl_activation activation;
    float alpha;

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        struct lanes<W> grad = load<W>(out_grad + i);
        const struct lanes<W> of = load<W>(saved + i);

#define BACKWARD(kind) \
    UNROLL \
    for (int l = 0; l < W; l++) \
        grad.at[l] *= activation_slope(of.at[l], kind, alpha)
        EACH_ACTIVATION(activation, BACKWARD)
        store<W>(x_grad + i, grad);
    }
};

void CUDA(activate_back)(struct pawl_stream *s, pawl_value *x_grad, const pawl_value *out_grad,
                         const pawl_value *saved, int64_t n, enum pawl_activation activation,
                         float alpha)
{
    // Without an activation nothing was saved, and what is read in its place does not count.
    const backward f = { (value *)x_grad, (const value *)out_grad,
                         (const value *)(saved ? saved : out_grad), activation,
                         alpha > 0 ? alpha : activation_alpha(activation) };

    launch_map<WIDE>(s, n, f, f.x_grad, f.out_grad, f.saved);
}
