// flags.c - the command line, the environment and the config file, in the order in which they win.

#include "runtime/cli/flags.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/error.h"
#include "kernels/memory.h"
#include "checkpoint/suggest.h"
#include "runtime/cli/table.h"
#include "runtime/cli/verbs.h"

enum { NAMES_MAX = PAWL_FLAGS_MAX + 16 };

void pawl_flag_environment(char out[PAWL_FLAG_BYTES], const char *flag)
{
    int n = snprintf(out, PAWL_FLAG_BYTES, "PAWL_%s", flag);

    for (int i = 0; i < n && i < PAWL_FLAG_BYTES; i++)
        out[i] = (char)(out[i] == '-'                    ? '_'
                        : out[i] >= 'a' && out[i] <= 'z' ? out[i] - 32
                                                         : out[i]);
}

// An alias' row, when name is one.
static const struct pawl_alias *find_alias(const char *name)
{
    for (int i = 0; i < pawl_alias_count; i++)
        if (!strcmp(pawl_aliases[i].name, name))
            return &pawl_aliases[i];
    return NULL;
}

static const char *nearest_flag(const struct pawl_verb *verb, const char *name)
{
    const char *names[NAMES_MAX];
    int count = 0;

    for (int i = 0; i < pawl_flag_count; i++)
        if (pawl_flag_find(verb, pawl_flags[i].name))
            names[count++] = pawl_flags[i].name;
    for (int i = 0; i < pawl_alias_count; i++)
        if (pawl_flag_find(verb, pawl_aliases[i].flag))
            names[count++] = pawl_aliases[i].name;
    return pawl_suggest(name, names, count);
}

int pawl_flag_unknown(const struct pawl_verb *verb, const char *where, const char *name)
{
    const char *near = nearest_flag(verb, name);
    char hint[PAWL_FLAG_BYTES + 32] = "";
    const struct pawl_flag *elsewhere = pawl_flag_find(NULL, name);

    for (int i = 0; elsewhere && i < pawl_verb_count; i++)
        if (elsewhere->verbs & (1u << i))
            return pawl_fail(PAWL_EINVAL, "%s has no flag --%s (%s has). try: pawl %s --help",
                             verb->name, name, pawl_verbs[i].name, verb->name);
    if (near)
        snprintf(hint, sizeof(hint), " (did you mean '--%s'?)", near);
    return pawl_fail(PAWL_EINVAL, "%s: unknown flag %s%.60s%s. try: pawl %s --help", verb->name,
                     where, name, hint, verb->name);
}

// ---- the command line, cut into flags and values before any value is looked at

struct given {
    const struct pawl_flag *flag;
    const char *text;
};

struct line {
    const struct pawl_verb *verb;
    struct given *given;  // room for one per word and one per letter of -words
    int given_count;
    const char **arguments;  // room for one per word
    int argument_count;
    char *prefixed;  // room for "latest=" and the words; NULL until an alias needs it
    size_t prefixed_room, prefixed_used;
};

// Puts an alias' prefix before its value ("latest=" and "3").
static const char *prefixed(struct line *line, const char *prefix, const char *text)
{
    char *start = line->prefixed + line->prefixed_used;
    const size_t room = line->prefixed_room - line->prefixed_used;

    line->prefixed_used += (size_t)snprintf(start, room, "%s%s", prefix, text) + 1;
    return start;
}

// Whether a word looks like one of this verb's flags: then it is no value of the flag before it.
static bool is_flag(const struct pawl_verb *verb, const char *word)
{
    char name[PAWL_FLAG_BYTES];

    if (strncmp(word, "--", 2) || !word[2])
        return false;
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    return pawl_flag_find(verb, name) || find_alias(name)
           || (!strncmp(name, "no-", 3) && pawl_flag_find(verb, name + 3));
}

static int missing_value(const struct line *line, const struct pawl_flag *flag, const char *name)
{
    return pawl_fail(PAWL_EINVAL, "%s: --%s needs a value: %s. try: --%s %s", line->verb->name,
                     name, flag->value, name,
                     find_alias(name) && find_alias(name)->prefix ? "3" : flag->example);
}

