// flags: every value's grammar, whose value wins, and the words for what is wrong.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/error.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/pages.h"
#include "runtime/cli/table.h"
#include "runtime/cli/verbs.h"

enum { WORDS_MAX = 32 };

// Parses words that are apart by blanks as the command line of a verb.
static int parse(struct pawl_options *o, const char *verb, const char *line)
{
    static char words[1024];
    char *argv[WORDS_MAX], *rest = words, *word;
    int argc = 0;

    snprintf(words, sizeof(words), "%s", line);
    while ((word = strsep(&rest, " ")) && argc < WORDS_MAX)
        if (*word)
            argv[argc++] = word;
    return pawl_options_parse(o, pawl_verb_find(verb), argc, argv);
}

static void must_refuse(const char *verb, const char *line, const char *words)
{
    struct pawl_options o;

    cr_expect_eq(parse(&o, verb, line), PAWL_EINVAL, "%s %s", verb, line);
    cr_expect_str_eq(pawl_error(), words);
    pawl_options_free(&o);
}

// ---- grammars

Test(flags, counts)
{
    int64_t n = 7;

    cr_expect_eq(pawl_read_count(&n, "12") + n, 12);
    cr_expect_eq(pawl_read_count(&n, "1_000_000") + n, 1000000);
    cr_expect_eq(pawl_read_count(&n, "-3") + n, -3);
    cr_expect_eq(pawl_read_count(&n, "9223372036854775807") + n, INT64_MAX);
    const char *const wrong[] = { "",
                                  "-",
                                  "x",
                                  "1x",
                                  "1.5",
                                  "_1",
                                  "1_",
                                  "1__0",
                                  " 1",
                                  "+1",
                                  "0x10",
                                  "1e3",
                                  "9223372036854775808" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_eq(pawl_read_count(&n, wrong[i]), PAWL_EINVAL, "'%s'", wrong[i]);
    cr_expect_eq(n, INT64_MAX, "a failure sets nothing");
}

Test(flags, numbers)
{
    double x = 7;

    cr_expect_eq(pawl_read_number(&x, "3e-4") + x, 3e-4);
    cr_expect_eq(pawl_read_number(&x, "-.5") + x, -.5);
    cr_expect_eq(pawl_read_number(&x, "1.") + x, 1);
    const char *const wrong[] = { "",    "-",  "nan", "inf", "-inf",  "0x1p3", "1 ", " 1",
                                  "1,5", "1e", "--1", "+1",  "1e999", ".",     "e5" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_eq(pawl_read_number(&x, wrong[i]), PAWL_EINVAL, "'%s'", wrong[i]);
    cr_expect_eq(x, 1, "a failure sets nothing");
}

Test(flags, durations)
{
    static const struct {
        const char *text;
        double seconds;
    } right[] = { { "90", 90 },       { "30m", 1800 },  { "3h55m", 14100 },
                  { "1.5h", 5400 },   { "2d", 172800 }, { "500ms", 0.5 },
                  { "1h0m1s", 3601 }, { "5min", 300 },  { "0.25", 0.25 } };
    double s = 7;

    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        cr_expect_eq(pawl_read_duration(&s, right[i].text), 0, "'%s'", right[i].text);
        cr_expect_float_eq(s, right[i].seconds, 1e-9, "'%s' is %g", right[i].text, s);
    }
    const char *const wrong[] = { "",  "m",  "3x",    "3h55",  "-3m", "3 m",
                                  "0", "0s", "1h-5m", "1e400", "inf", "30M" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_eq(pawl_read_duration(&s, wrong[i]), PAWL_EINVAL, "'%s'", wrong[i]);
    cr_expect_eq(s, 0.25);
}

Test(flags, sizes)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } right[] = { { "4096", 4096 },
                  { "256MiB", 268435456 },
                  { "1.5GiB", 1610612736 },
                  { "4G", 4294967296 },
                  { "4GB", 4000000000 },
                  { "64K", 65536 },
                  { "1TiB", 1l << 40 },
                  { "7B", 7 },
                  { "0", 0 } };
    int64_t n = 7;

    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        cr_expect_eq(pawl_read_bytes(&n, right[i].text), 0, "'%s'", right[i].text);
        cr_expect_eq(n, right[i].bytes, "'%s' is %ld", right[i].text, (long)n);
    }
    const char *const wrong[] = {
        "", "MiB", "-1", "1mib", "1 GiB", "1GiBs", "1e30", "9e9TiB", "nan"
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_eq(pawl_read_bytes(&n, wrong[i]), PAWL_EINVAL, "'%s'", wrong[i]);
    cr_expect_eq(n, 0);
}

