// run.c - the snapshots of a run directory.

#include "checkpoint/run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/attempt.h"
#include "checkpoint/digest.h"
#include "checkpoint/keep.h"
#include "checkpoint/recover.h"
#include "checkpoint/shard.h"
#include "kernels/io.h"
#include "kernels/memory.h"

const char *pawl_snapshot_state_name(enum pawl_snapshot_state state)
{
    static const char *const names[] = { "durable", "uncommitted", "damaged", "unreadable" };

    return names[state];
}

static bool is_directory(const char *path)
{
    const int fd = pawl_io()->open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

    if (fd < 0) return false;
    pawl_io()->close(fd);
    return true;
}

// ---- one snapshot

static bool has_pin(const char *directory)
{
    char path[PAWL_PATH_MAX];
    struct stat of;

    // Whatever is not plainly absent counts as a pin: the mistake that keeps too much is harmless.
    return !pawl_path_join(path, directory, "PIN") && pawl_io()->lstat(path, &of) != -ENOENT;
}

static void describe(struct pawl_snapshot *out, const struct pawl_manifest *manifest)
{
    out->state = PAWL_DURABLE;
    out->step = manifest->attempt.step;
    out->lease = manifest->attempt.lease;
    out->epoch = manifest->epoch;
    out->metric = manifest->metric;
    out->ranks = manifest->ranks;
    for (int i = 0; i < manifest->file_count; i++)
        out->bytes += manifest->files[i].bytes;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

int pawl_snapshot_look(struct pawl_snapshot *out, const char *path)
{
    struct pawl_snapshot snapshot = { .epoch = -1, .metric = NAN };
    struct pawl_manifest manifest;

    snprintf(snapshot.path, sizeof(snapshot.path), "%s", path);
    for (size_t end = strlen(snapshot.path); end > 1 && snapshot.path[end - 1] == '/'; end--)
        snapshot.path[end - 1] = 0;
    const int fd = pawl_io()->open(snapshot.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd == -ENOENT) return pawl_fail(PAWL_ENONE, "%s is not there", snapshot.path);
    if (fd >= 0) pawl_io()->close(fd);
    pawl_attempt_parse(last_part(snapshot.path), &snapshot.step, &snapshot.lease);
    const int rc = fd < 0 ? pawl_io_fail(fd, "open", snapshot.path)
                          : pawl_recover_manifest(&manifest, snapshot.path);
    if (rc == PAWL_ENOMEM) return rc;
    if (!rc) {
        describe(&snapshot, &manifest);
        pawl_manifest_free(&manifest);
    } else {
        snapshot.state = rc == PAWL_ENONE                          ? PAWL_UNCOMMITTED
                         : rc == PAWL_ECORRUPT || fd == -ENOTDIR ? PAWL_DAMAGED
                                                                   : PAWL_UNREADABLE;
        snprintf(snapshot.why, sizeof(snapshot.why), "%s", pawl_error());
    }
    snapshot.pinned = has_pin(snapshot.path);
    *out = snapshot;
    return 0;
}

bool pawl_snapshot_is(const char *path)
{
    char manifest[PAWL_PATH_MAX];
    struct pawl_snapshot name;
    struct stat of;

    if (!is_directory(path)) return false;
    snprintf(name.path, sizeof(name.path), "%s", path);
    for (size_t end = strlen(name.path); end > 1 && name.path[end - 1] == '/'; end--)
        name.path[end - 1] = 0;
    if (pawl_attempt_parse(last_part(name.path), &name.step, &name.lease)) return true;
    if (pawl_path_join(manifest, path, "MANIFEST") || pawl_io()->lstat(manifest, &of)) return false;
    return !pawl_path_join(manifest, path, "document.json") && !pawl_io()->lstat(manifest, &of);
}

static int verify_shard(const char *directory, const struct pawl_manifest *manifest, int rank)
{
    const struct pawl_manifest_file *shard = &manifest->files[1 + 2 * rank];
    char path[PAWL_PATH_MAX];

    int rc = pawl_shard_read(directory, manifest, rank, NULL);
    if (!rc) rc = pawl_path_join(path, directory, shard->name);
    return rc ? rc : pawl_digests_verify(path, shard);
}

static int verify(const char *path, const struct pawl_manifest *manifest)
{
    json_t *document = NULL;

    int rc = pawl_recover_document(&document, path, manifest);
    if (!rc) json_decref(document);
    for (int rank = 0; !rc && rank < manifest->ranks; rank++)
        rc = verify_shard(path, manifest, rank);
    return rc;
}

int pawl_snapshot_verify(const struct pawl_snapshot *snapshot)
{
    struct pawl_manifest manifest;

    int rc = pawl_recover_manifest(&manifest, snapshot->path);
    if (rc == PAWL_ENONE)
        return pawl_fail(PAWL_ECORRUPT, "%s was never committed", snapshot->path);
    if (rc) return rc;
    rc = verify(snapshot->path, &manifest);
    pawl_manifest_free(&manifest);
    return rc;
}

int pawl_snapshot_pin(const struct pawl_snapshot *snapshot, bool pin)
{
    char path[PAWL_PATH_MAX];

    int rc = pawl_path_join(path, snapshot->path, "PIN");
    if (rc) return rc;
    if (pin) {
        const int fd = pawl_io()->open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        rc = fd < 0 ? fd : pawl_io()->close(fd);
    } else {
        rc = pawl_io()->unlink(path);
        if (rc == -ENOENT) rc = 0;
    }
    if (!rc) rc = pawl_io_sync_dir(snapshot->path);
    return rc ? pawl_io_fail(rc, pin ? "create" : "remove", path) : 0;
}

// ---- the run

struct listing {
    struct pawl_run run;
    const char *where;
    int room, rc;
};

static int add_name(void *context, const char *name)
{
    struct listing *listing = context;
    struct pawl_run *run = &listing->run;
    uint64_t step;
    uint32_t lease;

    if (!strcmp(name, "LATEST")) run->commit_traced = true;
    if (!pawl_attempt_parse(name, &step, &lease)) return 0;
    if (run->count == listing->room) {
        const int room = listing->room ? 2 * listing->room : 16;
        listing->rc = pawl_realloc(&run->snapshots, (size_t)room * sizeof(*run->snapshots),
                                   "the list of snapshots");
        if (listing->rc) return -ENOMEM;
        listing->room = room;
    }
    struct pawl_snapshot *snapshot = &run->snapshots[run->count++];
    memset(snapshot, 0, sizeof(*snapshot));
    snapshot->step = step;
    snapshot->lease = lease;
    listing->rc = pawl_path_join(snapshot->path, listing->where, name);
    return listing->rc ? -ENAMETOOLONG : 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct pawl_snapshot *x = a, *y = b;

    // A later attempt has gone on from what it chose to: also when that was an older step, on
    // purpose or because a newer one was damaged.
    if (x->lease != y->lease) return x->lease > y->lease ? -1 : 1;
    return x->step > y->step ? -1 : x->step < y->step;
}

int pawl_run_list(struct pawl_run *out, const char *where)
{
    struct listing listing = { .where = where };
    struct pawl_run *run = &listing.run;

    int rc = pawl_io()->list(where, add_name, &listing);
    if (listing.rc)
        rc = listing.rc;
    else if (rc == -ENOENT)
        rc = pawl_fail(PAWL_ENONE, "%s is not there", where);
    else if (rc)
        rc = pawl_io_fail(rc, "list", where);
    if (rc) goto out;
    for (int i = 0; i < run->count; i++) {
        char path[PAWL_PATH_MAX];
        strcpy(path, run->snapshots[i].path);
        rc = pawl_snapshot_look(&run->snapshots[i], path);
        // Removed since it was listed (retention of the process that trains): as if never seen.
        if (rc == PAWL_ENONE) {
            run->snapshots[i--] = run->snapshots[--run->count];
            continue;
        }
        if (rc) goto out;
        if (run->snapshots[i].state != PAWL_UNCOMMITTED) run->commit_traced = true;
    }
    // qsort may not be given NULL, not even for no elements.
    if (run->count > 0)
        qsort(run->snapshots, (size_t)run->count, sizeof(*run->snapshots), newest_first);
    *out = *run;
    return 0;
out:
    pawl_run_free(run);
    return rc;
}

void pawl_run_free(struct pawl_run *run)
{
    pawl_free(run->snapshots);
    *run = (struct pawl_run){ 0 };
}

static int see_name(void *context, const char *name)
{
    uint64_t step;
    uint32_t lease;

    (void)context;
    return pawl_attempt_parse(name, &step, &lease) || !strcmp(name, "LEASE");
}

bool pawl_run_is(const char *path)
{
    return pawl_io()->list(path, see_name, NULL) > 0;
}

int pawl_run_prune(const struct pawl_run *run, const char *keep, bool *marks)
{
    struct pawl_keep rules;
    const int rc = pawl_keep_parse(&rules, keep);

    if (!rc) pawl_keep_mark(&rules, run, marks);
    return rc;
}
