// signals.c - handlers that only touch lock-free atomics, and last words by write(2).

#include "runtime/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_AGAIN = 75,              // saved, run me again
    SAME_SIGNAL_NS = 1000000000,  // a launcher and its shell often both pass a signal on
    SIGNALS_MAX = 65,
};
static const uint64_t none_durable = UINT64_MAX;

// Written by handlers on any thread, read by pawl_signals_pending (pending) and by other handlers.
static _Atomic int pending;
static _Atomic int stop_count;                   // of TERM and INT that counted
static _Atomic int64_t counted_ns[SIGNALS_MAX];  // when each last counted; 0: never
// Written by pawl_signals_durable, read by handlers.
static _Atomic uint64_t durable = UINT64_MAX;
static bool on_terminal;  // set before the handlers

static const struct {
    int number;
    const char *name;
} signals[] = {
    { SIGTERM, "TERM" }, { SIGINT, "INT" }, { SIGUSR1, "USR1" },
    { SIGUSR2, "USR2" }, { SIGHUP, "HUP" },
};
enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };

static char *append(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    return to;
}

static char *append_number(char *to, uint64_t value)
{
    char digits[20];
    int n = 0;

    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n)
        *to++ = digits[--n];
    return to;
}

static _Noreturn void end_now(int number)
{
    const uint64_t step = atomic_load(&durable);
    char line[160], *to = line;

    // A progress line may stand there unfinished.
    if (on_terminal)
        to = append(to, "\r\n");
    to = append(to, "pawl: second ");
    to = append(to, pawl_signal_name(number));
    if (step == none_durable) {
        to = append(to, ": ending at once; no step of this run is durable yet\n");
    } else {
        to = append(to, ": ending at once; step ");
        to = append_number(to, step);
        to = append(to, " is durable. try: the same command, to go on from it\n");
    }
    // Nobody is left to tell when this fails.
    if (write(STDERR_FILENO, line, (size_t)(to - line)) < 0)
        _exit(EXIT_AGAIN);
    _exit(EXIT_AGAIN);
}

static void handle(int number)
{
    struct timespec now;
    int none = 0;

    // Not pawl_io()'s clock: a table that a test put there need not be async-signal-safe.
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    int64_t before_ns = atomic_load(&counted_ns[number]);

    if (before_ns && now_ns - before_ns < SAME_SIGNAL_NS)
        return;
    // Two threads may run this for the same signal: one of them counts.
    if (!atomic_compare_exchange_strong(&counted_ns[number], &before_ns, now_ns))
        return;
    atomic_compare_exchange_strong(&pending, &none, number);
    if ((number == SIGTERM || number == SIGINT) && atomic_fetch_add(&stop_count, 1) > 0)
        end_now(number);
}

void pawl_signals_install(void)
{
    struct sigaction action = { .sa_handler = handle, .sa_flags = SA_RESTART }, before;

    on_terminal = isatty(STDERR_FILENO);
    sigfillset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++) {
        // nohup: whoever said that a hangup means nothing is taken at their word.
        if (signals[i].number == SIGHUP && !sigaction(SIGHUP, NULL, &before)
            && before.sa_handler == SIG_IGN)
            continue;
        sigaction(signals[i].number, &action, NULL);
    }
    // A reader that went away and a file that grew too large are failures of a write, not an end.
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

int pawl_signals_pending(void)
{
    return atomic_load_explicit(&pending, memory_order_relaxed);
}

const char *pawl_signal_name(int number)
{
    for (int i = 0; i < SIGNALS; i++)
        if (signals[i].number == number)
            return signals[i].name;
    return "signal";
}

void pawl_signals_durable(uint64_t step)
{
    atomic_store(&durable, step);
}
