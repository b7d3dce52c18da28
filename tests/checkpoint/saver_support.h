// saver_support.h - what the saver's tests share: a state with known values, a scratch run, checks.

#ifndef SAVER_SUPPORT_H
#define SAVER_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "checkpoint/saver.h"

// A state whose every element is a function of (tensor, index, step), so that a byte which is
// torn, stale or misplaced can be told from the right one.
struct state {
    struct pawl_device *device;
    struct pawl_stream *stream;
    int count;
    struct pawl_tensor *tensors;
    char **memory;
    char *slab;  // all tensors above lie in it, in order
    size_t slab_bytes;
};

// What lies side by side; odd sizes and an empty one; thousands; some chunks; next to nothing; more
// chunks than the smallest ring has.
enum state_kind { STATE_EVEN, STATE_MIXED, STATE_MANY, STATE_LARGE, STATE_SMALL, STATE_BIG };

void state_open(struct state *state, enum state_kind kind);
void state_close(struct state *state);
void state_add(const struct state *state, struct pawl_saver *saver);
void state_fill(struct state *state, uint64_t step);
void state_clear(struct state *state);
// Bytes that are not those of that step.
size_t state_wrong(const struct state *state, uint64_t step);

// A new empty directory; removed with what is in it by scratch_remove.
// In memory where there is /dev/shm, because most tests make hundreds of durable snapshots; a few
// ask for a disk, where O_DIRECT and fsync are real.
void scratch_make(char path[4096]);
void scratch_make_on_disk(char path[4096]);
void scratch_remove(const char *path);
// The directory of a run's snapshot of that step (the newest epoch); false: none.
bool scratch_find(const char *run, uint64_t step, char path[4096]);
// Flips bits in one byte of a file, or cuts the file.
void scratch_flip(const char *directory, const char *name, long offset, unsigned char bits);
long scratch_size(const char *directory, const char *name);
void scratch_cut(const char *directory, const char *name, long size);
int scratch_count(const char *directory);

// Waits for every event of the saver; the number of those in that state.
int drain(struct pawl_saver *saver, enum pawl_save_state wanted);

struct pawl_saver *open_saver(struct state *state, const char *where, const char *keep,
                              const char *mode);

#endif
