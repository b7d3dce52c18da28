// history.c - buckets, samples and the question which steps ran beside a save.

#include "runtime/report/history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"

enum { SAMPLE_ROOM = 8192 };

// ---- samples

static void sample_add(struct pawl_sample *sample, double value)
{
    if (sample->seen++ % sample->stride)
        return;
    if (sample->count == SAMPLE_ROOM) {
        // Every other one goes, so that what stays is still spread evenly over the run.
        for (int64_t i = 0; i < SAMPLE_ROOM / 2; i++)
            sample->values[i] = sample->values[2 * i];
        sample->count = SAMPLE_ROOM / 2;
        sample->stride *= 2;
    }
    sample->values[sample->count++] = value;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, int64_t count)
{
    if (!count)
        return NAN;
    qsort(values, (size_t)count, sizeof(*values), by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

// ---- open, close

int pawl_history_open(struct pawl_history *out, bool long_memory)
{
    struct pawl_history h = { .bucket_room = long_memory ? 65536 : 4096,
                              .bucket_steps = 1,
                              .eval_stride = 1,
                              .longest_stall_ms = NAN };
    struct pawl_sample *samples[] = { &h.stall_ms, &h.plain_ms, &h.saving_ms, &h.plain_period_ms };
    int rc;

    rc = pawl_alloc(&h.buckets, (size_t)h.bucket_room * sizeof(*h.buckets), "history");
    if (!rc)
        rc = pawl_alloc(&h.recent, PAWL_RECENT_STEPS * sizeof(*h.recent), "history");
    if (!rc)
        rc = pawl_alloc(&h.saves, PAWL_RECENT_SAVES * sizeof(*h.saves), "history");
    if (!rc)
        rc = pawl_alloc(&h.evals, PAWL_EVALS_MAX * sizeof(*h.evals), "history");
    if (!rc)
        rc = pawl_alloc(&h.scratch, (SAMPLE_ROOM + PAWL_RECENT_STEPS) * sizeof(double), "history");
    for (int i = 0; i < 4; i++) {
        samples[i]->stride = 1;
        if (!rc)
            rc = pawl_alloc(&samples[i]->values, SAMPLE_ROOM * sizeof(double), "history");
    }
    if (rc)
        pawl_history_close(&h);
    else
        *out = h;
    return rc;
}

void pawl_history_close(struct pawl_history *h)
{
    pawl_free(h->buckets);
    pawl_free(h->recent);
    pawl_free(h->saves);
    pawl_free(h->evals);
    pawl_free(h->scratch);
    pawl_free(h->stall_ms.values);
    pawl_free(h->plain_ms.values);
    pawl_free(h->saving_ms.values);
    pawl_free(h->plain_period_ms.values);
    *h = (struct pawl_history){ 0 };
}

// ---- what is remembered of the past

int64_t pawl_history_recent(const struct pawl_history *h)
{
    return h->step_count < PAWL_RECENT_STEPS ? h->step_count : PAWL_RECENT_STEPS;
}

const struct pawl_recent_step *pawl_history_recent_step(const struct pawl_history *h, int64_t i)
{
    return &h->recent[(h->step_count - pawl_history_recent(h) + i) % PAWL_RECENT_STEPS];
}

int64_t pawl_history_saves(const struct pawl_history *h)
{
    return h->save_count < PAWL_RECENT_SAVES ? h->save_count : PAWL_RECENT_SAVES;
}

const struct pawl_save_record *pawl_history_save_at(const struct pawl_history *h, int64_t i)
{
    return &h->saves[(h->save_count - pawl_history_saves(h) + i) % PAWL_RECENT_SAVES];
}

// ---- buckets

// The mean of two means over `left` and `right` steps, of which either may be no number.
static double join_mean(double a, int64_t left, double b, int64_t right)
{
    if (isnan(a))
        return b;
    if (isnan(b))
        return a;
    return (a * (double)left + b * (double)right) / (double)(left + right);
}

static void join(struct pawl_bucket *into, const struct pawl_bucket *next)
{
    into->loss = join_mean(into->loss, into->steps, next->loss, next->steps);
    into->lr = join_mean(into->lr, into->steps, next->lr, next->steps);
    into->grad_norm = join_mean(into->grad_norm, into->steps, next->grad_norm, next->steps);
    into->steps += next->steps;
    into->end_ns = next->end_ns;
    into->busy_ns += next->busy_ns;
    if (next->longest_ns > into->longest_ns)
        into->longest_ns = next->longest_ns;
}

static void add_bucket(struct pawl_history *h, const struct pawl_report_step *s)
{
    const struct pawl_bucket one = { s->step,
                                     1,
                                     s->start_ns,
                                     s->end_ns,
                                     s->end_ns - s->start_ns,
                                     s->end_ns - s->start_ns,
                                     s->loss,
                                     s->rate_lr,
                                     s->grad_norm };
    struct pawl_bucket *last = h->bucket_count ? &h->buckets[h->bucket_count - 1] : NULL;

    if (last && last->steps < h->bucket_steps) {
        join(last, &one);
        return;
    }
    if (h->bucket_count == h->bucket_room) {
        for (int64_t i = 0; i < h->bucket_room / 2; i++) {
            h->buckets[i] = h->buckets[2 * i];
            join(&h->buckets[i], &h->buckets[2 * i + 1]);
        }
        h->bucket_count = h->bucket_room / 2;
        h->bucket_steps *= 2;
    }
    h->buckets[h->bucket_count++] = one;
}

// ---- steps and saves against each other

// Whether a save was on its way at some time between start and end. Newest first: once a save
// ended before start, so did all earlier ones, for they become durable in order.
static bool beside_save(const struct pawl_history *h, int64_t start_ns, int64_t end_ns)
{
    for (int64_t i = pawl_history_saves(h) - 1; i >= 0; i--) {
        const struct pawl_save_record *save = pawl_history_save_at(h, i);

        if (save->state == PAWL_SAVE_SKIPPED || save->asked_ns >= end_ns)
            continue;
        if (!save->end_ns || save->end_ns > start_ns)
            return true;
        return false;
    }
    return false;
}

struct classes {
    double ms, period_ms;
    bool step_beside, period_beside;
};

static struct classes classify(const struct pawl_history *h, const struct pawl_recent_step *step)
{
    return (struct classes){
        .ms = (double)(step->end_ns - step->start_ns) / 1e6,
        .period_ms = (double)(step->end_ns - step->before_ns - step->other_ns) / 1e6,
        .step_beside = beside_save(h, step->start_ns, step->end_ns),
        .period_beside = beside_save(h, step->before_ns, step->end_ns),
    };
}

// The oldest recent step is about to be overwritten: by now it is known what ran beside it.
static void decide_oldest(struct pawl_history *h)
{
    const struct classes c = classify(h, pawl_history_recent_step(h, 0));

    sample_add(c.step_beside ? &h->saving_ms : &h->plain_ms, c.ms);
    if (c.period_beside) {
        h->saving_period_ms += c.period_ms;
        h->saving_periods++;
    } else {
        sample_add(&h->plain_period_ms, c.period_ms);
    }
}

static void follow(struct pawl_history *h, struct pawl_save_record *save)
{
    if (save->followed || save->asked_ns >= h->last_end_ns)
        return;
    save->followed = true;
    h->followed_count++;
}

void pawl_history_step(struct pawl_history *h, const struct pawl_report_step *s)
{
    add_bucket(h, s);
    if (h->step_count >= PAWL_RECENT_STEPS)
        decide_oldest(h);
    h->recent[h->step_count % PAWL_RECENT_STEPS] =
        (struct pawl_recent_step){ s->step, h->step_count ? h->last_end_ns : s->start_ns,
                                   s->start_ns, s->end_ns, h->other_ns };
    h->step_count++;
    h->last_end_ns = s->end_ns;
    h->other_ns = 0;
    for (int64_t i = pawl_history_saves(h) - 1; i >= 0; i--) {
        struct pawl_save_record *save =
            &h->saves[(h->save_count - pawl_history_saves(h) + i) % PAWL_RECENT_SAVES];
        if (save->followed)
            break;
        if (save->state != PAWL_SAVE_SKIPPED)
            follow(h, save);
    }
}

// The record of a save still on its way for that step, or a new one.
static struct pawl_save_record *record_of(struct pawl_history *h,
                                          const struct pawl_save_event *event)
{
    const int64_t first = h->save_count - pawl_history_saves(h);

    for (int64_t i = h->save_count - 1; i >= first; i--) {
        struct pawl_save_record *save = &h->saves[i % PAWL_RECENT_SAVES];

        if (save->step == event->step && save->asked_ns == event->asked_ns)
            return save;
    }
    struct pawl_save_record *fresh = &h->saves[h->save_count++ % PAWL_RECENT_SAVES];
    *fresh = (struct pawl_save_record){ .step = event->step };
    return fresh;
}

void pawl_history_save(struct pawl_history *h, const struct pawl_save_event *event)
{
    struct pawl_save_record *save = record_of(h, event);

    save->state = event->state;
    save->bytes = event->bytes;
    save->asked_ns = event->asked_ns;
    save->copy_start_ns = event->copy_start_ns;
    save->copy_end_ns = event->copy_end_ns;
    save->write_start_ns = event->write_start_ns;
    save->write_end_ns = event->write_end_ns;
    save->stall_ns = event->stall_ns;
    snprintf(save->error, sizeof(save->error), "%.159s", event->error);
    if (event->state == PAWL_SAVE_SKIPPED) {
        h->skipped_count++;
        return;
    }
    follow(h, save);
    if (event->state == PAWL_SAVE_TAKEN)
        return;
    save->end_ns = event->write_end_ns > event->asked_ns ? event->write_end_ns : event->asked_ns;
    sample_add(&h->stall_ms, (double)event->stall_ns / 1e6);
    if (!((double)event->stall_ns / 1e6 <= h->longest_stall_ms)) {
        h->longest_stall_ms = (double)event->stall_ns / 1e6;
        h->longest_stall_step = event->step;
    }
    if (event->state == PAWL_SAVE_FAILED) {
        h->failed_count++;
        return;
    }
    h->durable_count++;
    h->newest_durable = event->step;
    h->durable_bytes += event->bytes;
    h->durable_ns += event->write_end_ns - event->write_start_ns;
}

void pawl_history_eval(struct pawl_history *h, const struct pawl_eval_record *eval, double seconds)
{
    if (isfinite(seconds) && seconds > 0)
        h->other_ns += (int64_t)(seconds * 1e9);
    if (h->eval_seen++ % h->eval_stride)
        return;
    if (h->eval_count == PAWL_EVALS_MAX) {
        for (int64_t i = 0; i < PAWL_EVALS_MAX / 2; i++)
            h->evals[i] = h->evals[2 * i];
        h->eval_count = PAWL_EVALS_MAX / 2;
        h->eval_stride *= 2;
    }
    h->evals[h->eval_count++] = *eval;
}

// ---- the summary

// The median of a sample and of what the undecided recent steps add to it.
static double median_with(const struct pawl_history *h, const struct pawl_sample *sample,
                          bool beside, bool period)
{
    const int64_t stride = sample->stride;
    int64_t count = sample->count;

    memcpy(h->scratch, sample->values, (size_t)count * sizeof(double));
    for (int64_t i = 0; i < pawl_history_recent(h); i += stride) {
        const struct classes c = classify(h, pawl_history_recent_step(h, i));

        if ((period ? c.period_beside : c.step_beside) == beside)
            h->scratch[count++] = period ? c.period_ms : c.ms;
    }
    return median(h->scratch, count);
}

void pawl_history_summary(const struct pawl_history *h, struct pawl_save_summary *out)
{
    double beside_ms = h->saving_period_ms;
    int64_t beside = h->saving_periods;

    out->count = h->durable_count;
    memcpy(h->scratch, h->stall_ms.values, (size_t)h->stall_ms.count * sizeof(double));
    out->stall_ms_p50 = median(h->scratch, h->stall_ms.count);
    out->stall_ms_max = h->longest_stall_ms;
    out->step_ms_p50 = median_with(h, &h->plain_ms, false, false);
    out->step_ms_p50_while_saving = median_with(h, &h->saving_ms, true, false);
    for (int64_t i = 0; i < pawl_history_recent(h); i++) {
        const struct classes c = classify(h, pawl_history_recent_step(h, i));

        if (c.period_beside) {
            beside_ms += c.period_ms;
            beside++;
        }
    }
    const double plain_ms = median_with(h, &h->plain_period_ms, false, true);
    out->extra_steps_per_save =
        h->followed_count && plain_ms > 0
            ? (beside_ms - (double)beside * plain_ms) / plain_ms / (double)h->followed_count
            : NAN;
}
