// bench.c - pawl bench: chooses what to measure, and opens what is measured.

#include "runtime/cli/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "checkpoint/source.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/storage.h"
#include "runtime/cli/verbs.h"

// One row per question.
static const struct {
    const char *name;
    int (*run)(const struct pawl_options *options);
} questions[] = {
    { "step", bench_step },
    { "save", bench_save },
    { "restore", bench_restore },
};
enum { QUESTIONS = sizeof(questions) / sizeof(questions[0]) };

int pawl_verb_bench(const struct pawl_options *options)
{
    const int rc = storage_choose(options);
    if (rc) return pawl_exit_telling(rc);
    for (int i = 0; i < QUESTIONS; i++)
        if (!strcmp(questions[i].name, options->arguments[0])) return questions[i].run(options);
    pawl_fail(PAWL_EINVAL, "bench %.32s is unknown; known: step save restore",
              options->arguments[0]);
    return pawl_exit_telling(PAWL_EINVAL);
}

int bench_open(struct bench *bench, const struct pawl_options *options, const char *model)
{
    bench->model = model;
    int rc = pawl_source_open(&bench->document, bench->model, NULL);

    if (!rc && !bench->document->architecture)
        rc = pawl_fail(PAWL_EINVAL, "%s holds no architecture to measure", bench->model);
    enum pawl_dtype type = PAWL_F32;
    if (!rc) rc = pawl_model_parse_type(&type, options->dtype);
    if (!rc)
        rc = pawl_device_open(&bench->device, options->device ? options->device : "auto",
                              options->threads < 0 ? 0 : (int)options->threads);
    if (rc) return rc;
    const struct pawl_layer *input = &bench->document->architecture->layers[0];
    const bool tokens = input->in.tokens;
    bench->batch = options->batch > 0 ? options->batch : tokens ? 8 : 64;
    bench->sequence = !tokens ? 0 : options->seq > 0 ? options->seq : input->in.shape.dim[0];
    const struct pawl_trainer_options settings = {
        .batch = bench->batch, .accumulate = 1, .sequence = bench->sequence, .seed = 1,
        .rule = { .kind = PAWL_ADAMW, .rate = 1e-4, .beta_1 = 0.9, .beta_2 = 0.999,
                  .epsilon = 1e-8, .decay = 0.01 },
        .steps = 1000000000, .loss = PAWL_CROSS_ENTROPY, .type = type,
    };
    rc = pawl_trainer_open(&bench->trainer, bench->document->architecture, bench->device,
                           &settings);
    if (!rc) rc = pawl_model_init(pawl_trainer_model(bench->trainer), 1);
    return rc;
}

void bench_close(struct bench *bench)
{
    pawl_trainer_close(bench->trainer);
    pawl_device_close(bench->device);
    pawl_document_free(bench->document);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void bench_sort(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof(*values), ascending);
}

double bench_quantile(const double *sorted, int64_t count, double p)
{
    int64_t rank = (int64_t)ceil(p * (double)count) - 1;

    if (count == 0) return NAN;
    if (rank < 0) rank = 0;
    return sorted[rank < count ? rank : count - 1];
}

uint64_t bench_peak_rss_bytes(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}
