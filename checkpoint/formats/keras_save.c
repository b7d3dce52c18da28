// keras_save.c - documents as Keras' files: .keras, .h5, .weights.h5, legacy weights.
//
// The architecture becomes a configuration (keras_write.c), which is read back: that gives Keras'
// variables and how each is made of pawl's parameters. Then the file is laid out, and payloads
// follow one tensor at a time.

#include "checkpoint/formats/keras_save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkpoint/cast.h"
#include "checkpoint/formats/keras_save_inside.h"
#include "kernels/io.h"
#include "kernels/memory.h"

// ---- variables

static enum pawl_dtype dtype_of(const struct pawl_keras_file *s, int v)
{
    const struct pawl_binding *value = &s->keras.values.items[v];
    const enum pawl_dtype dtype = pawl_document_param_dtype(&s->document, value->parts[0].source);

    // Keras reads opaque bfloat16 from version 3 alone: in legacy files it is float32, which
    // holds the same values.
    if (s->legacy && (s->options->cast ? s->options->dtype : dtype) == PAWL_BF16
        && pawl_dtype_casts(dtype))
        return PAWL_F32;
    return s->options->cast && pawl_dtype_casts(dtype) ? s->options->dtype : dtype;
}

int pawl_keras_add_payload(struct pawl_keras_file *s, int parent, const char *name,
                           struct pawl_tensor *tensor, const struct pawl_keras_payload *payload)
{
    int rc = pawl_hdf5_out_dataset(&s->out, parent, name, tensor);

    if (!rc)
        rc = pawl_realloc(&s->payloads, sizeof(*payload) * ((size_t)s->payload_count + 1),
                          "payloads");
    if (!rc) s->payloads[s->payload_count++] = *payload;
    return rc;
}

int pawl_keras_add_variable(struct pawl_keras_file *s, int parent, const char *name, int v,
                            const struct pawl_keras_payload *payload)
{
    const struct pawl_keras_variable *variable = &s->keras.variables[v];
    struct pawl_tensor tensor = { .dtype = payload->slot ? PAWL_F32 : dtype_of(s, v) };
    const int rc = pawl_tensor_shape(&tensor, variable->rank, variable->dim);

    return rc ? rc : pawl_keras_add_payload(s, parent, name, &tensor, payload);
}

// Splits "a/b/c" in the group "a/b" below parent's path and the name "c".
const char *pawl_keras_leaf(const char *path, char *group, size_t size)
{
    const char *slash = strrchr(path, '/');

    snprintf(group, size, "%.*s", slash ? (int)(slash - path) : 0, path);
    return slash ? slash + 1 : path;
}

// ---- layouts

static int plan_stores(struct pawl_keras_file *s)
{
    char path[2 * PAWL_NAME_MAX], group[2 * PAWL_NAME_MAX];
    int parent, rc = pawl_hdf5_out_group(&s->out, 0, "vars", NULL);

    // Layers without variables have their group too: Keras 2 asks for it.
    for (int l = 0; !rc && l < s->keras.layer_count; l++) {
        if (!strcmp(s->keras.layers[l].class_name, "InputLayer")) continue;
        snprintf(path, sizeof(path), "%s/vars", s->keras.layers[l].store);
        rc = pawl_hdf5_out_path(&s->out, path, &parent);
    }
    for (int v = 0; !rc && v < s->keras.variable_count; v++) {
        const struct pawl_keras_variable *variable = &s->keras.variables[v];
        // Keras 2 keeps attention's dense layers under their private names.
        snprintf(path, sizeof(path), "%s/%s%s", s->keras.layers[variable->layer].store,
                 s->keras2 && strstr(variable->store, "_dense/") ? "_" : "", variable->store);
        const char *leaf = pawl_keras_leaf(path, group, sizeof(group));
        rc = pawl_hdf5_out_path(&s->out, group, &parent);
        if (!rc)
            rc = pawl_keras_add_variable(s, parent, leaf, v,
                                         &(struct pawl_keras_payload){ .variable = v });
    }
    return rc ? rc : pawl_keras_add_optimizer(s, NULL);
}

