#include "checkpoint/formats/keras_config.h"
int pawl_keras_write(json_t **out, const struct pawl_architecture *architecture, bool keras2)
{
    (void)out; (void)architecture; (void)keras2;
    return pawl_fail(PAWL_ENOTSUP, "not yet");
}
