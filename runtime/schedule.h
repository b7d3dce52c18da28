// schedule.h - the learning rate of each step: "constant|cosine|linear[,warmup=N,min=F]".

#ifndef PAWL_SCHEDULE_H
#define PAWL_SCHEDULE_H

#include <stdint.h>

#include "kernels/error.h"

enum pawl_schedule_kind { PAWL_CONSTANT, PAWL_COSINE, PAWL_LINEAR_DECAY };

struct pawl_schedule {
    enum pawl_schedule_kind kind;
    uint64_t warmup;  // steps in which the rate rises linearly from 0
    double minimum;   // what cosine and linear end at, as a fraction of the base rate
};

// NULL: constant. PAWL_EINVAL says what is wrong.
int pawl_schedule_parse(struct pawl_schedule *out, const char *text);
const char *pawl_schedule_name(enum pawl_schedule_kind kind);

// The factor of the base rate in the step that makes step number `step` (from 1) of `total`.
double pawl_schedule_at(const struct pawl_schedule *schedule, uint64_t step, uint64_t total);

#endif
