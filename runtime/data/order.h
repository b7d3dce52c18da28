// order.h - the shuffled order of an epoch, without a list of it.
//
// A keyed permutation of 0 .. samples - 1: a Feistel network over the smallest square power of two
// that holds them, walked along its cycle until the value falls below `samples` (Black and Rogaway,
// "Ciphers with arbitrary finite domains", 2002). Any place of any epoch is computed alone, so the
// position of a run is one integer and every rank finds its own samples without asking.
//
//     struct pawl_order order = pawl_order(samples, seed);
//     sample = pawl_order_place(&order, number / samples, number % samples);
//
// Costs about 0.3 us a sample; at most four expected walks of six rounds.

#ifndef PAWL_ORDER_H
#define PAWL_ORDER_H

#include <stdint.h>

struct pawl_order {
    uint64_t samples, seed;
    unsigned half_bits;  // of the network's two halves
};

// samples: 1 to 2^62.
struct pawl_order pawl_order(uint64_t samples, uint64_t seed);

// The sample at `place` (below samples) of an epoch: for each epoch a bijection.
uint64_t pawl_order_place(const struct pawl_order *order, uint64_t epoch, uint64_t place);

// A number below `below` (at least 1) that depends on the seed and the epoch alone: where the
// windows of a token source begin in that epoch.
uint64_t pawl_order_offset(const struct pawl_order *order, uint64_t epoch, uint64_t below);

#endif
