// placeholder.c - verbs that others are writing; each definition there wins over the weak one
// here. Goes when the last has landed.

#include <stdio.h>

#include "runtime/cli/exits.h"
#include "runtime/cli/verbs.h"

static int missing(const struct pawl_options *options)
{
    fprintf(stderr, "pawl: %s is not built yet\n", options->verb->name);
    return PAWL_EXIT_BUG;
}

#define PLACEHOLDER(name)                                                                          \
    __attribute__((weak)) int name(const struct pawl_options *o)                                   \
    {                                                                                              \
        return missing(o);                                                                         \
    }

PLACEHOLDER(pawl_verb_train)
PLACEHOLDER(pawl_verb_predict)
PLACEHOLDER(pawl_verb_generate)
PLACEHOLDER(pawl_verb_inspect)
PLACEHOLDER(pawl_verb_convert)
PLACEHOLDER(pawl_verb_diff)
PLACEHOLDER(pawl_verb_verify)
PLACEHOLDER(pawl_verb_ckpt)
PLACEHOLDER(pawl_verb_bench)
