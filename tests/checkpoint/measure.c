// test: tool
// measure.c - measure SECONDS MEBIBYTES COMMAND...: runs it, and fails with 99 when it took more.
//
// Its exit code is the command's, or 98 when that died of a signal.

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **words)
{
    struct timespec begin, end;
    struct rusage use;
    int status = 0;

    if (count < 4) return 64;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    const pid_t child = fork();
    if (child == 0) {
        execvp(words[3], words + 3);
        _exit(97);
    }
    if (child < 0 || wait4(child, &status, 0, &use) < 0) return 96;
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double seconds = (double)(end.tv_sec - begin.tv_sec)
                           + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9;
    const double mebibytes = (double)use.ru_maxrss / 1024;
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "measure: it died of signal %d\n", WTERMSIG(status));
        return 98;
    }
    if (seconds > strtod(words[1], NULL) || mebibytes > strtod(words[2], NULL)) {
        fprintf(stderr, "measure: it took %.2f s and %.1f MiB\n", seconds, mebibytes);
        return 99;
    }
    return WEXITSTATUS(status);
}
