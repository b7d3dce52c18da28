// trainer_inside.h - what trainer.c and trainer_state.c share. Nobody else includes it.

#ifndef PAWL_TRAINER_INSIDE_H
#define PAWL_TRAINER_INSIDE_H

#include "runtime/trainer.h"

enum { TRAINING_CHANGING_BYTES = 256 };  // the part of the training state that each step changes

struct pawl_trainer {
    struct pawl_trainer_options options;
    struct pawl_device *device;
    struct pawl_model *model;
    struct pawl_plan *plan;
    struct pawl_stream *stream;
    int64_t micro;        // samples per micro-batch
    void *x, *y;          // where data.h writes a micro-batch
    bool staged;          // they are page-locked memory of our own, not the plan's
    size_t x_bytes, y_bytes;
    float *norm;          // (1), device memory
    float *told;          // (2, rows), host: losses and hits of an evaluation; NULL on the host
    size_t told_bytes;
    uint64_t step, samples;
    double loss;          // of the last step; NaN before the first
    char *constant_text;  // JSON: what no step changes, "{...": open at its end
    char *training_text;  // the whole, made for each save
    size_t text_bytes;
};

// trainer_state.c: prepares the two texts.
int trainer_describe(struct pawl_trainer *trainer);

#endif
