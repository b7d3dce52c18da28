// rows.h - what several operations ask of a row.

#ifndef PAWL_HOST_ROWS_H
#define PAWL_HOST_ROWS_H

#include <math.h>

#include "kernels/host/value.h"

// The largest of n numbers; minus infinity of none. NaNs are passed over.
static inline float row_top(const value *x, int64_t n)
{
    vec top = vec_set(-INFINITY);
    float rest = -INFINITY;
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        top = vec_max(vec_load(x + i), top);
    for (; i < n; i++)
        rest = get(x[i]) > rest ? get(x[i]) : rest;
    const float most = vec_top(top);
    return most > rest ? most : rest;
}

#endif
