// error.c - the latest failure's words, one buffer per thread.

#include "kernels/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { WORDS_MAX = 1024 };

static _Thread_local char words[WORDS_MAX] = "no failure recorded";

int pawl_fail(int code, const char *format, ...)
{
    // The arguments may include pawl_error() itself, so the new words are made apart from the old.
    char fresh[WORDS_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(fresh, sizeof(fresh), format, arguments);
    va_end(arguments);
    memcpy(words, fresh, sizeof(words));
    return code;
}

const char *pawl_error(void)
{
    return words;
}
