// infer.h - a document's model ready to compute: device, weights, forward plans by length.

#ifndef PAWL_INFER_H
#define PAWL_INFER_H

#include <stdint.h>

#include "checkpoint/document.h"
#include "runtime/plan.h"

struct pawl_infer;

struct pawl_infer_options {
    const char *device;  // as in device.h
    int threads;
    int64_t batch;       // samples at once
    const char *dtype;   // to compute in: "fp32", "bf16", or NULL: fp32
};

// PAWL_EINVAL: the document has no architecture or no weights. PAWL_ECORRUPT: they do not fit.
int pawl_infer_open(struct pawl_infer **out, struct pawl_document *document,
                    const struct pawl_infer_options *options);
void pawl_infer_close(struct pawl_infer *infer);  // accepts NULL
const struct pawl_architecture *pawl_infer_architecture(const struct pawl_infer *infer);

// Runs up to batch samples of `sequence` positions each (0: the model's own shape) from x, as
// data.h lays them out; *out (rows, cols), in host memory, lives until the next call.
int pawl_infer_run(struct pawl_infer *infer, const void *x, int64_t samples, int64_t sequence,
                   const float **out, int64_t *rows, int64_t *cols);

// The next token after `length` tokens, drawn with Philox(seed, index) at a temperature; 0 takes
// the likeliest. Only the model's last `context` tokens count. Never above `limit` - 1.
int pawl_infer_next(struct pawl_infer *infer, const int32_t *tokens, int64_t length, uint64_t seed,
                    double temperature, int64_t limit, int32_t *out);

#endif
