// recovery.c - damaged snapshots: every one is noticed, the older one is used, nothing is deleted,
// and a run that once had a snapshot never starts afresh in silence.

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/run.h"
#include "checkpoint/store/fault.h"
#include "checkpoint/sums.h"
#include "saver_support.h"

static char run[4096], newest[4096], older[4096];
static struct state state;

static const struct pawl_progress plain = { .epoch = -1, .loss = NAN, .metric = NAN };

static void save_step(struct pawl_saver *saver, uint64_t step)
{
    struct pawl_progress progress = plain;

    progress.step = step;
    progress.training = "{\"optimizer\":{\"kind\":\"sgd\"}}";
    state_fill(&state, step);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s", pawl_error());
}

// Steps 1 and 2 of the mixed state.
static void set_up(void)
{
    scratch_make(run);
    state_open(&state, STATE_MIXED);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    save_step(saver, 1);
    save_step(saver, 2);
    pawl_saver_close(saver);
    cr_assert(scratch_find(run, 1, older) && scratch_find(run, 2, newest));
}

static void tear_down(void)
{
    state_close(&state);
    scratch_remove(run);
}

TestSuite(recovery, .init = set_up, .fini = tear_down, .timeout = 300);

// What a load says now; the number of snapshots it passed over.
static int load(struct pawl_progress *back, int *passed_over, char why[1024])
{
    struct pawl_saver *saver = NULL;
    const char *path, *words;
    uint64_t step;

    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run,
                                 .read_only = true }, state.device), 0);
    state_add(&state, saver);
    state_clear(&state);
    const int rc = pawl_saver_load(saver, state.stream, back);
    snprintf(why, 1024, "%s", rc ? pawl_error() : "");
    for (*passed_over = 0; pawl_saver_skipped(saver, *passed_over, &step, &path, &words);
         ++*passed_over)
        snprintf(why, 1024, "%s", words);
    pawl_saver_close(saver);
    return rc;
}

// The newest is damaged: it is passed over with words, the older one is loaded, bit for bit.
static void must_fall_back(const char *what, long place)
{
    struct pawl_snapshot seen;
    struct pawl_progress back;
    char why[1024];
    int passed_over;

    const int rc = load(&back, &passed_over, why);
    cr_assert_eq(rc, 0, "%s %ld: %s", what, place, why);
    cr_assert_eq(back.step, 1, "%s %ld was not noticed", what, place);
    cr_assert_eq(passed_over, 1, "%s %ld", what, place);
    cr_assert(why[0], "%s %ld: no words", what, place);
    cr_assert_eq(state_wrong(&state, 1), 0, "%s %ld", what, place);
    cr_assert_eq(pawl_snapshot_look(&seen, newest), 0);
    const int verified = pawl_snapshot_verify(&seen);
    cr_assert(verified == PAWL_ECORRUPT || verified == PAWL_ENOTSUP, "%s %ld: verify says %d",
              what, place, verified);
}

static void must_be_whole(void)
{
    struct pawl_progress back;
    char why[1024];
    int passed_over;

    cr_assert_eq(load(&back, &passed_over, why), 0, "%s", why);
    cr_assert_eq(back.step, 2);
    cr_assert_eq(passed_over, 0);
    cr_assert_eq(state_wrong(&state, 2), 0);
}

static void flip_all(const char *name, long from, long to, long by)
{
    must_be_whole();
    for (long i = from; i < to; i += by) {
        const unsigned char bits = (unsigned char)(1 << i % 8);
        scratch_flip(newest, name, i, bits);
        must_fall_back(name, i);
        scratch_flip(newest, name, i, bits);
    }
    must_be_whole();
}

Test(recovery, each_byte_of_the_manifest)
{
    flip_all("MANIFEST", 0, scratch_size(newest, "MANIFEST"), 1);
}

Test(recovery, each_byte_of_the_sums)
{
    flip_all("shard-00000.sums", 0, scratch_size(newest, "shard-00000.sums"), 1);
}

Test(recovery, each_byte_of_the_document)
{
    flip_all("document.json", 0, scratch_size(newest, "document.json"), 1);
}

Test(recovery, bytes_of_the_shard)
{
    const long size = scratch_size(newest, "shard-00000.safetensors");

    flip_all("shard-00000.safetensors", 0, 200, 1);
    flip_all("shard-00000.safetensors", size - 200, size, 1);
    flip_all("shard-00000.safetensors", 200, size - 200, 397);
}

