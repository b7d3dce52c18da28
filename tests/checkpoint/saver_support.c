// saver_support.c - see saver_support.h. Errors in here end the test program.

#include "saver_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/attempt.h"

static void must(int rc, const char *what)
{
    if (!rc) return;
    fprintf(stderr, "%s: %s\n", what, pawl_error());
    abort();
}

static void must_be(bool fine, const char *what)
{
    if (fine) return;
    perror(what);
    abort();
}

// ---- states

static void put(struct state *state, const char *name, enum pawl_dtype dtype, int rank,
                const int64_t *dim)
{
    struct pawl_tensor *tensor = &state->tensors[state->count++];

    memset(tensor, 0, sizeof(*tensor));
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    tensor->dtype = dtype;
    tensor->rank = rank;
    int64_t elements;
    for (int i = 0; i < rank; i++)
        tensor->dim[i] = dim[i];
    must(pawl_shape_count(&elements, rank, dim), "shape");
    tensor->size_bytes = (size_t)elements * pawl_dtype_bytes(dtype);
    tensor->offset_bytes = state->slab_bytes;
    state->slab_bytes += tensor->size_bytes;
    // Elements stay aligned in memory; what has 64-byte sizes stays side by side.
    state->slab_bytes = (state->slab_bytes + 15) / 16 * 16;
}

static void put_mixed(struct state *state)
{
    put(state, "a.weight", PAWL_F32, 2, (int64_t[]){ 64, 48 });
    put(state, "a.bias", PAWL_F32, 1, (int64_t[]){ 7 });
    put(state, "odd \"bytes\"", PAWL_U8, 1, (int64_t[]){ 3 });
    put(state, "half", PAWL_BF16, 2, (int64_t[]){ 5, 3 });
    put(state, "empty", PAWL_F32, 2, (int64_t[]){ 0, 4 });
    put(state, "scalar", PAWL_F64, 0, NULL);
    put(state, "b.weight", PAWL_F32, 2, (int64_t[]){ 1000, 16 });
    put(state, "steps", PAWL_I64, 1, (int64_t[]){ 9 });
    put(state, "optimizer.exp_avg.a.weight", PAWL_F32, 2, (int64_t[]){ 64, 48 });
    put(state, "flags", PAWL_BOOL, 1, (int64_t[]){ 65 });
}

void state_open(struct state *state, enum state_kind kind)
{
    char name[64];
    void *slab;

    *state = (struct state){ 0 };
    must_be((state->tensors = calloc(5000, sizeof(*state->tensors))) != NULL, "calloc");
    must(pawl_device_open(&state->device, "host", 2), "device");
    must(pawl_stream_open(&state->stream, state->device), "stream");
    if (kind == STATE_MIXED) put_mixed(state);
    if (kind == STATE_SMALL) {
        put(state, "w", PAWL_F32, 2, (int64_t[]){ 16, 33 });
        put(state, "b", PAWL_F32, 1, (int64_t[]){ 33 });
    }
    for (int i = 0; kind == STATE_EVEN && i < 12; i++) {
        static const char *const slabs[] = { "w", "optimizer.m.w", "optimizer.v.w" };
        snprintf(name, sizeof(name), "%s%d", slabs[i / 4], i % 4);
        put(state, name, PAWL_F32, 2, (int64_t[]){ 16 * (i % 4 + 1), 256 });
    }
    for (int i = 0; kind == STATE_MANY && i < 4000; i++) {
        snprintf(name, sizeof(name), "layer.%d.weight", i);
        put(state, name, i % 3 ? PAWL_F32 : PAWL_BF16, 1, (int64_t[]){ i % 37 });
    }
    for (int i = 0; kind == STATE_LARGE && i < 3; i++) {
        snprintf(name, sizeof(name), "large%d", i);
        put(state, name, PAWL_F32, 2, (int64_t[]){ 1024 + i, 1023 + 1 });
    }
    for (int i = 0; kind == STATE_BIG && i < 9; i++) {
        snprintf(name, sizeof(name), "big%d", i);
        put(state, name, i % 4 ? PAWL_F32 : PAWL_U8, 2, (int64_t[]){ 1000 + 7 * i, 903 + i });
    }
    must(pawl_device_alloc(state->device, &slab, state->slab_bytes, PAWL_ON_DEVICE), "slab");
    state->slab = slab;
    must_be((state->memory = calloc((size_t)state->count, sizeof(*state->memory))) != NULL,
            "calloc");
    for (int i = 0; i < state->count; i++)
        state->memory[i] = state->slab + state->tensors[i].offset_bytes;
}

