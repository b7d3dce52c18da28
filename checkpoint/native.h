// native.h - a document in pawl's own names and layout, whatever it was read from.
//
// Its weights are the parameters that document->bindings puts together, its moments are called
// "optimizer.<slot>.<parameter>". Elements are made when they are asked for, a tensor at a time.

#ifndef PAWL_NATIVE_H
#define PAWL_NATIVE_H

#include "checkpoint/document.h"

// *out borrows document, which must outlive it, and is freed by pawl_document_free.
// PAWL_ECORRUPT: the weights do not fit the architecture.
// Momentum of a Keras optimizer stays as Keras defines it (the optimizer says "convention").
int pawl_document_native(struct pawl_document **out, struct pawl_document *document);

// Whether a file's optimizer decays every parameter, biases and norms too, as Keras does and
// PyTorch with one group; with several, the customary second one holds what is not decayed. pawl
// decays matrices only, unless its own "decay_all" says so. native: the document is pawl's own.
bool pawl_optimizer_decays_all(const json_t *optimizer, bool native);

#endif
