// trainer.h - steps: data, forward, backward, update, and the snapshot in passing.
//
//     pawl_trainer_open(&trainer, architecture, device, &options);
//     pawl_trainer_register(trainer, saver);
//     pawl_saver_load(saver, stream, &progress) || pawl_trainer_restore(trainer, &progress);
//     while (...) {
//         pawl_trainer_step(trainer, saver, &result);
//         pawl_trainer_progress(trainer, &progress);
//         pawl_saver_save(saver, stream, &progress);
//     }
//
// Memory: everything is taken at open. Threads: one caller.

#ifndef PAWL_TRAINER_H
#define PAWL_TRAINER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/saver.h"
#include "runtime/data/data.h"
#include "runtime/plan.h"
#include "runtime/schedule.h"

struct pawl_trainer;

struct pawl_trainer_options {
    struct pawl_data *data;         // borrowed; NULL: constant made-up batches, for measuring
    int64_t batch;                  // samples per step
    int64_t accumulate;             // micro-batches that make up a batch; divides it
    int64_t sequence;               // tokens per sample; 0: the model's context
    uint64_t seed;                  // initial weights, dropout
    struct pawl_update rule;        // rate is the base rate; step and grad_scale are ignored
    struct pawl_schedule schedule;
    uint64_t steps;                 // what the schedule ends at
    enum pawl_loss loss;
    enum pawl_dtype type;           // what steps compute in: PAWL_F32 or PAWL_BF16
    bool decay_all;                 // weight decay of biases and norms, too, as files may have it
    double clip;                    // largest gradient norm; 0: none
    bool (*stop)(void);             // NULL, or asked between an evaluation's batches: end it
};

struct pawl_step_result {
    double loss;       // mean over the batch's rows
    double rate;       // the learning rate used
    double grad_norm;  // before clipping; NaN when there is no clipping
    int64_t update_start_ns;  // forward and backward were done then
    int64_t update_cpu_ns;    // CPU time that the process took from then on
};

// PAWL_EINVAL: options that make no sense together. PAWL_ECORRUPT: data that the model cannot take.
int pawl_trainer_open(struct pawl_trainer **out, const struct pawl_architecture *architecture,
                      struct pawl_device *device, const struct pawl_trainer_options *options);
void pawl_trainer_close(struct pawl_trainer *trainer);  // accepts NULL

// Whether data can be learnt (or validated on) with this model. PAWL_ECORRUPT says what does not
// fit: shapes, labels, tokens. pawl_trainer_open asks it for its own data.
int pawl_trainer_fit(const struct pawl_trainer *trainer, struct pawl_data *data);

struct pawl_model *pawl_trainer_model(struct pawl_trainer *trainer);
struct pawl_plan *pawl_trainer_plan(struct pawl_trainer *trainer);
struct pawl_stream *pawl_trainer_stream(struct pawl_trainer *trainer);
uint64_t pawl_trainer_step_number(const struct pawl_trainer *trainer);  // updates done
uint64_t pawl_trainer_samples(const struct pawl_trainer *trainer);      // samples consumed
int pawl_trainer_register(struct pawl_trainer *trainer, struct pawl_saver *saver);

// One step. saver may be NULL. PAWL_ECORRUPT: the loss is not finite; nothing was updated.
// PAWL_EIO: data could not be read; nothing was updated.
int pawl_trainer_step(struct pawl_trainer *trainer, struct pawl_saver *saver,
                      struct pawl_step_result *result);

// Whether all weights are finite: a snapshot of others could never be gone on from.
bool pawl_trainer_finite(struct pawl_trainer *trainer);

// Mean loss and share of hits over at most max_batches batches of data (0: all); a last batch that
// is not full is filled with samples that do not count. accuracy NaN where the loss has no hits.
// PAWL_EBUSY: options.stop said so, nothing was set.
int pawl_trainer_evaluate(struct pawl_trainer *trainer, struct pawl_data *data,
                          uint64_t max_batches, double *loss, double *accuracy);

// Where the run stands, for a save. Strings live until the next call.
void pawl_trainer_progress(struct pawl_trainer *trainer, struct pawl_progress *progress);
// Goes on from there. PAWL_ECORRUPT: the data has changed, or the snapshot's training state makes
// no sense. PAWL_EINVAL: seed or optimizer differ from the run's.
int pawl_trainer_restore(struct pawl_trainer *trainer, const struct pawl_progress *progress);
// What is asked for now and was not when the snapshot was taken ("learning_rate 0.001 -> 0.01,
// batch 8 -> 16"), for people; "" when nothing is. training: as in pawl_progress.
const char *pawl_trainer_changes(char *text, size_t text_bytes, const struct pawl_trainer *trainer,
                                 const char *training);
double pawl_trainer_loss(const struct pawl_trainer *trainer);  // of the last step; NaN: unknown
// Goes on from a document's step count instead (weights and moments taken by pawl_model_take).
void pawl_trainer_continue_at(struct pawl_trainer *trainer, uint64_t step);

const char *pawl_optimizer_name(enum pawl_optimizer kind);  // "adamw"
int pawl_optimizer_parse(enum pawl_optimizer *out, const char *name);

#endif
