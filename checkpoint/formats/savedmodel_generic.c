// savedmodel_generic.c - a model that Keras 2 has no layers for: variables as pawl has them.

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/savedmodel_save.h"
#include "kernels/memory.h"

static int add_param(struct pawl_keras *keras, int layer, const struct pawl_param *param)
{
    const struct pawl_layer *owner = &keras->architecture->layers[layer];
    struct pawl_keras_variable *variable = &keras->variables[keras->variable_count];
    char name[PAWL_NAME_MAX + 1];

    *variable = (struct pawl_keras_variable){ .layer = keras->layer_count - 1, .rank = param->rank,
                                              .trainable = param->trainable };
    snprintf(variable->name, sizeof(variable->name), "%.15s", param->suffix);
    for (int d = 0; d < PAWL_RANK_MAX; d++)
        variable->dim[d] = d < param->rank ? param->dim[d] : 1;
    snprintf(name, sizeof(name), "%s.%.15s", owner->name, param->suffix);
    int rc = pawl_bindings_add(&keras->params, name, PAWL_F32, param->rank, param->dim);
    if (!rc) rc = pawl_bind_whole(&keras->params, keras->variable_count, NULL);
    if (!rc) rc = pawl_bindings_add(&keras->values, name, PAWL_F32, param->rank, param->dim);
    if (!rc) rc = pawl_bind_whole(&keras->values, keras->params.count - 1, NULL);
    keras->variable_count++;
    return rc;
}

int pawl_saved_generic(struct pawl_saved *saved, const struct pawl_architecture *architecture)
{
    struct pawl_keras *keras = &saved->file.keras;
    struct pawl_param params[PAWL_PARAMS_MAX];
    const size_t room = (size_t)architecture->layer_count + 1;

    saved->generic = true;
    int rc = pawl_alloc(&keras->architecture, sizeof(*keras->architecture), "an architecture");
    if (!rc) rc = pawl_architecture_copy(keras->architecture, architecture);
    if (!rc) rc = pawl_alloc(&keras->layers, sizeof(*keras->layers) * room, "layers");
    if (!rc)
        rc = pawl_alloc(&keras->variables, sizeof(*keras->variables) * PAWL_PARAMS_MAX * room,
                        "variables");
    for (int i = 0; !rc && i < architecture->layer_count; i++) {
        const int count = pawl_layer_params(keras->architecture, i, params);
        if (!count) continue;
        struct pawl_keras_layer *layer = &keras->layers[keras->layer_count++];
        *layer = (struct pawl_keras_layer){ .parent = -1, .variable = keras->variable_count,
                                            .variable_count = count };
        snprintf(layer->name, sizeof(layer->name), "%.199s", architecture->layers[i].name);
        for (int k = 0; !rc && k < count; k++)
            rc = add_param(keras, i, &params[k]);
    }
    return rc;
}
