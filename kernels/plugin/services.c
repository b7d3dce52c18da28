// services.c - linked into each plugin: pawl's functions, passed on to the pawl that opened it.

#include <stdarg.h>
#include <stdio.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "kernels/plugin.h"

static struct pawl_services pawl;

void pawl_services_set(const struct pawl_services *services)
{
    pawl = *services;
}

const struct pawl_services *pawl_services(void)
{
    return &pawl;
}

int pawl_fail(int code, const char *format, ...)
{
    char words[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return pawl.fail(code, "%s", words);
}

int pawl_alloc(void *out, size_t bytes, const char *what)
{
    return pawl.alloc(out, bytes, what);
}

void pawl_free(void *memory)
{
    pawl.free(memory);
}