Test(flags, save_intervals)
{
    static const struct {
        const char *text;
        struct pawl_every every;
    } right[] = {
        { "500", { PAWL_EVERY_STEPS, 500 } },      { "1step", { PAWL_EVERY_STEPS, 1 } },
        { "500steps", { PAWL_EVERY_STEPS, 500 } }, { "30m", { PAWL_EVERY_SECONDS, 1800 } },
        { "1epoch", { PAWL_EVERY_EPOCHS, 1 } },    { "0.5epochs", { PAWL_EVERY_EPOCHS, .5 } },
        { "1h30m", { PAWL_EVERY_SECONDS, 5400 } }
    };
    struct pawl_every e = { PAWL_EVERY_NONE, 7 };

    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        cr_expect_eq(pawl_read_every(&e, right[i].text), 0, "'%s'", right[i].text);
        cr_expect_eq(e.kind, right[i].every.kind, "'%s'", right[i].text);
        cr_expect_eq(e.value, right[i].every.value, "'%s'", right[i].text);
    }
    const char *const wrong[] = { "",      "0",        "0epoch", "1.5",   "-1",
                                  "epoch", "1epochs2", "5x",     "1e400", "10 steps" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_eq(pawl_read_every(&e, wrong[i]), PAWL_EINVAL, "'%s'", wrong[i]);
    cr_expect_eq(e.value, 5400);
}

// ---- the table

Test(table, every_example_is_taken_by_every_verb_that_has_the_flag)
{
    int tried = 0;

    for (int i = 0; i < pawl_flag_count; i++)
        for (int v = 0; v < pawl_verb_count; v++) {
            struct pawl_options o;
            char line[128];

            if (!(pawl_flags[i].verbs & (1u << v)) || pawl_flags[i].kind == PAWL_FLAG_SWITCH
                || !strcmp(pawl_flags[i].name, "config"))
                continue;
            if (!pawl_flags[i].example)
                cr_assert_fail("--%s has no example", pawl_flags[i].name);
            snprintf(line, sizeof(line), "%.*s --%s=%s", 2 * pawl_verbs[v].most, "a a ",
                     pawl_flags[i].name, pawl_flags[i].example);
            if (strchr(pawl_flags[i].example, ' '))
                continue;
            cr_expect_eq(parse(&o, pawl_verbs[v].name, line), 0, "%s %s: %s", pawl_verbs[v].name,
                         line, pawl_error());
            cr_expect(pawl_options_given(&o, pawl_flags[i].name));
            pawl_options_free(&o);
            tried++;
        }
    cr_expect_gt(tried, 60);
}

Test(table, no_verb_has_two_flags_of_one_name_and_no_two_fields_are_shared)
{
    for (int i = 0; i < pawl_flag_count; i++)
        for (int j = 0; j < i; j++) {
            const bool same = !strcmp(pawl_flags[i].name, pawl_flags[j].name);

            cr_expect(!same || !(pawl_flags[i].verbs & pawl_flags[j].verbs), "--%s twice",
                      pawl_flags[i].name);
            cr_expect(same == (pawl_flags[i].at == pawl_flags[j].at), "--%s and --%s",
                      pawl_flags[i].name, pawl_flags[j].name);
        }
}

Test(table, aliases_name_flags_and_hide_none)
{
    for (int i = 0; i < pawl_alias_count; i++) {
        cr_expect(pawl_flag_find(NULL, pawl_aliases[i].flag), "%s", pawl_aliases[i].flag);
        cr_expect_null(pawl_flag_find(NULL, pawl_aliases[i].name), "%s", pawl_aliases[i].name);
    }
}

Test(table, each_verb_is_found_and_says_what_it_does)
{
    for (int i = 0; i < pawl_verb_count; i++) {
        cr_expect_eq(pawl_verb_find(pawl_verbs[i].name), &pawl_verbs[i]);
        cr_expect(pawl_verbs[i].summary[0] && pawl_verbs[i].words[0] && pawl_verbs[i].run);
    }
    cr_expect_null(pawl_verb_find("trai"));
    cr_expect_null(pawl_verb_find(""));
}

