// savedmodel_nodes.c - TensorFlow's graph messages.

#include "checkpoint/formats/savedmodel_nodes.h"

#include <string.h>

#include "checkpoint/containers/protobuf.h"

void pawl_tf_shape(struct pawl_text *out, uint32_t field, bool batch, int rank, const int64_t *dim)
{
    const size_t shape = pawl_pb_begin(out, field);

    for (int d = batch ? -1 : 0; d < rank; d++) {
        const size_t one = pawl_pb_begin(out, 2);
        const int64_t size = d < 0 ? -1 : dim[d];
        if (size) pawl_pb_put_int(out, 1, size);
        pawl_pb_end(out, one);
    }
    pawl_pb_end(out, shape);
}

size_t pawl_tf_node(struct pawl_text *out, uint32_t field, const char *name, const char *op)
{
    const size_t node = pawl_pb_begin(out, field);

    pawl_pb_put_string(out, 1, name);
    pawl_pb_put_string(out, 2, op);
    return node;
}

void pawl_tf_input(struct pawl_text *out, const char *name)
{
    pawl_pb_put_string(out, 3, name);
}

// {1 key, 2 AttrValue}: two messages to end.
struct open {
    size_t entry, value;
};

static struct open attr(struct pawl_text *out, const char *key)
{
    struct open open;

    open.entry = pawl_pb_begin(out, 5);
    pawl_pb_put_string(out, 1, key);
    open.value = pawl_pb_begin(out, 2);
    return open;
}

static void end(struct pawl_text *out, struct open open)
{
    pawl_pb_end(out, open.value);
    pawl_pb_end(out, open.entry);
}

void pawl_tf_type(struct pawl_text *out, const char *key, int type)
{
    const struct open open = attr(out, key);

    pawl_pb_put_int(out, 6, type);
    end(out, open);
}

void pawl_tf_types(struct pawl_text *out, const char *key, const int *first, int firsts, int type,
                   int count)
{
    const struct open open = attr(out, key);
    const size_t list = pawl_pb_begin(out, 1), packed = pawl_pb_begin(out, 6);

    for (int i = 0; i < firsts; i++)
        pawl_pb_put_varint(out, (uint64_t)first[i]);
    for (int i = 0; i < count; i++)
        pawl_pb_put_varint(out, (uint64_t)type);
    pawl_pb_end(out, packed);
    pawl_pb_end(out, list);
    end(out, open);
}

void pawl_tf_string(struct pawl_text *out, const char *key, const char *string)
{
    const struct open open = attr(out, key);

    pawl_pb_put_string(out, 2, string);
    end(out, open);
}

void pawl_tf_bool(struct pawl_text *out, const char *key, bool value)
{
    const struct open open = attr(out, key);

    pawl_pb_put_int(out, 5, value);
    end(out, open);
}

void pawl_tf_int(struct pawl_text *out, const char *key, int64_t value)
{
    const struct open open = attr(out, key);

    pawl_pb_put_int(out, 3, value);
    end(out, open);
}

void pawl_tf_float(struct pawl_text *out, const char *key, float value)
{
    const struct open open = attr(out, key);
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    pawl_pb_put_fixed32(out, 4, bits);
    end(out, open);
}

void pawl_tf_ints(struct pawl_text *out, const char *key, int count, const int64_t *values)
{
    const struct open open = attr(out, key);
    const size_t list = pawl_pb_begin(out, 1), packed = pawl_pb_begin(out, 3);

    for (int i = 0; i < count; i++)
        pawl_pb_put_varint(out, (uint64_t)values[i]);
    pawl_pb_end(out, packed);
    pawl_pb_end(out, list);
    end(out, open);
}

void pawl_tf_function(struct pawl_text *out, const char *key, const char *name)
{
    const struct open open = attr(out, key);
    const size_t function = pawl_pb_begin(out, 10);

    pawl_pb_put_string(out, 1, name);
    pawl_pb_end(out, function);
    end(out, open);
}

void pawl_tf_shape_attr(struct pawl_text *out, const char *key, bool batch, int rank,
                        const int64_t *dim)
{
    const struct open open = attr(out, key);

    pawl_tf_shape(out, 7, batch, rank, dim);
    end(out, open);
}

static struct open begin_const(struct pawl_text *out, int type, int rank, const int64_t *dim,
                               size_t *tensor)
{
    pawl_tf_type(out, "dtype", type);
    const struct open open = attr(out, "value");
    *tensor = pawl_pb_begin(out, 8);
    pawl_pb_put_int(out, 1, type);
    pawl_tf_shape(out, 2, false, rank, dim);
    return open;
}

void pawl_tf_const_ints(struct pawl_text *out, uint32_t field, const char *name, int rank,
                        int count, const int32_t *values)
{
    const int64_t dim[2] = { rank == 2 ? count / 2 : count, 2 };
    const size_t node = pawl_tf_node(out, field, name, "Const");
    size_t tensor;
    const struct open open = begin_const(out, PAWL_TF_INT32, rank, dim, &tensor);

    pawl_pb_put_bytes(out, 4, values, sizeof(*values) * (size_t)count);
    pawl_pb_end(out, tensor);
    end(out, open);
    pawl_pb_end(out, node);
}

void pawl_tf_const_floats(struct pawl_text *out, uint32_t field, const char *name, int rank,
                          const int64_t *dim, const float *values)
{
    const size_t node = pawl_tf_node(out, field, name, "Const");
    size_t tensor, count = 1;
    const struct open open = begin_const(out, PAWL_TF_FLOAT, rank, dim, &tensor);

    for (int d = 0; d < rank; d++)
        count *= (size_t)dim[d];
    pawl_pb_put_bytes(out, 4, values, sizeof(*values) * count);
    pawl_pb_end(out, tensor);
    end(out, open);
    pawl_pb_end(out, node);
}

void pawl_tf_const_strings(struct pawl_text *out, uint32_t field, const char *name, int count,
                           const char *(*string)(void *context, int i), void *context)
{
    const int64_t dim = count;
    const size_t node = pawl_tf_node(out, field, name, "Const");
    size_t tensor;
    const struct open open = begin_const(out, PAWL_TF_STRING, 1, &dim, &tensor);

    for (int i = 0; i < count; i++)
        pawl_pb_put_string(out, 8, string(context, i));
    pawl_pb_end(out, tensor);
    end(out, open);
    pawl_pb_end(out, node);
}
