// saver.c - what comes back is what was saved: every kind of state, mode and progress.

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/run.h"
#include "checkpoint/store/fault.h"
#include "saver_support.h"
#include "safetensors_support.h"

static char run[4096];
static struct state state;

static void set_up(void) { scratch_make_on_disk(run); }
static void tear_down(void) { scratch_remove(run); }

TestSuite(saver, .init = set_up, .fini = tear_down);

static const struct pawl_progress plain = { .epoch = -1, .loss = NAN, .metric = NAN };

static void round_trip(enum state_kind kind, const char *mode)
{
    struct pawl_progress progress = plain, back;

    state_open(&state, kind);
    struct pawl_saver *saver = open_saver(&state, run, NULL, mode);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), PAWL_ENONE);
    for (progress.step = 1; progress.step <= 3; progress.step++) {
        state_fill(&state, progress.step);
        cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0, "%s", pawl_error());
        pawl_saver_fence(saver, state.stream);
        state_clear(&state);  // the update comes at once
        cr_assert_eq(pawl_saver_wait(saver), 0, "%s", pawl_error());
    }
    cr_assert_eq(drain(saver, PAWL_SAVE_DURABLE), 3);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0, "%s", pawl_error());
    cr_assert_eq(back.step, 3);
    cr_assert_eq(state_wrong(&state, 3), 0);
    cr_assert_eq(pawl_saver_close(saver), 0);

    state_clear(&state);
    saver = open_saver(&state, run, NULL, mode);
    cr_assert_eq(pawl_saver_load_step(saver, state.stream, 2, &back), 0, "%s", pawl_error());
    cr_assert_eq(state_wrong(&state, 2), 0);
    cr_assert_eq(pawl_saver_load_step(saver, state.stream, 9, &back), PAWL_ENONE);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
    cr_assert_eq(state_wrong(&state, 3), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

Test(saver, even_async) { round_trip(STATE_EVEN, "async"); }
Test(saver, mixed_async) { round_trip(STATE_MIXED, "async"); }
Test(saver, many_async) { round_trip(STATE_MANY, "async"); }
Test(saver, large_async) { round_trip(STATE_LARGE, "async"); }
Test(saver, mixed_sync) { round_trip(STATE_MIXED, "sync"); }
Test(saver, large_sync) { round_trip(STATE_LARGE, "sync"); }

Test(saver, progress_comes_back)
{
    struct pawl_progress progress = {
        .step = 12, .epoch = 3, .loss = 0.1 + 0.2, .metric = -1e-300,
        .training = "{\"optimizer\":{\"kind\":\"adamw\",\"learning_rate\":0.001},\"seed\":7}",
        .metadata = "{\"who\":\"\\u00e4\\n\"}",
    };
    struct pawl_progress back = plain;

    state_open(&state, STATE_MIXED);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    state_fill(&state, 12);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
    cr_assert_eq(back.step, 12);
    cr_assert_eq(back.epoch, 3);
    cr_assert_eq(memcmp(&back.loss, &progress.loss, sizeof(double)), 0);
    cr_assert_eq(memcmp(&back.metric, &progress.metric, sizeof(double)), 0);
    cr_assert_not_null(strstr(back.training, "\"adamw\""), "%s", back.training);
    cr_assert_not_null(strstr(back.training, "0.001"), "%s", back.training);
    cr_assert_not_null(strstr(back.metadata, "\xc3\xa4"), "%s", back.metadata);

    // Unknown stays unknown; the same step again is a new snapshot and wins.
    progress = plain;
    progress.step = 12;
    state_fill(&state, 13);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s", pawl_error());
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
    cr_assert_eq(state_wrong(&state, 13), 0);
    cr_assert_eq(back.epoch, -1);
    cr_assert(isnan(back.loss) && isnan(back.metric));
    cr_assert(back.training == NULL && back.metadata == NULL);
    pawl_saver_close(saver);
    state_close(&state);
}

// A step again, or an earlier one, without a load in between: each is a snapshot of its own.
Test(saver, saves_a_step_again)
{
    static const uint64_t steps[] = { 5, 5, 4, 6, 6 };
    struct pawl_progress progress = plain, back;

    state_open(&state, STATE_EVEN);
    struct pawl_saver *saver = open_saver(&state, run, "latest=9", NULL);
    for (uint64_t i = 0; i < 5; i++) {
        progress.step = steps[i];
        state_fill(&state, 100 + i);
        cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s", pawl_error());
    }
    cr_assert_eq(scratch_count(run), 5);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
    cr_assert_eq(state_wrong(&state, 104), 0);
    cr_assert_eq(pawl_saver_load_step(saver, state.stream, 5, &back), 0);
    cr_assert_eq(state_wrong(&state, 101), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

// A name that is taken is not adopted; what failed is removed once the next attempt has its epoch.
Test(saver, a_failed_attempt_is_left_and_collected)
{
    struct pawl_progress progress = plain;
    char path[8192];

    state_open(&state, STATE_EVEN);
    struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);
    progress.step = 1;
    snprintf(path, sizeof(path), "%s/step-0000000000000001-00000001", run);
    cr_assert_eq(mkdir(path, 0777), 0);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), PAWL_EIO);
    cr_assert_not_null(strstr(pawl_error(), "File exists"), "%s", pawl_error());
    cr_assert_eq(access(path, F_OK), 0, "nothing is removed in an error path");
    progress.step = 2;
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s", pawl_error());
    pawl_saver_close(saver);
    cr_assert_eq(scratch_count(run), 1, "the failed attempt stays for ever");
    state_close(&state);
}

