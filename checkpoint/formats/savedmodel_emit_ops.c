// savedmodel_emit_ops.c - TensorFlow operations as functions of values; activations.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/protobuf.h"
#include "checkpoint/formats/savedmodel_emit.h"

enum { NODE = 3 };

size_t pawl_emit_begin(struct pawl_emit *e, const char *op, struct pawl_ref *name)
{
    snprintf(name->text, PAWL_REF_MAX, "%s_%d", op, e->count++);
    return pawl_tf_node(e->out, NODE, name->text, op);
}

struct pawl_ref pawl_emit_output(const struct pawl_ref *node, const char *output, int index)
{
    struct pawl_ref ref;

    snprintf(ref.text, PAWL_REF_MAX, "%.64s:%s:%d", node->text, output, index);
    return ref;
}

struct pawl_ref pawl_emit_plain(struct pawl_emit *e, const char *op, const char *output,
                                struct pawl_ref a, const struct pawl_ref *b_or_null)
{
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, op, &name);

    pawl_tf_input(e->out, a.text);
    if (b_or_null) pawl_tf_input(e->out, b_or_null->text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, output, 0);
}

struct pawl_ref pawl_emit_binary(struct pawl_emit *e, const char *op, struct pawl_ref a,
                                 struct pawl_ref b)
{
    return pawl_emit_plain(e, op, "z", a, &b);
}

struct pawl_ref pawl_emit_unary(struct pawl_emit *e, const char *op, struct pawl_ref x)
{
    return pawl_emit_plain(e, op, "y", x, NULL);
}

// An operation on two matrices; flag: its name for the second one being transposed.
static struct pawl_ref product(struct pawl_emit *e, const char *op, const char *flag,
                               struct pawl_ref a, struct pawl_ref b, bool transpose_b)
{
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, op, &name);

    pawl_tf_input(e->out, a.text);
    pawl_tf_input(e->out, b.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    if (transpose_b) pawl_tf_bool(e->out, flag, true);
    pawl_pb_end(e->out, node);
    return name;
}

struct pawl_ref pawl_emit_matmul(struct pawl_emit *e, struct pawl_ref a, struct pawl_ref b,
                                 bool transpose_b)
{
    const struct pawl_ref name = product(e, "MatMul", "transpose_b", a, b, transpose_b);

    return pawl_emit_output(&name, "product", 0);
}

struct pawl_ref pawl_emit_matmuls(struct pawl_emit *e, struct pawl_ref a, struct pawl_ref b,
                                  bool transpose_b)
{
    const struct pawl_ref name = product(e, "BatchMatMulV2", "adj_y", a, b, transpose_b);

    return pawl_emit_output(&name, "output", 0);
}

// ---- constants

struct pawl_ref pawl_emit_floats(struct pawl_emit *e, int rank, const int64_t *dim,
                                 const float *values)
{
    struct pawl_ref name;

    snprintf(name.text, PAWL_REF_MAX, "Const_%d", e->count++);
    pawl_tf_const_floats(e->out, NODE, name.text, rank, dim, values);
    return pawl_emit_output(&name, "output", 0);
}

struct pawl_ref pawl_emit_float(struct pawl_emit *e, double value)
{
    const float one = (float)value;

    return pawl_emit_floats(e, 0, NULL, &one);
}

struct pawl_ref pawl_emit_scaled(struct pawl_emit *e, struct pawl_ref x, double by)
{
    return pawl_emit_binary(e, "Mul", x, pawl_emit_float(e, by));
}

struct pawl_ref pawl_emit_ints(struct pawl_emit *e, int rank, int count, const int64_t *values)
{
    int32_t narrow[2 * (PAWL_SHAPE_MAX + 2)];
    struct pawl_ref name;

    for (int i = 0; i < count; i++)
        narrow[i] = (int32_t)values[i];
    snprintf(name.text, PAWL_REF_MAX, "Const_%d", e->count++);
    pawl_tf_const_ints(e->out, NODE, name.text, rank, count, narrow);
    return pawl_emit_output(&name, "output", 0);
}

// ---- shapes

// An operation of a value and a list of int32 in an attribute of its own type.
static struct pawl_ref with_list(struct pawl_emit *e, const char *op, const char *output,
                                 struct pawl_ref x, struct pawl_ref list)
{
    const char *type = strcmp(op, "Reshape") == 0 ? "Tshape" : "Tperm";
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, op, &name);

    pawl_tf_input(e->out, x.text);
    pawl_tf_input(e->out, list.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_tf_type(e->out, type, PAWL_TF_INT32);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, output, 0);
}

