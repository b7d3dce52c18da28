// keras_config.h - Keras configurations: builtin layers by class name, read and written.
//
//     config JSON -> struct pawl_keras { layers, variables, architecture, bindings }
//     architecture -> config JSON
//
// config.json of a .keras file, model_config of an .h5, to_json() and keras_metadata.pb all hold
// {"class_name": "Sequential" | "Functional" | "Model", "config": {...}}, of Keras 2 or 3. Class
// names are looked up in a closed table, modules are ignored: nothing of a file is ever run.
//
//     struct pawl_keras keras = { 0 };
//     rc = pawl_keras_read(&keras, config, "m.keras");
//     for (int v = 0; v < keras.variable_count; v++) ...        // which tensor of the file is v?
//     rc = pawl_keras_to_params(&keras, weight_of_variable, &document->bindings);
//     pawl_keras_free(&keras);
//
// A layer that is not in the table stops prediction, not reading: architecture is then NULL, stop
// says which layer and why, and the layers and variables that come before it are there.
//
// Memory: owned by the structure. Threads: one at a time.

#ifndef PAWL_KERAS_CONFIG_H
#define PAWL_KERAS_CONFIG_H

#include <jansson.h>

#include "checkpoint/architecture.h"
#include "checkpoint/binding.h"
#include "checkpoint/document.h"

enum { PAWL_KERAS_NAME_MAX = 200 };

// A layer of the configuration, nested ones too, in order: a nested model before its layers.
struct pawl_keras_layer {
    char name[PAWL_KERAS_NAME_MAX];
    char class_name[64];
    char store[PAWL_KERAS_NAME_MAX];  // where .weights.h5 keeps it: "layers/dense_1"
    int parent;                       // the nested model that it is in, or -1
    int variable, variable_count;     // its own: [variable, variable + variable_count)
};

// A variable, in Keras' order within its layer (trainable ones first) and in Keras' shape.
struct pawl_keras_variable {
    int layer;
    bool trainable;
    char name[40];   // within the layer: "kernel", "query/kernel", "cell/recurrent_kernel"
    char store[40];  // within the layer's store: "vars/0", "query_dense/vars/0", "cell/vars/1"
    int rank;
    int64_t dim[PAWL_RANK_MAX];
};

struct pawl_keras {
    char name[PAWL_KERAS_NAME_MAX];
    bool sequential;
    struct pawl_keras_layer *layers;
    int layer_count, layer_room;
    struct pawl_keras_variable *variables;
    int variable_count, variable_room;
    struct pawl_architecture *architecture;  // checked; NULL: stop says why
    char stop[512];                          // "layer 'x' (Swirl): ..."
    struct pawl_bindings params;     // targets: parameters in order; sources: variables
    struct pawl_bindings values;     // targets: variables; sources: parameters
    char dtype[24];                  // the policy's: "float32", "mixed_bfloat16", ...
};

// PAWL_ECORRUPT with "WHAT: layer 'x': field: why" when the configuration contradicts itself.
int pawl_keras_read(struct pawl_keras *out, const json_t *config, const char *what);
void pawl_keras_free(struct pawl_keras *keras);

// The configuration of an architecture, for Keras 3 ("batch_shape", inbound_nodes with
// __keras_tensor__) or Keras 2 (keras2: "batch_input_shape", inbound_nodes as lists). Reading it
// back gives the same parameters in the same order. PAWL_ENOTSUP: which layer Keras has no
// builtin layer for.
int pawl_keras_write(json_t **out, const struct pawl_architecture *architecture, bool keras2);

// Sources of keras->params become weight_of[variable]: what a document binds its parameters with.
// keras->params is emptied.
int pawl_keras_bind(struct pawl_keras *keras, const int *weight_of, struct pawl_bindings **out);

// The optimizer and loss of a compile_config (Keras 3) or training_config (Keras 2): *optimizer
// {"kind", "learning_rate", ...} or NULL; loss: pawl's name or "". An optimizer that pawl does not
// know is kept by its class name.
int pawl_keras_compile_read(json_t **optimizer, char loss[32], const json_t *config);
// {"optimizer": {...}, "loss": ...} with Keras' words; *out NULL: no optimizer is known.
enum pawl_keras_file_kind { PAWL_KERAS_ARCHIVE, PAWL_KERAS_LEGACY, PAWL_KERAS2_LEGACY };
int pawl_keras_compile_write(json_t **out, const struct pawl_training *training, const char *loss,
                             enum pawl_keras_file_kind kind);

#endif
