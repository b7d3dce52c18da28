// bench_save_tell.c - what comes of the windows of bench_save.c, and how it is told.

#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "kernels/io.h"
#include "runtime/cli/bench_save.h"

// ---- the figures

static double extra_of(const struct window *save, const struct window *plain,
                       const struct window *other, double base)
{
    const double step = (plain->total_ms + other->total_ms)
                        / (double)(plain->steps + other->steps);

    return (save->total_ms - (double)save->steps * step) / base;
}

// ---- CPU time

static double middle(double *values, int64_t count)
{
    return bench_stat(values, count).p50;
}

// The saver's counter at the start of save window i + 1, less that at the start of save window i,
// has all of save i in it: also what came after it was durable.
static double saver_ms(const struct save_bench *b, size_t field)
{
    double ms[WINDOWS_MAX];

    for (int64_t i = 1; i <= b->pairs; i++) {
        const struct pawl_saver_cpu *from = &b->save[i].saver;
        const struct pawl_saver_cpu *to = i < b->pairs ? &b->save[i + 1].saver : &b->saver_end;
        const int64_t *a = (const int64_t *)(const void *)((const char *)from + field);
        const int64_t *z = (const int64_t *)(const void *)((const char *)to + field);
        ms[i - 1] = (double)(*z - *a) / 1e6;
    }
    return middle(ms, b->pairs);
}

static void sum_up_cpu(struct save_bench *b, struct save_figures *f)
{
    double step[WINDOWS_MAX], update[WINDOWS_MAX];

    for (int64_t i = 1; i <= b->pairs; i++) {
        step[i - 1] = b->plain[i].cpu_ms / (double)b->plain[i].steps;
        update[i - 1] = b->save[i].update_cpu_ms;
        f->saving.steal += b->save[i].shares.steal / (double)b->pairs;
        f->saving.others += b->save[i].shares.others / (double)b->pairs;
        f->without.steal += b->plain[i].shares.steal / (double)b->pairs;
        f->without.others += b->plain[i].shares.others / (double)b->pairs;
    }
    f->step_cpu_ms = middle(step, b->pairs);
    f->passing_ms = middle(update, b->pairs) - middle(b->update_cpu_ms, b->step_count);
    f->copy_ms = saver_ms(b, offsetof(struct pawl_saver_cpu, copy_ns));
    f->sums_ms = saver_ms(b, offsetof(struct pawl_saver_cpu, sums_ns));
    f->write_ms = saver_ms(b, offsetof(struct pawl_saver_cpu, write_ns));
    f->commit_ms = saver_ms(b, offsetof(struct pawl_saver_cpu, commit_ns));
    f->keep_ms = saver_ms(b, offsetof(struct pawl_saver_cpu, keep_ns));
    f->cpu_steps = (f->passing_ms + f->copy_ms + f->sums_ms + f->write_ms + f->commit_ms
                    + f->keep_ms) / f->step_cpu_ms;
}

static void sum_up_rates(struct save_bench *b, struct save_figures *f)
{
    const double bytes = (double)pawl_saver_state_bytes(b->saver);
    const double one = bench_stat(b->raw[0], b->raw_count[0]).p50;
    const double deep = bench_stat(b->raw[1], b->raw_count[1]).p50;
    double beside[WINDOWS_MAX];

    for (int64_t i = 1; i <= b->pairs; i++)
        beside[i - 1] = b->beside[i].rate;
    f->rate = bytes / f->durable.p50;
    f->raw = one > deep ? one : deep;
    f->beside = middle(beside, b->pairs);
    f->first = b->save[0].durable_s / f->durable.p50;
    f->memory = (b->with_rss - b->before_rss) / bytes;
    f->predicted_ms = (double)pawl_saver_stall_ns(b->saver, bytes / b->save[b->pairs].written_s,
                                                   (int64_t)(f->base * 1e6))
                      / 1e6;
}

