// model.h - an architecture with memory: slabs of parameters, gradients and moments.
//
// All slabs share one table of tensors, so an offset found once is good in all. The order within a
// slab puts what weight decay applies to first, and sizes that are no multiple of 64 bytes last:
//
//     | decayed | not decayed | decayed, odd | not decayed, odd | state |
//       without gaps            each padded to 64 bytes with zeros that stay zero
//
// So an update is at most four calls, and the snapshot of a slab is one long piece and some crumbs.
// A model that computes in bfloat16 keeps these slabs in fp32 all the same, so that snapshots and
// moments are those of any run, and beside them `rounded`: the parameters as steps read them.
//
// State is what forward keeps and no optimizer touches (a batch norm's running statistics). It has
// no moments; in the gradient slab its place holds the next values, which the update takes over, so
// that parameters do not change during a forward pass (snapshot.h).
//
// Memory: everything is taken at open. Threads: one at a time.

#ifndef PAWL_MODEL_H
#define PAWL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/architecture.h"
#include "checkpoint/document.h"
#include "checkpoint/saver.h"
#include "kernels/device.h"

enum { PAWL_SEGMENTS = 4, PAWL_MOMENTS_MAX = 2 };

// Elements of a slab that one update call covers.
struct pawl_segment {
    int64_t start, count;  // in floats
    bool decay;
};

struct pawl_model {
    struct pawl_architecture architecture;  // own copy, checked
    struct pawl_device *device;
    struct pawl_tensor *tensors;  // in slab order
    int tensor_count;
    int trained_count;            // of them; the state's follow
    int (*param_of)[PAWL_PARAMS_MAX];  // [layer][i]: index of the layer's i-th parameter, or -1
    struct pawl_segment segment[PAWL_SEGMENTS];
    int64_t param_count;          // elements, without padding
    int64_t slab_floats;          // with it
    int64_t trained_floats;       // of them before the state
    enum pawl_dtype type;         // that steps compute in: PAWL_F32 or PAWL_BF16
    const struct pawl_ops *ops;   // the device's table of that type
    size_t value_bytes;           // of one element of it
    pawl_value *rounded;          // (slab_floats), of param; NULL in fp32
    bool stale;                   // param has changed and rounded has not: see pawl_model_round
    float *param;                 // slabs in device memory; NULL where not asked for
    float *grad;
    float *moment[PAWL_MOMENTS_MAX];
};

// Lays the architecture out and takes the parameters; the slabs for training come with train and
// moments (0 to 2). Parameters are zero until pawl_model_init or pawl_model_take. PAWL_ENOTSUP: the
// device does not compute in this type.
int pawl_model_open(struct pawl_model **out, const struct pawl_architecture *architecture,
                    struct pawl_device *device, enum pawl_dtype type, bool train, int moments);
void pawl_model_close(struct pawl_model *model);  // accepts NULL

// Draws the initial values that the layers' rows prescribe; depends on nothing but the seed.
int pawl_model_init(struct pawl_model *model, uint64_t seed);

// Verifies a document and copies its weights in, as its bindings say (checkpoint/binding.h).
// PAWL_ECORRUPT: what matches, is missing, is unexpected; nothing was changed.
int pawl_model_take(struct pawl_model *model, struct pawl_document *document);
// The same for its moments. PAWL_ENONE: it has none of them.
int pawl_model_take_moments(struct pawl_model *model, struct pawl_document *document,
                            enum pawl_optimizer kind);

// Hands parameters and moments to a saver, under their names.
int pawl_model_register(struct pawl_model *model, struct pawl_saver *saver,
                        enum pawl_optimizer kind);

// Queues the rounding of all parameters, if they were changed otherwise than by an update, which
// rounds what it writes. Plans ask it before they read; whoever writes to param sets `stale`.
void pawl_model_round(struct pawl_model *model, struct pawl_stream *stream);

// "fp32" or "bf16" as on the command line; NULL: fp32. PAWL_EINVAL names those there are.
int pawl_model_parse_type(enum pawl_dtype *out, const char *name);
const char *pawl_model_type_name(enum pawl_dtype type);

// The index of the tensor called name, or -1.
int pawl_model_find(const struct pawl_model *model, const char *name);

// A layer's i-th parameter, or its gradient.
static inline float *pawl_model_at(const struct pawl_model *model, float *slab, int tensor)
{
    return slab + model->tensors[tensor].offset_bytes / sizeof(float);
}

// A layer's i-th parameter as its operation reads it.
static inline const pawl_value *pawl_model_weight(const struct pawl_model *model, int tensor)
{
    const size_t at = model->tensors[tensor].offset_bytes / sizeof(float);

    return model->rounded ? (const char *)model->rounded + at * model->value_bytes
                          : (const void *)(model->param + at);
}

#endif
