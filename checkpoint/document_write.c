// document_write.c - a document appears under its name, complete or not at all.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/document.h"
#include "kernels/io.h"

// Removes what a failed write left: a file, or a directory of at most `levels` levels.
struct rubbish {
    const char *path;
    int levels;
};

static int discard(const char *path, int levels);

static int discard_inside(void *context, const char *name)
{
    const struct rubbish *of = context;
    char path[4096];

    if (snprintf(path, sizeof(path), "%s/%s", of->path, name) < (int)sizeof(path))
        discard(path, of->levels - 1);
    return 0;
}

static int discard(const char *path, int levels)
{
    struct rubbish rubbish = { path, levels };
    const int rc = pawl_io()->unlink(path);

    if (rc != -EISDIR && rc != -EPERM) return rc;
    if (levels > 0) pawl_io()->list(path, discard_inside, &rubbish);
    return pawl_io()->rmdir(path);
}

// Moves what was written under a temporary name to its own.
static int appear(const char *temporary, const char *path, bool force)
{
    const int rc = force ? pawl_io()->rename(temporary, path)
                         : pawl_io()->rename_noreplace(temporary, path);
    char directory[4096];

    if (rc == -EEXIST || rc == -ENOTEMPTY)
        return pawl_fail(PAWL_EBUSY, "%s: something is there already%s", path,
                         force ? ", and a directory is not replaced" : ". try: --force");
    if (rc) return pawl_io_fail(rc, "create", path);
    const char *slash = strrchr(path, '/');
    snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    const int synced = pawl_io_sync_dir(directory);
    return synced ? pawl_io_fail(synced, "fsync", directory) : 0;
}

// A name beside path that nothing has.
static int temporary_name(char temporary[4096], const char *path)
{
    uint64_t salt = 0;
    const int rc = pawl_io()->random(&salt, sizeof(salt));

    if (rc) return pawl_io_fail(rc, "draw a random name for", path);
    if (snprintf(temporary, 4096, "%s.tmp-%016llx", path, (unsigned long long)salt) >= 4096)
        return pawl_fail(PAWL_EINVAL, "the path is longer than %d bytes", 4096 - 22);
    return 0;
}

static int check_free(const char *path, bool force)
{
    struct stat of;

    if (force || pawl_io()->lstat(path, &of)) return 0;
    return pawl_fail(PAWL_EBUSY, "%s: something is there already. try: --force", path);
}

int pawl_document_can_write(const char *path, bool force)
{
    char temporary[4096];

    int rc = check_free(path, force);
    if (!rc) rc = temporary_name(temporary, path);
    if (rc) return rc;
    const int fd = pawl_io()->open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (fd < 0) return pawl_io_fail(fd, "create", path);
    pawl_io()->close(fd);
    pawl_io()->unlink(temporary);
    return 0;
}

int pawl_document_write(const struct pawl_document *document, const char *path,
                        const struct pawl_write_options *options)
{
    static const struct pawl_write_options defaults;
    const struct pawl_format *format = NULL;
    char temporary[4096];

    if (!options) options = &defaults;
    int rc = pawl_format_find(&format, options->format, path);
    if (rc) return rc;
    if (!format->write)
        return pawl_fail(PAWL_ENOTSUP, "this version only reads %s", format->name);
    rc = check_free(path, options->force);
    if (!rc) rc = temporary_name(temporary, path);
    if (rc) return rc;
    rc = format->write(document, temporary, options);
    if (!rc) rc = appear(temporary, path, options->force);
    if (rc) discard(temporary, 3);
    return rc;
}