Test(recovery, each_truncation)
{
    static const char *const names[] = { "MANIFEST", "shard-00000.sums", "document.json",
                                         "shard-00000.safetensors" };
    char copy[8192], command[20000];

    for (int i = 0; i < 4; i++) {
        const long size = scratch_size(newest, names[i]);
        snprintf(copy, sizeof(copy), "%s/%s", newest, names[i]);
        snprintf(command, sizeof(command), "cp '%s' '%s/kept'", copy, run);
        cr_assert_eq(system(command), 0);
        for (long cut = size > 5000 ? size - 512 : size - 1;; cut -= size > 5000 ? 512 : 1) {
            if (cut < 0) cut = 0;
            scratch_cut(newest, names[i], cut);
            must_fall_back(names[i], cut);
            if (!cut) break;
        }
        snprintf(command, sizeof(command), "cp '%s/kept' '%s'", run, copy);
        cr_assert_eq(system(command), 0);
        must_be_whole();
        // A byte too much is as wrong as one too few.
        snprintf(command, sizeof(command), "printf x >>'%s'", copy);
        cr_assert_eq(system(command), 0);
        must_fall_back(names[i], size + 1);
        scratch_cut(newest, names[i], size);
        unlink(copy);
        if (i) must_fall_back(names[i], -1);
        snprintf(command, sizeof(command), "cp '%s/kept' '%s'", run, copy);
        cr_assert_eq(system(command), 0);
    }
    must_be_whole();
}

static void swap(const char *name)
{
    char command[30000];

    snprintf(command, sizeof(command), "mv '%s/%s' '%s/x'; mv '%s/%s' '%s/%s'; mv '%s/x' '%s/%s'",
             newest, name, run, older, name, newest, name, run, older, name);
    cr_assert_eq(system(command), 0);
}

// Swapping files leaves no snapshot whole: both say so, and the load stops.
static void must_stop(const char *what)
{
    struct pawl_progress back;
    char why[1024];
    int passed_over;

    cr_assert_eq(load(&back, &passed_over, why), PAWL_ECORRUPT, "%s", what);
    cr_assert_eq(passed_over, 2, "%s", what);
}

Test(recovery, files_swapped_between_steps)
{
    swap("shard-00000.safetensors");
    must_stop("shards");
    swap("shard-00000.sums");
    must_stop("shards with their sums");
    swap("shard-00000.safetensors");
    must_stop("sums");
    swap("shard-00000.sums");
    swap("document.json");
    must_stop("documents");
    swap("document.json");
    swap("MANIFEST");
    must_stop("manifests");
    swap("shard-00000.safetensors");
    swap("shard-00000.sums");
    swap("document.json");
    must_stop("everything but the directories' names");
}

Test(recovery, things_that_are_no_files)
{
    static const char *const names[] = { "MANIFEST", "shard-00000.sums", "document.json",
                                         "shard-00000.safetensors" };
    char path[8192], kept[8192];

    snprintf(kept, sizeof(kept), "%s/kept", run);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/%s", newest, names[i]);
        cr_assert_eq(rename(path, kept), 0);
        cr_assert_eq(mkdir(path, 0777), 0);
        must_fall_back("a directory as", i);
        rmdir(path);
        cr_assert_eq(mkfifo(path, 0666), 0);
        must_fall_back("a fifo as", i);
        unlink(path);
        cr_assert_eq(symlink("/nowhere", path), 0);
        if (i) must_fall_back("a dangling link as", i);
        unlink(path);
        cr_assert_eq(rename(kept, path), 0);
    }
    must_be_whole();
}

// Alone, without the manifest's checksum over it.
Test(recovery, a_table_of_sums_vouches_for_itself)
{
    const struct pawl_sums sums = { .ranks = 1, .file_bytes = 3 * (uint64_t)PAWL_CHUNK_BYTES + 5 };
    unsigned char table[128];
    struct pawl_sums back;

    cr_assert_eq(pawl_crc32c("123456789", 9), 0xe3069283u);
    const size_t size = pawl_sums_bytes(sums.file_bytes);
    cr_assert_eq(size, 80 + 4 * 4 + 4);
    for (unsigned i = 0; i < 4; i++)
        pawl_sums_set(table, i, 77 * i);
    const uint32_t crc = pawl_sums_seal(table, &sums);
    cr_assert_eq(crc, pawl_crc32c(table, size - 4));
    cr_assert_eq(pawl_sums_open(&back, table, size, "x"), 0, "%s", pawl_error());
    cr_assert_eq(pawl_sums_get(&back, 3), 231);
    for (size_t i = 0; i < size; i++) {
        table[i] ^= 16;
        cr_expect_eq(pawl_sums_open(&back, table, size, "x"), PAWL_ECORRUPT, "byte %zu", i);
        table[i] ^= 16;
        cr_expect_eq(pawl_sums_open(&back, table, i, "x"), PAWL_ECORRUPT, "cut at %zu", i);
    }
}

