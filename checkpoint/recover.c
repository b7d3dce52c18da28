// recover.c - manifest and document of a snapshot, with every check that does not need its tensors.

#include "checkpoint/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/sums.h"
#include "kernels/io.h"
#include "kernels/memory.h"

// ---- reading what may fail for a moment

enum { TRIES = 3, FIRST_PAUSE_NS = 10000000 };

// Errors that say what is there; all others may be gone in a moment.
static bool is_final(int rc)
{
    return !rc || rc == -ENOENT || rc == -ENOTDIR || rc == -EISDIR || rc == -EINVAL
           || rc == -EFBIG || rc == -ENODATA || rc == -ELOOP || rc == -ENXIO;
}

static int read_patiently(const char *path, char **out, size_t *size, size_t max)
{
    int rc = pawl_io_read_file(path, out, size, max);

    for (int i = 1, pause = FIRST_PAUSE_NS; i < TRIES && !is_final(rc); i++, pause *= 4) {
        pawl_io()->sleep_ns(pause);
        rc = pawl_io_read_file(path, out, size, max);
    }
    return rc;
}

static int look_patiently(const char *path, struct stat *of)
{
    int rc = pawl_io()->lstat(path, of);

    for (int i = 1, pause = FIRST_PAUSE_NS; i < TRIES && !is_final(rc); i++, pause *= 4) {
        pawl_io()->sleep_ns(pause);
        rc = pawl_io()->lstat(path, of);
    }
    return rc;
}

// A code and words for a file that a snapshot must have.
static int judge(int rc, const char *path)
{
    if (rc == -ENOENT) return pawl_fail(PAWL_ECORRUPT, "%s is missing", path);
    if (rc == -EFBIG || rc == -ENODATA)
        return pawl_fail(PAWL_ECORRUPT, "%s: not the size that was written", path);
    if (is_final(rc)) return pawl_fail(PAWL_ECORRUPT, "%s is not a regular file", path);
    return pawl_io_fail(rc, "read", path);
}

// ---- the manifest

// The last component of a path, without slashes behind it, into name.
static void base_name(char name[PAWL_ATTEMPT_NAME_BYTES + 1], const char *path)
{
    size_t end = strlen(path);

    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start && path[start - 1] != '/')
        start--;
    snprintf(name, PAWL_ATTEMPT_NAME_BYTES + 1, "%.*s",
             end - start > PAWL_ATTEMPT_NAME_BYTES ? 0 : (int)(end - start), path + start);
}

static int check_files(const struct pawl_manifest *manifest, const char *directory)
{
    char path[PAWL_PATH_MAX];
    struct stat of;

    for (int i = 0; i < manifest->file_count; i++) {
        const struct pawl_manifest_file *file = &manifest->files[i];
        int rc = pawl_path_join(path, directory, file->name);
        if (rc) return rc;
        rc = look_patiently(path, &of);
        if (rc) return judge(rc, path);
        if (!S_ISREG(of.st_mode))
            return pawl_fail(PAWL_ECORRUPT, "%s is not a regular file", path);
        if ((uint64_t)of.st_size != file->bytes)
            return pawl_fail(PAWL_ECORRUPT, "%s has %lld bytes, should have %llu", path,
                             (long long)of.st_size, (unsigned long long)file->bytes);
    }
    return 0;
}

bool pawl_recover_gone(const char *directory)
{
    char path[PAWL_PATH_MAX];
    struct stat of;

    return !pawl_path_join(path, directory, "MANIFEST")
           && pawl_io()->lstat(path, &of) == -ENOENT;
}

static int check_identity(const struct pawl_manifest *manifest, const char *directory)
{
    char name[PAWL_ATTEMPT_NAME_BYTES + 1];
    uint64_t step;
    uint32_t lease;

    base_name(name, directory);
    if (!pawl_attempt_parse(name, &step, &lease)) return 0;  // somebody's copy under another name
    if (step == manifest->attempt.step && lease == manifest->attempt.lease) return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s/MANIFEST belongs to step %llu, epoch %lu", directory,
                     (unsigned long long)manifest->attempt.step,
                     (unsigned long)manifest->attempt.lease);
}

