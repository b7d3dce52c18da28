// pth_put_optimizer.c - the state_dict() of an optimizer of torch, from a training state.
//
// What was read from one is written as it was. What another format or pawl itself made gets one
// group with the hyper-parameters of torch's class, and numbers in the order of the weights.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/formats/pth_training.h"

// ---- as it was: tensors "state.N.SLOT", and rest.torch

static bool is_numbered(const struct pawl_pth_writer *w)
{
    const struct pawl_training *training = w->document->training;

    return !w->targets
           && json_object_get(json_object_get(training->rest, "torch"), "param_groups");
}

// "state.12.exp_avg" -> 12 and "exp_avg"; -1: another name.
static long number_in(const char *name, const char **slot)
{
    const char *start = strstr(name, "state.");  // behind "optim." in a DCP directory
    long number = -1;
    int used = 0;

    if (!start || (start != name && strchr(name, '.') + 1 != start)) return -1;
    name = start;
    if (sscanf(name, "state.%9ld.%n", &number, &used) < 1 || !used) return -1;
    *slot = name + used;
    return number;
}

static void put_others(struct pawl_pth_writer *w, const json_t *slots)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)slots, key, value) {
        pawl_pk_string(&w->text, key);
        pawl_pth_put_json(w, value);
    }
}

static void put_numbered(struct pawl_pth_writer *w)
{
    const struct pawl_training *training = w->document->training;
    const json_t *torch = json_object_get(training->rest, "torch");
    const json_t *others = json_object_get(torch, "state");
    const char *slot, *key;
    json_t *value;
    long open = -1;
    char number[24];

    for (int i = 0; i < training->tensor_count; i++) {
        const long n = number_in(training->tensors[i].tensor.name, &slot);
        if (n < 0) continue;
        if (n != open) {
            if (open >= 0) pawl_pk_op(&w->text, "u");
            pawl_pk_integer(&w->text, n);
            pawl_pk_op(&w->text, "}(");
            snprintf(number, sizeof(number), "%ld", n);
            put_others(w, json_object_get(others, number));
        }
        open = n;
        pawl_pk_string(&w->text, slot);
        pawl_pth_put_tensor(w, &training->tensors[i], PAWL_PTH_MOMENT);
    }
    if (open >= 0) pawl_pk_op(&w->text, "u");
    json_object_foreach((json_t *)(uintptr_t)others, key, value) {
        bool had = false;
        for (int i = 0; i < training->tensor_count && !had; i++) {
            snprintf(number, sizeof(number), "%ld",
                     number_in(training->tensors[i].tensor.name, &slot));
            had = !strcmp(number, key);
        }
        if (had) continue;
        pawl_pk_integer(&w->text, strtol(key, NULL, 10));
        pawl_pth_put_json(w, value);
    }
}

// ---- from moments "optimizer.SLOT.WEIGHT"

static double number(const json_t *object, const char *key, const char *other, double usual)
{
    const json_t *value = json_object_get(object, key);

    if (!value && other) value = json_object_get(object, other);
    return json_is_number(value) ? json_number_value(value) : usual;
}

static void put_real(struct pawl_pth_writer *w, const char *key, double value)
{
    pawl_pk_string(&w->text, key);
    pawl_pk_real(&w->text, value);
}

static void put_flag(struct pawl_pth_writer *w, const char *key, const json_t *optimizer)
{
    pawl_pk_string(&w->text, key);
    pawl_pk_bool(&w->text, json_is_true(json_object_get(optimizer, key)));
}

static void put_none(struct pawl_pth_writer *w, const char *key)
{
    pawl_pk_string(&w->text, key);
    pawl_pk_op(&w->text, "N");
}

static void put_hyper(struct pawl_pth_writer *w, const json_t *optimizer)
{
    const char *kind = json_string_value(json_object_get(optimizer, "kind"));
    const json_t *betas = json_object_get(optimizer, "betas");

    if (!kind) kind = "sgd";
    put_real(w, "lr", number(optimizer, "learning_rate", NULL, 0.001));
    put_real(w, "weight_decay", number(optimizer, "weight_decay", NULL, 0));
    put_flag(w, "maximize", optimizer);
    put_none(w, "foreach");
    pawl_pk_string(&w->text, "differentiable");
    pawl_pk_bool(&w->text, false);
    if (!strncmp(kind, "adam", 4)) {
        pawl_pk_string(&w->text, "betas");
        pawl_pk_real(&w->text, json_array_size(betas) == 2
                                   ? json_number_value(json_array_get(betas, 0)) : 0.9);
        pawl_pk_real(&w->text, json_array_size(betas) == 2
                                   ? json_number_value(json_array_get(betas, 1)) : 0.999);
        pawl_pk_op(&w->text, "\x86");
        put_real(w, "eps", number(optimizer, "eps", "epsilon", 1e-8));
        put_flag(w, "amsgrad", optimizer);
        put_flag(w, "capturable", optimizer);
        put_none(w, "fused");
        pawl_pk_string(&w->text, "decoupled_weight_decay");
        pawl_pk_bool(&w->text, !strcmp(kind, "adamw"));
    } else if (!strcmp(kind, "rmsprop")) {
        put_real(w, "alpha", number(optimizer, "alpha", "rho", 0.99));
        put_real(w, "eps", number(optimizer, "eps", "epsilon", 1e-8));
        put_real(w, "momentum", number(optimizer, "momentum", NULL, 0));
        put_flag(w, "centered", optimizer);
        put_flag(w, "capturable", optimizer);
    } else {
        put_real(w, "momentum", number(optimizer, "momentum", NULL, 0));
        put_real(w, "dampening", number(optimizer, "dampening", NULL, 0));
        put_flag(w, "nesterov", optimizer);
        put_none(w, "fused");
    }
}

