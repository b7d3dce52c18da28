// report: the summary against its definition, bounded memory, the line and the picture at any
// width.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/report/progress.h"
#include "runtime/report/sink.h"
#include "runtime/report/words.h"

// ---- words

Test(words, figures)
{
    char w[PAWL_WORDS];

    static const struct {
        double seconds;
        const char *time, *span;
    } times[] = { { 0.0000031, "0.0s", "3.1us" }, { 0.00042, "0.0s", "0.42ms" },
                  { 0.4, "0.4s", "400ms" },       { 3.2, "3s", "3.20s" },
                  { 59.7, "1m00s", "59.7s" },     { 245, "4m05s", "245s" },
                  { 11520, "3h12m", "11520s" },   { 187200, "2d04h", "187200s" },
                  { 1e10, "?", "10000000000s" },  { NAN, "?", "?" } };
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        cr_expect_str_eq(pawl_words_time(w, times[i].seconds), times[i].time);
        cr_expect_str_eq(pawl_words_span(w, times[i].seconds), times[i].span);
    }
    cr_expect_str_eq(pawl_words_bytes(w, 512), "512 B");
    cr_expect_str_eq(pawl_words_bytes(w, 999.6e3), "1.0 MB");
    cr_expect_str_eq(pawl_words_bytes(w, 41.2e6), "41.2 MB");
    cr_expect_str_eq(pawl_words_bytes(w, 1.23e9), "1.2 GB");
    cr_expect_str_eq(pawl_words_count(w, 940), "940");
    cr_expect_str_eq(pawl_words_count(w, 10234), "10.2k");
    cr_expect_str_eq(pawl_words_count(w, 1.31e6), "1.31M");
    cr_expect_str_eq(pawl_words_loss(w, 2.3051), "2.305");
    cr_expect_str_eq(pawl_words_loss(w, 1.2e-5), "1.20e-05");
    cr_expect_str_eq(pawl_words_loss(w, NAN), "nan");
    cr_expect_str_eq(pawl_words_loss(w, -INFINITY), "-inf");
}

Test(words, clean_text_is_utf8_without_controls)
{
    char out[16];

    pawl_words_clean(out, sizeof(out), "a\xff\xc3\xa4\n\xc0\x80\xed\xa0\x80.");
    cr_expect_str_eq(out, "a?\xc3\xa4 ?????.");
    pawl_words_clean(out, 4, "ab\xe2\x82\xac");  // a character is not cut in half
    cr_expect_str_eq(out, "ab");
}

Test(words, the_locale_says_whether_utf8)
{
    unsetenv("LC_ALL");
    unsetenv("LC_CTYPE");
    setenv("LANG", "C.UTF-8", 1);
    cr_expect(pawl_words_utf8());
    setenv("LC_ALL", "C", 1);
    cr_expect(!pawl_words_utf8());
    setenv("LC_ALL", "", 1);
    setenv("LC_CTYPE", "de_DE.utf8", 1);
    cr_expect(pawl_words_utf8());
}

// ---- the progress line

static const char *line_at(const struct pawl_progress_facts *facts, int columns)
{
    static struct pawl_text text;

    pawl_text_clear(&text);
    pawl_progress_line(&text, facts, columns);
    return text.bytes ? text.bytes : "";
}

static struct pawl_progress_facts some_facts(void)
{
    return (struct pawl_progress_facts){ .step = 12,
                                         .last_step = 100,
                                         .loss = 2.3051,
                                         .step_s = 0.0251,
                                         .left_s = 3,
                                         .save = "save 62%",
                                         .save_rate = "1.2 GB/s",
                                         .utf8 = true };
}

Test(progress, fits_every_width_and_says_the_most_it_can)
{
    struct pawl_progress_facts f = some_facts();

    cr_expect_str_eq(line_at(&f, 19), "12/100 loss 2.305");
    cr_expect_str_eq(line_at(&f, 39), "12/100 ━────── 3s loss 2.305 · save 62%");
    cr_expect_str_eq(line_at(&f, 79), "12/100 ━━━─────────────────────── 3s "
                                      "25.1ms/step loss 2.305 · save 62% 1.2 GB/s");
    cr_expect_str_eq(line_at(&f, 199), "12/100 ━━━━━─────────────────────────────────── 3s "
                                       "25.1ms/step loss 2.305 · save 62% 1.2 GB/s");
    f.utf8 = false;
    cr_expect_str_eq(line_at(&f, 79), "12/100 ===----------------------- 3s "
                                      "25.1ms/step loss 2.305 | save 62% 1.2 GB/s");
    f.save[0] = f.save_rate[0] = '\0';
    cr_expect_str_eq(line_at(&f, 60), "12/100 ===------------------------ 3s "
                                      "25.1ms/step loss 2.305");
}

