// pth.c - the formats `pth`, `pth-checkpoint` and `pth-model`: their rows, and which one a file is.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/cast.h"
#include "checkpoint/formats/formats.h"
#include "checkpoint/formats/pth_state.h"
#include "checkpoint/formats/pth_write.h"
#include "checkpoint/names.h"
#include "kernels/memory.h"

static bool detect(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    static const unsigned char stream[] = { 0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20 };

    (void)path;
    if (directory || head_bytes < 30) return false;
    if (!memcmp(head, stream, sizeof(stream))) return true;
    if (memcmp(head, "PK\3\4", 4)) return false;
    // torch keeps everything in a folder: the first member's name has a '/'.
    const size_t length = (size_t)(head[26] | head[27] << 8);
    return length && length <= head_bytes - 30 && memchr(head + 30, '/', length);
}

static bool never(const char *path, const unsigned char *head, size_t head_bytes, bool directory)
{
    (void)path, (void)head, (void)head_bytes, (void)directory;
    return false;
}

// ---- checkpoints: the customary names of their parts

static const char *const models[] = { "model_state_dict", "state_dict", "model", "model_state",
                                      "net_state_dict", NULL };
static const char *const optimizers[] = { "optimizer_state_dict", "optimizer", "optim",
                                          "optimizer_state", "optimizer_states", NULL };
static const char *const epochs[] = { "epoch", "current_epoch", "iter_num", "epochs", NULL };
static const char *const steps[] = { "global_step", "step", "iteration", "iter", "steps", NULL };
static const char *const losses[] = { "loss", "best_val_loss", "val_loss", "best_loss",
                                      "train_loss", NULL };

struct checkpoint {
    const char *model, *optimizer, *epoch, *step, *loss;  // their keys, or NULL
};

static const char *choose(const struct pawl_py *root, const char *const *names)
{
    for (; *names; names++)
        if (pawl_py_get(root, *names)) return *names;
    return NULL;
}

// The optimizer's dict; Lightning keeps a list of them.
static const struct pawl_py *optimizer_of(const struct pawl_py *root, const char *key)
{
    const struct pawl_py *value = key ? pawl_py_get(root, key) : NULL;

    if (pawl_py_is(value, PAWL_PY_LIST) && value->count == 1) value = value->item[0];
    return pawl_pth_is_optimizer(value) ? value : NULL;
}

static bool is_checkpoint(const struct pawl_py *root, struct checkpoint *out)
{
    const struct pawl_py *model;

    *out = (struct checkpoint){ choose(root, models), choose(root, optimizers),
                                choose(root, epochs), choose(root, steps), choose(root, losses) };
    if (!out->model) return false;
    model = pawl_py_get(root, out->model);
    if (out->optimizer && !optimizer_of(root, out->optimizer)) out->optimizer = NULL;
    return pawl_py_is(model, PAWL_PY_DICT) || pawl_pth_is_module(model);
}

// A number, or a tensor of one element.
static int take_number(struct pawl_pth *pth, const struct pawl_py *root, const char *key,
                       double *out)
{
    const struct pawl_py *value = key ? pawl_py_get(root, key) : NULL;
    struct pawl_entry *entry = NULL;
    char bytes[16];
    int count = 0, rc = 0;

    if (pawl_py_number(value, out) || !pawl_pth_is_tensor(value)) return 0;
    rc = pawl_pth_add(pth, &entry, &count, key, value);
    if (!rc && entry->tensor.size_bytes <= sizeof(bytes)
        && entry->tensor.size_bytes == pawl_dtype_bytes(entry->tensor.dtype)) {
        rc = pawl_document_fetch(pth->document, entry, bytes);
        if (!rc) *out = pawl_element(bytes, entry->tensor.dtype);
    }
    if (entry) pawl_free(entry->pieces);
    pawl_free(entry);
    return rc;
}

