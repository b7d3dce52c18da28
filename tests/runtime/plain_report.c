// plain_report.c - a run without a trainer: steps, saves and evaluations at the times a script
// says.

#include "tests/runtime/plain_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernels/io.h"

struct script script_default(void)
{
    return (struct script){
        .steps = 200, .every = 50, .fail_at = -1, .ms = 20, .save_ms = 400, .stall_ms = 2
    };
}

double script_loss(int64_t i)
{
    return 1.9 + 3.6 / (1 + (double)i / 40) + 0.1 * sin(1.7 * (double)i);
}

struct clock {
    bool real;
    int64_t now_ns;
};

static void pass(struct clock *clock, double ms)
{
    if (clock->real) {
        const int64_t ns = (int64_t)(ms * 1e6);
        nanosleep(&(struct timespec){ ns / 1000000000, ns % 1000000000 }, NULL);
        clock->now_ns = pawl_io()->now_ns();
    } else {
        clock->now_ns += (int64_t)(ms * 1e6);
    }
}

struct flight {
    struct pawl_save_event event;
    int64_t durable_ns;
    bool active, taken;
};

// What a saver would tell at a step boundary.
static void poll(struct pawl_report *report, struct flight *flight, const struct script *s,
                 const struct clock *clock)
{
    struct pawl_save_event *e = &flight->event;

    if (!flight->active)
        return;
    if (!flight->taken && clock->now_ns > e->asked_ns) {
        flight->taken = true;
        e->copy_start_ns = e->asked_ns + (int64_t)(s->stall_ms * 1e6);
        e->copy_end_ns = clock->now_ns;
        e->state = PAWL_SAVE_TAKEN;
        pawl_report_save(report, e);
        e->write_start_ns = clock->now_ns;
    } else if (flight->taken && clock->now_ns >= flight->durable_ns) {
        e->state = (int64_t)e->step == s->fail_at ? PAWL_SAVE_FAILED : PAWL_SAVE_DURABLE;
        e->write_end_ns = flight->durable_ns;
        snprintf(e->error, sizeof(e->error), "%s",
                 e->state == PAWL_SAVE_FAILED ? "shard-00000.safetensors: No space left" : "");
        pawl_report_save(report, e);
        flight->active = false;
    } else if (flight->taken) {
        const double share = (double)(clock->now_ns - e->write_start_ns)
                             / (double)(flight->durable_ns - e->write_start_ns);
        pawl_report_saving(report, (uint64_t)(share * (double)e->bytes), e->bytes);
    }
}

static void ask(struct pawl_report *report, struct flight *flight, const struct script *s,
                struct clock *clock, uint64_t step)
{
    struct pawl_save_event e = { .step = step, .bytes = 129000000, .asked_ns = clock->now_ns };

    snprintf(e.path, sizeof(e.path), "runs/a/step-%016llx-00000001", (unsigned long long)step);
    if (flight->active) {
        e.state = PAWL_SAVE_SKIPPED;
        pawl_report_save(report, &e);
        return;
    }
    pass(clock, s->stall_ms);
    e.stall_ns = (int64_t)(s->stall_ms * 1e6);
    flight->event = e;
    flight->active = true;
    flight->taken = false;
    flight->durable_ns = clock->now_ns + (int64_t)(s->save_ms * 1e6);
}

int script_run(const struct script *s)
{
    struct pawl_report *report = NULL;
    struct clock clock = { s->real, 0 };
    struct flight flight = { .active = false };
    const struct pawl_report_start facts = {
        .device = "host",
        .device_words = "made up, 2 threads",
        .model = "gpt, 10.8 M parameters",
        .data = "text book.txt, 1.1 MB",
        .ranks = 1,
        .params = 10800000,
        .state_bytes = 129000000,
        .ring_bytes = 129000000,
        .resumed_from = -1,
        .last_step = (uint64_t)s->steps,
        .unit = "tokens",
        .units_per_step = 8192,
    };
    double loss = 5.5;

    if (pawl_report_open(&report, &s->options)) {
        fprintf(stderr, "pawl: %s\n", pawl_error());
        return 73;
    }
    clock.now_ns = pawl_io()->now_ns();
    const int64_t begun_ns = clock.now_ns;
    pawl_report_note(report, "fresh start: runs/a has no snapshot");
    pawl_report_start(report, &facts);
    for (int64_t i = 1; i <= s->steps; i++) {
        struct pawl_report_step step = { .step = (uint64_t)i, .start_ns = clock.now_ns };

        pass(&clock, s->ms * (i == 1 ? 3 : 1 + 0.1 * sin((double)i) + (flight.active ? 0.05 : 0)));
        step.loss = loss = script_loss(i);
        step.rate_lr = 3e-4;
        step.grad_norm = i % 2 ? 0.71 : NAN;
        step.end_ns = clock.now_ns;
        pawl_report_step(report, &step);
        poll(report, &flight, s, &clock);
        if (s->every && i % s->every == 0 && i < s->steps)
            ask(report, &flight, s, &clock, (uint64_t)i);
        if (s->every && i % (2 * s->every) == 0) {
            pass(&clock, 4);
            pawl_report_eval(report, (uint64_t)i, loss + 0.1, 1 - 50 / (100 + (double)i), 0.004);
        }
    }
    if (s->status == 75)
        pawl_report_signal(report, (uint64_t)s->steps, "TERM", "save, then exit");
    while (flight.active) {
        pass(&clock, 10);
        poll(report, &flight, s, &clock);
    }
    if (!s->quiet_end)
        pawl_report_done(report, (uint64_t)s->steps, loss, (double)(clock.now_ns - begun_ns) / 1e9,
                         s->status);
    return pawl_report_close(report) ? 74 : s->status;
}
