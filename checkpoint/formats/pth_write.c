// pth_write.c - the formats `pth` and `pth-checkpoint`, from a document.

#include "checkpoint/formats/pth_write.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/formats/pth_put.h"
#include "checkpoint/formats/pth_targets.h"
#include "checkpoint/formats/pth_training.h"
#include "checkpoint/names.h"
#include "kernels/io.h"

int pawl_pth_save(struct pawl_pth_writer *w, const char *path)
{
    const int fd = pawl_io()->open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);

    if (fd < 0) {
        pawl_pth_abandon(w);
        return pawl_io_fail(fd, "create", path);
    }
    int rc = pawl_pth_finish(w, fd, path, 0, NULL);
    const int synced = rc ? 0 : pawl_io()->sync(fd);
    const int closed = pawl_io()->close(fd);
    if (rc) return rc;
    return synced || closed ? pawl_io_fail(synced ? synced : closed, "fsync", path) : 0;
}

void pawl_pth_put_state(struct pawl_pth_writer *w)
{
    const struct pawl_document *document = w->document;
    const json_t *versions = json_object_get(document->metadata, "torch._metadata");

    pawl_pk_ordered_dict(&w->text);
    pawl_pk_op(&w->text, "(");
    for (int i = 0; w->targets && i < w->targets->count; i++) {
        pawl_pk_string(&w->text, w->targets->items[i].tensor.name);
        pawl_pth_put_target(w, &w->targets->items[i], NULL, PAWL_PTH_PLAIN);
    }
    for (int i = 0; !w->targets && i < document->weight_count; i++) {
        pawl_pk_string(&w->text, document->weights[i].tensor.name);
        pawl_pth_put_tensor(w, &document->weights[i], PAWL_PTH_PLAIN);
    }
    pawl_pk_op(&w->text, "u");
    if (!versions) return;
    pawl_pk_op(&w->text, "}");
    pawl_pk_string(&w->text, "_metadata");
    pawl_pth_put_json(w, versions);
    pawl_pk_op(&w->text, "sb");
}

static int check_names(const struct pawl_document *document)
{
    struct pawl_names names = { 0 };

    if (!document->weight_count) return 0;
    int rc = pawl_names_build(&names, document->weight_count, document->weights[0].tensor.name,
                              sizeof(*document->weights));
    if (!rc && names.twice)
        rc = pawl_fail(PAWL_ENOTSUP, "two tensors are called '%s', which a state_dict cannot hold",
                       names.twice);
    pawl_names_free(&names);
    return rc;
}

static void put_checkpoint(struct pawl_pth_writer *w);

static int write_any(const struct pawl_document *document, const char *path,
                     const struct pawl_write_options *options,
                     void (*put)(struct pawl_pth_writer *w))
{
    struct pawl_bindings targets = { 0 };
    struct pawl_pth_writer w;
    const bool foreign = pawl_pth_is_foreign(document);

    int rc = foreign ? pawl_pth_targets(&targets, document) : check_names(document);
    if (rc) return rc;
    pawl_pth_create(&w, document, options);
    if (foreign) w.targets = &targets;
    put(&w);
    rc = pawl_pth_save(&w, path);
    pawl_bindings_free(&targets);
    return rc;
}

int pawl_pth_write_state(const struct pawl_document *document, const char *path,
                         const struct pawl_write_options *options)
{
    return write_any(document, path, options, pawl_pth_put_state);
}

// ---- checkpoints

static const char *key_of(const json_t *torch, const char *part, const char *customary)
{
    const char *key = json_string_value(json_object_get(json_object_get(torch, "keys"), part));

    return key ? key : customary;
}

static void put_entry(struct pawl_pth_writer *w, const char *key, const json_t *torch)
{
    const struct pawl_training *training = w->document->training;
    struct pawl_text *t = &w->text;

    if (!strcmp(key, key_of(torch, "model", "model_state_dict"))) {
        pawl_pk_string(t, key);
        pawl_pth_put_state(w);
    } else if (!strcmp(key, key_of(torch, "optimizer", "optimizer_state_dict"))) {
        pawl_pk_string(t, key);
        pawl_pth_put_optimizer(w);
    } else if (!strcmp(key, key_of(torch, "epoch", "epoch"))) {
        pawl_pk_string(t, key);
        pawl_pk_integer(t, training && training->epoch >= 0 ? training->epoch : 0);
    } else if (!strcmp(key, key_of(torch, "loss", "loss"))) {
        pawl_pk_string(t, key);
        pawl_pk_real(t, training ? training->loss : NAN);
    } else {
        const json_t *value = json_object_get(json_object_get(torch, "other"), key);
        if (!value) return;
        pawl_pk_string(t, key);
        pawl_pth_put_json(w, value);
    }
}

// The source's order when it was one of these files, else the tutorial's.
static void put_checkpoint(struct pawl_pth_writer *w)
{
    const struct pawl_training *training = w->document->training;
    const json_t *torch = training ? json_object_get(training->rest, "torch") : NULL;
    const json_t *order = json_object_get(torch, "order");
    const char *const customary[] = {
        key_of(torch, "epoch", "epoch"), key_of(torch, "model", "model_state_dict"),
        key_of(torch, "optimizer", "optimizer_state_dict"), key_of(torch, "loss", "loss"),
    };

    pawl_pk_op(&w->text, "}(");
    for (size_t i = 0; i < json_array_size(order); i++)
        put_entry(w, json_string_value(json_array_get(order, i)), torch);
    for (int i = 0; i < 4 && !json_array_size(order); i++)
        put_entry(w, customary[i], torch);
    pawl_pk_op(&w->text, "u");
}

int pawl_pth_write_checkpoint(const struct pawl_document *document, const char *path,
                              const struct pawl_write_options *options)
{
    return write_any(document, path, options, put_checkpoint);
}
