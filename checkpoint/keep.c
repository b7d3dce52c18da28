// keep.c - the rules that say which snapshots stay.

#include "checkpoint/keep.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LATEST_MIN = 2, LATEST_DEFAULT = 3, WORD_MAX = 128 };

static bool number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;

    if (*text < '0' || *text > '9') return false;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || value > max || !value) return false;
    *out = value;
    return true;
}

static int parse_latest(struct pawl_keep *keep, const char *value)
{
    uint64_t count;

    if (!number(value, 1000000, &count))
        return pawl_fail(PAWL_EINVAL, "keep: latest=%s is not a number from 2", value);
    if (count < LATEST_MIN)
        return pawl_fail(PAWL_EINVAL, "keep: latest=1 would leave nothing to go back to when the "
                         "newest snapshot turns out damaged; the least is latest=2");
    keep->latest = (int)count;
    return 0;
}

static int parse_every(struct pawl_keep *keep, const char *value)
{
    if (!number(value, INT64_MAX, &keep->every))
        return pawl_fail(PAWL_EINVAL, "keep: every=%s is not a number of steps", value);
    return 0;
}

// best=2:val_loss:min
static int parse_best(struct pawl_keep *keep, const char *value)
{
    char word[WORD_MAX];
    uint64_t count;

    snprintf(word, sizeof(word), "%s", value);
    char *name = strchr(word, ':');
    char *sense = name ? strchr(name + 1, ':') : NULL;
    if (!sense) goto wrong;
    *name++ = 0;
    *sense++ = 0;
    if (!number(word, 1000000, &count) || !*name || strlen(name) >= sizeof(keep->name)) goto wrong;
    if (strcmp(sense, "min") && strcmp(sense, "max")) goto wrong;
    keep->best = (int)count;
    keep->max = !strcmp(sense, "max");
    strcpy(keep->name, name);
    return 0;
wrong:
    return pawl_fail(PAWL_EINVAL, "keep: best=%s is not like best=2:val_loss:min (or max)", value);
}

// One row per rule.
static const struct {
    const char *name;
    int (*parse)(struct pawl_keep *keep, const char *value);
} rules[] = { { "latest", parse_latest }, { "every", parse_every }, { "best", parse_best } };
enum { RULES = sizeof(rules) / sizeof(rules[0]) };

static int parse_word(struct pawl_keep *keep, char *word, bool seen[RULES])
{
    char *value = strchr(word, '=');

    if (value) *value++ = 0;
    for (int i = 0; value && i < RULES; i++) {
        if (strcmp(word, rules[i].name)) continue;
        if (seen[i]) return pawl_fail(PAWL_EINVAL, "keep: %s is given twice", word);
        seen[i] = true;
        return rules[i].parse(keep, value);
    }
    return pawl_fail(PAWL_EINVAL, "keep: '%s' is no rule; known: latest=N every=N "
                     "best=N:NAME:min|max", word);
}

int pawl_keep_parse(struct pawl_keep *out, const char *rule)
{
    struct pawl_keep keep = { .latest = LATEST_MIN };
    bool seen[RULES] = { false };
    char word[WORD_MAX];

    if (!rule || !*rule) {
        *out = (struct pawl_keep){ .latest = LATEST_DEFAULT };
        return 0;
    }
    for (const char *next = rule;; next++) {
        const size_t length = strcspn(next, ",");
        if (length >= sizeof(word)) return pawl_fail(PAWL_EINVAL, "keep: a rule is too long");
        memcpy(word, next, length);
        word[length] = 0;
        const int rc = parse_word(&keep, word, seen);
        if (rc) return rc;
        next += length;
        if (!*next) break;
    }
    *out = keep;
    return 0;
}

// Whether fewer than keep->best snapshots are better than snapshot i; the newer wins a tie.
static bool is_best(const struct pawl_keep *keep, const struct pawl_run *run, int i)
{
    const double metric = run->snapshots[i].metric;
    int better = 0;

    if (isnan(metric)) return false;
    for (int j = 0; j < run->count; j++) {
        const struct pawl_snapshot *other = &run->snapshots[j];
        if (other->state != PAWL_DURABLE || isnan(other->metric)) continue;
        const double lead = keep->max ? other->metric - metric : metric - other->metric;
        if (lead > 0 || (j < i && !(lead < 0))) better++;
    }
    return better < keep->best;
}

void pawl_keep_mark(const struct pawl_keep *keep, const struct pawl_run *run, bool *marks)
{
    int durable = 0;

    for (int i = 0; i < run->count; i++) {
        const struct pawl_snapshot *snapshot = &run->snapshots[i];
        marks[i] = false;
        if (snapshot->state != PAWL_DURABLE) continue;
        durable++;
        if (durable <= keep->latest || snapshot->pinned) continue;
        if (keep->every && snapshot->step % keep->every == 0) continue;
        if (keep->best && is_best(keep, run, i)) continue;
        marks[i] = true;
    }
}
