// words.c - figures for people.

#include "runtime/report/words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *pawl_words_time(char text[PAWL_WORDS], double seconds)
{
    if (!(seconds < 3.15e9)) {
        snprintf(text, PAWL_WORDS, "?");
    } else if (seconds < 9.95) {
        snprintf(text, PAWL_WORDS, "%.*fs", seconds < 0.95 ? 1 : 0, fmax(seconds, 0));
    } else {
        const long s = lround(seconds);

        if (s < 60)
            snprintf(text, PAWL_WORDS, "%lds", s);
        else if (s < 3600)
            snprintf(text, PAWL_WORDS, "%ldm%02lds", s / 60, s % 60);
        else if (s < 86400)
            snprintf(text, PAWL_WORDS, "%ldh%02ldm", s / 3600, s / 60 % 60);
        else
            snprintf(text, PAWL_WORDS, "%ldd%02ldh", s / 86400, s / 3600 % 24);
    }
    return text;
}

// Three digits that count: 0.123, 1.23, 12.3, 123.
static int decimals(double value)
{
    return value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
}

char *pawl_words_span(char text[PAWL_WORDS], double seconds)
{
    const double ms = seconds * 1e3;

    if (!isfinite(seconds))
        snprintf(text, PAWL_WORDS, "?");
    else if (ms < 0.0995)
        snprintf(text, PAWL_WORDS, "%.*fus", ms * 1e3 < 9.95, ms * 1e3);
    else if (ms < 999.5)
        snprintf(text, PAWL_WORDS, "%.*fms", decimals(ms), ms);
    else
        snprintf(text, PAWL_WORDS, "%.*fs", decimals(seconds), seconds);
    return text;
}

char *pawl_words_bytes(char text[PAWL_WORDS], double bytes)
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB" };
    int unit = 0;

    while (bytes >= 999.5 && unit < 5) {
        bytes /= 1000;
        unit++;
    }
    snprintf(text, PAWL_WORDS, "%.*f %s", unit && bytes < 99.95 ? 1 : 0, bytes, units[unit]);
    return text;
}

char *pawl_words_count(char text[PAWL_WORDS], double count)
{
    static const char units[] = " kMGT";
    int unit = 0;

    while (count >= 999.5 && unit < 4) {
        count /= 1000;
        unit++;
    }
    if (unit)
        snprintf(text, PAWL_WORDS, "%.*f%c", decimals(count), count, units[unit]);
    else
        snprintf(text, PAWL_WORDS, "%.*f", count == floor(count) ? 0 : decimals(count), count);
    return text;
}

char *pawl_words_loss(char text[PAWL_WORDS], double loss)
{
    if (isnan(loss))
        snprintf(text, PAWL_WORDS, "nan");
    else if (isinf(loss))
        snprintf(text, PAWL_WORDS, "%sinf", loss < 0 ? "-" : "");
    else if (fabs(loss) >= 1e5 || (loss != 0 && fabs(loss) < 1e-3))
        snprintf(text, PAWL_WORDS, "%.2e", loss);
    else
        snprintf(text, PAWL_WORDS, "%.*f", fabs(loss) < 0.1 ? 4 : fabs(loss) < 9.995 ? 3 : 1, loss);
    return text;
}

bool pawl_words_utf8(void)
{
    static const char *const variables[] = { "LC_ALL", "LC_CTYPE", "LANG" };

    // The first that is set decides, as in setlocale, which would need the locale installed.
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(variables[i]);
        if (value && value[0])
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

int pawl_words_columns(const char *text)
{
    int columns = 0;

    for (; *text; text++)
        columns += ((unsigned char)*text & 0xc0) != 0x80;
    return columns;
}

// Bytes of the UTF-8 character at c, or 0 when it is none (RFC 3629: no surrogates, no overlong).
static int character(const unsigned char *c)
{
    const int n = c[0] < 0x80   ? 1
                  : c[0] < 0xc2 ? 0
                  : c[0] < 0xe0 ? 2
                  : c[0] < 0xf0 ? 3
                  : c[0] < 0xf5 ? 4
                                : 0;
    for (int i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f)
        || (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f))
        return 0;
    return n;
}

void pawl_words_clean(char *out, size_t out_bytes, const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t size = 0;

    while (*c) {
        const int n = character(c);

        if (size + (size_t)(n ? n : 1) >= out_bytes)
            break;
        if (n == 1 && (*c < 0x20 || *c == 0x7f)) {
            out[size++] = ' ';
        } else if (n) {
            memcpy(out + size, c, (size_t)n);
            size += (size_t)n;
        } else {
            out[size++] = '?';
        }
        c += n ? n : 1;
    }
    out[size] = '\0';
}