int pawl_recover_manifest(struct pawl_manifest *out, const char *directory)
{
    char path[PAWL_PATH_MAX], *bytes = NULL;
    struct pawl_manifest manifest;
    size_t size = 0;

    int rc = pawl_path_join(path, directory, "MANIFEST");
    if (rc) return rc;
    rc = read_patiently(path, &bytes, &size, PAWL_MANIFEST_BYTES_MAX);
    if (rc == -ENOENT) return pawl_fail(PAWL_ENONE, "%s was never committed", directory);
    if (rc) return judge(rc, path);
    rc = pawl_manifest_read(&manifest, bytes, size, path);
    pawl_free(bytes);
    if (rc) return rc;
    rc = check_identity(&manifest, directory);
    if (!rc) rc = check_files(&manifest, directory);
    // Retention takes MANIFEST first: files that are missing after it are no damage.
    if (rc == PAWL_ECORRUPT && pawl_recover_gone(directory))
        rc = pawl_fail(PAWL_ENONE, "%s was removed", directory);
    if (rc) {
        pawl_manifest_free(&manifest);
        return rc;
    }
    *out = manifest;
    return 0;
}

int pawl_recover_settle(const char *where, const char *directory)
{
    char path[PAWL_PATH_MAX];

    int rc = pawl_path_join(path, directory, "MANIFEST");
    if (rc) return rc;
    const int fd = pawl_io()->open(path, O_RDONLY | O_CLOEXEC, 0);
    rc = fd < 0 ? fd : pawl_io()->sync(fd);
    if (fd >= 0) pawl_io()->close(fd);
    if (rc) return pawl_io_fail(rc, "make durable", path);
    rc = pawl_io_sync_dir(directory);
    if (rc) return pawl_io_fail(rc, "make durable", directory);
    rc = pawl_io_sync_dir(where);
    return rc ? pawl_io_fail(rc, "make durable", where) : 0;
}

// ---- the document

static int shard_size(const struct pawl_manifest *manifest, const char *name, uint64_t *size)
{
    for (int i = 1; i < manifest->file_count; i += 2)
        if (!strcmp(manifest->files[i].name, name)) {
            *size = manifest->files[i].bytes;
            return 0;
        }
    return PAWL_ENONE;
}

static bool piece_fits(const json_t *piece, const struct pawl_manifest *manifest)
{
    const char *file = json_string_value(json_object_get(piece, "file"));
    const json_t *offset = json_object_get(piece, "offset");
    const json_t *bytes = json_object_get(piece, "bytes");
    uint64_t size = 0;

    if (!file || shard_size(manifest, file, &size)) return false;
    if (!json_is_integer(offset) || !json_is_integer(bytes)) return false;
    const json_int_t start = json_integer_value(offset), length = json_integer_value(bytes);
    return start >= 0 && length >= 0 && (uint64_t)start <= size
           && (uint64_t)length <= size - (uint64_t)start;
}

static int check_pieces(const json_t *root, const struct pawl_manifest *manifest, const char *path)
{
    const json_t *tensors = json_object_get(root, "tensors"), *tensor, *piece;
    size_t i, j;

    if (!json_is_array(tensors)) return pawl_fail(PAWL_ECORRUPT, "%s lists no tensors", path);
    json_array_foreach(tensors, i, tensor) {
        const char *name = json_string_value(json_object_get(tensor, "name"));
        if (!name) return pawl_fail(PAWL_ECORRUPT, "%s: tensor %zu has no name", path, i);
        json_array_foreach(json_object_get(tensor, "pieces"), j, piece)
            if (!piece_fits(piece, manifest))
                return pawl_fail(PAWL_ECORRUPT, "%s: tensor %s: piece %zu is not in its file",
                                 path, name, j);
    }
    return 0;
}

