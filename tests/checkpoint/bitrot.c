// test: main timeout=600
// bitrot.c - stored bytes change: a bit, a cut, more bytes, a page of zeros, two files changing
// places between steps. Each of 5,000 (or as many as the first argument says) is noticed; and each
// 20th run that meets one goes back to the step before, bit for bit, and changes nothing.

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/run.h"
#include "saver_support.h"

enum { CHANGES = 5000, FILES = 4, FILE_BYTES = 1 << 20, PAGE = 4096 };
enum kind { BIT, CUT, LONGER, ZEROS, SWAP, KINDS };

static const char *const kinds[KINDS] = { "a bit", "a cut", "more bytes", "zeros", "a swap" };
static const char *const names[FILES] = { "MANIFEST", "document.json", "shard-00000.sums",
                                          "shard-00000.safetensors" };

struct stored {
    char *bytes;
    size_t size;
};

static struct state state;
static char run[4096], newest[4096], older[4096];
static struct stored now[FILES], before[FILES];
static uint64_t random_state = 1;

static size_t draw(size_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % below;
}

static void give_up(const char *words)
{
    fprintf(stderr, "%s: %s\n", words, pawl_error());
    exit(1);
}

static void read_file(struct stored *out, const char *directory, const char *name)
{
    char path[8192];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    out->bytes = malloc(FILE_BYTES);
    const ssize_t size = fd < 0 || !out->bytes ? -1 : read(fd, out->bytes, FILE_BYTES);
    if (size <= 0 || size == FILE_BYTES) give_up(path);
    out->size = (size_t)size;
    close(fd);
}

static void write_file(const char *name, const char *bytes, size_t size)
{
    char path[8192];

    snprintf(path, sizeof(path), "%s/%s", newest, name);
    const int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) give_up(path);
    close(fd);
}

// The changed file in bytes; false: this change would change nothing.
static bool change(enum kind kind, int file, char *bytes, size_t *size)
{
    const struct stored *of = &now[file];
    size_t at;

    memcpy(bytes, of->bytes, of->size);
    *size = of->size;
    switch (kind) {
    case BIT:
        at = draw(of->size);
        bytes[at] = (char)(bytes[at] ^ 1 << draw(8));
        return true;
    case CUT:
        *size = draw(2) ? draw(of->size) : draw(of->size) / 512 * 512;
        return true;
    case LONGER:
        at = 1 + draw(600);
        memset(bytes + of->size, (int)draw(256), at);
        *size += at;
        return true;
    case ZEROS:
        at = draw(of->size) / PAGE * PAGE;
        memset(bytes + at, 0, of->size - at < PAGE ? of->size - at : PAGE);
        break;
    case SWAP:
        *size = before[file].size;
        memcpy(bytes, before[file].bytes, *size);
        break;
    case KINDS: break;
    }
    return *size != of->size || memcmp(bytes, of->bytes, of->size);
}

static bool noticed(void)
{
    struct pawl_snapshot snapshot;
    const int rc = pawl_snapshot_look(&snapshot, newest);

    return rc || snapshot.state != PAWL_DURABLE || pawl_snapshot_verify(&snapshot);
}

static bool goes_back(void)
{
    struct pawl_progress back = { 0 };
    struct pawl_saver *reader = NULL;

    if (pawl_saver_open(&reader, &(struct pawl_saver_options){ .where = run, .read_only = true },
                        state.device))
        give_up("open");
    state_add(&state, reader);
    state_clear(&state);
    const int rc = pawl_saver_load(reader, state.stream, &back);
    pawl_saver_close(reader);
    return !rc && back.step == 2 && !state_wrong(&state, 2);
}

static void prepare(void)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN };

    scratch_make(run);
    state_open(&state, STATE_SMALL);
    struct pawl_saver *saver = open_saver(&state, run, "latest=3", NULL);
    for (progress.step = 1; progress.step <= 3; progress.step++) {
        state_fill(&state, progress.step);
        if (pawl_saver_save_now(saver, state.stream, &progress)) give_up("save");
    }
    if (pawl_saver_close(saver)) give_up("close");
    if (!scratch_find(run, 3, newest) || !scratch_find(run, 2, older)) give_up("find");
    for (int i = 0; i < FILES; i++) {
        read_file(&now[i], newest, names[i]);
        read_file(&before[i], older, names[i]);
    }
    if (noticed()) give_up("an untouched snapshot does not verify");
}

int main(int argc, char **argv)
{
    const int wanted = argc > 1 ? atoi(argv[1]) : CHANGES;
    int done[KINDS] = { 0 }, missed = 0, recoveries = 0, stuck = 0;
    char *bytes = malloc(FILE_BYTES + 1024);
    size_t size;

    if (!bytes) return 1;
    prepare();
    for (int i = 0; i < wanted; i++) {
        const enum kind kind = draw(10) < 6 ? BIT : (enum kind)(CUT + draw(KINDS - 1));
        const int file = draw(3) ? FILES - 1 : (int)draw(FILES);
        if (!change(kind, file, bytes, &size)) {
            i--;
            continue;
        }
        write_file(names[file], bytes, size);
        done[kind]++;
        if (!noticed()) {
            printf("NOT NOTICED: %s in %s\n", kinds[kind], names[file]);
            missed++;
        }
        if (i % 20 == 0) {
            recoveries++;
            stuck += !goes_back();
        }
        write_file(names[file], now[file].bytes, now[file].size);
    }
    for (int i = 0; i < KINDS; i++)
        printf("%-12s %6d\n", kinds[i], done[i]);
    printf("%d changes: %d not noticed; %d recoveries: %d not to the step before\n", wanted,
           missed, recoveries, stuck);
    const bool harmed = noticed();
    if (harmed) printf("the untouched snapshot does not verify any more\n");
    for (int i = 0; i < FILES; i++) {
        free(now[i].bytes);
        free(before[i].bytes);
    }
    free(bytes);
    state_close(&state);
    scratch_remove(run);
    return missed || stuck || harmed;
}
