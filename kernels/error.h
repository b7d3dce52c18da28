// error.h - what went wrong, said once.
//
// A function that can fail returns 0 or one of these codes. Whoever first knows the reason calls
// pawl_fail() with the words; everyone above passes the code on untouched.
//
//     if (rows < 1) return pawl_fail(PAWL_EINVAL, "batch must be at least 1, not %d", rows);
//
// Threads: the words belong to the thread and last until its next failure.

#ifndef PAWL_ERROR_H
#define PAWL_ERROR_H

#define PAWL_API __attribute__((visibility("default")))

// Each code answers one question: what can the caller do now?
enum {
    PAWL_EINVAL = -1,    // the request makes no sense: fix the call or the configuration
    PAWL_ENOMEM = -2,    // host or device memory ran out: ask for less
    PAWL_EIO = -3,       // storage refused: this save did not happen, training may go on
    PAWL_EDEVICE = -4,   // the accelerator refused: this process is done with it
    PAWL_ECORRUPT = -5,  // stored bytes are not the ones written, or do not fit: try another
    PAWL_ENONE = -6,     // nothing there: usually a fresh start
    PAWL_EBUSY = -7,     // the previous one is still on its way, or another process holds it
    PAWL_ENOTSUP = -8,   // this build cannot do that: the words name what it can
};

// Records one line of words (no newline, at most 1,023 bytes) and returns code.
PAWL_API int pawl_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The calling thread's latest words. Never NULL; read it only after a failure.
PAWL_API const char *pawl_error(void);

#endif
