// main.c - the pawl command: finds the verb, parses its flags, runs it.

#include <stdio.h>
#include <string.h>

#include "kernels/error.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/verbs.h"

static int run(const struct pawl_verb *verb, int argc, char *const *argv)
{
    struct pawl_options options;
    int status = PAWL_EXIT_DONE;
    const int rc = pawl_options_parse(&options, verb, argc, argv);

    if (rc)
        status = pawl_exit_telling(rc);
    else if (options.help)
        pawl_help_verb(verb);
    else if (options.print_config)
        pawl_options_print(&options);
    else
        status = verb->run(&options);
    pawl_options_free(&options);
    return status;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    const struct pawl_verb *verb = pawl_verb_find(word);
    int status = PAWL_EXIT_DONE;

    if (verb) {
        status = run(verb, argc - 2, argv + 2);
    } else if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
        pawl_help_overall();
    } else if (!strcmp(word, "--version")) {
        puts("pawl " PAWL_VERSION);
    } else if (argc < 2) {
        fputs("pawl: a verb is missing. try: pawl help\n", stderr);
        status = PAWL_EXIT_USAGE;
    } else {
        status = pawl_unknown_verb(word);
    }
    // A result that did not reach its reader is not done.
    if ((fflush(stdout) || ferror(stdout)) && status == PAWL_EXIT_DONE) {
        fputs("pawl: standard output: cannot write\n", stderr);
        status = PAWL_EXIT_IO;
    }
    return status;
}
