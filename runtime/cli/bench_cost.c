// bench_cost.c - see bench_cost.h.

#include "runtime/cli/bench_cost.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "kernels/thread.h"
#include "runtime/cli/bench.h"

enum { EXACT_MAX = 100 };

struct bench_cores bench_cores(void)
{
    struct bench_cores out = { .own_ns = pawl_process_cpu_ns() };
    // user, nice, system, idle, iowait, irq, softirq, steal
    long long t[8] = { 0 };
    char text[256] = { 0 };
    const int fd = pawl_io()->open("/proc/stat", O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0) return out;
    if (pawl_io()->pread(fd, text, sizeof(text) - 1, 0) > 0
        && sscanf(text, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &t[0], &t[1], &t[2], &t[3],
                  &t[4], &t[5], &t[6], &t[7]) == 8) {
        out.busy = t[0] + t[1] + t[2] + t[5] + t[6];
        out.steal = t[7];
        out.all = out.busy + t[3] + t[4] + t[7];
    }
    pawl_io()->close(fd);
    return out;
}

struct bench_shares bench_shares(const struct bench_cores *from, const struct bench_cores *to)
{
    const double all = (double)(to->all - from->all);
    const double tick_ns = 1e9 / (double)sysconf(_SC_CLK_TCK);
    const double own = (double)(to->own_ns - from->own_ns) / tick_ns;
    const double others = (double)(to->busy - from->busy) - own;

    if (all <= 0) return (struct bench_shares){ NAN, NAN };
    return (struct bench_shares){ (double)(to->steal - from->steal) / all,
                                  others > 0 ? others / all : 0 };
}

// How many of the smallest (and largest) of the means lie outside the interval, and its confidence.
// The sum of the ranks of n values, each counted with a chance of a half, has mean n (n + 1) / 4;
// its chances are built up rank by rank, or for many values taken from the normal distribution.
static int64_t outside(double *confidence, int64_t n)
{
    static double chance[EXACT_MAX * (EXACT_MAX + 1) / 2 + 1];
    const int64_t most = n * (n + 1) / 2;
    double below;
    int64_t k = 0;

    if (n > EXACT_MAX) {
        *confidence = 0.95;
        return (int64_t)((double)most / 2
                         - 1.96 * sqrt((double)most * (double)(2 * n + 1) / 12));
    }
    chance[0] = 1;
    for (int64_t i = 1; i <= most; i++)
        chance[i] = 0;
    for (int64_t rank = 1; rank <= n; rank++)
        for (int64_t i = rank * (rank + 1) / 2; i >= 0; i--)
            chance[i] = (chance[i] + (i >= rank ? chance[i - rank] : 0)) / 2;
    below = chance[0];
    while (k + 1 < most && below + chance[k + 1] <= 0.025)
        below += chance[++k];
    *confidence = 1 - 2 * below;
    return k;
}

int bench_paired(struct bench_paired *out, const double *values, int64_t count)
{
    const int64_t means = count * (count + 1) / 2;
    double *mean = NULL;
    int64_t at = 0;

    const int rc = pawl_alloc(&mean, (size_t)means * sizeof(*mean), "pairs of windows");
    if (rc) return rc;
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = i; j < count; j++)
            mean[at++] = (values[i] + values[j]) / 2;
    bench_sort(mean, means);
    const int64_t out_of_it = outside(&out->confidence, count);
    out->low = mean[out_of_it];
    out->high = mean[means - 1 - out_of_it];
    out->estimate = (mean[(means - 1) / 2] + mean[means / 2]) / 2;
    pawl_free(mean);
    return 0;
}
