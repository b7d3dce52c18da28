// plugin.c - finds a plugin's file, and checks that it is of this build.

#include "kernels/plugin.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/io.h"
#include "kernels/memory.h"

// From the installed program's directory to the installed libraries'.
#ifndef PAWL_PLUGINS_FROM_PROGRAM
#define PAWL_PLUGINS_FROM_PROGRAM "../lib"
#endif

enum { PATH_BYTES = 4096 };

static int64_t now_ns(void)
{
    return pawl_io()->now_ns();
}

static const struct pawl_services services = { pawl_fail, pawl_alloc, pawl_free, now_ns };

// The directory of the program or library that this function is in, without its last slash. The
// dynamic linker knows a library's path; the program's it leaves empty.
static void home(char out[PATH_BYTES])
{
    struct link_map *map = NULL;
    Dl_info info;

    out[0] = '\0';
    const bool known = dladdr1((const void *)&services, &info, (void **)&map, RTLD_DL_LINKMAP);
    if (known && map && map->l_name[0]) {
        snprintf(out, PATH_BYTES, "%s", map->l_name);
    } else {
        const ssize_t length = readlink("/proc/self/exe", out, PATH_BYTES - 1);
        out[length < 0 ? 0 : length] = '\0';
    }
    char *slash = strrchr(out, '/');
    if (slash) *slash = '\0';
}

static int refuse(const char *path)
{
    const char *words = dlerror();

    return pawl_fail(PAWL_ENOTSUP, "%.400s cannot be loaded: %.500s", path,
                     words ? words : "no reason given");
}

// Opens the file at `path`, or leaves *out alone where there is none.
static int open_at(void **out, const char *path)
{
    if (access(path, F_OK)) return 0;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return refuse(path);
    *out = handle;
    return 0;
}

static int find(void **out, const char *library, const char *variable)
{
    // The second is where a build keeps it, seen from its tests.
    static const char *const places[] = { ".", "..", PAWL_PLUGINS_FROM_PROGRAM };
    const char *wanted = getenv(variable);
    char directory[PATH_BYTES], path[PATH_BYTES + 256];
    int rc = 0;

    if (wanted && *wanted) {
        rc = open_at(out, wanted);
        if (!rc && !*out)
            rc = pawl_fail(PAWL_ENOTSUP, "%s=%.400s: there is no such file", variable, wanted);
        return rc;
    }
    home(directory);
    for (size_t i = 0; !rc && !*out && i < sizeof(places) / sizeof(places[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s/%s", directory, places[i], library);
        rc = open_at(out, path);
    }
    if (!rc && !*out) *out = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!rc && !*out)
        rc = pawl_fail(PAWL_ENOTSUP, "there is no %s in %.400s or on the library path", library,
                       directory);
    return rc;
}

// All that says so lies at the struct's start, which no version moves.
static bool fits(const struct pawl_plugin *plugin)
{
    static const struct pawl_plugin own = { PAWL_PLUGIN_SIZES };

    return !memcmp(plugin, &own, offsetof(struct pawl_plugin, start));
}

int pawl_plugin_open(const struct pawl_plugin **out, const char *library, const char *variable)
{
    static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;  // guards what start() writes
    void *handle = NULL;

    const int rc = find(&handle, library, variable);
    if (rc) return rc;
    const struct pawl_plugin *plugin = dlsym(handle, "pawl_plugin");
    if (!plugin)
        return pawl_fail(PAWL_ENOTSUP, "the %s that is found is no plugin of pawl", library);
    if (!fits(plugin))
        return pawl_fail(PAWL_ENOTSUP, "the %s that is found belongs to another build of pawl. "
                         "try: cmake --build and --install, which make both", library);
    pthread_mutex_lock(&starting);
    plugin->start(&services);
    pthread_mutex_unlock(&starting);
    *out = plugin;
    return 0;
}
