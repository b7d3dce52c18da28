// digests.c - what was digested on the device stands in the manifest, and is held against what
// lands on the device when it is loaded. (What happens to a copy on its way out: snapshot.c.)

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/recover.h"
#include "checkpoint/run.h"
#include "checkpoint/saver.h"
#include "checkpoint/sums.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "saver_support.h"

static char run[4096];
static struct state state;
static const struct pawl_device_kind *real;
static struct pawl_device_kind lax;
static int damage;  // how many copies into the state arrive with a wrong bit

// As a device with a copy stream; copies into the state may arrive otherwise than they left.
static void copy(struct pawl_stream *stream, void *out, const void *in, size_t bytes)
{
    char *to = out;

    real->copy(stream, out, in, bytes);
    if (!damage || to < state.slab || to >= state.slab + state.slab_bytes) return;
    damage--;
    to[bytes - 1] ^= 1;
}

static void open_state(enum state_kind kind)
{
    state_open(&state, kind);
    state.device->host = false;
    real = state.device->kind;
    lax = *real;
    lax.copy = copy;
    state.device->kind = &lax;
    damage = 0;
}

static void set_up(void)
{
    scratch_make(run);
    open_state(STATE_MIXED);
}

static void tear_down(void)
{
    state.device->host = true;
    state.device->kind = real;
    state_close(&state);
    scratch_remove(run);
}

TestSuite(digests, .init = set_up, .fini = tear_down);

static struct pawl_saver *open_with(bool digest)
{
    struct pawl_saver *saver = NULL;

    cr_assert_eq(pawl_saver_open(&saver, &(struct pawl_saver_options){ .where = run, .keep =
                                 "latest=9", .digest = digest }, state.device), 0);
    state_add(&state, saver);
    return saver;
}

static void save(uint64_t from, uint64_t to, bool digest)
{
    struct pawl_saver *saver = open_with(digest);

    for (uint64_t step = from; step <= to; step++) {
        const struct pawl_progress progress = { .step = step, .epoch = -1, .loss = NAN,
                                                .metric = NAN };
        state_fill(&state, step);
        cr_assert_eq(pawl_saver_save_now(saver, state.stream, &progress), 0, "%s", pawl_error());
    }
    cr_assert_eq(pawl_saver_close(saver), 0, "%s", pawl_error());
}

// The step that comes back, whole; 0: none. words: why the newest was passed over, or NULL.
static uint64_t load(const char *words)
{
    struct pawl_saver *saver = open_with(false);
    struct pawl_progress back = { 0 };
    const char *path, *why = "";
    uint64_t step;

    state_clear(&state);
    const int rc = pawl_saver_load(saver, state.stream, &back);
    if (rc) cr_assert_eq(rc, PAWL_ECORRUPT, "%s", pawl_error());
    cr_assert_eq(pawl_saver_skipped(saver, 0, &step, &path, &why), words != NULL, "%s", why);
    if (words) cr_assert_not_null(strstr(why, words), "%s", why);
    if (!rc) cr_assert_eq(state_wrong(&state, back.step), 0);
    pawl_saver_close(saver);
    return rc ? 0 : back.step;
}

static int verify(uint64_t step)
{
    struct pawl_snapshot snapshot;
    char path[4096];

    cr_assert(scratch_find(run, step, path));
    cr_assert_eq(pawl_snapshot_look(&snapshot, path), 0);
    return pawl_snapshot_verify(&snapshot);
}

// Changes the manifest of a step from what to what, and seals it as if it had been written so.
static void rewrite(uint64_t step, const char *from, const char *to)
{
    char path[4096], name[8192], *text = NULL, made[16384];
    size_t size;

    cr_assert(scratch_find(run, step, path));
    snprintf(name, sizeof(name), "%s/MANIFEST", path);
    cr_assert_eq(pawl_io_read_file(name, &text, &size, sizeof(made) / 2), 0);
    char *at = strstr(text, from), *end = strchr(text, '\n');
    cr_assert(at && end && at < end, "%s", text);
    const int length = snprintf(made, sizeof(made), "%.*s%s%.*s", (int)(at - text), text, to,
                                (int)(end + 1 - at - (long)strlen(from)), at + strlen(from));
    snprintf(made + length, sizeof(made) - (size_t)length, "crc32c %08x\n",
             pawl_crc32c(made, (size_t)length));
    cr_assert_eq(pawl_io_write_file(name, made, strlen(made), true), 0);
    pawl_free(text);
}

