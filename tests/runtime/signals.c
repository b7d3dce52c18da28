// signals: what asks a run to end, what ends it at once, and what counts once.

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/signals.h"

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL);
}

// Runs `body` in a child whose stderr goes to *words; the child ends with 3 when body returns.
static int child(void (*body)(void), char *words, size_t words_bytes)
{
    int ends[2], status;
    ssize_t n = 0, got;

    cr_assert_eq(pipe(ends), 0);
    const pid_t pid = fork();
    if (!pid) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        body();
        _exit(3);
    }
    close(ends[1]);
    while ((got = read(ends[0], words + n, words_bytes - 1 - (size_t)n)) > 0)
        n += got;
    words[n] = '\0';
    close(ends[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Test(signals, each_asks_once_and_the_first_is_remembered)
{
    static const int numbers[] = { SIGUSR1, SIGTERM, SIGUSR2, SIGHUP };

    pawl_signals_install();
    cr_assert_eq(pawl_signals_pending(), 0);
    for (int i = 0; i < 4; i++) {
        raise(numbers[i]);
        cr_assert_eq(pawl_signals_pending(), SIGUSR1);
    }
}

Test(signals, names_are_as_in_the_events)
{
    cr_assert_str_eq(pawl_signal_name(SIGTERM), "TERM");
    cr_assert_str_eq(pawl_signal_name(SIGINT), "INT");
    cr_assert_str_eq(pawl_signal_name(SIGUSR1), "USR1");
    cr_assert_str_eq(pawl_signal_name(SIGUSR2), "USR2");
    cr_assert_str_eq(pawl_signal_name(SIGHUP), "HUP");
}

static void twice_at_once(void)
{
    pawl_signals_install();
    raise(SIGTERM);
    raise(SIGTERM);
    pause_ms(100);
    raise(SIGTERM);
}

Test(signals, the_same_within_a_second_counts_once)
{
    char words[200];

    cr_assert_eq(child(twice_at_once, words, sizeof(words)), 3);
    cr_assert_str_eq(words, "");
}

static void twice_apart(void)
{
    pawl_signals_install();
    raise(SIGTERM);
    pawl_signals_durable(120);
    pause_ms(1100);
    raise(SIGTERM);
}

Test(signals, a_second_term_ends_with_75_and_names_the_durable_step)
{
    char words[200];

    cr_assert_eq(child(twice_apart, words, sizeof(words)), 75);
    cr_assert_str_eq(words, "pawl: second TERM: ending at once; step 120 is durable. "
                            "try: the same command, to go on from it\n");
}

static void term_then_int(void)
{
    pawl_signals_install();
    raise(SIGTERM);
    raise(SIGINT);
}

Test(signals, a_different_one_counts_at_once)
{
    char words[200];

    cr_assert_eq(child(term_then_int, words, sizeof(words)), 75);
    cr_assert_str_eq(words,
                     "pawl: second INT: ending at once; no step of this run is durable yet\n");
}

static void others_repeat(void)
{
    pawl_signals_install();
    for (int i = 0; i < 2; i++) {
        raise(SIGUSR1);
        raise(SIGUSR2);
        raise(SIGHUP);
        if (!i)
            pause_ms(1100);
    }
    raise(SIGTERM);  // the first of its kind
}

Test(signals, only_term_and_int_end_a_run_by_repeating)
{
    char words[200];

    cr_assert_eq(child(others_repeat, words, sizeof(words)), 3);
}

static void no_reader(void)
{
    int ends[2];

    pawl_signals_install();
    if (pipe(ends))
        _exit(4);
    close(ends[0]);
    if (write(ends[1], "x", 1) >= 0)
        _exit(5);  // EPIPE, not death
    raise(SIGXFSZ);
}

Test(signals, a_gone_reader_and_a_full_file_are_no_end)
{
    char words[200];

    cr_assert_eq(child(no_reader, words, sizeof(words)), 3);
}

static void under_nohup(void)
{
    signal(SIGHUP, SIG_IGN);
    pawl_signals_install();
    raise(SIGHUP);
    if (pawl_signals_pending())
        _exit(4);
}

Test(signals, nohup_is_taken_at_its_word)
{
    char words[200];

    cr_assert_eq(child(under_nohup, words, sizeof(words)), 3);
}

static void *storm(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        kill(getpid(), SIGUSR1);
        kill(getpid(), SIGTERM);
    }
    return NULL;
}

static void storms(void)
{
    pthread_t threads[4];

    pawl_signals_install();
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, storm, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

Test(signals, a_storm_from_several_threads_counts_as_one_each_second)
{
    char words[200];
    struct timespec from, to;

    clock_gettime(CLOCK_MONOTONIC, &from);
    const int status = child(storms, words, sizeof(words));
    clock_gettime(CLOCK_MONOTONIC, &to);
    // On a machine so slow that the storm took a second, a later TERM is rightly a second one.
    if (to.tv_sec - from.tv_sec < 1)
        cr_assert_eq(status, 3);
    else
        cr_assert(status == 3 || status == 75);
}