// One --word: --name, --name=value, --no-name; next may be its value. *taken: words used.
static int long_flag(struct line *line, const char *word, const char *next, int *taken)
{
    char name[PAWL_FLAG_BYTES];
    const size_t length = strcspn(word + 2, "=");
    const char *value = word[2 + length] ? word + 2 + length + 1 : NULL;
    const struct pawl_alias *alias;
    const struct pawl_flag *flag;

    *taken = 1;
    if (length >= sizeof(name))
        return pawl_flag_unknown(line->verb, "--", word + 2);
    snprintf(name, sizeof(name), "%.*s", (int)length, word + 2);
    alias = find_alias(name);
    flag = pawl_flag_find(line->verb, alias ? alias->flag : name);
    if (!flag && !strncmp(name, "no-", 3) && (flag = pawl_flag_find(line->verb, name + 3))) {
        if (flag->kind != PAWL_FLAG_SWITCH || value)
            return pawl_fail(PAWL_EINVAL, "%s: --%s takes no --no-. try: pawl %s --help",
                             line->verb->name, flag->name, line->verb->name);
        line->given[line->given_count++] = (struct given){ flag, "false" };
        return 0;
    }
    if (!flag)
        return pawl_flag_unknown(line->verb, "--", name);
    if (!value && flag->kind == PAWL_FLAG_SWITCH)
        value = "true";
    if (!value) {
        if (!next || is_flag(line->verb, next))
            return missing_value(line, flag, name);
        value = next;
        *taken = 2;
    }
    if (alias && alias->prefix)
        value = prefixed(line, alias->prefix, value);
    line->given[line->given_count++] = (struct given){ flag, value };
    return 0;
}

// -y and the like: single letters, several switches together or one with a value (-o md, -omd).
static int short_flags(struct line *line, const char *word, const char *next, int *taken)
{
    for (const char *c = word + 1; *c; c++) {
        const struct pawl_flag *flag = NULL;

        for (int i = 0; i < pawl_flag_count && !flag; i++)
            if (pawl_flags[i].letter == *c && pawl_flag_find(line->verb, pawl_flags[i].name))
                flag = &pawl_flags[i];
        if (!flag)
            return pawl_fail(PAWL_EINVAL, "%s: unknown flag -%c. try: pawl %s --help",
                             line->verb->name, *c, line->verb->name);
        if (flag->kind != PAWL_FLAG_SWITCH) {
            const char *value = c[1] ? c + 1 : next;
            if (!value) return missing_value(line, flag, flag->name);
            if (!c[1]) *taken = 2;
            line->given[line->given_count++] = (struct given){ flag, value };
            return 0;
        }
        line->given[line->given_count++] = (struct given){ flag, "true" };
    }
    return 0;
}

static int read_line(struct line *line, int argc, char *const *argv)
{
    bool flags = true;

    for (int i = 0, taken = 1; i < argc; i += taken) {
        int rc = 0;

        taken = 1;
        if (flags && !strcmp(argv[i], "--"))
            flags = false;
        else if (flags && !strncmp(argv[i], "--", 2))
            rc = long_flag(line, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &taken);
        else if (flags && argv[i][0] == '-' && argv[i][1])
            rc = short_flags(line, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &taken);
        else
            line->arguments[line->argument_count++] = argv[i];
        if (rc)
            return rc;
    }
    return 0;
}

// Takes the room that read_line needs; all of it is freed with the options.
static int open_line(struct line *line, struct pawl_options *o, int argc, char *const *argv)
{
    size_t given = 1, prefixed_room = 1;
    int rc;

    for (int i = 0; i < argc; i++) {
        given += argv[i][0] == '-' && argv[i][1] != '-' ? strlen(argv[i]) : 1;
        prefixed_room += strlen(argv[i]) + sizeof("latest=");
    }
    if ((rc = pawl_alloc(&line->given, given * sizeof(*line->given), "flags")))
        return rc;
    if ((rc = pawl_alloc(&o->owned[PAWL_OWNED_PREFIXED], prefixed_room, "flags")))
        return rc;
    if ((rc = pawl_alloc(&o->arguments, ((size_t)argc + 1) * sizeof(char *), "flags")))
        return rc;
    line->prefixed = o->owned[PAWL_OWNED_PREFIXED];
    line->prefixed_room = prefixed_room;
    line->arguments = o->arguments;
    return 0;
}

