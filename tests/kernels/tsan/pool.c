// pool: every block is worked exactly once, by a thread that exists, for any number of threads.

#include <stdint.h>
#include <stdio.h>

#include "kernels/thread.h"

enum { BLOCKS = 1000, ROUNDS = 50 };

struct tally {
    int threads;                  // in the pool
    unsigned char times[BLOCKS];  // one owner each, so no lock: ThreadSanitizer checks that claim
};

static void count(void *arguments, int64_t block, int thread)
{
    struct tally *tally = arguments;

    tally->times[block]++;
    if (thread < 0 || thread >= tally->threads)
        tally->times[block] = 255;
}

static int check(int threads)
{
    struct pawl_pool *pool;
    int wrong = 0;

    if (pawl_pool_open(&pool, threads)) {
        fprintf(stderr, "%s\n", pawl_error());
        return 1;
    }
    for (int round = 0; round < ROUNDS; round++) {
        struct tally tally = { .threads = threads };

        pawl_pool_run(pool, BLOCKS, count, &tally);
        for (int block = 0; block < BLOCKS; block++)
            wrong += tally.times[block] != 1;
    }
    pawl_pool_close(pool);
    if (wrong)
        fprintf(stderr, "%d threads: %d blocks not worked exactly once\n", threads, wrong);
    return wrong != 0;
}

int main(void)
{
    return check(1) + check(2) + check(5);
}