int bench_save_sum_up(struct save_bench *b, struct save_figures *f)
{
    double extra[WINDOWS_MAX], disk[WINDOWS_MAX], noise[WINDOWS_MAX], stall[WINDOWS_MAX],
        fence[WINDOWS_MAX], durable[WINDOWS_MAX], over[WINDOWS_MAX];

    f->base = bench_stat(b->step_ms, b->step_count).p50;
    for (int64_t i = 1; i <= b->pairs; i++) {
        // An odd save window comes before its plain one, so between that and the one before.
        const struct window *other = i % 2 || i == b->pairs ? &b->plain[i - 1] : &b->plain[i + 1];
        extra[i - 1] = extra_of(&b->save[i], &b->plain[i], other, f->base);
        disk[i - 1] = extra_of(&b->beside[i], &b->plain[i], other, f->base);
        over[i - 1] = extra[i - 1] - disk[i - 1];
        noise[i - 1] = extra_of(&b->plain[i], &b->plain[i - 1], &b->plain[i - 1], f->base);
        stall[i - 1] = b->save[i].stall_ms;
        fence[i - 1] = b->save[i].fence_ms;
        durable[i - 1] = b->save[i].durable_s;
        if (b->save[i].worst_ms / f->base > f->worst) f->worst = b->save[i].worst_ms / f->base;
        if (b->plain[i].worst_ms / f->base > f->plain_worst)
            f->plain_worst = b->plain[i].worst_ms / f->base;
    }
    f->extra = bench_stat(extra, b->pairs);
    f->disk = bench_stat(disk, b->pairs);
    f->noise = bench_stat(noise, b->pairs);
    f->stall = bench_stat(stall, b->pairs);
    f->fence = bench_stat(fence, b->pairs);
    f->durable = bench_stat(durable, b->pairs);
    sum_up_rates(b, f);
    sum_up_cpu(b, f);
    int rc = bench_paired(&f->paired, extra, b->pairs);
    if (!rc) rc = bench_paired(&f->over_disk, over, b->pairs);
    return rc;
}

// ---- telling

static void tell_row(const struct pawl_options *options, const struct save_bench *b,
                     const struct save_figures *f)
{
    const struct bench_figure row[] = {
        { "model", b->bench.model, 0, 0 },
        { "state MB", NULL, (double)pawl_saver_state_bytes(b->saver) / 1e6, 4 },
        { "step ms", NULL, f->base, 4 },
        { "windows", NULL, (double)b->pairs, 6 },
        { "call ms p50", NULL, f->stall.p50, 3 },
        { "call ms p99", NULL, f->stall.p99, 3 },
        { "extra steps mean", NULL, f->extra.mean, 3 },
        { "sd", NULL, f->extra.sd, 3 },
        { "p50", NULL, f->extra.p50, 3 },
        { "p99", NULL, f->extra.p99, 3 },
        { "noise sd", NULL, f->noise.sd, 3 },
        { "floor steps", NULL, b->copy_s * 1e3 / f->base, 3 },
        { "disk steps", NULL, f->disk.mean, 3 },
        { "worst step", NULL, f->worst, 3 },
        { "worst without", NULL, f->plain_worst, 3 },
        { "durable GB/s", NULL, f->rate / 1e9, 3 },
        { "of raw", NULL, f->rate / f->raw, 3 },
        { "first/steady", NULL, f->first, 3 },
        { "memory/state", NULL, f->memory, 3 },
        { "extra paired", NULL, f->paired.estimate, 3 },
        { "low", NULL, f->paired.low, 3 },
        { "high", NULL, f->paired.high, 3 },
        { "over disk", NULL, f->over_disk.estimate, 3 },
        { "cpu steps", NULL, f->cpu_steps, 3 },
        { "raw beside GB/s", NULL, f->beside / 1e9, 3 },
        { "steal %", NULL, 100 * f->saving.steal, 3 },
        { "without", NULL, 100 * f->without.steal, 3 },
    };

    bench_row(options, row, sizeof(row) / sizeof(row[0]));
}

static void print_stat(const char *name, const struct bench_stat *stat)
{
    printf("\"%s\":{\"mean\":%.17g,\"sd\":%.17g,\"p50\":%.17g,\"p99\":%.17g,\"max\":%.17g},",
           name, stat->mean, stat->sd, stat->p50, stat->p99, stat->max);
}

static void print_paired(const char *name, const struct bench_paired *paired)
{
    printf("\"%s\":{\"estimate\":%.17g,\"low\":%.17g,\"high\":%.17g,\"confidence\":%.17g},", name,
           paired->estimate, paired->low, paired->high, paired->confidence);
}

static void print_share(const char *name, double value)
{
    if (isfinite(value))
        printf("\"%s\":%.17g,", name, value);
    else
        printf("\"%s\":null,", name);
}

static void tell_costs(const struct save_figures *f)
{
    print_paired("extra_steps_paired", &f->paired);
    print_paired("over_disk_steps", &f->over_disk);
    printf("\"cpu_steps\":%.17g,\"step_cpu_ms\":%.17g,\"cpu_ms\":{\"passing\":%.17g,"
           "\"copy\":%.17g,\"sums\":%.17g,\"write\":%.17g,\"commit\":%.17g,\"keep\":%.17g},",
           f->cpu_steps, f->step_cpu_ms, f->passing_ms, f->copy_ms, f->sums_ms, f->write_ms,
           f->commit_ms, f->keep_ms);
    print_share("steal_saving", f->saving.steal);
    print_share("steal_without", f->without.steal);
    print_share("others_saving", f->saving.others);
    print_share("others_without", f->without.others);
    printf("\"raw_beside_bytes_per_s\":%.17g,", f->beside);
}

