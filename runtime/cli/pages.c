// pages.c - the table as a man page and as completion scripts.

#include "runtime/cli/pages.h"

#include <stdio.h>
#include <string.h>

#include "runtime/cli/table.h"
#include "runtime/cli/verbs.h"

bool pawl_flag_defaults_on(const struct pawl_flag *flag)
{
    return flag->kind == PAWL_FLAG_SWITCH && !strcmp(flag->standard, "on");
}

// ---- roff

// Text with what roff reads as its own made plain: \ - ' . at the start of a line.
static void roff(const char *text)
{
    bool start = true;

    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
        start = *text == '\n';
    }
}

static void man_flag(const struct pawl_flag *flag)
{
    char name[PAWL_FLAG_BYTES];

    fputs(".TP\n.B \\-\\-", stdout);
    roff(pawl_flag_defaults_on(flag) ? "[no-]" : "");
    roff(flag->name);
    if (flag->value)
        fputs(" \\fI", stdout), roff(flag->value), fputs("\\fR", stdout);
    putchar('\n');
    roff(flag->words);
    if (flag->standard[0])
        fputs(" Default: ", stdout), roff(flag->standard), putchar('.');
    pawl_flag_environment(name, flag->name);
    printf(" Environment: %s. Verbs:", name);
    for (int i = 0, n = 0; i < pawl_verb_count; i++)
        if (flag->verbs & (1u << i))
            printf("%s %s", n++ ? "," : "", pawl_verbs[i].name);
    puts(".");
}

static void man_exits(void)
{
    static const char *const rows[][2] = {
        { "0", "done" },
        { "1", "diff: they differ" },
        { "64", "the command line is wrong" },
        { "65", "a file is corrupt or does not fit" },
        { "66", "nothing found to read or resume" },
        { "69", "this machine has not what was asked for" },
        { "70", "a bug in pawl" },
        { "73", "the output cannot be created, or another process holds it" },
        { "74", "reading or writing failed" },
        { "75", "saved; run the same command again" },
    };

    puts(".SH EXIT STATUS");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        printf(".TP\n.B %s\n%s\n", rows[i][0], rows[i][1]);
}

void pawl_page_man(void)
{
    puts(".TH PAWL 1 \"\" \"pawl " PAWL_VERSION "\"\n.SH NAME\n"
         "pawl \\- train, be killed, resume bit for bit\n.SH SYNOPSIS");
    for (int i = 0; i < pawl_verb_count; i++) {
        printf("%s.B pawl %s\n", i ? ".br\n" : "", pawl_verbs[i].name);
        roff(pawl_verbs[i].usage);
        putchar('\n');
    }
    puts(".SH VERBS");
    for (int i = 0; i < pawl_verb_count; i++) {
        printf(".TP\n.B %s\n", pawl_verbs[i].name);
        roff(pawl_verbs[i].summary);
        fputs(".\n.nf\n", stdout);
        roff(pawl_verbs[i].words);
        puts(".fi");
    }
    puts(".SH OPTIONS");
    for (int i = 0; i < pawl_flag_count; i++)
        man_flag(&pawl_flags[i]);
    puts(".SH OTHER NAMES");
    for (int i = 0; i < pawl_alias_count; i++) {
        fputs(".TP\n.B \\-\\-", stdout);
        roff(pawl_aliases[i].name);
        fputs("\nis \\-\\-", stdout);
        roff(pawl_aliases[i].flag);
        printf(" %s\n", pawl_aliases[i].prefix ? pawl_aliases[i].prefix : "");
    }
    puts(".SH CONFIG FILE\nEach line is\n.IR \"flag = value\" ;\n"
         "a # begins a comment. The environment wins over the file, the command line over both.");
    man_exits();
}

// ---- completions

// The flags of a verb, apart by blanks, as a shell word list.
static void flag_list(const struct pawl_verb *verb)
{
    for (int i = 0; i < pawl_flag_count; i++) {
        if (pawl_flag_find(verb, pawl_flags[i].name) != &pawl_flags[i])
            continue;
        printf(" --%s", pawl_flags[i].name);
        if (pawl_flag_defaults_on(&pawl_flags[i]))
            printf(" --no-%s", pawl_flags[i].name);
    }
}

