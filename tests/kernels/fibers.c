// test: cxx
// fibers: what libpawl-simt.so's engine should notice it notices, in any order of fibers, and sound
// kernels pass.

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/broken.h"

// A part of the reason. watched: seen by the watch over memory, which a sanitizer's build lacks.
static const struct {
    const char *words;
    bool watched;
} expected[BROKEN_KINDS] = {
    [BROKEN_LEFT] = { "kernel left, block (", false },
    [BROKEN_APART] = { "threads meet at different barriers, broken.cu:", false },
    [BROKEN_LANE] = { "0 wait at a barrier (?:0), 31 in a warp (cuda.h:", false },
    [BROKEN_EXCHANGES] = { "threads meet at different exchanges, broken.cu:", false },
    [BROKEN_MASK] = { "a mask that is not full, at broken.cu:", false },
    [BROKEN_PART] = { "an exchange in a warp of 16 threads, at cuda.h:", false },
    [BROKEN_THREADS] = { "2048 threads, not 1 to 1024", false },
    [BROKEN_SHARED] = { "1048576 bytes of shared memory, at most 232448", false },
    [BROKEN_UNWRITTEN] = { "of shared memory, which nobody has written", true },
    [BROKEN_STALE] = { "of shared memory, which nobody has written", true },
    [BROKEN_PAST] = { "thread 63 writes byte 127 of 127 of shared memory", true },
    [BROKEN_RACE_READ] = { "with no barrier in between", true },
    [BROKEN_RACE_WRITE] = { "with no barrier in between", true },
    [BROKEN_RACE_WARP] = { "with no barrier in between", true },
    [BROKEN_RACE_VOTE] = { "with no barrier in between", true },
    [BROKEN_RACE_SAME] = { "overwrites what another wrote, byte 0 of", true },
};

static const char *const seeds[] = { "0", "1", "2", "3", "4", "5", "6", "7" };
enum { SEEDS = sizeof(seeds) / sizeof(seeds[0]) };

Test(fibers, broken_kernels_are_noticed)
{
    const char *sanitizer = getenv("PAWL_SANITIZE");
    const bool watched = !sanitizer || !*sanitizer;

    for (int seed = 0; seed < SEEDS; seed++)
        for (int kind = 0; kind < BROKEN_KINDS; kind++) {
            if (expected[kind].watched && !watched) continue;
            setenv("PAWL_SIMT_SEED", seeds[seed], 1);
            const char *reason = broken_run((enum broken)kind);
            cr_assert(reason && strstr(reason, expected[kind].words), "seed %s, %d: %s",
                      seeds[seed], kind, reason ? reason : "not noticed");
        }
}

Test(fibers, sound_kernels_pass)
{
    for (int seed = 0; seed < SEEDS; seed++)
        for (int kind = BROKEN_KINDS; kind < SOUND_KINDS; kind++) {
            setenv("PAWL_SIMT_SEED", seeds[seed], 1);
            // After one that left its fibers in the middle, too.
            cr_assert(broken_run(BROKEN_LEFT));
            const char *reason = broken_run((enum broken)kind);
            cr_assert(!reason, "seed %s, %d: %s", seeds[seed], kind, reason);
        }
}

// Without the watch nothing is known about shared memory; it can be asked for less.
Test(fibers, the_watch_can_be_off)
{
    setenv("PAWL_SIMT_SEED", "1", 1);
    setenv("PAWL_SIMT_WATCH", "0", 1);
    cr_assert(!broken_run(BROKEN_RACE_SAME));
    cr_assert(broken_run(BROKEN_LEFT));
}
