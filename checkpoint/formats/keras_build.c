// keras_build.c - pawl's layers out of a Keras layer, and the words about what is wrong with it.

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_inside.h"
#include "checkpoint/layers.h"

// ---- words

static void compose(char *out, size_t size, const struct pawl_keras_build *b, const char *format,
                    va_list arguments)
{
    char words[400];

    vsnprintf(words, sizeof(words), format, arguments);
    snprintf(out, size, "layer '%.120s' (%.60s): %s", b->out->layers[b->layer].name,
             b->class_name, words);
}

int pawl_keras_fail(const struct pawl_keras_build *b, const char *format, ...)
{
    char words[640];
    va_list arguments;

    va_start(arguments, format);
    compose(words, sizeof(words), b, format, arguments);
    va_end(arguments);
    return pawl_fail(PAWL_ECORRUPT, "%s: %s", b->what, words);
}

int pawl_keras_stop(const struct pawl_keras_build *b, const char *format, ...)
{
    va_list arguments;

    if (!b->out->stop[0]) {
        va_start(arguments, format);
        compose(b->out->stop, sizeof(b->out->stop), b, format, arguments);
        va_end(arguments);
    }
    return PAWL_ENOTSUP;
}

// ---- building pawl's layers

const struct pawl_shape *pawl_keras_shape(const struct pawl_keras_build *b, int input)
{
    return &b->made->layers[b->inputs[input]].out;
}

int pawl_keras_add(struct pawl_keras_build *b, enum pawl_layer_kind kind, const char *suffix,
                   struct pawl_layer **out)
{
    const struct pawl_layer_row *row = &pawl_layer_rows[kind];
    char name[2 * PAWL_KERAS_NAME_MAX];

    snprintf(name, sizeof(name), "%s%s%s%s", b->prefix, b->out->layers[b->layer].name,
             suffix ? "." : "", suffix ? suffix : "");
    if (strlen(name) >= sizeof((*out)->name))
        return pawl_keras_fail(b, "its name is longer than %zu bytes", sizeof((*out)->name) - 1);
    if (b->last >= 0) {
        b->inputs[0] = b->last;
        b->input_count = 1;
    }
    if (b->input_count < row->inputs || b->input_count > row->inputs_most)
        return pawl_keras_fail(b, "it has %d inputs", b->input_count);
    const int rc = pawl_architecture_append(b->made, kind, name, out);
    if (rc) return rc;
    (*out)->input_count = b->input_count;
    memcpy((*out)->input, b->inputs, sizeof(b->inputs));
    b->last = b->made->layer_count - 1;
    return 0;
}

int pawl_keras_done(struct pawl_keras_build *b)
{
    struct pawl_layer *layer = &b->made->layers[b->last];
    const struct pawl_shape *in[PAWL_INPUTS_MAX];

    for (int i = 0; i < layer->input_count; i++)
        in[i] = &b->made->layers[layer->input[i]].out;
    int rc = pawl_layer_check_fields(layer);
    if (!rc) rc = pawl_layer_rows[layer->kind].shape(layer, in);
    if (!rc) return 0;
    char why[640];
    snprintf(why, sizeof(why), "%s", pawl_error());
    return pawl_fail(PAWL_ECORRUPT, "%s: %s", b->what, why);
}

int pawl_keras_activate(struct pawl_keras_build *b, const char *suffix,
                        enum pawl_activation activation, double alpha)
{
    struct pawl_layer *layer;
    const int rc = pawl_keras_add(b, PAWL_ACTIVATE, suffix, &layer);

    if (rc) return rc;
    layer->activate.activation = activation;
    layer->activate.alpha = alpha;
    return pawl_keras_done(b);
}