// A rename may happen and report an error all the same: then MANIFEST is read and believed.
Test(saver, a_rename_that_lies)
{
    struct pawl_progress progress = plain;
    struct pawl_fault fault = { .at = 1, .error = EIO, .only = 1u << PAWL_CALL_RENAME };
    char path[4096], manifest[8192];

    state_open(&state, STATE_EVEN);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    for (progress.step = 1; progress.step <= 2; progress.step++) {
        fault.late = progress.step == 1;
        pawl_fault_begin(&fault);
        const int rc = pawl_saver_save_now(saver, state.stream, &progress);
        pawl_fault_end(NULL);
        cr_assert_eq(rc, fault.late ? 0 : PAWL_EIO, "%s", pawl_error());
        cr_assert(scratch_find(run, progress.step, path));
        snprintf(manifest, sizeof(manifest), "%s/MANIFEST", path);
        cr_assert_eq(access(manifest, F_OK), fault.late ? 0 : -1);
    }
    pawl_saver_close(saver);
    state_close(&state);
}

// A full disk: what is needed, what is there, and the earlier snapshot untouched.
Test(saver, a_full_disk_is_told_in_bytes)
{
    struct pawl_progress progress = plain, back;

    state_open(&state, STATE_EVEN);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    progress.step = 1;
    state_fill(&state, 1);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    progress.step = 2;
    state_fill(&state, 2);
    pawl_fault_begin(&(struct pawl_fault){ .space = 20000 });
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), PAWL_EIO);
    pawl_fault_end(NULL);
    for (const char *const *words = (const char *const[]){ "No space left", "needs", "are free",
                                                           "shard-00000.safetensors", NULL };
         *words; words++)
        cr_expect_not_null(strstr(pawl_error(), *words), "no '%s' in: %s", *words, pawl_error());
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
    cr_assert_eq(state_wrong(&state, 1), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

Test(saver, goes_back_and_on)
{
    struct pawl_progress progress = plain, back;

    state_open(&state, STATE_EVEN);
    struct pawl_saver *saver = open_saver(&state, run, "latest=9", NULL);
    for (progress.step = 1; progress.step <= 3; progress.step++) {
        state_fill(&state, progress.step);
        cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    }
    cr_assert_eq(pawl_saver_load_step(saver, state.stream, 1, &back), 0);
    state_fill(&state, 22);
    progress.step = 2;
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s", pawl_error());
    cr_assert_eq(pawl_saver_load_step(saver, state.stream, 2, &back), 0);
    cr_assert_eq(state_wrong(&state, 22), 0, "the newer snapshot of a step must win");
    pawl_saver_close(saver);
    state_close(&state);
}

Test(saver, skips_while_busy)
{
    struct pawl_progress progress = plain;
    struct pawl_save_event event;
    int taken = 0, durable = 0, skipped = 0;

    state_open(&state, STATE_EVEN);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    state_fill(&state, 1);
    progress.step = 1;
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
    progress.step = 2;  // no fence yet: the first is certainly on its way
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), PAWL_EBUSY);
    cr_assert_not_null(strstr(pawl_error(), "on its way"));
    pawl_saver_fence(saver, state.stream);
    state_fill(&state, 3);
    progress.step = 3;  // this one waits instead
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    while (pawl_saver_poll(saver, &event)) {
        if (event.state == PAWL_SAVE_SKIPPED) {
            skipped++;
            cr_assert_eq(event.step, 2);
            cr_assert(event.error[0]);
            continue;
        }
        cr_assert(event.step == 1 || event.step == 3);
        cr_assert_str_eq(event.error, "");
        cr_assert(event.asked_ns && event.asked_ns <= event.copy_start_ns);
        cr_assert(event.copy_start_ns <= event.copy_end_ns);
        taken += event.state == PAWL_SAVE_TAKEN;
        if (event.state != PAWL_SAVE_DURABLE) continue;
        durable++;
        cr_assert(event.copy_end_ns <= event.write_start_ns);
        cr_assert(event.write_start_ns < event.write_end_ns);
        cr_assert_geq(event.bytes, pawl_saver_state_bytes(saver));
        cr_assert(pawl_snapshot_is(event.path), "%s", event.path);
    }
    cr_assert_eq(skipped, 1);
    cr_assert_eq(taken, 2);
    cr_assert_eq(durable, 2);
    pawl_saver_close(saver);
    state_close(&state);
}

