// keras_read.h - what the readers of Keras' files share: tensors, their variables, the moments.

#ifndef PAWL_KERAS_READ_H
#define PAWL_KERAS_READ_H

#include "checkpoint/containers/hdf5.h"
#include "checkpoint/formats/keras_config.h"

// The weights of a version 3 file, by path ("layers/dense/vars/0"), and its optimizer's variables.
int pawl_keras_read_stores(struct pawl_document *document, struct pawl_hdf5 *h5);
// The weights of a legacy file below group `at` ("" or "model_weights"), by weight_names.
int pawl_keras_read_layers(struct pawl_document *document, struct pawl_hdf5 *h5, const char *at);
int pawl_keras_read_optimizer(struct pawl_document *document, struct pawl_hdf5 *h5);

// Parses config (JSON text) and compile configuration (may be NULL): architecture, loss, optimizer;
// binds the weights that were read before. PAWL_ECORRUPT: they do not fit one another.
int pawl_keras_take_config(struct pawl_document *document, const json_t *config,
                           const json_t *compile);
// JSON text without trust. what: "m.keras: config.json".
int pawl_keras_parse(json_t **out, const char *bytes, size_t size, const char *what);

// A binder: weights by Keras' names for an architecture that came from elsewhere.
int pawl_keras_binder(struct pawl_bindings *out, const struct pawl_document *document, int *fit);

// Makes document->training unless it is there.
int pawl_keras_training(struct pawl_document *document);
// Step and rate, from the optimizer's scalars.
int pawl_keras_scalars(struct pawl_document *document);
// SGD's and RMSprop's momentum holds the rate in Keras: how it compares to PyTorch's.
void pawl_keras_scale_momentum(struct pawl_training *training);
// Says of each moment whose it is. trained: the weights of the trainable variables, in order.
int pawl_keras_take_moments(struct pawl_document *document, const int *trained, int count);

#endif