static void choice_words(const char *value)
{
    for (; *value; value++)
        putchar(*value == '|' ? ' ' : *value);
}

static void bash(void)
{
    puts("# bash completion for pawl\n_pawl() {\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
         "    local verb=${COMP_WORDS[1]} words=\n"
         "    if [ \"$COMP_CWORD\" = 1 ]; then");
    fputs("        words='", stdout);
    for (int i = 0; i < pawl_verb_count; i++)
        printf("%s%s", i ? " " : "", pawl_verbs[i].name);
    puts("'\n    else\n        case $verb:$before in");
    for (int i = 0; i < pawl_flag_count; i++) {
        if (pawl_flags[i].kind != PAWL_FLAG_CHOICE)
            continue;
        for (int v = 0; v < pawl_verb_count; v++) {
            if (!(pawl_flags[i].verbs & (1u << v)))
                continue;
            printf("        %s:--%s) words='", pawl_verbs[v].name, pawl_flags[i].name);
            choice_words(pawl_flags[i].value);
            puts("' ;;");
        }
    }
    puts("        *) case $verb in");
    for (int i = 0; i < pawl_verb_count; i++) {
        printf("            %s) words='", pawl_verbs[i].name);
        flag_list(&pawl_verbs[i]);
        puts("' ;;");
    }
    puts("            esac\n            [[ $word == -* ]] || words= ;;\n        esac\n    fi\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n}\n"
         "complete -o default -F _pawl pawl");
}

// Text inside single quotes of zsh or fish, with brackets and colons that zsh would read escaped.
static void quoted(const char *text, const char *escaped)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr(escaped, *text))
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

static void zsh(void)
{
    puts("#compdef pawl\n# zsh completion for pawl\n_pawl() {\n    local -a verbs\n    verbs=(");
    for (int i = 0; i < pawl_verb_count; i++) {
        printf("        '%s:", pawl_verbs[i].name);
        quoted(pawl_verbs[i].summary, ":");
        puts("'");
    }
    puts("    )\n    if (( CURRENT == 2 )); then _describe verb verbs; return; fi\n"
         "    local verb=${words[2]}\n    shift words\n    (( CURRENT-- ))\n    case $verb in");
    for (int v = 0; v < pawl_verb_count; v++) {
        printf("    %s) _arguments", pawl_verbs[v].name);
        for (int i = 0; i < pawl_flag_count; i++) {
            const struct pawl_flag *flag = &pawl_flags[i];

            if (pawl_flag_find(&pawl_verbs[v], flag->name) != flag)
                continue;
            printf(" \\\n        '--%s%s[", flag->name, flag->value ? "=" : "");
            quoted(flag->words, "[]:");
            fputs("]", stdout);
            if (flag->kind == PAWL_FLAG_CHOICE)
                fputs(":value:(", stdout), choice_words(flag->value), fputs(")", stdout);
            else if (flag->value)
                fputs(":value:_files", stdout);
            fputs("'", stdout);
        }
        puts(" \\\n        '*:file:_files' ;;");
    }
    puts("    esac\n}\n_pawl \"$@\"");
}

static void fish(void)
{
    puts("# fish completion for pawl");
    for (int i = 0; i < pawl_verb_count; i++) {
        printf("complete -c pawl -f -n __fish_use_subcommand -a %s -d '", pawl_verbs[i].name);
        quoted(pawl_verbs[i].summary, "\\");
        puts("'");
    }
    for (int v = 0; v < pawl_verb_count; v++)
        for (int i = 0; i < pawl_flag_count; i++) {
            const struct pawl_flag *flag = &pawl_flags[i];

            if (pawl_flag_find(&pawl_verbs[v], flag->name) != flag)
                continue;
            printf("complete -c pawl -n '__fish_seen_subcommand_from %s' -l %s%s",
                   pawl_verbs[v].name, flag->name, flag->value ? " -r" : "");
            if (flag->kind == PAWL_FLAG_CHOICE)
                fputs(" -f -a '", stdout), choice_words(flag->value), fputs("'", stdout);
            fputs(" -d '", stdout);
            quoted(flag->words, "\\");
            puts("'");
        }
}

void pawl_page_completions(const char *shell)
{
    if (!strcmp(shell, "zsh"))
        zsh();
    else if (!strcmp(shell, "fish"))
        fish();
    else
        bash();
}
