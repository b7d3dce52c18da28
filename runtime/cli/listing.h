// listing.h - headings and tables for people, at any width of the terminal.
//
//     struct pawl_listing page;
//     struct pawl_table table = { .columns = 3, .right = 1 << 2 };
//     pawl_listing_open(&page);
//     pawl_listing_head(&page, "WEIGHTS", "28 tensors");
//     for (...) {
//         pawl_table_cell(&table, "%s", name);
//         pawl_table_cell(&table, "%s", dtype);
//         pawl_table_cell(&table, "%s", bytes);
//     }
//     pawl_table_print(&table, &page);     // and frees it
//
// On a terminal no line is longer than it: the first column is shortened in its middle, where names
// are least telling; when that leaves too little, each row becomes two lines. Elsewhere (a pipe, a
// file) nothing is shortened. Text of files is cleaned: no control character reaches the terminal.

#ifndef PAWL_LISTING_H
#define PAWL_LISTING_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/text.h"

struct pawl_listing {
    int width;  // columns of the terminal; 0: no limit
    bool utf8, bold;
};

enum { PAWL_COLUMNS_MAX = 8 };

struct pawl_table {
    int columns;
    unsigned right;  // bit i: column i is aligned to the right
    struct pawl_text cells;  // each with its zero
    int cell_count;
};

void pawl_listing_open(struct pawl_listing *page);
// "WEIGHTS  28 tensors, ...", with a blank line before it.
void pawl_listing_head(const struct pawl_listing *page, const char *title, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// One indented line, shortened at its end.
void pawl_listing_line(const struct pawl_listing *page, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void pawl_table_cell(struct pawl_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// 0 or PAWL_ENOMEM (some cell had no room; nothing is printed).
int pawl_table_print(struct pawl_table *table, const struct pawl_listing *page);

// 1234567 as "1,234,567".
enum { PAWL_GROUPED = 32 };
const char *pawl_grouped(char text[PAWL_GROUPED], int64_t number);

#endif
