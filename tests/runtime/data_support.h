// data_support.h - files to read wrong, and words to look for.

#ifndef DATA_SUPPORT_H
#define DATA_SUPPORT_H

#include <criterion/criterion.h>
#include <string.h>

#include "runtime/data/data.h"

// A fresh directory, removed when the test's process ends.
const char *make_directory(void);
// DIR/NAME in a buffer of its own, valid until the eighth call after.
const char *at(const char *directory, const char *name);
void write_bytes(const char *path, const void *bytes, size_t size);
void write_text(const char *path, const char *text);
void write_gzip(const char *path, const void *bytes, size_t size);
// A .npy file of a version, with a header (not padded) and elements.
void write_npy(const char *path, int version, const char *header, const void *bytes, size_t size);

// Opens with a sequence of 4, seed 1, in order; fails the test when it does not open.
struct pawl_data *open_plain(const char *source);
int try_open(const char *source, const struct pawl_data_options *options);

#define assert_fails(call, code, words)                                                            \
    do {                                                                                           \
        const int rc_ = (call);                                                                    \
        cr_assert_eq(rc_, (code), "%s: code %d, not %d (%s)", #call, rc_, (code),                  \
                     rc_ ? pawl_error() : "no failure");                                           \
        cr_assert(strstr(pawl_error(), (words)), "no \"%s\" in: %s", (words), pawl_error());       \
    } while (0)

#endif
