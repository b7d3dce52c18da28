// add.cu - sums, products and maxima of elements; and copies between the element type and float.

#include "kernels/cuda/map.h"

struct plus {
    __device__ float operator()(float a, float b) const { return a + b; }
};

struct times {
    __device__ float operator()(float a, float b) const { return a * b; }
};

struct by {
    float factor;

    __device__ float operator()(float a) const { return a * factor; }
};

// The second where they are equal or it is NaN.
struct larger {
    __device__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};

void CUDA(add)(struct pawl_stream *s, pawl_value *out, const pawl_value *a, const pawl_value *b,
               int64_t n)
{
    const map_two<plus> f = { (value *)out, (const value *)a, (const value *)b, {}, false };

    launch_map<WIDE>(s, n, f, f.out, f.a, f.b);
}

void CUDA(multiply)(struct pawl_stream *s, pawl_value *out, const pawl_value *a,
                    const pawl_value *b, int64_t n, bool add)
{
    const map_two<times> f = { (value *)out, (const value *)a, (const value *)b, {}, add };

    launch_map<WIDE>(s, n, f, f.out, f.a, f.b);
}

void CUDA(scale)(struct pawl_stream *s, pawl_value *out, const pawl_value *x, int64_t n,
                 float factor, bool add)
{
    const map_one<by> f = { (value *)out, (const value *)x, { factor }, add };

    launch_map<WIDE>(s, n, f, f.out, f.a);
}

void CUDA(maximum)(struct pawl_stream *s, pawl_value *out, const pawl_value *a,
                   const pawl_value *b, int64_t n)
{
    const map_two<larger> f = { (value *)out, (const value *)a, (const value *)b, {}, false };

    launch_map<WIDE>(s, n, f, f.out, f.a, f.b);
}

struct maximum_gradient {
    value *x_grad, *out_grad;
    const value *x, *out;
    bool add;

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        const struct lanes<W> a = load<W>(x + i), most = load<W>(out + i);
        struct lanes<W> grad = load<W>(out_grad + i), to = {};

        if (add) to = load<W>(x_grad + i);
        UNROLL
        for (int l = 0; l < W; l++) {
            const bool taken = !(a.at[l] < most.at[l]);
            const float mine = taken ? grad.at[l] : 0.0f;
            to.at[l] = add ? to.at[l] + mine : mine;
            if (taken) grad.at[l] = 0.0f;
        }
        store<W>(x_grad + i, to);
        store<W>(out_grad + i, grad);
    }
};

void CUDA(maximum_back)(struct pawl_stream *s, pawl_value *x_grad, pawl_value *out_grad,
                        const pawl_value *x, const pawl_value *out, int64_t n, bool add)
{
    const maximum_gradient f = { (value *)x_grad, (value *)out_grad, (const value *)x,
                                 (const value *)out, add };

    launch_map<WIDE>(s, n, f, f.x_grad, f.out_grad, f.x, f.out);
}

struct filling {
    value *out;
    float with;

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        struct lanes<W> x;

        UNROLL
        for (int l = 0; l < W; l++)
            x.at[l] = with;
        store<W>(out + i, x);
    }
};

void CUDA(fill)(struct pawl_stream *s, pawl_value *out, int64_t n, float with)
{
    const filling f = { (value *)out, with };

    launch_map<WIDE>(s, n, f, f.out);
}

struct narrowing {
    value *out;
    const float *x;

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        store<W>(out + i, load_floats<W>(x + i));
    }
};

void CUDA(narrow)(struct pawl_stream *s, pawl_value *out, const float *x, int64_t n)
{
    const narrowing f = { (value *)out, x };

    launch_map<WIDE>(s, n, f, f.out, f.x);
}

struct widening {
    float *out;
    const value *x;

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        store_floats<W>(out + i, load<W>(x + i));
    }
};

void CUDA(widen)(struct pawl_stream *s, float *out, const pawl_value *x, int64_t n)
{
    const widening f = { out, (const value *)x };

    launch_map<WIDE>(s, n, f, f.out, f.x);
}

// Rows that are whole packs: one remainder then is the column of all of a pack.
struct biasing {
    value *out;
    const value *x, *bias;
    int64_t cols;

    template <int W> __device__ __forceinline__ void at(int64_t i) const
    {
        // A division of 32 bits takes a fifth of the time of one of 64.
        const int64_t col = i >> 32 ? i % cols : (int64_t)((uint32_t)i % (uint32_t)cols);
        struct lanes<W> a = load<W>(x + i);
        const struct lanes<W> b = load<W>(bias + col);

        UNROLL
        for (int l = 0; l < W; l++)
            a.at[l] += b.at[l];
        store<W>(out + i, a);
    }
};

void CUDA(bias)(struct pawl_stream *s, pawl_value *out, const pawl_value *x,
                const pawl_value *bias, int64_t rows, int64_t cols)
{
    const biasing f = { (value *)out, (const value *)x, (const value *)bias, cols };

    if (wide(cols, f.out, f.x, f.bias))
        launch_map<WIDE>(s, rows * cols, f, f.out);
    else
        launch_map<1>(s, rows * cols, f, f.out);
}