// The weights of one layer: trainable ones, then the others, and the list of their names.
static int plan_layer(struct pawl_keras_file *s, const char *at, int l)
{
    const struct pawl_keras_layer *layer = &s->keras.layers[l];
    char path[2 * PAWL_NAME_MAX], group[2 * PAWL_NAME_MAX], name[PAWL_NAME_MAX];
    json_t *names = json_array();
    int home, parent;

    snprintf(path, sizeof(path), "%s%s%s", at, *at ? "/" : "", layer->name);
    int rc = pawl_hdf5_out_path(&s->out, path, &home);
    for (int i = 0; !rc && i < 2 * layer->variable_count; i++) {
        const int v = layer->variable + i % layer->variable_count;
        const struct pawl_keras_variable *variable = &s->keras.variables[v];
        if (variable->trainable != (i < layer->variable_count)) continue;
        snprintf(name, sizeof(name), "%.150s/%s%s", layer->name, variable->name,
                 s->keras2 ? ":0" : "");
        json_array_append_new(names, json_string(name));
        snprintf(path, sizeof(path), "%s%s%s/%s", at, *at ? "/" : "", layer->name, name);
        const char *leaf = pawl_keras_leaf(path, group, sizeof(group));
        rc = pawl_hdf5_out_path(&s->out, group, &parent);
        if (!rc)
            rc = pawl_keras_add_variable(s, parent, leaf, v,
                                         &(struct pawl_keras_payload){ .variable = v });
    }
    if (!rc) return pawl_hdf5_out_attribute(&s->out, home, "weight_names", names);
    json_decref(names);
    return rc;
}

static const char *version_of(const struct pawl_keras_file *s)
{
    return s->keras2 ? "2.15.0" : "3.10.0";
}

static int plan_layers(struct pawl_keras_file *s, const char *at)
{
    json_t *names = json_array();
    int home, rc = pawl_hdf5_out_group(&s->out, 0, "", NULL);

    s->legacy = true;
    if (!rc) rc = pawl_hdf5_out_path(&s->out, at, &home);
    for (int l = 0; !rc && l < s->keras.layer_count; l++) {
        // A sequential model does not count its input among its layers.
        if (s->keras.sequential && !strcmp(s->keras.layers[l].class_name, "InputLayer")) continue;
        json_array_append_new(names, json_string(s->keras.layers[l].name));
        rc = plan_layer(s, at, l);
    }
    if (rc) {
        json_decref(names);
        return rc;
    }
    rc = pawl_hdf5_out_attribute(&s->out, home, "layer_names", names);
    if (!rc)
        rc = pawl_hdf5_out_attribute(&s->out, home, "backend", json_string("tensorflow"));
    if (!rc)
        rc = pawl_hdf5_out_attribute(&s->out, home, "keras_version", json_string(version_of(s)));
    return rc;
}

static int set_json(struct pawl_keras_file *s, const char *name, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    json_t *string = json_string(text);

    free(text);
    if (!string) return pawl_fail(PAWL_ENOMEM, "no memory for a configuration");
    return pawl_hdf5_out_attribute(&s->out, PAWL_HDF5_ROOT, name, string);
}

static int plan_whole(struct pawl_keras_file *s)
{
    json_t *names = json_array();
    int group;

    int rc = plan_layers(s, "model_weights");
    if (!rc) rc = pawl_hdf5_out_path(&s->out, "model_weights/top_level_model_weights", &group);
    if (!rc) rc = pawl_hdf5_out_attribute(&s->out, group, "weight_names", json_array());
    if (!rc) rc = pawl_keras_add_optimizer(s, names);
    if (!rc && json_array_size(names)) {
        rc = pawl_hdf5_out_path(&s->out, "optimizer_weights", &group);
        if (!rc)
            rc = pawl_hdf5_out_attribute(&s->out, group, "weight_names", json_incref(names));
    }
    json_decref(names);
    if (!rc) rc = set_json(s, "model_config", s->config);
    if (!rc && s->compile) rc = set_json(s, "training_config", s->compile);
    if (!rc)
        rc = pawl_hdf5_out_attribute(&s->out, PAWL_HDF5_ROOT, "keras_version",
                                     json_string(version_of(s)));
    if (!rc)
        rc = pawl_hdf5_out_attribute(&s->out, PAWL_HDF5_ROOT, "backend",
                                     json_string("tensorflow"));
    return rc;
}

