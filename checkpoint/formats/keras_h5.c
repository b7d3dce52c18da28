// keras_h5.c - Keras' HDF5 files: the whole model, weights of version 3, legacy weights.
//
//     /                   attributes model_config, training_config, keras_version
//     /model_weights/     attribute layer_names; LAYER/ attribute weight_names; datasets
//     /optimizer_weights/ attribute weight_names; datasets
//
// Without model_config and with layer_names at the root they are legacy weights; with neither,
// weights of version 3: /layers/CLASS_N/vars/I and /optimizer/vars/I.

#include <stdio.h>
#include <string.h>

#include "checkpoint/containers/hdf5.h"
#include "checkpoint/formats/formats.h"
#include "checkpoint/formats/keras_read.h"
#include "checkpoint/formats/keras_save.h"
#include "kernels/memory.h"

static bool detect_hdf5(const char *path, const unsigned char *head, size_t head_bytes,
                        bool directory)
{
    (void)path;
    return !directory && pawl_hdf5_begins(head, head_bytes);
}

// The formats of HDF5 share one reader, which says in the document which one it was.
static bool detect_none(const char *path, const unsigned char *head, size_t head_bytes,
                        bool directory)
{
    (void)path;
    (void)head;
    (void)head_bytes;
    (void)directory;
    return false;
}

static int parse_attribute(struct pawl_document *document, struct pawl_hdf5 *h5, const char *name,
                           json_t **out)
{
    json_t *text = NULL;
    char what[4200];

    *out = NULL;
    int rc = pawl_hdf5_attribute(h5, 0, name, &text);
    if (!rc && json_is_string(text)) {
        snprintf(what, sizeof(what), "%s: %s", document->path, name);
        rc = pawl_keras_parse(out, json_string_value(text), json_string_length(text), what);
    }
    json_decref(text);
    return rc;
}

static int read_version(struct pawl_document *document, struct pawl_hdf5 *h5, const char *group)
{
    const int at = pawl_hdf5_find(h5, group);
    json_t *version = NULL;

    const int rc = at < 0 ? 0 : pawl_hdf5_attribute(h5, at, "keras_version", &version);
    if (json_is_string(version))
        snprintf(document->format_version, sizeof(document->format_version), "%.31s",
                 json_string_value(version));
    json_decref(version);
    if (!rc && document->format_version[0] == '1' && document->format_version[1] == '.')
        return pawl_fail(PAWL_ECORRUPT, "%s: Keras %s orders kernels another way. try: load and "
                         "save it with Keras 2", document->path, document->format_version);
    return rc;
}

static int read_whole(struct pawl_document *document, struct pawl_hdf5 *h5, const json_t *config)
{
    json_t *compile = NULL;

    int rc = read_version(document, h5, "");
    if (!rc && pawl_hdf5_find(h5, "model_weights") >= 0)
        rc = pawl_keras_read_layers(document, h5, "model_weights");
    if (!rc) rc = pawl_keras_read_optimizer(document, h5);
    if (!rc) rc = parse_attribute(document, h5, "training_config", &compile);
    if (!rc) rc = pawl_keras_take_config(document, config, compile);
    json_decref(compile);
    return rc;
}

static int read_parts(struct pawl_document *document, struct pawl_hdf5 *h5)
{
    json_t *config = NULL, *layers = NULL;

    int rc = parse_attribute(document, h5, "model_config", &config);
    if (rc || config) {
        if (!rc) rc = read_whole(document, h5, config);
        json_decref(config);
        return rc;
    }
    rc = pawl_hdf5_attribute_list(h5, 0, "layer_names", &layers);
    const bool legacy = json_is_array(layers);
    json_decref(layers);
    if (rc) return rc;
    snprintf(document->format, sizeof(document->format), "%s",
             legacy ? "h5-weights" : "keras-weights");
    rc = legacy ? pawl_keras_read_layers(document, h5, "") : pawl_keras_read_stores(document, h5);
    return rc || !legacy ? rc : read_version(document, h5, "");
}

static int read_hdf5(struct pawl_document *document, const char *path)
{
    struct pawl_hdf5_span span = { 0 };
    struct pawl_hdf5 *h5 = NULL;
    int file;

    int rc = pawl_document_add_file(document, path, &file, &span.size_bytes);
    if (!rc) rc = pawl_hdf5_open(&h5, document, file, &span);
    if (!rc) rc = read_parts(document, h5);
    // What binding needed of the list; it is no metadata of the user's.
    pawl_hdf5_close(h5);
    if (!rc && !document->weight_count && !document->architecture && !document->stop[0])
        rc = pawl_fail(PAWL_ECORRUPT, "%s: an HDF5 file, but nothing in it is a Keras model's",
                       path);
    return rc;
}

const struct pawl_format pawl_format_keras_h5 = {
    .name = "keras-h5",
    .suffixes = ".h5 .hdf5",
    .parts = PAWL_PART_ARCHITECTURE | PAWL_PART_WEIGHTS | PAWL_PART_TRAINING,
    .detect = detect_hdf5,
    .read = read_hdf5,
    .write = pawl_keras_save_h5,
};

const struct pawl_format pawl_format_keras_weights = {
    .name = "keras-weights",
    .suffixes = ".weights.h5",
    .parts = PAWL_PART_WEIGHTS | PAWL_PART_TRAINING,
    .detect = detect_none,
    .read = read_hdf5,
    .write = pawl_keras_save_weights,
};

const struct pawl_format pawl_format_h5_weights = {
    .name = "h5-weights",
    .suffixes = "",
    .parts = PAWL_PART_WEIGHTS,
    .detect = detect_none,
    .read = read_hdf5,
    .write = pawl_keras_save_h5_weights,
};
