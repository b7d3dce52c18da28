// exits.h - the exit codes of the command, after sysexits.h, and which failure means which.

#ifndef PAWL_EXITS_H
#define PAWL_EXITS_H

#include "kernels/error.h"

enum {
    PAWL_EXIT_DONE = 0,
    PAWL_EXIT_DIFFER = 1,   // diff: they differ
    PAWL_EXIT_USAGE = 64,   // fix the command line
    PAWL_EXIT_DATA = 65,    // the file is corrupt or does not fit
    PAWL_EXIT_NONE = 66,    // nothing found to read or resume
    PAWL_EXIT_DEVICE = 69,  // what was asked of this machine is not there: a device, memory
    PAWL_EXIT_BUG = 70,     // ours
    PAWL_EXIT_CREATE = 73,  // cannot create the output, or another process holds it
    PAWL_EXIT_IO = 74,      // reading or writing failed
    PAWL_EXIT_AGAIN = 75,   // saved; run me again
};

// A code of kernels/error.h as an exit code; 0 stays 0. ENOMEM is 69 like a missing device: another
// machine may have it. ENOTSUP is 69 too; a verb that means a file says PAWL_EXIT_DATA itself.
int pawl_exit_of(int rc);
// The same for a failure while creating what the user named as output: EIO is 73.
int pawl_exit_of_output(int rc);

// Writes `pawl: ` and the latest failure's words to stderr, and returns pawl_exit_of(rc).
int pawl_exit_telling(int rc);

#endif
