// accesses.cc - what g++ calls at each access to memory (watch.cc). Not part of a build with a
// sanitizer of its own.

#include "kernels/simt/engine.h"

static inline void touch(const void *memory, size_t bytes, bool write)
{
    const size_t at = (uintptr_t)memory - (uintptr_t)watch_arena;

    if (__builtin_expect(at < WATCH_BYTES, 0)) watch_touch(at, bytes, write);
}

#define ACCESS(bytes) \
    void __tsan_read##bytes(const void *p) { touch(p, bytes, false); } \
    void __tsan_write##bytes(const void *p) { touch(p, bytes, true); } \
    void __tsan_unaligned_read##bytes(const void *p) { touch(p, bytes, false); } \
    void __tsan_unaligned_write##bytes(const void *p) { touch(p, bytes, true); }

extern "C" {
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __tsan_read_range(const void *p, size_t bytes) { touch(p, bytes, false); }
void __tsan_write_range(const void *p, size_t bytes) { touch(p, bytes, true); }
void __tsan_vptr_update(void **, void *) {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}
void __tsan_init(void) {}
}
