// attempt.c - the names that identify an attempt.

#include "checkpoint/attempt.h"

#include <stdio.h>
#include <string.h>

#include "kernels/error.h"

bool pawl_attempt_same(const struct pawl_attempt *a, const struct pawl_attempt *b)
{
    return a->step == b->step && a->lease == b->lease && !memcmp(a->job, b->job, PAWL_JOB_BYTES);
}

void pawl_attempt_name(char name[PAWL_ATTEMPT_NAME_BYTES], uint64_t step, uint32_t lease)
{
    snprintf(name, PAWL_ATTEMPT_NAME_BYTES, "step-%016llx-%08lx", (unsigned long long)step,
             (unsigned long)lease);
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

static bool hexadecimal(const char *text, int digits, uint64_t *out)
{
    uint64_t value = 0;

    for (int i = 0; i < digits; i++) {
        if (digit(text[i]) < 0) return false;
        value = value << 4 | (uint64_t)digit(text[i]);
    }
    *out = value;
    return true;
}

bool pawl_attempt_parse(const char *name, uint64_t *step, uint32_t *lease)
{
    uint64_t high, low;

    if (strlen(name) != PAWL_ATTEMPT_NAME_BYTES - 1 || strncmp(name, "step-", 5) || name[21] != '-'
        || !hexadecimal(name + 5, 16, &high) || !hexadecimal(name + 22, 8, &low))
        return false;
    *step = high;
    *lease = (uint32_t)low;
    return true;
}

void pawl_job_text(char text[33], const unsigned char job[PAWL_JOB_BYTES])
{
    for (int i = 0; i < PAWL_JOB_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", (unsigned)job[i]);
}

bool pawl_job_parse(const char *text, unsigned char job[PAWL_JOB_BYTES])
{
    uint64_t byte;

    if (strlen(text) != 2 * PAWL_JOB_BYTES) return false;
    for (int i = 0; i < PAWL_JOB_BYTES; i++) {
        if (!hexadecimal(text + 2 * i, 2, &byte)) return false;
        job[i] = (unsigned char)byte;
    }
    return true;
}

int pawl_path_join(char path[PAWL_PATH_MAX], const char *directory, const char *name)
{
    const int length = snprintf(path, PAWL_PATH_MAX, "%s/%s", directory, name);

    if (length < 0 || length >= PAWL_PATH_MAX)
        return pawl_fail(PAWL_EINVAL, "path too long: %.200s.../%s", directory, name);
    return 0;
}
