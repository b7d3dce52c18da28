// recognise.c - the table of sources, and how a plain path finds its row.

#include "runtime/data/recognise.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "kernels/io.h"

enum { HEAD_BYTES = 8192 };

#define KNOWN "text:PATH, tokens:FILE, idx:DIR or npy:X.npy,Y.npy"

static const struct pawl_source_row *const rows[] = {
    &pawl_source_text,
    &pawl_source_tokens,
    &pawl_source_idx,
    &pawl_source_npy,
};

static int notice_images(void *found, const char *name)
{
    if (!strncmp(name, "train-images", 12) || !strncmp(name, "t10k-images", 11))
        *(bool *)found = true;
    return 0;
}

static int of_directory(const struct pawl_source_row **row, const char *path)
{
    bool images = false;

    const int rc = pawl_io()->list(path, notice_images, &images);
    if (rc < 0)
        return pawl_source_fail(rc, path, "list");
    *row = images ? &pawl_source_idx : &pawl_source_text;
    return 0;
}

static int of_file(const struct pawl_source_row **row, const char *path)
{
    char head[HEAD_BYTES] = { 0 };
    uint64_t bytes;
    int fd;

    int rc = pawl_source_open_file(&fd, &bytes, path);
    if (rc)
        return rc;
    const size_t seen = bytes < sizeof(head) ? (size_t)bytes : sizeof(head);
    rc = pawl_source_read(fd, path, head, seen, 0);
    pawl_io()->close(fd);
    if (rc)
        return rc;
    if (!memcmp(head, "\x93NUMPY", 6))
        return pawl_fail(PAWL_EINVAL, "%s: is one array, and two are needed. try: npy:X.npy,Y.npy",
                         path);
    if (!memcmp(head, "\x1f\x8b", 2))
        return pawl_fail(PAWL_EINVAL, "%s: is compressed; only the files of idx:DIR may be", path);
    if (!memcmp(head, "\0\0\x08", 3) && head[3] >= 1 && head[3] <= 4)
        return pawl_fail(PAWL_EINVAL, "%s: is an IDX file. try: idx: and its directory", path);
    if (pawl_source_is_text(head, seen))
        *row = &pawl_source_text;
    else if (bytes % 2 == 0)
        *row = &pawl_source_tokens;
    else
        return pawl_fail(PAWL_EINVAL, "%s: is neither text nor uint16 tokens. try: " KNOWN, path);
    return 0;
}

// Whether the text begins like a prefix: lower case letters and a colon.
static bool has_prefix(const char *source)
{
    const size_t letters = strspn(source, "abcdefghijklmnopqrstuvwxyz-");

    return letters && source[letters] == ':';
}

// What a text that names nothing was meant to be.
static int of_absent(const struct pawl_source_row **row, const char *source, int error)
{
    if (has_prefix(source))
        return pawl_fail(PAWL_EINVAL, "%s: no such kind of source. try: " KNOWN, source);
    if (!strchr(source, ','))
        return pawl_source_fail(error, source, "open");
    *row = &pawl_source_npy;
    return 0;
}

int pawl_recognise(const struct pawl_source_row **row, const char **where, const char *source)
{
    bool directory;
    struct stat of;

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const size_t length = strlen(rows[i]->name);
        if (strncmp(source, rows[i]->name, length) || source[length] != ':')
            continue;
        if (!source[length + 1])
            return pawl_fail(PAWL_EINVAL, "%s needs something after the colon. try: " KNOWN,
                             source);
        *row = rows[i];
        *where = source + length + 1;
        return 0;
    }
    if (!*source)
        return pawl_fail(PAWL_EINVAL, "no data named. try: " KNOWN);
    *where = source;
    int rc = pawl_io()->lstat(source, &of);
    if (rc == -ENOENT || rc == -ENOTDIR || rc == -ENAMETOOLONG)
        return of_absent(row, source, rc);
    if (rc < 0)
        return pawl_source_fail(rc, source, "stat");
    rc = pawl_source_is_directory(&directory, source);
    if (rc)
        return rc;
    return directory ? of_directory(row, source) : of_file(row, source);
}
