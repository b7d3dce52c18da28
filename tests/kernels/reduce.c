// reduce: sum and norm of any length, to the last bits and the same for any number of threads.

#include <criterion/criterion.h>
#include <math.h>

#include "tests/kernels/common.h"

// Around vectors, pieces of 1024 and blocks of 65,536.
static const int64_t sizes[] = { 0,    1,    3,    15,    16,    17,     33,     1000,
                                 1023, 1024, 1025, 65535, 65536, 65537, 300001, 3000003 };
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static void check(const struct common_set *set, const void *shape)
{
    const int64_t n = *(const int64_t *)shape;
    float *x = common_floats(n), *out = common_floats(2 * COMMON_THREADS);
    double sum = 0, squares = 0, size = 0;

    common_fill(x, n, 1);
    for (int64_t i = 0; i < n; i++) {
        x[i] += 0.25f;
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
        size += fabs((double)x[i]);
    }
    for (int t = 0; t < COMMON_THREADS; t++) {
        set->device[t]->ops->sum(set->stream[t], out + 2 * t, x, n);
        set->device[t]->ops->norm(set->stream[t], out + 2 * t + 1, x, n, 0.5f);
        common_expect("sum", out + 2 * t, &sum, 1, 1e-7 * size, 1e-6);
        common_expect("norm", out + 2 * t + 1, (double[]){ sqrt(squares) / 2 }, 1, 0, 3e-7);
        common_expect_same("threads", out + 2 * t, out, 2);
    }
    if (!n) return;
    x[n / 2] = NAN;
    set->device[1]->ops->sum(set->stream[1], out, x, n);
    set->device[1]->ops->norm(set->stream[1], out + 1, x, n, 1);
    cr_assert(isnan(out[0]) && isnan(out[1]));
}

Test(reduce, follows_its_definition)
{
    common_each(check, sizes, sizeof(sizes[0]), SIZES);
}
