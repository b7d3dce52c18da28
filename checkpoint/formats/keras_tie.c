// keras_tie.c - a Keras variable and a parameter of pawl's: the same numbers in two layouts.

#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/keras_inside.h"
#include "checkpoint/layers.h"
#include "kernels/memory.h"

int pawl_keras_variable(struct pawl_keras_build *b, const struct pawl_keras_tie *tie)
{
    struct pawl_keras *out = b->out;
    struct pawl_keras_variable variable = { .layer = b->layer, .trainable = !tie->state,
                                            .rank = tie->rank };
    char name[PAWL_NAME_MAX + 1];

    if (out->variable_count == out->variable_room) {
        const int room = out->variable_room ? 2 * out->variable_room : 16;
        const int rc = pawl_realloc(&out->variables, (size_t)room * sizeof(variable),
                                    "Keras variables");
        if (rc) return rc;
        out->variable_room = room;
    }
    snprintf(variable.name, sizeof(variable.name), "%s", tie->name);
    snprintf(variable.store, sizeof(variable.store), "%s", tie->store);
    for (int d = 0; d < PAWL_RANK_MAX; d++)
        variable.dim[d] = d < tie->rank ? tie->dim[d] : 1;
    out->variables[out->variable_count++] = variable;
    out->layers[b->layer].variable_count++;
    snprintf(name, sizeof(name), "%.200s/%s", out->layers[b->layer].name, tie->name);
    return pawl_bindings_add(&out->values, name, PAWL_F32, tie->rank, tie->dim);
}

int pawl_keras_param(struct pawl_keras_build *b, int param)
{
    struct pawl_param params[PAWL_PARAMS_MAX];
    char name[PAWL_NAME_MAX + 1];

    const int count = pawl_layer_params(b->made, b->last, params);
    if (param >= count)
        return pawl_keras_fail(b, "variable %d has no parameter of pawl's to go to", param);
    snprintf(name, sizeof(name), "%.238s.%s", b->made->layers[b->last].name, params[param].suffix);
    return pawl_bindings_add(&b->out->params, name, PAWL_F32, params[param].rank,
                             params[param].dim);
}

// The way back of "axis i of the result is axis[i] of a source of shape dim".
static struct pawl_relayout inverse(const struct pawl_relayout *of)
{
    struct pawl_relayout back = { .rank = of->rank };

    for (int i = 0; i < of->rank; i++) {
        back.dim[i] = of->dim[of->axis[i]];
        back.axis[of->axis[i]] = i;
    }
    return back;
}

int pawl_keras_tie(struct pawl_keras_build *b, int param, const struct pawl_keras_tie *tie)
{
    const struct pawl_relayout there = pawl_relayout_of(tie->view_rank, tie->view, tie->axis);
    const struct pawl_relayout back = inverse(&there);

    int rc = pawl_keras_variable(b, tie);
    if (!rc) rc = pawl_keras_param(b, param);
    if (!rc)
        rc = pawl_bind_whole(&b->out->params, b->out->variable_count - 1,
                             tie->view_rank ? &there : NULL);
    if (!rc)
        rc = pawl_bind_whole(&b->out->values, b->out->params.count - 1,
                             tie->view_rank ? &back : NULL);
    return rc;
}

int pawl_keras_bind(struct pawl_keras *keras, const int *weight_of, struct pawl_bindings **out)
{
    struct pawl_bindings *bound = NULL;

    const int rc = pawl_alloc(&bound, sizeof(*bound), "bindings");
    if (rc) return rc;
    *bound = keras->params;
    keras->params = (struct pawl_bindings){ 0 };
    for (int i = 0; i < bound->count; i++)
        for (int p = 0; p < bound->items[i].part_count; p++) {
            int *source = &bound->items[i].parts[p].source;
            if (*source >= 0) *source = weight_of[*source];
        }
    *out = bound;
    return 0;
}
