// history.h - what a run was, in bounded memory, and the summary of its saves.
//
//     all steps  -> buckets: each some consecutive steps; when all are used, pairs are joined
//     new steps  -> recent: the last 1,024 one by one, for the picture, and until it is known
//                   whether a save was on its way beside them (its events come a little later)
//     saves      -> the last 512, and totals of all
//
// A step "beside a save" overlaps the time from asking for it to its being durable. Extra time is
// measured over periods (from the end of the step before to the end of this one, less evaluation),
// so that a save that holds the loop between two steps counts as well.
//
// Memory: taken at open, about 1.5 MB. Threads: one at a time.

#ifndef PAWL_HISTORY_H
#define PAWL_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/saver.h"
#include "runtime/report/report.h"

enum { PAWL_RECENT_STEPS = 1024, PAWL_RECENT_SAVES = 512, PAWL_EVALS_MAX = 512 };

// Some consecutive steps.
struct pawl_bucket {
    uint64_t first_step;
    int64_t steps;
    int64_t start_ns, end_ns;
    int64_t busy_ns;  // sum of the steps' times
    int64_t longest_ns;
    double loss, lr, grad_norm;  // means of those that are numbers; NaN: none is
};

struct pawl_recent_step {
    uint64_t step;
    int64_t before_ns;  // when its period began
    int64_t start_ns, end_ns;
    int64_t other_ns;  // evaluation within the period
};

struct pawl_save_record {
    uint64_t step;
    enum pawl_save_state state;
    uint64_t bytes;
    int64_t asked_ns, copy_start_ns, copy_end_ns, write_start_ns, write_end_ns;
    int64_t stall_ns, end_ns;  // end: durable or failed; 0: still on its way
    bool followed;             // a step ran after it was asked for
    char error[160];
};

struct pawl_eval_record {
    uint64_t step;
    int64_t at_ns;
    double loss, accuracy;
};

// Every stride-th value of a row; exact while there are no more than fit.
struct pawl_sample {
    double *values;
    int64_t count, seen, stride;
};

struct pawl_history {
    struct pawl_bucket *buckets;
    int64_t bucket_count, bucket_room, bucket_steps;  // bucket_steps: how many a full one holds
    struct pawl_recent_step *recent;
    int64_t step_count;  // the last min(count, 1024) are in recent
    struct pawl_save_record *saves;
    int64_t save_count;  // the last min(count, 512) are in saves
    struct pawl_eval_record *evals;
    int64_t eval_count, eval_seen, eval_stride;
    int64_t durable_count, failed_count, skipped_count, followed_count;
    uint64_t newest_durable, durable_bytes;
    int64_t durable_ns;  // their writing, summed
    int64_t last_end_ns, other_ns;
    struct pawl_sample stall_ms, plain_ms, saving_ms, plain_period_ms;
    double longest_stall_ms;  // NaN: no save yet
    uint64_t longest_stall_step;
    double saving_period_ms;  // sum over periods beside a save
    int64_t saving_periods;
    double *scratch;
};

// NaN where nothing was seen.
struct pawl_save_summary {
    int64_t count;  // durable ones
    double stall_ms_p50, stall_ms_max;
    double step_ms_p50, step_ms_p50_while_saving;  // without and beside a save
    double extra_steps_per_save;
};

// long_memory: 65,536 buckets instead of 4,096 (for a trace).
int pawl_history_open(struct pawl_history *out, bool long_memory);
void pawl_history_close(struct pawl_history *history);

void pawl_history_step(struct pawl_history *history, const struct pawl_report_step *facts);
void pawl_history_save(struct pawl_history *history, const struct pawl_save_event *event);
void pawl_history_eval(struct pawl_history *history, const struct pawl_eval_record *eval,
                       double seconds);

// The i-th of the recent ones, oldest first; how many there are.
int64_t pawl_history_recent(const struct pawl_history *history);
const struct pawl_recent_step *pawl_history_recent_step(const struct pawl_history *history,
                                                        int64_t i);
int64_t pawl_history_saves(const struct pawl_history *history);
const struct pawl_save_record *pawl_history_save_at(const struct pawl_history *history, int64_t i);

void pawl_history_summary(const struct pawl_history *history, struct pawl_save_summary *out);

#endif