// ---- bytes

static int put(struct pawl_keras_file *s, const void *bytes, size_t size)
{
    if (!size) return 0;
    if (s->zip) return pawl_zip_put(s->zip, bytes, size);
    const int rc = pawl_io_write_all(s->fd, bytes, size, (off_t)s->at);
    s->at += size;
    return rc ? pawl_io_fail(rc, "write", s->path) : 0;
}

static int put_payload(struct pawl_keras_file *s, const struct pawl_keras_payload *payload,
                       const struct pawl_tensor *tensor)
{
    void *bytes = NULL;
    int rc;

    if (payload->variable < 0) {
        const bool whole = tensor->dtype == PAWL_I64;
        return put(s, whole ? (const void *)&payload->whole : &payload->rate, tensor->size_bytes);
    }
    rc = pawl_alloc(&bytes, tensor->size_bytes + 1, "a tensor");
    if (!rc)
        rc = pawl_document_fetch_target(&s->document, &s->keras.values.items[payload->variable],
                                        payload->slot, tensor->dtype, bytes);
    if (!rc && payload->slot && payload->scale != 1)
        for (size_t i = 0; i < tensor->size_bytes / sizeof(float); i++)
            ((float *)bytes)[i] = (float)(((float *)bytes)[i] * payload->scale);
    if (!rc) rc = put(s, bytes, tensor->size_bytes);
    pawl_free(bytes);
    return rc;
}

static int put_file(struct pawl_keras_file *s)
{
    static const char zeros[PAWL_HDF5_ALIGN];
    uint64_t at = s->out.meta.size;
    int rc = put(s, s->out.meta.bytes, s->out.meta.size);

    for (int i = 0; !rc && i < s->payload_count; i++) {
        const struct pawl_hdf5_out_object *object = &s->out.objects[s->out.data[i]];
        if (object->tensor.size_bytes) rc = put(s, zeros, (size_t)(object->at - at));
        if (!rc) rc = put_payload(s, &s->payloads[i], &object->tensor);
        if (object->tensor.size_bytes) at = object->at + object->tensor.size_bytes;
    }
    return rc;
}

// ---- the four formats

// Parameters as the architecture has them, variables as Keras does, and the way between.
static int open_save(struct pawl_keras_file *s, const struct pawl_document *document)
{
    const bool from_keras = !strncmp(document->format, "keras", 5)
                            || !strcmp(document->format, "savedmodel");

    s->document = *document;
    s->fd = -1;
    s->keras2 = from_keras && document->format_version[0] == '2';
    if (!document->architecture)
        return pawl_fail(PAWL_ECORRUPT, "%s: it holds no architecture, which says what Keras calls "
                         "each weight. try: --arch MODEL", document->path);
    int rc = pawl_keras_write(&s->config, document->architecture, s->keras2);
    if (!rc) rc = pawl_keras_read(&s->keras, s->config, document->path);
    if (!rc && !s->keras.architecture)
        rc = pawl_fail(PAWL_ENOTSUP, "%s: %s", document->path, s->keras.stop);
    if (rc || !document->weight_count) return rc;
    rc = pawl_document_bind((struct pawl_document *)(uintptr_t)document);
    s->document.bindings = document->bindings;
    if (!rc && s->keras.params.count != document->bindings->count)
        rc = pawl_fail(PAWL_ENOTSUP, "%s: as a Keras model it would have %d parameters, not %d",
                       document->path, s->keras.params.count, document->bindings->count);
    if (!rc) pawl_keras_plan_momentum(s);
    return rc;
}

static void close_save(struct pawl_keras_file *s)
{
    json_decref(s->config);
    json_decref(s->compile);
    pawl_keras_free(&s->keras);
    pawl_hdf5_out_free(&s->out);
    pawl_free(s->payloads);
}

