// safetensors_index.c - a model in several safetensors files.

#include "checkpoint/formats/safetensors_index.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/json.h"
#include "checkpoint/formats/safetensors.h"
#include "checkpoint/names.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { INDEX_BYTES_MAX = 64 << 20, FILES_MAX = 1024, FILE_NAME_MAX = 256 };

struct mapped {
    char name[PAWL_NAME_MAX + 1];
    int file;
};

struct reader {
    struct pawl_document *document;
    const char *directory;
    char what[4200];  // "DIRECTORY/NAME"
    struct pawl_json json;
    struct mapped *map;
    int map_count;
    char (*files)[FILE_NAME_MAX];
    int file_count;
};

// ---- in a directory

struct found {
    char name[FILE_NAME_MAX];
    bool index, single;
};

static int see(void *context, const char *name)
{
    static const char suffix[] = ".safetensors.index.json";
    struct found *found = context;
    const size_t length = strlen(name), end = sizeof(suffix) - 1;

    found->single |= strcmp(name, "model.safetensors") == 0;
    if (length <= end || length >= sizeof(found->name) || strcmp(name + length - end, suffix))
        return 0;
    // Of several (a variant beside the model) the alphabetically last: model.safetensors... comes
    // after model.fp16.safetensors...
    if (!found->index || strcmp(name, found->name) > 0)
        snprintf(found->name, sizeof(found->name), "%s", name);
    found->index = true;
    return 0;
}

bool pawl_safetensors_in(const char *directory, char *name, bool *index)
{
    struct found found = { .name = "" };

    if (pawl_io()->list(directory, see, &found) || !(found.index || found.single)) return false;
    snprintf(name, FILE_NAME_MAX, "%s", found.index ? found.name : "model.safetensors");
    *index = found.index;
    return true;
}

// ---- the index

// A name is a name, never a path: an index must not reach outside of its directory.
static int check_file_name(struct reader *r, const struct pawl_json_token *value)
{
    static const char suffix[] = ".safetensors";
    const size_t end = sizeof(suffix) - 1;

    if (value->length > end && value->length < FILE_NAME_MAX && value->string[0] != '.'
        && !strpbrk(value->string, "/\\")
        && strcmp(value->string + value->length - end, suffix) == 0)
        return 0;
    return pawl_json_fail(&r->json, value->at, "'%.80s' is not the plain name of a .safetensors "
                          "file beside the index; a path is refused", value->string);
}

static int file_index(struct reader *r, const struct pawl_json_token *value, int *out)
{
    const int rc = check_file_name(r, value);

    if (rc) return rc;
    for (int i = r->file_count - 1; i >= 0; i--)  // most often the one before
        if (strcmp(r->files[i], value->string) == 0) {
            *out = i;
            return 0;
        }
    if (r->file_count == FILES_MAX)
        return pawl_json_fail(&r->json, value->at, "more than %d files", FILES_MAX);
    snprintf(r->files[r->file_count], FILE_NAME_MAX, "%s", value->string);
    *out = r->file_count++;
    return 0;
}

static int take_mapping(struct reader *r, const struct pawl_json_token *key)
{
    struct pawl_json_token value;
    struct mapped mapped = { .file = -1 };
    const int count = r->map_count;

    int rc = pawl_json_expect(&r->json, &value, PAWL_JSON_STRING, "a file's name");
    if (!rc) rc = file_index(r, &value, &mapped.file);
    if (rc) return rc;
    if (key->length > PAWL_NAME_MAX)
        return pawl_json_fail(&r->json, key->at, "a tensor name is longer than %d", PAWL_NAME_MAX);
    if (count == PAWL_TENSORS_MAX)
        return pawl_json_fail(&r->json, key->at, "more than %d tensors", PAWL_TENSORS_MAX);
    memcpy(mapped.name, key->string, key->length + 1);
    if ((count & (count - 1)) == 0)
        rc = pawl_realloc(&r->map, sizeof(mapped) * (count ? 2 * (size_t)count : 1), "an index");
    if (!rc) r->map[r->map_count++] = mapped;
    return rc;
}

static int take_map(struct reader *r)
{
    struct pawl_json_token token;

    int rc = pawl_json_expect(&r->json, &token, PAWL_JSON_OBJECT, "weight_map as an object");
    while (!rc) {
        rc = pawl_json_next(&r->json, &token);
        if (rc || token.kind == PAWL_JSON_OBJECT_END) break;
        rc = take_mapping(r, &token);
    }
    return rc;
}