void state_close(struct state *state)
{
    pawl_device_free(state->device, state->slab, state->slab_bytes, PAWL_ON_DEVICE);
    pawl_stream_close(state->stream);
    pawl_device_close(state->device);
    free(state->tensors);
    free(state->memory);
}

void state_add(const struct state *state, struct pawl_saver *saver)
{
    for (int i = 0; i < state->count; i++)
        must(pawl_saver_add(saver, state->tensors[i].name, state->memory[i],
                            state->tensors[i].dtype, state->tensors[i].rank,
                            state->tensors[i].dim), "add");
}

static unsigned char value(int tensor, size_t index, uint64_t step)
{
    const uint64_t mixed = ((uint64_t)tensor * 0x9e3779b97f4a7c15u + index * 0xbf58476d1ce4e5b9u
                            + step * 0x94d049bb133111ebu) * 0xd6e8feb86659fd93u;

    return (unsigned char)(mixed >> 56);
}

void state_fill(struct state *state, uint64_t step)
{
    for (int i = 0; i < state->count; i++)
        for (size_t j = 0; j < state->tensors[i].size_bytes; j++)
            state->memory[i][j] = (char)value(i, j, step);
}

void state_clear(struct state *state)
{
    memset(state->slab, 0xee, state->slab_bytes);
}

size_t state_wrong(const struct state *state, uint64_t step)
{
    size_t wrong = 0;

    for (int i = 0; i < state->count; i++)
        for (size_t j = 0; j < state->tensors[i].size_bytes; j++)
            wrong += (unsigned char)state->memory[i][j] != value(i, j, step);
    return wrong;
}

// ---- scratch directories

void scratch_make_on_disk(char path[4096])
{
    const char *base = getenv("TMPDIR");

    snprintf(path, 4096, "%s/pawl-test-XXXXXX", base && *base ? base : "/tmp");
    must_be(mkdtemp(path) != NULL, path);
}

void scratch_make(char path[4096])
{
    strcpy(path, "/dev/shm/pawl-test-XXXXXX");
    if (!mkdtemp(path)) scratch_make_on_disk(path);
}

void scratch_remove(const char *path)
{
    DIR *directory = opendir(path);

    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char inside[8192];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name);
        if (unlink(inside)) scratch_remove(inside);
    }
    if (directory) closedir(directory);
    rmdir(path);
}

bool scratch_find(const char *run, uint64_t step, char path[4096])
{
    DIR *directory = opendir(run);
    uint32_t best = 0, lease;
    uint64_t there;

    must_be(directory != NULL, run);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (pawl_attempt_parse(entry->d_name, &there, &lease) && there == step && lease > best) {
            best = lease;
            snprintf(path, 4096, "%s/%.40s", run, entry->d_name);
        }
    closedir(directory);
    return best > 0;
}

void scratch_flip(const char *directory, const char *name, long offset, unsigned char bits)
{
    char path[8192];
    unsigned char byte;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    const int fd = open(path, O_RDWR);
    must_be(fd >= 0, path);
    must_be(pread(fd, &byte, 1, offset) == 1, path);
    byte ^= bits;
    must_be(pwrite(fd, &byte, 1, offset) == 1, path);
    close(fd);
}

long scratch_size(const char *directory, const char *name)
{
    char path[8192];
    struct stat of;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    must_be(!stat(path, &of), path);
    return of.st_size;
}

void scratch_cut(const char *directory, const char *name, long size)
{
    char path[8192];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    must_be(!truncate(path, size), path);
}

int scratch_count(const char *path)
{
    DIR *directory = opendir(path);
    int count = 0;

    must_be(directory != NULL, path);
    for (struct dirent *entry; (entry = readdir(directory));)
        count += !strncmp(entry->d_name, "step-", 5);
    closedir(directory);
    return count;
}

// ---- savers

int drain(struct pawl_saver *saver, enum pawl_save_state wanted)
{
    struct pawl_save_event event;
    int count = 0;

    pawl_saver_wait(saver);
    while (pawl_saver_poll(saver, &event))
        count += event.state == wanted;
    return count;
}

struct pawl_saver *open_saver(struct state *state, const char *where, const char *keep,
                              const char *mode)
{
    struct pawl_saver *saver = NULL;

    must(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = where, .keep = keep,
                                                               .mode = mode }, state->device),
         "open");
    state_add(state, saver);
    return saver;
}
