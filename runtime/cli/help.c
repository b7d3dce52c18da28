// help.c - the verb help: pages for people, made from the table.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "checkpoint/suggest.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/pages.h"
#include "runtime/cli/table.h"
#include "runtime/cli/verbs.h"

enum { INDENT = 6 };

// Columns of the terminal, within what is good to read.
static int columns(void)
{
    struct winsize size;
    int n = 80;

    if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col > 0)
        n = size.ws_col;
    return n < 40 ? 40 : n > 96 ? 96 : n;
}

// Prints words with line breaks so that none passes the width, each line indented.
static void wrap(const char *text, int indent, int width)
{
    int column = 0;

    while (*text) {
        const int length = (int)strcspn(text, " ");

        if (column && column + 1 + length > width) {
            putchar('\n');
            column = 0;
        }
        column +=
            column ? printf(" %.*s", length, text) : printf("%*s%.*s", indent, "", length, text);
        text += length;
        text += strspn(text, " ");
    }
    if (column)
        putchar('\n');
}

void pawl_help_overall(void)
{
    puts("usage: pawl VERB ...\n\n"
         "Train, be killed, resume bit for bit: snapshots are written beside the steps.\n");
    for (int i = 0; i < pawl_verb_count; i++) {
        printf("  pawl %s %s\n", pawl_verbs[i].name, pawl_verbs[i].usage);
        wrap(pawl_verbs[i].summary, INDENT, columns());
    }
    puts("\nEvery flag is also an environment variable (--save-every is PAWL_SAVE_EVERY) and a "
         "line\n"
         "of --config FILE (save-every = 30m). pawl VERB --help tells more.\n\n"
         "exit: 0 done, 1 diff: they differ, 64 usage, 65 corrupt or does not fit, 66 nothing "
         "there,\n"
         "69 not on this machine, 70 our bug, 73 cannot create, 74 I/O, 75 saved: run me again");
}

static void print_flag(const struct pawl_flag *flag)
{
    char text[512];

    if (flag->letter)
        printf("  -%c,", flag->letter);
    printf("  --%s%s%s%s\n", pawl_flag_defaults_on(flag) ? "[no-]" : "", flag->name,
           flag->value ? " " : "", flag->value ? flag->value : "");
    snprintf(text, sizeof(text), "%s%s%s%s", flag->words, flag->standard[0] ? " Default: " : "",
             flag->standard, flag->standard[0] ? "." : "");
    wrap(text, INDENT, columns());
}

void pawl_help_verb(const struct pawl_verb *verb)
{
    printf("usage: pawl %s %s\n\n", verb->name, verb->usage);
    wrap(verb->summary, 0, columns());
    printf("\n%s", verb->words);
    for (int group = 0; group < PAWL_GROUPS; group++) {
        bool headed = false;

        for (int i = 0; i < pawl_flag_count; i++) {
            const struct pawl_flag *flag = &pawl_flags[i];

            if ((int)flag->group != group || pawl_flag_find(verb, flag->name) != flag)
                continue;
            if (!headed)
                printf("\n%s\n", pawl_group_names[group]);
            headed = true;
            print_flag(flag);
        }
    }
    for (int i = 0, headed = 0; i < pawl_alias_count; i++)
        if (pawl_flag_find(verb, pawl_aliases[i].flag))
            printf("%s  --%s = --%s%s%s\n", headed++ ? "" : "\nAlso accepted\n",
                   pawl_aliases[i].name, pawl_aliases[i].flag, pawl_aliases[i].prefix ? " " : "",
                   pawl_aliases[i].prefix ? pawl_aliases[i].prefix : "");
}

int pawl_unknown_verb(const char *word)
{
    const char *names[16];
    char hint[80];

    for (int i = 0; i < pawl_verb_count; i++)
        names[i] = pawl_verbs[i].name;
    pawl_suggest_text(hint, sizeof(hint), word, names, pawl_verb_count);
    if (!strcmp(word, "launch"))
        fprintf(stderr, "pawl: this version trains in one process and has no launch. "
                        "try: pawl train --help\n");
    else
        fprintf(stderr, "pawl: unknown verb '%.60s'%s. try: pawl help\n", word, hint);
    return PAWL_EXIT_USAGE;
}

int pawl_verb_help(const struct pawl_options *o)
{
    if (o->man) {
        pawl_page_man();
        return PAWL_EXIT_DONE;
    }
    if (o->completions) {
        pawl_page_completions(o->completions);
        return PAWL_EXIT_DONE;
    }
    if (!o->argument_count) {
        pawl_help_overall();
        return PAWL_EXIT_DONE;
    }
    const struct pawl_verb *verb = pawl_verb_find(o->arguments[0]);
    if (!verb)
        return pawl_unknown_verb(o->arguments[0]);
    pawl_help_verb(verb);
    return PAWL_EXIT_DONE;
}
