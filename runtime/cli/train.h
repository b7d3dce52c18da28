// train.h - what the files of the train verb share: everything a run holds open.

#ifndef PAWL_CLI_TRAIN_H
#define PAWL_CLI_TRAIN_H

#include "checkpoint/document.h"
#include "checkpoint/saver.h"
#include "runtime/cli/flags.h"
#include "runtime/report/report.h"
#include "runtime/trainer.h"

struct train {
    const struct pawl_options *options;
    struct pawl_document *model;     // what MODEL names
    struct pawl_device *device;
    struct pawl_data *data, *val;    // val NULL: no validation
    struct pawl_trainer *trainer;
    struct pawl_saver *saver;        // NULL: --save-mode off
    struct pawl_report *report;
    char events_path[4096];          // RUN/events.jsonl, or ""
    char *architecture_json, *metadata_json;
    struct pawl_trainer_options settings;

    uint64_t steps;                  // the total
    uint64_t first_step;             // where this process began
    int64_t resumed_from;            // or -1
    int64_t start_ns;
    struct pawl_every save_every;
    int64_t saved_ns;                // when the last save was asked for
    bool has_saved;                  // a snapshot of saved_step was asked for, or resumed from
    uint64_t saved_step;
    double val_loss;                 // of step val_step
    uint64_t val_step;
    struct pawl_step_result last;
    double step_s, save_s;           // the longest so far: what a signal's grace must hold
    double told_grace_s;             // as it was told last
    int64_t forward_ns;              // of the last step: forward and backward
};

// train_open.c: everything up to the first step. 0 or a PAWL_E code; *status is the exit code then.
int train_open(struct train *run, int *status);
// Returns the failure of a file that was asked for (--report, --trace, ...), having told it.
int train_close(struct train *run);

// train.c: the path of --export PATH[=FORMAT]; returns FORMAT or NULL.
const char *train_export_path(char path[4096], const char *text);

// train_resume.c: fills the trainer from the run directory, a path, or MODEL.
int train_resume(struct train *run, int *status);

// train_loop.c: steps, saves, validation, signals. Returns the exit code.
int train_loop(struct train *run);

#endif
