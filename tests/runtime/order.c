// order: the keyed permutation is one, for every size, and looks shuffled.

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/order.h"

static void assert_bijective(uint64_t samples, uint64_t seed, uint64_t epoch)
{
    const struct pawl_order order = pawl_order(samples, seed);
    unsigned char *seen = calloc(1, samples);

    for (uint64_t place = 0; place < samples; place++) {
        const uint64_t sample = pawl_order_place(&order, epoch, place);
        cr_assert_lt(sample, samples);
        cr_assert(!seen[sample], "%lu twice of %lu", (unsigned long)sample, (unsigned long)samples);
        seen[sample] = 1;
    }
    free(seen);
}

Test(order, takes_every_sample_once)
{
    for (uint64_t samples = 1; samples <= 300; samples++)
        for (uint64_t epoch = 0; epoch < 3; epoch++)
            assert_bijective(samples, samples % 7, epoch);
    const uint64_t more[] = { 1023, 1024, 1025, 4097, 60000, 65536, 65537 };
    for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
        assert_bijective(more[i], 42, i);
}

Test(order, holds_for_numbers_beyond_32_bits)
{
    const uint64_t samples = (UINT64_C(1) << 61) + 12345;
    const struct pawl_order order = pawl_order(samples, 5);
    int high = 0;

    for (uint64_t place = 0; place < 1000; place++) {
        const uint64_t sample = pawl_order_place(&order, 0, place);
        cr_assert_lt(sample, samples);
        high += sample > samples / 2;
    }
    cr_assert(high > 400 && high < 600, "%d of 1000 in the upper half", high);
}

// A resumed run relies on these: a change of the order is a change of format.
Test(order, is_the_one_it_always_was)
{
    static const uint64_t golden[] = { 158, 454, 504, 710, 985, 953, 442, 788 };
    const struct pawl_order order = pawl_order(1000, 42);

    for (size_t i = 0; i < sizeof(golden) / sizeof(*golden); i++)
        cr_assert_eq(pawl_order_place(&order, 3, i), golden[i], "place %zu: %lu", i,
                     (unsigned long)pawl_order_place(&order, 3, i));
}

Test(order, differs_by_seed_and_epoch)
{
    const struct pawl_order order = pawl_order(10000, 1), other = pawl_order(10000, 2);
    int same_epoch = 0, same_seed = 0;

    for (uint64_t place = 0; place < 10000; place++) {
        same_epoch += pawl_order_place(&order, 0, place) == pawl_order_place(&order, 1, place);
        same_seed += pawl_order_place(&order, 0, place) == pawl_order_place(&other, 0, place);
    }
    // One is expected of each; 12 or more happens once in ten billion.
    cr_assert_lt(same_epoch, 12);
    cr_assert_lt(same_seed, 12);
}

Test(order, leaves_no_neighbours_together)
{
    const struct pawl_order order = pawl_order(10000, 3);
    int together = 0;

    for (uint64_t place = 0; place + 1 < 10000; place++)
        together +=
            pawl_order_place(&order, 0, place + 1) == pawl_order_place(&order, 0, place) + 1;
    cr_assert_lt(together, 12);
}

// Over many epochs each of few samples comes first equally often: chi-square with 9 degrees of
// freedom is beyond 33.7 once in ten thousand times, and this is one fixed time.
Test(order, is_fair_over_epochs)
{
    const struct pawl_order order = pawl_order(10, 11);
    const int epochs = 20000;
    int count[10] = { 0 };
    double chi = 0;

    for (int epoch = 0; epoch < epochs; epoch++)
        count[pawl_order_place(&order, (uint64_t)epoch, 0)]++;
    for (int i = 0; i < 10; i++)
        chi += (count[i] - epochs / 10.0) * (count[i] - epochs / 10.0) / (epochs / 10.0);
    cr_assert_lt(chi, 33.7);
}

Test(order, offsets_cover_their_range)
{
    const struct pawl_order order = pawl_order(10, 11);
    int seen[8] = { 0 }, kinds = 0;

    for (uint64_t epoch = 0; epoch < 200; epoch++) {
        const uint64_t offset = pawl_order_offset(&order, epoch, 8);
        cr_assert_lt(offset, 8);
        kinds += !seen[offset]++;
    }
    cr_assert_eq(kinds, 8);
    cr_assert_eq(pawl_order_offset(&order, 7, 1), 0);
}
