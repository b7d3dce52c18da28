// keras_save_inside.h - a Keras file while it is planned and written. Private to keras_save*.c.

#ifndef PAWL_KERAS_SAVE_INSIDE_H
#define PAWL_KERAS_SAVE_INSIDE_H

#include "checkpoint/binding.h"
#include "checkpoint/containers/hdf5_write.h"
#include "checkpoint/containers/zip.h"
#include "checkpoint/formats/keras_config.h"

// What a dataset's bytes are.
struct pawl_keras_payload {
    int variable;      // of keras->variables; -1: a number
    const char *slot;  // NULL: the weight itself
    double scale;      // of a moment
    int64_t whole;     // the number: the iteration,
    float rate;        // or the rate
};

struct pawl_keras_file {
    struct pawl_document document;  // a shallow copy, whose momentum may be taken unscaled
    struct pawl_training training;
    const struct pawl_write_options *options;
    const char *path;
    bool keras2, legacy;
    json_t *config, *compile;
    struct pawl_keras keras;
    struct pawl_hdf5_out out;
    struct pawl_keras_payload *payloads;
    int payload_count;
    double momentum;  // what Keras' momentum is of PyTorch's; 0: there is none to write
    // where bytes go
    int fd;
    uint64_t at;
    struct pawl_zip_writer *zip;
};

// Appends a dataset and what its bytes will be.
int pawl_keras_add_payload(struct pawl_keras_file *s, int parent, const char *name,
                           struct pawl_tensor *tensor, const struct pawl_keras_payload *payload);
int pawl_keras_add_variable(struct pawl_keras_file *s, int parent, const char *name, int v,
                            const struct pawl_keras_payload *payload);
// The last part of a path; the rest goes into group.
const char *pawl_keras_leaf(const char *path, char *group, size_t size);
// How Keras' momentum is made of the document's (keras_save_state.c).
void pawl_keras_plan_momentum(struct pawl_keras_file *s);
// The optimizer's variables. names: collects a legacy file's weight_names; NULL: version 3.
int pawl_keras_add_optimizer(struct pawl_keras_file *s, json_t *names);

#endif
