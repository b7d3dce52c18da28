// text.c - bytes of a file, or of all text files below a directory, one after another.
//
// A tree is taken in the order of its files' names (bytewise, by path), so that the same tree gives
// the same tokens on any file system. Left out: hidden names, version control, build and cache
// directories, directories of pawl's own runs (they grow while they are trained on), symbolic links
// (so no loop and nothing twice), empty files, and files with a NUL in their first 8 KiB.

#include <stdlib.h>
#include <string.h>

#include "kernels/io.h"
#include "kernels/memory.h"
#include "runtime/data/source.h"

enum {
    PATH_BYTES = 4096,
    DEPTH_MAX = 100,
    FILES_MAX = 1000000,
    HEAD_BYTES = 8192,
};

// The text is held in memory; who has more of it has a tokenizer, too.
static const uint64_t TEXT_BYTES_MAX = UINT64_C(2) << 30;

struct text {
    uint8_t *bytes;
};

struct names {
    char **name;
    size_t count, room;
};

struct walk {
    struct pawl_source *source;
    size_t root_bytes;  // of the path that every name is relative to
    uint64_t bytes;
    uint64_t binary, links;  // left out, for the words when nothing is left
    char path[PATH_BYTES];
};

// 1, which is no errno: no memory, and the words are said.
static int keep_name(void *context, const char *name)
{
    struct names *names = context;

    if (name[0] == '.')
        return 0;
    if (names->count == names->room) {
        const size_t room = names->room ? 2 * names->room : 64;
        if (pawl_realloc(&names->name, room * sizeof(*names->name), "names of a directory"))
            return 1;
        names->room = room;
    }
    if (pawl_strdup(&names->name[names->count], name))
        return 1;
    names->count++;
    return 0;
}

static void free_names(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        pawl_free(names->name[i]);
    pawl_free(names->name);
}

// Directories that hold what a program made, not what a person wrote.
static bool is_made(const struct names *names)
{
    static const char *const marks[] = { "CMakeCache.txt", "CACHEDIR.TAG", "LEASE", "run.json" };

    for (size_t i = 0; i < names->count; i++)
        for (size_t k = 0; k < sizeof(marks) / sizeof(*marks); k++)
            if (!strcmp(names->name[i], marks[k]))
                return true;
    return false;
}

static int too_large(const char *path)
{
    return pawl_fail(PAWL_EINVAL,
                     "%s: more than %llu MiB of text, which is held in memory. try: tokens:FILE",
                     path, (unsigned long long)(TEXT_BYTES_MAX >> 20));
}

static int add_file(struct walk *walk, uint64_t bytes)
{
    if (bytes > TEXT_BYTES_MAX - walk->bytes)
        return too_large(walk->path);
    if (walk->source->file_count == FILES_MAX)
        return pawl_fail(PAWL_EINVAL, "%s: more than %d files", walk->path, FILES_MAX);
    walk->bytes += bytes;
    return pawl_source_add(walk->source, walk->path, walk->root_bytes, bytes);
}

static int look_at_file(struct walk *walk)
{
    char head[HEAD_BYTES];
    uint64_t bytes;
    int fd;

    int rc = pawl_source_open_file(&fd, &bytes, walk->path);
    if (rc)
        return rc;
    const size_t seen = bytes < sizeof(head) ? (size_t)bytes : sizeof(head);
    rc = pawl_source_read(fd, walk->path, head, seen, 0);
    pawl_io()->close(fd);
    if (rc || !bytes)
        return rc;
    if (!pawl_source_is_text(head, seen)) {
        walk->binary++;
        return 0;
    }
    return add_file(walk, bytes);
}

static int walk_directory(struct walk *walk, int depth);

static int look_at(struct walk *walk, const char *name, int depth)
{
    const size_t length = strlen(walk->path), name_bytes = strlen(name) + 1;
    struct stat of;

    if (length + 1 + name_bytes > sizeof(walk->path))
        return pawl_fail(PAWL_EINVAL, "%s/%s: the path is too long", walk->path, name);
    if (walk->path[length - 1] != '/')
        strcat(walk->path, "/");
    strcat(walk->path, name);

    int rc = pawl_io()->lstat(walk->path, &of);
    if (rc < 0)
        rc = pawl_source_fail(rc, walk->path, "stat");
    else if (S_ISLNK(of.st_mode))
        walk->links++;
    else if (S_ISDIR(of.st_mode) && strcmp(name, "CVS"))
        rc = walk_directory(walk, depth + 1);
    else if (S_ISREG(of.st_mode))
        rc = look_at_file(walk);
    walk->path[length] = 0;
    return rc;
}