struct pawl_ref pawl_emit_reshape(struct pawl_emit *e, struct pawl_ref x, int rank,
                                  const int64_t *dim)
{
    return with_list(e, "Reshape", "output", x, pawl_emit_ints(e, 1, rank, dim));
}

struct pawl_ref pawl_emit_shaped(struct pawl_emit *e, struct pawl_ref x,
                                 const struct pawl_shape *shape)
{
    int64_t dim[PAWL_SHAPE_MAX + 1] = { -1 };

    memcpy(&dim[1], shape->dim, sizeof(shape->dim));
    return pawl_emit_reshape(e, x, shape->rank + 1, dim);
}

struct pawl_ref pawl_emit_transpose(struct pawl_emit *e, struct pawl_ref x, int rank,
                                    const int64_t *order)
{
    return with_list(e, "Transpose", "y", x, pawl_emit_ints(e, 1, rank, order));
}

struct pawl_ref pawl_emit_slice(struct pawl_emit *e, struct pawl_ref x, int rank,
                                const int64_t *begin, const int64_t *size)
{
    const struct pawl_ref from = pawl_emit_ints(e, 1, rank, begin);
    const struct pawl_ref count = pawl_emit_ints(e, 1, rank, size);
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, "Slice", &name);

    pawl_tf_input(e->out, x.text);
    pawl_tf_input(e->out, from.text);
    pawl_tf_input(e->out, count.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_tf_type(e->out, "Index", PAWL_TF_INT32);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, "output", 0);
}

struct pawl_ref pawl_emit_concat(struct pawl_emit *e, const struct pawl_ref *parts, int count,
                                 int axis)
{
    const struct pawl_ref along = pawl_emit_ints(e, 0, 1, (int64_t[]){ axis });
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, "ConcatV2", &name);

    for (int k = 0; k < count; k++)
        pawl_tf_input(e->out, parts[k].text);
    pawl_tf_input(e->out, along.text);
    pawl_tf_int(e->out, "N", count);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_tf_type(e->out, "Tidx", PAWL_TF_INT32);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, "output", 0);
}

struct pawl_ref pawl_emit_unpack(struct pawl_emit *e, struct pawl_ref x, int axis, int64_t count)
{
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, "Unpack", &name);

    pawl_tf_input(e->out, x.text);
    pawl_tf_int(e->out, "num", count);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_tf_int(e->out, "axis", axis);
    pawl_pb_end(e->out, node);
    return name;
}

struct pawl_ref pawl_emit_split(struct pawl_emit *e, struct pawl_ref x, int axis, int64_t count)
{
    const struct pawl_ref along = pawl_emit_ints(e, 0, 1, (int64_t[]){ axis });
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, "Split", &name);

    pawl_tf_input(e->out, along.text);
    pawl_tf_input(e->out, x.text);
    pawl_tf_int(e->out, "num_split", count);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_pb_end(e->out, node);
    return name;
}

struct pawl_ref pawl_emit_pack(struct pawl_emit *e, const struct pawl_ref *parts, int count,
                               int axis, int type)
{
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, "Pack", &name);

    for (int k = 0; k < count; k++)
        pawl_tf_input(e->out, parts[k].text);
    pawl_tf_int(e->out, "N", count);
    pawl_tf_type(e->out, "T", type);
    pawl_tf_int(e->out, "axis", axis);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, "output", 0);
}

struct pawl_ref pawl_emit_reduce(struct pawl_emit *e, const char *op, struct pawl_ref x,
                                 const struct pawl_shape *axes, bool keep)
{
    const struct pawl_ref over = pawl_emit_ints(e, 1, axes->rank, axes->dim);
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, op, &name);

    pawl_tf_input(e->out, x.text);
    pawl_tf_input(e->out, over.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_tf_type(e->out, "Tidx", PAWL_TF_INT32);
    pawl_tf_bool(e->out, "keep_dims", keep);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, "output", 0);
}

struct pawl_ref pawl_emit_pad(struct pawl_emit *e, struct pawl_ref x, int rank,
                              const int64_t *pads, double value)
{
    struct pawl_ref name;
    bool any = false;

    for (int i = 0; i < 2 * rank; i++)
        any |= pads[i] != 0;
    if (!any) return x;
    const struct pawl_ref around = pawl_emit_ints(e, 2, 2 * rank, pads);
    const struct pawl_ref fill = pawl_emit_float(e, value);
    const size_t node = pawl_emit_begin(e, "PadV2", &name);
    pawl_tf_input(e->out, x.text);
    pawl_tf_input(e->out, around.text);
    pawl_tf_input(e->out, fill.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_tf_type(e->out, "Tpaddings", PAWL_TF_INT32);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, "output", 0);
}