// ---- all three sources

static int apply_environment(struct pawl_options *o)
{
    for (int i = 0; i < pawl_flag_count; i++) {
        const struct pawl_flag *flag = &pawl_flags[i];
        char name[PAWL_FLAG_BYTES];
        const char *text;
        int rc;

        if (pawl_flag_find(o->verb, flag->name) != flag)
            continue;
        pawl_flag_environment(name, flag->name);
        // An empty variable is how shells and job files say "not set".
        if (!(text = getenv(name)) || !text[0])
            continue;
        if ((rc = pawl_strdup(&o->variables[i], name)))
            return rc;
        if ((rc = pawl_flag_set(o, flag, text, o->variables[i])))
            return rc;
    }
    return 0;
}

static const char *config_path(const struct line *line)
{
    const char *path = getenv("PAWL_CONFIG");

    for (int i = 0; i < line->given_count; i++)
        if (!strcmp(line->given[i].flag->name, "config"))
            path = line->given[i].text;
    return path && path[0] && pawl_flag_find(line->verb, "config") ? path : NULL;
}

static int check_arguments(const struct pawl_options *o)
{
    const struct pawl_verb *verb = o->verb;

    if (o->help || o->print_config)
        return 0;
    if (o->argument_count < verb->least)
        return pawl_fail(PAWL_EINVAL, "%s needs %s. try: pawl %s --help", verb->name, verb->usage,
                         verb->name);
    if (o->argument_count > verb->most)
        return pawl_fail(PAWL_EINVAL,
                         "%s: '%.60s' is one argument too many; it takes %s. try: pawl "
                         "%s --help",
                         verb->name, o->arguments[verb->most], verb->most ? verb->usage : "none",
                         verb->name);
    return 0;
}

static void set_unset(struct pawl_options *o, const struct pawl_verb *verb)
{
    *o = (struct pawl_options){ .verb = verb,
                                .steps = -1,
                                .batch = -1,
                                .seq = -1,
                                .accumulate = -1,
                                .seed = -1,
                                .threads = -1,
                                .log_every = -1,
                                .tokens = -1,
                                .windows = -1,
                                .host_memory = -1,
                                .shuffle = true };
    o->epochs = o->lr = o->eps = o->momentum = o->weight_decay = o->clip = NAN;
    o->temperature = o->seconds = o->max_duration_s = o->betas[0] = o->betas[1] = NAN;
}

int pawl_options_parse(struct pawl_options *out, const struct pawl_verb *verb, int argc,
                       char *const *argv)
{
    struct line line = { .verb = verb };
    const char *config;
    int rc;

    set_unset(out, verb);
    if ((rc = open_line(&line, out, argc, argv)))
        goto done;
    if ((rc = read_line(&line, argc, argv)))
        goto done;
    out->argument_count = line.argument_count;
    // Whoever asks for help gets it, however wrong the rest is.
    for (int i = 0; i < line.given_count; i++)
        if (!strcmp(line.given[i].flag->name, "help")) {
            out->help = true;
            goto done;
        }
    if ((config = config_path(&line)) && (rc = pawl_config_read(out, config)))
        goto done;
    if ((rc = apply_environment(out)))
        goto done;
    for (int i = 0; i < line.given_count && !rc; i++)
        rc = pawl_flag_set(out, line.given[i].flag, line.given[i].text, PAWL_FROM_LINE);
    if (!rc)
        rc = check_arguments(out);
done:
    pawl_free(line.given);
    return rc;
}

void pawl_options_free(struct pawl_options *o)
{
    for (int i = 0; i < pawl_flag_count; i++)
        pawl_free(o->variables[i]);
    for (int i = 0; i < PAWL_OWNED; i++)
        pawl_free(o->owned[i]);
    pawl_free(o->arguments);
    *o = (struct pawl_options){ 0 };
}

bool pawl_options_given(const struct pawl_options *o, const char *name)
{
    const struct pawl_flag *flag = pawl_flag_find(o->verb, name);

    return flag && o->from[flag - pawl_flags];
}
