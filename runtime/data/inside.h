// inside.h - what an open source of samples is made of; for data.c and identity.c alone.

#ifndef PAWL_INSIDE_H
#define PAWL_INSIDE_H

#include "runtime/data/order.h"
#include "runtime/data/source.h"

struct pawl_data {
    char *name;  // the source as it was given
    struct pawl_data_options options;
    struct pawl_data_info info;
    struct pawl_source source;
    struct pawl_order order;
    uint64_t begin, count;  // of the source's tokens or rows: the part asked for
    int64_t x_each;         // elements of a sample's x
    int64_t limit;          // tokens are checked to be below; 0: they are anyway
    int64_t vocab;          // the same for arrays of tokens; 0: not known
    int32_t *window;        // (sequence + 1), tokens only
};

#endif
