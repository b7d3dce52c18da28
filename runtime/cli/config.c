// config.c - flags as lines of a file: `save-every = 30m`, read by --config, written by
// --print-config.
//
// A value stands as it is, up to ` #`; in double quotes it may hold anything, with \" \\ and \n.
// A file may serve several verbs: a flag that only another verb has is passed over.

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "kernels/error.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/cli/table.h"
#include "runtime/cli/verbs.h"

enum { CONFIG_BYTES_MAX = 1 << 20 };

static char *skip_blanks(char *c)
{
    while (*c == ' ' || *c == '\t')
        c++;
    return c;
}

// Ends the text at c before trailing blanks.
static void cut_blanks(char *c)
{
    size_t n = strlen(c);

    while (n > 0 && strchr(" \t\r", c[n - 1]))
        c[--n] = '\0';
}

// Takes the quotes off "..." in place; NULL when the closing one is missing or words follow it.
static char *unquote(char *text)
{
    char *to = text, *from = text + 1;

    for (; *from && *from != '"'; from++) {
        if (*from == '\\' && from[1])
            from++;
        *to++ = (char)(*from == 'n' && from[-1] == '\\' ? '\n' : *from);
    }
    if (*from != '"')
        return NULL;
    from = skip_blanks(from + 1);
    if (*from && *from != '#')
        return NULL;
    *to = '\0';
    return text;
}

// A plain value ends at a # that a blank precedes.
static char *plain(char *text)
{
    for (char *c = text; *c; c++)
        if (*c == '#' && (c == text || c[-1] == ' ' || c[-1] == '\t')) {
            *c = '\0';
            break;
        }
    cut_blanks(text);
    return text;
}

// One line, cut at place ("run.conf:3"), which lives as long as the options.
static int read_config_line(struct pawl_options *o, char *line, const char *place)
{
    char *name = skip_blanks(line), *equals = strchr(name, '='), *value;
    const struct pawl_flag *flag;
    char where[300];

    cut_blanks(name);
    if (!name[0] || name[0] == '#')
        return 0;
    if (!equals)
        return pawl_fail(PAWL_EINVAL, "%s: '%.40s' has no '='. try: flag = value", place, name);
    *equals = '\0';
    value = skip_blanks(equals + 1);
    cut_blanks(name);
    value = value[0] == '"' ? unquote(value) : plain(value);
    if (!value)
        return pawl_fail(PAWL_EINVAL, "%s: the quotes of %.40s do not close. try: %.40s = \"...\"",
                         place, name, name);
    if (!strncmp(name, "--", 2))
        name += 2;
    for (char *c = name; *c; c++)
        if (*c == '_')
            *c = '-';
    flag = pawl_flag_find(o->verb, name);
    if (!flag && pawl_flag_find(NULL, name))
        return 0;
    snprintf(where, sizeof(where), "in %.290s: ", place);
    if (!flag)
        return pawl_flag_unknown(o->verb, where, name);
    if (!strcmp(name, "config"))
        return pawl_fail(PAWL_EINVAL, "%s: a config file names no other one", place);
    return pawl_flag_set(o, flag, value, place);
}

int pawl_config_read(struct pawl_options *o, const char *path)
{
    char *text = NULL, *places;
    size_t size, lines = 1, at = 0;
    int rc = pawl_io_read_file(path, &text, &size, CONFIG_BYTES_MAX);

    if (rc)
        return pawl_fail(rc == -ENOENT || rc == -ENOTDIR ? PAWL_ENONE : PAWL_EIO,
                         "%s: cannot read the config file: %s", path, strerror(-rc));
    o->owned[PAWL_OWNED_CONFIG] = text;
    if (memchr(text, '\0', size))
        return pawl_fail(PAWL_EINVAL, "%s: not a text file. try: lines of flag = value", path);
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    const size_t each = strlen(path) + 16;
    if ((rc = pawl_alloc(&o->owned[PAWL_OWNED_PLACES], lines * each, "config")))
        return rc;
    places = o->owned[PAWL_OWNED_PLACES];
    for (char *line; !rc && (line = strsep(&text, "\n")); at++) {
        char *place = places + at * each;

        snprintf(place, each, "%s:%zu", path, at + 1);
        rc = read_config_line(o, line, place);
    }
    return rc;
}

// ---- the way back

static void print_value(const char *text)
{
    const bool bare = text[0] && text[0] != '"' && text[0] != '#' && text[0] != ' '
                      && !strpbrk(text, "\n\t") && !strstr(text, " #")
                      && text[strlen(text) - 1] != ' ';
    if (bare) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if (*text == '\n')
            fputs("\\n", stdout);
        else
            putchar(*text);
    }
    putchar('"');
}

// The metas are as many lines; the newest one's place stands for all.
static void print_lines(const struct pawl_options *o, const struct pawl_flag *flag)
{
    const int row = (int)(flag - pawl_flags);
    const int count = flag->kind == PAWL_FLAG_LIST ? o->meta_count : 1;

    if (!o->from[row]) {
        // A comment, so that reading it back leaves the flag ungiven.
        printf("# %s = %s  # not given\n", flag->name, flag->standard);
        return;
    }
    for (int i = 0; i < count; i++) {
        printf("%s = ", flag->name);
        print_value(flag->kind == PAWL_FLAG_LIST ? o->meta[i] : o->text[row]);
        printf("  # %s\n", o->from[row]);
    }
}

json_t *pawl_options_json(const struct pawl_options *o)
{
    json_t *all = json_object();

    for (int i = 0; i < pawl_flag_count; i++) {
        if (pawl_flag_find(o->verb, pawl_flags[i].name) != &pawl_flags[i])
            continue;
        if (!strcmp(pawl_flags[i].name, "help"))
            continue;
        json_object_set_new(all, pawl_flags[i].name,
                            json_pack("{s:s?,s:s}", "value", o->text[i], "from",
                                      o->from[i] ? o->from[i] : "not given"));
    }
    return all;
}

static void print_json(const struct pawl_options *o)
{
    json_t *all = pawl_options_json(o);

    json_dumpf(all, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(all);
}

void pawl_options_print(const struct pawl_options *o)
{
    if (o->json) {
        print_json(o);
        return;
    }
    for (int i = 0; i < pawl_flag_count; i++) {
        const struct pawl_flag *flag = &pawl_flags[i];

        if (pawl_flag_find(o->verb, flag->name) != flag || !strcmp(flag->name, "help")
            || !strcmp(flag->name, "print-config") || !strcmp(flag->name, "config"))
            continue;
        print_lines(o, flag);
    }
}
