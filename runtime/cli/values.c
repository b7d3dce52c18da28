// values.c - the grammars of flag values: counts, numbers, times, sizes and save intervals.

#include "runtime/cli/flags.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kernels/error.h"

int pawl_read_count(int64_t *out, const char *text)
{
    const bool negative = text[0] == '-';
    const char *c = text + negative;
    int64_t value = 0;

    // An underscore stands between digits, as in 1_000_000.
    for (; *c; c++) {
        if (*c == '_' && c > text + negative && c[-1] != '_' && c[1])
            continue;
        if (*c < '0' || *c > '9')
            break;
        if (__builtin_mul_overflow(value, 10, &value)
            || __builtin_add_overflow(value, *c - '0', &value))
            return pawl_fail(PAWL_EINVAL, "'%.40s' is too large", text);
    }
    if (*c || c == text + negative)
        return pawl_fail(PAWL_EINVAL, "'%.40s' is not a whole number", text);
    *out = negative ? -value : value;
    return 0;
}

// The unsigned decimal number that text begins with; *end points behind it. false: there is none.
// strtod alone would take blanks, signs, hexadecimal, "inf" and "nan".
static bool scan_number(double *out, const char *text, const char **end)
{
    char *stop;

    if (!strchr("0123456789.", text[0]) || !text[0] || !strncasecmp(text, "0x", 2))
        return false;
    *out = strtod(text, &stop);
    *end = stop;
    return stop > text;
}

int pawl_read_number(double *out, const char *text)
{
    const bool negative = text[0] == '-';
    const char *end;
    double value;

    if (!scan_number(&value, text + negative, &end) || *end)
        return pawl_fail(PAWL_EINVAL, "'%.40s' is not a number", text);
    if (!isfinite(value))
        return pawl_fail(PAWL_EINVAL, "'%.40s' is too large", text);
    *out = negative ? -value : value;
    return 0;
}

struct unit {
    const char *name;
    double factor;
};

// The factor of the unit that is spelled by the letters at text; *end points behind them.
static double scan_unit(const struct unit *units, const char *text, const char **end)
{
    const size_t letters = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

    for (; units->name; units++)
        if (strlen(units->name) == letters && !strncmp(units->name, text, letters)) {
            *end = text + letters;
            return units->factor;
        }
    return 0;
}

int pawl_read_duration(double *out_s, const char *text)
{
    static const struct unit units[] = { { "ms", 1e-3 }, { "s", 1 },     { "m", 60 }, { "min", 60 },
                                         { "h", 3600 },  { "d", 86400 }, { NULL, 0 } };
    const char *c = text;
    double total = 0;

    do {
        double value, factor = 1;  // a bare number is in seconds

        if (!scan_number(&value, c, &c))
            goto wrong;
        if (c[0] || total > 0)
            factor = scan_unit(units, c, &c);
        if (factor <= 0)
            goto wrong;
        total += value * factor;
    } while (*c);
    if (!isfinite(total) || total <= 0)
        return pawl_fail(PAWL_EINVAL, "'%.40s' is not a time above 0", text);
    *out_s = total;
    return 0;
wrong:
    return pawl_fail(PAWL_EINVAL, "'%.40s' is not a time (90, 30m, 3h55m, 2d)", text);
}

int pawl_read_bytes(int64_t *out, const char *text)
{
    static const struct unit units[] = {
        { "", 1 },       { "B", 1 },        { "K", 0x1p10 },   { "KiB", 0x1p10 },
        { "kB", 1e3 },   { "KB", 1e3 },     { "M", 0x1p20 },   { "MiB", 0x1p20 },
        { "MB", 1e6 },   { "G", 0x1p30 },   { "GiB", 0x1p30 }, { "GB", 1e9 },
        { "T", 0x1p40 }, { "TiB", 0x1p40 }, { "TB", 1e12 },    { NULL, 0 },
    };
    const char *c;
    double value, factor;

    if (!scan_number(&value, text, &c) || (factor = scan_unit(units, c, &c)) <= 0 || *c)
        return pawl_fail(PAWL_EINVAL, "'%.40s' is not a size (4096, 256MiB, 1.5GiB)", text);
    if (!(value * factor < 0x1p63))
        return pawl_fail(PAWL_EINVAL, "'%.40s' is too large", text);
    *out = (int64_t)(value * factor);
    return 0;
}

int pawl_read_every(struct pawl_every *out, const char *text)
{
    static const struct unit counted[] = { { "", 1 },       { "step", 1 },    { "steps", 1 },
                                           { "epoch", -1 }, { "epochs", -1 }, { NULL, 0 } };
    struct pawl_every every = { PAWL_EVERY_NONE, 0 };
    const char *c;

    if (!scan_number(&every.value, text, &c))
        return pawl_fail(PAWL_EINVAL, "'%.40s' is no number of steps, time or epochs", text);
    const double unit = scan_unit(counted, c, &c);
    if (*c) {
        if (pawl_read_duration(&every.value, text))
            return pawl_fail(PAWL_EINVAL, "'%.40s' is no number of steps, time or epochs", text);
        every.kind = PAWL_EVERY_SECONDS;
    } else {
        every.kind = unit < 0 ? PAWL_EVERY_EPOCHS : PAWL_EVERY_STEPS;
    }
    if (every.kind == PAWL_EVERY_STEPS && every.value != floor(every.value))
        return pawl_fail(PAWL_EINVAL, "'%.40s' is no whole number of steps", text);
    if (!(every.value > 0) || !isfinite(every.value))
        return pawl_fail(PAWL_EINVAL,
                         "'%.40s' is not above 0; to save only the last step, leave "
                         "--save-every out",
                         text);
    *out = every;
    return 0;
}
