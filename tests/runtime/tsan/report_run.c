// report, told by one thread and written by another: a made-up run through every output.
//
// Without arguments: a test, also under ThreadSanitizer. With arguments: a run to look at, e.g.
//     runtime-report_run --steps 400 --ms 20 --every 50 --real [--json] [--report F] ...
// --real sleeps as long as the steps would take; otherwise their times are only told.

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/runtime/plain_report.h"

static int fail(const char *words)
{
    fprintf(stderr, "report_run: %s\n", words);
    return 1;
}

// A reader of a pipe that is slower than the writer, and may go away early.
struct reader {
    int fd;
    long lines_wanted;  // then it closes; 0: reads to the end
    long lines, steps, last_step;
    bool out_of_order, done_seen;
};

static void read_line(struct reader *r, const char *line)
{
    long step;

    r->lines++;
    r->done_seen = strstr(line, "\"event\":\"done\"") != NULL;
    if (sscanf(line, "{\"event\":\"step\",\"step\":%ld", &step) != 1)
        return;
    r->out_of_order |= step != r->last_step + 1;
    r->last_step = step;
    r->steps++;
}

static void *read_slowly(void *argument)
{
    struct reader *r = argument;
    FILE *file = fdopen(r->fd, "r");
    char *line = NULL;
    size_t room = 0;

    while (getline(&line, &room, file) > 0) {
        read_line(r, line);
        if (r->lines == r->lines_wanted)
            break;
        if (r->lines % 500 == 0)
            nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    }
    free(line);
    fclose(file);
    return NULL;
}

// Runs the script with stdout in a pipe to the reader; the script's exit code.
static int run_into(struct reader *reader, const struct script *script)
{
    const int before = dup(STDOUT_FILENO);
    pthread_t thread;
    int ends[2];

    if (pipe(ends))
        return -1;
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    reader->fd = ends[0];
    pthread_create(&thread, NULL, read_slowly, reader);
    const int status = script_run(script);
    dup2(before, STDOUT_FILENO);  // the last writer: the reader sees the end
    close(before);
    pthread_join(thread, NULL);
    return status;
}

// Five times as many events as the queue holds, and none may be lost.
static int slow_reader(void)
{
    struct script script = script_default();
    struct reader reader = { .fd = -1 };

    script.options.json = true;
    script.steps = 20000;
    script.every = 0;  // saves wait for one of 16 places, long before 4,096 steps do
    script.ms = 0.01;
    if (run_into(&reader, &script))
        return fail("the run of the slow reader failed");
    if (reader.steps != 20000 || reader.out_of_order || !reader.done_seen)
        return fail("the slow reader did not get every event in order");
    return 0;
}

static int gone_reader(void)
{
    struct script script = script_default();
    struct reader reader = { .lines_wanted = 10 };

    script.options.json = true;
    script.steps = 10000;
    script.ms = 0.01;
    if (run_into(&reader, &script))
        return fail("the run stopped because its reader went away");
    return reader.lines == 10 ? 0 : fail("the reader that goes away read something else");
}

// Every output at once, in a directory of its own.
static int all_outputs(void)
{
    char directory[] = "/tmp/pawl-report-XXXXXX", names[4][64], command[64];
    const char *const files[] = { "r.html", "r.json", "tb", "r.prom" };
    struct script script = script_default();
    struct reader reader = { .fd = -1 };

    if (!mkdtemp(directory))
        return fail("no temporary directory");
    for (int i = 0; i < 4; i++)
        snprintf(names[i], sizeof(names[i]), "%s/%s", directory, files[i]);
    script.options.html = names[0];
    script.options.trace = names[1];
    script.options.tensorboard = names[2];
    script.options.metrics = names[3];
    script.steps = 5000;
    script.every = 20;
    script.fail_at = 200;
    script.ms = 0.1;
    script.save_ms = 1;
    int rc = run_into(&reader, &script) ? fail("the run with every output failed") : 0;
    for (int i = 0; !rc && i < 4; i++)
        if (access(names[i], R_OK))
            rc = fail(names[i]);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command) ? fail("cannot clean up") : rc;
}

static int look(int argc, char **argv)
{
    struct script s = script_default();

    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        const struct {
            const char *name;
            bool *field;
        } switches[] = { { "--real", &s.real },
                         { "--json", &s.options.json },
                         { "--quiet", &s.options.quiet },
                         { "--no-done", &s.quiet_end } };
        const struct {
            const char *name;
            int64_t *count;
            double *number;
            const char **text;
        } values[] = { { "--steps", &s.steps, NULL, NULL },
                       { "--every", &s.every, NULL, NULL },
                       { "--fail-at", &s.fail_at, NULL, NULL },
                       { "--log-every", &s.options.log_every, NULL, NULL },
                       { "--ms", NULL, &s.ms, NULL },
                       { "--save-ms", NULL, &s.save_ms, NULL },
                       { "--stall-ms", NULL, &s.stall_ms, NULL },
                       { "--report", NULL, NULL, &s.options.html },
                       { "--trace", NULL, NULL, &s.options.trace },
                       { "--tensorboard", NULL, NULL, &s.options.tensorboard },
                       { "--metrics", NULL, NULL, &s.options.metrics } };

        for (size_t j = 0; j < sizeof(switches) / sizeof(switches[0]); j++)
            if (!strcmp(flag, switches[j].name))
                *switches[j].field = true;
        for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
            if (strcmp(flag, values[j].name))
                continue;
            if (values[j].count)
                *values[j].count = atoll(value);
            if (values[j].number)
                *values[j].number = atof(value);
            if (values[j].text)
                *values[j].text = value;
            i++;
        }
    }
    return script_run(&s);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return look(argc, argv);
    signal(SIGPIPE, SIG_IGN);  // as a run has it
    return slow_reader() || gone_reader() || all_outputs();
}