// ---- command lines

Test(parse, nothing_given)
{
    struct pawl_options o;

    cr_assert_eq(parse(&o, "train", "gpt"), 0);
    cr_expect_eq(o.argument_count, 1);
    cr_expect_str_eq(o.arguments[0], "gpt");
    cr_expect(!o.data && !o.out && !o.optimizer && !o.format && !o.meta_count);
    cr_expect(o.steps == -1 && o.batch == -1 && o.seed == -1 && o.threads == -1);
    cr_expect(isnan(o.lr) && isnan(o.epochs) && isnan(o.clip) && isnan(o.betas[0]));
    cr_expect(isnan(o.max_duration_s) && o.host_memory == -1);
    cr_expect_eq(o.save_every.kind, PAWL_EVERY_NONE);
    cr_expect(o.shuffle && !o.json && !o.quiet);
    cr_expect(!pawl_options_given(&o, "lr") && !pawl_options_given(&o, "no-such"));
    pawl_options_free(&o);
}

Test(parse, everything_given)
{
    struct pawl_options o;

    cr_assert_eq(parse(&o, "train",
                       "--data=text:b.txt gpt --steps 10 --lr=1e-3 --betas 0.9,0.95 --save-every "
                       "30m --host-memory 1GiB --max-duration 3h55m --no-shuffle --json -q --meta "
                       "a=1 --meta b=2 --export m.pth --optimizer sgd --seed 0"),
                 0);
    cr_expect_str_eq(o.data, "text:b.txt");
    cr_expect_str_eq(o.arguments[0], "gpt");
    cr_expect(o.steps == 10 && o.lr == 1e-3 && o.betas[0] == 0.9 && o.betas[1] == 0.95);
    cr_expect(o.save_every.kind == PAWL_EVERY_SECONDS && o.save_every.value == 1800);
    cr_expect(o.host_memory == 1l << 30 && o.max_duration_s == 14100);
    cr_expect(!o.shuffle && o.json && o.quiet && o.seed == 0);
    cr_expect_eq(o.meta_count, 2);
    cr_expect_str_eq(o.meta[1], "b=2");
    cr_expect_str_eq(o.export_to, "m.pth");
    cr_expect(pawl_options_given(&o, "shuffle") && pawl_options_given(&o, "seed"));
    pawl_options_free(&o);
}

Test(parse, aliases_and_the_last_of_two)
{
    struct pawl_options o;

    cr_assert_eq(
        parse(&o, "train", "m --save-steps 5 --output-dir d --ckpt-path=must --save-total-limit 4"),
        0);
    cr_expect(o.save_every.kind == PAWL_EVERY_STEPS && o.save_every.value == 5);
    cr_expect_str_eq(o.out, "d");
    cr_expect_str_eq(o.resume, "must");
    cr_expect_str_eq(o.keep, "latest=4");
    cr_expect(pawl_options_given(&o, "save-every"));
    pawl_options_free(&o);
    cr_assert_eq(
        parse(&o, "train", "m --save-interval 5 --save-every 7 --resume-from-checkpoint 3"), 0);
    cr_expect_eq(o.save_every.value, 7);
    cr_expect_str_eq(o.resume, "3");
    pawl_options_free(&o);
}

Test(parse, two_dashes_end_the_flags)
{
    struct pawl_options o;

    cr_assert_eq(parse(&o, "diff", "-- --a --b"), 0);
    cr_expect_str_eq(o.arguments[0], "--a");
    cr_expect_str_eq(o.arguments[1], "--b");
    pawl_options_free(&o);
}

Test(parse, a_value_may_begin_with_a_dash_but_is_no_flag)
{
    struct pawl_options o;

    cr_assert_eq(parse(&o, "generate", "m --prompt -x --prompt=--seed"), 0);
    cr_expect_str_eq(o.prompt, "--seed");
    pawl_options_free(&o);
    must_refuse("train", "m --out --steps 5", "train: --out needs a value: DIR. try: --out runs/a");
    must_refuse("train", "m --out", "train: --out needs a value: DIR. try: --out runs/a");
    must_refuse("train", "m --save-total-limit",
                "train: --save-total-limit needs a value: RULES. try: --save-total-limit 3");
}

