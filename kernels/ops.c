// ops.c - facts about activations and optimizers that no device changes.

#include "kernels/ops.h"

#include <stddef.h>

bool pawl_activation_saves_input(enum pawl_activation activation)
{
    switch (activation) {
    case PAWL_ELU:
    case PAWL_GELU:
    case PAWL_GELU_TANH:
    case PAWL_SILU:
    case PAWL_SOFTPLUS:
    case PAWL_HARD_SWISH:
    case PAWL_SELU:
    case PAWL_SOFTSIGN:
    case PAWL_MISH:
        return true;
    case PAWL_LINEAR:
    case PAWL_RELU:
    case PAWL_LEAKY_RELU:
    case PAWL_SIGMOID:
    case PAWL_TANH:
    case PAWL_RELU6:
    case PAWL_HARD_SIGMOID:
    case PAWL_EXPONENTIAL:
    case PAWL_SOFTMAX:
    case PAWL_LOG_SOFTMAX:
    case PAWL_ACTIVATIONS:
        break;
    }
    return false;
}

int pawl_optimizer_moments(const struct pawl_update *rule)
{
    switch (rule->kind) {
    case PAWL_ADAMW:
    case PAWL_ADAM:
        return 2;
    case PAWL_SGD:
        return rule->momentum != 0;
    case PAWL_RMSPROP:
        return 1 + (rule->momentum > 0);
    case PAWL_OPTIMIZERS:
        break;
    }
    return 0;
}

const char *pawl_optimizer_slot(enum pawl_optimizer kind, int moment)
{
    // As torch.optim names its state, in the order of moment_1 and moment_2.
    static const char *const slots[PAWL_OPTIMIZERS][2] = {
        [PAWL_ADAMW] = { "exp_avg", "exp_avg_sq" },
        [PAWL_ADAM] = { "exp_avg", "exp_avg_sq" },
        [PAWL_SGD] = { "momentum_buffer", NULL },
        [PAWL_RMSPROP] = { "square_avg", "momentum_buffer" },
    };

    return kind < PAWL_OPTIMIZERS && (moment == 0 || moment == 1) ? slots[kind][moment] : NULL;
}
