// watch.cc - the watch over shared memory: who wrote and read each piece, and when.
//
// g++ compiles the kernels with -fsanitize=thread, which calls a function at every access to
// memory. Those functions are in accesses.cc, and not ThreadSanitizer's: what lies outside shared
// memory passes; inside, each 2 bytes have a cell that knows its last writer and reader.
//
// Two accesses by two threads of a block, one of them a write, must have a barrier between them:
// __syncthreads(), or for lanes of a warp __syncwarp(). Shuffles and votes order nothing.

#include "kernels/simt/engine.h"

enum { GRAIN = 2, CELLS = WATCH_BYTES / GRAIN };
enum { SEVERAL_OF_WARP = 0x8000, SEVERAL = 0xffff };  // readers; with the first: the warp's number

struct cell {
    uint32_t wrote, read;                 // engine.interval then
    uint16_t writer, reader;              // lanes
    uint16_t writer_synced, reader_synced;  // its warp's __syncwarp()s then
};

alignas(256) unsigned char watch_arena[WATCH_BYTES];
static struct cell cells[CELLS];
static size_t asked;

// Weak: there with AddressSanitizer only (sanitizer/asan_interface.h).
extern "C" {
__attribute__((weak)) void __asan_poison_memory_region(const void *, size_t);
__attribute__((weak)) void __asan_unpoison_memory_region(const void *, size_t);
}

// NaN of either type, and no address: what nobody wrote should not pass for a number even where
// accesses are not watched.
void watch_block(size_t shared_bytes)
{
    if (engine.interval > 0xf0000000u) {
        memset(cells, 0, sizeof(cells));
        engine.interval = engine.born = 1;
    }
    if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(watch_arena, WATCH_BYTES);
    memset(watch_arena, 0xff, shared_bytes);
    if (__asan_poison_memory_region)
        __asan_poison_memory_region(watch_arena + shared_bytes, WATCH_BYTES - shared_bytes);
    asked = shared_bytes;
}

// Whether what `lane` did in the current interval, when its warp had synced so often, is in order
// with what the running thread does now.
static bool ordered(unsigned lane, uint16_t synced)
{
    const unsigned self = (unsigned)engine.self;

    return lane == self
           || (lane / 32 == self / 32 && synced != engine.warps[self / 32].synced);
}

static void complain(const char *what, size_t at, unsigned other)
{
    simt_failed("thread %d %s byte %zu of shared memory (thread %u), with no barrier in between",
                engine.self, what, at, other);
}

static void note_reader(struct cell *cell)
{
    const uint16_t self = (uint16_t)engine.self, warp = (uint16_t)(self / 32 | SEVERAL_OF_WARP);

    if (cell->read != engine.interval || cell->reader == self) {
        cell->reader = self;
    } else if (cell->reader != SEVERAL) {
        const bool one = cell->reader < SEVERAL_OF_WARP;
        const unsigned other = one ? cell->reader / 32u : cell->reader & ~(unsigned)SEVERAL_OF_WARP;
        cell->reader = other == self / 32u ? warp : (uint16_t)SEVERAL;
    }
    cell->read = engine.interval;
    cell->reader_synced = engine.warps[self / 32].synced;
}

static bool read_since(const struct cell *cell)
{
    if (cell->read != engine.interval) return false;
    if (cell->reader == SEVERAL) return true;
    const bool one = cell->reader < SEVERAL_OF_WARP;
    const unsigned lane = one ? cell->reader : (cell->reader & ~(unsigned)SEVERAL_OF_WARP) * 32u;
    // Of several lanes of a warp any may be this one, which is not enough for order.
    if (!one && lane / 32 == (unsigned)engine.self / 32)
        return cell->reader_synced == engine.warps[lane / 32].synced;
    return !ordered(lane, cell->reader_synced);
}

static void read_cell(struct cell *cell, size_t at)
{
    if (cell->wrote < engine.born)
        simt_failed("thread %d reads byte %zu of shared memory, which nobody has written",
                    engine.self, at);
    else if (cell->wrote == engine.interval && !ordered(cell->writer, cell->writer_synced))
        complain("reads what another wrote,", at, cell->writer);
    note_reader(cell);
}

static void write_cell(struct cell *cell, size_t at)
{
    if (cell->wrote == engine.interval && !ordered(cell->writer, cell->writer_synced))
        complain("overwrites what another wrote,", at, cell->writer);
    if (read_since(cell)) complain("overwrites what another reads,", at, cell->reader);
    cell->wrote = engine.interval;
    cell->writer = (uint16_t)engine.self;
    cell->writer_synced = engine.warps[engine.self / 32].synced;
}

void watch_touch(size_t at, size_t bytes, bool write)
{
    if (!engine.call || !engine.watched) return;
    if (at + bytes > asked) {
        simt_failed("thread %d %s byte %zu of %zu of shared memory", engine.self,
                    write ? "writes" : "reads", at + bytes - 1, asked);
        return;
    }
    for (size_t i = at / GRAIN; i * GRAIN < at + bytes; i++)
        (write ? write_cell : read_cell)(&cells[i], i * GRAIN);
}
