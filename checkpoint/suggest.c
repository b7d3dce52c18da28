// suggest.c - edit distance over short words.

#include "checkpoint/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { WORD_MAX = 64 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

// Three rows of the table suffice: the swap of neighbours looks two rows back.
static int distance(const char *a, int a_length, const char *b, int b_length)
{
    int row[3][WORD_MAX + 1];

    for (int j = 0; j <= b_length; j++)
        row[0][j] = j;
    for (int i = 1; i <= a_length; i++) {
        int *now = row[i % 3];
        const int *before = row[(i - 1) % 3], *earlier = row[(i + 1) % 3];

        now[0] = i;
        for (int j = 1; j <= b_length; j++) {
            now[j] = least(before[j - 1] + !same(a[i - 1], b[j - 1]),
                           least(before[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                now[j] = least(now[j], earlier[j - 2] + 1);
        }
    }
    return row[a_length % 3][b_length];
}

const char *pawl_suggest(const char *wrong, const char *const *known, int count)
{
    const size_t length = strlen(wrong);
    const char *best = NULL;
    int best_distance = 0;

    if (!length || length > WORD_MAX) return NULL;
    for (int i = 0; i < count; i++) {
        const size_t known_length = strlen(known[i]);
        if (known_length > WORD_MAX) continue;

        const int d = distance(wrong, (int)length, known[i], (int)known_length);
        const size_t longer = length > known_length ? length : known_length;
        if (d <= least(((int)longer + 2) / 3, (int)known_length - 1)
            && (!best || d < best_distance)) {
            best = known[i];
            best_distance = d;
        }
    }
    return best;
}

const char *pawl_suggest_text(char *text, size_t text_bytes, const char *wrong,
                              const char *const *known, int count)
{
    const char *near = pawl_suggest(wrong, known, count);

    if (near)
        snprintf(text, text_bytes, " (did you mean '%s'?)", near);
    else
        text[0] = 0;
    return text;
}
