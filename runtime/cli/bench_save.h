// bench_save.h - what pawl bench save measures (bench_save.c) and what comes of it
// (bench_save_tell.c).

#ifndef PAWL_CLI_BENCH_SAVE_H
#define PAWL_CLI_BENCH_SAVE_H

#include "checkpoint/saver.h"
#include "runtime/cli/bench.h"
#include "runtime/cli/bench_cost.h"

enum { WINDOWS_MAX = 1000 };

struct window {
    int64_t steps;
    double total_ms, worst_ms, cpu_ms;  // cpu: of the process
    struct bench_cores cores;           // at its start
    struct bench_shares shares;
    // Save windows; update_cpu: of the update that takes the snapshot, saver: at its start.
    double stall_ms, fence_ms, durable_s, written_s, update_cpu_ms;
    struct pawl_saver_cpu saver;
    double rate;                        // windows beside a raw write: its bytes per second
};

struct save_bench {
    struct bench bench;
    struct pawl_saver *saver;
    char where[4096];
    int64_t pairs, window_steps;
    // pairs + 1 each: the first pair holds the first save. beside: a raw write goes on.
    struct window *plain, *save, *beside;
    double *step_ms, *update_cpu_ms;    // of all steps in plain windows
    int64_t step_count;
    double *raw[2];                     // by depth 1 and DEEP, in turn
    int64_t raw_count[2];
    double copy_s;                      // one copy of the state
    double before_rss, with_rss;        // most resident before the saver took memory, after a save
    struct pawl_saver_cpu saver_end;    // after the last window
};

struct save_figures {
    struct bench_stat extra, disk, noise, stall, fence, durable;
    struct bench_paired paired, over_disk;  // extra; extra - disk, pair by pair
    double worst, plain_worst, base, rate, raw, beside, first, memory, predicted_ms;
    // CPU time, medians: of a step without saves; of a save in the trainer's update, and in the
    // saver's threads; all of a save over a step's.
    double step_cpu_ms, passing_ms, copy_ms, sums_ms, write_ms, commit_ms, keep_ms, cpu_steps;
    struct bench_shares saving, without;    // means over the windows
};

int bench_save_sum_up(struct save_bench *b, struct save_figures *out);
void bench_save_tell(const struct pawl_options *options, const struct save_bench *b,
                     const struct save_figures *f);

#endif
