// bench.h - what the bench verbs share.

#ifndef PAWL_CLI_BENCH_H
#define PAWL_CLI_BENCH_H

#include <stdint.h>

#include "checkpoint/document.h"
#include "runtime/cli/flags.h"
#include "runtime/trainer.h"

// A model from a preset or file, in training on made-up batches.
struct bench {
    struct pawl_document *document;
    struct pawl_device *device;
    struct pawl_trainer *trainer;
    const char *model;
    int64_t batch, sequence;
};

int bench_open(struct bench *bench, const struct pawl_options *options);
void bench_close(struct bench *bench);

// Ascending order; the p-quantile (0 to 1) of sorted values by the nearest rank.
void bench_sort(double *values, int64_t count);
double bench_quantile(const double *sorted, int64_t count, double p);

// The process's largest resident memory so far.
uint64_t bench_peak_rss_bytes(void);

int bench_step(const struct pawl_options *options);     // bench_step.c
int bench_save(const struct pawl_options *options);     // bench_save.c
int bench_restore(const struct pawl_options *options);  // bench_save.c

#endif
