// memory.c - the pretend GPU's address space: first fit, a page without access after each piece.

#include <sys/mman.h>

#include <string.h>

#include "kernels/memory.h"
#include "kernels/sim/sim.h"

enum { PAGE = 4096 };

int sim_space_open(struct sim *sim)
{
    void *base = mmap(NULL, 3 * SIM_SPACE_BYTES, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED)
        return pawl_fail(PAWL_ENOMEM, "no address space for the sim device (%zu bytes). try: "
                         "ulimit -v unlimited", 3 * SIM_SPACE_BYTES);
    sim->base = base;
    return 0;
}

void sim_space_close(struct sim *sim)
{
    for (int place = 0; place < 2; place++)
        while (sim->blocks[place]) {
            struct sim_block *block = sim->blocks[place];
            sim->blocks[place] = block->next;
            pawl_free(block);
        }
    if (sim->base) munmap(sim->base, 3 * SIM_SPACE_BYTES);
}

// Where memory of a place can be touched.
static char *touchable(const struct sim *sim, enum pawl_place place)
{
    return sim->base + (place == PAWL_ON_DEVICE ? 1 : 2) * SIM_SPACE_BYTES;
}

static size_t paged(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE + (bytes ? 0 : PAGE);
}

// Puts block into the first gap that holds it and the page after it.
static bool place_block(struct sim *sim, struct sim_block *block, enum pawl_place place)
{
    struct sim_block **at = &sim->blocks[place];
    size_t start = 0;

    pthread_mutex_lock(&sim->lock);
    for (; *at && (*at)->start - start < block->size + PAGE; at = &(*at)->next)
        start = (*at)->start + (*at)->size + PAGE;
    const bool fits = start < SIM_SPACE_BYTES && block->size + PAGE <= SIM_SPACE_BYTES - start;
    if (fits) {
        block->start = start;
        block->next = *at;
        *at = block;
    }
    pthread_mutex_unlock(&sim->lock);
    return fits;
}

static struct sim_block *take_block(struct sim *sim, size_t start, enum pawl_place place)
{
    struct sim_block **at = &sim->blocks[place], *block;

    pthread_mutex_lock(&sim->lock);
    while (*at && (*at)->start != start)
        at = &(*at)->next;
    block = *at;
    if (block) *at = block->next;
    pthread_mutex_unlock(&sim->lock);
    return block;
}

int sim_alloc(struct pawl_device *device, void **out, size_t bytes, enum pawl_place place)
{
    static const char *const what[] = { "device memory", "pinned host memory" };
    struct sim *sim = (struct sim *)device;
    struct sim_block *block = NULL;

    int rc = pawl_alloc(&block, sizeof(*block), what[place]);
    if (rc) return rc;
    if (!sim_fails(sim, SIM_ALLOC) && bytes <= SIM_SPACE_BYTES) {
        block->size = paged(bytes);
        if (place_block(sim, block, place)) {
            char *memory = touchable(sim, place) + block->start;
            if (!mprotect(memory, block->size, PROT_READ | PROT_WRITE)) {
                madvise(memory, block->size, MADV_HUGEPAGE);  // only advice
                memset(memory, 0, block->size);  // faults in now, not in the first step
                *out = place == PAWL_ON_DEVICE ? sim->base + block->start : memory;
                return 0;
            }
            take_block(sim, block->start, place);
        }
    }
    pawl_free(block);
    return pawl_fail(PAWL_ENOMEM, "no memory for %s (%zu bytes)", what[place], bytes);
}

uint64_t sim_free_bytes(struct pawl_device *device)
{
    struct sim *sim = (struct sim *)device;
    uint64_t left = SIM_SPACE_BYTES;

    pthread_mutex_lock(&sim->lock);
    for (const struct sim_block *block = sim->blocks[PAWL_ON_DEVICE]; block; block = block->next)
        left -= block->size + PAGE;
    pthread_mutex_unlock(&sim->lock);
    return left;
}

// What is queued may still use it: as cudaFree, this waits for the device.
void sim_free(struct pawl_device *device, void *memory, size_t bytes, enum pawl_place place)
{
    struct sim *sim = (struct sim *)device;
    const size_t space = place == PAWL_ON_DEVICE ? 0 : 2 * SIM_SPACE_BYTES;

    (void)bytes;
    sim_settle(sim);
    struct sim_block *block = take_block(sim, (size_t)((char *)memory - sim->base) - space, place);
    if (!block) return;
    char *touched = touchable(sim, place) + block->start;
    madvise(touched, block->size, MADV_DONTNEED);
    mprotect(touched, block->size, PROT_NONE);
    pawl_free(block);
}

void *sim_reach(const struct sim *sim, const void *memory)
{
    char *address = (char *)(uintptr_t)memory;
    const bool device = address >= sim->base && address < sim->base + SIM_SPACE_BYTES;

    return device ? address + SIM_SPACE_BYTES : address;
}

void *sim_kernel_reach(const struct sim *sim, const void *memory, const char **reason)
{
    const char *address = memory, *pinned = sim->base + 2 * SIM_SPACE_BYTES;
    const bool device = address >= sim->base && address < sim->base + SIM_SPACE_BYTES;

    if (address && !device && (address < pinned || address >= pinned + SIM_SPACE_BYTES))
        *reason = "an operation was given the address of ordinary host memory";
    return sim_reach(sim, memory);
}
