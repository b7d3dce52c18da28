// upload.h - how host code writes a model's tensors, wherever their memory is.
//
//     pawl_upload_open(&upload, model);
//     for each tensor: fill(pawl_upload_at(&upload, slab, tensor)); pawl_upload_send(&upload);
//     rc = pawl_upload_close(&upload);
//
// On the host device that is the slab itself and nothing is copied; elsewhere it is page-locked
// memory with room for one tensor, so each send waits. For opening a run, not for its steps.

#ifndef PAWL_UPLOAD_H
#define PAWL_UPLOAD_H

#include "runtime/model.h"

struct pawl_upload {
    const struct pawl_model *model;
    struct pawl_stream *stream;  // NULL on the host device
    void *staging;
    size_t room_bytes;
    float *to;                   // of the tensor at hand
    size_t bytes;
};

int pawl_upload_open(struct pawl_upload *upload, const struct pawl_model *model);
// Where to write the values of a tensor, all of them, before the next send.
void *pawl_upload_at(struct pawl_upload *upload, float *slab, int tensor);
int pawl_upload_send(struct pawl_upload *upload);
void pawl_upload_close(struct pawl_upload *upload);  // accepts one that failed to open

#endif
