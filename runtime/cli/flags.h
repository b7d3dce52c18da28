// flags.h - what a command line, the environment and a config file ask for, in typed fields.
//
// One table (table.c) has a row per flag. From it come the parser, --help, the man page, the shell
// completions, the environment's names (--save-every is PAWL_SAVE_EVERY), the lines of --config
// FILE (`save-every = 30m`) and --print-config. A new flag is one row there and one field here.
//
//     int pawl_verb_train(const struct pawl_options *o)
//     {
//         const int64_t batch = o->batch < 0 ? 32 : o->batch;
//         if (pawl_options_given(o, "lr")) ...
//     }
//
// The command line wins over the environment, that over the config file. Whatever is not given is
// NULL, -1, NaN or false (shuffle: true); what that means is the verb's to say, and the table's
// words for people repeat it.
//
// Memory: texts are borrowed from argv and the environment, or live until pawl_options_free.

#ifndef PAWL_FLAGS_H
#define PAWL_FLAGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct pawl_verb;

enum pawl_every_kind { PAWL_EVERY_NONE, PAWL_EVERY_STEPS, PAWL_EVERY_SECONDS, PAWL_EVERY_EPOCHS };

struct pawl_every {
    enum pawl_every_kind kind;  // NONE: not given
    double value;
};

enum { PAWL_FLAGS_MAX = 96, PAWL_META_MAX = 64 };
enum { PAWL_OWNED_CONFIG, PAWL_OWNED_PLACES, PAWL_OWNED_PREFIXED, PAWL_OWNED };

struct pawl_options {
    const struct pawl_verb *verb;
    const char **arguments;  // what is no flag: MODEL, IN OUT, ...
    int argument_count;

    const char *data, *val, *out, *arch, *optimizer, *schedule, *loss, *dtype, *device, *take;
    const char *resume, *save_mode, *keep, *export_to, *input, *output, *prompt, *format, *only;
    const char *report, *trace, *tensorboard, *metrics, *config, *dir, *io, *completions, *rows;
    const char *meta[PAWL_META_MAX];  // KEY=JSON, in order
    int meta_count;

    int64_t steps, batch, seq, accumulate, seed, threads, log_every, tokens, windows;
    double epochs, lr, eps, momentum, weight_decay, clip, temperature, seconds;
    double betas[2];
    struct pawl_every save_every;
    double max_duration_s;
    int64_t host_memory;  // bytes

    bool json, quiet, shuffle, force, strict, stats, crc, verify, dry_run, yes, print_config;
    bool help, man;

    // Per row of the table: the text as given, and whose it is ("command line", "PAWL_LR",
    // "run.conf:3"); NULL: not given.
    const char *text[PAWL_FLAGS_MAX], *from[PAWL_FLAGS_MAX];
    char *variables[PAWL_FLAGS_MAX];  // names of the environment's, which from points to
    void *owned[PAWL_OWNED];          // buffers the texts above point into
};

// Parses what follows the verb's name. 0, or PAWL_EINVAL (PAWL_ENONE, PAWL_EIO: the config file)
// with words that end in what to try. Always free after it, also after a failure.
int pawl_options_parse(struct pawl_options *out, const struct pawl_verb *verb, int argc,
                       char *const *argv);
void pawl_options_free(struct pawl_options *options);

// Whether --name was given anywhere (not: has a value by default). Name without the dashes.
bool pawl_options_given(const struct pawl_options *options, const char *name);

// Each flag's value and where it came from, as lines that --config reads back, or as JSON.
void pawl_options_print(const struct pawl_options *options);
// {"lr": {"value": "3e-4", "from": "command line"}, ...}: a new reference; NULL: no memory.
json_t *pawl_options_json(const struct pawl_options *options);

// ---- the values' own grammars, for verbs and tests. PAWL_EINVAL with words, *out untouched.

int pawl_read_count(int64_t *out, const char *text);      // 12, 1_000
int pawl_read_number(double *out, const char *text);      // 3e-4; neither infinite nor NaN
int pawl_read_duration(double *out_s, const char *text);  // 90, 30m, 3h55m, 1.5h, 2d
int pawl_read_bytes(int64_t *out, const char *text);      // 4096, 256MiB, 1.5GiB, 4G (binary), 4GB
int pawl_read_every(struct pawl_every *out, const char *text);  // 500, 500steps, 30m, 1epoch

#endif
