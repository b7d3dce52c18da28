// keras_spell.h - one of pawl's layers as a Keras class and its fields.

#ifndef PAWL_KERAS_SPELL_H
#define PAWL_KERAS_SPELL_H

#include <jansson.h>

#include "checkpoint/architecture.h"

struct pawl_keras_spelling {
    bool keras2;             // asked for
    const char *class_name;
    json_t *config;          // without the name; the caller's
    bool pads;               // a ZeroPadding2D of conv.pads comes first
};

// activation: the layer that follows and is this one's activation, or NULL. in: the first input's
// shape. PAWL_ENOTSUP: Keras has no builtin layer for it.
int pawl_keras_spell(struct pawl_keras_spelling *out, const struct pawl_layer *layer,
                     const struct pawl_shape *in, const struct pawl_layer *activation);

#endif
