// attempt.h - who wrote a snapshot: the identity that every one of its files carries.
//
// A snapshot is one attempt of one job to save one step. The lease is the fencing number under
// which it was made: it grows with every process that takes the run (and after each failed
// attempt), so a name is never used twice and an old process can be told from its successor.
//
//     RUN/step-00000000000004b0-00000003/shard-00000.safetensors

#ifndef PAWL_ATTEMPT_H
#define PAWL_ATTEMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAWL_JOB_BYTES = 16, PAWL_PATH_MAX = 4096, PAWL_RANKS_MAX = 100000 };

struct pawl_attempt {
    unsigned char job[PAWL_JOB_BYTES];  // random, made with the run
    uint64_t step;
    uint32_t lease;
};

bool pawl_attempt_same(const struct pawl_attempt *a, const struct pawl_attempt *b);

// "step-00000000000004b0-00000003"; 31 bytes with the zero.
enum { PAWL_ATTEMPT_NAME_BYTES = 31 };
void pawl_attempt_name(char name[PAWL_ATTEMPT_NAME_BYTES], uint64_t step, uint32_t lease);
// Whether name is exactly such a name.
bool pawl_attempt_parse(const char *name, uint64_t *step, uint32_t *lease);

// 32 lower-case hexadecimal digits.
void pawl_job_text(char text[33], const unsigned char job[PAWL_JOB_BYTES]);
bool pawl_job_parse(const char *text, unsigned char job[PAWL_JOB_BYTES]);

// DIRECTORY/NAME. PAWL_EINVAL: longer than a path may be.
int pawl_path_join(char path[PAWL_PATH_MAX], const char *directory, const char *name);

#endif
