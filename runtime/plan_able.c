// plan_able.c - which layers this build can compute. A model with another one still shows, converts
// and keeps its weights; only a plan of it is refused.

#include "runtime/plan_inside.h"

static bool known(enum pawl_activation activation) { return activation < PAWL_SOFTMAX; }

// What of a layer cannot be computed, or NULL.
static const char *lacks(const struct pawl_layer *layer)
{
    switch (layer->kind) {
    case PAWL_INPUT:
    case PAWL_EMBEDDING:
    case PAWL_POSITION_EMBEDDING:
    case PAWL_DROPOUT:
    case PAWL_MAX_POOL2D:
    case PAWL_FLATTEN: return NULL;
    case PAWL_DENSE: return known(layer->dense.activation) ? NULL : "its activation";
    case PAWL_CONV2D: return known(layer->conv.activation) ? NULL : "its activation";
    case PAWL_ACTIVATE: return known(layer->activate.activation) ? NULL : "its activation";
    case PAWL_AVG_POOL2D: return layer->pool.count_pads ? "count_pads" : NULL;
    case PAWL_LAYER_NORM:
        return layer->norm.weight && layer->norm.bias ? NULL : "a norm without weight or bias";
    case PAWL_ATTENTION:
        if (layer->input_count > 1) return "attention of three inputs";
        return layer->attention.theta > 0 ? "rotary embedding" : NULL;
    case PAWL_ADD: return layer->input_count == 2 ? NULL : "a sum of more than two";
    default: return "this kind";
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
