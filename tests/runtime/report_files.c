// report, what is written: JSON events, plain lines, trace, metrics, TensorBoard, the page.

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "tests/runtime/plain_report.h"

static char directory[64];

static const char *in(const char *name)
{
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

static void make_directory(void)
{
    snprintf(directory, sizeof(directory), "/tmp/pawl-report-XXXXXX");
    cr_assert(mkdtemp(directory));
}

static void remove_directory(void)
{
    char command[96];

    snprintf(command, sizeof(command), "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(files, .init = make_directory, .fini = remove_directory);

static char *contents(const char *path)
{
    char *bytes = NULL;
    size_t size;

    cr_assert_eq(pawl_io_read_file(path, &bytes, &size, 64 << 20), 0, "%s", path);
    return bytes;
}

// Runs the script in a child with stdout and stderr in files; its exit code.
static int run(const struct script *script)
{
    int status;
    const pid_t pid = fork();

    if (!pid) {
        if (!freopen(in("out"), "w", stdout) || !freopen(in("err"), "w", stderr))
            _exit(9);
        status = script_run(script);
        fflush(stderr);  // buffered, now that it is a file
        _exit(status);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

// ---- JSON

// The event's fields are exactly these (apart by blanks), besides event, step and time.
static void must_have(const json_t *event, const char *fields)
{
    char words[256];
    size_t count = 3;

    cr_expect(json_is_integer(json_object_get(event, "step")));
    cr_expect(json_is_real(json_object_get(event, "time")));
    snprintf(words, sizeof(words), "%s", fields);
    for (char *rest = words, *word; (word = strsep(&rest, " ")); count++)
        cr_expect(json_object_get(event, word), "no '%s' in '%s'", word,
                  json_string_value(json_object_get(event, "event")));
    cr_expect_eq(json_object_size(event), count, "%s",
                 json_string_value(json_object_get(event, "event")));
}

struct counts {
    int start, step, eval, taken, durable, failed, skipped, signal, done;
};

static void check_save(const json_t *event, struct counts *counts)
{
    const char *state = json_string_value(json_object_get(event, "state"));

    must_have(event, "state stall_ms copy_ms write_ms bytes path error");
    cr_expect_eq(json_number_value(json_object_get(event, "stall_ms")),
                 strcmp(state, "skipped") ? 2 : 0);
    cr_expect(json_is_null(json_object_get(event, "write_ms"))
              == (!strcmp(state, "taken") || !strcmp(state, "skipped")));
    cr_expect(json_is_null(json_object_get(event, "error")) == !!strcmp(state, "failed"));
    cr_expect_eq(json_integer_value(json_object_get(event, "bytes")), 129000000);
    counts->taken += !strcmp(state, "taken");
    counts->durable += !strcmp(state, "durable");
    counts->failed += !strcmp(state, "failed");
    counts->skipped += !strcmp(state, "skipped");
}

static void check_step(const json_t *event, struct counts *counts)
{
    const json_int_t step = json_integer_value(json_object_get(event, "step"));
    const json_t *norm = json_object_get(event, "grad_norm");

    must_have(event, "loss ms rate unit lr grad_norm");
    cr_expect_eq(step, ++counts->step);
    // Bit for bit: 17 digits when they are needed.
    cr_expect_eq(json_real_value(json_object_get(event, "loss")), script_loss(step));
    cr_expect_eq(json_real_value(json_object_get(event, "lr")), 3e-4);
    cr_expect(step % 2 ? json_real_value(norm) == 0.71 : json_is_null(norm));
    const double ms = json_real_value(json_object_get(event, "ms"));
    cr_expect_float_eq(json_real_value(json_object_get(event, "rate")) * ms, 8192e3, 1e-3);
}

static void check_done(const json_t *event, struct counts *counts)
{
    const json_t *save = json_object_get(event, "save");

    must_have(event, "steps loss seconds save");
    counts->done++;
    cr_expect_eq(json_integer_value(json_object_get(event, "steps")), 200);
    cr_expect_eq(json_object_size(save), 6);
    cr_expect_eq(json_integer_value(json_object_get(save, "count")), counts->durable);
    cr_expect_eq(json_real_value(json_object_get(save, "stall_ms_p50")), 2);
    cr_expect_eq(json_real_value(json_object_get(save, "stall_ms_max")), 2);
    cr_expect_float_eq(json_real_value(json_object_get(save, "step_ms_p50")), 20, 0.5);
    cr_expect_float_eq(json_real_value(json_object_get(save, "step_ms_p50_while_saving")), 21, 0.5);
    cr_expect_float_eq(json_real_value(json_object_get(save, "extra_steps_per_save")), 1.05, 0.15);
}

static void check_event(const json_t *event, struct counts *counts)
{
    const char *name = json_string_value(json_object_get(event, "event"));

    if (!strcmp(name, "start")) {
        must_have(event, "device ranks params state_bytes host_memory_bytes io resumed_from "
                         "skipped");
        cr_expect(json_is_null(json_object_get(event, "resumed_from")));
        cr_expect_eq(json_array_size(json_object_get(event, "skipped")), 0);
        counts->start++;
    } else if (!strcmp(name, "step")) {
        check_step(event, counts);
    } else if (!strcmp(name, "eval")) {
        must_have(event, "val_loss accuracy seconds");
        counts->eval++;
    } else if (!strcmp(name, "save")) {
        check_save(event, counts);
    } else if (!strcmp(name, "signal")) {
        must_have(event, "name action");
        cr_expect_str_eq(json_string_value(json_object_get(event, "name")), "TERM");
        counts->signal++;
    } else if (!strcmp(name, "done")) {
        check_done(event, counts);
    } else {
        cr_expect_fail("event '%s'", name);
    }
}

Test(files, json_events_have_the_contracts_fields)
{
    struct script s = script_default();
    struct counts counts = { 0 };

    s.options.json = true;
    s.fail_at = 135;
    s.status = 75;
    s.every = 15;
    s.save_ms = 400;
    cr_assert_eq(run(&s), 75);
    char *all = contents(in("out"));
    cr_assert_eq(all[strlen(all) - 1], '\n');
    all[strlen(all) - 1] = '\0';
    for (char *rest = all, *line; (line = strsep(&rest, "\n"));) {
        json_error_t error;
        json_t *event = json_loads(line, 0, &error);

        cr_assert(event, "'%s': %s", line, error.text);
        check_event(event, &counts);
        json_decref(event);
    }
    cr_expect(counts.start == 1 && counts.step == 200 && counts.signal == 1 && counts.done == 1);
    cr_expect_eq(counts.eval, 6);
    cr_expect_gt(counts.skipped, 0);
    cr_expect_eq(counts.failed, 1);
    cr_expect_eq(counts.taken, counts.durable + counts.failed);
    pawl_free(all);
    char *err = contents(in("err"));
    cr_expect_str_eq(err, "pawl: fresh start: runs/a has no snapshot\n"
                          "pawl: the save of step 135 failed: shard-00000.safetensors: No space "
                          "left\n");
    pawl_free(err);
}

Test(files, json_survives_what_is_no_number_and_no_utf8)
{
    struct pawl_report *report = NULL;
    json_t *skipped = json_pack("[{s:i, s:s, s:s}]", "step", 7, "path", "p", "why", "w");
    const struct pawl_report_options options = { .json = true };
    const struct pawl_report_start start = { .device = "host",
                                             .ranks = 1,
                                             .resumed_from = 9,
                                             .skipped = skipped,
                                             .unit = "tokens",
                                             .units_per_step = 1 };
    struct pawl_report_step step = { .step = 10,
                                     .loss = NAN,
                                     .rate_lr = INFINITY,
                                     .grad_norm = -INFINITY,
                                     .start_ns = 5,
                                     .end_ns = 5 };
    struct pawl_save_event save = { .step = 10, .state = PAWL_SAVE_FAILED };
    json_error_t error;
    int rows = 0;

    strcpy(save.path, "runs/\xff\"\\\n");
    strcpy(save.error, "\x01\xc3");
    cr_assert(freopen(in("out"), "w", stdout) && freopen(in("err"), "w", stderr));
    cr_assert_eq(pawl_report_open(&report, &options), 0);
    pawl_report_start(report, &start);
    pawl_report_step(report, &step);
    pawl_report_save(report, &save);
    pawl_report_done(report, 10, NAN, NAN, 0);
    cr_assert_eq(pawl_report_close(report), 0);
    char *all = contents(in("out"));
    for (char *rest = all, *line; (line = strsep(&rest, "\n")) && *line; rows++) {
        json_t *event = json_loads(line, 0, &error);

        cr_assert(event, "'%s': %s", line, error.text);
        if (rows == 0) {
            cr_expect_eq(json_integer_value(json_object_get(event, "resumed_from")), 9);
            cr_expect(json_equal(json_object_get(event, "skipped"), skipped));
        }
        if (rows == 1)
            cr_expect(json_is_null(json_object_get(event, "loss"))
                      && json_is_null(json_object_get(event, "rate"))
                      && json_is_null(json_object_get(event, "lr")));
        if (rows == 2)
            cr_expect_str_eq(json_string_value(json_object_get(event, "path")), "runs/?\"\\ ");
        json_decref(event);
    }
    cr_expect_eq(rows, 4);
    pawl_free(all);
    json_decref(skipped);
}

// ---- plain lines

Test(files, plain_lines)
{
    struct script s = script_default();

    unsetenv("LC_ALL");
    unsetenv("LC_CTYPE");
    setenv("LANG", "C", 1);
    s.options.log_every = 50;
    s.fail_at = 100;
    s.every = 100;
    s.status = 75;
    cr_assert_eq(run(&s), 75);
    char *out = contents(in("out"));
    cr_expect_eq(
        strncmp(out,
                "gpt, 10.8 M parameters on host (made up, 2 threads); text book.txt, 1.1 MB; state "
                "129 MB, kept in 129 MB of host memory\n"
                "step 50/200  loss 3.482  19.5ms/step  421k tokens/s  lr 0.0003\n"
                "step 100/200  loss 2.963  19.0ms/step  431k tokens/s  lr 0.0003\n",
                200),
        0, "%s", out);
    cr_expect(strstr(out, "step 200  val_loss 2.665  accuracy 83.33 %  (4.00ms)\n"), "%s", out);
    cr_expect(strstr(out, "TERM at step 200: save, then exit\n"), "%s", out);
    cr_expect(strstr(out, "stopped at step 200/200 after 4s, loss 2.565; saved: the same command "
                          "goes on from there (exit 75)\n"),
              "%s", out);
    cr_expect(strstr(out, "1 failed; one held training up for 2.00ms (p50)"), "%s", out);
    for (const char *c = out; *c; c++)
        cr_assert(*c == '\n' || (*c >= ' ' && *c <= '~'), "plain lines in C are ASCII");
    pawl_free(out);
}

Test(files, quiet_is_the_end_and_what_went_wrong)
{
    struct script s = script_default();

    s.options.quiet = true;
    s.fail_at = 100;
    cr_assert_eq(run(&s), 0);
    char *out = contents(in("out")), *err = contents(in("err"));
    cr_expect_eq(strncmp(out, "done at step 200/200 after 4s, loss 2.565\n2 saves durable", 56), 0,
                 "%s", out);
    cr_expect(strstr(err, "pawl: the save of step 100 failed: "));
    pawl_free(out);
    pawl_free(err);
}

// ---- files

Test(files, trace_is_what_happened)
{
    struct script s = script_default();
    json_error_t error;
    size_t i;
    json_t *event;
    int steps = 0, copies = 0, persists = 0, losses = 0;

    s.options.trace = in("trace.json");
    cr_assert_eq(run(&s), 0);
    json_t *trace = json_load_file(s.options.trace, 0, &error);
    cr_assert(trace, "%s", error.text);
    json_array_foreach(json_object_get(trace, "traceEvents"), i, event)
    {
        const char *phase = json_string_value(json_object_get(event, "ph"));
        const json_int_t lane = json_integer_value(json_object_get(event, "tid"));

        if (!strcmp(phase, "X")) {
            steps += lane == 1;
            copies += lane == 2;
            persists += lane == 3;
            cr_expect_geq(json_number_value(json_object_get(event, "dur")), 0);
        }
        losses += !strcmp(phase, "C");
    }
    cr_expect(steps == 200 && losses == 200 && copies == 3 && persists == 3);
    json_decref(trace);
}

Test(files, metrics_are_prometheus_text)
{
    struct script s = script_default();
    int values = 0;

    s.options.metrics = in("m.prom");
    s.fail_at = 50;
    cr_assert_eq(run(&s), 0);
    char *all = contents(s.options.metrics);
    cr_expect(strstr(all, "\npawl_step 200\n"));
    cr_expect(strstr(all, "\npawl_saves_total{state=\"durable\"} 2\n"));
    cr_expect(strstr(all, "\npawl_saves_total{state=\"failed\"} 1\n"));
    cr_expect(strstr(all, "\npawl_durable_step 150\n"));
    cr_expect(strstr(all, "pawl_run_info{model=\"gpt, 10.8 M parameters\",device=\"host\"} 1\n"));
    for (char *rest = all, *line; (line = strsep(&rest, "\n")) && *line;) {
        char name[64], after;

        if (!strncmp(line, "# HELP pawl_", 12) || !strncmp(line, "# TYPE pawl_", 12))
            continue;
        cr_expect_eq(sscanf(line, "pawl_%63[a-z0-9_]%c", name, &after), 2, "%s", line);
        cr_expect(after == ' ' || after == '{', "%s", line);
        const char *number = strrchr(line, ' ') + 1;
        char *end;
        strtod(number, &end);
        cr_expect(*number && !*end, "%s", line);
        values++;
    }
    cr_expect_gt(values, 15);
    pawl_free(all);
}

Test(files, the_page_needs_nothing_else)
{
    static const char *const foreign[] = { "http:",   "https:", "src=", "<script", "url(",
                                           "@import", "<link",  "nan",  "inf,",    "(null)" };
    struct script s = script_default();

    s.options.html = in("r.html");
    s.fail_at = 100;
    cr_assert_eq(run(&s), 0);
    char *page = contents(s.options.html);
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        cr_expect_null(strstr(page, foreign[i]), "'%s'", foreign[i]);
    int charts = 0;
    for (const char *c = page; (c = strstr(c, "<svg")); c++)
        charts++;
    cr_expect_eq(charts, 4);
    cr_expect(strstr(page, "prefers-color-scheme:dark"));
    cr_expect(strstr(page, "width=device-width"));
    cr_expect(strstr(page, "<td>100</td><td>failed</td>"));
    cr_expect(strstr(page, "No space left"));
    cr_expect(strstr(page, "</html>\n"));
    pawl_free(page);
}

// ---- refusals

Test(files, a_file_that_cannot_be_made_is_told_before_the_run)
{
    struct pawl_report *report = NULL;
    struct pawl_report_options options = { .html = "/nowhere/r.html" };

    cr_expect_eq(pawl_report_open(&report, &options), PAWL_EIO);
    cr_expect_str_eq(pawl_error(), "/nowhere/r.html: cannot be made: No such file or directory. "
                                   "try: mkdir -p /nowhere/");
    options = (struct pawl_report_options){ .trace = directory };
    cr_expect_eq(pawl_report_open(&report, &options), PAWL_EIO);
    cr_expect(strstr(pawl_error(), "is a directory; --trace names a file"));
    options = (struct pawl_report_options){ .tensorboard = in("out/tb") };
    cr_assert(fclose(fopen(in("out"), "w")) == 0);
    cr_expect_eq(pawl_report_open(&report, &options), PAWL_EIO);
    cr_expect(strstr(pawl_error(), "cannot be made: Not a directory"), "%s", pawl_error());
    cr_expect_null(report);
}

Test(files, a_file_that_fails_at_the_end_is_no_success)
{
    struct pawl_report *report = NULL;
    const struct pawl_report_options options = { .html = in("gone/r.html"), .quiet = true };

    cr_assert_eq(pawl_io()->mkdir(in("gone"), 0755), 0);
    cr_assert_eq(pawl_report_open(&report, &options), 0);
    cr_assert_eq(pawl_io()->rmdir(in("gone")), 0);
    cr_expect_eq(pawl_report_close(report), PAWL_EIO);
    cr_expect(strstr(pawl_error(), "r.html: cannot be written: "), "%s", pawl_error());
}