// ---- activations

static struct pawl_ref times(struct pawl_emit *e, struct pawl_ref a, struct pawl_ref b)
{
    return pawl_emit_binary(e, "Mul", a, b);
}

static struct pawl_ref plus(struct pawl_emit *e, struct pawl_ref a, double b)
{
    return pawl_emit_binary(e, "AddV2", a, pawl_emit_float(e, b));
}

static struct pawl_ref gelu(struct pawl_emit *e, struct pawl_ref x, bool by_tanh)
{
    struct pawl_ref t;

    if (by_tanh) {  // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
        t = pawl_emit_scaled(e, times(e, times(e, x, x), x), 0.044715);
        t = pawl_emit_scaled(e, pawl_emit_binary(e, "AddV2", x, t), 0.7978845608028654);
        t = pawl_emit_unary(e, "Tanh", t);
    } else {
        t = pawl_emit_unary(e, "Erf", pawl_emit_scaled(e, x, 0.7071067811865476));
    }
    return times(e, pawl_emit_scaled(e, x, 0.5), plus(e, t, 1));
}

// relu(x) + alpha elu(min(x, 0))
static struct pawl_ref elu(struct pawl_emit *e, struct pawl_ref x, double alpha)
{
    if (alpha == 1) return pawl_emit_plain(e, "Elu", "activations", x, NULL);
    struct pawl_ref below = pawl_emit_binary(e, "Minimum", x, pawl_emit_float(e, 0));
    below = pawl_emit_scaled(e, pawl_emit_plain(e, "Elu", "activations", below, NULL), alpha);
    return pawl_emit_binary(e, "AddV2", pawl_emit_plain(e, "Relu", "activations", x, NULL), below);
}

static struct pawl_ref leaky(struct pawl_emit *e, struct pawl_ref x, double alpha)
{
    struct pawl_ref name;
    const size_t node = pawl_emit_begin(e, "LeakyRelu", &name);

    pawl_tf_input(e->out, x.text);
    pawl_tf_type(e->out, "T", PAWL_TF_FLOAT);
    pawl_tf_float(e->out, "alpha", (float)alpha);
    pawl_pb_end(e->out, node);
    return pawl_emit_output(&name, "activations", 0);
}

static struct pawl_ref hard(struct pawl_emit *e, struct pawl_ref x)
{
    return pawl_emit_scaled(e, pawl_emit_plain(e, "Relu6", "activations", plus(e, x, 3), NULL),
                            1.0 / 6);
}

struct pawl_ref pawl_emit_activation(struct pawl_emit *e, struct pawl_ref x,
                                     enum pawl_activation activation, double alpha)
{
    static const struct { const char *op, *output; } rows[PAWL_ACTIVATIONS] = {
        [PAWL_RELU] = { "Relu", "activations" },    [PAWL_RELU6] = { "Relu6", "activations" },
        [PAWL_SIGMOID] = { "Sigmoid", "y" },        [PAWL_TANH] = { "Tanh", "y" },
        [PAWL_SOFTPLUS] = { "Softplus", "activations" },
        [PAWL_SELU] = { "Selu", "activations" },    [PAWL_SOFTSIGN] = { "Softsign", "activations" },
        [PAWL_EXPONENTIAL] = { "Exp", "y" },        [PAWL_SOFTMAX] = { "Softmax", "softmax" },
        [PAWL_LOG_SOFTMAX] = { "LogSoftmax", "logsoftmax" },
    };

    switch (activation) {
    case PAWL_LINEAR: return x;
    case PAWL_LEAKY_RELU: return leaky(e, x, alpha > 0 ? alpha : 0.01);
    case PAWL_ELU: return elu(e, x, alpha > 0 ? alpha : 1);
    case PAWL_GELU: return gelu(e, x, false);
    case PAWL_GELU_TANH: return gelu(e, x, true);
    case PAWL_SILU: return times(e, x, pawl_emit_unary(e, "Sigmoid", x));
    case PAWL_HARD_SIGMOID: return hard(e, x);
    case PAWL_HARD_SWISH: return times(e, x, hard(e, x));
    case PAWL_MISH:
        return times(e, x, pawl_emit_unary(e, "Tanh", pawl_emit_plain(e, "Softplus", "activations",
                                                                      x, NULL)));
    default: break;
    }
    return pawl_emit_plain(e, rows[activation].op, rows[activation].output, x, NULL);
}
