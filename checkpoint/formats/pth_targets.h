// pth_targets.h - the parameters of any document as tensors in torch's layout and names.

#ifndef PAWL_PTH_TARGETS_H
#define PAWL_PTH_TARGETS_H

#include "checkpoint/binding.h"

// Whether a document's weights lie in another layout than torch's, and can be put into it: it has
// an architecture, and comes from Keras, TensorFlow or pawl itself.
bool pawl_pth_is_foreign(const struct pawl_document *document);
// One target per parameter, in the order of layers. PAWL_ECORRUPT: the weights do not fit.
int pawl_pth_targets(struct pawl_bindings *out, const struct pawl_document *document);

#endif
