// layers.c - names, and what a field says of itself: its default and its check.

#include "checkpoint/layers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const pawl_activation_names[PAWL_ACTIVATIONS] = {
    [PAWL_LINEAR] = "linear",         [PAWL_RELU] = "relu",   [PAWL_LEAKY_RELU] = "leaky_relu",
    [PAWL_ELU] = "elu",               [PAWL_GELU] = "gelu",   [PAWL_GELU_TANH] = "gelu_tanh",
    [PAWL_SILU] = "silu",             [PAWL_SIGMOID] = "sigmoid", [PAWL_TANH] = "tanh",
    [PAWL_SOFTPLUS] = "softplus",     [PAWL_RELU6] = "relu6",
    [PAWL_HARD_SIGMOID] = "hard_sigmoid", [PAWL_HARD_SWISH] = "hard_swish",
    [PAWL_SELU] = "selu",             [PAWL_SOFTSIGN] = "softsign", [PAWL_MISH] = "mish",
    [PAWL_EXPONENTIAL] = "exponential", [PAWL_SOFTMAX] = "softmax",
    [PAWL_LOG_SOFTMAX] = "log_softmax",
};
const char *const pawl_padding_names[2] = { [PAWL_VALID] = "valid", [PAWL_SAME] = "same" };
const char *const pawl_loss_names[3] = { "cross-entropy", "mse", "binary-cross-entropy" };

int pawl_layer_fail(const struct pawl_layer *layer, const char *format, ...)
{
    char words[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_EINVAL, "layer '%s' (%s): %s", layer->name,
                     pawl_layer_rows[layer->kind].name, words);
}

// ---- fields

void pawl_layer_defaults(struct pawl_layer *layer)
{
    const struct pawl_layer_row *row = &pawl_layer_rows[layer->kind];

    for (int i = 0; i < row->field_count; i++) {
        const struct pawl_field *field = &row->fields[i];
        void *at = (char *)layer + field->offset;

        switch (field->type) {
        case PAWL_FIELD_PAIR:
            ((int64_t *)at)[0] = ((int64_t *)at)[1] = (int64_t)field->standard;
            break;
        case PAWL_FIELD_PADS:
            for (int side = 0; side < 4; side++)
                ((int64_t *)at)[side] = (int64_t)field->standard;
            break;
        case PAWL_FIELD_COUNT: *(int64_t *)at = (int64_t)field->standard; break;
        case PAWL_FIELD_BOOL: *(bool *)at = field->standard != 0; break;
        case PAWL_FIELD_REAL: *(double *)at = field->standard; break;
        case PAWL_FIELD_ACTIVATION:
        case PAWL_FIELD_PADDING: *(unsigned *)at = (unsigned)field->standard; break;
        case PAWL_FIELD_NAME: *(char *)at = 0; break;
        case PAWL_FIELD_SHAPE: *(struct pawl_shape *)at = (struct pawl_shape){ 0 }; break;
        }
    }
}

static int check_counts(const struct pawl_layer *layer, const struct pawl_field *field,
                        const int64_t *value, int count)
{
    for (int i = 0; i < count; i++)
        if ((double)value[i] < field->least || (double)value[i] > field->most)
            return pawl_layer_fail(layer, "%s must be %.0f to %.0f, not %lld", field->name,
                                   field->least, field->most, (long long)value[i]);
    return 0;
}

static int check_field(const struct pawl_layer *layer, const struct pawl_field *field)
{
    const void *at = (const char *)layer + field->offset;
    const struct pawl_shape *shape = at;
    const double real = field->type == PAWL_FIELD_REAL ? *(const double *)at : 0;

    switch (field->type) {
    case PAWL_FIELD_COUNT: return check_counts(layer, field, at, 1);
    case PAWL_FIELD_PAIR: return check_counts(layer, field, at, 2);
    case PAWL_FIELD_PADS: return check_counts(layer, field, at, 4);
    case PAWL_FIELD_SHAPE:
        if (shape->rank < 1 || shape->rank > PAWL_SHAPE_MAX)
            return pawl_layer_fail(layer, "%s must have 1 to %d dimensions, not %d", field->name,
                                   PAWL_SHAPE_MAX, shape->rank);
        return check_counts(layer, field, shape->dim, shape->rank);
    case PAWL_FIELD_REAL:
        if (!(real >= field->least && real <= field->most))
            return pawl_layer_fail(layer, "%s must be %g to %g, not %g", field->name, field->least,
                                   field->most, real);
        return 0;
    default: return 0;
    }
}

int pawl_layer_check_fields(const struct pawl_layer *layer)
{
    const struct pawl_layer_row *row = &pawl_layer_rows[layer->kind];

    for (int i = 0; i < row->field_count; i++) {
        const int rc = check_field(layer, &row->fields[i]);
        if (rc) return rc;
    }
    return 0;
}
