// report.h - what a run tells: one stream of facts, for people or as JSON lines, and the picture.
//
// The trainer states facts; the report decides how they look. --json: one object per line on
// stdout through a bounded queue with its own thread (4,096 events; then it waits). A terminal: a
// progress line that is redrawn. Otherwise: plain lines. At the end: the lanes of compute, copy and
// persist, and the verdict. All of it, for people, goes to stdout too; problems go to stderr.
//
// Telling a fact copies it into a queue (0.1 us; see sink.h); a thread "pawl-report" does the rest.
// Memory: taken at open. Threads: one caller.

#ifndef PAWL_REPORT_H
#define PAWL_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/saver.h"

struct pawl_report;

struct pawl_report_options {
    bool json, quiet;
    int64_t log_every;  // steps between plain lines; 0: by time, about one a second
    const char *html, *trace, *tensorboard, *metrics;  // files to write, or NULL
    const char *events;       // a log of events that grows with every attempt, or NULL
};

struct pawl_report_start {
    const char *device;        // "host"
    const char *device_words;  // "AMD EPYC, avx2, 2 threads"
    const char *model;         // "gpt, 10.8 M parameters" for people
    const char *data;          // for people
    const char *io;            // "uring": how snapshots are written
    int ranks;
    int64_t params;
    uint64_t state_bytes, ring_bytes;
    int64_t resumed_from;  // step, or -1
    json_t *skipped;       // array of {"step","path","why"}, borrowed, or NULL
    uint64_t first_step, last_step;
    const char *unit;  // "tokens" or "samples"
    double units_per_step;
};

struct pawl_report_step {
    uint64_t step;
    double loss, rate_lr, grad_norm;  // grad_norm NaN: not computed
    int64_t start_ns, end_ns;         // of the whole step, clock of pawl_io()->now_ns
};

// PAWL_EIO: a file asked for cannot be made there.
int pawl_report_open(struct pawl_report **out, const struct pawl_report_options *options);
void pawl_report_start(struct pawl_report *report, const struct pawl_report_start *facts);
void pawl_report_step(struct pawl_report *report, const struct pawl_report_step *facts);
// accuracy 0 to 1, or NaN.
void pawl_report_eval(struct pawl_report *report, uint64_t step, double val_loss, double accuracy,
                      double seconds);
void pawl_report_save(struct pawl_report *report, const struct pawl_save_event *event);
void pawl_report_signal(struct pawl_report *report, uint64_t step, const char *name,
                        const char *action);
// How far the save on its way is, for the progress line. Cheap: call it as often as steps come.
void pawl_report_saving(struct pawl_report *report, uint64_t written_bytes, uint64_t total_bytes);
// One line for people on stderr, nothing in JSON ("fresh start: ...").
void pawl_report_note(struct pawl_report *report, const char *words);
// The done event with the save summary, or the picture and the verdict. status: the exit code.
void pawl_report_done(struct pawl_report *report, uint64_t step, double loss, double seconds,
                      int status);
// Writes the files asked for. PAWL_EIO: one of them could not be written. Accepts NULL.
int pawl_report_close(struct pawl_report *report);

#endif
