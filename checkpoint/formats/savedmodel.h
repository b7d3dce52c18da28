// savedmodel.h - TensorFlow's SavedModel directory. Private to formats/savedmodel*.c.
//
//     saved_model.pb      the graph (never run), tags, TensorFlow's version
//     keras_metadata.pb   tf.keras: each object's configuration as JSON
//     variables/          a tensor bundle: weights, optimizer state, and the object graph
//
// A weight is called by its Keras name ("hidden/kernel"); a tensor of the optimizer by its key
// without "/.ATTRIBUTES/VARIABLE_VALUE" ("optimizer/_variables/1").

#ifndef PAWL_SAVEDMODEL_H
#define PAWL_SAVEDMODEL_H

#include "checkpoint/formats/savedmodel_bundle.h"
#include "checkpoint/formats/savedmodel_graph.h"

struct pawl_savedmodel {
    struct pawl_document *document;
    const char *path;
    struct pawl_bundle bundle;
    struct pawl_graph graph;
    bool has_graph;
    int *weight_of;  // per node: its index in document->weights, or -1
    json_t *config;  // the root's Keras configuration, or NULL
};

// The optimizer's tensors, step and kind (savedmodel_optimizer.c); nothing when there is none.
int pawl_savedmodel_read_training(struct pawl_savedmodel *model);
// keras_metadata.pb (savedmodel_keras.c): model->config; the architecture and its bindings.
int pawl_savedmodel_read_keras(struct pawl_savedmodel *model);
int pawl_savedmodel_write(const struct pawl_document *document, const char *path,
                          const struct pawl_write_options *options);
// The key without what every variable's key ends in.
void pawl_savedmodel_name(char *out, size_t size, const char *key);

#endif
