// listing.c - headings and tables for people.

#include "runtime/cli/listing.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runtime/report/words.h"

enum { INDENT = 2, GAP = 2, NAME_LEAST = 16, LINE_MAX_BYTES = 4096 };

void pawl_listing_open(struct pawl_listing *page)
{
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    struct winsize size;

    *page = (struct pawl_listing){ .utf8 = pawl_words_utf8() };
    if (!isatty(STDOUT_FILENO)) return;
    page->bold = term && strcmp(term, "dumb") && !(no_colour && *no_colour);
    page->width = !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col ? size.ws_col : 80;
}

const char *pawl_grouped(char text[PAWL_GROUPED], int64_t number)
{
    char digits[24];
    int used = 0;

    const int length = snprintf(digits, sizeof(digits), "%lld", (long long)number);
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0 && digits[i - 1] != '-') text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = 0;
    return text;
}

// ---- shortening

// The bytes that the first (or, from the end, the last) `columns` characters take.
static size_t first_bytes(const char *text, int columns)
{
    size_t bytes = 0;

    while (text[bytes] && columns-- > 0)
        do
            bytes++;
        while (((unsigned char)text[bytes] & 0xc0) == 0x80);
    return bytes;
}

// Writes text in at most `columns` columns; what is left out lies at `keep_end` columns before the
// end.
static void print_short(const struct pawl_listing *page, const char *text, int columns,
                        int keep_end)
{
    const int all = pawl_words_columns(text), dots = page->utf8 ? 1 : 2;

    if (all <= columns) {
        fputs(text, stdout);
    } else if (columns <= dots + keep_end) {
        printf("%.*s", (int)first_bytes(text, columns > 0 ? columns : 0), text);
    } else {
        printf("%.*s%s%s", (int)first_bytes(text, columns - dots - keep_end), text,
               page->utf8 ? "\u2026" : "..", text + first_bytes(text, all - keep_end));
    }
}

static void print_line(const struct pawl_listing *page, int indent, const char *line)
{
    printf("%*s", indent, "");
    print_short(page, line, page->width ? page->width - indent : LINE_MAX_BYTES, 0);
    putchar('\n');
}

void pawl_listing_head(const struct pawl_listing *page, const char *title, const char *format, ...)
{
    char raw[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    pawl_words_clean(line, sizeof(line), raw);
    printf("\n%s%s%s  ", page->bold ? "\x1b[1m" : "", title, page->bold ? "\x1b[0m" : "");
    print_short(page, line, page->width ? page->width - (int)strlen(title) - 2 : LINE_MAX_BYTES, 0);
    putchar('\n');
}

void pawl_listing_line(const struct pawl_listing *page, const char *format, ...)
{
    char raw[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    pawl_words_clean(line, sizeof(line), raw);
    print_line(page, INDENT, line);
}

// ---- tables

void pawl_table_cell(struct pawl_table *table, const char *format, ...)
{
    char raw[LINE_MAX_BYTES], cell[LINE_MAX_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    pawl_words_clean(cell, sizeof(cell), raw);
    pawl_text_add(&table->cells, cell, strlen(cell) + 1);
    table->cell_count++;
}

static void measure(const struct pawl_table *table, int width[PAWL_COLUMNS_MAX])
{
    const char *cell = table->cells.bytes;

    for (int i = 0; i < table->cell_count; i++, cell += strlen(cell) + 1) {
        const int columns = pawl_words_columns(cell);
        if (columns > width[i % table->columns]) width[i % table->columns] = columns;
    }
}

// What follows the first column, from `at` columns on; the last column ends the line, shortened.
static void print_rest(const struct pawl_table *table, const struct pawl_listing *page,
                       const char *cell, const int width[PAWL_COLUMNS_MAX], int at)
{
    for (int c = 1; c < table->columns; c++, cell += strlen(cell) + 1) {
        const int pad = width[c] - pawl_words_columns(cell);
        const bool right = table->right >> c & 1, last = c == table->columns - 1;
        const int room = page->width ? page->width - at : LINE_MAX_BYTES;

        if (right && room > width[c]) printf("%*s", pad, "");
        print_short(page, cell, room, 0);
        at += width[c] + GAP;
        const bool empty = c == table->columns - 2 && !cell[strlen(cell) + 1];
        if (last || empty || (page->width && at >= page->width)) break;
        printf("%*s", (right ? 0 : pad) + GAP, "");
    }
    putchar('\n');
}

static void print_row(const struct pawl_table *table, const struct pawl_listing *page,
                      const char *cell, const int width[PAWL_COLUMNS_MAX], int name_columns)
{
    const char *rest = cell + strlen(cell) + 1;

    if (name_columns < width[0] && name_columns < NAME_LEAST) {
        print_line(page, INDENT, cell);
        printf("%*s", 2 * INDENT, "");
        print_rest(table, page, rest, width, 2 * INDENT);
        return;
    }
    const int columns = pawl_words_columns(cell);
    printf("%*s", INDENT, "");
    print_short(page, cell, name_columns, name_columns / 2);
    if (table->columns > 1)
        printf("%*s", (columns < name_columns ? name_columns - columns : 0) + GAP, "");
    print_rest(table, page, rest, width, INDENT + name_columns + GAP);
}

int pawl_table_print(struct pawl_table *table, const struct pawl_listing *page)
{
    int width[PAWL_COLUMNS_MAX] = { 0 }, others = 0;
    const char *cell = table->cells.bytes;
    const int rc = table->cells.rc;

    if (!rc) measure(table, width);
    // The last column may be shortened down to a few columns: it is words, not figures.
    for (int c = 1; c < table->columns; c++) {
        const bool words = c == table->columns - 1 && !(table->right >> c & 1);
        others += GAP + (words && width[c] > NAME_LEAST ? NAME_LEAST : width[c]);
    }
    int name_columns = page->width ? page->width - INDENT - others : width[0];
    if (name_columns > width[0]) name_columns = width[0];
    for (int i = 0; !rc && i < table->cell_count; i++) {
        if (i % table->columns == 0) print_row(table, page, cell, width, name_columns);
        cell += strlen(cell) + 1;
    }
    pawl_text_free(&table->cells);
    table->cell_count = 0;
    return rc;
}
