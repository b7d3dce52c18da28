// architecture.c - the format `architecture`: JSON of pawl's own schema, of Keras or of Hugging
// Face, and nothing else.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/formats.h"
#include "checkpoint/formats/hf.h"
#include "checkpoint/formats/keras_read.h"
#include "kernels/io.h"
#include "kernels/memory.h"

enum { BYTES_MAX = 16 << 20 };

static bool detect(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    const char *text = (const char *)head;

    (void)path;
    // Text that begins as an object: a safetensors file has been recognised before.
    return !directory && head_bytes && text[strspn(text, " \t\r\n")] == '{'
           && strlen(text) == head_bytes;
}

// Keras' to_json(): a model that has a class.
static int read_keras(struct pawl_document *document, const char *bytes, size_t size)
{
    json_t *config = NULL;

    int rc = pawl_keras_parse(&config, bytes, size, document->path);
    if (!rc) rc = pawl_keras_take_config(document, config, NULL);
    json_decref(config);
    return rc;
}

// config.json of Hugging Face; *is: it is one.
static int read_hf(struct pawl_document *document, const char *bytes, size_t size, bool *is)
{
    json_t *config = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, NULL);

    *is = pawl_hf_is_config(config);
    int rc = *is ? pawl_hf_take_config(document, config, document->path) : 0;
    if (*is && !rc && !document->architecture)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: of Hugging Face's models, gpt2 and llama are known",
                       document->path);
    json_decref(config);
    return rc;
}

static bool is_keras(const char *bytes, size_t size)
{
    json_t *config = json_loadb(bytes, size, 0, NULL);
    const bool keras = json_is_string(json_object_get(config, "class_name"));

    json_decref(config);
    return keras;
}

static int read_json(struct pawl_document *document, const char *path)
{
    struct pawl_architecture made = { 0 };
    char *bytes = NULL;
    size_t size = 0;

    const int error = pawl_io_read_file(path, &bytes, &size, BYTES_MAX);
    if (error == -EFBIG)
        return pawl_fail(PAWL_ECORRUPT, "%s: an architecture has at most %d bytes", path,
                         BYTES_MAX);
    if (error) return pawl_io_fail(error, "read", path);
    if (is_keras(bytes, size)) {
        const int read = read_keras(document, bytes, size);
        pawl_free(bytes);
        return read;
    }
    bool hf = false;
    int rc = read_hf(document, bytes, size, &hf);
    if (hf) {
        pawl_free(bytes);
        return rc;
    }
    rc = strlen(bytes) == size
                 ? pawl_architecture_from_json(&made, bytes)
                 : pawl_fail(PAWL_ECORRUPT, "byte %zu is a NUL, not JSON", strlen(bytes));
    if (rc == PAWL_ECORRUPT) rc = pawl_fail(PAWL_ECORRUPT, "%s: %s", path, pawl_error());
    if (!rc) rc = pawl_alloc(&document->architecture, sizeof(made), "an architecture");
    if (rc)
        pawl_architecture_free(&made);
    else
        *document->architecture = made;
    snprintf(document->format_version, sizeof(document->format_version), "1");
    pawl_free(bytes);
    return rc;
}

static int write_json(const struct pawl_document *document, const char *path,
                      const struct pawl_write_options *options)
{
    char *json = NULL;

    (void)options;
    if (!document->architecture)
        return pawl_fail(PAWL_ECORRUPT, "%s holds no architecture to write", document->path);
    const int rc = pawl_architecture_to_json(&json, document->architecture);
    if (rc) return rc;
    const int error = pawl_io_write_file(path, json, strlen(json), false);
    pawl_free(json);
    return error ? pawl_io_fail(error, "write", path) : 0;
}

const struct pawl_format pawl_format_architecture = {
    .name = "architecture",
    .suffixes = ".json",
    .parts = PAWL_PART_ARCHITECTURE,
    .detect = detect,
    .read = read_json,
    .write = write_json,
};