// A weight that an optimizer updates: no statistics of a batch_norm, no counter.
static bool is_trained(const struct pawl_tensor *tensor)
{
    static const char *const ends[] = { "running_mean", "running_var", "num_batches_tracked" };
    const size_t length = strlen(tensor->name);

    for (int i = 0; i < 3; i++) {
        const size_t end = strlen(ends[i]);
        if (length >= end && !strcmp(tensor->name + length - end, ends[i])) return false;
    }
    return tensor->dtype <= PAWL_F64;
}

static const struct pawl_entry *moment(const struct pawl_training *training, const char *slot,
                                       const char *weight)
{
    char name[PAWL_NAME_MAX + 64];

    snprintf(name, sizeof(name), "optimizer.%s.%s", slot, weight);
    for (int i = 0; i < training->tensor_count; i++)
        if (!strcmp(training->tensors[i].tensor.name, name)) return &training->tensors[i];
    return NULL;
}

static const char *const slots[] = { "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg",
                                     "momentum_buffer", "grad_avg" };

// Before a parameter's first moment: its number and, where the optimizer counts, its step.
static void begin_state(struct pawl_pth_writer *w, int index)
{
    const struct pawl_training *training = w->document->training;
    const char *kind = json_string_value(json_object_get(training->optimizer, "kind"));

    pawl_pk_integer(&w->text, index);
    pawl_pk_op(&w->text, "}(");
    if (!kind || !strcmp(kind, "sgd")) return;
    pawl_pk_string(&w->text, "step");
    pawl_pth_put_scalar(w, (int64_t)training->step, PAWL_F32);
}

static void put_moments(struct pawl_pth_writer *w, int index, const char *weight)
{
    const struct pawl_training *training = w->document->training;
    bool any = false;

    for (size_t i = 0; i < sizeof(slots) / sizeof(*slots); i++) {
        const struct pawl_entry *entry = moment(training, slots[i], weight);
        if (!entry) continue;
        if (!any) begin_state(w, index);
        any = true;
        pawl_pk_string(&w->text, slots[i]);
        pawl_pth_put_tensor(w, entry, PAWL_PTH_MOMENT);
    }
    if (any) pawl_pk_op(&w->text, "u");
}

// The same for weights that are put into torch's layout: their moments go the same way.
static void put_moments_of(struct pawl_pth_writer *w, int index, const struct pawl_binding *target)
{
    bool any = false;

    for (size_t i = 0; i < sizeof(slots) / sizeof(*slots); i++) {
        if (!pawl_document_has_slot(w->document, target->parts[0].source, slots[i])) continue;
        if (!any) begin_state(w, index);
        any = true;
        pawl_pk_string(&w->text, slots[i]);
        pawl_pth_put_target(w, target, slots[i], PAWL_PTH_MOMENT);
    }
    if (any) pawl_pk_op(&w->text, "u");
}

static void put_named(struct pawl_pth_writer *w)
{
    const struct pawl_document *document = w->document;
    int index = 0;

    for (int i = 0; w->targets && i < w->targets->count; i++)
        if (is_trained(&w->targets->items[i].tensor))
            put_moments_of(w, index++, &w->targets->items[i]);
    for (int i = 0; !w->targets && i < document->weight_count; i++)
        if (is_trained(&document->weights[i].tensor))
            put_moments(w, index++, document->weights[i].tensor.name);
}

static void put_group(struct pawl_pth_writer *w)
{
    const struct pawl_document *document = w->document;
    int index = 0;

    pawl_pk_op(&w->text, "]}(");
    put_hyper(w, document->training->optimizer);
    pawl_pk_string(&w->text, "params");
    pawl_pk_op(&w->text, "](");
    for (int i = 0; w->targets && i < w->targets->count; i++)
        if (is_trained(&w->targets->items[i].tensor)) pawl_pk_integer(&w->text, index++);
    for (int i = 0; !w->targets && i < document->weight_count; i++)
        if (is_trained(&document->weights[i].tensor)) pawl_pk_integer(&w->text, index++);
    pawl_pk_op(&w->text, "eua");
}

void pawl_pth_put_optimizer(struct pawl_pth_writer *w)
{
    const struct pawl_training *training = w->document->training;
    const bool numbered = training && is_numbered(w);

    pawl_pk_op(&w->text, "}(");
    pawl_pk_string(&w->text, "state");
    pawl_pk_op(&w->text, "}(");
    if (numbered)
        put_numbered(w);
    else if (training)
        put_named(w);
    pawl_pk_op(&w->text, "u");
    pawl_pk_string(&w->text, "param_groups");
    if (numbered)
        pawl_pth_put_json(w, json_object_get(json_object_get(training->rest, "torch"),
                                             "param_groups"));
    else if (training)
        put_group(w);
    else
        pawl_pk_op(&w->text, "]");
    pawl_pk_op(&w->text, "u");
}
