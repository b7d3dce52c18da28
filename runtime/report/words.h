// words.h - figures for people: short, with units, in at most 15 bytes.
//
//     char text[PAWL_WORDS];
//     printf("%s left\n", pawl_words_time(text, 12.5));      // "12s"
//
// Each writes to `text` and returns it.

#ifndef PAWL_WORDS_H
#define PAWL_WORDS_H

#include <stdbool.h>
#include <stddef.h>

enum { PAWL_WORDS = 24 };

char *pawl_words_time(char text[PAWL_WORDS], double seconds);  // 0.4s 12s 4m05s 3h12m 2d04h
char *pawl_words_span(char text[PAWL_WORDS], double seconds);  // 12us 25.1ms 1.24s 93.0s
char *pawl_words_bytes(char text[PAWL_WORDS], double bytes);   // 512 B, 41.2 MB, 1.2 GB
char *pawl_words_count(char text[PAWL_WORDS], double count);   // 940, 10.2k, 1.31M
char *pawl_words_loss(char text[PAWL_WORDS], double loss);     // 2.31 0.0042 1.2e-05 nan

// Whether the locale's character set is UTF-8, by LC_ALL, LC_CTYPE, LANG.
bool pawl_words_utf8(void);
// Columns that UTF-8 text takes when each character takes one.
int pawl_words_columns(const char *text);
// Copies text with every byte that is no UTF-8 turned to '?', and control characters to blanks.
void pawl_words_clean(char *out, size_t out_bytes, const char *text);

#endif
