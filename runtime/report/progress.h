// progress.h - the one line that says where a run is, fitted to any width.
//
//     12/100 ━━━━──────── 3s 25ms/step loss 2.31 · save 62% 1.2 GB/s

#ifndef PAWL_PROGRESS_H
#define PAWL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/text.h"

struct pawl_progress_facts {
    uint64_t step, last_step;  // last_step 0: unknown
    double loss;               // NaN: none yet
    double step_s, left_s;     // time of a step and until the end; NaN: unknown
    char save[24];             // "save 62%", "saved 1200", "" when there is nothing to tell
    char save_rate[16];        // "1.2 GB/s" or ""
    bool utf8, colour;
};

// Appends at most `columns` columns, without newline. Parts that do not fit are left out, the least
// needed first; below the width of "12 loss 2.31" the line is cut.
void pawl_progress_line(struct pawl_text *out, const struct pawl_progress_facts *facts,
                        int columns);

#endif
