// sealed.c - snapshots whose every checksum holds and which make no sense all the same: each check
// behind the checksums, on its own.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/recover.h"
#include "checkpoint/run.h"
#include "checkpoint/saver.h"
#include "checkpoint/shard.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "saver_support.h"

static char run[4096], newest[4096];
static struct state state;
static struct pawl_manifest manifest;

static void set_up(void)
{
    struct pawl_progress progress = { .epoch = -1, .loss = NAN, .metric = NAN };

    scratch_make(run);
    state_open(&state, STATE_SMALL);
    struct pawl_saver *saver = open_saver(&state, run, "latest=9", NULL);
    for (progress.step = 1; progress.step <= 2; progress.step++) {
        state_fill(&state, progress.step);
        cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0);
    }
    cr_assert_eq(pawl_saver_close(saver), 0);
    cr_assert(scratch_find(run, 2, newest));
    cr_assert_eq(pawl_recover_manifest(&manifest, newest), 0);
}

static void tear_down(void)
{
    pawl_manifest_free(&manifest);
    state_close(&state);
    scratch_remove(run);
}

TestSuite(sealed, .init = set_up, .fini = tear_down);

// ---- changing it and sealing it again

static void path_of(char path[8192], const char *name)
{
    snprintf(path, 8192, "%s/%s", newest, name);
}

static void put(const char *name, const void *bytes, size_t size)
{
    char path[8192];

    path_of(path, name);
    cr_assert_eq(pawl_io_write_file(path, bytes, size, true), 0, "%s", path);
}

static char *get(const char *name, size_t *size)
{
    char path[8192], *bytes = NULL;

    path_of(path, name);
    cr_assert_eq(pawl_io_read_file(path, &bytes, size, 1 << 20), 0, "%s", path);
    return bytes;
}

static void seal_manifest(void)
{
    struct pawl_text text = { 0 };

    cr_assert_eq(pawl_manifest_write(&text, &manifest), 0);
    put("MANIFEST", text.bytes, text.size);
    pawl_text_free(&text);
}

static void change_document(const char *from, const char *to)
{
    size_t size;
    char *text = get("document.json", &size), *made = malloc(size + strlen(to) + 1);
    const char *at = strstr(text, from);

    cr_assert(at && made, "no %s in %s", from, text);
    const int length = sprintf(made, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    put("document.json", made, (size_t)length);
    manifest.files[0].bytes = (uint64_t)length;
    manifest.files[0].crc = pawl_crc32c(made, (size_t)length);
    seal_manifest();
    free(made);
    pawl_free(text);
}

// The byte at offset of the sums, and `more` bytes of zeros before their checksum.
static void change_sums(size_t offset, unsigned char byte, size_t more)
{
    size_t size;
    char *old = get("shard-00000.sums", &size);
    unsigned char table[512] = { 0 };

    memcpy(table, old, size - 4);
    pawl_free(old);
    size += more;
    table[offset] = byte;
    const uint32_t crc = pawl_crc32c(table, size - 4);
    for (size_t i = 0; i < 4; i++)
        table[size - 4 + i] = (unsigned char)(crc >> (8 * i));
    put("shard-00000.sums", table, size);
    manifest.files[2].bytes = size;
    manifest.files[2].crc = crc;
    seal_manifest();
}

static void passed_over(const char *words)
{
    struct pawl_saver *saver = open_saver(&state, run, "latest=9", NULL);
    struct pawl_progress back;
    const char *path, *why = "";
    uint64_t step;

    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0, "%s", pawl_error());
    cr_assert(pawl_saver_skipped(saver, 0, &step, &path, &why), "it was used");
    cr_assert_not_null(strstr(why, words), "%s", why);
    cr_assert_eq(back.step, 1);
    cr_assert_eq(state_wrong(&state, 1), 0);
    pawl_saver_close(saver);
}

// ---- the document

// w is 2112 bytes at 4096, b 132 behind it, and then the file ends.
Test(sealed, a_piece_over_the_end)
{
    change_document("\"offset\":6208,\"bytes\":132", "\"offset\":6212,\"bytes\":132");
    passed_over("is not in its file");
}

Test(sealed, a_piece_behind_the_end)
{
    change_document("\"offset\":6208,", "\"offset\":62080,");
    passed_over("is not in its file");
}

Test(sealed, a_piece_of_another_file)
{
    change_document("\"file\":\"shard-00000.safetensors\"", "\"file\":\"shard-00001.safetensors\"");
    passed_over("is not in its file");
}

Test(sealed, two_tensors_of_the_same_bytes)
{
    change_document("\"offset\":6208,", "\"offset\":6204,");
    passed_over("have the same bytes");
}

Test(sealed, a_piece_that_is_not_all)
{
    change_document("\"bytes\":132", "\"bytes\":128");
    passed_over("do not make a whole");
}

Test(sealed, a_piece_that_starts_elsewhere)
{
    change_document("\"start\":0", "\"start\":1");
    passed_over("do not make a whole");
}

// A state that is not the snapshot's is no damage: nothing older is tried.
static void does_not_fit(const char *words)
{
    struct pawl_saver *saver = open_saver(&state, run, "latest=9", NULL);
    struct pawl_progress back;

    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), PAWL_ECORRUPT);
    cr_assert_not_null(strstr(pawl_error(), "does not fit"), "%s", pawl_error());
    cr_assert_not_null(strstr(pawl_error(), words), "%s", pawl_error());
    pawl_saver_close(saver);
}

Test(sealed, another_shape_of_as_many_elements)
{
    change_document("\"shape\":[16,33]", "\"shape\":[33,16]");
    does_not_fit("tensor w is float32 [33, 16] there and float32 [16, 33] here");
}