static int count(uint64_t step)
{
    struct pawl_manifest manifest;
    char path[4096];

    cr_assert(scratch_find(run, step, path));
    cr_assert_eq(pawl_recover_manifest(&manifest, path), 0, "%s", pawl_error());
    const int digests = pawl_manifest_shard(&manifest, 0)->digest_count;
    pawl_manifest_free(&manifest);
    return digests;
}

Test(digests, stand_in_the_manifest)
{
    save(1, 1, false);
    save(2, 3, true);
    cr_assert_eq(count(1), 0);
    cr_assert_gt(count(2), 1);
    cr_assert_eq(count(3), count(2));
    for (uint64_t step = 1; step <= 3; step++)
        cr_assert_eq(verify(step), 0, "%s", pawl_error());
    cr_assert_eq(load(NULL), 3);
}

Test(digests, older_and_newer_manifests_are_read)
{
    save(1, 1, true);
    rewrite(1, "\"digests\":", "\"unheard\":");  // as an older pawl sees them
    cr_assert_eq(count(1), 0);
    cr_assert_eq(load(NULL), 1);
    rewrite(1, "\"unheard\":", "\"more\":{\"a\":[1]},\"digests\":");
    cr_assert_gt(count(1), 0);
    cr_assert_eq(load(NULL), 1);
    cr_assert_eq(verify(1), 0, "%s", pawl_error());
}

// Every other check holds: the bytes are those of the checksums, and not what the device held.
Test(digests, other_bytes_are_damage)
{
    char digit[32];

    save(1, 2, true);
    for (char c = '0'; c <= '9'; c++) {
        snprintf(digit, sizeof(digit), "\"sum\":\"%c", c);
        char path[4096], name[8192], *text = NULL;
        size_t size;
        cr_assert(scratch_find(run, 2, path));
        snprintf(name, sizeof(name), "%s/MANIFEST", path);
        cr_assert_eq(pawl_io_read_file(name, &text, &size, 16384), 0);
        const bool found = strstr(text, digit);
        pawl_free(text);
        if (!found) continue;
        rewrite(2, digit, "\"sum\":\"f");
        break;
    }
    cr_assert_eq(verify(1), 0);
    cr_assert_eq(verify(2), PAWL_ECORRUPT);
    cr_assert_not_null(strstr(pawl_error(), "are not what the device held"), "%s", pawl_error());
    cr_assert_eq(load("did not land as what the device held"), 1);
}

Test(digests, a_load_that_does_not_arrive)
{
    save(1, 2, true);
    damage = 1;
    cr_assert_eq(load("did not land as what the device held"), 1);
    damage = 1000;
    cr_assert_eq(load("did not land as what the device held"), 0);
    damage = 0;
    cr_assert_eq(load(NULL), 2);
}

// Without digests nobody can tell: what they are for.
Test(digests, without_them_it_goes_unnoticed)
{
    struct pawl_saver *saver;
    struct pawl_progress back;

    save(1, 1, false);
    saver = open_with(false);
    damage = 1;
    cr_assert_eq(pawl_saver_load(saver, state.stream, &back), 0);
    cr_assert_eq(state_wrong(&state, 1), 1);
    pawl_saver_close(saver);
}

// Loaded where tensors lie elsewhere than side by side, as they did when they were digested.
Test(digests, another_layout_of_memory)
{
    tear_down();
    scratch_make(run);
    open_state(STATE_EVEN);
    save(1, 2, true);
    cr_assert_lt(count(1), state.count);
    char *slab = state.slab, *apart = calloc(2, state.slab_bytes);
    const size_t bytes = state.slab_bytes;
    state.slab = apart;
    state.slab_bytes = 2 * bytes;
    for (int i = 0; i < state.count; i++)
        state.memory[i] = apart + 2 * state.tensors[i].offset_bytes;
    cr_assert_eq(load(NULL), 2);
    damage = 1;
    cr_assert_eq(load("did not land as what the device held"), 1);
    state.slab = slab;
    state.slab_bytes = bytes;
    free(apart);
}
