// schedule.c - warm-up, then constant, half a cosine, or a line.

#include "runtime/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = { "constant", "cosine", "linear" };

const char *pawl_schedule_name(enum pawl_schedule_kind kind)
{
    return names[kind];
}

static int parse_field(struct pawl_schedule *out, const char *field, size_t length,
                       const char *text)
{
    char *end = NULL;

    if (length > 7 && !strncmp(field, "warmup=", 7)) {
        const long long steps = strtoll(field + 7, &end, 10);
        if (end == field + length && steps >= 0) {
            out->warmup = (uint64_t)steps;
            return 0;
        }
    } else if (length > 4 && !strncmp(field, "min=", 4)) {
        const double minimum = strtod(field + 4, &end);
        if (end == field + length && minimum >= 0 && minimum <= 1) {
            out->minimum = minimum;
            return 0;
        }
    }
    return pawl_fail(PAWL_EINVAL, "--schedule %.80s: '%.*s' is neither warmup=STEPS nor "
                     "min=FRACTION (0 to 1)", text, (int)length, field);
}

int pawl_schedule_parse(struct pawl_schedule *out, const char *text)
{
    struct pawl_schedule schedule = { PAWL_CONSTANT, 0, 0.0 };

    if (!text) text = "constant";
    size_t length = strcspn(text, ",");
    int kind = -1;
    for (int i = 0; i < 3; i++)
        if (strlen(names[i]) == length && !strncmp(names[i], text, length)) kind = i;
    if (kind < 0)
        return pawl_fail(PAWL_EINVAL, "--schedule %.80s is unknown; known: constant cosine linear, "
                         "each with ,warmup=N,min=F", text);
    schedule.kind = (enum pawl_schedule_kind)kind;
    for (const char *field = text + length; *field;) {
        field++;
        length = strcspn(field, ",");
        const int rc = parse_field(&schedule, field, length, text);
        if (rc) return rc;
        field += length;
    }
    *out = schedule;
    return 0;
}

double pawl_schedule_at(const struct pawl_schedule *schedule, uint64_t step, uint64_t total)
{
    if (step <= schedule->warmup) return (double)step / (double)schedule->warmup;
    if (schedule->kind == PAWL_CONSTANT) return 1.0;
    if (total <= schedule->warmup || step >= total) return schedule->minimum;
    const double done = (double)(step - schedule->warmup) / (double)(total - schedule->warmup);
    const double left = schedule->kind == PAWL_COSINE ? 0.5 * (1.0 + cos(3.141592653589793 * done))
                                                      : 1.0 - done;
    return schedule->minimum + (1.0 - schedule->minimum) * left;
}
