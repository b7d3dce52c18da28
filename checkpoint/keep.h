// keep.h - which snapshots to keep: "latest=3,every=1000,best=2:val_loss:min".
//
// A snapshot stays when any rule wants it: one of the newest, a step that is a multiple, or one
// of the best by the metric that pawl_progress.metric carries. The two newest durable ones and
// pinned ones always stay. Threads: any.

#ifndef PAWL_KEEP_H
#define PAWL_KEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/run.h"

struct pawl_keep {
    int latest;      // at least 2
    uint64_t every;  // 0: no such rule
    int best;        // 0: no such rule
    char name[64];   // of the metric
    bool max;        // best is the largest
};

// NULL and "" mean "latest=3"; a rule without latest keeps the newest 2.
// PAWL_EINVAL: which word is wrong and what is known; latest=1, with the reason.
PAWL_API int pawl_keep_parse(struct pawl_keep *out, const char *rule);

// marks[i]: whether no rule wants snapshot i of the run. Only durable ones are ever marked.
void pawl_keep_mark(const struct pawl_keep *keep, const struct pawl_run *run, bool *marks);

#endif
