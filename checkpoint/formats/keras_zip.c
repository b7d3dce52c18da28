// keras_zip.c - .keras: a zip archive of config.json, metadata.json and model.weights.h5.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/zip.h"
#include "checkpoint/formats/formats.h"
#include "checkpoint/formats/keras_read.h"
#include "checkpoint/formats/keras_save.h"
#include "kernels/memory.h"

enum { CONFIG_BYTES_MAX = 64 << 20 };

static bool detect(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    static const char *const first[] = { "metadata.json", "config.json", "model.weights.h5" };
    const size_t length = strlen(path);

    if (directory || head_bytes < 30 || memcmp(head, "PK\3\4", 4)) return false;
    const size_t name = (size_t)(head[26] | head[27] << 8);
    for (size_t i = 0; i < sizeof(first) / sizeof(*first); i++)
        if (name == strlen(first[i]) && name + 30 <= head_bytes
            && !memcmp(head + 30, first[i], name))
            return true;
    return length > 6 && !strcmp(path + length - 6, ".keras");
}

static int load(struct pawl_document *document, const struct pawl_zip *zip, const char *name,
                json_t **out)
{
    const struct pawl_zip_member *member = pawl_zip_find(zip, name);
    char what[4200], *bytes = NULL;
    size_t size = 0;

    if (!member)
        return pawl_fail(PAWL_ECORRUPT, "%s: it has no %s", document->path, name);
    int rc = pawl_zip_load(zip, member, CONFIG_BYTES_MAX, &bytes, &size);
    snprintf(what, sizeof(what), "%s: %s", document->path, name);
    if (!rc) rc = pawl_keras_parse(out, bytes, size, what);
    pawl_free(bytes);
    return rc;
}

// The weights lie in the archive as they are, or are inflated when someone asks for them. Reading
// their tree reads some of them only, so their CRC is checked first.
static int read_weights(struct pawl_document *document, const struct pawl_zip *zip)
{
    const struct pawl_zip_member *member = pawl_zip_find(zip, "model.weights.h5");
    struct pawl_hdf5_span span = { 0 };
    struct pawl_hdf5 *h5 = NULL;
    int file = 0;

    if (!member)
        return pawl_fail(PAWL_ECORRUPT, "%s: it has no model.weights.h5: no weights",
                         document->path);
    int rc = pawl_zip_file(zip, member, false, &file);
    span.size_bytes = member->size;
    if (!rc) rc = pawl_hdf5_open(&h5, document, file, &span);
    if (!rc) rc = pawl_keras_read_stores(document, h5);
    pawl_hdf5_close(h5);
    return rc;
}

static int read_archive(struct pawl_document *document, const struct pawl_zip *zip)
{
    json_t *config = NULL, *about = NULL;

    int rc = load(document, zip, "config.json", &config);
    if (!rc && pawl_zip_find(zip, "metadata.json"))
        rc = load(document, zip, "metadata.json", &about);
    const char *version = json_string_value(json_object_get(about, "keras_version"));
    if (!rc && version)
        snprintf(document->format_version, sizeof(document->format_version), "%.31s", version);
    if (!rc) rc = read_weights(document, zip);
    if (!rc)
        rc = pawl_keras_take_config(document, config, json_object_get(config, "compile_config"));
    json_decref(config);
    json_decref(about);
    return rc;
}

static int read_keras(struct pawl_document *document, const char *path)
{
    struct pawl_zip *zip = NULL;
    uint64_t range[2] = { 0 };
    int file;

    int rc = pawl_document_add_file(document, path, &file, &range[1]);
    if (!rc) rc = pawl_zip_open(&zip, document, file, range, path);
    if (!rc) rc = read_archive(document, zip);
    pawl_zip_free(zip);
    return rc;
}

const struct pawl_format pawl_format_keras = {
    .name = "keras",
    .suffixes = ".keras",
    .parts = PAWL_PART_ARCHITECTURE | PAWL_PART_WEIGHTS | PAWL_PART_TRAINING,
    .detect = detect,
    .read = read_keras,
    .write = pawl_keras_save,
};
