// retain.c - retention, and the removal of one snapshot.

#include "checkpoint/retain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"

// ---- one snapshot

static int empty(void *context, const char *name)
{
    const char *directory = context;
    char path[PAWL_PATH_MAX];

    int rc = pawl_path_join(path, directory, name);
    if (rc) return -ENAMETOOLONG;
    rc = pawl_io()->unlink(path);
    if (rc && rc != -ENOENT) {
        pawl_io_fail(rc, "remove", path);
        return rc;
    }
    return 0;
}

static int uncommit(const char *directory)
{
    char path[PAWL_PATH_MAX];
    struct stat of;

    int rc = pawl_path_join(path, directory, "MANIFEST");
    if (rc) return rc;
    rc = pawl_io()->unlink(path);
    if (rc && rc != -ENOENT) return pawl_io_fail(rc, "remove", path);
    rc = pawl_io()->lstat(path, &of);
    if (!rc) return pawl_fail(PAWL_EIO, "%s is still there after its removal", path);
    if (rc != -ENOENT) return pawl_io_fail(rc, "look at", path);
    // Also when it was gone before: a process may have been killed between its unlink and here.
    rc = pawl_io_sync_dir(directory);
    return rc ? pawl_io_fail(rc, "make durable", directory) : 0;
}

int pawl_snapshot_remove(const char *where, const struct pawl_snapshot *snapshot)
{
    char directory[PAWL_PATH_MAX];

    if (snapshot->pinned)
        return pawl_fail(PAWL_EINVAL, "%s is pinned; unpin it first", snapshot->path);
    int rc = uncommit(snapshot->path);
    if (rc) return rc;
    strcpy(directory, snapshot->path);
    rc = pawl_io()->list(directory, empty, directory);
    if (rc) return pawl_fail(PAWL_EIO, "%s", pawl_error());
    rc = pawl_io()->rmdir(snapshot->path);
    if (rc) return pawl_io_fail(rc, "remove", snapshot->path);
    rc = pawl_io_sync_dir(where);
    return rc ? pawl_io_fail(rc, "make durable", where) : 0;
}

// ---- the run

static int sweep(const char *where, const struct pawl_run *run, const struct pawl_lease *lease,
                 const bool *marks)
{
    int first = 0;

    for (int i = 0; i < run->count; i++) {
        const struct pawl_snapshot *snapshot = &run->snapshots[i];
        const bool litter = snapshot->state == PAWL_UNCOMMITTED && !snapshot->pinned
                            && snapshot->lease < lease->epoch;
        if (!marks[i] && !litter) continue;
        int rc = pawl_lease_check(lease);
        if (rc) return first ? first : rc;
        rc = pawl_snapshot_remove(where, snapshot);
        if (!first) first = rc;
    }
    return first;
}

// What a process that died between the two halves of writing LATEST left behind.
static int remove_hint(void *context, const char *name)
{
    char path[PAWL_PATH_MAX];

    if (strncmp(name, "LATEST.tmp-", 11)) return 0;
    if (!pawl_path_join(path, context, name)) (void)pawl_io()->unlink(path);
    return 0;
}

int pawl_retain(const char *where, const struct pawl_keep *keep, const struct pawl_lease *lease,
                bool (*distrusted)(void *context, const char *path), void *context)
{
    struct pawl_run run;
    bool *marks = NULL;

    int rc = pawl_run_list(&run, where);
    if (rc) return rc;
    rc = pawl_alloc(&marks, (size_t)run.count + 1, "retention");
    if (rc) goto out;
    for (int i = 0; distrusted && i < run.count; i++)
        if (run.snapshots[i].state == PAWL_DURABLE && distrusted(context, run.snapshots[i].path))
            run.snapshots[i].state = PAWL_DAMAGED;
    pawl_keep_mark(keep, &run, marks);
    rc = sweep(where, &run, lease, marks);
    if (!rc) {
        char directory[PAWL_PATH_MAX];
        snprintf(directory, sizeof(directory), "%s", where);
        (void)pawl_io()->list(directory, remove_hint, directory);
    }
out:
    pawl_free(marks);
    pawl_run_free(&run);
    return rc;
}
