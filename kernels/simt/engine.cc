// engine.cc - blocks and their threads, one fiber each, in turns.
//
//     not begun --> runs --> done
//                    | ^
//          BARRIER,  v |   all of the block, or of the warp, are there
//          EXCHANGE waits
//
// A fiber whose lane is done takes the next that has not begun, so a kernel without barriers is a
// loop in one fiber. When nobody can go on and not all are done, the block has diverged: it is
// given up, and its fibers begin anew.

#include "kernels/simt/engine.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kernels/cuda/cuda.h"

struct simt_now simt_now;
struct engine engine;

enum { STACK = 256 << 10, GUARD = 4096, WORDS = 400, FAULT = 719 };  // cudaErrorLaunchFailure
enum { REASONS = 16 };  // a reason's words must outlive its launch; nobody waits for 16 faults

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fiber home, fibers[SIMT_THREADS];
static struct fiber *idle[SIMT_THREADS];
static int idle_count;
static char *stacks;
static char reasons[REASONS][WORDS];
static unsigned reason_count;
static uint64_t launches;
static bool failed;
static thread_local const char *last_reason;  // of the calling thread's launches

// Weak: there with AddressSanitizer only (sanitizer/asan_interface.h).
extern "C" __attribute__((weak)) void __asan_unpoison_memory_region(const void *, size_t);

void simt_failed(const char *format, ...)
{
    const uint3 at = simt_now.block;
    va_list arguments;

    if (failed) return;
    failed = true;
    char *words = reasons[reason_count++ % REASONS];
    int length = snprintf(words, WORDS, "kernel %.80s, block (%u, %u, %u): ", engine.call->name,
                          at.x, at.y, at.z);
    va_start(arguments, format);
    vsnprintf(words + length, (size_t)(WORDS - length), format, arguments);
    va_end(arguments);
    last_reason = words;
}

// ---- whose turn it is

// xorshift64 (Marsaglia, 2003)
static unsigned draw(unsigned below)
{
    engine.random ^= engine.random << 13;
    engine.random ^= engine.random >> 7;
    engine.random ^= engine.random << 17;
    return (unsigned)((engine.random >> 32) % below);
}

static void turn(int lane)
{
    engine.self = lane;
    simt_now.thread = engine.lanes[lane].thread;
    simt_now.lane = (unsigned)lane % 32;
}

static void make_ready(int lane)
{
    engine.lanes[lane].wait = NOTHING;
    engine.ready[(engine.first + engine.count++) % SIMT_THREADS] = lane;
}

// The next lane to run, or -1.
static int choose(void)
{
    const unsigned fresh = (unsigned)(engine.size - engine.begun);

    if (fresh + engine.count == 0) return -1;
    const unsigned pick = engine.random ? draw(fresh + engine.count) : 0;
    if (pick < fresh) return engine.order[engine.begun++];
    int *at = &engine.ready[(engine.first + pick - fresh) % SIMT_THREADS];
    const int lane = *at;
    *at = engine.ready[engine.first++ % SIMT_THREADS];
    engine.count--;
    return lane;
}

// Goes on with lane `next`, or home where it is -1; returns at own's next turn.
static void go(struct fiber *own, int next)
{
    struct fiber *to = &home;

    if (next >= 0) {
        struct lane *lane = &engine.lanes[next];
        if (!lane->fiber) lane->fiber = idle[--idle_count];
        turn(next);
        to = lane->fiber;
    }
    if (to != own) fiber_switch(own, to);
}

static void run_lanes(void)
{
    struct fiber *const own = engine.lanes[engine.self].fiber;

    fiber_arrived(own);
    for (;;) {
        engine.call->run(engine.call->kernel);
        engine.done++;
        const int next = choose();
        // One that has not begun gets this fiber, and without a switch.
        idle[idle_count++] = own;
        go(own, next);
    }
}

// ---- barriers

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;

    return slash ? slash + 1 : path ? path : "?";
}

static bool same(struct simt_place a, struct simt_place b)
{
    return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file));
}

static void differ(const char *what, struct simt_place a, struct simt_place b)
{
    simt_failed("threads meet at different %s, %s:%d and %s:%d", what, base_name(a.file), a.line,
                base_name(b.file), b.line);
}

