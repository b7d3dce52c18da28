// pages.h - what the table becomes for other programs: a man page, completion scripts.

#ifndef PAWL_PAGES_H
#define PAWL_PAGES_H

#include <stdbool.h>

struct pawl_flag;

void pawl_page_man(void);                                  // roff, on stdout
void pawl_page_completions(const char *shell);             // "bash", "zsh" or "fish"
bool pawl_flag_defaults_on(const struct pawl_flag *flag);  // a switch that --no-NAME turns off

#endif