Test(saver, close_finishes_what_is_due)
{
    struct pawl_progress progress = plain, back;

    state_open(&state, STATE_MIXED);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    state_fill(&state, 5);
    progress.step = 5;
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
    cr_assert_eq(pawl_saver_close(saver), 0);
    state_clear(&state);
    saver = open_saver(&state, run, NULL, NULL);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
    cr_assert_eq(state_wrong(&state, 5), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

Test(saver, off_and_read_only)
{
    struct pawl_progress progress = plain, back;
    struct pawl_saver *saver;

    progress.step = 1;
    state_open(&state, STATE_MIXED);
    saver = open_saver(&state, run, NULL, "off");
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    cr_assert_eq(pawl_saver_close(saver), 0);
    cr_assert_eq(scratch_count(run), 0);

    saver = open_saver(&state, run, NULL, "sync");
    state_fill(&state, 1);
    cr_assert_eq(pawl_saver_save(saver, state.stream, &progress), 0);
    cr_assert_eq(scratch_count(run), 1, "sync: durable when save returns");

    // A reader does not need the lease, which the saver above still holds.
    struct pawl_saver *reader = NULL;
    cr_assert_eq(pawl_saver_open(&reader, &(struct pawl_saver_options){ .where = run,
                                 .read_only = true }, state.device), 0);
    state_add(&state, reader);
    state_clear(&state);
    cr_assert_eq(pawl_saver_load(reader, state.stream, &back), 0);
    cr_assert_eq(state_wrong(&state, 1), 0);
    cr_assert_eq(pawl_saver_save(reader, state.stream, &progress), PAWL_EINVAL);
    pawl_saver_close(reader);
    pawl_saver_close(saver);
    state_close(&state);
}

Test(saver, says_what_does_not_fit)
{
    struct pawl_progress progress = plain, back;
    struct pawl_saver *saver;
    float memory[64] = { 0 };

    progress.step = 1;
    state_open(&state, STATE_MIXED);
    saver = open_saver(&state, run, NULL, NULL);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    cr_assert_eq(pawl_saver_add(saver, "late", memory, PAWL_F32, 1, (int64_t[]){ 1 }), PAWL_EINVAL);
    pawl_saver_close(saver);

    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run },
                                 state.device), 0);
    cr_assert_eq(pawl_saver_add(saver, "a.bias", memory, PAWL_F32, 2, (int64_t[]){ 2, 4 }), 0);
    cr_assert_eq(pawl_saver_add(saver, "new", memory, PAWL_F32, 1, (int64_t[]){ 4 }), 0);
    cr_assert_eq(pawl_saver_add(saver, "half", memory, PAWL_BF16, 2, (int64_t[]){ 5, 3 }), 0);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), PAWL_ECORRUPT);
    for (const char *const *words = (const char *const[]){
             "a.bias", "[7]", "[2, 4]", "float32", "1 match", "1 missing", "8 unexpected", NULL };
         *words; words++)
        cr_expect_not_null(strstr(pawl_error(), *words), "no '%s' in: %s", *words, pawl_error());
    pawl_saver_close(saver);
    state_close(&state);
}

static int add_one(const char *name, void *memory, enum pawl_dtype dtype, int rank, int64_t dim)
{
    struct pawl_saver *saver;

    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run },
                                 state.device), 0);
    int rc = pawl_saver_add(saver, "first", &saver, PAWL_F32, 1, (int64_t[]){ 2 });
    cr_assert_eq(rc, 0);
    rc = pawl_saver_add(saver, name, memory, dtype, rank, (int64_t[]){ dim, dim });
    if (!rc) rc = pawl_saver_ready(saver);
    pawl_saver_close(saver);
    return rc;
}

