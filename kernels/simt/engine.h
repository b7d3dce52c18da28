// engine.h - what the files of the engine share. One launch runs at a time, under engine.cc's lock,
// which guards all of this.

#ifndef PAWL_SIMT_ENGINE_H
#define PAWL_SIMT_ENGINE_H

#include "kernels/simt/fiber.h"
#include "kernels/simt/lane.h"

enum { SIMT_THREADS = 1024, SIMT_WARPS = SIMT_THREADS / 32, SIMT_SHARED_MOST = 227 << 10 };

// What a lane of the block waits at.
enum wait { NOTHING, BARRIER, EXCHANGE };

struct lane {
    struct fiber *fiber;  // NULL: not begun
    enum wait wait;
    struct simt_place place;
    uint3 thread;
};

struct warp {
    int arrived;                 // lanes at the exchange
    struct simt_place place;     // of the first that came
    enum simt_exchange kind;
    unsigned swaps;              // so far: values of two in turn lie apart
    uint16_t synced;             // __syncwarp()s so far: watch.cc
    uint64_t value[2][32];
};

struct engine {
    const struct simt_call *call;
    struct lane lanes[SIMT_THREADS];
    struct warp warps[SIMT_WARPS];
    int size, begun, done, at_barrier;  // lanes of the block
    int self;                           // whose turn it is
    int order[SIMT_THREADS];            // in which lanes begin
    int ready[SIMT_THREADS];            // a ring
    unsigned first, count;              // of ready
    uint32_t interval;                  // grows at each barrier and block: watch.cc
    uint32_t born;                      // the block's first
    uint64_t random;                    // 0: everything by its number
    uint64_t seed;
    bool watched;
};
extern struct engine engine;

// Keeps the launch's first failure: "kernel NAME, block (x, y, z): " and these words.
void simt_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

// watch.cc. A launch's shared memory lies at the arena's start.
enum { WATCH_BYTES = 256 << 10 };
extern unsigned char watch_arena[WATCH_BYTES];
void watch_block(size_t shared_bytes);  // a block begins: nothing is written yet
void watch_touch(size_t at, size_t bytes, bool write);

#endif
