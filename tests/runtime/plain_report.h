// plain_report.h - a made-up run, told to a report: for its tests, and to look at.

#ifndef PAWL_PLAIN_REPORT_H
#define PAWL_PLAIN_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/report/report.h"

struct script {
    int64_t steps, every, fail_at;
    double ms, save_ms, stall_ms;
    bool real, quiet_end;
    int status;
    struct pawl_report_options options;
};

// 200 steps of 20 ms, a save of 400 ms every 50 steps, times only told.
struct script script_default(void);
// Tells the whole run and returns its exit code, 73 and 74 for a report that fails.
int script_run(const struct script *script);
// The loss that step i is told to have.
double script_loss(int64_t i);

#endif
