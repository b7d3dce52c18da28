// receipts.c - the coordinator commits what every rank said it wrote, as it finds it on storage,
// and nothing else: a receipt of another snapshot or rank, another size, a MANIFEST that is there.

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint/commit.h"
#include "checkpoint/recover.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "saver_support.h"

enum { BYTES = 8192 };

static char run[4096];
static struct pawl_lease lease;
static struct pawl_commit commit;
static struct pawl_manifest manifest;
static struct pawl_receipt receipt;
static struct pawl_text document;

// One attempt, up to the receipt.
static void set_up(void)
{
    static unsigned char sums[256];
    static char bytes[BYTES] __attribute__((aligned(4096)));

    scratch_make(run);
    cr_assert_eq(pawl_lease_take(&lease, run), 0, "%s", pawl_error());
    commit = (struct pawl_commit){ .where = run, .lease = &lease };
    cr_assert_eq(pawl_commit_begin(&commit, 7, BYTES), 0, "%s", pawl_error());
    cr_assert_eq(pawl_manifest_new(&manifest, 1), 0);
    cr_assert_eq(pawl_shard_write(&receipt, commit.directory,
                                  &(struct pawl_shard){ .attempt = commit.attempt, .ranks = 1,
                                                        .bytes = bytes, .size_bytes = BYTES,
                                                        .sums = sums }), 0, "%s", pawl_error());
    pawl_text_format(&document, "{\"tensors\":[]}");
}

static void tear_down(void)
{
    pawl_text_free(&document);
    pawl_text_free(&commit.manifest);
    pawl_manifest_free(&manifest);
    pawl_lease_drop(&lease);
    scratch_remove(run);
}

TestSuite(receipts, .init = set_up, .fini = tear_down);

static void refused(const char *words)
{
    struct pawl_manifest found;

    cr_assert_eq(pawl_commit_finish(&commit, &manifest, &receipt, &document), PAWL_EIO);
    cr_assert_not_null(strstr(pawl_error(), words), "%s", pawl_error());
    cr_assert_eq(pawl_recover_manifest(&found, commit.directory), PAWL_ENONE, "it was committed");
}

Test(receipts, all_is_well)
{
    struct pawl_manifest found;

    cr_assert_eq(pawl_commit_finish(&commit, &manifest, &receipt, &document), 0, "%s",
                 pawl_error());
    cr_assert_eq(pawl_recover_manifest(&found, commit.directory), 0, "%s", pawl_error());
    cr_assert_eq(found.attempt.step, 7);
    pawl_manifest_free(&found);
}

Test(receipts, of_another_step)
{
    receipt.attempt.step++;
    refused("answered for another snapshot");
}

Test(receipts, of_another_epoch)
{
    receipt.attempt.lease++;
    refused("answered for another snapshot");
}

Test(receipts, of_another_rank)
{
    receipt.rank = 1;
    refused("answered for another snapshot");
}

Test(receipts, a_shard_that_is_shorter)
{
    scratch_cut(commit.directory, "shard-00000.safetensors", BYTES - 1);
    refused("instead of the 8192 written");
}

Test(receipts, sums_that_are_longer)
{
    scratch_cut(commit.directory, "shard-00000.sums", 200);
    refused("instead of the");
}

// Whoever put it there has committed; this attempt has not, and changes nothing.
Test(receipts, a_manifest_that_is_there)
{
    char path[8192], *bytes = NULL;
    size_t size;

    snprintf(path, sizeof(path), "%s/MANIFEST", commit.directory);
    cr_assert_eq(pawl_io_write_file(path, "another", 7, false), 0);
    cr_assert_eq(pawl_commit_finish(&commit, &manifest, &receipt, &document), PAWL_EIO);
    cr_assert_eq(pawl_io_read_file(path, &bytes, &size, 100), 0);
    cr_assert_eq(size, 7);
    cr_assert_arr_eq(bytes, "another", 7);
    pawl_free(bytes);
}