// Waits, or if `last` of `lanes` from `first` on that wait at the same, lets all of them go on.
static void gather(enum wait wait, struct simt_place place, bool last, int first, int lanes)
{
    struct lane *self = &engine.lanes[engine.self];

    self->wait = wait;
    self->place = place;
    for (int lane = first; last && lane < first + lanes; lane++)
        if (engine.lanes[lane].wait == wait) make_ready(lane);
    go(self->fiber, choose());
}

void simt_barrier(struct simt_place place)
{
    const bool last = ++engine.at_barrier == engine.size;

    if (last) {
        for (int lane = 0; lane < engine.size; lane++)
            if (lane != engine.self && !same(engine.lanes[lane].place, place)) {
                differ("barriers", engine.lanes[lane].place, place);
                break;
            }
        engine.at_barrier = 0;
        engine.interval++;
    }
    gather(BARRIER, place, last, 0, engine.size);
}

const uint64_t *simt_swap(uint64_t own, bool full, enum simt_exchange kind,
                          struct simt_place place)
{
    const int first = engine.self / 32 * 32;
    const int lanes = engine.size - first < 32 ? engine.size - first : 32;
    struct warp *warp = &engine.warps[engine.self / 32];

    if (!full) simt_failed("a mask that is not full, at %s:%d", base_name(place.file), place.line);
    if (lanes < 32 && kind != SIMT_SYNCWARP)
        simt_failed("an exchange in a warp of %d threads, at %s:%d", lanes, base_name(place.file),
                    place.line);
    if (warp->arrived == 0) {
        warp->place = place;
        warp->kind = kind;
    } else if (warp->kind != kind || !same(warp->place, place)) {
        differ("exchanges", warp->place, place);
    }
    // A lane writes the third only after all have read the first: two places are enough.
    uint64_t *all = warp->value[warp->swaps % 2];
    all[engine.self % 32] = own;
    const bool last = ++warp->arrived == lanes;
    if (last) {
        warp->arrived = 0;
        warp->swaps++;
        if (kind == SIMT_SYNCWARP) warp->synced++;
    }
    gather(EXCHANGE, place, last, first, lanes);
    return all;
}

unsigned char *simt_shared(void) { return watch_arena; }

// ---- blocks

static bool take_stacks(void)
{
    const size_t bytes = (size_t)SIMT_THREADS * STACK;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED) {
        simt_failed("no address space for %zu bytes of stacks", bytes);
        return false;
    }
    stacks = static_cast<char *>(memory);
    for (int i = 0; i < SIMT_THREADS; i++)
        mprotect(stacks + (size_t)i * STACK, GUARD, PROT_NONE);
    return true;
}

// All of them idle, wherever they were.
static void open_fibers(void)
{
    idle_count = 0;
    for (int i = SIMT_THREADS; i-- > 0;) {
        char *stack = stacks + (size_t)i * STACK + GUARD;
        // Tops at the same place of each page would all want the same lines of the cache.
        const size_t size = STACK - GUARD - (size_t)(i % 61) * 64;
        if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(stack, STACK - GUARD);
        fiber_open(&fibers[i], stack, size, run_lanes);
        idle[idle_count++] = &fibers[i];
    }
}

// Lanes that wait, and how many are done: nobody can go on.
static void diverged(void)
{
    int barrier = 0, exchange = 0;
    struct simt_place at_barrier = { NULL, 0 }, at_exchange = { NULL, 0 };

    for (int i = 0; i < engine.size; i++) {
        const struct lane *lane = &engine.lanes[i];
        barrier += lane->wait == BARRIER;
        exchange += lane->wait == EXCHANGE;
        if (lane->wait == BARRIER) at_barrier = lane->place;
        if (lane->wait == EXCHANGE) at_exchange = lane->place;
    }
    simt_failed("of %d threads %d wait at a barrier (%s:%d), %d in a warp (%s:%d), %d have left",
                engine.size, barrier, base_name(at_barrier.file), at_barrier.line, exchange,
                base_name(at_exchange.file), at_exchange.line, engine.done);
    open_fibers();
}

