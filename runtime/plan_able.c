// plan_able.c - which layers this build can compute. A model with another one still shows, converts
// and keeps its weights; only a plan of it is refused.

#include "runtime/plan_inside.h"

// What of a layer cannot be computed, or NULL.
static const char *lacks(const struct pawl_layer *layer)
{
    switch (layer->kind) {
    case PAWL_CONV1D_TRANSPOSE:
    case PAWL_CONV2D_TRANSPOSE:
    case PAWL_GROUP_NORM:
    case PAWL_LSTM:
    case PAWL_GRU:
    case PAWL_SIMPLE_RNN:
    case PAWL_PRELU: return "this kind";
    case PAWL_ATTENTION:
        return layer->attention.rotary > PAWL_ROTARY_MAX ? "so wide a rotary embedding" : NULL;
    case PAWL_MULTIPLY: return layer->input_count == 2 ? NULL : "a product of more than two";
    default: return NULL;
    }
}

int plan_able(const struct pawl_plan *plan)
{
    for (int l = 0; l < plan->architecture.layer_count; l++) {
        const struct pawl_layer *layer = &plan->architecture.layers[l];
        const char *what = lacks(layer);
        if (what)
            return pawl_fail(PAWL_ENOTSUP, "layer '%s' (%s): %s cannot be computed yet; its "
                             "weights can still be inspected and converted", layer->name,
                             pawl_layer_kind_name(layer->kind), what);
    }
    return 0;
}
