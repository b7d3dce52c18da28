// fields.c - one flag's text into its field, and the words when it does not fit.

#include "runtime/cli/table.h"

#include <stdio.h>
#include <string.h>

#include "kernels/error.h"
#include "checkpoint/suggest.h"
#include "runtime/cli/verbs.h"

static int set_switch(bool *out, const char *text)
{
    static const char *const on[] = { "true", "yes", "on", "1" };
    static const char *const off[] = { "false", "no", "off", "0" };

    for (int i = 0; i < 4; i++)
        if (!strcmp(text, on[i]) || !strcmp(text, off[i])) {
            *out = !strcmp(text, on[i]);
            return 0;
        }
    return pawl_fail(PAWL_EINVAL, "'%.40s' is neither true nor false", text);
}

static int set_choice(const char **out, const struct pawl_flag *flag, const char *text)
{
    char words[96];
    const char *names[8];
    int count = 0;

    snprintf(words, sizeof(words), "%s", flag->value);
    for (char *rest = words, *word; (word = strsep(&rest, "|")) && count < 8;)
        names[count++] = word;
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], text)) {
            *out = text;
            return 0;
        }
    char hint[PAWL_FLAG_BYTES + 32];
    return pawl_fail(PAWL_EINVAL, "'%.40s' is none of %s%s", text, flag->value,
                     pawl_suggest_text(hint, sizeof(hint), text, names, count));
}

static int check_range(const struct pawl_flag *flag, double value, const char *text)
{
    if (value < flag->least)
        return pawl_fail(PAWL_EINVAL, "'%.40s' is below %g", text, flag->least);
    if (flag->below > 0 && value >= flag->below) {
        if (flag->kind == PAWL_FLAG_COUNT)
            return pawl_fail(PAWL_EINVAL, "'%.40s' is above %g", text, flag->below - 1);
        return pawl_fail(PAWL_EINVAL, "'%.40s' is not below %g", text, flag->below);
    }
    return 0;
}

static int set_pair(double out[2], const struct pawl_flag *flag, const char *text)
{
    const char *comma = strchr(text, ',');
    char first[32];
    double pair[2];
    int rc;

    if (!comma || comma - text >= (ptrdiff_t)sizeof(first))
        return pawl_fail(PAWL_EINVAL, "'%.40s' is not two numbers with a comma", text);
    snprintf(first, sizeof(first), "%.*s", (int)(comma - text), text);
    if ((rc = pawl_read_number(&pair[0], first)) || (rc = check_range(flag, pair[0], first))
        || (rc = pawl_read_number(&pair[1], comma + 1))
        || (rc = check_range(flag, pair[1], comma + 1)))
        return rc;
    memcpy(out, pair, sizeof(pair));
    return 0;
}

static int set_meta(struct pawl_options *o, const char *text)
{
    if (!strchr(text, '=') || text[0] == '=')
        return pawl_fail(PAWL_EINVAL, "'%.40s' is not KEY=JSON", text);
    if (o->meta_count == PAWL_META_MAX)
        return pawl_fail(PAWL_EINVAL, "more than %d of it", PAWL_META_MAX);
    o->meta[o->meta_count++] = text;
    return 0;
}

static int set_count(int64_t *out, const struct pawl_flag *flag, const char *text)
{
    int64_t value;
    int rc = pawl_read_count(&value, text);

    if (!rc)
        rc = check_range(flag, (double)value, text);
    if (!rc)
        *out = value;
    return rc;
}

static int set_number(double *out, const struct pawl_flag *flag, const char *text)
{
    double value;
    int rc = pawl_read_number(&value, text);

    if (!rc)
        rc = check_range(flag, value, text);
    if (!rc)
        *out = value;
    return rc;
}

static int set_field(struct pawl_options *o, const struct pawl_flag *flag, const char *text)
{
    void *field = (char *)o + flag->at;

    switch (flag->kind) {
    case PAWL_FLAG_TEXT:
        if (!text[0] && flag->at != offsetof(struct pawl_options, prompt))
            return pawl_fail(PAWL_EINVAL, "an empty value");
        *(const char **)field = text;
        return 0;
    case PAWL_FLAG_CHOICE:
        return set_choice(field, flag, text);
    case PAWL_FLAG_COUNT:
        return set_count(field, flag, text);
    case PAWL_FLAG_NUMBER:
        return set_number(field, flag, text);
    case PAWL_FLAG_PAIR:
        return set_pair(field, flag, text);
    case PAWL_FLAG_SWITCH:
        return set_switch(field, text);
    case PAWL_FLAG_EVERY:
        return pawl_read_every(field, text);
    case PAWL_FLAG_DURATION:
        return pawl_read_duration(field, text);
    case PAWL_FLAG_SIZE:
        return pawl_read_bytes(field, text);
    case PAWL_FLAG_LIST:
        return set_meta(o, text);
    }
    return pawl_fail(PAWL_EINVAL, "a kind of flag that has no rule");
}

int pawl_flag_set(struct pawl_options *o, const struct pawl_flag *flag, const char *text,
                  const char *from)
{
    const bool typed = !strcmp(from, PAWL_FROM_LINE);
    const int rc = set_field(o, flag, text);

    if (rc && flag->example)
        return pawl_fail(rc, "%s: --%s%s%s: %s. try: --%s %s", o->verb->name, flag->name,
                         typed ? "" : " from ", typed ? "" : from, pawl_error(), flag->name,
                         flag->example);
    if (rc)
        return pawl_fail(rc, "%s: --%s%s%s: %s. try: --%s or --no-%s", o->verb->name, flag->name,
                         typed ? "" : " from ", typed ? "" : from, pawl_error(), flag->name,
                         flag->name);
    o->text[flag - pawl_flags] = text;
    o->from[flag - pawl_flags] = from;
    return 0;
}