Test(parse, help_is_given_however_wrong_the_rest)
{
    struct pawl_options o;

    cr_assert_eq(parse(&o, "train", "--lr x --help a b c"), 0);
    cr_expect(o.help);
    pawl_options_free(&o);
}

Test(parse, wrong_lines_are_told_with_what_to_try)
{
    must_refuse("train", "m --stesp 3",
                "train: unknown flag --stesp (did you mean '--steps'?). try: pawl train --help");
    must_refuse("train", "m --zzzzzz", "train: unknown flag --zzzzzz. try: pawl train --help");
    must_refuse("train", "m -z", "train: unknown flag -z. try: pawl train --help");
    must_refuse("inspect", "m --lr 1",
                "inspect has no flag --lr (train has). try: pawl inspect --help");
    must_refuse("train", "m --lr fast", "train: --lr: 'fast' is not a number. try: --lr 3e-4");
    must_refuse("train", "m --lr=", "train: --lr: '' is not a number. try: --lr 3e-4");
    must_refuse("train", "m --lr -1", "train: --lr: '-1' is below 0. try: --lr 3e-4");
    must_refuse("train", "m --batch 0", "train: --batch: '0' is below 1. try: --batch 32");
    must_refuse("train", "m --batch 1.5",
                "train: --batch: '1.5' is not a whole number. try: --batch 32");
    must_refuse("train", "m --threads 257",
                "train: --threads: '257' is above 256. try: --threads 2");
    must_refuse("train", "m --betas 0.9,1",
                "train: --betas: '1' is not below 1. try: --betas 0.9,0.95");
    must_refuse("train", "m --betas 0.9",
                "train: --betas: '0.9' is not two numbers with a comma. try: --betas 0.9,0.95");
    must_refuse("train", "m --optimizer adm",
                "train: --optimizer: 'adm' is none of adamw|adam|sgd|rmsprop (did you mean "
                "'adam'?). try: --optimizer adamw");
    must_refuse("train", "m --save-every 0",
                "train: --save-every: '0' is not above 0; to save only the last step, leave "
                "--save-every out. try: --save-every 30m");
    must_refuse("train", "m --meta x",
                "train: --meta: 'x' is not KEY=JSON. try: --meta note='\"a\"'");
    must_refuse("train", "m --json=maybe",
                "train: --json: 'maybe' is neither true nor false. try: --json or --no-json");
    must_refuse("train", "m --no-lr", "train: --lr takes no --no-. try: pawl train --help");
    must_refuse("train", "m --out=", "train: --out: an empty value. try: --out runs/a");
    must_refuse("train", "",
                "train needs MODEL --data SRC --out DIR [FLAG...]. try: pawl train "
                "--help");
    must_refuse("diff", "a b c",
                "diff: 'c' is one argument too many; it takes A B. try: pawl diff --help");
}

// ---- the environment and the config file

static const char *write_config(const char *text)
{
    static char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "/tmp/pawl-flags-%ld.conf", (long)getpid());
    file = fopen(path, "w");
    cr_assert(file && fputs(text, file) >= 0 && !fclose(file));
    return path;
}

Test(sources, the_line_wins_over_the_environment_over_the_file)
{
    const char *path = write_config("steps = 1\nbatch = 1\nseq=1\n");
    struct pawl_options o;
    char line[128];

    setenv("PAWL_STEPS", "2", 1);
    setenv("PAWL_BATCH", "2", 1);
    setenv("PAWL_SEED", "", 1);  // not set
    setenv("PAWL_PROMPT", "of another verb", 1);
    snprintf(line, sizeof(line), "m --steps 3 --config %s", path);
    cr_assert_eq(parse(&o, "train", line), 0, "%s", pawl_error());
    cr_expect(o.steps == 3 && o.batch == 2 && o.seq == 1 && o.seed == -1);
    cr_expect_str_eq(o.from[pawl_flag_find(o.verb, "steps") - pawl_flags], "command line");
    cr_expect_str_eq(o.from[pawl_flag_find(o.verb, "batch") - pawl_flags], "PAWL_BATCH");
    const char *place = o.from[pawl_flag_find(o.verb, "seq") - pawl_flags];
    cr_expect_str_eq(place + strlen(place) - 7, ".conf:3");
    pawl_options_free(&o);
    setenv("PAWL_CONFIG", path, 1);
    setenv("PAWL_JSON", "1", 1);
    cr_assert_eq(parse(&o, "train", "m --no-json"), 0);
    cr_expect(o.seq == 1 && !o.json);
    pawl_options_free(&o);
    unlink(path);
}