static int take_index(struct reader *r)
{
    struct pawl_json_token token;
    bool mapped = false;

    int rc = pawl_json_expect(&r->json, &token, PAWL_JSON_OBJECT, "an object");
    while (!rc) {
        rc = pawl_json_next(&r->json, &token);
        if (rc || token.kind == PAWL_JSON_OBJECT_END) break;
        if (strcmp(token.string, "weight_map") == 0) {
            mapped = true;
            rc = take_map(r);
            continue;
        }
        rc = pawl_json_next(&r->json, &token);
        if (!rc) rc = pawl_json_skip(&r->json, &token);
    }
    if (!rc) rc = pawl_json_expect(&r->json, &token, PAWL_JSON_DONE, "nothing more");
    if (!rc && !mapped) rc = pawl_json_fail(&r->json, 0, "the index has no weight_map");
    return rc;
}

// ---- the files

// Each file's tensors, checked against the map: right file, and none missing.
static int check_map(struct reader *r, const int *first)
{
    struct pawl_document *document = r->document;
    struct pawl_names in_map = { 0 }, in_files = { 0 };
    int file = 0;

    int rc = pawl_names_build(&in_map, r->map_count, r->map_count ? r->map[0].name : "",
                              sizeof(*r->map));
    if (!rc && document->weight_count)
        rc = pawl_names_build(&in_files, document->weight_count, document->weights[0].tensor.name,
                              sizeof(*document->weights));
    if (!rc && in_files.twice)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: two of its files hold a tensor '%s'", r->what,
                       in_files.twice);
    for (int i = 0; i < document->weight_count && !rc; i++) {
        const char *name = document->weights[i].tensor.name;
        const int k = pawl_names_find(&in_map, name);
        while (file + 1 < r->file_count && i >= first[file + 1])
            file++;
        if (k < 0)
            pawl_document_warn(document, "%s holds tensor '%s', which the index does not name",
                               r->files[file], name);
        else if (r->map[k].file != file)
            rc = pawl_fail(PAWL_ECORRUPT, "%s: tensor '%s' is in %s, not in %s", r->what, name,
                           r->files[file], r->files[r->map[k].file]);
    }
    for (int k = 0; k < r->map_count && !rc; k++)
        if (!in_files.sorted || pawl_names_find(&in_files, r->map[k].name) < 0)
            rc = pawl_fail(PAWL_ECORRUPT, "%s: tensor '%s' is not in %s", r->what, r->map[k].name,
                           r->files[r->map[k].file]);
    pawl_names_free(&in_map);
    pawl_names_free(&in_files);
    return rc;
}

static int read_files(struct reader *r)
{
    char path[4200];
    int *first = NULL;  // each file's first weight

    int rc = pawl_alloc(&first, sizeof(*first) * FILES_MAX, "an index");
    for (int i = 0; i < r->file_count && !rc; i++) {
        first[i] = r->document->weight_count;
        snprintf(path, sizeof(path), "%s/%s", r->directory, r->files[i]);
        rc = pawl_safetensors_read(r->document, path);
        if (rc == PAWL_ENONE)
            rc = pawl_fail(PAWL_ECORRUPT, "%s: the file %s, which it names, is not there", r->what,
                           r->files[i]);
    }
    if (!rc) rc = check_map(r, first);
    pawl_free(first);
    return rc;
}

static int read_index(struct reader *r)
{
    char *bytes = NULL;
    size_t size = 0;

    const int error = pawl_io_read_file(r->what, &bytes, &size, INDEX_BYTES_MAX);
    if (error == -EFBIG)
        return pawl_fail(PAWL_ECORRUPT, "%s: an index has at most %d bytes", r->what,
                         INDEX_BYTES_MAX);
    if (error) return pawl_io_fail(error, "read", r->what);
    pawl_json_open(&r->json, bytes, size, r->what, 0);
    int rc = take_index(r);
    pawl_json_close(&r->json);
    if (!rc) rc = read_files(r);
    pawl_free(bytes);
    return rc;
}

int pawl_safetensors_read_index(struct pawl_document *document, const char *directory,
                                const char *name)
{
    struct reader *r = NULL;

    int rc = pawl_alloc(&r, sizeof(*r), "an index");
    if (rc) return rc;
    r->document = document;
    r->directory = directory;
    snprintf(r->what, sizeof(r->what), "%s/%s", directory, name);
    rc = pawl_alloc(&r->files, sizeof(*r->files) * FILES_MAX, "an index");
    if (!rc) rc = read_index(r);
    pawl_free(r->files);
    pawl_free(r->map);
    pawl_free(r);
    return rc;
}
