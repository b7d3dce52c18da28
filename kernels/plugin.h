// plugin.h - kernels in a library of their own: opened where it is there, done without where not.
//
//     pawl, libpawl.so --dlopen--> libpawl-cuda.so (nvcc's)     the device `cuda`
//                              --> libpawl-simt.so (g++'s)      the same kernels for `sim`
//
// A plugin shows one symbol, the struct pawl_plugin named `pawl_plugin`, and needs none of pawl's:
// what it uses of pawl comes through start(). Its sources call pawl_fail() and the like as any
// other; kernels/plugin/services.c, linked into each plugin, passes the calls on.
//
// Pawl and its plugins are built together: each side carries the version and the sizes of what
// both see, and a plugin of another build is refused before any of its functions is called.

#ifndef PAWL_PLUGIN_H
#define PAWL_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/device.h"

enum { PAWL_PLUGIN_VERSION = 1 };  // grows when the meaning of what both see changes

// What a plugin gets of pawl; as in error.h, memory.h and io.h.
struct pawl_services {
    int (*fail)(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
    int (*alloc)(void *out, size_t bytes, const char *what);
    void (*free)(void *memory);
    int64_t (*now_ns)(void);
};

enum pawl_plugin_type { PAWL_PLUGIN_FP32, PAWL_PLUGIN_BF16, PAWL_PLUGIN_TYPES };

struct pawl_plugin {
    uint32_t version;
    uint32_t services_bytes, device_bytes, kind_bytes, stream_bytes, ops_bytes;
    void (*start)(const struct pawl_services *services);  // before anything else; again is fine
    const struct pawl_device_kind *kind;                  // NULL: it has operations only
    const struct pawl_ops *ops[PAWL_PLUGIN_TYPES];
};

extern PAWL_API const struct pawl_plugin pawl_plugin;  // defined by each plugin

#define PAWL_PLUGIN_SIZES \
    .version = PAWL_PLUGIN_VERSION, .services_bytes = sizeof(struct pawl_services), \
    .device_bytes = sizeof(struct pawl_device), .kind_bytes = sizeof(struct pawl_device_kind), \
    .stream_bytes = sizeof(struct pawl_stream), .ops_bytes = sizeof(struct pawl_ops)

// What pawl_plugin_open gives as start().
void pawl_services_set(const struct pawl_services *services);
const struct pawl_services *pawl_services(void);  // in a plugin: what it was given

// Opens `library` ("libpawl-cuda.so") and starts it: the file that the environment's `variable`
// names; else the one beside the program or the library that holds this function, or where
// `cmake --install` puts it; else by the system's rules. It is never closed.
// PAWL_ENOTSUP: it is not there, cannot be loaded or belongs to another build; the words say which.
int pawl_plugin_open(const struct pawl_plugin **out, const char *library, const char *variable);

#endif
