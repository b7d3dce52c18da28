// reduce: sum and norm of any length, to the last bits and the same for any number of threads.

#include <criterion/criterion.h>
#include <math.h>

#include "kernels/digest.h"
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

// Whole and cut anywhere at a word's border, for any number of threads; and each bit counts.
static void check_digest(const struct common_set *set, const void *shape)
{
    const int64_t n = *(const int64_t *)shape, bytes = n * 4 - (n % 3);
    float *x = common_floats(n + 1);
    uint64_t whole[2] = { 0 }, parts[2] = { 0 };
    uint64_t(*out)[2] = (uint64_t(*)[2])common_doubles(2 * COMMON_THREADS);
    const size_t cut = n ? (size_t)bytes / 24 * 8 : 0;

    common_fill(x, n, 7);
    if (bytes <= 0) return;
    pawl_digest_add(whole, x, (size_t)bytes, 0);
    pawl_digest_add(parts, (char *)x + cut, (size_t)bytes - cut, cut / 8);
    pawl_digest_add(parts, x, cut, 0);
    cr_assert(parts[0] == whole[0] && parts[1] == whole[1]);
    for (int t = 0; t < COMMON_THREADS; t++) {
        set->device[t]->ops->digest(set->stream[t], out[t], x, bytes);
        cr_assert(out[t][0] == whole[0] && out[t][1] == whole[1]);
    }
    ((unsigned char *)x)[bytes - 1] ^= 0x10;
    set->device[0]->ops->digest(set->stream[0], out[0], x, bytes);
    cr_assert(out[0][0] != whole[0] && out[0][1] != whole[1]);
}

Test(reduce, digest_is_the_same_everywhere)
{
    common_each(check_digest, sizes, sizeof(sizes[0]), SIZES);
}