// A table that is in order, but not the one that the manifest names.
Test(recovery, another_table_of_the_same_snapshot)
{
    const long size = scratch_size(newest, "shard-00000.sums");
    unsigned char table[256];
    struct pawl_snapshot seen;
    struct pawl_sums sums;
    char path[8192];

    snprintf(path, sizeof(path), "%s/shard-00000.sums", newest);
    FILE *file = fopen(path, "r+b");
    cr_assert_eq(fread(table, 1, sizeof(table), file), (size_t)size);
    cr_assert_eq(pawl_sums_open(&sums, table, (size_t)size, path), 0);
    pawl_sums_set(table, 0, pawl_sums_get(&sums, 0) ^ 1);
    pawl_sums_seal(table, &sums);
    rewind(file);
    fwrite(table, 1, (size_t)size, file);
    fclose(file);
    must_fall_back("another table", 0);
    cr_assert_eq(pawl_snapshot_look(&seen, newest), 0);
    cr_assert_eq(pawl_snapshot_verify(&seen), PAWL_ECORRUPT);
    cr_expect_not_null(strstr(pawl_error(), "manifest names"), "%s", pawl_error());
}

// ---- what may and what may not be a fresh start

static void remove_file(const char *directory, const char *name)
{
    char path[8192];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    cr_assert_eq(unlink(path), 0, "%s", path);
}

Test(recovery, uncommitted_only_is_a_fresh_start)
{
    struct pawl_progress back;
    char why[1024];
    int passed_over;

    remove_file(newest, "MANIFEST");
    cr_assert_eq(load(&back, &passed_over, why), 0);  // an interrupted save: the older one
    cr_assert_eq(back.step, 1);
    cr_assert_eq(passed_over, 0);
    remove_file(older, "MANIFEST");
    cr_assert_eq(load(&back, &passed_over, why), PAWL_ECORRUPT, "LATEST is a trace of a commit");
    remove_file(run, "LATEST");
    cr_assert_eq(load(&back, &passed_over, why), PAWL_ENONE);
    cr_assert_not_null(strstr(why, "2 never committed"), "%s", why);
}

Test(recovery, a_trace_and_nothing_whole_stops)
{
    struct pawl_progress back;
    struct pawl_run list;
    char why[1024];
    int passed_over;

    remove_file(run, "LATEST");
    scratch_flip(newest, "shard-00000.safetensors", 5000, 1);
    scratch_flip(older, "MANIFEST", 20, 1);
    cr_assert_eq(load(&back, &passed_over, why), PAWL_ECORRUPT);
    cr_assert_eq(passed_over, 2);
    cr_assert_eq(pawl_run_list(&list, run), 0);
    cr_assert_eq(list.count, 2);
    cr_assert(list.commit_traced);
    cr_assert_eq(list.snapshots[0].step, 2);
    cr_assert_eq(list.snapshots[0].state, PAWL_DURABLE, "a list does not read every byte");
    cr_assert_eq(pawl_snapshot_verify(&list.snapshots[0]), PAWL_ECORRUPT);
    cr_assert_not_null(strstr(pawl_error(), "bytes 0 to"), "%s", pawl_error());
    cr_assert_eq(list.snapshots[1].state, PAWL_DAMAGED);
    cr_assert(list.snapshots[1].why[0]);
    pawl_run_free(&list);
}

