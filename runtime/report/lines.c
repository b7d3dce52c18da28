// lines.c - each fact as a line for people.

#include <math.h>
#include <stdio.h>

#include "runtime/report/sink.h"
#include "runtime/report/words.h"

static void start(struct pawl_text *out, const struct pawl_told *told)
{
    const struct pawl_report_start *s = &told->start;
    char state[PAWL_WORDS], ring[PAWL_WORDS];

    pawl_text_format(out, "%s on %s (%s)", s->model ? s->model : "model",
                     s->device ? s->device : "?", s->device_words ? s->device_words : "?");
    if (s->data && s->data[0])
        pawl_text_format(out, "; %s", s->data);
    pawl_text_format(out, "; state %s, kept in %s of host memory",
                     pawl_words_bytes(state, (double)s->state_bytes),
                     pawl_words_bytes(ring, (double)s->ring_bytes));
    if (s->io && s->ring_bytes)
        pawl_text_format(out, ", written through %s", s->io);
    if (s->resumed_from >= 0)
        pawl_text_format(out, "; resumed from step %lld", (long long)s->resumed_from);
}

static void step(struct pawl_text *out, const struct pawl_told *told,
                 const struct pawl_report_step *s)
{
    const double seconds = (double)(s->end_ns - s->start_ns) / 1e9;
    char loss[PAWL_WORDS], span[PAWL_WORDS], rate[PAWL_WORDS];

    pawl_text_format(out, "step %llu/%llu  loss %s  %s/step  %s %s/s  lr %.3g",
                     (unsigned long long)s->step, (unsigned long long)told->start.last_step,
                     pawl_words_loss(loss, s->loss), pawl_words_span(span, seconds),
                     pawl_words_count(rate, told->start.units_per_step / seconds),
                     told->start.unit ? told->start.unit : "steps", s->rate_lr);
    if (!isnan(s->grad_norm))
        pawl_text_format(out, "  grad norm %.3g", s->grad_norm);
}

static void eval(struct pawl_text *out, const struct pawl_fact *fact)
{
    char loss[PAWL_WORDS], time[PAWL_WORDS];

    pawl_text_format(out, "step %llu  val_loss %s", (unsigned long long)fact->eval.record.step,
                     pawl_words_loss(loss, fact->eval.record.loss));
    if (!isnan(fact->eval.record.accuracy))
        pawl_text_format(out, "  accuracy %.2f %%", fact->eval.record.accuracy * 100);
    pawl_text_format(out, "  (%s)", pawl_words_span(time, fact->eval.seconds));
}

static void save(struct pawl_text *out, const struct pawl_save_event *e)
{
    const double seconds = (double)(e->write_end_ns - e->write_start_ns) / 1e9;
    char size[PAWL_WORDS], rate[PAWL_WORDS], stall[PAWL_WORDS], span[PAWL_WORDS];

    switch (e->state) {
    case PAWL_SAVE_TAKEN:
        pawl_text_format(out, "step %llu is copied, stall %s", (unsigned long long)e->step,
                         pawl_words_span(stall, (double)e->stall_ns / 1e9));
        break;
    case PAWL_SAVE_DURABLE:
        pawl_text_format(out, "saved step %llu: %s in %s (%s/s), stall %s",
                         (unsigned long long)e->step, pawl_words_bytes(size, (double)e->bytes),
                         pawl_words_span(span, seconds),
                         pawl_words_bytes(rate, seconds > 0 ? (double)e->bytes / seconds : 0),
                         pawl_words_span(stall, (double)e->stall_ns / 1e9));
        break;
    case PAWL_SAVE_FAILED:
        pawl_text_format(out, "the save of step %llu failed: %s", (unsigned long long)e->step,
                         e->error);
        break;
    case PAWL_SAVE_SKIPPED:
        pawl_text_format(out, "the save of step %llu was skipped: %s", (unsigned long long)e->step,
                         e->error[0] ? e->error : "the one before is still on its way");
        break;
    }
}

static void done(struct pawl_text *out, const struct pawl_told *told)
{
    char loss[PAWL_WORDS], time[PAWL_WORDS];

    pawl_text_format(
        out, "%s at step %llu/%llu after %s, loss %s", told->status ? "stopped" : "done",
        (unsigned long long)told->end_step, (unsigned long long)told->start.last_step,
        pawl_words_time(time, told->end_seconds), pawl_words_loss(loss, told->end_loss));
    if (told->status == 75)
        pawl_text_format(out, "; saved: the same command goes on from there (exit 75)");
    else if (told->status)
        pawl_text_format(out, " (exit %d)", told->status);
}

void pawl_line(struct pawl_text *out, const struct pawl_told *told, const struct pawl_fact *fact)
{
    switch (fact->kind) {
    case PAWL_FACT_START:
        start(out, told);
        break;
    case PAWL_FACT_STEP:
        step(out, told, &fact->step);
        break;
    case PAWL_FACT_EVAL:
        eval(out, fact);
        break;
    case PAWL_FACT_SAVE:
        save(out, fact->save);
        break;
    case PAWL_FACT_SIGNAL:
        pawl_text_format(out, "%s at step %llu: %s", fact->signal.name,
                         (unsigned long long)fact->signal.step, fact->signal.action);
        break;
    case PAWL_FACT_NOTE:
        pawl_text_format(out, "pawl: %s", fact->note);
        break;
    case PAWL_FACT_DONE:
        done(out, told);
        break;
    case PAWL_FACT_SAVING:
        break;
    }
}
