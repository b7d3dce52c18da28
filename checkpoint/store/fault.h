// fault.h - an I/O table that passes everything on to another, and lets chosen calls fail.
//
//     pawl_fault_begin(&(struct pawl_fault){ .at = 17, .error = EIO });  // the 17th call fails
//     ... save, load, whatever is to be tested ...
//     calls = pawl_fault_end(&found);                                    // the old table is back
//
// Every call is counted but those for the clocks. A failing call does nothing, unless `late` says
// that it does its work and then reports the failure all the same, as a network may.
//
// Threads: calls may come from any; begin and end while nothing is in progress.

#ifndef PAWL_FAULT_H
#define PAWL_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/io.h"

// One bit per entry of struct pawl_io, for `only`.
enum pawl_fault_call {
    PAWL_CALL_OPEN, PAWL_CALL_CLOSE, PAWL_CALL_PREAD, PAWL_CALL_PWRITE, PAWL_CALL_RESERVE,
    PAWL_CALL_DATASYNC, PAWL_CALL_SYNC, PAWL_CALL_FSTAT, PAWL_CALL_LSTAT, PAWL_CALL_MKDIR,
    PAWL_CALL_RENAME, PAWL_CALL_UNLINK, PAWL_CALL_RMDIR, PAWL_CALL_LIST, PAWL_CALL_SPACE,
    PAWL_CALL_LOCK, PAWL_CALL_RANDOM,
    PAWL_CALLS
};

struct pawl_fault {
    uint64_t at;       // the first call that fails, counted from 1; 0: none
    int error;         // a positive errno
    bool sticky;       // every later call fails, too
    bool late;         // the work is done before the failure is reported
    unsigned only;     // counts and fails these calls (1 << PAWL_CALL_...); 0: all
    bool short_io;     // reads and writes move a part of what was asked, or are interrupted
    bool kill;         // instead of failing, call `at` ends the process with SIGKILL
    bool no_direct;    // the file system does not take O_DIRECT
    uint64_t space;    // bytes that may still be written before ENOSPC; 0: no limit
};

// What the code under test did that it must not.
struct pawl_fault_found {
    uint64_t calls;
    uint64_t failed;          // calls that were made to fail
    uint64_t resynced;        // a sync of a file whose sync had failed before
    uint64_t left_open;       // descriptors opened and not closed in between
};

void pawl_fault_begin(const struct pawl_fault *fault);
uint64_t pawl_fault_end(struct pawl_fault_found *found_or_null);
const char *pawl_fault_call_name(enum pawl_fault_call call);

#endif
