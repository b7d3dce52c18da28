// common.h - what the tests of kernels share: every instruction set, 1 to 3 threads, fenced memory.
//
//     for (int i = 0; i < COMMON_SETS; i++) {
//         if (!common_open(&set, i)) continue;
//         set.stream[t]->device->ops->linear(set.stream[t], ...)      // t + 1 threads
//         common_close(&set);
//     }

#ifndef PAWL_TESTS_COMMON_H
#define PAWL_TESTS_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/device.h"

// The three sets that the host device knows, the 16-lane source compiled for AVX2, and the GPU's
// kernels on fibers (kernels/simt): those have no threads, but an order of their own in each call.
// The last is the device that PAWL_TEST_DEVICE names (common_device.c).
enum { COMMON_SETS = 6, COMMON_THREADS = 3 };

struct common_set {
    const char *name;
    struct pawl_device *device[COMMON_THREADS];
    struct pawl_stream *stream[COMMON_THREADS];
};

// false: this processor lacks the set.
bool common_open(struct common_set *set, int index);
void common_close(struct common_set *set);

// Zeroed memory that ends where a page begins that nobody may touch. What lies in front is
// compared by common_check(). Freed, all of it, by common_release().
float *common_floats(int64_t count);
int32_t *common_ints(int64_t count);
void common_check(const char *where);
void common_release(void);
// The i-th block since the last release; false: there are not so many.
bool common_block(int i, void **memory, size_t *bytes);

// common_device.c
const struct pawl_ops *common_device_ops(void);  // NULL: no such device is asked for
void common_device_forget(void);

double *common_doubles(int64_t count);

// A new block with the floats as doubles, for plain.h.
double *common_widen(const float *in, int64_t count);

// check(set, shape) for every set there is and every shape of a table; fences checked, memory
// released after each.
void common_each(void (*check)(const struct common_set *set, const void *shape),
                 const void *shapes, size_t size, int count);

// The slope of loss(context) along *at, an input that it reads, by a central difference. Compared
// with `expected` to six digits or so.
void common_expect_slope(const char *where, double (*loss)(const void *context),
                         const void *context, double *at, double expected);

// Numbers between -1 and 1 that depend on seed alone.
void common_fill(float *out, int64_t count, uint64_t seed);
// NaN, so that an element that nobody wrote cannot pass.
void common_poison(float *out, int64_t count);

// Each actual within absolute + relative * |expected| of the expected; NaN where that is NaN.
void common_expect(const char *where, const float *actual, const double *expected, int64_t count,
                   double absolute, double relative);
// The same bits.
void common_expect_same(const char *where, const float *actual, const float *expected,
                        int64_t count);

#endif