Test(progress, never_longer_than_its_width)
{
    static const uint64_t steps[] = { 0, 1, 12, 123456, 18446744073709551615u };
    struct pawl_progress_facts f = some_facts();

    for (int i = 0; i < 5; i++)
        for (int columns = 1; columns <= 220; columns++)
            for (int variant = 0; variant < 8; variant++) {
                f.step = steps[i];
                f.last_step = variant & 1 ? steps[i] : variant & 4 ? 0 : 1000000000;
                f.utf8 = variant & 2;
                f.loss = variant & 4 ? NAN : -1234.5;
                const char *line = line_at(&f, columns);

                cr_assert_leq(pawl_words_columns(line), columns, "'%s'", line);
                cr_assert_gt(strlen(line), 0);
                if (columns >= 19 && i > 0 && i < 3)
                    cr_assert(strstr(line, "loss"), "'%s'", line);
            }
}

Test(progress, the_bar_is_full_only_at_the_end)
{
    struct pawl_progress_facts f = some_facts();

    f.utf8 = false;
    f.step = 9999, f.last_step = 10000;
    cr_expect(strstr(line_at(&f, 100), "=- "), "%s", line_at(&f, 100));
    f.step = 1;
    cr_expect(strstr(line_at(&f, 100), " =--"), "%s", line_at(&f, 100));
    f.step = 10000;
    cr_expect(strstr(line_at(&f, 100), "== "), "%s", line_at(&f, 100));
    f.step = 0;
    cr_expect(strstr(line_at(&f, 100), " ---"), "%s", line_at(&f, 100));
}

// ---- the history

static uint64_t random_state = 1;

static double uniform(double from, double to)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return from + (to - from) * (double)(random_state >> 11) / 9007199254740992.0;
}

enum { STEPS = 5000, SAVES_MAX = 600 };

struct run {
    struct pawl_report_step steps[STEPS];
    int64_t before_ns[STEPS], other_ns[STEPS];
    struct pawl_save_event saves[SAVES_MAX];
    int step_count, save_count;
};

