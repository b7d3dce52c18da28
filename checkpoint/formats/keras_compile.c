// keras_compile.c - what a Keras model was compiled with: optimizer and loss, read and written.

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "checkpoint/formats/keras_inside.h"
#include "kernels/error.h"

static const struct {
    const char *kind, *class_name;
} optimizers[] = {
    { "adam", "Adam" }, { "adamw", "AdamW" }, { "sgd", "SGD" }, { "rmsprop", "RMSprop" },
};

// Losses by pawl's names; first Keras' snake case, then its class.
static const struct {
    const char *name, *words, *class_name;
} losses[] = {
    { "cross-entropy", "sparse_categorical_crossentropy", "SparseCategoricalCrossentropy" },
    { "cross-entropy", "categorical_crossentropy", "CategoricalCrossentropy" },
    { "mse", "mean_squared_error", "MeanSquaredError" },
    { "mse", "mse", "mse" },
    { "binary-cross-entropy", "binary_crossentropy", "BinaryCrossentropy" },
};

// A number of the optimizer under pawl's name; absent and null ones stay out.
static void take(json_t *out, const char *to, const json_t *config, const char *from)
{
    const json_t *value = json_object_get(config, from);

    if (json_is_number(value))
        json_object_set_new(out, to, json_real(json_number_value(value)));
    else if (json_is_boolean(value))
        json_object_set_new(out, to, json_boolean(json_is_true(value)));
}

static json_t *read_optimizer(const json_t *from)
{
    const char *class_name = json_string_value(json_object_get(from, "class_name"));
    const json_t *config = json_object_get(from, "config");
    const char *kind = class_name;
    json_t *out;

    if (!class_name) return NULL;
    if (strchr(class_name, '>')) kind = class_name = strchr(class_name, '>') + 1;
    for (size_t i = 0; i < sizeof(optimizers) / sizeof(*optimizers); i++)
        if (!strcasecmp(class_name, optimizers[i].class_name)) kind = optimizers[i].kind;
    out = json_pack("{s:s, s:s}", "kind", kind, "convention", "keras");
    take(out, "learning_rate", config, "learning_rate");
    if (json_is_number(json_object_get(config, "beta_1")))
        json_object_set_new(out, "betas", json_pack("[f, f]",
            json_number_value(json_object_get(config, "beta_1")),
            json_number_value(json_object_get(config, "beta_2"))));
    take(out, "eps", config, "epsilon");
    take(out, "weight_decay", config, "weight_decay");
    take(out, "momentum", config, "momentum");
    take(out, "nesterov", config, "nesterov");
    take(out, "rho", config, "rho");
    take(out, "centered", config, "centered");
    take(out, "amsgrad", config, "amsgrad");
    take(out, "clip", config, "global_clipnorm");
    // Keras' decay is AdamW's, whatever the class: it acts on the variable, not on the gradient.
    if (!strcmp(kind, "adam") && json_number_value(json_object_get(out, "weight_decay")) > 0)
        json_object_set_new(out, "kind", json_string("adamw"));
    return out;
}

static void read_loss(char loss[32], const json_t *from)
{
    if (json_is_array(from) && json_array_size(from) == 1) from = json_array_get(from, 0);
    // {"class_name": "function", "config": "mse"} is a function by its name.
    if (json_is_object(from) && json_is_string(json_object_get(from, "config")))
        from = json_object_get(from, "config");
    if (json_is_object(from)) from = json_object_get(from, "class_name");
    const char *name = json_string_value(from);

    for (size_t i = 0; name && i < sizeof(losses) / sizeof(*losses); i++)
        if (!strcmp(name, losses[i].words) || !strcmp(name, losses[i].class_name))
            snprintf(loss, 32, "%s", losses[i].name);
}

int pawl_keras_compile_read(json_t **optimizer, char loss[32], const json_t *config)
{
    const json_t *from = json_object_get(config, "optimizer");

    if (!from) from = json_object_get(config, "optimizer_config");
    loss[0] = 0;
    *optimizer = read_optimizer(from);
    read_loss(loss, json_object_get(config, "loss"));
    return 0;
}

static json_t *write_optimizer(const json_t *from, bool custom)
{
    const char *kind = json_string_value(json_object_get(from, "kind"));
    const json_t *betas = json_object_get(from, "betas");
    const char *class_name = kind;
    json_t *config = json_object(), *out;
    char name[72];

    if (!kind) {
        json_decref(config);
        return NULL;
    }
    for (size_t i = 0; i < sizeof(optimizers) / sizeof(*optimizers); i++)
        if (!strcmp(kind, optimizers[i].kind)) class_name = optimizers[i].class_name;
    json_object_set_new(config, "name", json_string(kind));
    take(config, "learning_rate", from, "learning_rate");
    if (json_array_size(betas) == 2) {
        json_object_set(config, "beta_1", json_array_get(betas, 0));
        json_object_set(config, "beta_2", json_array_get(betas, 1));
    }
    take(config, "epsilon", from, "epsilon");
    if (!json_object_get(config, "epsilon")) take(config, "epsilon", from, "eps");
    if (strcmp(kind, "sgd") == 0) json_object_del(config, "epsilon");
    if (json_number_value(json_object_get(from, "weight_decay")) > 0)
        take(config, "weight_decay", from, "weight_decay");
    if (!strcmp(kind, "sgd") || !strcmp(kind, "rmsprop"))
        take(config, "momentum", from, "momentum");
    if (!strcmp(kind, "sgd")) take(config, "nesterov", from, "nesterov");
    if (!strcmp(kind, "rmsprop")) {
        take(config, "rho", from, "rho");
        take(config, "centered", from, "centered");
    }
    if (!strncmp(kind, "adam", 4)) take(config, "amsgrad", from, "amsgrad");
    // Legacy files of Keras 2 would find its optimizers of before 2.11 by the plain name.
    if (custom) {
        json_object_set_new(config, "is_legacy_optimizer", json_false());
        snprintf(name, sizeof(name), "Custom>%.60s", class_name);
        return json_pack("{s:s, s:o}", "class_name", name, "config", config);
    }
    out = json_pack("{s:s, s:s, s:o, s:n}", "module", "keras.optimizers", "class_name", class_name,
                    "config", config, "registered_name");
    return out;
}

int pawl_keras_compile_write(json_t **out, const struct pawl_training *training, const char *loss,
                             enum pawl_keras_file_kind kind)
{
    const bool legacy = kind != PAWL_KERAS_ARCHIVE;
    json_t *optimizer = training ? write_optimizer(training->optimizer, kind == PAWL_KERAS2_LEGACY)
                                 : NULL;
    const char *words = NULL;

    *out = NULL;
    if (!optimizer) return 0;
    for (size_t i = 0; !words && i < sizeof(losses) / sizeof(*losses); i++)
        if (!strcmp(loss, losses[i].name)) words = losses[i].words;
    *out = json_pack("{s:o, s:s?, s:n, s:n, s:n}", legacy ? "optimizer_config" : "optimizer",
                     optimizer, "loss", words, "loss_weights", "metrics", "weighted_metrics");
    return *out ? 0 : pawl_fail(PAWL_ENOMEM, "no memory for a compile configuration");
}
