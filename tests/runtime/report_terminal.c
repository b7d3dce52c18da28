// report on a terminal: a pseudo-terminal of a given width, and what a screen would then show.

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/runtime/plain_report.h"

enum { OUTPUT_MAX = 1 << 20 };

static char output[OUTPUT_MAX];  // all that came out of the terminal's other end

// Runs the script in a child on a terminal of that many columns; end: SIGKILL it after some output.
static int run_on(const struct script *script, unsigned short columns, bool killed)
{
    const struct winsize size = { .ws_row = 24, .ws_col = columns };
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    size_t used = 0;
    ssize_t n;
    int status;

    cr_assert(master >= 0 && !grantpt(master) && !unlockpt(master));
    cr_assert_eq(ioctl(master, TIOCSWINSZ, &size), 0);
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    const pid_t pid = fork();
    if (!pid) {
        dup2(slave, STDOUT_FILENO);
        dup2(slave, STDERR_FILENO);
        _exit(script_run(script));
    }
    close(slave);
    while ((n = read(master, output + used, OUTPUT_MAX - 1 - used)) > 0) {
        used += (size_t)n;
        if (killed && used > 500)
            kill(pid, SIGKILL);
    }
    output[used] = '\0';
    close(master);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A screen that knows what the report uses: \r \n, ESC[K, ESC[J, ESC[nA and colours. Every line is
// kept; *longest: the most columns that stood in one.
struct screen {
    char lines[600][256];  // one byte for each column: '~' for a character that is not ASCII
    int row, column, last, longest, colours, frames;
};

static void escape(struct screen *s, const char **c)
{
    const int number = atoi(*c + 2);
    const char end = (*c)[2 + strspn(*c + 2, "0123456789;")];

    *c += 2 + strspn(*c + 2, "0123456789;");
    switch (end) {
    case 'K':
        memset(s->lines[s->row] + s->column, 0, 256 - (size_t)s->column);
        s->frames++;
        break;
    case 'J':
        for (int i = s->row; i <= s->last; i++)
            memset(s->lines[i] + (i == s->row ? s->column : 0), 0,
                   256 - (size_t)(i == s->row ? s->column : 0));
        break;
    case 'A':
        s->row -= number;
        break;
    case 'm':
        s->colours++;
        break;
    default:
        cr_assert_fail("ESC [ ... %c", end);
    }
}

static void show(struct screen *s)
{
    memset(s, 0, sizeof(*s));
    for (const char *c = output; *c; c++) {
        if (*c == '\x1b') {
            escape(s, &c);
        } else if (*c == '\r') {
            s->column = 0;
        } else if (*c == '\n') {
            s->row++;
            cr_assert_lt(s->row, 600);
            if (s->row > s->last)
                s->last = s->row;
        } else if (((unsigned char)*c & 0xc0) != 0x80) {
            cr_assert_lt(s->column, 255);
            s->lines[s->row][s->column++] = (unsigned char)*c < 0x80 ? *c : '~';
            if (s->column > s->longest)
                s->longest = s->column;
        }
    }
}

static void set_up(void)
{
    setenv("TERM", "xterm", 1);
    unsetenv("LC_ALL");
    unsetenv("LC_CTYPE");
    setenv("LANG", "C.UTF-8", 1);
    unsetenv("NO_COLOR");
}

TestSuite(terminal, .init = set_up);

static struct script real_script(void)
{
    struct script s = script_default();

    s.real = true;
    s.steps = 60;
    s.every = 15;
    s.ms = 8;
    s.save_ms = 60;
    return s;
}

static const char *find(const struct screen *s, const char *words)
{
    for (int i = 0; i <= s->last; i++)
        if (strstr(s->lines[i], words))
            return s->lines[i];
    return NULL;
}

Test(terminal, no_line_reaches_the_last_column)
{
    static const unsigned short widths[] = { 20, 33, 40, 80, 200 };
    const struct script s = real_script();
    static struct screen screen;

    for (int i = 0; i < 5; i++) {
        cr_assert_eq(run_on(&s, widths[i], false), 0);
        // Notes go to stderr as they are; every other line is broken to fit.
        char *note = strstr(output, "pawl: fresh");
        memmove(note, strchr(note, '\n'), strlen(strchr(note, '\n')) + 1);
        show(&screen);
        cr_expect_lt(screen.longest, widths[i], "%d columns of %d", screen.longest, widths[i]);
        cr_expect_gt(screen.longest, widths[i] < 100 ? widths[i] / 2 : 60);
        cr_expect_gt(screen.frames, 4);
        cr_expect(screen.colours > 0);
    }
}

Test(terminal, the_end_stands_alone)
{
    const struct script s = real_script();
    static struct screen screen;

    cr_assert_eq(run_on(&s, 80, false), 0);
    show(&screen);
    // No progress line is left over, and the cursor is below everything.
    cr_expect_null(find(&screen, "/step loss"), "%s", find(&screen, "/step loss"));
    cr_expect(find(&screen, "done at step 60/60"));
    cr_expect(find(&screen, "saves durable; one held"));
    cr_expect_eq(screen.column, 0);
    cr_expect_eq(screen.row, screen.last);
    cr_expect(strstr(output, "/step loss"), "there was one");
    cr_expect(strstr(output, "save "), "it told of the save");
}

Test(terminal, without_colours_and_in_ascii)
{
    const struct script s = real_script();
    static struct screen screen;

    setenv("NO_COLOR", "1", 1);
    setenv("LANG", "C", 1);
    cr_assert_eq(run_on(&s, 80, false), 0);
    show(&screen);
    cr_expect_eq(screen.colours, 0);
    for (const char *c = output; *c; c++)
        cr_assert((unsigned char)*c < 0x80);
    cr_expect(strstr(output, "=---"));
}

Test(terminal, dumb_is_plain)
{
    const struct script s = real_script();

    setenv("TERM", "dumb", 1);
    cr_assert_eq(run_on(&s, 80, false), 0);
    cr_expect_null(strchr(output, '\x1b'));
    cr_expect(strstr(output, "step 60/60  loss "));
    unsetenv("TERM");
    cr_assert_eq(run_on(&s, 80, false), 0);
    cr_expect_null(strchr(output, '\x1b'));
}

Test(terminal, nothing_needs_to_be_undone)
{
    struct script s = real_script();
    static struct screen screen;

    // Killed in the middle, the terminal has no mode, colour or hidden cursor left over.
    run_on(&s, 80, true);
    cr_expect_null(strstr(output, "\x1b[?"));
    const char *last = NULL;
    for (const char *c = output; (c = strstr(c, "\x1b[")); c++)
        if (c[2 + strspn(c + 2, "0123456789;")] == 'm')
            last = c;
    cr_expect(!last || !strncmp(last, "\x1b[0m", 4));
    // Closed without a last word, the line stays and the cursor goes below it.
    s.quiet_end = true;
    cr_assert_eq(run_on(&s, 80, false), 0);
    show(&screen);
    cr_expect(find(&screen, "60/60 ") || find(&screen, "loss"));
    cr_expect_eq(screen.column, 0);
}

Test(terminal, a_failed_save_is_told_above_the_line)
{
    struct script s = real_script();
    static struct screen screen;

    s.fail_at = 30;
    cr_assert_eq(run_on(&s, 80, false), 0);
    show(&screen);
    cr_expect(find(&screen, "pawl: the save of step 30 failed: shard-00000.safetensors: No space"));
}