static void tell_json(const struct save_bench *b, const struct save_figures *f)
{
    printf("{\"preset\":\"%s\",\"io\":\"%s\",\"state_bytes\":%llu,\"windows\":%lld,"
           "\"step_ms\":%.17g,", b->bench.model, pawl_io()->name,
           (unsigned long long)pawl_saver_state_bytes(b->saver), (long long)b->pairs, f->base);
    print_stat("call_stall_ms", &f->stall);
    print_stat("fence_stall_ms", &f->fence);
    print_stat("extra_steps", &f->extra);
    print_stat("disk_steps", &f->disk);
    tell_costs(f);
    printf("\"call_stall_steps\":%.17g,\"fence_predicted_ms\":%.17g,\"noise_steps\":%.17g,"
           "\"floor_ms\":%.17g,\"worst_step_ratio\":%.17g,\"worst_plain_ratio\":%.17g,"
           "\"durable_bytes_per_s\":%.17g,\"raw_bytes_per_s\":%.17g,\"first_over_steady\":%.17g,"
           "\"host_memory_bytes\":%llu,\"memory_over_state\":%.17g,\"grace_s\":%.17g,"
           "\"peak_rss_bytes\":%llu}\n",
           f->stall.p50 / f->base, f->predicted_ms, f->noise.sd, b->copy_s * 1e3, f->worst,
           f->plain_worst, f->rate, f->raw, f->first,
           (unsigned long long)pawl_saver_ring_bytes(b->saver), f->memory,
           f->base / 1e3 + f->durable.p99, (unsigned long long)bench_peak_rss_bytes());
}

static void tell_people(const struct save_bench *b, const struct save_figures *f)
{
    const double state = (double)pawl_saver_state_bytes(b->saver), floor = b->copy_s * 1e3;
    const double grace_s = f->base / 1e3 + f->durable.p99;

    printf("%s: %.4g MB of state, step %.2f ms, %lld pairs of windows, through %s\n",
           b->bench.model, state / 1e6, f->base, (long long)b->pairs, pawl_io()->name);
    printf("  call stall   %.3f ms median, %.3f ms at most (%.4f %% of a step)\n", f->stall.p50,
           f->stall.max, f->stall.p50 / f->base * 100);
    printf("  extra        %+.3f steps per save until durable (sd %.3f, p50 %+.3f, p99 %+.3f; "
           "noise without saves %.3f)\n",
           f->extra.mean, f->extra.sd, f->extra.p50, f->extra.p99, f->noise.sd);
    printf("  paired       %+.3f steps, %.0f %% between %+.3f and %+.3f (Hodges-Lehmann); over a "
           "raw write's %+.3f\n",
           f->paired.estimate, 100 * f->paired.confidence, f->paired.low, f->paired.high,
           f->over_disk.estimate);
    printf("  CPU time     %.4f steps: copy %.1f, checksums %.1f, write %.1f, commit %.1f, "
           "keeping %.1f ms of a step's %.0f\n",
           f->cpu_steps, f->passing_ms + f->copy_ms, f->sums_ms, f->write_ms, f->commit_ms,
           f->keep_ms, f->step_cpu_ms);
    printf("  machine      stolen %.1f %% of the cores with saves, %.1f %% without; others took "
           "%.1f %%, %.1f %%\n",
           100 * f->saving.steal, 100 * f->without.steal, 100 * f->saving.others,
           100 * f->without.others);
    printf("  floor        %.3f steps: %.2f ms to copy the state once, with all threads\n",
           floor / f->base, floor);
    printf("  disk         %+.3f steps (sd %.3f): as many bytes written raw beside the steps\n",
           f->disk.mean, f->disk.sd);
    printf("  worst step   %.2fx the median, %.2fx without saves\n", f->worst, f->plain_worst);
    if (pawl_saver_ring_bytes(b->saver) < pawl_saver_state_bytes(b->saver))
        printf("  small ring   an update waited %.1f ms median, %.1f ms at most; foreseen %.1f "
               "ms\n",
               f->fence.p50, f->fence.max, f->predicted_ms);
    printf("  durable      %.3g GB/s with fsync, %.2f of %.3g GB/s raw; raw beside steps %.3g\n",
           f->rate / 1e9, f->rate / f->raw, f->raw / 1e9, f->beside / 1e9);
    printf("  first save   %.2fx a steady one; memory %.2fx the state above training alone\n",
           f->first, f->memory);
    printf("  grace        %.2g s: a step and the slowest save\n", grace_s);
}

void bench_save_tell(const struct pawl_options *options, const struct save_bench *b,
                     const struct save_figures *f)
{
    if (bench_as_rows(options))
        tell_row(options, b, f);
    else if (bench_as_json(options))
        tell_json(b, f);
    else
        tell_people(b, f);
}
