// table.h - a row per flag: everything that parsing, help, completions and the man page know of it.

#ifndef PAWL_TABLE_H
#define PAWL_TABLE_H

#include <stddef.h>

#include "runtime/cli/flags.h"

enum pawl_flag_kind {
    PAWL_FLAG_TEXT,      // const char *
    PAWL_FLAG_CHOICE,    // const char *, one of choices
    PAWL_FLAG_COUNT,     // int64_t
    PAWL_FLAG_NUMBER,    // double
    PAWL_FLAG_PAIR,      // double[2]
    PAWL_FLAG_SWITCH,    // bool; --no-NAME too
    PAWL_FLAG_EVERY,     // struct pawl_every
    PAWL_FLAG_DURATION,  // double, seconds
    PAWL_FLAG_SIZE,      // int64_t, bytes
    PAWL_FLAG_LIST,      // meta and meta_count
};

// The headings of help, in order.
enum pawl_flag_group {
    PAWL_GROUP_INPUT,
    PAWL_GROUP_LEARN,
    PAWL_GROUP_SAVE,
    PAWL_GROUP_MACHINE,
    PAWL_GROUP_TELL,
    PAWL_GROUP_COMMON,
    PAWL_GROUPS,
};
extern const char *const pawl_group_names[PAWL_GROUPS];

struct pawl_flag {
    const char *name;  // without the dashes
    enum pawl_flag_kind kind;
    size_t at;       // offset of its field in struct pawl_options
    unsigned verbs;  // bit i: row i of pawl_verbs takes it
    enum pawl_flag_group group;
    const char *value;     // what help calls the value; the choices, apart by |, of a CHOICE
    const char *standard;  // what not giving it means, for people; "" when that is plain
    const char *words;     // one or two sentences
    const char *example;   // a value that works, for errors
    char letter;           // -y; 0: none
    double least, below;   // of COUNT, NUMBER and PAIR: least <= v; v < below unless below is 0
};

// Two rows may share a name when no verb takes both (dtype of train and of convert).
extern const struct pawl_flag pawl_flags[];
extern const int pawl_flag_count;

// Another name of a flag; the value is put behind `prefix` ("latest=" of --save-total-limit).
struct pawl_alias {
    const char *name, *flag, *prefix;
};
extern const struct pawl_alias pawl_aliases[];
extern const int pawl_alias_count;

enum { PAWL_FLAG_BYTES = 48 };  // of a name, with its zero
#define PAWL_FROM_LINE "command line"

// The row of --name for this verb, or for any verb (verb NULL); NULL: none.
const struct pawl_flag *pawl_flag_find(const struct pawl_verb *verb, const char *name);

// Sets the flag's field. from, kept: PAWL_FROM_LINE, "PAWL_LR" or "run.conf:3", which the words of
// a failure repeat. text is kept too.
int pawl_flag_set(struct pawl_options *options, const struct pawl_flag *flag, const char *text,
                  const char *from);
// PAWL_EINVAL for a name that this verb does not know. where: "--", or "run.conf:3: ".
int pawl_flag_unknown(const struct pawl_verb *verb, const char *where, const char *name);
// "save-every" -> "PAWL_SAVE_EVERY".
void pawl_flag_environment(char out[PAWL_FLAG_BYTES], const char *name);
// Sets what the lines of a config file say. PAWL_ENONE, PAWL_EIO: it cannot be read.
int pawl_config_read(struct pawl_options *options, const char *path);

#endif
