// savedmodel_nodes.h - writes TensorFlow's graph messages: nodes, their attributes, shapes.
// Private to formats/savedmodel_*.c. Source: tensorflow/core/framework/{node_def,attr_value}.proto.

#ifndef PAWL_SAVEDMODEL_NODES_H
#define PAWL_SAVEDMODEL_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/text.h"

enum { PAWL_TF_FLOAT = 1, PAWL_TF_INT32 = 3, PAWL_TF_STRING = 7, PAWL_TF_INT64 = 9,
       PAWL_TF_RESOURCE = 20 };

// TensorShapeProto in a field; batch: an unknown first dimension goes before the others.
void pawl_tf_shape(struct pawl_text *out, uint32_t field, bool batch, int rank, const int64_t *dim);
// A node in a field; what is added until pawl_pb_end(out, the result) is its own.
size_t pawl_tf_node(struct pawl_text *out, uint32_t field, const char *name, const char *op);
void pawl_tf_input(struct pawl_text *out, const char *name);
void pawl_tf_type(struct pawl_text *out, const char *key, int type);
// Some types, then count times the same.
void pawl_tf_types(struct pawl_text *out, const char *key, const int *first, int firsts, int type,
                   int count);
void pawl_tf_string(struct pawl_text *out, const char *key, const char *string);
void pawl_tf_bool(struct pawl_text *out, const char *key, bool value);
void pawl_tf_int(struct pawl_text *out, const char *key, int64_t value);
void pawl_tf_float(struct pawl_text *out, const char *key, float value);
void pawl_tf_ints(struct pawl_text *out, const char *key, int count, const int64_t *values);
void pawl_tf_function(struct pawl_text *out, const char *key, const char *name);
void pawl_tf_shape_attr(struct pawl_text *out, const char *key, bool batch, int rank,
                        const int64_t *dim);
// A whole Const node: int32 numbers (rank 2: pairs), floats, or strings.
void pawl_tf_const_ints(struct pawl_text *out, uint32_t field, const char *name, int rank,
                        int count, const int32_t *values);
void pawl_tf_const_floats(struct pawl_text *out, uint32_t field, const char *name, int rank,
                          const int64_t *dim, const float *values);
void pawl_tf_const_strings(struct pawl_text *out, uint32_t field, const char *name, int count,
                           const char *(*string)(void *context, int i), void *context);

#endif
