// diff.h - pawl diff: what two documents differ in.

#ifndef PAWL_DIFF_H
#define PAWL_DIFF_H

#include "checkpoint/document.h"

// One tensor that is not the same in both, or is in one only.
struct pawl_difference {
    const struct pawl_entry *a, *b;  // NULL: not there
    int64_t elements, differing;     // -1: not comparable (other shape, or no figures)
    double largest;                  // absolute difference; infinite where a NaN meets a number
};

struct pawl_diff {
    const struct pawl_document *a, *b;
    struct pawl_difference *differences;  // a's in its order, then b's own
    int count;
    int64_t same_tensors;
    uint64_t same_bytes;
    bool steps_differ;
    char architecture[1024];  // what differs, or ""
    char not_compared[128];   // parts that only one of them has: "training state (only in a)", ...
};

// Compares every tensor of the parts that both have.
int pawl_diff_make(struct pawl_diff *diff);
void pawl_diff_free(struct pawl_diff *diff);
bool pawl_diff_is_same(const struct pawl_diff *diff);

#endif