Test(sealed, another_type_of_as_many_bytes)
{
    change_document("\"dtype\":\"float32\"", "\"dtype\":\"int32\"");
    does_not_fit("int32");
}

Test(sealed, a_tensor_too_many)
{
    change_document("\"tensors\":[", "\"tensors\":[{\"name\":\"more\",\"dtype\":\"float32\","
                    "\"shape\":[0],\"pieces\":[]},");
    does_not_fit("tensor more is there but not here (2 match, 0 missing, 1 unexpected)");
}

// ---- the sums

Test(sealed, sums_of_a_later_version)
{
    change_sums(8, 2, 0);
    passed_over("newer than this pawl");
}

Test(sealed, sums_of_other_chunks)
{
    change_sums(12, 23, 0);
    passed_over("newer than this pawl");
}

Test(sealed, sums_of_another_job)
{
    change_sums(16, (unsigned char)(manifest.attempt.job[0] ^ 1), 0);
    passed_over("belongs to another snapshot or rank");
}

Test(sealed, sums_of_another_step)
{
    change_sums(32, 1, 0);
    passed_over("belongs to another snapshot or rank");
}

Test(sealed, sums_of_another_rank)
{
    change_sums(44, 1, 0);
    passed_over("belongs to another snapshot or rank");
}

Test(sealed, sums_among_more_ranks)
{
    change_sums(48, 2, 0);
    passed_over("belongs to another snapshot or rank");
}

Test(sealed, sums_of_a_shorter_shard)
{
    change_sums(56, (unsigned char)(manifest.files[1].bytes - 1), 0);
    passed_over("belongs to another snapshot or rank");
}

Test(sealed, sums_that_are_too_long)
{
    change_sums(8, 1, 4);
    passed_over("its lengths disagree");
}

// ---- files that are there and are not what was written

static enum pawl_snapshot_state look(void)
{
    struct pawl_snapshot seen;

    cr_assert_eq(pawl_snapshot_look(&seen, newest), 0);
    return seen.state;
}

Test(sealed, a_look_sees_sizes_and_kinds)
{
    char path[8192], target[128] = "";

    cr_assert_eq(look(), PAWL_DURABLE);
    for (int i = 0; i < 3; i++) {
        const char *name = manifest.files[i].name;
        const long size = scratch_size(newest, name);
        path_of(path, name);
        cr_assert_eq(truncate(path, size + 1), 0);
        cr_expect_eq(look(), PAWL_DAMAGED, "%s is longer", name);
        cr_assert_eq(truncate(path, size), 0);
        cr_expect_eq(look(), PAWL_DURABLE, "%s", name);
    }
    // A link that is as long as the file was, to just that file.
    const size_t length = (size_t)scratch_size(newest, "shard-00000.sums");
    char kept[8192];
    snprintf(kept, sizeof(kept), "%s/kept", newest);
    path_of(path, "shard-00000.sums");
    cr_assert_eq(rename(path, kept), 0);
    cr_assert(length % 2 == 0 && length < sizeof(target));
    for (size_t i = 0; i < length - 4; i += 2)
        strcat(target, "./");
    strcat(target, "kept");
    cr_assert_eq(symlink(target, path), 0);
    cr_expect_eq(look(), PAWL_DAMAGED, "a link to it");
}

Test(sealed, a_shard_that_goes_on)
{
    char path[8192];

    path_of(path, "shard-00000.safetensors");
    cr_assert_eq(pawl_shard_read(newest, &manifest, 0, NULL), 0, "%s", pawl_error());
    cr_assert_eq(truncate(path, (long)manifest.files[1].bytes + 1), 0);
    cr_assert_eq(pawl_shard_read(newest, &manifest, 0, NULL), PAWL_ECORRUPT);
    cr_assert_eq(truncate(path, (long)manifest.files[1].bytes - 1), 0);
    cr_assert_eq(pawl_shard_read(newest, &manifest, 0, NULL), PAWL_ECORRUPT);
}

// Bits changed that a list does not see. What the load passed over does not count as one of the two
// that are kept, else the one that it used would go.
Test(sealed, what_was_passed_over_is_not_relied_on)
{
    const struct pawl_progress progress = { .step = 2, .epoch = -1, .loss = NAN, .metric = NAN };
    struct pawl_progress back;
    char path[4096];

    scratch_flip(newest, "shard-00000.safetensors", 5000, 1);
    cr_assert_eq(look(), PAWL_DURABLE);
    struct pawl_saver *saver = open_saver(&state, run, "latest=2", NULL);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0, "%s", pawl_error());
    cr_assert_eq(back.step, 1);
    cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s", pawl_error());
    cr_assert_eq(pawl_saver_close(saver), 0);
    cr_assert(scratch_find(run, 1, path), "the last whole one before was removed");
    cr_assert_eq(scratch_count(run), 3, "what is damaged stays");
}

// ---- nothing but a trace

Test(sealed, only_a_hint_is_left)
{
    struct pawl_saver *saver;
    struct pawl_progress back;
    char path[4096];

    for (uint64_t step = 1; step <= 2; step++) {
        cr_assert(scratch_find(run, step, path));
        scratch_remove(path);
    }
    saver = open_saver(&state, run, "latest=9", NULL);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), PAWL_ECORRUPT, "%s", pawl_error());
    cr_assert_not_null(strstr(pawl_error(), "only a trace"), "%s", pawl_error());
    snprintf(path, sizeof(path), "%.4000s/LATEST", run);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), PAWL_ENONE, "%s", pawl_error());
    pawl_saver_close(saver);
}
