// savedmodel_emit.h - the model as nodes of a TensorFlow function. Private to savedmodel_emit*.c.
//
//     struct pawl_ref y = pawl_emit_plain(e, "MatMul", "product", x, kernel);
//     y = pawl_emit_reshape(e, y, 3, (int64_t[]){ -1, time, units });
//
// A value is named by the node and the output that give it: "MatMul_4:product:0". Shapes leave out
// the batch, as everywhere; -1 stands for it. Variables lie as Keras has them, in a generic model
// as pawl does.
//
// Operations and their outputs' names: tensorflow/core/ops/{nn,math,array}_ops.cc. A failure is
// kept in out->rc; what follows it is harmless.

#ifndef PAWL_SAVEDMODEL_EMIT_H
#define PAWL_SAVEDMODEL_EMIT_H

#include "checkpoint/formats/savedmodel_nodes.h"
#include "checkpoint/formats/savedmodel_save.h"

enum { PAWL_REF_MAX = 272, PAWL_UNROLL_MAX = 1024 };

struct pawl_ref {
    char text[PAWL_REF_MAX];
};

struct pawl_emit {
    struct pawl_saved *saved;
    struct pawl_text *out;
    const struct pawl_architecture *of;
    struct pawl_ref *values;  // per layer
    int *params;              // per layer: its first parameter in saved->file.keras.params
    int count;                // of nodes, for their names
};

// The operation of its own number; what is added until pawl_pb_end is the node's.
size_t pawl_emit_begin(struct pawl_emit *e, const char *op, struct pawl_ref *name);
struct pawl_ref pawl_emit_output(const struct pawl_ref *node, const char *output, int index);
// One or two inputs (b NULL), type attribute T: most operations.
struct pawl_ref pawl_emit_plain(struct pawl_emit *e, const char *op, const char *output,
                                struct pawl_ref a, const struct pawl_ref *b_or_null);
// The same with z for the output's name: Mul, AddV2, Sub, Maximum.
struct pawl_ref pawl_emit_binary(struct pawl_emit *e, const char *op, struct pawl_ref a,
                                 struct pawl_ref b);
// Tanh, Neg: y.
struct pawl_ref pawl_emit_unary(struct pawl_emit *e, const char *op, struct pawl_ref x);
struct pawl_ref pawl_emit_float(struct pawl_emit *e, double value);
struct pawl_ref pawl_emit_scaled(struct pawl_emit *e, struct pawl_ref x, double by);
struct pawl_ref pawl_emit_ints(struct pawl_emit *e, int rank, int count, const int64_t *values);
struct pawl_ref pawl_emit_floats(struct pawl_emit *e, int rank, const int64_t *dim,
                                 const float *values);
struct pawl_ref pawl_emit_reshape(struct pawl_emit *e, struct pawl_ref x, int rank,
                                  const int64_t *dim);
// To the shape of a layer's value: [-1, dim...].
struct pawl_ref pawl_emit_shaped(struct pawl_emit *e, struct pawl_ref x,
                                 const struct pawl_shape *shape);
struct pawl_ref pawl_emit_transpose(struct pawl_emit *e, struct pawl_ref x, int rank,
                                    const int64_t *order);
struct pawl_ref pawl_emit_slice(struct pawl_emit *e, struct pawl_ref x, int rank,
                                const int64_t *begin, const int64_t *size);
struct pawl_ref pawl_emit_concat(struct pawl_emit *e, const struct pawl_ref *parts, int count,
                                 int axis);
// Divides an axis into equal parts: outputs node:output:i.
struct pawl_ref pawl_emit_split(struct pawl_emit *e, struct pawl_ref x, int axis, int64_t count);
// Splits an axis away, likewise. And the way back.
struct pawl_ref pawl_emit_unpack(struct pawl_emit *e, struct pawl_ref x, int axis, int64_t count);
struct pawl_ref pawl_emit_pack(struct pawl_emit *e, const struct pawl_ref *parts, int count,
                               int axis, int type);
// Mean, Max over axes, kept with length 1 or not.
struct pawl_ref pawl_emit_reduce(struct pawl_emit *e, const char *op, struct pawl_ref x,
                                 const struct pawl_shape *axes, bool keep);
// pads: before and after each axis.
struct pawl_ref pawl_emit_pad(struct pawl_emit *e, struct pawl_ref x, int rank,
                              const int64_t *pads, double value);
struct pawl_ref pawl_emit_activation(struct pawl_emit *e, struct pawl_ref x,
                                     enum pawl_activation activation, double alpha);
struct pawl_ref pawl_emit_matmul(struct pawl_emit *e, struct pawl_ref a, struct pawl_ref b,
                                 bool transpose_b);
struct pawl_ref pawl_emit_matmuls(struct pawl_emit *e, struct pawl_ref a, struct pawl_ref b,
                                  bool transpose_b);  // of the last two axes, for each of the rest

// A layer's parameter by its suffix in pawl: the index of its variable, or -1.
int pawl_emit_variable(const struct pawl_emit *e, int layer, const char *suffix);
// Its value; only where there is one.
struct pawl_ref pawl_emit_read(struct pawl_emit *e, int variable);
const struct pawl_shape *pawl_emit_in(const struct pawl_emit *e, int layer, int input);
struct pawl_ref pawl_emit_value(const struct pawl_emit *e, int layer, int input);
// PAWL_ENOTSUP with the layer's name.
int pawl_emit_unknown(const struct pawl_emit *e, int layer, const char *what);

// One layer each: e->values[layer].
typedef int pawl_emitter(struct pawl_emit *e, int layer);
pawl_emitter pawl_emit_dense, pawl_emit_conv, pawl_emit_transposed, pawl_emit_pool,
    pawl_emit_norm, pawl_emit_attention, pawl_emit_rnn;

#endif