int pawl_recover_document(json_t **out, const char *directory,
                          const struct pawl_manifest *manifest)
{
    const struct pawl_manifest_file *file = &manifest->files[0];
    char path[PAWL_PATH_MAX], *bytes = NULL;
    json_error_t error;
    size_t size = 0;

    int rc = pawl_path_join(path, directory, file->name);
    if (rc) return rc;
    rc = read_patiently(path, &bytes, &size, (size_t)file->bytes);
    if (rc) return judge(rc, path);
    if (size != file->bytes || pawl_crc32c(bytes, size) != file->crc) {
        pawl_free(bytes);
        return pawl_fail(PAWL_ECORRUPT, "%s: not the bytes that the manifest names", path);
    }
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    pawl_free(bytes);
    if (!root) return pawl_fail(PAWL_ECORRUPT, "%s: line %d: %s", path, error.line, error.text);
    rc = check_pieces(root, manifest, path);
    if (rc) {
        json_decref(root);
        return rc;
    }
    *out = root;
    return 0;
}

// ---- does it fit

struct tally {
    int match, missing, unexpected;
    char first[900];
};

static void note(struct tally *tally, const char *words)
{
    if (!tally->first[0]) snprintf(tally->first, sizeof(tally->first), "%s", words);
}

static int read_shape(const json_t *tensor, int64_t dim[PAWL_RANK_MAX])
{
    const json_t *shape = json_object_get(tensor, "shape");
    const size_t rank = json_array_size(shape);

    if (rank > PAWL_RANK_MAX) return -1;
    for (size_t i = 0; i < rank; i++)
        dim[i] = (int64_t)json_integer_value(json_array_get(shape, i));
    return (int)rank;
}

static void compare(struct tally *tally, const json_t *tensor, const struct pawl_tensor *mine)
{
    const char *dtype = json_string_value(json_object_get(tensor, "dtype"));
    int64_t dim[PAWL_RANK_MAX] = { 0 };
    const int rank = read_shape(tensor, dim);
    char ours[160], theirs[160], words[900];

    if (dtype && !strcmp(dtype, pawl_dtype_name(mine->dtype)) && rank == mine->rank
        && !memcmp(dim, mine->dim, (size_t)rank * sizeof(*dim))) {
        tally->match++;
        return;
    }
    snprintf(words, sizeof(words), "tensor %s is %s %s there and %s %s here", mine->name,
             dtype ? dtype : "?",
             rank < 0 ? "?" : pawl_shape_text(theirs, sizeof(theirs), rank, dim),
             pawl_dtype_name(mine->dtype),
             pawl_shape_text(ours, sizeof(ours), mine->rank, mine->dim));
    note(tally, words);
}

static const json_t *find(const json_t *tensors, const char *name, size_t guess)
{
    const json_t *tensor = json_array_get(tensors, guess);
    const char *there = json_string_value(json_object_get(tensor, "name"));
    size_t i;

    if (there && !strcmp(there, name)) return tensor;
    json_array_foreach(tensors, i, tensor) {
        there = json_string_value(json_object_get(tensor, "name"));
        if (there && !strcmp(there, name)) return tensor;
    }
    return NULL;
}

int pawl_recover_match(const json_t *document, const struct pawl_layout *layout,
                       const char *directory)
{
    const json_t *tensors = json_object_get(document, "tensors"), *tensor;
    const size_t count = json_array_size(tensors);
    struct tally tally = { 0 };
    char words[900];
    size_t j;

    for (int i = 0; i < layout->part_count; i++) {
        const struct pawl_tensor *mine = &layout->parts[i].tensor;
        tensor = find(tensors, mine->name, (size_t)i);
        if (tensor) {
            compare(&tally, tensor, mine);
            continue;
        }
        tally.missing++;
        snprintf(words, sizeof(words), "tensor %s is not there", mine->name);
        note(&tally, words);
    }
    json_array_foreach(tensors, j, tensor) {
        const char *name = json_string_value(json_object_get(tensor, "name"));
        if (name && pawl_layout_find(layout, name)) continue;
        tally.unexpected++;
        snprintf(words, sizeof(words), "tensor %.255s is there but not here", name ? name : "?");
        note(&tally, words);
    }
    if (tally.match == layout->part_count && !tally.unexpected && (size_t)tally.match == count)
        return 0;
    return pawl_fail(PAWL_ECORRUPT, "%s does not fit: %s (%d match, %d missing, %d unexpected)",
                     directory, tally.first, tally.match, tally.missing, tally.unexpected);
}
