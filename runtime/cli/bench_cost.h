// bench_cost.h - figures that say something on a noisy machine: CPU time instead of time, what
// others took meanwhile, and an interval instead of a mean.

#ifndef PAWL_CLI_BENCH_COST_H
#define PAWL_CLI_BENCH_COST_H

#include <stdint.h>

// What the cores have done so far, in ticks of /proc/stat (all 0 where there is none), and
// what this process has.
struct bench_cores {
    int64_t all, busy, steal;  // busy: without steal
    int64_t own_ns;
};
struct bench_cores bench_cores(void);

// Shares of all cores' time between two of them: taken by the hypervisor, and by other processes
// and the kernel's own threads. NaN: unknown.
struct bench_shares {
    double steal, others;
};
struct bench_shares bench_shares(const struct bench_cores *from, const struct bench_cores *to);

// The Hodges-Lehmann estimate of the middle of paired differences, with the interval that the
// signed-rank test gives: the median of the means of every two values (Hodges and Lehmann 1963).
// It asks only that they scatter symmetrically. confidence: how sure the interval is; 0.95 or a
// little more, less for fewer than 6 values.
struct bench_paired {
    double estimate, low, high, confidence;
};
int bench_paired(struct bench_paired *out, const double *values, int64_t count);

#endif
