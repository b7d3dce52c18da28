// audit_support.h - what must hold of a run after anything happened to it.

#ifndef AUDIT_SUPPORT_H
#define AUDIT_SUPPORT_H

#include "saver_support.h"

// Lists and verifies the run, loads its newest snapshot (at least the step promised; 0: none was),
// and saves the next step. NULL, or what was broken; pawl_error() may say more.
const char *audit_run(struct state *state, const char *run, uint64_t promised);

#endif