static int open_file(struct pawl_keras_file *s)
{
    s->fd = pawl_io()->open(s->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    return s->fd < 0 ? pawl_io_fail(s->fd, "create", s->path) : 0;
}

static int close_file(struct pawl_keras_file *s, int rc)
{
    if (s->fd < 0) return rc;
    const int synced = rc ? 0 : pawl_io()->sync(s->fd);
    const int closed = pawl_io()->close(s->fd);
    if (rc || (!synced && !closed)) return rc;
    return pawl_io_fail(synced ? synced : closed, "fsync", s->path);
}

static int save_hdf5(const struct pawl_document *document, const char *path,
                     const struct pawl_write_options *options,
                     int (*plan)(struct pawl_keras_file *s))
{
    struct pawl_keras_file s = { .path = path, .options = options };

    int rc = open_save(&s, document);
    if (!rc)
        rc = pawl_keras_compile_write(&s.compile, document->training,
                                      document->architecture->loss,
                                      s.keras2 ? PAWL_KERAS2_LEGACY : PAWL_KERAS_LEGACY);
    if (!rc) rc = plan(&s);
    if (!rc) rc = pawl_hdf5_out_plan(&s.out);
    if (!rc) rc = open_file(&s);
    if (!rc) rc = put_file(&s);
    rc = close_file(&s, rc);
    close_save(&s);
    return rc;
}

static int plan_h5_weights(struct pawl_keras_file *s) { return plan_layers(s, ""); }

int pawl_keras_save_h5(const struct pawl_document *document, const char *path,
                       const struct pawl_write_options *options)
{
    return save_hdf5(document, path, options, plan_whole);
}

int pawl_keras_save_weights(const struct pawl_document *document, const char *path,
                            const struct pawl_write_options *options)
{
    return save_hdf5(document, path, options, plan_stores);
}

int pawl_keras_save_h5_weights(const struct pawl_document *document, const char *path,
                               const struct pawl_write_options *options)
{
    return save_hdf5(document, path, options, plan_h5_weights);
}

static int add_json(struct pawl_keras_file *s, const char *name, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    const int rc = text ? pawl_zip_add(s->zip, name, text, strlen(text))
                        : pawl_fail(PAWL_ENOMEM, "no memory for %s", name);

    free(text);
    return rc;
}

static int put_archive(struct pawl_keras_file *s)
{
    const time_t now = (time_t)(pawl_io()->wall_ns() / 1000000000);
    char date[32] = "";
    struct tm parts;
    json_t *about;

    if (gmtime_r(&now, &parts)) strftime(date, sizeof(date), "%Y-%m-%d@%H:%M:%S", &parts);
    about = json_pack("{s:s, s:s}", "keras_version", version_of(s), "date_saved", date);
    int rc = add_json(s, "metadata.json", about);
    json_decref(about);
    if (s->compile) json_object_set(s->config, "compile_config", s->compile);
    if (!rc) rc = add_json(s, "config.json", s->config);
    if (!rc) rc = pawl_zip_begin(s->zip, "model.weights.h5", s->out.size);
    if (!rc) rc = put_file(s);
    return rc ? rc : pawl_zip_end(s->zip);
}

int pawl_keras_save(const struct pawl_document *document, const char *path,
                    const struct pawl_write_options *options)
{
    struct pawl_keras_file s = { .path = path, .options = options };
    struct pawl_zip_writer zip;
    uint64_t bytes;

    int rc = open_save(&s, document);
    if (!rc)
        rc = pawl_keras_compile_write(&s.compile, document->training,
                                      document->architecture->loss, PAWL_KERAS_ARCHIVE);
    if (!rc) rc = plan_stores(&s);
    if (!rc) rc = pawl_hdf5_out_plan(&s.out);
    if (!rc) rc = open_file(&s);
    if (!rc) {
        pawl_zip_create(&zip, s.fd, path, 0);
        s.zip = &zip;
        rc = put_archive(&s);
        if (rc)
            pawl_zip_abandon(&zip);
        else
            rc = pawl_zip_finish(&zip, &bytes);
    }
    rc = close_file(&s, rc);
    close_save(&s);
    return rc;
}
