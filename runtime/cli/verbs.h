// verbs.h - the verbs of the command: one row each in table.c, one function each in a file.
//
// A verb gets parsed options and returns the exit code (exits.h). It writes its result to stdout,
// and `pawl: ...` lines for people to stderr.

#ifndef PAWL_VERBS_H
#define PAWL_VERBS_H

#include "runtime/cli/flags.h"

struct pawl_verb {
    const char *name;
    int (*run)(const struct pawl_options *options);
    const char *usage;    // "MODEL --data SRC --out DIR"
    const char *summary;  // one line
    const char *words;    // a paragraph for its help, with examples; lines as they are
    int least, most;      // how many arguments
};

// Bit i of a flag's verbs is row i of pawl_verbs.
extern const struct pawl_verb pawl_verbs[];
extern const int pawl_verb_count;

int pawl_verb_train(const struct pawl_options *options);
int pawl_verb_predict(const struct pawl_options *options);
int pawl_verb_generate(const struct pawl_options *options);
int pawl_verb_inspect(const struct pawl_options *options);
int pawl_verb_convert(const struct pawl_options *options);
int pawl_verb_diff(const struct pawl_options *options);
int pawl_verb_verify(const struct pawl_options *options);
int pawl_verb_ckpt(const struct pawl_options *options);
int pawl_verb_bench(const struct pawl_options *options);
int pawl_verb_doctor(const struct pawl_options *options);
int pawl_verb_help(const struct pawl_options *options);

// NULL: no such verb.
const struct pawl_verb *pawl_verb_find(const char *name);
// Says on stderr that there is no such verb, with the nearest one; exit code 64.
int pawl_unknown_verb(const char *word);
// help.c: everything, or one verb's page, on stdout.
void pawl_help_overall(void);
void pawl_help_verb(const struct pawl_verb *verb);

// What the command calls itself, "0.1.0".
#define PAWL_VERSION "0.1.0"

#endif