static void begin_block(void)
{
    const dim3 block = engine.call->block;

    engine.begun = engine.done = engine.at_barrier = 0;
    engine.first = engine.count = 0;
    engine.born = ++engine.interval;
    for (int i = 0; i < engine.size; i++) {
        const unsigned row = (unsigned)i / block.x;
        engine.lanes[i] = { NULL, NOTHING, { NULL, 0 },
                            { (unsigned)i % block.x, row % block.y, row / block.y } };
        const int at = engine.random ? (int)draw((unsigned)i + 1) : i;
        engine.order[i] = engine.order[at];
        engine.order[at] = i;
    }
    for (int i = 0; i < (engine.size + 31) / 32; i++)
        engine.warps[i].arrived = 0;
    watch_block(engine.call->shared_bytes);
}

static void run_block(uint64_t number)
{
    const dim3 grid = engine.call->grid;

    simt_now.block = { (unsigned)(number % grid.x), (unsigned)(number / grid.x % grid.y),
                       (unsigned)(number / grid.x / grid.y) };
    begin_block();
    go(&home, choose());
    if (engine.done < engine.size) diverged();
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// A random order without a list: number i runs block (start + i * step) % blocks.
static void run_blocks(void)
{
    const dim3 grid = engine.call->grid;
    const uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    uint64_t start = 0, step = 1;

    if (engine.random) {
        start = draw(0x7fffffffu) % blocks;
        step = draw(0x7fffffffu) % blocks | 1;
        while (common_divisor(blocks, step) != 1)
            step++;
    }
    for (uint64_t i = 0; i < blocks && !failed; i++)
        run_block((start + i * step) % blocks);
}

static bool sound(const struct simt_call *call)
{
    const uint64_t threads = (uint64_t)call->block.x * call->block.y * call->block.z;
    const dim3 grid = call->grid;

    if (threads < 1 || threads > SIMT_THREADS)
        simt_failed("%lu threads, not 1 to %d", (unsigned long)threads, SIMT_THREADS);
    else if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535
             || grid.z > 65535)
        simt_failed("a grid of %u x %u x %u", grid.x, grid.y, grid.z);
    else if (call->shared_bytes > SIMT_SHARED_MOST)
        simt_failed("%zu bytes of shared memory, at most %d", call->shared_bytes,
                    SIMT_SHARED_MOST);
    return !failed;
}

void simt_run(const struct simt_call *call)
{
    pthread_mutex_lock(&lock);
    failed = false;
    engine.call = call;
    simt_now.block = { 0, 0, 0 };
    if (sound(call) && (stacks || take_stacks())) {
        if (!idle_count) open_fibers();
        simt_now.block_size = call->block;
        simt_now.grid_size = call->grid;
        engine.size = (int)(call->block.x * call->block.y * call->block.z);
        // An order of its own for each launch, so that doing the same twice is a test.
        if (engine.seed) engine.random = (engine.seed + launches++) * 0x9e3779b97f4a7c15u | 1;
        run_blocks();
    }
    engine.call = NULL;
    pthread_mutex_unlock(&lock);
}

// ---- what operations and the plugin's user see

extern "C" void pawl_cuda_launched(struct pawl_stream *s)
{
    if (last_reason && !s->fault) {
        s->fault = FAULT;
        s->reason = last_reason;
    }
    last_reason = NULL;
}

static void free_scratch(void *memory) { munmap(memory, PAWL_CUDA_SCRATCH_BYTES); }
static pthread_key_t scratch_key;
static void make_scratch_key(void) { pthread_key_create(&scratch_key, free_scratch); }

// A stream's operations run on one thread, so a thread's is a stream's.
extern "C" void *pawl_cuda_scratch(struct pawl_stream *s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_scratch_key);
    void *memory = pthread_getspecific(scratch_key);
    if (memory) return memory;
    memory = mmap(NULL, PAWL_CUDA_SCRATCH_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) {
        pthread_setspecific(scratch_key, memory);
        return memory;
    }
    s->fault = FAULT;
    s->reason = "no address space for a stream's scratch memory";
    return NULL;
}

void simt_open(void)
{
    const char *seed = getenv("PAWL_SIMT_SEED"), *watch = getenv("PAWL_SIMT_WATCH");

    pthread_mutex_lock(&lock);
    engine.seed = seed ? strtoull(seed, NULL, 10) : 0;
    engine.random = 0;
    engine.watched = !watch || strcmp(watch, "0");
    pthread_mutex_unlock(&lock);
}
