// commit.c - the coordinator's part of a save.

#include "checkpoint/commit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"

int pawl_commit_begin(struct pawl_commit *commit, uint64_t step, uint64_t need_bytes)
{
    char name[PAWL_ATTEMPT_NAME_BYTES];
    uint64_t have;

    int rc = pawl_lease_check(commit->lease);
    if (rc) return rc;
    if (!pawl_io()->space(commit->where, &have) && have < need_bytes)
        return pawl_fail(PAWL_EIO, "cannot save in %s: No space left on device (needs %llu bytes, "
                         "%llu are free)", commit->where, (unsigned long long)need_bytes,
                         (unsigned long long)have);
    commit->attempt.step = step;
    commit->attempt.lease = commit->lease->epoch;
    memcpy(commit->attempt.job, commit->lease->job, PAWL_JOB_BYTES);
    pawl_attempt_name(name, step, commit->attempt.lease);
    rc = pawl_path_join(commit->directory, commit->where, name);
    if (rc) return rc;
    rc = pawl_io()->mkdir(commit->directory, 0777);
    if (rc) return pawl_io_fail(rc, "create", commit->directory);
    rc = pawl_io_sync_dir(commit->where);
    return rc ? pawl_io_fail(rc, "make durable", commit->where) : 0;
}

// C1: one receipt per rank, all of this attempt, and the files are what they say.
static int check_file(const char *directory, const struct pawl_manifest_file *file)
{
    char path[PAWL_PATH_MAX];
    struct stat of;

    int rc = pawl_path_join(path, directory, file->name);
    if (rc) return rc;
    rc = pawl_io()->lstat(path, &of);
    if (rc) return pawl_io_fail(rc, "look at", path);
    if (!S_ISREG(of.st_mode) || (uint64_t)of.st_size != file->bytes)
        return pawl_fail(PAWL_EIO, "%s has %lld bytes instead of the %llu written", path,
                         (long long)of.st_size, (unsigned long long)file->bytes);
    return 0;
}

static int check_receipts(const struct pawl_commit *commit, struct pawl_manifest *manifest,
                          const struct pawl_receipt *receipts)
{
    for (int rank = 0; rank < manifest->ranks; rank++) {
        const struct pawl_receipt *receipt = &receipts[rank];
        if (receipt->rank != rank || !pawl_attempt_same(&receipt->attempt, &commit->attempt))
            return pawl_fail(PAWL_EIO, "rank %d answered for another snapshot", rank);
        struct pawl_manifest_file *shard = pawl_manifest_shard(manifest, rank);
        struct pawl_manifest_file *sums = pawl_manifest_sums(manifest, rank);
        shard->bytes = receipt->file_bytes;
        sums->bytes = receipt->sums_bytes;
        sums->crc = receipt->sums_crc;
        int rc = check_file(commit->directory, shard);
        if (!rc) rc = check_file(commit->directory, sums);
        if (rc) return rc;
    }
    return 0;
}

static int write_document(const struct pawl_commit *commit, struct pawl_manifest *manifest,
                          const struct pawl_text *document)
{
    char path[PAWL_PATH_MAX];

    manifest->files[0].bytes = document->size;
    manifest->files[0].crc = pawl_crc32c(document->bytes, document->size);
    const int rc = pawl_path_join(path, commit->directory, manifest->files[0].name);
    return rc ? rc : pawl_shard_write_small(path, document->bytes, document->size);
}

// Whether MANIFEST holds exactly these bytes: a rename over a network may report an error
// although it happened.
static bool is_there(const char *path, const struct pawl_text *text)
{
    char *bytes = NULL;
    size_t size = 0;

    if (pawl_io_read_file(path, &bytes, &size, text->size)) return false;
    const bool same = size == text->size && !memcmp(bytes, text->bytes, size);
    pawl_free(bytes);
    return same;
}

// C3 and C4.
static int put_manifest(const struct pawl_commit *commit)
{
    char path[PAWL_PATH_MAX], temporary[PAWL_PATH_MAX], name[32];

    snprintf(name, sizeof(name), "MANIFEST.tmp-%08lx", (unsigned long)commit->attempt.lease);
    int rc = pawl_path_join(temporary, commit->directory, name);
    if (!rc) rc = pawl_path_join(path, commit->directory, "MANIFEST");
    if (!rc)
        rc = pawl_shard_write_small(temporary, commit->manifest.bytes, commit->manifest.size);
    // The longer the writing took, the likelier a successor: this is the last moment to step back.
    if (!rc) rc = pawl_lease_check(commit->lease);
    if (rc) return rc;
    rc = pawl_io()->rename_noreplace(temporary, path);
    if (rc && !is_there(path, &commit->manifest)) return pawl_io_fail(rc, "create", path);
    return 0;
}

// C6. LATEST only spares people a look at the list, so its failure is nobody's concern.
void pawl_commit_hint(const struct pawl_commit *commit)
{
    char path[PAWL_PATH_MAX], line[PAWL_ATTEMPT_NAME_BYTES + 1];

    pawl_attempt_name(line, commit->attempt.step, commit->attempt.lease);
    strcat(line, "\n");
    if (!pawl_path_join(path, commit->where, "LATEST"))
        (void)pawl_io_write_file(path, line, strlen(line), true);
}

int pawl_commit_finish(struct pawl_commit *commit, struct pawl_manifest *manifest,
                       const struct pawl_receipt *receipts, const struct pawl_text *document)
{
    manifest->attempt = commit->attempt;
    int rc = check_receipts(commit, manifest, receipts);
    if (!rc) rc = write_document(commit, manifest, document);
    if (!rc) rc = pawl_manifest_write(&commit->manifest, manifest);
    if (rc) return rc;
    rc = pawl_io_sync_dir(commit->directory);  // C2: every name that the manifest will promise
    if (rc) return pawl_io_fail(rc, "make durable", commit->directory);
    rc = put_manifest(commit);
    if (rc) return rc;
    rc = pawl_io_sync_dir(commit->directory);  // C5: from here on it is durable
    if (rc) return pawl_io_fail(rc, "make durable", commit->directory);
    return 0;
}