// What no part of the document stands for, kept as it came.
static int take_others(struct pawl_pth *pth, const struct pawl_py *root,
                       const struct checkpoint *keys, struct pawl_training *training)
{
    const char *const known[] = { keys->model, keys->optimizer, keys->epoch, keys->loss };
    json_t *order = json_array(), *others = json_object(), *names = json_object();
    int rc = 0;

    for (uint32_t i = 0; i < root->count && !rc; i += 2) {
        const char *key = pawl_py_text(root->item[i]);
        json_t *value = NULL;
        bool skip = !key;
        for (int k = 0; k < 4 && key; k++)
            skip |= known[k] && !strcmp(key, known[k]);
        if (key) json_array_append_new(order, json_string(key));
        if (skip) continue;
        rc = pawl_pth_json(pth, root->item[i + 1], key, &training->tensors,
                           &training->tensor_count, &value);
        if (!rc) json_object_set_new(others, key, value);
    }
    if (keys->model) json_object_set_new(names, "model", json_string(keys->model));
    if (keys->optimizer) json_object_set_new(names, "optimizer", json_string(keys->optimizer));
    if (keys->epoch) json_object_set_new(names, "epoch", json_string(keys->epoch));
    if (keys->loss) json_object_set_new(names, "loss", json_string(keys->loss));
    if (!training->rest) training->rest = json_object();
    json_t *torch = json_object_get(training->rest, "torch");
    if (!torch) {
        torch = json_object();
        json_object_set_new(training->rest, "torch", torch);
    }
    json_object_set_new(torch, "keys", names);
    json_object_set_new(torch, "order", order);
    json_object_set_new(torch, "other", others);
    return rc;
}

static int take_checkpoint(struct pawl_pth *pth, const struct pawl_py *root,
                           const struct checkpoint *keys)
{
    struct pawl_document *document = pth->document;
    const struct pawl_py *model = pawl_py_get(root, keys->model);
    const struct pawl_py *optimizer = optimizer_of(root, keys->optimizer);
    double epoch = -1, step = 0;

    int rc = pawl_alloc(&document->training, sizeof(*document->training), "a training state");
    if (rc) return rc;
    struct pawl_training *training = document->training;
    training->loss = NAN;
    rc = pawl_pth_is_module(model)
             ? pawl_pth_collect_module(pth, model, &document->weights, &document->weight_count)
             : pawl_pth_collect(pth, model, &document->weights, &document->weight_count);
    if (!rc && optimizer) rc = pawl_pth_take_optimizer(pth, optimizer, training);
    if (!rc) rc = take_number(pth, root, keys->epoch, &epoch);
    if (!rc) rc = take_number(pth, root, keys->loss, &training->loss);
    if (!rc && !training->step) rc = take_number(pth, root, keys->step, &step);
    if (!rc) rc = take_others(pth, root, keys, training);
    training->epoch = epoch >= 0 && epoch < 1e15 ? (int64_t)epoch : -1;
    if (step >= 1 && step < 9e15) training->step = (uint64_t)step;
    if (!rc && pawl_pth_is_module(model)) rc = pawl_pth_take_architecture(pth, model);
    return rc;
}

// ---- state dicts

// `_metadata` holds each module's version; 1 is what is understood without it.
static int take_versions(struct pawl_pth *pth, const struct pawl_py *dict)
{
    const struct pawl_py *versions = pawl_py_get(dict->state, "_metadata");
    json_t *value = NULL;
    bool any = false;

    for (uint32_t i = 0; pawl_py_is(versions, PAWL_PY_DICT) && i < versions->count; i += 2) {
        double version = 1;
        pawl_py_number(pawl_py_get(versions->item[i + 1], "version"), &version);
        any |= version != 1;
    }
    if (!any) return 0;
    const int rc = pawl_pth_json(pth, versions, "_metadata", NULL, NULL, &value);
    if (!rc) json_object_set_new(pth->document->metadata, "torch._metadata", value);
    return rc;
}

// The user's own values beside the tensors.
static int take_values(struct pawl_pth *pth, const struct pawl_py *dict)
{
    int rc = 0;

    for (uint32_t i = 0; i < dict->count && !rc; i += 2) {
        const char *key = pawl_py_text(dict->item[i]);
        const struct pawl_py *value = dict->item[i + 1];
        json_t *made = NULL;
        if (!key || pawl_pth_is_tensor(value)) continue;
        rc = pawl_pth_json(pth, value, key, NULL, NULL, &made);
        if (!rc && json_is_object(made) && !json_object_size(made))
            json_decref(made);  // nothing but tensors
        else if (!rc)
            json_object_set_new(pth->document->metadata, key, made);
    }
    return rc;
}