Test(saver, refuses_impossible_tensors)
{
    char memory[64] = { 0 }, longest[300];

    memset(longest, 'x', sizeof(longest));
    longest[299] = 0;
    state_open(&state, STATE_EVEN);
    cr_expect_eq(add_one("fine", memory, PAWL_F32, 1, 4), 0);
    cr_expect_eq(add_one("nothing", NULL, PAWL_F32, 1, 0), 0);
    cr_expect_eq(add_one("first", memory, PAWL_F32, 1, 4), PAWL_EINVAL);
    cr_expect_eq(add_one("", memory, PAWL_F32, 1, 4), PAWL_EINVAL);
    cr_expect_eq(add_one("__metadata__", memory, PAWL_F32, 1, 4), PAWL_EINVAL);
    cr_expect_eq(add_one("\xff", memory, PAWL_F32, 1, 4), PAWL_EINVAL);
    cr_expect_eq(add_one(longest, memory, PAWL_F32, 1, 4), PAWL_EINVAL);
    cr_expect_eq(add_one("complex", memory, PAWL_C128, 1, 2), PAWL_EINVAL);
    cr_expect_eq(add_one("null", NULL, PAWL_F32, 1, 4), PAWL_EINVAL);
    cr_expect_eq(add_one("negative", memory, PAWL_F32, 1, -4), PAWL_EINVAL);
    cr_expect_eq(add_one("huge", memory, PAWL_F32, 2, INT64_C(1) << 31), PAWL_EINVAL);
    cr_expect_eq(add_one("rank", memory, PAWL_F32, 9, 1), PAWL_EINVAL);
    state_close(&state);
}

Test(saver, refuses_json_that_is_none)
{
    struct pawl_progress progress = plain;

    state_open(&state, STATE_EVEN);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    progress.step = 1;
    progress.training = "{\"unfinished\": ";
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), PAWL_EINVAL);
    cr_assert_not_null(strstr(pawl_error(), "training"));
    progress.training = "[1]";
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), PAWL_EINVAL);
    cr_assert_eq(scratch_count(run), 0, "nothing may be left of it");
    progress.training = NULL;
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    pawl_saver_close(saver);
    state_close(&state);
}

static void check_file(enum state_kind kind)
{
    struct pawl_progress progress = plain;
    char directory[4096], path[8192];
    long start = 0;
    int tensors = 0;

    state_open(&state, kind);
    struct pawl_saver *saver = open_saver(&state, run, NULL, NULL);
    state_fill(&state, 1);
    progress.step = 1;
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    cr_assert(scratch_find(run, 1, directory));
    snprintf(path, sizeof(path), "%s/shard-00000.safetensors", directory);
    const char *wrong = safetensors_check(path, &start, &tensors);
    cr_assert_null(wrong, "%s", wrong);
    cr_assert_eq(start % 4096, 0);
    cr_assert_eq(tensors, state.count);
    pawl_saver_close(saver);
    state_close(&state);
}

Test(saver, others_can_read_even) { check_file(STATE_EVEN); }
Test(saver, others_can_read_mixed) { check_file(STATE_MIXED); }
Test(saver, others_can_read_many) { check_file(STATE_MANY); }

Test(saver, the_reader_of_this_test_is_strict)
{
    static const struct {
        const char *header, *wrong;
    } rows[] = {
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", NULL },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "end elsewhere" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "hole" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "match the shape" },
        { "{\"a\":{\"dtype\":\"F99\",\"shape\":[2],\"data_offsets\":[0,8]}}", "dtype" },
        { " {}", "begin with {" },
    };
    char path[8192];
    long start;
    int tensors;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(path, sizeof(path), "%s/x", run);
        FILE *file = fopen(path, "wb");
        const unsigned char head[8] = { (unsigned char)strlen(rows[i].header) };
        fwrite(head, 1, 8, file);
        fwrite(rows[i].header, 1, strlen(rows[i].header), file);
        fwrite("12345678", 1, 8, file);
        fclose(file);
        const char *wrong = safetensors_check(path, &start, &tensors);
        if (rows[i].wrong)
            cr_expect(wrong && strstr(wrong, rows[i].wrong), "row %zu: %s", i, wrong);
        else
            cr_expect_null(wrong, "row %zu: %s", i, wrong);
    }
}