Test(sources, the_environment_is_checked_like_the_line)
{
    setenv("PAWL_SAVE_EVERY", "often", 1);
    must_refuse("train", "m",
                "train: --save-every from PAWL_SAVE_EVERY: 'often' is no number of "
                "steps, time or epochs. try: --save-every 30m");
}

Test(sources, a_file_may_quote_comment_and_serve_several_verbs)
{
    const char *path = write_config("# a comment\n\n  data = a b #not a comment  # one\r\n"
                                    "keep = \"latest=3 # \\\"x\\\"\\n\\\\\"  # quoted\n"
                                    "--save_mode = sync\nquiet = true\nprompt = for generate\n"
                                    "meta = a=\"1\"\nmeta = b=2");
    struct pawl_options o;
    char line[128];

    snprintf(line, sizeof(line), "m --config %s --meta c=3", path);
    cr_assert_eq(parse(&o, "train", line), 0, "%s", pawl_error());
    cr_expect_str_eq(o.data, "a b");
    cr_expect_str_eq(o.keep, "latest=3 # \"x\"\n\\");
    cr_expect_str_eq(o.save_mode, "sync");
    cr_expect(o.quiet && !o.prompt);
    cr_expect_eq(o.meta_count, 3);
    cr_expect_str_eq(o.meta[0], "a=\"1\"");
    pawl_options_free(&o);
    unlink(path);
}

Test(sources, wrong_files_are_told_by_line)
{
    static const struct {
        const char *text, *words;
    } wrong[] = {
        { "steps = 1\nstesp = 3\n", "unknown flag in CONF:2: stesp (did you mean '--steps'?)" },
        { "steps\n", "CONF:1: 'steps' has no '='. try: flag = value" },
        { "keep = \"a\n", "CONF:1: the quotes of keep do not close. try: keep = \"...\"" },
        { "keep = \"a\" b\n", "CONF:1: the quotes of keep do not close. try: keep = \"...\"" },
        { "config = x\n", "CONF:1: a config file names no other one" },
        { "\n\nlr = x\n", "train: --lr from CONF:3: 'x' is not a number. try: --lr 3e-4" },
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *path = write_config(wrong[i].text);
        struct pawl_options o;
        char line[128], told[1100], *at;

        snprintf(line, sizeof(line), "m --config %s", path);
        cr_expect_eq(parse(&o, "train", line), PAWL_EINVAL);
        snprintf(told, sizeof(told), "%s", pawl_error());
        if ((at = strstr(told, path))) {
            memcpy(at, "CONF", 4);
            memmove(at + 4, at + strlen(path), strlen(at + strlen(path)) + 1);
        }
        cr_expect(strstr(told, wrong[i].words), "'%s' instead of '%s'", told, wrong[i].words);
        pawl_options_free(&o);
        unlink(path);
    }
    struct pawl_options o;
    cr_expect_eq(parse(&o, "train", "m --config /nowhere/x.conf"), PAWL_ENONE);
    pawl_options_free(&o);
    cr_expect_eq(parse(&o, "train", "m --config /tmp"), PAWL_EIO);
    pawl_options_free(&o);
}

// ---- exit codes

Test(exits, every_failure_has_its_code)
{
    static const int codes[][2] = { { 0, 0 },
                                    { PAWL_EINVAL, 64 },
                                    { PAWL_ECORRUPT, 65 },
                                    { PAWL_ENONE, 66 },
                                    { PAWL_EDEVICE, 69 },
                                    { PAWL_ENOTSUP, 69 },
                                    { PAWL_ENOMEM, 69 },
                                    { PAWL_EBUSY, 73 },
                                    { PAWL_EIO, 74 },
                                    { -99, 70 } };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        cr_expect_eq(pawl_exit_of(codes[i][0]), codes[i][1]);
    cr_expect_eq(pawl_exit_of_output(PAWL_EIO), 73);
    cr_expect_eq(pawl_exit_of_output(PAWL_ENONE), 66);
}