static void explain_prefix(struct pawl_document *document, const char *prefix, const char *why)
{
    const size_t length = strlen(prefix);

    for (int i = 0; i < document->weight_count; i++)
        if (strncmp(document->weights[i].tensor.name, prefix, length)) return;
    if (document->weight_count)
        pawl_document_warn(document, "every name begins with '%s': %s", prefix, why);
}

static int check_names(const struct pawl_pth *pth, const struct pawl_entry *table, int count)
{
    struct pawl_names names = { 0 };

    if (!count) return 0;
    int rc = pawl_names_build(&names, count, table[0].tensor.name, sizeof(*table));
    if (!rc && names.twice)
        rc = pawl_fail(PAWL_ECORRUPT, "%s: two tensors are called '%.200s'", pth->what,
                       names.twice);
    pawl_names_free(&names);
    return rc;
}

// ---- the file

static const char *take_root(struct pawl_pth *pth, int *rc)
{
    struct pawl_document *document = pth->document;
    const struct pawl_py *root = pth->pickle->root;
    struct checkpoint keys;

    if (pawl_pth_is_module(root)) {
        *rc = pawl_pth_collect_module(pth, root, &document->weights, &document->weight_count);
        if (!*rc) *rc = pawl_pth_take_architecture(pth, root);
        return "pth-model";
    }
    if (pawl_py_is(root, PAWL_PY_DICT) && is_checkpoint(root, &keys)) {
        *rc = take_checkpoint(pth, root, &keys);
        return "pth-checkpoint";
    }
    *rc = pawl_pth_collect(pth, root, &document->weights, &document->weight_count);
    if (!*rc && pawl_py_is(root, PAWL_PY_DICT)) *rc = take_versions(pth, root);
    if (!*rc && pawl_py_is(root, PAWL_PY_DICT)) *rc = take_values(pth, root);
    return "pth";
}

static int read_object(struct pawl_pth *pth)
{
    struct pawl_document *document = pth->document;
    int rc = 0;

    const char *format = take_root(pth, &rc);
    if (!rc) rc = check_names(pth, document->weights, document->weight_count);
    if (!rc && document->training)
        rc = check_names(pth, document->training->tensors, document->training->tensor_count);
    if (!rc && !document->weight_count && strcmp(format, "pth-model"))
        rc = pawl_fail(PAWL_ECORRUPT, "%s: a pickle without any tensors: no state_dict, no model",
                       pth->what);
    if (rc) return rc;
    snprintf(document->format, sizeof(document->format), "%s", format);
    snprintf(document->format_version, sizeof(document->format_version), "%s",
             pth->zip ? "zip" : "stream");
    explain_prefix(document, "module.", "the model was saved inside DataParallel or "
                   "DistributedDataParallel. Names are matched without it");
    explain_prefix(document, "_orig_mod.", "the model was saved inside torch.compile. Names are "
                   "matched without it");
    return 0;
}

static int read_pth(struct pawl_document *document, const char *path)
{
    struct pawl_pth *pth = NULL;
    uint64_t range[2] = { 0, 0 };
    int file;

    int rc = pawl_document_add_file(document, path, &file, &range[1]);
    if (!rc) rc = pawl_pth_open(&pth, document, file, range, path);
    if (!rc) rc = read_object(pth);
    pawl_pth_close(pth);
    return rc == PAWL_ENOTSUP ? pawl_fail(PAWL_ECORRUPT, "%s", pawl_error()) : rc;
}

const struct pawl_format pawl_format_pth = {
    .name = "pth",
    .suffixes = ".pth .pt",
    .parts = PAWL_PART_WEIGHTS,
    .detect = detect,
    .read = read_pth,
    .summed = true,
    .write = pawl_pth_write_state,
};

const struct pawl_format pawl_format_pth_checkpoint = {
    .name = "pth-checkpoint",
    .suffixes = "",
    .parts = PAWL_PART_WEIGHTS | PAWL_PART_TRAINING,
    .detect = never,
    .read = read_pth,
    .summed = true,
    .write = pawl_pth_write_checkpoint,
};

const struct pawl_format pawl_format_pth_model = {
    .name = "pth-model",
    .suffixes = "",
    .parts = PAWL_PART_ARCHITECTURE | PAWL_PART_WEIGHTS,
    .detect = never,
    .read = read_pth,
    .summed = true,
    .write = pawl_pth_write_model,
};
