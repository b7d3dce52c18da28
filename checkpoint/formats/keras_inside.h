// keras_inside.h - what the files of the Keras configuration share. Private to formats/keras*.c.
//
//     keras_config.c    models: nesting, the order of layers, names of stores
//     keras_graph.c     what feeds a layer
//     keras_build.c     appending pawl's layers; words
//     keras_layers.c    the closed table of classes, simple layers
//     keras_weighted.c  layers with variables: kernels, norms
//     keras_sequence.c  recurrent layers, attention
//     keras_tie.c       variables and parameters, bound both ways
//     keras_write.c     an architecture as a configuration
//     keras_compile.c   optimizers and losses

#ifndef PAWL_KERAS_INSIDE_H
#define PAWL_KERAS_INSIDE_H

#include "checkpoint/formats/keras_config.h"

enum { PAWL_KERAS_NODES_MAX = 4096 };

// One layer while it is turned into pawl's kinds.
struct pawl_keras_build {
    struct pawl_keras *out;
    struct pawl_architecture *made;
    const char *what;          // the file, for words
    const json_t *config;      // the layer's own
    const char *class_name;
    const char *prefix;        // "outer." in a nested model
    int layer;                 // index in out->layers
    int inputs[PAWL_INPUTS_MAX], input_count;  // pawl layers that feed it
    bool causal;               // called with use_causal_mask
    bool keras2;
    int last;                  // the pawl layer that gives its output, once one was added
};

// PAWL_ECORRUPT: "WHAT: layer 'x' (Class): words".
int pawl_keras_fail(const struct pawl_keras_build *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Sets out->stop (the first one stays) and returns PAWL_ENOTSUP: the layer cannot be computed.
int pawl_keras_stop(const struct pawl_keras_build *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Fields of the configuration; an absent one leaves *out as it is.
int pawl_keras_count(const struct pawl_keras_build *b, const char *field, int64_t *out);
int pawl_keras_pair(const struct pawl_keras_build *b, const char *field, int64_t out[2]);
int pawl_keras_bool(const struct pawl_keras_build *b, const char *field, bool *out);
int pawl_keras_real(const struct pawl_keras_build *b, const char *field, double *out);
const char *pawl_keras_text(const struct pawl_keras_build *b, const char *field);  // or NULL
// An activation, with its slope where it has one (0: pawl's own default).
int pawl_keras_activation(const struct pawl_keras_build *b, const char *field,
                          enum pawl_activation *out, double *alpha);

// Appends a pawl layer called PREFIX NAME [.SUFFIX], fed by b->inputs, or by the last one when the
// layer has one already. pawl_keras_done() checks its fields and makes its shape.
int pawl_keras_add(struct pawl_keras_build *b, enum pawl_layer_kind kind, const char *suffix,
                   struct pawl_layer **out);
int pawl_keras_done(struct pawl_keras_build *b);
// A layer of its own for an activation that the layer before cannot take.
int pawl_keras_activate(struct pawl_keras_build *b, const char *suffix,
                        enum pawl_activation activation, double alpha);
const struct pawl_shape *pawl_keras_shape(const struct pawl_keras_build *b, int input);

// A variable and how it lies: axis i of the parameter is axis[i] of the variable seen as view.
struct pawl_keras_tie {
    const char *name, *store;
    bool state;       // not trained
    int rank;         // the variable's own shape
    int64_t dim[PAWL_RANK_MAX];
    int view_rank;    // 0: as it lies
    int64_t view[PAWL_RANK_MAX];
    int axis[PAWL_RANK_MAX];
};

// The variable is parameter `param` of the last pawl layer (params are tied in order).
int pawl_keras_tie(struct pawl_keras_build *b, int param, const struct pawl_keras_tie *tie);
// Appends the target for parameter `param` of the last pawl layer, without parts.
int pawl_keras_param(struct pawl_keras_build *b, int param);
// Appends a variable and its target, without parts.
int pawl_keras_variable(struct pawl_keras_build *b, const struct pawl_keras_tie *tie);

typedef int pawl_keras_builder(struct pawl_keras_build *b);

// The builder of a class, or NULL. stop: a class that pawl knows and will not compute, and why.
pawl_keras_builder *pawl_keras_class(const char *class_name, const char **stop);

pawl_keras_builder pawl_keras_dense, pawl_keras_conv1d, pawl_keras_conv2d,
    pawl_keras_depthwise2d, pawl_keras_transpose1d, pawl_keras_transpose2d,
    pawl_keras_separable2d, pawl_keras_batch_norm, pawl_keras_layer_norm, pawl_keras_group_norm,
    pawl_keras_rms_norm, pawl_keras_embedding, pawl_keras_lstm, pawl_keras_gru,
    pawl_keras_simple_rnn, pawl_keras_attention, pawl_keras_prelu;

// The rows and columns that a transposed convolution has more at its end.
void pawl_keras_extra(const struct pawl_layer *layer, int64_t extra[2]);
// Activations by Keras' names; NULL: none of that.
const char *pawl_keras_activation_name(enum pawl_activation activation);
// The class name as Keras spells it in stores: Conv2DTranspose -> conv2d_transpose.
void pawl_keras_snake(char *out, size_t size, const char *class_name);

#endif
