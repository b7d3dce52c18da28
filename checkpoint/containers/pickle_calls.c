// pickle_calls.c - what a pickle calls: kept as a record, made a dict, or refused by its name.

#include <string.h>

#include "checkpoint/containers/pickle_inside.h"

// What nothing that is data ever calls. A name with a '.' at its end stands for all below it.
static const char *const dangerous[] = {
    "os.", "posix.", "nt.", "sys.", "subprocess.", "shutil.", "socket.", "runpy.", "importlib.",
    "pty.", "code.", "codeop.", "ctypes.", "commands.", "platform.", "webbrowser.", "pickle.",
    "_pickle.", "marshal.", "types.", "timeit.", "pdb.", "bdb.", "profile.", "cProfile.",
    "trace.", "multiprocessing.", "asyncio.", "threading.", "signal.", "operator.", "pip.",
    "idlelib.", "distutils.", "ensurepip.", "imp.", "builtins.", "__builtin__.", "torch.load",
    "torch.hub.", "torch.jit.", "torch.package.", "torch.utils.cpp_extension.", "torch.ops.",
    "torch.utils._config_module.", "numpy.testing.", "numpy.f2py.", "numpy.distutils.",
    "nturl2path.", "http.", "urllib.", "requests.", "ftplib.", "smtplib.", "tempfile.", "atexit.",
    "cmd.",
};
static const char *const harmless[] = {
    "set", "frozenset", "bytearray", "complex", "dict", "list", "tuple", "slice", "range", "int",
    "float", "str", "bool", "bytes", "object",
};

static bool is_dangerous(const char *name)
{
    const char *last = strrchr(name, '.');

    if (!strncmp(name, "builtins.", 9) || !strncmp(name, "__builtin__.", 12))
        for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
            if (last == strchr(name, '.') && !strcmp(last + 1, harmless[i])) return false;
    if (!strcmp(name, "types.SimpleNamespace")) return false;
    for (size_t i = 0; i < sizeof(dangerous) / sizeof(*dangerous); i++) {
        const size_t length = strlen(dangerous[i]);
        const bool below = dangerous[i][length - 1] == '.';
        if (below ? !strncmp(name, dangerous[i], length) : !strcmp(name, dangerous[i])) return true;
    }
    return false;
}

// OrderedDict, Counter and defaultdict are dicts; an old OrderedDict came as a list of pairs.
static int make_dict(struct pawl_py_vm *vm, struct pawl_py *of, const struct pawl_py *arguments,
                     struct pawl_py **out)
{
    const struct pawl_py *pairs = pawl_py_item(arguments, arguments->count ? arguments->count - 1
                                                                           : 0);
    const uint32_t count = pawl_py_is(pairs, PAWL_PY_LIST) ? pairs->count : 0;

    // One list may be copied by many calls: it counts each time.
    if (count > (uint32_t)(VALUES_MAX - vm->value_count))
        return pawl_py_fail(vm, "more than %d values", VALUES_MAX);
    vm->value_count += (int)count;
    int rc = pawl_py_new(vm, PAWL_PY_DICT, out);
    if (!rc && count) rc = pawl_py_room(vm, *out, 2 * count);
    if (rc) return rc;
    (*out)->made = of;
    for (uint32_t i = 0; i < count; i++) {
        struct pawl_py *pair = pairs->item[i];
        if (pair->kind < PAWL_PY_LIST || pair->kind > PAWL_PY_TUPLE || pair->count != 2)
            return pawl_py_fail(vm, "a dict of something that is not a pair");
        (*out)->item[(*out)->count++] = pair->item[0];
        (*out)->item[(*out)->count++] = pair->item[1];
    }
    return 0;
}

int pawl_py_call(struct pawl_py_vm *vm, struct pawl_py *callable, struct pawl_py *arguments,
                 struct pawl_py **out)
{
    static const char *const dicts[] = { "collections.OrderedDict", "collections.Counter",
                                         "collections.defaultdict", "builtins.dict" };
    const char *name = pawl_py_called(callable);
    struct pawl_py *made = NULL;
    int rc = 0;

    if (callable->kind != PAWL_PY_GLOBAL)
        return pawl_py_fail(vm, "it calls something that is no global");
    if (!pawl_py_is(arguments, PAWL_PY_TUPLE))
        return pawl_py_fail(vm, "it calls %.200s with arguments that are no tuple", name);
    if (is_dangerous(name))
        return pawl_py_fail(vm, "it calls %.200s. Loading it elsewhere would run code; nothing was "
                            "run here, and the file is refused", name);
    for (size_t i = 0; i < sizeof(dicts) / sizeof(*dicts); i++)
        if (!strcmp(name, dicts[i])) rc = make_dict(vm, callable, arguments, &made);
    if (!rc && !made) {
        rc = pawl_py_new(vm, PAWL_PY_CALL, &made);
        if (!rc) rc = pawl_py_room(vm, made, 2);
        if (!rc) {
            made->item[0] = callable;
            made->item[1] = arguments;
            made->count = 2;
        }
    }
    if (!rc) *out = made;
    return rc;
}
