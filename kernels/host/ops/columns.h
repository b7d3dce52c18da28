// columns.h - sums down the columns of a matrix, in an order that no number of threads changes.

#ifndef PAWL_HOST_COLUMNS_H
#define PAWL_HOST_COLUMNS_H

#include "kernels/host/host.h"
#include "kernels/host/value.h"

// What is summed per column of (rows, cols), for columns [first, first + n) of it.
enum column_term {
    COLUMN_X,        // x
    COLUMN_SQUARES,  // (x - mean)^2
    COLUMN_GRADS,    // two sums: grad, and grad * (x - mean) * rstd
};

// No call takes more columns than this: their sums of every block fit the shared scratch.
enum { COLUMNS_MOST = 1 << 14 };

struct columns {
    enum column_term term;
    const value *x, *grad;
    const float *mean, *rstd;  // by the matrix's column
    int64_t rows, cols, first, n;
};

// sums (1 or 2, n).
void HOST(columns_sum)(struct pawl_stream *s, double *sums, const struct columns *columns);

#endif
