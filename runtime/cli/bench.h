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

int bench_open(struct bench *bench, const struct pawl_options *options, const char *model);
void bench_close(struct bench *bench);

// Ascending order; the p-quantile (0 to 1) of sorted values by the nearest rank.
void bench_sort(double *values, int64_t count);
double bench_quantile(const double *sorted, int64_t count, double p);

// Of values, which are sorted on the way.
struct bench_stat {
    double mean, sd, p50, p99, max;
};
struct bench_stat bench_stat(double *values, int64_t count);

// The models to measure: each argument after the first, with a range in it (mlp:784-64..256-10: 64,
// 128, 256; 2..8+3: 2, 5, 8) once per value; gpt-small when there is none. Calls each until one
// returns another exit code than 0, which it returns.
int bench_models(const struct pawl_options *options,
                 int (*each)(const struct pawl_options *options, const char *model));

// One figure of a row: a name with its unit, and a number or (words not NULL) words.
struct bench_figure {
    const char *name, *words;
    double value;
    int digits;  // significant
};
// A row of a table in md or csv; the first one with its head.
void bench_row(const struct pawl_options *options, const struct bench_figure *figures, int count);
bool bench_as_json(const struct pawl_options *options);
bool bench_as_rows(const struct pawl_options *options);

// The process's largest resident memory so far.
uint64_t bench_peak_rss_bytes(void);

int bench_step(const struct pawl_options *options);     // bench_step.c
int bench_save(const struct pawl_options *options);     // bench_save.c
int bench_restore(const struct pawl_options *options);  // bench_restore.c

#endif
