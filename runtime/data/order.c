// order.c - see order.h.

#include "runtime/data/order.h"

#include "kernels/philox.h"

// Streams of random numbers that belong to the order alone, one for each round and one for offsets.
enum { ROUNDS = 6, STREAM_ROUND = 0x6F726400, STREAM_OFFSET = 0x6F726480 };

struct pawl_order pawl_order(uint64_t samples, uint64_t seed)
{
    struct pawl_order order = { .samples = samples, .seed = seed };

    while (order.half_bits < 31 && (UINT64_C(1) << 2 * order.half_bits) < samples)
        order.half_bits++;
    return order;
}

// One pass through the network: a bijection of 0 .. 2^(2 half_bits) - 1, whatever the rounds do.
static uint64_t shuffle(const struct pawl_order *order, uint64_t epoch, uint64_t value)
{
    const uint32_t mask = (uint32_t)((UINT64_C(1) << order->half_bits) - 1);
    uint32_t left = (uint32_t)(value >> order->half_bits), right = (uint32_t)value & mask;

    for (uint32_t round = 0; round < ROUNDS; round++) {
        const struct pawl_philox random =
            pawl_philox(order->seed, epoch, STREAM_ROUND + round, right);
        const uint32_t next = left ^ (random.word[0] & mask);
        left = right;
        right = next;
    }
    return (uint64_t)left << order->half_bits | right;
}

uint64_t pawl_order_place(const struct pawl_order *order, uint64_t epoch, uint64_t place)
{
    uint64_t value = place;

    // The cycle that holds `place` comes back to it, so it meets a value below samples in the end.
    do
        value = shuffle(order, epoch, value);
    while (value >= order->samples);
    return value;
}

uint64_t pawl_order_offset(const struct pawl_order *order, uint64_t epoch, uint64_t below)
{
    const struct pawl_philox random = pawl_philox(order->seed, epoch, STREAM_OFFSET, 0);

    return ((uint64_t)random.word[1] << 32 | random.word[0]) % below;
}