// A random run, told to the history as a trainer would: events of a save come some steps late.
static void make_run(struct run *run, struct pawl_history *h, int steps, double save_chance)
{
    int64_t now = 1000000, end_before = now;
    bool flying = false;
    int64_t durable_ns = 0;

    for (int i = 0; i < steps; i++) {
        int64_t start = now;

        now += (int64_t)uniform(1e6, 2e6);
        run->steps[i] = (struct pawl_report_step){ .step = (uint64_t)i + 1,
                                                   .loss = 1,
                                                   .rate_lr = 1,
                                                   .grad_norm = NAN,
                                                   .start_ns = start,
                                                   .end_ns = now };
        run->before_ns[i] = i ? end_before : start;
        pawl_history_step(h, &run->steps[i]);
        end_before = now;
        struct pawl_save_event *save = &run->saves[run->save_count - (flying ? 1 : 0)];
        if (flying && now > durable_ns) {
            save->state = PAWL_SAVE_DURABLE;
            save->write_end_ns = durable_ns;
            pawl_history_save(h, save);
            flying = false;
        } else if (flying && save->state != PAWL_SAVE_TAKEN && uniform(0, 1) < 0.3) {
            save->state = PAWL_SAVE_TAKEN;
            pawl_history_save(h, save);
        }
        run->other_ns[i + 1 < steps ? i + 1 : i] = 0;
        if (uniform(0, 1) < 0.05 && i + 1 < steps) {
            const struct pawl_eval_record eval = { (uint64_t)i, now, 1, NAN };

            run->other_ns[i + 1] = 3000000;
            now += 3000000;
            pawl_history_eval(h, &eval, 0.003);
        }
        if (!flying && uniform(0, 1) < save_chance && run->save_count < SAVES_MAX) {
            const int64_t stall = (int64_t)uniform(0, 5e5);

            run->saves[run->save_count++] = (struct pawl_save_event){ .step = (uint64_t)i + 1,
                                                                      .state = PAWL_SAVE_SKIPPED,
                                                                      .asked_ns = now,
                                                                      .stall_ns = stall,
                                                                      .write_start_ns = now + stall,
                                                                      .bytes = 100 };
            durable_ns = now + (int64_t)uniform(5e5, 3e7);
            now += stall;
            flying = true;
        }
    }
    run->step_count = steps;
    if (flying) {  // the end waits for it
        struct pawl_save_event *save = &run->saves[run->save_count - 1];

        save->state = PAWL_SAVE_DURABLE;
        save->write_end_ns = durable_ns;
        pawl_history_save(h, save);
    }
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median_of(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(double), by_value);
    return !count ? NAN : (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static bool beside(const struct run *run, int64_t start, int64_t end)
{
    for (int i = 0; i < run->save_count; i++)
        if (run->saves[i].asked_ns < end && run->saves[i].write_end_ns > start)
            return true;
    return false;
}

// The definition, straight: every step against every save.
static void define(const struct run *run, struct pawl_save_summary *out)
{
    static double plain[STEPS], saving[STEPS], periods[STEPS], stalls[SAVES_MAX];
    double beside_ms = 0;
    int plains = 0, savings = 0, plain_periods = 0, beside_periods = 0, followed = 0;
    const int64_t last_end = run->steps[run->step_count - 1].end_ns;

    for (int i = 0; i < run->step_count; i++) {
        const struct pawl_report_step *s = &run->steps[i];
        const double ms = (double)(s->end_ns - s->start_ns) / 1e6;
        const double period = (double)(s->end_ns - run->before_ns[i] - run->other_ns[i]) / 1e6;

        if (beside(run, s->start_ns, s->end_ns))
            saving[savings++] = ms;
        else
            plain[plains++] = ms;
        if (beside(run, run->before_ns[i], s->end_ns))
            beside_ms += period, beside_periods++;
        else
            periods[plain_periods++] = period;
    }
    for (int i = 0; i < run->save_count; i++) {
        stalls[i] = (double)run->saves[i].stall_ns / 1e6;
        followed += run->saves[i].asked_ns < last_end;
    }
    out->count = run->save_count;
    out->stall_ms_p50 = median_of(stalls, run->save_count);
    out->stall_ms_max = run->save_count ? stalls[run->save_count - 1] : NAN;
    out->step_ms_p50 = median_of(plain, plains);
    out->step_ms_p50_while_saving = median_of(saving, savings);
    const double base = median_of(periods, plain_periods);
    out->extra_steps_per_save = (beside_ms - beside_periods * base) / base / followed;
}

static void must_agree(double a, double b, const char *name, int round)
{
    if (isnan(a) || isnan(b))
        cr_expect(isnan(a) == isnan(b), "%s in round %d: %g, %g", name, round, a, b);
    else
        cr_expect(fabs(a - b) <= 1e-9 * fmax(fabs(a), 1), "%s in round %d: %.12g, %.12g", name,
                  round, a, b);
}

Test(history, the_summary_is_its_definition)
{
    static struct run run;

    for (int round = 0; round < 12; round++) {
        const int steps = round < 4 ? 3 + 40 * round : round < 8 ? 1000 + 20 * round : STEPS;
        struct pawl_save_summary got, want;
        struct pawl_history h;

        memset(&run, 0, sizeof(run));
        cr_assert_eq(pawl_history_open(&h, false), 0);
        make_run(&run, &h, steps, round % 3 ? 0.04 : 0.01);
        pawl_history_summary(&h, &got);
        define(&run, &want);
        cr_expect_eq(got.count, want.count);
        must_agree(got.stall_ms_p50, want.stall_ms_p50, "stall p50", round);
        must_agree(got.stall_ms_max, want.stall_ms_max, "stall max", round);
        must_agree(got.step_ms_p50, want.step_ms_p50, "step p50", round);
        must_agree(got.step_ms_p50_while_saving, want.step_ms_p50_while_saving, "beside", round);
        if (run.save_count)
            must_agree(got.extra_steps_per_save, want.extra_steps_per_save, "extra", round);
        pawl_history_close(&h);
    }
}

Test(history, a_run_of_any_length_takes_the_same_room)
{
    struct pawl_history h;
    int64_t steps = 0, now = 0;

    cr_assert_eq(pawl_history_open(&h, false), 0);
    for (int64_t i = 1; i <= 300000; i++) {
        const struct pawl_report_step s = { .step = (uint64_t)i,
                                            .loss = i % 1000 ? (double)i : NAN,
                                            .rate_lr = 1,
                                            .grad_norm = NAN,
                                            .start_ns = now,
                                            .end_ns = now + 1000 + i % 7 };
        now = s.end_ns;
        pawl_history_step(&h, &s);
    }
    cr_expect_leq(h.bucket_count, h.bucket_room);
    for (int64_t i = 0; i < h.bucket_count; i++) {
        const struct pawl_bucket *b = &h.buckets[i];

        cr_assert_eq(b->first_step, (uint64_t)steps + 1);
        cr_assert_eq(b->end_ns - b->start_ns, b->busy_ns);  // no gaps in this run
        steps += b->steps;
        // The mean of consecutive numbers is their middle; one in a thousand is missing.
        cr_assert_float_eq(b->loss, (double)b->first_step + (double)(b->steps - 1) / 2, 2);
        cr_assert(isnan(b->grad_norm));
    }
    cr_expect_eq(steps, 300000);
    struct pawl_save_summary summary;
    pawl_history_summary(&h, &summary);
    cr_expect_float_eq(summary.step_ms_p50, 1003e-6, 1e-9);
    cr_expect(isnan(summary.step_ms_p50_while_saving) && isnan(summary.extra_steps_per_save));
    pawl_history_close(&h);
}

// ---- the picture

static void make_told(struct pawl_told *told, bool failed)
{
    struct pawl_save_event save = { .step = 5, .asked_ns = 5 * 10000000, .stall_ns = 100000 };
    int64_t now = 1;

    memset(told, 0, sizeof(*told));
    cr_assert_eq(pawl_history_open(&told->history, false), 0);
    for (uint64_t i = 1; i <= 20; i++) {
        const struct pawl_report_step s = { .step = i, .start_ns = now, .end_ns = now + 9500000 };

        pawl_history_step(&told->history, &s);
        now += 10000000;
    }
    save.copy_start_ns = save.asked_ns;
    save.copy_end_ns = save.write_start_ns = save.asked_ns + 10000000;
    save.state = PAWL_SAVE_TAKEN;
    pawl_history_save(&told->history, &save);
    save.write_end_ns = save.asked_ns + 50000000;
    save.state = failed ? PAWL_SAVE_FAILED : PAWL_SAVE_DURABLE;
    pawl_history_save(&told->history, &save);
}

static const char *picture(const struct pawl_told *told, int columns, bool utf8)
{
    static struct pawl_text text;
    const struct pawl_lanes_look look = { columns, utf8, false };

    pawl_text_clear(&text);
    pawl_lanes(&text, told, &look);
    pawl_verdict(&text, told, columns);
    return text.bytes;
}

Test(lanes, golden)
{
    struct pawl_told told;

    make_told(&told, false);
    cr_expect_str_eq(picture(&told, 60, false),
                     "around the save of step 5 (^ asked for, ^ durable):\n"
                     "compute ====-####-===-####-====-###-====-###--===-####-===-\n"
                     "copy                 .####-                                \n"
                     "persist                   .##################.             \n"
                     "        0            ^                       ^        110ms\n"
                     "1 save durable; one held training up for 0.10ms (p50),\n"
                     "0.10ms at most. A step took 9.50ms without a save and\n"
                     "9.50ms beside one; a save cost no extra time.\n");
    pawl_history_close(&told.history);
    make_told(&told, true);
    cr_expect(strstr(picture(&told, 60, true), "the whole run:\n"));
    cr_expect(strstr(picture(&told, 60, true), "1 failed; one held"));
    pawl_history_close(&told.history);
}

Test(lanes, fit_every_width)
{
    struct pawl_told told;

    make_told(&told, false);
    for (int columns = 20; columns <= 220; columns++)
        for (int utf8 = 0; utf8 < 2; utf8++) {
            char copy[4096], *rest = copy, *line;
            int rows = 0;

            snprintf(copy, sizeof(copy), "%s", picture(&told, columns, utf8));
            while ((line = strsep(&rest, "\n"))) {
                cr_assert_lt(pawl_words_columns(line), columns, "'%s' at %d", line, columns);
                for (const char *c = line; !utf8 && *c; c++)
                    cr_assert(*c >= ' ' && *c <= '~', "'%s'", line);
                rows++;
            }
            cr_assert_geq(rows, 7);
        }
    pawl_history_close(&told.history);
}

Test(lanes, nothing_to_show_is_no_picture)
{
    struct pawl_told told;

    memset(&told, 0, sizeof(told));
    cr_assert_eq(pawl_history_open(&told.history, false), 0);
    cr_expect_str_eq(picture(&told, 80, true), "0 saves durable.\n");
    pawl_history_close(&told.history);
}
