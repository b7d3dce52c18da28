// keras_walk.h - a model while it is walked. Private to keras_config.c and keras_graph.c.

#ifndef PAWL_KERAS_WALK_H
#define PAWL_KERAS_WALK_H

#include "checkpoint/formats/keras_inside.h"

enum { PAWL_KERAS_DEPTH_MAX = 8 };

// One model of those that lie in one another.
struct pawl_keras_level {
    const json_t *layers;  // configurations
    bool sequential;
    int model;             // index in out->layers, or -1: the outermost
    int first, count;      // its layers in out->layers
    int left;              // not built yet
    char prefix[PAWL_KERAS_NAME_MAX];
    int inputs[PAWL_INPUTS_MAX], input_count;  // what feeds it, from outside
    int previous;          // sequential: the layer before, in pawl's
    int next_input;
    const json_t *config;
};

struct pawl_keras_walk {
    struct pawl_keras *out;
    struct pawl_architecture *made;
    const char *what;
    bool keras2;
    int *built;  // per out->layers: the pawl layer with its output, -1: not yet
    int built_room;
    struct pawl_keras_level level[PAWL_KERAS_DEPTH_MAX];
    int depth;
};

// The index in out->layers of a layer of the level, or -1.
int pawl_keras_find_layer(const struct pawl_keras_walk *r, const struct pawl_keras_level *level,
                          const char *name);
// The inputs of a layer; *ready false: one of them was not built yet.
int pawl_keras_find_inputs(struct pawl_keras_walk *r, struct pawl_keras_build *b,
                           const json_t *config, bool *ready);
// An InputLayer.
int pawl_keras_input_layer(struct pawl_keras_walk *r, struct pawl_keras_build *b);
// A sequential model that begins without one says its input shape somewhere else.
int pawl_keras_implied_input(struct pawl_keras_walk *r, struct pawl_keras_build *b,
                             const json_t *config);

#endif
