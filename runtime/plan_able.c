// plan_able.c - which layers this build can compute. A model with another one still shows, converts
// and keeps its weights; only a plan of it is refused.

#include "runtime/plan_inside.h"

// Backward has the outputs of a recurrent layer's activations, not their inputs.
static bool needs_input(const struct pawl_layer *layer)
{
    return pawl_activation_saves_input(layer->rnn.activation)
           || pawl_activation_saves_input(layer->rnn.recurrent_activation);
}

// What of a layer cannot be computed, or NULL.
static const char *lacks(const struct pawl_layer *layer)
{
    switch (layer->kind) {
    case PAWL_CONV1D_TRANSPOSE:
    case PAWL_CONV2D_TRANSPOSE:
        return plan_is_softmax(layer->conv.activation) ? "its softmax" : NULL;
    case PAWL_GRU:
        if (!layer->rnn.reset_after) return "a reset gate before the product";
        return needs_input(layer) ? "its activation" : NULL;
    case PAWL_LSTM:
    case PAWL_SIMPLE_RNN: return needs_input(layer) ? "its activation" : NULL;
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