static int walk_directory(struct walk *walk, int depth)
{
    struct names names = { 0 };
    int rc;

    if (depth > DEPTH_MAX)
        return pawl_fail(PAWL_EINVAL, "%s: more than %d directories deep", walk->path, DEPTH_MAX);
    rc = pawl_io()->list(walk->path, keep_name, &names);
    if (rc < 0)
        rc = pawl_source_fail(rc, walk->path, "list");
    else if (rc)
        rc = PAWL_ENOMEM;  // keep_name has said the words
    if (rc)
        goto out;
    // The directory that was asked for is read whatever it is.
    if (depth && is_made(&names))
        goto out;
    for (size_t i = 0; i < names.count && !rc; i++)
        rc = look_at(walk, names.name[i], depth);
out:
    free_names(&names);
    return rc;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct pawl_source_file *)a)->path,
                  ((const struct pawl_source_file *)b)->path);
}

static int walk_tree(struct pawl_source *source, const char *where)
{
    struct walk walk = { .source = source };

    if (strlen(where) >= sizeof(walk.path))
        return pawl_fail(PAWL_EINVAL, "the path is too long");
    strcpy(walk.path, where);
    walk.root_bytes = strlen(where) + (where[strlen(where) - 1] != '/');
    const int rc = walk_directory(&walk, 0);
    if (rc)
        return rc;
    if (!source->file_count)
        return pawl_fail(PAWL_ENONE,
                         "%s: holds no text (%llu binary files, %llu symbolic links left out)",
                         where, (unsigned long long)walk.binary, (unsigned long long)walk.links);
    qsort(source->files, source->file_count, sizeof(*source->files), by_path);
    return 0;
}

static int single_file(struct pawl_source *source, const char *where)
{
    uint64_t bytes;
    int fd;

    const int rc = pawl_source_open_file(&fd, &bytes, where);
    if (rc)
        return rc;
    pawl_io()->close(fd);
    if (!bytes)
        return pawl_fail(PAWL_ENONE, "%s: is empty", where);
    if (bytes > TEXT_BYTES_MAX)
        return too_large(where);
    return pawl_source_add(source, where, pawl_source_base(where), bytes);
}

static int load(struct pawl_source_file *file, uint8_t *out)
{
    uint64_t bytes;
    int fd;

    int rc = pawl_source_open_file(&fd, &bytes, file->path);
    if (rc)
        return rc;
    // A file that grew meanwhile is taken as it was; a shorter one fails here.
    rc = pawl_source_read(fd, file->path, out, file->bytes, 0);
    pawl_io()->close(fd);
    if (rc)
        return rc;
    file->crc = pawl_source_crc(0, out, file->bytes);
    file->contents = true;
    return 0;
}

static int open_text(struct pawl_source *source, const char *where,
                     const struct pawl_data_options *options)
{
    struct text *text;
    bool directory;
    (void)options;

    int rc = pawl_source_is_directory(&directory, where);
    if (!rc)
        rc = directory ? walk_tree(source, where) : single_file(source, where);
    if (rc)
        return rc;

    for (size_t i = 0; i < source->file_count; i++)
        source->count += source->files[i].bytes;
    rc = pawl_alloc(&text, sizeof(*text), "text");
    if (rc)
        return rc;
    source->state = text;
    rc = pawl_alloc(&text->bytes, source->count, "text");
    uint8_t *out = text->bytes;
    for (size_t i = 0; i < source->file_count && !rc; i++) {
        rc = load(&source->files[i], out);
        out += source->files[i].bytes;
    }
    source->classes = 256;
    return rc;
}

static void close_text(struct pawl_source *source)
{
    struct text *text = source->state;

    if (text)
        pawl_free(text->bytes);
    pawl_free(text);
}

static int text_tokens(struct pawl_source *source, uint64_t at, int64_t count, int32_t *out)
{
    const struct text *text = source->state;

    for (int64_t i = 0; i < count; i++)
        out[i] = text->bytes[at + (uint64_t)i];
    return 0;
}

const struct pawl_source_row pawl_source_text = {
    .name = "text",
    .open = open_text,
    .close = close_text,
    .tokens = text_tokens,
};