// An error that is not "not there" says nothing about a snapshot: it is neither uncommitted nor
// damaged, it is tried again, and at last passed over aloud. Nothing is deleted.
Test(recovery, what_cannot_be_read_is_not_absent)
{
    struct pawl_progress back;
    struct pawl_run list;
    char why[1024];
    int passed_over;

    // Any one call that touches files, not only those that read.
    uint64_t calls = 1;
    for (uint64_t at = 0; at <= calls; at++) {
        pawl_fault_begin(&(struct pawl_fault){ .at = at, .error = EIO });
        const int rc = load(&back, &passed_over, why);
        const uint64_t made = pawl_fault_end(NULL);
        if (!at) calls = made;
        if (rc == PAWL_EIO && strstr(why, "cannot list")) continue;
        cr_assert_eq(rc, 0, "call %lu: %s", at, why);
        cr_assert_eq(back.step, 2, "call %lu of %lu costs a step: %s", at, calls, why);
    }

    pawl_fault_begin(&(struct pawl_fault){ .at = 1, .error = EIO, .sticky = true,
                                           .only = 1 << PAWL_CALL_PREAD });
    cr_assert_eq(load(&back, &passed_over, why), PAWL_EIO, "%s", why);
    cr_assert_eq(pawl_run_list(&list, run), 0);
    pawl_fault_end(NULL);
    cr_assert_eq(passed_over, 2);
    cr_assert_eq(list.snapshots[0].state, PAWL_UNREADABLE);
    cr_assert(list.commit_traced);
    pawl_run_free(&list);

    pawl_fault_begin(&(struct pawl_fault){ .at = 1, .error = EIO, .sticky = true, .late = true,
                                           .only = 1 << PAWL_CALL_LIST });
    cr_assert_eq(load(&back, &passed_over, why), PAWL_EIO, "a listing that fails is not empty");
    pawl_fault_end(NULL);
    must_be_whole();
}

Test(recovery, changes_nothing)
{
    char before[8192] = "", after[8192] = "", command[9000];
    struct pawl_progress back;
    char why[1024];
    int passed_over;

    scratch_flip(newest, "document.json", 9, 1);
    for (int i = 0; i < 2; i++) {
        char *text = i ? after : before;
        snprintf(command, sizeof(command), "cd '%s' && find . -type f -exec cksum {} + | sort",
                 run);
        FILE *pipe = popen(command, "r");
        text[fread(text, 1, sizeof(before) - 1, pipe)] = 0;
        cr_assert_eq(pclose(pipe), 0);
        if (!i) cr_assert_eq(load(&back, &passed_over, why), 0);
    }
    cr_assert_gt(strlen(before), 200);
    cr_assert_str_eq(before, after);
}

Test(recovery, names_are_exact)
{
    static const char *const names[] = {
        "step-0000000000000009-0000000G", "step-0000000000000009-000000001",
        "step-9-1", "step-000000000000000A-00000001", "step_0000000000000009-00000001",
    };
    char path[8192];
    struct pawl_run list;

    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof(path), "%s/%s", run, names[i]);
        cr_assert_eq(mkdir(path, 0777), 0);
        cr_expect_not(pawl_snapshot_is(path));
    }
    cr_assert_eq(pawl_run_list(&list, run), 0);
    cr_assert_eq(list.count, 2);
    pawl_run_free(&list);
    cr_assert(pawl_run_is(run));
    cr_assert(pawl_snapshot_is(newest));
    cr_assert_not(pawl_snapshot_is(run));
    cr_assert_not(pawl_run_is(newest));
    cr_assert_eq(pawl_run_list(&list, "/nowhere"), PAWL_ENONE);

    // A copy under a name of the user's own is as good; under another step's name it is not.
    char command[20000];
    struct pawl_snapshot seen;
    snprintf(command, sizeof(command), "cp -r '%s' '%s/best'", newest, run);
    cr_assert_eq(system(command), 0);
    snprintf(path, sizeof(path), "%s/best/", run);
    cr_assert(pawl_snapshot_is(path));
    cr_assert_eq(pawl_snapshot_look(&seen, path), 0);
    cr_assert_eq(seen.state, PAWL_DURABLE);
    cr_assert_eq(seen.step, 2);
    cr_assert_eq(pawl_snapshot_verify(&seen), 0);
    snprintf(command, sizeof(command), "mv '%s/best' '%s/step-0000000000000007-00000001'", run,
             run);
    cr_assert_eq(system(command), 0);
    snprintf(path, sizeof(path), "%s/step-0000000000000007-00000001", run);
    cr_assert_eq(pawl_snapshot_look(&seen, path), 0);
    cr_assert_eq(seen.state, PAWL_DAMAGED);
    cr_assert_not_null(strstr(seen.why, "step 2"), "%s", seen.why);
}
